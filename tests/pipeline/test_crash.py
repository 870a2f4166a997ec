"""kill -9 of the driver whatever it has written, and two drivers at once: the same version, and nothing left behind."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time

import psutil
import pytest


def left_over(store):
    """Worker processes of a store that are still there."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if "curate.pipeline.worker" in command and str(store) in command:
            found.append(process.pid)
    return found


def wait_until_none_is_left_over(store):
    """Those that were just starting find their driver gone when they have started, however long that takes here."""
    while left_over(store):
        time.sleep(0.05)


def at_work_in(folder):
    """Processes in a folder: drivers and workers, also where these are forks, whose command lines say nothing."""
    return {one.pid for one in psutil.process_iter(["cwd"]) if one.info["cwd"] == str(folder)}


def files_of(store):
    """How many files a store has, temporary ones too."""
    return sum(len(names) for _, _, names in os.walk(store))


@pytest.fixture
def busy(project, monkeypatch):
    """A project with several shards and slow stages of all kinds."""
    monkeypatch.setenv("TOY_SLEEP", "0.001")
    for name in "abcd":
        project.write(f"{name}.txt", *(f"SLOW line {i} of {name}" for i in range(60)), "RAISE", "the same text")
    project.stages("Shout", "Long, minimum: 15", "Letters", "Copies", "Long, id: after", "Label, model: pipeline.yaml")
    monkeypatch.chdir(project.root)
    return project


@pytest.mark.slow
def test_a_run_that_is_killed_twenty_times_gives_the_version_of_an_undisturbed_one(busy):
    """Drivers are forks (tests/nursery.py): what is killed is at work, and not at its imports."""
    undisturbed = busy.run(store=busy.root / "other", workers=2).version
    draw, killed, before = random.Random(20), 0, at_work_in(busy.root)
    while killed < 20:
        written = files_of(busy.root / ".curate")
        process = busy.start("run", "pipeline.yaml", "--workers", 2, env=dict(os.environ))
        more = draw.randrange(1, 15)
        while files_of(busy.root / ".curate") < written + more and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        finished = process.wait() == 0
        process.communicate()
        killed += not finished
        if finished:  # resumed and done before the signal came: right so far, and nothing is left to interrupt
            assert busy.open().version == undisturbed
            shutil.rmtree(busy.root / ".curate")
    while at_work_in(busy.root) - before:
        time.sleep(0.05)
    for path in (busy.root / ".curate" / "temporary").iterdir():  # younger than a minute it would not be swept
        os.utime(path, (0, 0))
    done = busy.run(workers=2)
    assert done.version == undisturbed
    assert busy.cli("data", "verify", "toy").code == 0
    assert list((busy.root / ".curate" / "temporary").iterdir()) == []


@pytest.mark.slow
def test_a_killed_driver_takes_its_workers_along(busy):
    process = busy.start("run", "pipeline.yaml", "--workers", 2)
    while len(left_over(busy.root / ".curate")) < 2:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    wait_until_none_is_left_over(busy.root / ".curate")


@pytest.mark.anywhere
@pytest.mark.slow
def test_two_drivers_at_once_give_one_version(busy):
    both = [busy.start("run", "pipeline.yaml", "--workers", 1, "--json") for _ in range(2)]
    outcomes = [(process.communicate(), process.returncode) for process in both]
    assert [code for _, code in outcomes] == [0, 0], outcomes
    assert len({out.partition('"version": ')[2][:66] for (out, _), _ in outcomes}) == 1
    assert len(busy.cli("data", "log", "toy", "--json").out.split('"commit"')) == 2
