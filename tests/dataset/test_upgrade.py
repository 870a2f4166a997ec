"""A store of format 1 becomes one of today's: what the old code said of its versions, the new code says too.

`make_store_v1.py` made the store and wrote down what the curate of then said of it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from curate.dataset import refs
from curate.dataset.care import collect_garbage, verify
from curate.dataset.diff import diff
from curate.dataset.index import find
from curate.dataset.ledger import removed_documents
from curate.dataset.reader import open_dataset
from curate.dataset.runs import records
from curate.dataset.state import State
from curate.dataset.store import Store
from curate.dataset.upgrade import upgrade
from curate.dataset.why import why
from curate.errors import CurateError

NAMES = ("books@v1", "books@v3", "notes@v1")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory) -> Path:
    """The old store and the facts."""
    folder = tmp_path_factory.mktemp("v1")
    with tarfile.open(Path(__file__).with_name("store_v1.tar.xz")) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def facts(unpacked):
    return json.loads((unpacked / "facts.json").read_text())


@pytest.fixture
def old(unpacked, tmp_path) -> Path:
    """A copy of the old store."""
    return Path(shutil.copytree(unpacked / "store", tmp_path / ".curate"))


@pytest.fixture(scope="module")
def store(unpacked, tmp_path_factory) -> Store:
    """The store after the upgrade."""
    place = tmp_path_factory.mktemp("v2") / ".curate"
    shutil.copytree(unpacked / "store", place)
    upgrade(place)
    return Store.open(place)


def content(place):
    """What a store says, whatever is left over in it and whenever it was upgraded."""
    found = {}
    for path in sorted(place.rglob("*.json")):
        name = path.relative_to(place).as_posix()
        if not name.startswith("leases"):
            found[name] = json.loads(path.read_bytes())
    for entry in found["refs/books.json"]["log"]:
        entry.pop("time")
    return found


def test_a_store_of_format_1_is_refused_with_the_way_out(old):
    with pytest.raises(CurateError, match="the store has the older format 1") as caught:
        Store.open(old)
    assert caught.value.hint == "`curate data upgrade` brings it to this one and loses no version"


@pytest.mark.parametrize("name", NAMES)
def test_documents_columns_and_splits_are_what_the_old_code_said(store, facts, name):
    one, told = open_dataset(name, store), facts["versions"][name]
    assert one.arrow().to_pylist() == told["documents"]
    assert {split: one.arrow(split).column("id").to_pylist() for split in one.splits} == told["by_split"]
    manifest = one.manifest
    assert [manifest["columns"], manifest["splits"], manifest["documents"]] == [
        told["columns"], told["splits"], told["counts"],
    ]  # fmt: skip
    assert [manifest["bytes"], manifest["text_bytes"]] == told["bytes"]
    assert one.polars().collect().to_dicts() == told["documents"]


@pytest.mark.parametrize("name", NAMES)
def test_the_story_of_every_document_is_what_the_old_code_said(store, facts, name):
    one, told = open_dataset(name, store), facts["versions"][name]
    for document, story in told["why"].items():
        told_now = why(one, document)
        assert {key: told_now[key] for key in story} == story, document
    assert {story["verdict"] for story in facts["versions"]["books@v1"]["why"].values()} == {
        "kept",
        "dropped",
        "quarantined",
    }
    listed = [{key: row[key] for key in ("id", "stage", "source_uri", "reason", "detail")}
              for row in removed_documents(store, one.ledger(), ["quarantined"])]  # fmt: skip
    assert listed == told["quarantined"]


@pytest.mark.parametrize("name", NAMES)
def test_every_version_passes_verification_and_holds_what_its_ledger_says(store, facts, name):
    one = open_dataset(name, store)
    assert verify(one)["problems"] == []
    kept = [row for shard in one.ledger() if shard.kept for row in State(store, shard).table().to_pylist()]
    by_id = {row["id"]: row for row in kept}
    assert len(kept) == len(one)
    for document in facts["versions"][name]["documents"]:
        assert by_id[document["id"]] == {key: value for key, value in document.items() if key in by_id[document["id"]]}
    sizes = sum(State(store, shard).bytes() for shard in one.ledger())
    assert sizes == one.manifest["text_bytes"]


def test_every_document_is_in_the_index_with_its_place(store):
    one = open_dataset("books@v1", store)
    for number, shard in enumerate(one.ledger()):
        for row, document in enumerate(store.read_table(shard.object, ["id", "source_uri"]).to_pylist()):
            assert (number, row) in find(store, one.manifest["indexes"], document["id"])
            assert find(store, one.manifest["indexes"], document["source_uri"], place=True) == [(number, row)]


def test_stages_artifacts_lineage_and_inputs_are_kept(store, facts):
    for name in NAMES:
        one, told = open_dataset(name, store), facts["versions"][name]
        for stage, before in zip(one.manifest["stages"], told["stages"], strict=True):
            kept = {key: stage[key] for key in before if key != "artifacts"}
            assert kept == {key: value for key, value in before.items() if key != "artifacts"}
        lineage = one.manifest["lineage"]
        assert one.inputs() == told["lineage"]["inputs"]
        assert [lineage[key] for key in ("pipeline", "sample", "tools")] == [
            told["lineage"][key] for key in ("pipeline", "sample", "tools")
        ]
        assert (lineage["upgraded_from"], lineage["parents"]) == (told["version"], [])
    pairs = next(
        stage["artifacts"]["pairs"]
        for stage in open_dataset("books@v1", store).manifest["stages"]
        if stage["artifacts"]
    )
    rows = [row for name in pairs["objects"] for row in store.read_table(name).to_pylist()]
    assert (rows, pairs["rows"]) == (facts["versions"]["books@v1"]["pairs"], len(rows))


def test_numbers_tags_and_old_ids_find_the_versions(store, facts):
    assert refs.tags_of(store, "books").keys() == {"v1", "v3", "release"}
    assert refs.resolve(store, "books").tag == "v3"
    assert refs.resolve(store, "books@release").version == refs.resolve(store, "books@v1").version
    for name in NAMES:
        new, was = refs.resolve(store, name), facts["versions"][name]["version"]
        assert new.version != was
        assert open_dataset(name, store).manifest["lineage"]["upgraded_from"] == was
        for wanted in (was, was[:8], new.version[:8]):
            assert refs.resolve(store, f"{new.dataset}@{wanted}") == new
    books = refs.resolve(store, "books@v1").version
    assert refs.pinned(store, "books") == {books, refs.resolve(store, "books").version}


def test_the_log_is_kept_and_a_collected_version_stays_collected(unpacked, facts, tmp_path):
    place = tmp_path / "s"
    shutil.copytree(unpacked / "store", place)
    upgrade(place)
    store = Store.open(place)
    log = [(entry["action"], entry["tag"]) for entry in reversed(refs.log(store, "books"))]
    assert log == [("commit", "v1"), ("commit", "v3"), ("tag", "release"), ("collect", "v2")]
    with pytest.raises(CurateError, match="no tag or version `v2`"):
        refs.resolve(store, "books@v2")
    assert refs.commit(store, "books", "f" * 64) == "v4"


def test_training_records_become_run_records(store, facts):
    version = refs.resolve(store, "books@v1").version
    found = records(store, "training", version=version)
    assert [(one["name"], one["state"], one["facts"]["tokenizer"]) for one in sorted(found, key=lambda one: one["name"])] == [
        ("large", "interrupted", "0" * 64), ("small", "interrupted", "0" * 64),
    ]  # fmt: skip
    assert found[0]["inputs"] == [{"kind": "version", "id": version, "name": "books"}]
    assert {one["facts"]["folder"] for one in found} == {"/home/somebody/runs/small", "/home/somebody/runs/large"}
    assert not (store.root / "training").exists()
    assert len(records(store)) == 2


def test_versions_are_compared_after_the_upgrade(store, facts):
    found = diff(open_dataset("books@v1", store), open_dataset("books@v3", store), examples=None)
    ids = [{row["id"] for row in facts["versions"][name]["documents"]} for name in ("books@v1", "books@v3")]
    assert found["examples"]["removed"] == sorted(ids[0] - ids[1])
    assert {"stage": "quality", "setting": "min_words", "before": 10, "after": 25} in found["settings"]
    assert sum(row["documents"] for row in found["reasons"]["removed"]) == found["removed"]


def test_an_upgraded_store_is_left_as_it_is(old):
    first = upgrade(old)
    assert [first[key] for key in ("from", "to", "versions", "runs")] == [1, 2, 3, 2]
    before = content(old)
    assert [upgrade(old)[key] for key in ("from", "versions")] == [2, 0]
    assert content(old) == before


@pytest.mark.slow
def test_the_upgrade_goes_on_wherever_it_was_stopped(unpacked, store, tmp_path, monkeypatch):
    """Stopped at some of its writes and removals, and then called again."""
    from curate.dataset.blobs import LocalBlobs

    expected, count = content(store.root), 0
    limit: int | None = None
    real = {name: getattr(LocalBlobs, name) for name in ("write", "swap", "delete")}

    def stopping(name):
        def act(*arguments):
            nonlocal count
            count += 1
            if limit is not None and count > limit:
                raise KeyboardInterrupt
            return real[name](*arguments)

        return act

    for name in real:
        monkeypatch.setattr(LocalBlobs, name, stopping(name))
    shutil.copytree(unpacked / "store", tmp_path / "whole")
    upgrade(tmp_path / "whole")
    total = count
    assert total > 40
    for stop in [*range(1, total - 20, 13), *range(total - 20, total, 2)]:
        place, count, limit = tmp_path / f"s{stop}", 0, stop
        shutil.copytree(unpacked / "store", place)
        with pytest.raises(KeyboardInterrupt):
            upgrade(place)
        with pytest.raises(CurateError, match="older format"):
            Store.open(place)
        limit = None
        upgrade(place)
        assert content(place) == expected, stop


def test_an_upgrade_that_is_killed_goes_on(old, store):
    code = "import sys; from curate.dataset.upgrade import upgrade; upgrade(sys.argv[1])"
    process = subprocess.Popen([sys.executable, "-c", code, str(old)])
    before = set((old / "objects").rglob("*.parquet"))
    while not set((old / "objects").rglob("*.parquet")) - before:
        time.sleep(0.001)  # until it has written something
    process.send_signal(signal.SIGKILL)
    process.wait()
    upgrade(old)
    assert content(old) == content(store.root)


def test_garbage_collection_takes_what_the_old_format_leaves_and_nothing_else(old, facts):
    upgrade(old)
    store = Store.open(old)
    then = time.time() - 30 * 86_400
    for path in old.rglob("*"):
        os.utime(path, (then, then))
    found = collect_garbage(store, keep_days=7, keep_last=5, dry_run=False)
    assert (found["versions"], found["receipts"], found["objects"] > 0) == (0, 0, True)
    for name in NAMES:
        assert verify(open_dataset(name, store))["problems"] == []
        assert open_dataset(name, store).arrow().to_pylist() == facts["versions"][name]["documents"]


def test_a_store_that_an_old_process_uses_is_left_alone(old):
    import fcntl

    with (old / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        with pytest.raises(CurateError, match="the store is in use by another process"):
            upgrade(old)
    assert json.loads((old / "store.json").read_bytes()) == {"schema": 1}


def test_a_damaged_version_stops_the_upgrade_and_can_be_given_up(old, facts):
    was = facts["versions"]["books@v1"]["version"]
    manifest = json.loads((old / "versions" / f"{was}.json").read_bytes())
    name = next(
        step["verdicts"] for shard in manifest["ledger"] for step in shard["steps"] if step["stage"] == "quality"
    )
    (old / "objects" / name[:2] / f"{name}.parquet").write_bytes(b"")
    with pytest.raises(
        CurateError, match=f"version {was[:12]} of `books` cannot be upgraded: object {name[:12]}"
    ) as caught:
        upgrade(old)
    assert f"without `versions/{was}.json` the others are upgraded" in caught.value.hint
    (old / "versions" / f"{was}.json").unlink()
    assert upgrade(old)["versions"] == 2
    store = Store.open(old)
    assert refs.tags_of(store, "books").keys() == {"v3"}
    assert verify(open_dataset("books", store))["problems"] == []


def test_the_command_upgrades_the_store_that_is_near(project, unpacked):
    shutil.copytree(unpacked / "store", project.root / ".curate")
    assert project.cli("data", "list").code == 2
    told = json.loads(project.cli("data", "upgrade", "--json").out)
    assert told == {"schema": 1, "store": ".curate", "from": 1, "to": 2, "versions": 3, "runs": 2}
    assert project.cli("data", "upgrade").out == ".curate has format 2 already\n"
    assert json.loads(project.cli("data", "show", "books@release", "--json").out)["documents"]["kept"] == 31


def test_a_run_on_an_upgraded_store_makes_the_next_version(project, unpacked):
    shutil.copytree(unpacked / "store", project.root / ".curate")
    project.cli("data", "upgrade")
    project.write("a.txt", "one", "two")
    project.stages()
    project.pipeline(project.file.read_text().replace("dataset: toy", "dataset: books"))
    assert project.run().tag == "v4"
    assert diff(project.open("books@v3"), project.open("books"))["removed"] == 24


def test_no_store_and_a_newer_store_are_errors(tmp_path):
    with pytest.raises(CurateError, match="there is no store at"):
        upgrade(tmp_path)
    (tmp_path / "store.json").write_text('{"schema": 3}')
    with pytest.raises(CurateError, match="made by a newer curate"):
        upgrade(tmp_path)
