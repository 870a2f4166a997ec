"""`curate eval` as it is typed: groups, contamination, memorization, and runs with a head."""

from __future__ import annotations

import json
import shutil

import pytest
from typer.testing import CliRunner

from curate.cli import app
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
    other, _ = typed(trained("chat"), "--tasks", tasks_file(tmp_path))
    assert set(other["tasks"]) == {"own"}


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
    said = refused(folder, "--data", tmp_path / "a.jsonl", "--memorization", "5")
    assert "it is not known which version" in said and "evaluate on" not in said
    assert "--memorization-from VERSION" in said


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
