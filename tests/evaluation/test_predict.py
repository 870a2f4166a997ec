"""`curate predict`: what a model with a head says is what it is evaluated by."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from curate.cli import app
from curate.dataset.reader import open_dataset
from curate.train.run import train_run

ROWS = {
    "mood": {"text": "the merry cat sings"},
    "pair": {"text": "the cat sings", "prompt": "the grim dog waits"},
    "score": {"text": "merry glad jolly grim"},
    "tags": {"words": ["the", "small", "cat", "sings"]},
    "german": {"source": "the cat sings"},
}


@pytest.fixture
def typed(project, monkeypatch):
    def start(*words, code=0):
        monkeypatch.chdir(project)
        done = CliRunner().invoke(app, ["predict", *map(str, words)])
        assert (done.exit_code == 0) == (code == 0), done.output
        return done

    return start


@pytest.fixture
def file(tmp_path):
    def write(*rows):
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write


def said(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_labels_have_probabilities_that_come_to_one(typed, trained, file):
    for name in ("mood", "pair"):
        for row in said(typed(trained(name), file(ROWS[name], ROWS[name]))):
            assert sum(row["probabilities"].values()) == pytest.approx(1)
            assert row["label"] == max(row["probabilities"], key=row["probabilities"].get)
            assert row["probability"] == max(row["probabilities"].values())


def test_what_is_predicted_is_what_is_evaluated(typed, trained, project, tmp_path, monkeypatch):
    monkeypatch.chdir(project)
    words = [
        "eval",
        str(trained("mood")),
        "--data",
        "rows",
        "--split",
        "test",
        "--out",
        str(tmp_path / "out"),
        "--json",
    ]
    found = json.loads(CliRunner().invoke(app, words).stdout)["tasks"]["rows"]["accuracy"]
    rows = said(typed(trained("mood"), "rows", "--split", "test"))
    table = open_dataset("rows", project / ".curate").arrow("test", ["id", "label"])
    right = dict(zip(table["id"].to_pylist(), table["label"].to_pylist(), strict=True))
    assert np.mean([row["label"] == str(right[row["id"]]) for row in rows]) == pytest.approx(found["value"])
    assert len(rows) == found["n"]


def test_numbers_words_texts_and_embeddings(typed, trained, file):
    [number] = said(typed(trained("score"), file(ROWS["score"])))
    assert set(number) == {"id", "number", "cut"} and np.isfinite(number["number"])
    [words] = said(typed(trained("tags"), file(ROWS["tags"])))
    assert len(words["labels"]) == len(words["probabilities"]) == 4
    assert all(0 < one <= 1 for one in words["probabilities"])
    [text] = said(typed(trained("german"), file(ROWS["german"])))
    assert isinstance(text["text"], str)
    one, other = said(typed(trained("mood"), file(ROWS["mood"], {"text": "another"}), "--embeddings"))
    assert len(one["embedding"]) == 16 and one["embedding"] != other["embedding"]


@pytest.mark.parametrize("kind", ["{kind: lstm, layers: 1, width: 16}", "{kind: cnn, width: 16}"])
def test_models_that_are_no_transformers_predict_too(typed, project, file, kind):
    name = f"small-{kind[7:10]}"
    train_run(
        project / "train.yaml",
        overrides=[f"run={name}", f"model={kind}", "objective={kind: classification}", "validation.sequences=null"],
    )
    [row] = said(typed(project / "runs" / name, file(ROWS["mood"])))
    assert row["label"] in row["probabilities"]


def test_files_and_json_have_the_same(typed, trained, file, tmp_path):
    rows = said(typed(trained("mood"), file(ROWS["mood"], {"text": "the grim dog"})))
    typed(trained("mood"), tmp_path / "rows.jsonl", "--out", tmp_path / "out.jsonl")
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == rows
    assert json.loads(typed(trained("mood"), tmp_path / "rows.jsonl", "--json").stdout)["predictions"] == rows
    [first] = said(typed(trained("mood"), tmp_path / "rows.jsonl", "--limit", 1))
    assert (first["id"], first["label"]) == (rows[0]["id"], rows[0]["label"])


@pytest.mark.parametrize(
    ("name", "row", "more", "problem"),
    [
        ("text", {"text": "a"}, [], "has no head"),
        ("mood", {"body": "a"}, [], "has no text in `text`"),
        ("tags", {"words": "cat"}, [], "has no list of words in `words`"),
        ("tags", {"words": ["cat"]}, ["--embeddings"], "has no embedding"),
        ("mood", {"text": "a"}, ["--split", "test"], "files have no splits"),
    ],
)
def test_what_cannot_be_predicted_is_told(typed, trained, file, name, row, more, problem):
    assert problem in str(typed(trained(name), file(row), *more, code=2).exception)


@pytest.mark.parametrize("name", ["mood", "tags", "german"])
def test_a_row_without_what_is_read_costs_itself_alone(typed, trained, file, name):
    done = typed(trained(name), file(ROWS[name], {"body": "a"}, ROWS[name]))
    first, wrong, last = said(done)
    assert {**first, "id": 0} == {**last, "id": 0} and set(wrong) == {"id", "error"}
    assert f"warning: 1 of the rows have `error` for a prediction: {wrong['error']}" in done.stderr


def test_a_reward_model_scores_the_answers_of_its_training(typed, trained, file):
    both = {"question": "the cat sings", "chosen": "merry", "rejected": "grim"}
    [row] = said(typed(trained("judge"), file(both)))
    assert set(row) == {"id", "chosen_score", "rejected_score"}
    [chosen, rejected] = (
        said(typed(trained("judge"), file({"question": "the cat sings", "completion": both[name]})))[0]["score"]
        for name in ("chosen", "rejected")
    )
    assert (chosen, rejected) == pytest.approx((row["chosen_score"], row["rejected_score"]), abs=1e-5)


def test_other_columns_of_a_reward_model_are_named(typed, trained, file):
    [row] = said(typed(trained("judge"), file({"asked": "a", "said": "b"}), "--prompt", "asked", "--text", "said"))
    assert set(row) == {"id", "score"}
    done = typed(trained("judge"), file({"asked": "a", "said": "b"}), "--prompt", "asked", code=1)
    assert "has no text in `completion`" in str(done.exception) and "asked, said" in str(done.exception)


def test_a_model_that_gives_no_score_is_refused_where_answers_are_to_be_scored(typed, trained, file):
    done = typed(trained("mood"), file({"prompt": "a", "completion": "b"}), "--prompt", "prompt", code=1)
    assert "was trained for `classification`, and gives no score" in str(done.exception)
