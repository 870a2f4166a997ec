"""Runs and commands on a store in an object store: a writer that dies, how much is asked for, every command."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from curate.dataset import refs, remote
from curate.dataset.care import collect_garbage, verify
from curate.dataset.leases import lease, versions_in_use
from curate.dataset.reader import Dataset
from curate.dataset.store import Store
from curate.errors import CurateError

pytestmark = pytest.mark.slow


@pytest.fixture
def kind_of_place():
    return "s3"


@pytest.fixture
def store(place):
    return Store.open(place.store("store"), create=True)


# ---- a writer that dies


@pytest.fixture
def busy(project, monkeypatch):
    """A project with several shards and slow stages."""
    monkeypatch.setenv("TOY_SLEEP", "0.001")
    for name in "abcd":
        project.write(f"{name}.txt", *(f"SLOW line {i} of {name}" for i in range(30)), "the same text")
    project.stages("Shout", "Long, minimum: 15", "Copies", "Long, id: after")
    monkeypatch.chdir(project.root)
    return project


def under_way(busy, object_store):
    """A run that has finished some of its tasks."""
    process = busy.start("run", "pipeline.yaml", "--workers", 1)
    object_store.wait_for("PUT", f"{busy.place.removeprefix('s3://bucket/')}/receipts/", 3)
    return process


def let_pass(busy, object_store, seconds):
    object_store.age(f"{busy.place.removeprefix('s3://bucket/')}/leases/", seconds)


def test_a_run_that_is_killed_is_dead_when_its_lease_is_over_and_the_next_one_is_right(busy, object_store, place):
    undisturbed = busy.run(store=place.store("other")).version
    process = under_way(busy, object_store)
    process.kill()
    process.communicate()
    with pytest.raises(CurateError, match=f"the store is in use by another process .process {process.pid} on "):
        collect_garbage(busy.store, keep_days=0, keep_last=0, dry_run=False)
    let_pass(busy, object_store, remote.LEASE_SECONDS + 2)
    done = collect_garbage(busy.store, keep_days=0, keep_last=0, dry_run=False)
    assert done["objects"] > 0
    assert list(busy.store.blobs.list("leases")) == []
    assert busy.run().version == undisturbed
    assert verify(busy.open())["problems"] == []


def test_a_run_goes_on_where_a_killed_one_was(busy, object_store, place):
    undisturbed = busy.run(store=place.store("other")).version
    process = under_way(busy, object_store)
    process.kill()
    process.communicate()
    done = busy.run()
    assert done.version == undisturbed
    assert done.tasks["cached"] >= 3


def test_a_run_that_was_stopped_for_long_names_no_version_and_the_next_one_does(busy, object_store, place):
    undisturbed = busy.run(store=place.store("other")).version
    process = under_way(busy, object_store)
    process.send_signal(signal.SIGSTOP)
    let_pass(busy, object_store, remote.LEASE_SECONDS + 2)
    collect_garbage(busy.store, keep_days=7, keep_last=0, dry_run=False)
    process.send_signal(signal.SIGCONT)
    _, told = process.communicate()
    assert (process.returncode, refs.datasets(busy.store)) == (4, [])
    assert "error: this process was away for more than 60 seconds" in told
    assert busy.run().version == undisturbed


def test_a_lease_is_kept_while_its_holder_lives(store, object_store, monkeypatch):
    monkeypatch.setattr(remote, "LEASE_SECONDS", 0.2)
    with lease(store, "read", "v"):
        [held] = store.blobs.list("leases")
        object_store.wait_for("PUT", held.name, 4)
        monkeypatch.setattr(remote, "LEASE_SECONDS", 60)
        assert versions_in_use(store) == {"v"}
    assert list(store.blobs.list("leases")) == []


def test_ages_are_told_by_the_servers_clock(store, monkeypatch):
    with lease(store, "read", "v"):
        monkeypatch.setattr("time.time", lambda: 1e10)
        assert versions_in_use(store) == {"v"}


def test_a_reader_that_ends_without_a_word_leaves_no_lease(done):
    code = "import curate, sys; curate.open_dataset('toy', sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, done.location], check=True)
    assert list(done.store.blobs.list("leases")) == []


# ---- how much is asked for


def test_a_shard_costs_a_bounded_number_of_requests(project, object_store):
    """So that nobody makes it chatty: what a shard more costs, cold, and where nothing has changed."""

    def requests(shards):
        for number in range(shards):
            project.write(f"{number:02}.txt", *(f"{number} line {i}" for i in range(10)))
        project.stages("Shout", "Long, minimum: 5", "Copies", "Halves", shard_megabytes=0.00001)
        object_store.requests()
        found = []
        for _ in range(2):
            project.run(store=project.place + str(shards))
            found.append(len(object_store.requests()))
        return found

    few, many = requests(4), requests(12)
    cold, warm = ((more - less) / 8 for less, more in zip(few, many, strict=True))
    assert cold <= 45, (few, many)
    assert warm <= 14, (few, many)


# ---- commands


def test_every_command_takes_a_url(done):
    store = done.place
    done.monkeypatch.delenv("CURATE_STORE")
    out = done.root / "out.jsonl"
    for command in (
        ("run", "pipeline.yaml", "--workers", 1),
        ("plan", "pipeline.yaml"),
        ("data", "list"),
        ("data", "show", "toy"),
        ("data", "log", "toy"),
        ("data", "verify", "toy"),
        ("data", "diff", "toy@v1", "toy"),
        ("data", "tag", "toy", "release"),
        ("data", "sample", "toy"),
        ("data", "gc"),
        ("data", "upgrade"),
        ("data", "export", "toy", "--out", out),
        ("why", "one.txt#0"),
        ("report", "toy", "--out", done.root / "report.html"),
        ("doctor",),
    ):
        outcome = done.cli(*command, "--store", store)
        assert outcome.code == 0, (command, outcome)
    assert len(out.read_text().splitlines()) == len(done.open())
    assert refs.resolve(done.store, "toy@release") == refs.resolve(done.store, "toy@v1")._replace(tag="release")
    assert not (done.root / ".curate").exists()


def test_a_plan_before_the_first_run_says_that_all_is_new(project):
    project.write("a.txt", "a line")
    project.stages("Shout")
    told = json.loads(project.cli("plan", "pipeline.yaml", "--json").out)
    assert told["store"] == project.place
    assert {row["action"] for row in told["stages"]} == {"will run"}


def test_an_older_format_is_upgraded_in_a_folder(store):
    store.blobs.write("store.json", b'{"schema": 1}')
    from curate.dataset.upgrade import upgrade

    with pytest.raises(CurateError, match="is upgraded in a folder") as caught:
        upgrade(store.location)
    assert "copy it to a folder" in caught.value.hint


def test_a_version_is_read_by_all_readers(done):
    version = Dataset(done.store, refs.resolve(done.store, "toy"))
    assert version.arrow().num_rows == version.polars().collect().height == len(version)
