"""A model of a column's values: what it learns from, what it says of itself, and that the stage takes it."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

import curate
from curate.cli import app
from curate.labeling.column import Asked, fit_column
from curate.quality.classifier import QualityClassifier

ROWS = [
    {"id": str(n), "text": f"{'fine prose' if n % 3 else 'buy now'} {n}", "q": None if n % 10 == 9 else n % 3 > 0}
    for n in range(100)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A store with a version of a hundred documents, of which ninety are labelled."""
    root = tmp_path_factory.mktemp("column")
    (root / "in.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    (root / "p.yaml").write_text("dataset: d\nsources: [{stage: files, paths: [in.jsonl]}]\nstages: []\n")
    curate.run(root / "p.yaml", workers=1)
    return root


def test_it_learns_from_labelled_documents_and_says_how_good_it_is(folder, tmp_path, apply_stage):
    dataset = curate.open_dataset("d", folder / ".curate")
    facts = fit_column(dataset, Asked("q"), tmp_path / "model")
    assert (facts["documents"], facts["labels"], facts["counts"]) == (90, ["False", "True"], {"False": 30, "True": 60})
    accuracy = facts["held_out"]["accuracy"]
    assert accuracy["low"] <= accuracy["value"] == 1.0 <= accuracy["high"]
    assert facts["held_out"]["auc"]["True"]["value"] == 1.0
    stage = QualityClassifier(model=facts["file"], label="True", min_score=0.5)
    assert list(apply_stage(stage, ["fine prose", "buy now"])[0]) == [1]
    assert json.loads((tmp_path / "model.json").read_text())["sha256"] == facts["sha256"]


def test_the_same_documents_are_drawn_again_and_no_more_than_asked_for(folder, tmp_path):
    dataset = curate.open_dataset("d", folder / ".curate")
    first, again = (fit_column(dataset, Asked("q", documents=30), tmp_path / name) for name in ("a", "b"))
    assert first["documents"] == 30
    assert first["sha256"] == again["sha256"]


def test_the_command_tells_accuracy_and_how_well_labels_are_told_apart(folder, tmp_path):
    called = ["label", "fit", "d", "--column", "q", "--out", str(tmp_path / "m"), "--store", str(folder / ".curate")]
    done = CliRunner().invoke(app, called)
    assert "90 labelled documents" in done.output
    assert "a document that is `True` scores above one that is not: 1.000 (" in done.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["d", "--column", "text"], "`text` has more than 20 different values: it has no labels"),
        (["d", "--column", "Q"], "`d` has no column `Q`"),
        (["--column", "q"], "`--column` is of a version, without a task"),
        (["d", "--out", "m"], "`--out` is of a model of `--column`"),
    ],
)
def test_what_cannot_be_learned_is_said(folder, options, said):
    done = CliRunner().invoke(app, ["label", "fit", *options, "--store", str(folder / ".curate")])
    assert said in str(done.exception)
