"""Processes that fail, die or hang are told of, and started again where that helps."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from types import SimpleNamespace

import pytest

from curate.errors import CurateError, ResumableError
from curate.train.runs import stacks
from curate.train.runs.folder import RunFolder
from curate.train.runs.launch import _failure, launch
from curate.train.runs.stacks import collect_stacks
from curate.train.runs.watchdog import ProcessDied, Watchdog, hang_error


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run").mkdir()
    return RunFolder(tmp_path / "run")


# ---- which failure is told


def process(code):
    return SimpleNamespace(exitcode=code)


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


def test_the_first_of_several_tracebacks_is_told(tmp_path, folder):
    for age, (rank, words) in enumerate([("0", "connection closed by peer"), ("1", "our own")]):
        (tmp_path / f"{rank}.txt").write_text(f"Traceback: {words}")
        os.utime(tmp_path / f"{rank}.txt", (1000 - age, 1000 - age))
    error = _failure([process(1), process(1)], tmp_path, folder)
    assert isinstance(error, RuntimeError)
    assert str(error) == "process 1 of 2 failed:\nTraceback: our own"


def test_a_process_that_left_nothing_is_told_with_the_logs(tmp_path, folder):
    (tmp_path / "1.log").write_text("out of luck")
    assert "left no traceback\nout of luck" in str(_failure([process(None), process(1)], tmp_path, folder))


def test_a_disk_full_in_a_process_is_resumable(tmp_path, folder):
    record = {"kind": "ResumableError", "problem": "checkpoint 2 cannot be written", "where": None, "hint": None}
    (tmp_path / "0.json").write_text(json.dumps(record))
    assert isinstance(_failure([process(1), process(None)], tmp_path, folder), ResumableError)


def test_a_disk_full_while_the_run_folder_is_written_is_resumable(folder, tiny, stand_in):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    stand_in(full)
    with pytest.raises(ResumableError, match="the run folder cannot be written: No space left on device"):
        launch(tiny(), folder, {})


# ---- the watchdog


class Ticks:
    """In the place of the event that a watchdog waits on: it does something at some of its ticks, and then ends."""

    def __init__(self, ticks, beats, beat):
        self.ticks, self.beats, self.beat = ticks, beats, beat
        self.number = 0

    def wait(self, interval):
        self.number += 1
        if self.number in self.beats:
            self.beat()
        return self.number > self.ticks

    def set(self):
        pass


@pytest.mark.parametrize(
    ("beats", "expired_at"),
    [
        ([], None),  # nothing is too long before the first beat
        ([1], 11),
        ([1, 5, 14], 24),
        ([1, 11, 12], None),
    ],
)
def test_a_step_that_takes_too_long_is_noticed_once_and_beats_put_it_off(beats, expired_at):
    told = []
    watchdog = Watchdog(5.0, lambda: told.append(ticks.number))  # a tick is half a second
    watchdog.stopped = ticks = Ticks(30 if expired_at else 11, beats, watchdog.beat)
    watchdog._watch()
    assert told == ([expired_at] if expired_at else [])


STACK = """Thread 0x00007f0000000001 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 324 in wait
  File "/usr/lib/python3.11/threading.py", line 1002 in _bootstrap

Thread 0x00007f0000000000 (most recent call first):
{}  File "/project/train/run.py", line 88 in _next
  File "/project/train/runs/launch.py", line 105 in _train
  File "<string>", line 1 in <module>
"""
WAITS = '  File "/lib/torch/_ops.py", line 1 in __call__\n  File "/lib/torch/distributed/c10d.py", line 3252 in all_reduce\n'
WORKS = '  File "/project/train/rewards.py", line 7 in number\n'


@pytest.mark.parametrize(
    ("stacks", "problem", "where"),
    [
        ([WAITS, WORKS], "process 1 of 2 hangs: a step took longer than 5 s", "train/rewards.py:7 in number <"),
        ([WORKS, WORKS, WAITS], "processes 0, 1 of 3 hang: a step took longer than 5 s", "train/rewards.py:7 in"),
        ([WAITS, None], "process 1 of 2 hangs: a step took longer than 5 s", "it left no stack"),
        ([WAITS, WAITS], "all 2 processes wait for each other: a step took longer than 5 s", None),
    ],
)
def test_who_does_not_wait_for_the_others_is_named(tmp_path, stacks, problem, where):
    for rank, lines in enumerate(stacks):
        if lines is not None:
            (tmp_path / f"{rank}.txt").write_text(STACK.format(lines))
    error = hang_error(tmp_path, len(stacks), 5)
    assert error.problem == problem
    assert (error.where or "").startswith(where or "")
    assert "launch.py" not in (error.where or "")
    assert str(tmp_path) in error.hint


def test_who_did_not_notice_the_hang_by_itself_is_named_wherever_it_stands(tmp_path):
    for rank in range(2):
        (tmp_path / f"{rank}.txt").write_text(STACK.format(WAITS))
    error = hang_error(tmp_path, 2, 5, silent=[1])
    assert error.problem == "process 1 of 2 hangs: a step took longer than 5 s"
    assert error.where.startswith("torch/_ops.py:1 in __call__ < distributed/c10d.py:3252 in all_reduce")


def test_one_process_that_hangs_is_ended_with_its_stack(folder, tiny, stand_in):
    def hang(config, folder, packs, world, *, report, heartbeat, watch=None):
        heartbeat()
        time.sleep(60)

    stand_in(hang)
    with pytest.raises(ProcessDied, match=r"process 0 of 1 hangs: a step took longer than 0.3 s") as error:
        launch(tiny(timeout=0.3), folder, {})
    assert "test_launch.py" in error.value.where.partition(" <")[0]
    assert "in hang" in (folder.stacks / "0.txt").read_text()


def test_ctrl_c_stays_ctrl_c(folder, tiny, stand_in):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    stand_in(interrupted)
    with pytest.raises(KeyboardInterrupt):
        launch(tiny(), folder, {})


# ---- where processes stand


def test_who_notices_late_is_waited_for_and_not_named(tmp_path, monkeypatch):
    polls = []

    def sleep(seconds):
        polls.append(seconds)
        if len(polls) == 3:
            (tmp_path / "0.hung").touch()

    monkeypatch.setattr(stacks, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: 0.0))
    (tmp_path / "0.stack").write_text("where it stands")
    running = SimpleNamespace(pid=os.getpid(), is_alive=lambda: True)
    assert collect_stacks([running], tmp_path, tmp_path / "stacks") == []
    assert (tmp_path / "stacks" / "0.txt").read_text() == "where it stands"


def test_who_has_ended_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(stacks, "time", SimpleNamespace(monotonic=lambda: 0.0))  # it cannot sleep
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert collect_stacks([SimpleNamespace(pid=ended.pid, is_alive=lambda: False)], tmp_path, tmp_path / "stacks") == [
        0
    ]
