"""What the store knows of a run that goes well, fails, or is killed."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from curate.dataset.runs import records
from curate.dataset.store import Store
from curate.errors import CurateError, ResumableError
from curate.train.runs.folder import RunFolder
from curate.train.runs.record import recorded


class Project:
    """A store, and the folder of a run on two of its versions."""

    def __init__(self, root) -> None:
        self.store = Store.open(root / "store", create=True)
        self.folder = RunFolder(root / "runs/small")
        self.folder.path.mkdir(parents=True)
        versions = {"books": "a" * 64, "poems": "b" * 64}
        self.datasets = {
            name: SimpleNamespace(store=self.store, name=name, version=version, tag="v1")
            for name, version in versions.items()
        }
        self.packs = {
            name: SimpleNamespace(hash=name, tokenizer="t" * 64, manifest={"dataset": name}) for name in versions
        }

    def train(self, *, error=None, steps=(), weights=None):
        with recorded(self.datasets, self.packs, self.folder):
            self.during = self.records()
            for step in steps:
                place = self.folder.checkpoints / f"step-{step:06}"
                place.mkdir(parents=True)
                (place / "checkpoint.json").write_text(json.dumps({"step": step}))
            if weights:
                (self.folder.path / "result.json").write_text(
                    json.dumps({"checkpoint": f"checkpoints/step-{steps[-1]:06}", "weights": weights})
                )
            if error:
                raise error

    def records(self):
        return records(self.store, "training")


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def test_a_run_is_on_record_from_its_begin(project):
    project.train(steps=[2, 10], weights="w")
    assert [(one["state"], one["outputs"]) for one in project.during] == [("running", [])]
    (one,) = project.records()
    assert (one["state"], one["began"] <= one["ended"]) == ("done", True)
    assert [(thing["kind"], thing["name"]) for thing in one["outputs"]] == [
        ("checkpoint", "checkpoints/step-000010"), ("weights", "checkpoints/step-000010")
    ]  # fmt: skip


def test_every_version_that_was_trained_on_finds_the_run(project):
    project.train(steps=[1], weights="w")
    for dataset in project.datasets.values():
        assert len(records(project.store, "training", version=dataset.version)) == 1


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (CurateError("the loss is not finite"), "failed"),
        (RuntimeError("a defect"), "failed"),
        (ResumableError("killed"), "interrupted"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_how_a_run_ended_is_on_record_with_its_newest_checkpoint(project, error, state):
    with pytest.raises(type(error)):
        project.train(error=error, steps=[5])
    (one,) = project.records()
    assert (one["state"], [thing["name"] for thing in one["outputs"]]) == (state, ["checkpoints/step-000005"])


def test_a_run_that_goes_on_has_one_record(project):
    with pytest.raises(KeyboardInterrupt):
        project.train(error=KeyboardInterrupt(), steps=[5])
    (before,) = project.records()
    project.train(steps=[6], weights="w")
    (after,) = project.records()
    assert (after["id"], after["began"], after["state"]) == (before["id"], before["began"], "done")


def test_a_complete_run_is_left_as_it_is_on_record(project):
    project.train(steps=[5], weights="w")
    before = project.records()
    project.train()
    assert project.records() == before


def test_a_run_that_was_killed_before_its_first_checkpoint_is_interrupted_and_the_next_has_a_record_of_its_own(project):
    held = recorded(project.datasets, project.packs, project.folder)
    held.__enter__()  # and never left
    project.train(steps=[1], weights="w")
    assert sorted(one["state"] for one in project.records()) == ["done", "interrupted"]
