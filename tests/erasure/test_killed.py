"""An erasure that is killed at any moment leaves a store that is sound, and the same command finishes it."""

from __future__ import annotations

import os
import shutil
import signal

import pytest

from curate.dataset.blobs import LocalBlobs
from curate.dataset.care import collect_garbage, verify
from curate.dataset.erased import erasures
from curate.dataset.export import export
from curate.dataset.store import Store
from curate.erasure.erase import erase
from curate.erasure.subject import read_subject
from tests.erasure.conftest import canaries

CHANGES = ("write", "publish", "swap", "delete", "delete_folder")


def erased(project, say=lambda words: None):
    return erase(Store.open(project.location), read_subject(project.root / "subject.yaml"), say=say)


def changes(project):
    """How many times an erasure changes something."""
    with pytest.MonkeyPatch.context() as patch:
        count = counting(patch, lambda number: None)
        erased(project)
    return count()


def counting(patch, at):
    """Call `at` before each change of a store with its number."""
    number = 0

    def counted(function):
        def call(*arguments):
            nonlocal number
            number += 1
            at(number)
            return function(*arguments)

        return call

    for name in CHANGES:
        patch.setattr(LocalBlobs, name, counted(getattr(LocalBlobs, name)))
    return lambda: number


def killed(project, at):
    """Erase in a process that is killed before a change; whether it was."""
    child = os.fork()
    if not child:
        try:
            with pytest.MonkeyPatch.context() as patch:
                counting(patch, lambda number: os.kill(os.getpid(), signal.SIGKILL) if number == at else None)
                erased(project)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def again(project):
    shutil.rmtree(project.root / ".curate")
    shutil.copytree(project.root / "before", project.root / ".curate")


@pytest.fixture
def restored(person):
    shutil.copytree(person.root / ".curate", person.root / "before")
    return person


@pytest.mark.slow
def test_an_erasure_that_is_killed_before_any_change_is_finished_by_the_same_command(restored):
    count = changes(restored)
    assert count > 10
    for at in range(1, count + 1, 4):  # each change of a few kinds; all of them take minutes
        again(restored)
        assert killed(restored, at), at
        assert verify(restored.open())["problems"] == [], at
        erased(restored)
        assert canaries(restored.store) == [], at
        assert verify(restored.open())["problems"] == [], at
        assert [one["state"] for one in erasures(restored.store)] == ["done"], at


@pytest.mark.slow
@pytest.mark.parametrize("part", [0.5, 0.7, 0.8, 0.9])
def test_a_run_between_a_killed_erasure_and_its_end_does_no_harm(restored, part):
    count = changes(restored)
    again(restored)
    assert killed(restored, int(count * part))
    restored.run()
    erased(restored)
    assert canaries(restored.store) == []
    for name in ("toy", "toy@v1"):
        assert verify(restored.open(name))["problems"] == []
    restored.run()
    assert canaries(restored.store) == []


@pytest.mark.slow
@pytest.mark.parametrize("part", [0.4, 0.6, 0.8])
def test_garbage_collection_after_a_killed_erasure_removes_nothing_that_its_end_needs(restored, part):
    count = changes(restored)
    again(restored)
    assert killed(restored, int(count * part))
    collect_garbage(restored.store, keep_days=0, keep_last=0, dry_run=False)
    erased(restored)
    assert canaries(restored.store) == []
    assert verify(restored.open())["problems"] == []


def test_the_erasure_of_somebody_else_leaves_no_path_that_names_the_first(restored):
    folder = restored.root / "jane-doe"
    export(restored.open(), "jsonl", folder)
    shutil.copytree(folder, restored.root / "exported")
    shutil.rmtree(restored.root / "before")
    shutil.copytree(restored.root / ".curate", restored.root / "before")
    count = changes(restored)
    again(restored)
    shutil.copytree(restored.root / "exported", folder, dirs_exist_ok=True)
    assert killed(restored, count - 3)
    (restored.root / "subject.yaml").write_text("documents: [ticket-30]")
    erased(restored)
    assert canaries(restored.store) == []


def test_what_was_interrupted_is_finished_by_the_erasure_of_somebody_else(restored):
    count = changes(restored)
    again(restored)
    assert killed(restored, count - 3)
    (restored.root / "subject.yaml").write_text("documents: [ticket-30]")
    told = erased(restored)
    assert told["documents"] == {"removed": 1, "redacted": 0}
    assert [(one["state"], bool(one["checked"])) for one in erasures(restored.store)] == [
        ("done", False),
        ("done", True),
    ]
    assert canaries(restored.store) == []
