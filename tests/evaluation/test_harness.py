"""Tasks of lm-evaluation-harness: its own numbers, on local files of the forms that there are."""

from __future__ import annotations

import bz2
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from curate.errors import CurateError
from curate.evaluation.models.opened import open_model
from curate.evaluation.request import asked_tasks
from curate.evaluation.run import evaluate, read_tasks
from curate.evaluation.tasks.shipped import named_task, task_list
from tests.evaluation.language_model import llama_folder

WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "and",
    "was",
    "there",
    "when",
    "dogs",
    "ran",
    "by",
    "her",
    "old",
    "red",
    "May",
]
COUNT = 12


def sentence(number, size=6):
    return " ".join(WORDS[(number * 5 + place * (1 + number % 3)) % len(WORDS)] for place in range(size))


ROWS = {
    "lambada": [{"text": sentence(n, 9)} for n in range(COUNT)],
    "sst2": [{"sentence": sentence(n), "label": n % 2} for n in range(COUNT)],
    "cola": [{"sentence": sentence(n, 4), "label": n % 3 % 2} for n in range(COUNT)],
    "arc_easy": [
        {
            "question": sentence(n) + "?", "answerKey": "ABCD"[n % 4],
            "choices": {"text": [sentence(n + k, 1 + k) for k in range(4)], "label": list("ABCD")},
        }
        for n in range(COUNT)
    ],
    "gsm8k": [{"question": f"What is {n} and {n}?", "answer": f"Add them.\n#### {2 * n}"} for n in range(COUNT)],
}  # fmt: skip
BUILT_IN = {
    "lambada": "lambada/lambada_openai.yaml", "sst2": "glue/sst2/default.yaml", "cola": "glue/cola/default.yaml",
    "arc_easy": "arc/arc_easy.yaml", "gsm8k": "gsm8k/gsm8k.yaml",
}  # fmt: skip
THEIRS = {
    "lambada": {"perplexity,none": "word_perplexity", "acc,none": "accuracy"},
    "sst2": {"acc,none": "accuracy"},
    "cola": {"mcc,none": "matthews"},
    "arc_easy": {"acc,none": "accuracy", "acc_norm,none": "accuracy_normalized"},
    "gsm8k": {"exact_match,strict-match": "exact_match"},
}


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A Llama that knows nothing, with a tokenizer of bytes."""
    return llama_folder(tmp_path_factory.mktemp("model"), length=128)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The rows as the data sets' own files have them."""
    place = tmp_path_factory.mktemp("data")
    for name, text in {
        "lambada/lambada_test.jsonl": lines(ROWS["lambada"]),
        "SST-2/dev.tsv": "sentence\tlabel\n" + "".join(f"{r['sentence']}\t{r['label']}\n" for r in ROWS["sst2"]),
        "CoLA/dev.tsv": "".join(f"gj04\t{r['label']}\t\t{r['sentence']}\n" for r in ROWS["cola"]),
        "all/ai2_arc/test/ARC-Easy_test.csv": "".join(
            ",".join(f'"{one}"' for one in (r["question"], *r["choices"]["text"], r["answerKey"])) + "\n"
            for r in ROWS["arc_easy"]
        ),
        "gsm8k/test.jsonl": lines(ROWS["gsm8k"]),
    }.items():
        (place / name).parent.mkdir(parents=True)
        (place / name).write_text(text)
    return place


def run(model, tasks, out, **settings):
    return evaluate(lambda: model, tasks, out, store=None, say=lambda words: None, **settings)


def own_task(folder, name, **settings):
    """A task file as a user of the harness writes it: a shipped one on other files."""
    import lm_eval
    import yaml

    (folder / f"{name}.jsonl").write_text(lines(ROWS[name]))
    path = folder / f"own_{name}.yaml"
    path.write_text(yaml.safe_dump({
        "include": str(Path(lm_eval.__file__).parent / "tasks" / BUILT_IN[name]), "task": f"own_{name}",
        "dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"data_files": {"test": str(folder / f"{name}.jsonl")}},
        "training_split": None, "validation_split": None, "test_split": "test", "fewshot_split": "test", **settings,
    }))  # fmt: skip
    return path


GENERATION = {"max_gen_toks": 8, "until": ["Question:"], "do_sample": False, "temperature": 0.0}


