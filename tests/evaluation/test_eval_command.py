"""`curate eval` as it is typed: groups, contamination, memorization, and runs with a head."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from curate.cli import app
from curate.commands.tables import decimal
from curate.errors import CurateError
from curate.evaluation.models.tokens import TokenModel
from curate.evaluation.request import asked_tasks
from curate.evaluation.result import open_evaluation


@pytest.fixture
def typed(project, tmp_path, monkeypatch):
    """`curate eval` with some words, beside the store: what it printed, parsed, and what it told."""

    def start(*words, out="out"):
        monkeypatch.chdir(project)
        done = CliRunner().invoke(app, ["eval", *map(str, words), "--json", "--out", str(tmp_path / out)])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout), done.stderr

    return start


@pytest.fixture
def refused(project, monkeypatch):
    def start(*words):
        monkeypatch.chdir(project)
        done = CliRunner().invoke(app, ["eval", *map(str, words)])
        assert done.exit_code != 0
        return str(done.exception)

    return start


def test_a_column_that_is_not_there_is_refused(refused, trained, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one", "kind": "x"}\n{"text": "two"}\n')
    said = refused(trained("text"), "--data", tmp_path / "a.jsonl", "--by", "kinds")
    assert "no row has a column `kinds`" in said
    assert "`kind`" in said


def test_a_value_that_is_missing_is_null(typed, trained, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one", "kind": "None"}\n{"text": "two"}\n{"text": "3", "kind": null}\n')
    found, _ = typed(trained("text"), "--data", tmp_path / "a.jsonl", "--by", "kind", "--contamination", "none")
    assert {kind: one["bits_per_byte"]["n"] for kind, one in found["groups"]["a"]["kind"].items()} == {
        "None": 1, "(none)": 2
    }  # fmt: skip
    assert open_evaluation(tmp_path / "out").items("a").table["kind"].to_pylist() == ["None", None, None]


def test_another_task_is_added_and_the_old_one_stays(typed, trained, tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    first, _ = typed(trained("text"), "--data", tmp_path / "a.jsonl")
    both, said = typed(trained("text"), "--data", tmp_path / "b.jsonl")
    assert set(both["tasks"]) == set(both["about"]) == set(both["contamination"]["tasks"]) == {"a", "b"}
    assert both["tasks"]["a"] == first["tasks"]["a"] and "a:" not in said
    assert [words.partition(":")[0] for words in both["warnings"]] == ["a", "b"]


def test_a_folder_is_of_one_model(typed, refused, trained, tmp_path):
    (tmp_path / "b.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    words, out = (trained("text"), "--data", tmp_path / "b.jsonl"), ("--out", tmp_path / "out")
    first, _ = typed(*words)
    other = (trained("chat"), "--tasks", tasks_file(tmp_path))
    assert "has the evaluation of another model" in (said := refused(*other, *out))
    assert "--out DIR" in said and "--fresh" in said
    assert "by 32 tokens at once, not 16" in refused(*words, *out, "--length", 16)
    again, told = typed(*words)
    assert again["tasks"] == first["tasks"] and "measured before" in told
    assert set(typed(*other, "--fresh")[0]["tasks"]) == {"own"}
    assert [path.name for path in (tmp_path / "out" / "items").glob("*.json")] == ["own.json"]


def test_a_folder_is_written_by_one_process_at_a_time(refused, trained, tmp_path):
    (tmp_path / "b.jsonl").write_text('{"text": "one"}')
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / "lock").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        said = refused(trained("text"), "--data", tmp_path / "b.jsonl", "--out", tmp_path / "out")
    assert "another process evaluates into this folder" in said


def test_damaged_items_are_told_of_and_measured_again(typed, trained, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    words = (trained("text"), "--data", tmp_path / "a.jsonl")
    first, _ = typed(*words)
    items = tmp_path / "out" / "items" / "a.parquet"
    items.write_bytes(items.read_bytes()[:-20])
    with pytest.raises(CurateError, match="the items of the task `a` are damaged"):
        open_evaluation(tmp_path / "out").items("a")
    again, told = typed(*words)
    assert "damaged" in told and "it is measured again" in told
    assert again["tasks"] == first["tasks"]


def test_rows_without_text_are_left_out_and_counted(typed, refused, trained, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": null}\n{"text": ""}\n{"text": "two"}\n')
    found, _ = typed(trained("text"), "--data", tmp_path / "a.jsonl")
    assert found["tasks"]["a"]["bits_per_byte"]["n"] == 2
    assert "a: 2 rows have nothing in a column that is read, and are left out" in found["warnings"]
    (tmp_path / "a.jsonl").write_text('{"text": null}\n{"text": ""}\n')
    assert "no row has anything in `text`" in refused(trained("text"), "--data", tmp_path / "a.jsonl")


def test_a_task_that_cannot_work_is_refused_before_any_is_measured(refused, trained, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one", "answer": "1"}\n{"text": "two", "answer": "2"}\n')
    (tmp_path / "tasks.yaml").write_text(
        "tasks:\n"
        "  - {name: first, kind: perplexity, files: [a.jsonl]}\n"
        "  - {name: long, kind: generation, files: [a.jsonl], prompt: '{{ text }}', answer: answer, most: 300}\n"
    )
    said = refused(trained("text"), "--tasks", tmp_path / "tasks.yaml", "--out", tmp_path / "out")
    assert "300 new tokens leave no room for a prompt" in said
    assert "task long: most" in said and "`most: 16` leaves room" in said
    assert not (tmp_path / "out").exists()
    said = refused(trained("mood"), "--tasks", tmp_path / "tasks.yaml", "--out", tmp_path / "out")
    assert "does not predict the next token" in said


def test_what_was_measured_is_kept_where_another_task_fails(project, trained, tmp_path, monkeypatch):
    for name in "abc":
        (tmp_path / f"{name}.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    read = TokenModel.read

    def fail(model, texts):
        fail.calls += 1
        if fail.calls == 2:
            raise CurateError("the model gives numbers that are not finite")
        return read(model, texts)

    fail.calls = 0
    monkeypatch.setattr(TokenModel, "read", fail)
    monkeypatch.chdir(project)
    data = [word for name in "abc" for word in ("--data", str(tmp_path / f"{name}.jsonl"))]
    done = CliRunner().invoke(app, ["eval", str(trained("text")), *data, "--out", str(tmp_path / "out")])
    assert "not finite" in str(done.exception)
    assert "bits_per_byte" in done.stdout
    result = open_evaluation(tmp_path / "out").result
    assert set(result["tasks"]) == {"a", "c"}
    assert result["failed"] == {"b": "the model gives numbers that are not finite"}
    done = CliRunner().invoke(app, ["eval", str(trained("text")), *data, "--out", str(tmp_path / "out"), "--json"])
    assert set(json.loads(done.stdout)["tasks"]) == {"a", "b", "c"} and json.loads(done.stdout)["failed"] == {}


def test_an_interruption_says_what_is_kept(project, trained, tmp_path, monkeypatch):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}')

    def interrupted(model, texts):
        raise KeyboardInterrupt

    monkeypatch.setattr(TokenModel, "read", interrupted)
    monkeypatch.chdir(project)
    words = [str(trained("text")), "--data", str(tmp_path / "a.jsonl"), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, ["eval", *words])
    assert "0 of 1 tasks are measured, and kept; a begins again next time" in done.stderr


def test_by_is_of_data_and_not_of_tasks_in_a_file(refused, trained, tmp_path):
    (tmp_path / "b.jsonl").write_text('{"text": "one", "kind": "x"}')
    said = refused(trained("text"), "--tasks", tasks_file(tmp_path), "--by", "kind")
    assert "--by is of --data and of tasks of lm-evaluation-harness" in said and "`by: [COLUMN]`" in said


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["nosuch"], "there is no model `nosuch`"),
        (["RUN", "--tasks", "nothere.yaml"], "there is no file of tasks `nothere.yaml`"),
        (["RUN", "--tasks", "wrong.yaml"], "has no setting `tasks.0.txt`"),
        (["RUN", "--tasks", "lambada"], "needs the folder with its data"),
        (["RUN", "--data", "nothere.jsonl"], "there is no file `nothere.jsonl`"),
    ],
)
def test_what_was_typed_is_checked_before_heavy_packages_are_loaded(trained, tmp_path, words, problem):
    (tmp_path / "wrong.yaml").write_text("tasks: [{name: a, kind: perplexity, files: [x], txt: y}]")
    code = (
        "import sys\nfrom curate.cli import main\n"
        "try: main()\n"
        "finally: print([name for name in ('torch', 'transformers', 'lm_eval', 'datasets') if name in sys.modules])"
    )
    typed = [str(trained("text")) if word == "RUN" else word for word in words]
    done = subprocess.run([sys.executable, "-c", code, "eval", *typed], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and problem in done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert "curate init" not in done.stderr


def tasks_file(folder):
    (folder / "tasks.yaml").write_text("tasks: [{name: own, kind: perplexity, files: [b.jsonl]}]")
    return folder / "tasks.yaml"


def test_contamination_by_another_version_is_found(typed, trained, project):
    found, _ = typed(trained("text"), "--data", "rows", "--split", "train", "--contamination", "rows")
    one = found["contamination"]["tasks"]["rows"]
    assert one["contaminated"] == one["n"] == 40 - one["too_short"]


def test_a_training_version_that_is_gone_is_told_of(typed, trained, tmp_path):
    folder = tmp_path / "gone"
    shutil.copytree(trained("text"), folder)
    config = json.loads((folder / "config.json").read_text())
    config["data"]["dataset"] = "lost"
    (folder / "config.json").write_text(json.dumps(config))
    found, told = typed(folder, "--data", "rows")
    assert "contamination is not known: there is no dataset named `lost`" in told
    assert "contamination" not in found


def test_a_run_with_a_head_is_measured_on_its_labels(typed, trained):
    found, _ = typed(trained("mood"))
    metrics = next(iter(found["tasks"].values()))
    assert {"accuracy", "macro_f1", "calibration_error"} <= metrics.keys()
    assert metrics["accuracy"]["n"] == 10


def test_memorization_is_beside_the_tasks(typed, trained):
    found, _ = typed(trained("chat"), "--data", "rows", "--memorization", "10", "--memorization-from", "rows", out="m")
    assert set(found["memorization"]["verbatim"]) == {"train", "validation"}
    assert {"value", "low", "high", "n"} == found["memorization"]["gap"]["bits_per_byte"].keys()


def test_memorization_of_a_model_with_a_head_is_refused(refused, trained):
    assert "memorization is of language models" in refused(trained("mood"), "--memorization", "5")


def test_memorization_of_a_model_of_unknown_training_asks_for_the_version(refused, trained, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n')
    folder = tmp_path / "hf"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    said = refused(folder, "--data", tmp_path / "a.jsonl", "--memorization", "5")
    assert "it is not known which version" in said and "evaluate on" not in said
    assert "--memorization-from VERSION" in said


def test_numbers_are_short_and_a_zero_has_no_sign():
    assert [decimal(one, "+") for one in (543023610.4529, -0.00001, 0.25, None)] == [
        "+5.43e+08",
        "0.0000",
        "+0.2500",
        "-",
    ]


def test_a_task_is_named_by_the_dataset_where_none_is_named(trained):
    assert [task.name for task in asked_tasks(str(trained("text")), [], [], None, (), None)] == ["rows"]


def test_the_card_of_a_run_tells_of_evaluations_of_its_export(project, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(project)
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "one two three four five six seven eight nine"}) + "\n")
    for words in (
        ["export", trained("text"), "--out", tmp_path / "hf"],
        ["eval", tmp_path / "hf", "--data", tmp_path / "a.jsonl", "--out", tmp_path / "of-export"],
        ["eval", trained("text"), "--data", tmp_path / "a.jsonl", "--out", tmp_path / "of-run"],
        ["report", "text", "--out", tmp_path / "card.html"],
    ):
        done = CliRunner().invoke(app, list(map(str, words)))
        assert done.exit_code == 0, done.output
        told = "contamination was not looked for: --contamination VERSION" in done.stderr
        assert told == (words[:2] == ["eval", tmp_path / "hf"])
    page = (tmp_path / "card.html").read_text()
    assert "of-export" in page and "of-run" in page
    assert "a: in the training data" in page and "0 of 1 items" in page


def test_a_group_may_not_be_named_as_what_is_measured(refused, trained, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one two", "bytes": 7}\n')
    assert "something else under the name `bytes`" in refused(
        trained("text"), "--data", tmp_path / "a.jsonl", "--by", "bytes"
    )


def test_fresh_removes_an_evaluation_and_nothing_else(typed, trained, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one two"}\n')
    (tmp_path / "out" / "items").mkdir(parents=True)
    (tmp_path / "out" / "items" / "precious.txt").write_text("mine")
    typed(trained("text"), "--data", tmp_path / "a.jsonl")
    found, _ = typed(trained("started"), "--data", tmp_path / "a.jsonl", "--fresh")
    assert found["model"] == str(trained("started"))
    assert (tmp_path / "out" / "items" / "precious.txt").read_text() == "mine"


def test_what_was_known_of_a_task_does_not_stand_beside_its_new_numbers(typed, trained, tmp_path):
    def write(words):
        (tmp_path / "a.jsonl").write_text(json.dumps({"text": words}) + "\n")

    write("one two three four five six seven eight nine ten")
    before, _ = typed(trained("text"), "--data", tmp_path / "a.jsonl")
    write("another text, as long as it has to be for contamination")
    after, _ = typed(trained("text"), "--data", tmp_path / "a.jsonl", "--contamination", "none")
    assert "a" in before["contamination"]["tasks"] and "a" not in after["contamination"]["tasks"]


def test_a_crash_between_items_and_what_they_are_about_leaves_none(tmp_path, monkeypatch):
    import pyarrow as pa

    from curate.evaluation import result

    result.write_items(tmp_path, result.Items("t", pa.table({"id": ["a"]}), {"model": "one"}))
    monkeypatch.setattr(result, "write_durably", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        result.write_items(tmp_path, result.Items("t", pa.table({"id": ["b"]}), {"model": "other"}))
    assert result.read_items(tmp_path, "t") is None
