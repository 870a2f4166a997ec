"""Tasks in a folder, which workers on other machines take: `curate worker`."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections import deque
from dataclasses import asdict
from pathlib import Path

import pytest

from curate.config.resources import Resources, most_of
from curate.errors import CurateError, ResumableError
from curate.files import file_hash
from curate.pipeline.backends import spool as module
from curate.pipeline.backends.contract import Done, Failed
from curate.pipeline.backends.host import Host, driver, from_json, to_json, versions
from curate.pipeline.backends.local import LocalBackend
from curate.pipeline.backends.named import Placement
from curate.pipeline.backends.spool import Queue, Spool, Taken, serve
from curate.pipeline.supervision import Lost, Task
from curate.pipeline.task import StageSpec

ONE = Resources()
SLEEPS = """
import time
from curate.stages.contract import Audit
class Sleeps(Audit):
    def open(self):
        return lambda batch: time.sleep(1000)
"""
PLACE = """
import os, pathlib
from curate.stages.contract import Audit
class Place(Audit):
    def open(self):
        place = pathlib.Path(__file__).with_name("place.txt")
        place.write_text(f"{pathlib.Path.cwd()} {os.environ['TOLD']}")
        raise OSError("enough")
"""


@pytest.fixture
def spool(tmp_path, done):
    """A spool for the toy project's store, with a queue."""
    made = Spool(tmp_path / "jobs" / "run")
    made.create(driver(done.location, done.root, {}))
    made.queue(ONE).create()
    return made


def a_task(done, number=0):
    (shard, *_) = done.open().ledger()
    return Task(number, {"kind": "write", "key": None, "shard": shard.to_json()}, "a task")


def steps(shard, spec):
    blame = {"careful": {}, "poison": {}, "cold": []}
    return {
        "kind": "steps", "key": None, "shard": shard.to_json(), "stages": [asdict(spec)], "map": None, "force": [],
        "blame": blame,
    }  # fmt: skip


def test_a_task_goes_to_one_of_many_that_want_it(tmp_path):
    queue = Queue(tmp_path)
    queue.create()
    for number in range(200):
        queue.put(number, {"number": number})
    found = [[] for _ in range(8)]

    def work(mine, name):
        while taken := queue.take(name):
            mine.append(taken[0])

    threads = [threading.Thread(target=work, args=(mine, f"w{index}")) for index, mine in enumerate(found)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sorted(number for mine in found for number in mine) == list(range(200))


def test_the_task_that_waited_longest_is_taken_first(tmp_path):
    queue = Queue(tmp_path)
    queue.create()
    for number in (10, 9, 100):
        queue.put(number, {})
    assert [queue.take("w")[0] for _ in range(3)] == [9, 10, 100]
    assert queue.take("w") is None


def test_what_a_worker_does_is_what_is_done_here(spool, done, monkeypatch):
    monkeypatch.setattr(module, "IDLE_SECONDS", 1.0)
    queue = spool.queue(ONE)
    queue.put(1, to_json(a_task(done)))
    assert serve(spool.folder, ONE, "w1") == 1
    ((number, told),) = queue.finished()
    with LocalBackend(done.location, done.root, 1) as local:
        ((_, here),) = local.run(deque([a_task(done)]))
    assert isinstance(here, Done)
    there = from_json(told)
    assert number == 1
    assert there.result | {"seconds": 0} == here.result | {"seconds": 0}
    assert (queue.all_taken(), list(queue.finished())) == ([], [])


def test_a_worker_that_is_started_again_says_what_it_has_lost(spool, monkeypatch):
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.0)
    queue = spool.queue(ONE)
    queue.put(7, {})
    queue.put(8, {})
    queue.take("4_2")
    queue.take("4_3")
    assert serve(spool.folder, ONE, "4_2") == 0
    ((number, told),) = queue.finished()
    assert (number, from_json(told)) == (7, Lost(None, False, "was ended and started again (4_2)"))
    assert queue.all_taken() == [Taken(8, "4_3")]


def test_a_worker_ends_when_the_driver_is_silent_or_the_run_is_over(spool, monkeypatch):
    monkeypatch.setattr(module, "IDLE_SECONDS", float("inf"))
    monkeypatch.setattr(module, "SILENT_SECONDS", 0.5)
    assert serve(spool.folder, ONE, "w1") == 0
    monkeypatch.setattr(module, "SILENT_SECONDS", float("inf"))
    ended = threading.Thread(target=serve, args=(spool.folder, ONE, "w2"))
    ended.start()
    shutil.rmtree(spool.folder)
    ended.join()


