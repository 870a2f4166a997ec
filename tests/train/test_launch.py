"""Processes that fail, die or hang are told of, and started again where that helps."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import types
from types import SimpleNamespace

import pytest

from curate.errors import CurateError, ResumableError
from curate.train.runs import stacks
from curate.train.runs.folder import RunFolder
from curate.train.runs.launch import Place, _failure, launch, torchrun_place
from curate.train.runs.stacks import collect_stacks
from curate.train.runs.watchdog import ProcessDied, Watchdog, hang_error


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run").mkdir()
    return RunFolder(tmp_path / "run")


@pytest.fixture
def trained(monkeypatch):
    """Put a function in the place of `train_process`, in this process."""

    def put(train_process):
        module = types.ModuleType("curate.train.runs.process")
        module.train_process = train_process
        monkeypatch.setitem(sys.modules, "curate.train.runs.process", module)

    return put


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


def test_a_disk_full_while_the_run_folder_is_written_is_resumable(folder, tiny, trained):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    trained(full)
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


def test_one_process_that_hangs_is_ended_with_its_stack(folder, tiny, trained):
    def hang(config, folder, packs, world, *, report, heartbeat):
        heartbeat()
        time.sleep(60)

    trained(hang)
    with pytest.raises(ProcessDied, match=r"process 0 of 1 hangs: a step took longer than 0.3 s") as error:
        launch(tiny(timeout=0.3), folder, {})
    assert "test_launch.py" in error.value.where.partition(" <")[0]
    assert "in hang" in (folder.stacks / "0.txt").read_text()


def test_ctrl_c_stays_ctrl_c(folder, tiny, trained):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    trained(interrupted)
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


# ---- really several processes

PATIENCE = 500
"""Seconds for all that a script does: it has to import torch, beside whatever else this machine does."""

SCRIPT = """
import os, signal, sys, time, types
from pathlib import Path

module = types.ModuleType("curate.train.runs.process")
sys.modules["curate.train.runs.process"] = module

from curate.errors import CurateError
from curate.train.settings.config import TrainConfig
from curate.train.runs.folder import RunFolder
from curate.train.runs.launch import launch

folder, what, settings = Path(sys.argv[1]), sys.argv[2], sys.argv[3]


def train_process(config, run, packs, world, *, report, heartbeat):
    world.total(1)
    heartbeat()  # all are here: from now on time counts
    if world.rank == world.size - 1:
        misbehave()
    if world.rank == 0:
        run.write("result.json", {"sum": world.total(world.rank + 1)[0]})
    else:
        world.total(world.rank + 1)


def misbehave():
    if what == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if what in ("sleep", "stop"):
        time.sleep(1000)  # who is stopped is woken, to tell where it stands
    if what == "fail":
        raise RuntimeError("the device was lost")
    if what == "refuse":
        raise CurateError("the loss is nan")
    if what == "kill" or (what == "kill once" and not (folder / "killed").exists()):
        (folder / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)


module.train_process = train_process
if __name__ == "__main__":
    try:
        launch(TrainConfig.model_validate_json(settings), RunFolder(folder), {})
    except CurateError as error:
        print(error)
        sys.exit(error.exit_code)
    print("complete")
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


@pytest.fixture
def act(folder, tiny, script):
    """Run the script: `act("sleep", processes=2)`."""

    def act(what, **settings):
        given = [str(folder.path), what, tiny(device="cpu", **settings).model_dump_json()]
        return subprocess.run([sys.executable, script, *given], capture_output=True, text=True, timeout=PATIENCE)

    return act


@pytest.mark.slow
@pytest.mark.parametrize("what", ["sleep", "stop"])
def test_the_process_that_hangs_is_named_with_its_stack(act, folder, what):
    done = act(what, processes=2, timeout=1)
    assert done.returncode == 4
    problem, where, hint = done.stdout.splitlines()
    assert problem == "error: process 1 of 2 hangs: a step took longer than 1 s"
    assert "in misbehave <" in where
    assert "it goes on from the last checkpoint" in hint
    assert "all_reduce" in (folder.stacks / "0.txt").read_text()
    assert "in misbehave" in (folder.stacks / "1.txt").read_text()


