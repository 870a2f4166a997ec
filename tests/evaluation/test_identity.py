"""What was measured is measured again only where something has changed that decides it, and then always."""

from __future__ import annotations

import json
import shutil

import pytest

from curate.dataset.runs import records
from curate.dataset.store import Store
from curate.errors import CurateError
from curate.evaluation import asking
from curate.evaluation.models.endpoint import EndpointModel
from curate.evaluation.models.headed import open_headed
from curate.evaluation.models.opened import open_model
from curate.evaluation.models.ours import trunk_of
from curate.evaluation.result import read_items
from curate.evaluation.run import evaluate
from curate.evaluation.tasks.chat import chat_template
from curate.evaluation.tasks.settings import load_tasks
from curate.train.weights.export import load_trained
from tests.evaluation.language_model import byte_tokenizer, llama_folder, small_model

TASK = """
task: own
output_type: multiple_choice
doc_to_text: "{{q}}?"
doc_to_choice: [" yes", " no"]
doc_to_target: a
test_split: test
dataset_path: json
metric_list: [{metric: acc}]
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return llama_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture
def folder(model, tmp_path):
    return shutil.copytree(model, tmp_path / "model")


@pytest.fixture
def asked(tmp_path):
    """A file of tasks: a choice with examples, pairs of sentences, and a task file that includes another."""
    rows = [{"q": f"question {number}", "a": number % 2, "text": "a text"} for number in range(6)]
    for name in ("rows", "shown"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "own.yaml").write_text("include: base.yaml\n")
    (tmp_path / "base.yaml").write_text(TASK)
    (tmp_path / "code.py").write_text("")
    tasks = [
        {"name": "texts", "kind": "perplexity", "files": ["rows.jsonl"], "by": ["a"]},
        {"name": "choice", "kind": "choice", "files": ["rows.jsonl"], "prompt": "{{ q }}?", "choices": [" yes", " no"],
         "answer": "a", "examples": 2, "examples_from": ["shown.jsonl"]},
        {"name": "harness", "kind": "harness", "files": ["rows.jsonl"], "harness": str(tmp_path / "own.yaml")},
    ]  # fmt: skip
    (tmp_path / "tasks.yaml").write_text(json.dumps({"tasks": tasks}))
    return tmp_path


def anew(asked, model, **settings):
    """Names of the tasks that were measured now."""
    said: list[str] = []
    tasks = load_tasks(asked / "tasks.yaml")
    evaluate(lambda: model, tasks, asked / "out", store=None, say=said.append, **settings)
    return [task.name for task in tasks if f"{task.name}: measured before" not in said]


def test_the_second_time_nothing_is_measured_and_the_result_is_the_same(asked):
    model = small_model(length=64)
    assert anew(asked, model) == ["texts", "choice", "harness"]
    before = (asked / "out" / "result.json").read_bytes()
    model.score = model.read = model.complete = None
    assert anew(asked, model) == []
    assert (asked / "out" / "result.json").read_bytes() == before


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("rows.jsonl", "question 3", "question 33", ["texts", "choice", "harness"]),
        ("shown.jsonl", "question 3", "question 33", ["choice"]),
        ("own.yaml", "\n", '\ndescription: "Yes or no: "\n', ["harness"]),
        ("base.yaml", "{{q}}?", "{{q}}!", ["harness"]),
        ("code.py", "", "A = 1\n", ["harness"]),
        ("tasks.yaml", '"by": ["a"]', '"by": ["q"]', []),
        ("tasks.yaml", '"examples": 2', '"examples": 3', ["choice"]),
        ("tasks.yaml", '"answer": "a"', '"limit": 4, "answer": "a"', ["choice"]),
    ],
)
def test_what_a_task_asks_is_known_by_its_content(asked, file, old, new, changed):
    anew(asked, small_model(length=64))
    text = (asked / file).read_text()
    (asked / file).write_text(text.replace(old, new, 1))
    assert anew(asked, small_model(length=64)) == changed


def test_files_of_examples_of_the_harness_need_no_row_more_than_are_shown(asked):
    tasks = json.loads((asked / "tasks.yaml").read_text())
    shown = {**tasks["tasks"][2], "examples": 6, "examples_from": ["shown.jsonl"]}
    (asked / "tasks.yaml").write_text(json.dumps({"tasks": [shown]}))
    assert anew(asked, small_model(length=64)) == ["harness"]
    (asked / "shown.jsonl").write_text((asked / "shown.jsonl").read_text().replace("question 3", "question 33"))
    assert anew(asked, small_model(length=64)) == ["harness"]
    assert anew(asked, small_model(length=64)) == []


def test_files_that_have_moved_are_the_same_data(asked):
    anew(asked, small_model(length=64))
    for name in ("rows", "shown"):
        (asked / f"{name}.jsonl").rename(asked / f"{name}-2.jsonl")
    (asked / "tasks.yaml").write_text((asked / "tasks.yaml").read_text().replace(".jsonl", "-2.jsonl"))
    assert anew(asked, small_model(length=64)) == []


def test_samples_that_were_not_kept_are_measured_for(asked):
    anew(asked, small_model(length=64))
    assert anew(asked, small_model(length=64), samples=True) == ["texts", "choice", "harness"]
    assert anew(asked, small_model(length=64)) == []


def test_another_version_of_this_package_or_of_the_harness_measures_anew(asked, monkeypatch):
    anew(asked, small_model(length=64))
    from curate.evaluation.tasks import settings

    monkeypatch.setattr(settings, "version", lambda name: "0")
    assert anew(asked, small_model(length=64)) == ["harness"]
    monkeypatch.setattr("curate.evaluation.run.version", lambda name: "0")
    assert anew(asked, small_model(length=64)) == ["texts", "choice", "harness"]


def _other_weights(folder):
    llama_folder(folder, seed=2)


def _other_cut(folder):
    byte_tokenizer(merges=(("t", "h"),)).save(str(folder / "tokenizer.json"))


def _other_template(folder):
    (folder / "chat_template.jinja").write_text("{{ messages }}")


def _template_inside(folder):
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": "{{ messages }}"}))


@pytest.mark.parametrize("change", [_other_weights, _other_cut, _other_template, _template_inside])
@pytest.mark.parametrize("backend", ["ours", "transformers"])
def test_a_model_is_known_by_all_that_decides_its_answers(folder, change, backend):
    before = open_model(str(folder), backend=backend)
    again = open_model(str(folder), backend=backend)
    assert again.identity == before.identity
    change(folder)
    after = open_model(str(folder), backend=backend)
    assert after.identity != before.identity
    assert (after.weights == before.weights) == (change is not _other_weights)


def test_who_computes_a_model_is_part_of_what_it_is(folder):
    ours, theirs = (open_model(str(folder), backend=backend) for backend in ("ours", "transformers"))
    assert ours.weights == theirs.weights and ours.identity != theirs.identity


def test_where_a_text_ends_is_part_of_a_model(folder):
    before = open_model(str(folder), backend="transformers")
    path = folder / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": [256, 10]}))
    assert open_model(str(folder), backend="transformers").identity != before.identity


def test_a_server_is_known_by_the_tokenizer_that_cuts_its_texts():
    models = [
        EndpointModel("http://127.0.0.1:1/v1", "a", tokenizer=tokenizer, prefix=256, length=64)
        for tokenizer in (None, byte_tokenizer(), byte_tokenizer(merges=(("t", "h"),)))
    ]
    assert len({one.identity for one in models}) == 3 and len({one.weights for one in models}) == 1


def test_a_run_is_known_by_its_tokenizer_and_template_too(trained, tmp_path):
    run = shutil.copytree(trained("text"), tmp_path / "run")
    before = open_model(str(run))
    assert open_model(str(trained("text"))).identity == before.identity
    (run / "chat_template.jinja").write_text("{{ messages }}")
    templated = open_model(str(run))
    words = json.loads((run / "tokenizer.json").read_text())
    words["added_tokens"].append(
        {**words["added_tokens"][0], "id": words["added_tokens"][-1]["id"] + 1, "content": "<x>"}
    )
    (run / "tokenizer.json").write_text(json.dumps(words))
    assert len({before.identity, templated.identity, open_model(str(run)).identity}) == 3


def test_a_model_with_a_head_is_known_by_its_tokenizer_too(trained, tmp_path):
    run = shutil.copytree(trained("mood"), tmp_path / "run")
    before = open_headed(str(run))
    words = json.loads((run / "tokenizer.json").read_text())
    words["model"]["merges"].pop()
    (run / "tokenizer.json").write_text(json.dumps(words))
    after = open_headed(str(run))
    assert before.identity != after.identity and before.weights == after.weights


def test_items_say_the_length_and_who_computed_them(asked):
    anew(asked, small_model(length=64))
    about = read_items(asked / "out", "texts").about
    assert (about["length"], about["backend"]) == (64, "ours")
    said = []
    tasks = load_tasks(asked / "tasks.yaml")[:1]
    evaluate(lambda: small_model(length=32), tasks, asked / "shorter", store=None, say=said.append)
    assert read_items(asked / "shorter", "texts").about["length"] == 32


def test_the_record_names_the_weights(asked, tmp_path):
    store, model = Store.open(tmp_path / "store", create=True), small_model(length=64)
    evaluate(lambda: model, load_tasks(asked / "tasks.yaml")[:1], asked / "out", store=store, say=print)
    (one,) = records(store, "evaluation")
    assert one["inputs"][0]["id"] == model.weights == "seed 0"


def test_a_run_and_its_checkpoint_are_one_model(trained):
    run = trained("chat")
    [*_, newest] = sorted((run / "checkpoints").glob("step-*"))
    assert open_model(str(run)).identity == open_model(str(newest)).identity


def test_a_model_in_training_is_asked_in_the_format_of_its_training(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a watch knows the name of the run alone
    asked = [{"role": "user", "content": "hello"}]
    for name in ("chat", "text"):
        template = chat_template(trunk_of(load_trained(trained(name)), name, ""))
        wanted = chat_template(open_model(str(trained(name))))
        assert (template is None) == (wanted is None) == (name == "text")
        assert not template or template.render(asked) == wanted.render(asked)


def test_a_task_that_fails_loses_the_numbers_that_it_had(asked, monkeypatch):
    anew(asked, small_model(length=64))
    assert "choice" in json.loads((asked / "out" / "result.json").read_bytes())["tasks"]
    (asked / "rows.jsonl").write_text((asked / "rows.jsonl").read_text().replace("question 3", "question 33"))
    measure = asking.measured

    def fails(task, rows, model):
        if task.name == "choice":
            raise CurateError("broken")
        return measure(task, rows, model)

    monkeypatch.setattr(asking, "measured", fails)
    with pytest.raises(CurateError, match="broken"):
        anew(asked, small_model(length=64))
    result = json.loads((asked / "out" / "result.json").read_bytes())
    assert result["failed"] == {"choice": "broken"} and set(result["tasks"]) == {"texts", "harness"}


def test_what_fails_after_the_tasks_leaves_them_on_record(asked, tmp_path):
    def also(model):
        def fail():
            raise CurateError("the memory of the model cannot be looked into")

        return fail

    store = Store.open(tmp_path / "store", create=True)
    with pytest.raises(CurateError, match="cannot be looked into"):
        evaluate(
            lambda: small_model(),
            load_tasks(asked / "tasks.yaml")[:1],
            asked / "out",
            store=store,
            also=also,
            say=print,
        )
    (one,) = records(store, "evaluation")
    assert (one["state"], one["facts"]["tasks"]) == ("done", ["texts"])
