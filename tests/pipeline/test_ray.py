"""Backend `ray`, on a cluster of two nodes on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from clusters import ray_cluster
from toy_project import HERE

import curate
from curate.errors import CurateError

pytestmark = pytest.mark.slow
WAITS = """
import sys
from collections import deque
from pathlib import Path
from curate.config.resources import Resources
from curate.pipeline.backends import ray as module
from curate.pipeline.supervision import Task

module.LONG_SECONDS = 0.0
def note(text):
    print(text, file=sys.__stdout__)
    raise SystemExit
with module.RayBackend("nowhere", Path("."), None, sys.argv[1], note) as backend:
    list(backend.run(deque([Task(0, {}, "a task", resources=Resources(gpus=2, memory=1), stages=("detoxify",))])))
"""


@pytest.fixture(scope="module")
def cluster():
    with ray_cluster() as made:
        yield made


@pytest.fixture
def prepared(project):
    """The toy project with a document that kills; its stages stand beside the pipeline file, where workers find them."""
    project.write("one.txt", *(f"alpha number {i}" for i in range(60)), "the same text")
    project.write("two.txt", *(f"second file, number {i}" for i in range(60)), "the same text", "this will KILL")
    shutil.copy(HERE / "toy_stages.py", project.root)
    project.stages("Shout", "Letters", "Copies", shard_megabytes="0.001")
    return project


def on(project, cluster, *options):
    """The version of the toy project from a store of its own."""
    done = project.call(
        "run",
        "pipeline.yaml",
        "--backend",
        "ray",
        "--address",
        cluster.address,
        "--store",
        "by-ray",
        "--json",
        *options,
    )
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_a_version_is_the_same_on_ray_as_here_and_a_document_that_kills_is_found_there(prepared, cluster):
    done, here = on(prepared, cluster), prepared.run()
    assert done["version"] == here.version
    assert done["documents"]["quarantined"] == 1
    assert done["tasks"]["run"] == here.tasks["run"] > 10


def test_a_version_is_the_same_when_a_node_is_lost_at_work(prepared, cluster, monkeypatch):
    for name in ("one.txt", "two.txt"):
        prepared.write(name, *(f"{name}: SLOW {i}" for i in range(60)))
    monkeypatch.setenv("TOY_SLEEP", "0.1")
    options = ("--backend", "ray", "--address", cluster.address, "--store", "by-ray", "--json")
    running = prepared.start("run", "pipeline.yaml", *options)
    called = Path(os.environ["TOY_LOG"])  # by stages on the nodes: they have the driver's variables
    while running.poll() is None and not (called.exists() and called.read_text().count("Shout") > 1):
        time.sleep(0.05)
    cluster.lose_a_node()
    out, err = running.communicate()
    assert running.returncode == 0, err
    assert "was lost with its machine or process" in err
    assert json.loads(out)["version"] == prepared.run().version


def test_a_driver_that_is_ended_says_so_and_nothing_of_ray(prepared, cluster, monkeypatch):
    prepared.write("one.txt", *(f"SLOW {i}" for i in range(60)))
    monkeypatch.setenv("TOY_SLEEP", "0.1")
    running = prepared.start(
        "run", "pipeline.yaml", "--backend", "ray", "--address", cluster.address, "--store", "by-ray"
    )
    called = Path(os.environ["TOY_LOG"])
    while running.poll() is None and not (called.exists() and "Shout" in called.read_text()):
        time.sleep(0.05)
    running.terminate()
    _, err = running.communicate()
    assert running.returncode == 143, err
    assert err.endswith("interrupted; finished work is kept, the same command goes on from there\n")
    assert "PC: @" not in err
    assert "SIGTERM" not in err


def test_what_no_machine_of_the_cluster_has_is_said(cluster):
    done = subprocess.run([sys.executable, "-c", WAITS, cluster.address], capture_output=True, text=True, check=True)
    asked = (
        "`detoxify` needs 1 CPU, 2 GPUs and 1 GB of memory on one machine, and no machine of the Ray cluster has that"
    )
    assert done.stdout.startswith(f"{asked}: it waits until one joins; Ctrl-C ends the run")


def test_a_cluster_that_is_not_there_is_said(prepared):
    done = prepared.call("run", "pipeline.yaml", "--backend", "ray", "--address", "127.0.0.1:1")
    assert done.code == 2
    assert "error: the Ray cluster does not answer" in done.err
    assert "at: --address" in done.err


def test_without_ray_its_package_is_named(prepared, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(CurateError, match="backend `ray` needs Ray") as error:
        curate.run(prepared.file, backend="ray")
    assert error.value.hint == "pip install 'curate-lm[ray]'"
