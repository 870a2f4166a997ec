"""How processes that fail are told of."""

from __future__ import annotations

import json
import signal
from types import SimpleNamespace

import pytest

from curate.errors import CurateError, ResumableError
from curate.train.folder import RunFolder
from curate.train.launch import _failure


def process(code):
    return SimpleNamespace(exitcode=code)


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run")


def test_an_error_of_the_user_in_any_process_comes_first(tmp_path, folder):
    (tmp_path / "0.txt").write_text("Traceback: connection closed by peer")
    record = {"kind": "CurateError", "problem": "the loss is nan", "where": None, "hint": "lower it"}
    (tmp_path / "1.json").write_text(json.dumps(record))
    error = _failure([process(1), process(1)], tmp_path, folder)
    assert type(error) is CurateError
    assert (error.problem, error.hint) == ("the loss is nan", "lower it")


def test_a_killed_process_comes_before_what_it_brought_on(tmp_path, folder):
    (tmp_path / "0.txt").write_text("Traceback: connection closed by peer")
    error = _failure([process(1), process(-signal.SIGKILL)], tmp_path, folder)
    assert isinstance(error, ResumableError)
    assert error.problem == "process 1 of 2 was killed (SIGKILL)"


def test_our_own_mistake_brings_its_traceback(tmp_path, folder):
    (tmp_path / "1.txt").write_text("Traceback: our own")
    error = _failure([process(None), process(1)], tmp_path, folder)
    assert isinstance(error, RuntimeError)
    assert "Traceback: our own" in str(error)


def test_a_disk_full_in_a_process_is_resumable(tmp_path, folder):
    record = {"kind": "ResumableError", "problem": "checkpoint 2 cannot be written", "where": None, "hint": None}
    (tmp_path / "0.json").write_text(json.dumps(record))
    assert isinstance(_failure([process(1), process(None)], tmp_path, folder), ResumableError)


def test_a_disk_full_while_metrics_are_written_is_resumable(run, tiny, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("curate.train.folder.Metrics.add", full)
    with pytest.raises(ResumableError, match="the run folder cannot be written: No space left on device"):
        run(tiny())


@pytest.mark.slow
def test_a_loss_that_diverges_in_two_processes_is_told_as_in_one(run, tiny):
    diverging = {"learning_rate": 1e30, "clip": None}
    with pytest.raises(CurateError, match=r"step \d+: the loss is .* gradients (nan|inf)"):
        run(tiny(processes=2, optimizer=diverging, schedule={"warmup": 0}))
