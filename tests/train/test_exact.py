"""A run that was interrupted comes to the same bits as one that was not.

`CURATE_KILLS=20 pytest tests/train/test_exact.py -k killed_again` kills a run of each optimizer, of one and of two processes,
twenty times.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import psutil
import pytest

from curate.errors import CurateError
from curate.tokenize.pack import open_pack
from curate.train.runs import launch as launch_module
from curate.train.runs.folder import held, prepare
from curate.train.runs.launch import launch
from curate.train.runs.metrics import read_metrics
from curate.train.settings.config import TrainConfig
from tests.train.forked import context

pytestmark = pytest.mark.usefixtures("quick_processes")
KILLS = int(os.environ.get("CURATE_KILLS", "1"))
PROGRAM = """
import sys
from pathlib import Path
from curate.train.runs.folder import held, prepare
from curate.train.runs.launch import launch
from curate.train.settings.config import TrainConfig
from curate.tokenize.pack import open_pack

if __name__ == "__main__":
    config, packs = TrainConfig.model_validate_json(sys.argv[1]), {"": open_pack(Path(sys.argv[2]))}
    with held(Path(sys.argv[3])) as folder:
        prepare(folder, config, packs)
        launch(config, folder, packs)
"""
OPTIMIZERS = [
    {"kind": "adamw"},
    {"kind": "adamw", "average": 0.9},
    {"kind": "sgd", "learning_rate": 0.05},
    {"kind": "muon"},
]
KILLED = [(settings, 1) for settings in OPTIMIZERS] + [(settings, 2) for settings in OPTIMIZERS]
if "CURATE_KILLS" not in os.environ:
    KILLED = [*KILLED[: len(OPTIMIZERS)], KILLED[-1]]


class Interrupted(Exception):
    pass


def interrupt_at(step, config, path, pack):
    """Train in this process until just after a step."""
    from curate.train.parallel.world import joined
    from curate.train.runs.process import train_process

    def report(record):
        if record["step"] == step:
            raise Interrupted

    with held(path) as folder:
        prepare(folder, config, {"": pack})
        with pytest.raises(Interrupted), joined(0, 1) as world:
            train_process(config, folder, {"": pack}, world, report=report)


def started(config, pack, folder, *, last, told=Path(os.devnull)):
    """A run in a process of its own, which does not go beyond a step; what it says goes to a file."""
    folder.with_suffix(".waits").write_text(str(last))
    process = context().Process(target=train, args=(config, pack.folder, folder, told))
    process.start()
    return process


def train(config, pack, folder, told):
    """A run as a process of its own, whose processes are forks as it is; they say in a file how it went."""
    with told.open("w") as stream:
        os.dup2(stream.fileno(), 2)
    launch_module.get_context = lambda _: get_context("fork")
    packs = {"": open_pack(pack)}
    with held(folder) as run:
        prepare(run, config, packs)
        launch(config, run, packs)


def wait_for_step(folder, step, process):
    while process.exitcode is None:
        records = read_metrics(folder / "metrics.jsonl")
        if records and records[-1]["step"] >= step:
            return
        time.sleep(0.002)
    raise AssertionError(f"the run ended before step {step}")


def losses(folder):
    return [record["loss"] for record in read_metrics(folder.metrics)]


def weights(folder):
    return folder.result()["weights"]


# ---- one process


@pytest.mark.slow
@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda settings: "-".join(map(str, settings.values())))
def test_a_resumed_run_equals_a_straight_one_to_the_bit(run, tiny, pack, parameters, tmp_path, optimizer, asynchronous):
    config = tiny(optimizer=optimizer)
    straight = run(config, "straight")
    config = config.model_copy(update={"checkpoint_async": asynchronous})
    interrupt_at(7, config, tmp_path / "resumed", pack)
    resumed = run(config, "resumed")
    assert parameters(resumed) == parameters(straight)
    assert weights(resumed) == weights(straight)


@pytest.mark.slow
def test_a_resumed_run_has_every_step_once_in_its_metrics(run, tiny, pack, tmp_path):
    straight = run(tiny(), "straight")
    interrupt_at(7, tiny(), tmp_path / "resumed", pack)
    resumed = run(tiny(), "resumed")
    assert [record["step"] for record in read_metrics(resumed.metrics)] == list(range(1, 13))
    assert losses(resumed) == losses(straight)


def trainers(process):
    """The processes that a run has started."""
    return psutil.Process(process.pid).children()


def kill_one(process, moments):
    """The run or one of its processes; returns when all are gone."""
    family = [process, *trainers(process)]
    moments.choice(family).kill()
    process.join()
    psutil.wait_procs(family[1:])


@pytest.mark.slow
@pytest.mark.timeout(600 + 60 * KILLS)
@pytest.mark.parametrize(("optimizer", "processes"), KILLED, ids=str)
def test_a_run_killed_again_and_again_equals_a_straight_one(
    run, tiny, pack, parameters, tmp_path, optimizer, processes
):
    """With -9, at random moments, of which some are in the middle of a save; every other time it saves asynchronously."""
    part = 15
    config = tiny(optimizer=optimizer, processes=processes, steps=part * (KILLS + 1), checkpoint_every=4)
    straight = run(config, "straight")
    moments = random.Random(7)
    folder = tmp_path / "killed"
    for kill in range(KILLS):
        given = config.model_copy(update={"checkpoint_async": kill % 2 == 0})
        last = part * (kill + 1)
        process = started(given, pack, folder, last=last)
        wait_for_step(folder, part * kill + moments.randrange(1, part), process)
        time.sleep(moments.random() * 0.03)
        kill_one(process, moments)
    assert not (folder / "result.json").exists()
    folder.with_suffix(".waits").unlink()
    killed = run(config, "killed")
    assert parameters(killed) == parameters(straight)
    assert weights(killed) == weights(straight)
    assert losses(killed) == losses(straight)


# ---- two processes

PAIR = {
    "dataset": "tiny",
    "run": "small",
    "steps": 60,
    "checkpoint_every": 10,
    "checkpoint_async": True,
    "processes": 2,
    "model": {"layers": 2, "width": 32, "heads": 2, "key_value_heads": 1, "feed_forward": 64},
    "batch": {"sequences": 4, "length": 32},
}


@pytest.fixture(scope="module")
def straight_pair(pack, tmp_path_factory):
    """A straight run of two processes."""
    config = TrainConfig.model_validate(PAIR)
    with (
        pytest.MonkeyPatch.context() as patch,
        held(tmp_path_factory.mktemp("pair") / "straight") as folder,
    ):
        patch.setattr(launch_module, "get_context", lambda _: context())
        prepare(folder, config, {"": pack})
        launch(config, folder, {"": pack})
    return folder


@pytest.mark.slow
def test_two_processes_of_which_one_is_killed_resume_to_the_bit(run, straight_pair, parameters, pack, tmp_path):
    config, folder = TrainConfig.model_validate(PAIR), tmp_path / "killed"
    process = started(config, pack, folder, last=40, told=tmp_path / "told")
    wait_for_step(folder, 25, process)
    trainers(process)[-1].kill()
    process.join()
    assert re.search(r"process \d of 2 was killed \(SIGKILL\)", (tmp_path / "told").read_text())
    (tmp_path / "killed.waits").unlink()
    killed = run(config, "killed")
    assert parameters(killed) == parameters(straight_pair)
    assert weights(killed) == weights(straight_pair)


@pytest.mark.slow
def test_one_process_goes_on_from_two_on_the_same_batches(run, straight_pair, tmp_path):
    shutil.copytree(straight_pair.path, tmp_path / "shrunk")
    shutil.rmtree(tmp_path / "shrunk" / "checkpoints" / "step-000060")
    (tmp_path / "shrunk" / "result.json").unlink()
    shrunk = run(TrainConfig.model_validate({**PAIR, "processes": 1}), "shrunk")
    assert losses(shrunk) == pytest.approx(losses(straight_pair), abs=1e-5)


@pytest.mark.slow
def test_two_processes_go_on_from_one_on_the_same_batches(run, tiny, pack, tmp_path):
    straight = run(tiny(), "straight")
    interrupt_at(7, tiny(), tmp_path / "grown", pack)
    assert losses(run(tiny(processes=2), "grown")) == pytest.approx(losses(straight), abs=1e-5)


@pytest.mark.slow
def test_a_loss_that_diverges_in_two_processes_is_told_as_in_one(run, tiny):
    diverging = {"learning_rate": 1e30, "clip": None}
    with pytest.raises(CurateError, match=r"step \d+: the loss is .* gradients (nan|inf)"):
        run(tiny(processes=2, optimizer=diverging, schedule={"warmup": 0}))


@pytest.mark.slow
def test_processes_end_when_their_caller_is_killed(tiny, pack, tmp_path):
    """Really spawned ones, by a caller that is a program."""
    config = tiny(steps=100_000, checkpoint_every=100_000, processes=2)
    (tmp_path / "train.py").write_text(PROGRAM)
    given = [config.model_dump_json(), str(pack.folder), str(tmp_path / "run")]
    with subprocess.Popen([sys.executable, str(tmp_path / "train.py"), *given]) as process:
        while not read_metrics(tmp_path / "run" / "metrics.jsonl"):
            assert process.poll() is None
            time.sleep(0.01)
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    gone, _ = psutil.wait_procs(children)
    assert len(gone) >= 2


# ---- what is left


def test_the_result_names_checkpoint_tokens_and_hashes(run, tiny, pack):
    folder = run(tiny(steps=2))
    result = json.loads((folder.path / "result.json").read_text())
    assert result["checkpoint"] == "checkpoints/step-000002"
    assert result["tokens"] == 2 * 4 * 32
    assert result["dataset_version"] == pack.manifest["version"]
    assert result["tokenizer"] == pack.tokenizer