def test_a_worker_of_a_dead_driver_does_nothing_that_waits(spool, done, monkeypatch):
    monkeypatch.setattr(module, "SILENT_SECONDS", 0.0)
    spool.queue(ONE).put(1, to_json(a_task(done)))
    assert serve(spool.folder, ONE, "w1") == 0


def test_what_a_worker_does_for_a_driver_that_dies_meanwhile_is_ended(spool, done, monkeypatch):
    (done.root / "sleeps.py").write_text(SLEEPS)
    monkeypatch.setattr(module, "SILENT_SECONDS", 1.5)
    (shard, *_) = done.open().ledger()
    spec = StageSpec("sleeps", "sleeps:Sleeps", {}, "a", "a")
    spool.queue(ONE).put(1, to_json(Task(1, steps(shard, spec), "a task", 1e6)))
    assert serve(spool.folder, ONE, "w1") == 1
    ((_, said),) = spool.queue(ONE).finished()
    lost = from_json(said)
    assert isinstance(lost, Lost)
    assert lost.how.startswith("died (exit -9)")


def test_nothing_is_erased_or_cleared_up_beside_a_worker(spool, done, monkeypatch):
    monkeypatch.setattr(module, "IDLE_SECONDS", float("inf"))
    working = threading.Thread(target=serve, args=(spool.folder, ONE, "w1"))
    working.start()
    try:
        while not list((Path(done.location) / "leases").glob("*.json")):
            time.sleep(0.02)
        refused = done.cli("data", "gc")
        assert refused.code != 0
        assert "in use" in refused.err or "going on" in refused.err
    finally:
        shutil.rmtree(spool.folder)
        working.join()


def test_an_answer_that_comes_after_the_run_makes_no_folder(spool):
    queue = spool.queue(ONE)
    shutil.rmtree(spool.folder)
    queue.finish(Taken(1, "w1"), {"done": 1})
    assert not spool.folder.exists()


def test_needs_that_differ_a_little_have_queues_of_their_own(spool):
    one, other = (spool.queue(Resources(memory=memory)).waiting for memory in (17.179869, 17.17987))
    assert one != other


def test_what_dead_drivers_left_is_removed_by_the_next_one(spool, tmp_path):
    queue = spool.queue(ONE)
    queue.put(1, {"secret": 1})
    os.utime(spool.pulse, (0, 0))
    after = Spool(tmp_path / "jobs" / "next")
    after.create({})
    after.sweep()
    assert not spool.folder.exists()
    assert after.folder.exists()


def test_only_logs_stay_where_a_run_fails(spool):
    (spool.folder / "logs").mkdir()
    (spool.folder / "logs" / "1.log").write_text("words")
    spool.queue(ONE).put(1, {"secret": 1})
    spool.remove(logs=False)
    assert [path.name for path in spool.folder.rglob("*")] == ["logs", "1.log"]


def test_workers_elsewhere_are_where_the_driver_was_and_have_its_variables(done, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (done.root / "place.py").write_text(PLACE)
    told = driver(done.location, done.root, {"TOLD": "by the driver"})
    monkeypatch.chdir("/")
    (shard, *_) = done.open().ledger()
    spec = StageSpec("place", "place:Place", {}, "b", "b")
    host = Host(told, 1)
    host.do(to_json(Task(1, steps(shard, spec), "a task", 60.0)))
    host.close()
    assert (done.root / "place.txt").read_text() == f"{tmp_path} by the driver"


def test_a_file_with_the_same_content_is_the_same_on_another_machine(tmp_path):
    model = tmp_path / "model.bin"
    model.write_bytes(b"weights")
    there = [[1, 2, 3, 4], file_hash(model)]
    spec = StageSpec("it", "a:B", {}, "c", "c", files={str(model): there})
    spec.check_files()
    model.write_bytes(b"others!")
    with pytest.raises(ResumableError, match=r"`model.bin`.*changed while the run was going on"):
        spec.check_files()
    model.unlink()
    with pytest.raises(ResumableError, match=r"`model.bin`.*not on this machine"):
        spec.check_files()


def test_a_folder_without_tasks_is_refused(project):
    refused = project.cli("worker", "nowhere")
    assert refused.code == 2
    assert "there are no tasks in this folder" in refused.err


def test_the_command_says_how_much_it_did(spool, done, monkeypatch):
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.0)
    assert json.loads(done.cli("worker", spool.folder, "--json").out) == {"schema": 1, "tasks": 0}


