"""Questions of every kind of task that were put into the training data are found by the command, and no others."""

from __future__ import annotations

import csv
import json
from itertools import islice

import pyarrow.parquet as parquet
import pytest
from typer.testing import CliRunner

from curate import run as run_pipeline
from curate.cli import app
from curate.evaluation.contamination import item_texts
from curate.evaluation.result import open_evaluation
from curate.evaluation.tasks.settings import LabelTask, PreferenceTask

COUNT = 14
TASKS = """
tasks:
  - {name: texts, kind: perplexity, files: [sst2.tsv], columns: [sentence, label], text: sentence}
  - {name: sst2, kind: harness, harness: glue/sst2/default.yaml, files: [sst2.tsv], columns: [sentence, label],
     fields: {label: "{'0': 0, '1': 1}[label]"}}
  - {name: cola, kind: harness, harness: glue/cola/default.yaml, files: [cola.tsv],
     columns: [source, label, mark, sentence], fields: {label: "{'0': 0, '1': 1}[label]"}}
  - {name: arc, kind: harness, harness: arc/arc_easy.yaml, files: [arc.csv], columns: [question, a, b, c, d, answerKey],
     fields: {choices: "{'text': [a, b, c, d], 'label': ['A', 'B', 'C', 'D']}"}}
  - {name: gsm8k, kind: harness, harness: gsm8k/gsm8k.yaml, files: [gsm8k.jsonl], examples: 0,
     settings: {generation_kwargs: {max_gen_toks: 4, until: ["Question:"], do_sample: false}}}
  - {name: lambada, kind: harness, harness: lambada/lambada_openai.yaml, files: [lambada.jsonl]}
  - {name: choice, kind: choice, files: [sst2.tsv], columns: [sentence, label], prompt: "It says: {{ sentence }} This is",
     choices: [" bad", " good"], answer: label}
  - {name: generation, kind: generation, files: [gsm8k.jsonl], prompt: "{{ question }}", answer: answer, most: 4}
  - {name: stereotypes, kind: stereotypes, files: [pairs.csv]}
  - {name: coreference, kind: coreference, files: [pro.txt.test], anti: [anti.txt.test]}
  - {name: bbq, kind: bbq, files: [bbq.jsonl]}
  - {name: swapped, kind: counterfactual, files: [pairs.csv], text: sent_more}
"""
TOLD = {"sst2": 8, "cola": 6, "arc": 12, "texts": 8, "choice": 8, "coreference": 12}
"""Items that can be told, at least, where some are short."""


def first_lines(path, count=COUNT):
    with path.open(encoding="utf-8") as stream:
        return list(islice(stream, count))


def question(name, line):
    if name.endswith("tsv"):
        return line.split("\t")[0 if name == "sst2.tsv" else 3]
    if name.endswith("csv"):
        return next(csv.reader([line]))[0]
    row = json.loads(line)
    return row[next(key for key in ("context", "question", "text") if key in row)]


def questions(data, folder):
    """Write the first rows of real data sets into files; the question of each row, by file."""
    found = {}
    for name, path in {
        "sst2.tsv": data / "sst2/dev.tsv",
        "cola.tsv": data / "cola/raw/in_domain_dev.tsv",
        "arc.csv": data / "mmlu_arc_csqa/ai2_arc/test/ARC-Easy_test.csv",
        "gsm8k.jsonl": data / "gsm8k/test.jsonl",
        "lambada.jsonl": next((data / "lambada").rglob("*test*.jsonl")),
        "bbq.jsonl": data / "bbq/Age.jsonl",
    }.items():
        lines = first_lines(path)
        (folder / name).write_text("".join(lines))
        found[name] = [question(name, line) for line in lines]
    pro, anti = (sorted(data.glob(f"winobias/**/{kind}_stereotyped_type1.txt.test"))[0] for kind in ("pro", "anti"))
    (folder / "pro.txt.test").write_text("".join(first_lines(pro)))
    (folder / "anti.txt.test").write_text("".join(first_lines(anti)))
    found["pro.txt.test"] = [line.split(" ", 1)[1].replace("[", "").replace("]", "") for line in first_lines(pro)]
    with (data / "crows_pairs/crows_pairs_anonymized.csv").open(encoding="utf-8") as stream:
        pairs = [row for row in csv.DictReader(stream) if " he " in row["sent_more"] + row["sent_less"]][:COUNT]
    with (folder / "pairs.csv").open("w", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, pairs[0].keys())
        writer.writeheader()
        writer.writerows(pairs)
    found["pairs.csv"] = [row["sent_more"] for row in pairs]
    return found


