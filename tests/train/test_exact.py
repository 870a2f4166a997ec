"""A run that was interrupted comes to the same bits as one that was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from curate.errors import ResumableError
from curate.train.folder import held, prepare, read_metrics

TRAIN = """
import sys
from pathlib import Path
from curate.tokenize.pack import open_pack
from curate.train.config import TrainConfig
from curate.train.folder import held, prepare
from curate.train.launch import launch

if __name__ == "__main__":
    config = TrainConfig.model_validate_json(sys.argv[1])
    pack = open_pack(Path(sys.argv[2]))
    with held(Path(sys.argv[3])) as folder:
        prepare(folder, config, pack)
        launch(config, folder, pack)
"""


class Interrupted(Exception):
    pass


def interrupt_at(step, config, folder, pack):
    """Train in this process until just after a step."""
    from curate.train.shard import joined
    from curate.train.trainer import train_process

    def report(record):
        if record["step"] == step:
            raise Interrupted

    prepare(folder, config, pack)
    with pytest.raises(Interrupted), joined(0, 1) as world:
        train_process(config, folder, pack, world, report=report)


def wait_for_step(folder, step, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        records = read_metrics(folder / "metrics.jsonl")
        if records and records[-1]["step"] >= step:
            return
        time.sleep(0.002)
    raise TimeoutError(f"step {step} was not reached")


@pytest.mark.slow
def test_a_resumed_run_equals_a_straight_one_to_the_bit(run, tiny, pack, parameters, tmp_path):
    straight = run(tiny(), "straight")
    with held(tmp_path / "resumed") as folder:
        interrupt_at(7, tiny(), folder, pack)
    resumed = run(tiny(), "resumed")
    assert parameters(resumed) == parameters(straight)


def losses(folder):
    return [record["loss"] for record in read_metrics(folder.metrics)]


@pytest.mark.slow
def test_a_resumed_run_has_every_step_once_in_its_metrics(run, tiny, pack, tmp_path):
    straight = run(tiny(), "straight")
    with held(tmp_path / "resumed") as folder:
        interrupt_at(7, tiny(), folder, pack)
    resumed = run(tiny(), "resumed")
    assert [record["step"] for record in read_metrics(resumed.metrics)] == list(range(1, 13))
    assert losses(resumed) == losses(straight)


@pytest.mark.slow
def test_a_run_killed_with_9_and_resumed_equals_a_straight_one(run, tiny, pack, parameters, tmp_path):
    config = tiny(steps=60, checkpoint_every=10)
    straight = run(config, "straight")
    arguments = [config.model_dump_json(), str(pack.folder), str(tmp_path / "killed")]
    process = subprocess.Popen([sys.executable, "-c", TRAIN, *arguments])
    wait_for_step(tmp_path / "killed", 25)
    process.kill()
    process.wait()
    assert not (tmp_path / "killed" / "result.json").exists()
    assert parameters(run(config, "killed")) == parameters(straight)


@pytest.mark.slow
def test_two_processes_of_which_one_is_killed_resume_to_the_bit(run, tiny, pack, parameters, tmp_path):
    config = tiny(steps=60, checkpoint_every=10, processes=2)
    straight = run(config, "straight")

    def kill_one():
        wait_for_step(tmp_path / "killed", 25)
        children = [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]
        os.kill(children[-1].pid, signal.SIGKILL)

    thread = threading.Thread(target=kill_one)
    thread.start()
    with pytest.raises(ResumableError, match=r"process \d of 2 was killed \(SIGKILL\)"):
        run(config, "killed")
    thread.join()
    assert parameters(run(config, "killed")) == parameters(straight)


@pytest.mark.slow
def test_a_run_begun_by_one_process_goes_on_with_two_on_the_same_batches(run, tiny, pack, tmp_path):
    straight = run(tiny(), "straight")
    with held(tmp_path / "grown") as folder:
        interrupt_at(7, tiny(), folder, pack)
    grown = run(tiny(processes=2), "grown")
    assert losses(grown) == pytest.approx(losses(straight), abs=1e-5)


@pytest.mark.slow
def test_processes_end_when_their_caller_is_killed(tiny, pack, tmp_path):
    config = tiny(steps=100_000, checkpoint_every=100_000, processes=2)
    script = tmp_path / "train.py"
    script.write_text(TRAIN)
    arguments = [config.model_dump_json(), str(pack.folder), str(tmp_path / "run")]
    process = subprocess.Popen([sys.executable, str(script), *arguments])
    wait_for_step(tmp_path / "run", 1)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    gone, alive = psutil.wait_procs(children, timeout=10)
    assert len(gone) >= 2
    assert not alive


def test_the_result_names_checkpoint_tokens_and_hashes(run, tiny, pack):
    folder = run(tiny(steps=2))
    result = json.loads((folder.path / "result.json").read_text())
    assert result["checkpoint"] == "checkpoints/step-000002"
    assert result["tokens"] == 2 * 4 * 32
    assert result["dataset_version"] == pack.manifest["version"]
    assert result["tokenizer"] == pack.tokenizer