def test_only_its_owner_reads_a_spool(spool):
    assert spool.folder.stat().st_mode & 0o077 == 0


def test_a_machine_with_another_environment_is_refused_by_name(done):
    told = Host(driver(done.location, done.root, {}) | {"versions": {**versions(), "numpy": "0.9"}}, 1).do(
        to_json(a_task(done))
    )
    failed = from_json(told)
    assert isinstance(failed, Failed)
    assert f"has numpy {versions()['numpy']} (the driver has 0.9)" in failed.records[0]["problem"]


def test_stages_that_are_done_together_need_the_most_that_one_of_them_needs():
    needs = [Resources(cpus=4), None, Resources(memory=2.5), Resources(gpus=1, memory=1)]
    assert most_of(needs) == Resources(cpus=4, memory=2.5, gpus=1)
    assert most_of([None]) == Resources()


def test_a_slurm_that_is_not_there_is_said_and_leaves_nothing(toy, tmp_path):
    """By programs that say what Slurm's say without a controller: this machine may have none of them."""
    for name in ("sbatch", "squeue", "scancel", "scontrol"):
        said = (
            "resolve_ctls_from_dns_srv: res_nsearch error: Unknown host",
            "Could not establish a configuration source",
        )
        (tmp_path / name).write_text(
            "#!/bin/sh\n" + "".join(f"echo '{name}: error: {line}' >&2\n" for line in said) + "exit 1\n"
        )
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    refused = toy.call("run", "pipeline.yaml", "--backend", "slurm", env={**os.environ, "PATH": path})
    assert refused.code == 2
    assert "error: no Slurm controller answers (Could not establish a configuration source)" in refused.err
    assert "sinfo" not in refused.err
    assert not (toy.root / ".curate-jobs").exists()


def test_a_run_that_is_terminated_ends_as_one_that_is_interrupted(toy, monkeypatch):
    monkeypatch.setenv("TOY_SLEEP", "30")
    toy.write("slow.txt", "SLOW")
    running = toy.start("run", "pipeline.yaml")
    log = Path(os.environ["TOY_LOG"])
    while running.poll() is None and not (log.exists() and log.read_text()):
        time.sleep(0.02)
    running.terminate()
    _, err = running.communicate()
    assert running.returncode == 143, err
    assert err.endswith("interrupted; finished work is kept, the same command goes on from there\n")


def test_needs_are_said_in_words():
    assert Resources(cpus=2, gpus=1, memory=8).in_words() == "2 CPUs, 1 GPU and 8 GB of memory"
    assert Resources().in_words() == "1 CPU"


def test_resources_that_this_machine_lacks_are_said_where_they_are_not_looked_at(toy):
    toy.file.write_text(toy.file.read_text().replace("id: shout}", "id: shout, resources: {cpus: 4000}}"))
    for command in ("validate", "run"):
        said = toy.cli(command, "pipeline.yaml")
        assert said.code == 0
        assert "note: `shout` asks for 4000 CPUs, and this machine has" in said.err
        assert "`--backend local` runs it all the same" in said.err


def test_resources_are_no_part_of_a_version(toy):
    before = toy.run().version
    toy.file.write_text(toy.file.read_text().replace("id: shout}", "id: shout, resources: {cpus: 2, memory: 1}}"))
    again = toy.run()
    assert (again.version, again.tasks["run"]) == (before, 0)


def test_resources_that_are_none_are_refused_with_their_place(toy):
    toy.file.write_text(toy.file.read_text().replace("id: shout}", "id: shout, resources: {cpu: 2}}"))
    refused = toy.cli("run", "pipeline.yaml")
    assert refused.code == 2
    assert "did you mean `cpus`?" in refused.err
    toy.file.write_text(toy.file.read_text().replace("{cpu: 2}", "2"))
    assert "`resources` is a map" in toy.cli("run", "pipeline.yaml").err


@pytest.mark.parametrize(
    ("placement", "problem"),
    [
        (Placement("slrum"), "there is no backend `slrum`"),
        (Placement(address="auto"), "`--address` is for `--backend ray`"),
        (Placement("ray", sbatch=("--mem=1G",)), "`--sbatch` is for `--backend slurm`"),
    ],
)
def test_placements_that_make_no_sense_are_refused(placement, problem):
    with pytest.raises(CurateError, match=problem):
        placement.check()