@pytest.mark.slow
def test_processes_of_which_one_was_killed_are_started_again(act, folder):
    done = act("kill once", processes=2, restarts=1)
    assert done.stdout == "complete\n"
    assert "train small: process 1 of 2 was killed (SIGKILL)" in done.stderr
    assert "train small: starting again from the last checkpoint; 0 more restarts" in done.stderr
    assert folder.result() == {"sum": 3}


@pytest.mark.slow
def test_restarts_come_to_an_end(act):
    done = act("kill", restarts=1)
    assert done.returncode == 4
    assert "process 0 of 1 was killed (SIGKILL)" in done.stdout
    assert done.stderr.count("starting again") == 1


@pytest.mark.slow
def test_a_failure_of_the_machine_starts_again_and_is_told_with_its_traceback(act):
    done = act("fail", processes=2, restarts=1)
    assert done.stderr.count("starting again") == 1
    assert "process 1 of 2 failed" in done.stderr
    assert "RuntimeError: the device was lost" in done.stderr


@pytest.mark.slow
def test_what_the_user_must_solve_is_not_tried_again(act):
    done = act("refuse", restarts=3)
    assert (done.returncode, done.stdout) == (2, "error: the loss is nan\n")
    assert "starting again" not in done.stderr


# ---- torchrun


def free_port():
    with socket.socket() as some:
        some.bind(("localhost", 0))
        return some.getsockname()[1]


def torchrun(script, folder, config, *arguments, what="train"):
    """One of torchrun's launchers, started."""
    given = [str(script), str(folder.path), what, config.model_dump_json()]
    command = [sys.executable, "-m", "torch.distributed.run", *arguments, *given]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture
def environment(monkeypatch):
    """As torchrun sets it for the only process."""
    given = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "MASTER_ADDR": "localhost", "MASTER_PORT": free_port()}
    for name, value in given.items():
        monkeypatch.setenv(name, str(value))


def test_a_process_knows_its_place_among_those_of_torchrun(environment, monkeypatch):
    monkeypatch.setenv("RANK", "5")
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert torchrun_place() == Place(rank=5, size=8, local=1)
    monkeypatch.delenv("MASTER_ADDR")
    assert torchrun_place() is None


def test_another_number_of_processes_than_torchrun_s_is_refused(environment, folder, tiny):
    with pytest.raises(CurateError, match="torchrun has started 1 processes, and the settings say 2") as error:
        launch(tiny(processes=2), folder, {})
    assert "--processes 1" in error.value.hint


def test_a_process_of_torchrun_meets_the_others_through_the_environment(environment, folder, tiny, trained):
    worlds = []
    trained(lambda config, folder, packs, world, **_: worlds.append((world.rank, world.size)))
    launch(tiny(), folder, {})
    assert worlds == [(0, 1)]


def test_a_machine_that_does_not_see_the_run_folder_is_refused(environment, folder, tiny):
    with pytest.raises(CurateError, match="1 of the 1 processes do not see the run folder") as error:
        launch(tiny(), RunFolder(folder.path / "nothing"), {})
    assert "--runs" in error.value.hint


def test_a_complete_run_is_left_alone_by_all_processes_of_torchrun(environment, folder, tiny, trained):
    folder.write("result.json", {})
    trained(lambda *_, **__: pytest.fail("the run was complete"))
    launch(tiny(), folder, {})


@pytest.mark.slow
def test_torchrun_starts_several_processes_of_which_one_that_hangs_is_named(script, folder, tiny):
    config = tiny(device="cpu", processes=2, timeout=1)
    process = torchrun(script, folder, config, "--nproc-per-node=2", f"--master-port={free_port()}", what="sleep")
    output, _ = process.communicate(timeout=PATIENCE)
    assert output.count("error: process 1 of 2 hangs: a step took longer than 1 s") == 1
    assert "in misbehave <" in output


@pytest.mark.slow
def test_torchrun_on_two_machines_trains_one_run(script, folder, tiny):
    meeting = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", f"--rdzv-endpoint=localhost:{free_port()}"]
    machines = [torchrun(script, folder, tiny(device="cpu", processes=2), *meeting) for _ in range(2)]
    outputs = [machine.communicate(timeout=PATIENCE)[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], outputs
    assert folder.result() == {"sum": 3}
