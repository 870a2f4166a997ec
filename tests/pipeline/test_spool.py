"""Tasks in a folder, which workers on other machines take: `curate worker`."""

from __future__ import annotations

import json
import shutil
import threading
from collections import deque

import pytest

from curate.config.resources import Resources, most_of
from curate.errors import CurateError
from curate.pipeline.backends import spool as module
from curate.pipeline.backends.contract import Done, Failed
from curate.pipeline.backends.host import Host, from_json, to_json, versions
from curate.pipeline.backends.local import LocalBackend
from curate.pipeline.backends.named import Placement
from curate.pipeline.backends.spool import Queue, Spool, Taken, serve
from curate.pipeline.supervision import Lost, Task

ONE = Resources()


@pytest.fixture
def spool(tmp_path, done):
    """A spool for the toy project's store, with a queue."""
    made = Spool(tmp_path / "jobs" / "run")
    made.create({"store": done.location, "root": str(done.root), "versions": versions()})
    made.queue(ONE).create()
    return made


def a_task(done, number=0):
    (shard, *_) = done.open().ledger()
    return Task(number, {"kind": "write", "key": None, "shard": shard.to_json()}, "a task")


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
    told = Host(done.location, done.root, 1).do(to_json(a_task(done)), {**versions(), "numpy": "0.9"})
    failed = from_json(told)
    assert isinstance(failed, Failed)
    assert f"has numpy {versions()['numpy']} (the driver has 0.9)" in failed.records[0]["problem"]


def test_stages_that_are_done_together_need_the_most_that_one_of_them_needs():
    needs = [Resources(cpus=4), None, Resources(memory=2.5), Resources(gpus=1, memory=1)]
    assert most_of(needs) == Resources(cpus=4, memory=2.5, gpus=1)
    assert most_of([None]) == Resources()


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