def test_the_numbers_are_those_of_the_harness(folder, data, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    for name in ROWS:
        own_task(tmp_path, name, **({"generation_kwargs": GENERATION, "num_fewshot": 2} if name == "gsm8k" else {}))
    theirs = lm_eval.simple_evaluate(
        model=HFLM(pretrained=str(folder), device="cpu", batch_size=4), tasks=[f"own_{name}" for name in ROWS],
        task_manager=lm_eval.tasks.TaskManager(include_path=str(tmp_path), include_defaults=False), bootstrap_iters=0,
    )  # fmt: skip
    shown = named_task("gsm8k", data, examples=2)
    tasks = [named_task(name, data) for name in ROWS if name != "gsm8k"]
    tasks.append(shown.model_copy(update={"settings": {"generation_kwargs": GENERATION}}))
    ours = run(open_model(str(folder), backend="ours"), tasks, tmp_path / "out", samples=True)
    for name, metrics in THEIRS.items():
        for one, other in metrics.items():
            value = theirs["results"][f"own_{name}"][one]
            assert ours.result["tasks"][name][other]["value"] == pytest.approx(value, rel=1e-4, abs=1e-4), (name, one)
    assert ours.result["about"]["gsm8k"]["cut"] > 0  # two examples are more than the model reads
    for name in ROWS:
        asked = [one["arguments"][0][0] for one in theirs["samples"][f"own_{name}"]][:COUNT]
        assert ours.items(name).table["prompt"].to_pylist() == asked
    assert ours.items("gsm8k").table["prompt"][0].as_py().count("Question:") == 3
    assert all(one["low"] is not None for one in ours.result["tasks"]["arc_easy"].values())


def test_a_task_file_of_the_harness_is_a_task(folder, data, tmp_path):
    path = own_task(tmp_path, "sst2")
    ours = open_model(str(folder), backend="ours")
    [own] = _asked(folder, str(path))
    found = run(ours, [own, named_task("sst2", data)], tmp_path / "out")
    assert found.result["tasks"]["own_sst2"] == found.result["tasks"]["sst2"]


def _asked(model, *tasks, **settings):
    return asked_tasks(str(model), tasks, [], None, (), None, **settings)


def test_names_stand_with_commas_between_and_take_limit_by_and_examples(folder, data):
    tasks = asked_tasks(str(folder), ["lambada, sst2"], [], None, ("label",), 5, data, 3)
    assert [(one.name, one.limit, one.by, one.examples) for one in tasks] == [
        ("lambada", 5, (), 3), ("sst2", 5, (), 3)
    ]  # fmt: skip
    grouped = read_tasks(tasks, None, by=["label"])
    assert [task.by for task, _ in grouped] == [(), ("label",)]  # lambada has no such column
    with pytest.raises(CurateError, match="no row of any task has a column `labels`") as error:
        read_tasks(tasks, None, by=["labels"])
    assert error.value.hint == "did you mean `label`?"


def test_room_for_new_tokens_is_looked_for_before_questions_are_asked(folder, data, tmp_path):
    ours = open_model(str(folder), backend="ours", length=64)
    with pytest.raises(CurateError, match="256 new tokens leave no room for a prompt") as error:
        run(ours, [named_task("sst2", data), named_task("gsm8k", data)], tmp_path / "out")
    assert "max_gen_toks: 32" in error.value.hint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "names, place, words",
    [
        ("lambda", "", ["there is no task `lambda`", "lambada"]),
        ("sst2", None, ["needs the folder", "--data-dir DIR"]),
        ("rte", "", ["the data of `rte` is not there", "`RTE/dev.tsv`", "--data-dir"]),
    ],
)
def test_what_is_missing_is_named(folder, data, names, place, words):
    with pytest.raises(CurateError) as error:
        _asked(folder, names, folder=data if place is not None else None)
    told = f"{error.value.problem} {error.value.where} {error.value.hint}"
    assert all(word in told for word in words), told