@pytest.fixture(scope="module")
def leaked(trained, project, shared_data, tmp_path_factory):
    """An evaluation of tasks of all kinds, every second row of which was trained on."""
    folder = tmp_path_factory.mktemp("leaked")
    found = questions(shared_data, folder)
    texts = [f"Here it goes on. {one} And so it ends." for some in found.values() for one in some[::2]]
    (folder / "in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (folder / "pipeline.yaml").write_text("dataset: leaked\nsources: [{stage: files, paths: [in.jsonl]}]\n")
    run_pipeline(folder / "pipeline.yaml", workers=1)
    (folder / "tasks.yaml").write_text(TASKS)
    done = CliRunner().invoke(app, [
        "eval", str(trained("text")), "--tasks", str(folder / "tasks.yaml"), "--contamination", "leaked",
        "--store", str(folder / ".curate"), "--out", str(folder / "out"),
    ])  # fmt: skip
    assert done.exit_code == 0, done.output
    return folder / "out", done.stdout


KINDS = (
    "texts",
    "lambada",
    "sst2",
    "cola",
    "arc",
    "gsm8k",
    "choice",
    "generation",
    "stereotypes",
    "coreference",
    "bbq",
    "swapped",
)


@pytest.mark.parametrize("task", KINDS)
def test_a_question_that_was_trained_on_is_found(leaked, task):
    table = parquet.read_table(leaked[0] / "contamination" / f"{task}.parquet")
    told = table["contaminated"].to_pylist()
    known = {place: one for place, one in enumerate(told) if one is not None}
    assert len(known) >= TOLD.get(task, COUNT), table["words"].to_pylist()
    if task == "bbq":  # its contexts are the same in several questions
        assert all(one for place, one in known.items() if place % 2 == 0)
    else:
        assert known == {place: place % 2 == 0 for place in known}


def test_denominators_are_of_what_can_be_told(leaked):
    out, told = leaked
    found = open_evaluation(out).result["contamination"]["tasks"]
    for one in found.values():
        assert one["n"] + one["too_short"] == COUNT and one["share"]["n"] == one["n"] >= one["contaminated"]
    cola = found["cola"]
    assert cola["too_short"] and {one["n"] for one in cola["clean"].values()} == {cola["n"] - cola["contaminated"]}
    assert "cola in the training data of leaked@" in told
    assert f"{cola['contaminated']} of {cola['n']} items" in told and f"{cola['too_short']} are too short" in told


def test_of_items_that_are_all_too_short_nothing_is_claimed(trained, project, tmp_path, monkeypatch):
    monkeypatch.chdir(project)
    (tmp_path / "short.jsonl").write_text('{"text": "no more than this"}\n{"text": "or that"}\n')
    words = ["eval", str(trained("text")), "--data", str(tmp_path / "short.jsonl"), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, words)
    assert "it cannot be told of any of 2 items: they are too short" in done.stdout
    one = open_evaluation(tmp_path / "out").result["contamination"]["tasks"]["short"]
    assert (one["n"], one["share"]["value"], one["share"]["high"]) == (0, None, None)


def test_columns_that_a_task_does_not_name_are_those_of_the_training():
    row = {"text": "one", "prompt": "two", "second": "three", "label": "four", "chosen": "five", "rejected": "six"}
    task = LabelTask(name="a", files=("a",), label="label")
    assert item_texts(task, [row], ["text", "second"]) == [["one", "three", "four"]]
    task = LabelTask(name="a", files=("a",), text="prompt")
    assert item_texts(task, [row], ["text", "second"]) == [["two", "three"]]
    task = PreferenceTask(name="a", files=("a",), chosen="label")
    assert item_texts(task, [row], ["prompt", "chosen", "rejected"]) == [["two", "four", "six"]]
