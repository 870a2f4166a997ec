"""Backend `slurm`, on a real one with two nodes on this machine."""

from __future__ import annotations

import json
import shutil
import subprocess
import time

import pytest
from clusters import lacking_for_slurm, slurm_cluster
from toy_project import HERE

from tests.oracles import missing

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    if why := lacking_for_slurm():
        missing(f"Slurm ({why}); `make services` installs it")
    with slurm_cluster(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


@pytest.fixture
def prepared(project, slurm, monkeypatch):
    """The toy project with a document that kills; its stages stand beside the pipeline file, where workers find them."""
    monkeypatch.setenv("SLURM_CONF", slurm["SLURM_CONF"])
    project.write("one.txt", *(f"alpha number {i}" for i in range(60)), "the same text")
    project.write("two.txt", *(f"second file, number {i}" for i in range(60)), "the same text", "this will KILL")
    shutil.copy(HERE / "toy_stages.py", project.root)
    project.stages("Shout", "Letters", "Copies", shard_megabytes="0.001")
    return project


def slow(project, monkeypatch):
    """Make it a run of some seconds."""
    for name in ("one.txt", "two.txt"):
        project.write(name, *(f"{name}: SLOW {i}" for i in range(60)))
    monkeypatch.setenv("TOY_SLEEP", "0.15")


def begun(project):
    """A run that has a task at work in each of two workers, and their names."""
    running = project.start("run", "pipeline.yaml", "--backend", "slurm", "--store", "by-slurm", "--json")
    while running.poll() is None:
        taken = [path for path in project.root.glob(".curate-jobs/*/*/taken/*") if path.suffix and path.stem.isdigit()]
        if len(taken) == 2:
            return running, [path.suffix[1:] for path in taken]
        time.sleep(0.05)
    raise AssertionError(running.communicate()[1])


def slurms(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_version_is_the_same_in_job_arrays_as_here_and_nothing_is_left(prepared):
    done = prepared.call("run", "pipeline.yaml", "--backend", "slurm", "--store", "by-slurm", "--json")
    assert done.code == 0, done.err
    told, here = json.loads(done.out), prepared.run()
    assert told["version"] == here.version
    assert told["documents"]["quarantined"] == 1
    assert told["tasks"]["run"] == here.tasks["run"] > 10
    assert not (prepared.root / ".curate-jobs").exists()


def test_jobs_that_are_cancelled_or_put_back_cost_their_tasks_another_attempt(prepared, monkeypatch):
    slow(prepared, monkeypatch)
    running, (one, other) = begun(prepared)
    slurms("scancel", one)
    slurms("scontrol", "requeue", other)
    out, err = running.communicate()
    assert running.returncode == 0, err
    assert f"was lost with job {one} (CANCELLED)" in err
    assert f"was lost with job {other} (PENDING)" in err
    assert json.loads(out)["version"] == prepared.run().version


def test_jobs_end_with_the_driver(prepared, monkeypatch):
    slow(prepared, monkeypatch)
    running, workers = begun(prepared)
    running.terminate()
    running.communicate()
    assert running.returncode == 143
    while set(workers) & set(slurms("squeue", "--noheader", "--array", "--format", "%F_%K").split()):
        time.sleep(0.2)


def test_a_run_may_be_a_job_itself(prepared):
    done = prepared.call("run", "pipeline.yaml", "--backend", "slurm", "--detach", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    while told["job"] in slurms("squeue", "--noheader", "--format", "%A"):
        time.sleep(0.5)
    log = (prepared.root / f"curate-{told['job']}.log").read_text()
    assert prepared.run().version in log


def test_what_slurm_refuses_is_said_in_its_words(prepared):
    done = prepared.call("run", "pipeline.yaml", "--backend", "slurm", "--sbatch=--partition=nope")
    assert done.code == 2
    assert "Slurm does not take the job: sbatch: error: invalid partition specified: nope" in done.err


def test_workers_that_cannot_start_end_the_run_with_their_words(prepared):
    done = prepared.call("run", "pipeline.yaml", "--backend", "slurm", "--sbatch=--export=PYTHONHOME=/nowhere")
    assert done.code == 1
    assert "workers end in Slurm before they do anything" in done.err
    assert "PYTHONHOME = '/nowhere'" in done.err