@pytest.mark.parametrize(
    "change, words",
    [
        ({"task": None}, ["has no `task`", "own_sst2.yaml: task"]),
        ({"doc_to_target": None}, ["has no `doc_to_target`", "own_sst2.yaml: doc_to_target"]),
        ({"dataset_kwargs": None}, ["has no `dataset_kwargs`", "nothing is fetched"]),
        ({"dataset_kwargs": {"data_files": {"test": "gone.jsonl"}}}, ["gone.jsonl", "dataset_kwargs.data_files.test"]),
        ({"test_split": "dev"}, ["no files for the split `dev`", "data_files"]),
    ],
)
def test_a_task_file_that_lacks_something_is_named_with_the_key(folder, tmp_path, change, words):
    path = own_task(tmp_path, "sst2", **change)
    with pytest.raises(CurateError) as error:
        _asked(folder, str(path))
    told = f"{error.value.problem} {error.value.where} {error.value.hint}"
    assert all(word in told for word in words), told


@pytest.mark.parametrize(
    "change, words",
    [
        ({"doc_to_txet": "{{ x }}"}, ["there is no setting `doc_to_txet`", "doc_to_text"]),
        ({"doc_to_text": "{{ nothing.there }}"}, ["does not fit the rows", "own_sst2.yaml"]),
        ({"doc_to_target": "nothing"}, ["own_sst2.yaml", "none of 2 choices", "sst2.jsonl:1"]),
        ({"num_fewshot": 50}, ["12 rows for 50 examples"]),
        ({"repeats": 3}, ["repeats"]),
    ],
)
def test_a_task_file_that_does_not_fit_is_refused(folder, tmp_path, change, words):
    [task] = _asked(folder, str(own_task(tmp_path, "sst2", **change)))
    with pytest.raises(CurateError) as error:
        run(open_model(str(folder), backend="ours"), [task], tmp_path / "out")
    told = f"{error.value.problem} {error.value.where} {error.value.hint}"
    assert all(word in told for word in words), told


def test_a_label_that_the_expression_does_not_know_is_named_with_its_row(folder, data, tmp_path):
    (tmp_path / "SST-2").mkdir()
    (tmp_path / "SST-2/dev.tsv").write_text("sentence\tlabel\na cat\t0\na dog\tgood\n")
    with pytest.raises(CurateError, match=r"the row dev\.tsv:2 does not fit") as error:
        run(open_model(str(folder), backend="ours"), [named_task("sst2", tmp_path)], tmp_path / "out")
    assert error.value.where == "task sst2: fields.label"


def test_blimp_is_read_from_its_zip_and_hellaswag_from_its_lines(folder, tmp_path):
    (tmp_path / "blimp").mkdir()
    with zipfile.ZipFile(tmp_path / "blimp/BLiMP.zip", "w") as archive:
        for name in ("b", "a"):
            row = {"sentence_good": f"Good {name}.", "sentence_bad": f"Bad of {name}.", "linguistics_term": name}
            archive.writestr(f"data/{name}.jsonl", lines([row, row]))
    (tmp_path / "hellaswag").mkdir()
    text = "".join(f"A: {sentence(n)}\n{n % 4}\none\ntwo\nthree\nfour\n" for n in range(3))
    (tmp_path / "hellaswag/hellaswag_val_full.txt.bz2").write_bytes(bz2.compress(text.encode()))
    tasks = [named_task("blimp", tmp_path), named_task("hellaswag", tmp_path)]
    found = run(open_model(str(folder), backend="ours"), tasks, tmp_path / "out", samples=True)
    assert list(found.result["groups"]["blimp"]["linguistics_term"]) == ["a", "b"]
    assert found.items("blimp").table["choices"][0].as_py() == [" Good a.", " Bad of a."]
    assert found.items("hellaswag").table["prompt"][1].as_py() == f"A: {sentence(1)}"
    assert found.items("hellaswag").table["choices"][1].as_py() == [" one", " two", " three", " four"]


def test_the_list_of_tasks_says_what_is_missing(data):
    listed = {one["task"]: one for one in task_list(data)}
    assert listed["arc_easy"]["found"] == [str(data / "all/ai2_arc/test/ARC-Easy_test.csv")]
    assert listed["rte"] == {"task": "rte", "files": ["RTE/dev.tsv"], "found": None}
    asked = [sys.executable, "-m", "curate", "eval", "--list-tasks", "--data-dir", str(data)]
    printed = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    assert "CoLA/dev.tsv" in printed and "MRPC/dev.tsv" in printed
    told = json.loads(subprocess.run([*asked, "--json"], capture_output=True, text=True, check=True).stdout)
    assert told["schema"] == 1 and told["tasks"] == list(listed.values())
