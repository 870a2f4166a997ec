"""Really several processes, started by curate or by torchrun."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from curate.errors import CurateError
from curate.train.runs.folder import RunFolder
from curate.train.runs.launch import Place, launch, torchrun_place


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run").mkdir()
    return RunFolder(tmp_path / "run")


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


def train_process(config, run, packs, world, *, report, heartbeat, watch=None):
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


def test_a_process_of_torchrun_meets_the_others_through_the_environment(environment, folder, tiny, stand_in):
    worlds = []
    stand_in(lambda config, folder, packs, world, **_: worlds.append((world.rank, world.size)))
    launch(tiny(), folder, {})
    assert worlds == [(0, 1)]


def test_a_machine_that_does_not_see_the_run_folder_is_refused(environment, folder, tiny):
    with pytest.raises(CurateError, match="1 of the 1 processes do not see the run folder") as error:
        launch(tiny(), RunFolder(folder.path / "nothing"), {})
    assert "--runs" in error.value.hint


def test_a_complete_run_is_left_alone_by_all_processes_of_torchrun(environment, folder, tiny, stand_in):
    folder.write("result.json", {})
    stand_in(lambda *_, **__: pytest.fail("the run was complete"))
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
