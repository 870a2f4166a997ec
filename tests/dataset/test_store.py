"""The store: files are there whole or not at all, and what is wrong with the disk is said in the user's words."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.dataset.leases import lease, versions_in_use
from curate.dataset.store import Store, canonical_json, object_name
from curate.errors import CurateError, ResumableError

TABLE = pa.table({"id": ["a", "b"], "text": ["private words", "more of them"], "n": [1, 2]})


pytestmark = pytest.mark.anywhere


@pytest.fixture
def store(place):
    return Store.open(place.store("store"), create=True)


def content_of(store, name):
    return store.blobs.read(object_name(name))


def test_a_store_that_is_not_there_is_an_error(place):
    with pytest.raises(CurateError, match="there is no store at") as caught:
        Store.open(place.store("other"))
    assert caught.value.hint == "`curate run` makes one"


# ---- objects


def test_an_object_is_named_by_the_hash_of_its_bytes(store):
    name = store.write_table(TABLE)
    assert hashlib.sha256(content_of(store, name)).hexdigest() == name


def test_an_object_is_read_back_as_it_was(store):
    assert store.read_table(store.write_table(TABLE)).equals(TABLE)
    assert store.read_table(store.write_table(TABLE), ["n"]).column_names == ["n"]


def test_columns_with_dots_in_their_names_are_read(store):
    table = pa.table({"meta.url": ["x"], "meta": [{"url": "y"}]})
    name = store.write_table(table)
    assert store.read_table(name).equals(table)


def test_an_object_that_is_damaged_is_written_again(store):
    name = store.write_table(TABLE)
    whole = content_of(store, name)
    store.blobs.write(object_name(name), bytes(len(whole)))
    store.write_table(TABLE)
    assert content_of(store, name) == whole


def test_a_manifest_that_is_damaged_is_written_again(store):
    version = store.write_manifest({"a": 1})
    store.blobs.write(f"versions/{version}.json", b"{")
    store.write_manifest({"a": 1})
    assert store.manifest(version) == {"a": 1}


def test_an_error_while_a_sound_object_is_read_keeps_its_own_words(store):
    name = store.write_table(TABLE)
    with pytest.raises(OSError, match="of the user"), store.parquet(name):
        raise OSError("of the user")


def test_an_object_is_written_once(store, place):
    name = object_name(store.write_table(TABLE))
    place.age(store)
    before = store.blobs.stat(name)
    store.write_table(TABLE)
    assert store.blobs.stat(name) == before


@settings(derandomize=True, max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3000), max_size=6))
def test_equal_tables_give_equal_bytes_however_they_are_cut(tmp_path_factory, cuts):
    store = Store.open(tmp_path_factory.mktemp("store") / "s", create=True)
    rows = [{"id": str(i), "text": "word " * (i % 300), "spans": [{"start": i}] * (i % 3)} for i in range(3000)]
    whole = pa.Table.from_pylist(rows)
    edges = [0, *sorted(cuts), 3000]
    pieces = [whole.slice(start, stop - start) for start, stop in pairwise(edges)]
    assert store.write_table(pa.concat_tables(pieces)) == store.write_table(whole)


def metadata_of(store, name):
    return parquet.read_metadata(pa.BufferReader(content_of(store, name)))


def test_statistics_are_kept_of_numbers_alone(store):
    group = metadata_of(store, store.write_table(TABLE)).row_group(0)
    assert [group.column(i).is_stats_set for i in range(3)] == [False, False, True]
    table = TABLE.drop_columns(["id", "n"])
    group = metadata_of(store, store.write_table(table)).row_group(0)
    assert not group.column(0).is_stats_set


def test_a_missing_object_is_an_error(store):
    with pytest.raises(CurateError, match="object aaaaaaaaaaaa is missing"):
        store.read_table("a" * 64)


@pytest.mark.parametrize("damage", [b"", b"PAR1 not parquet at all", None])
def test_a_damaged_object_is_an_error(store, damage):
    name = store.write_table(TABLE)
    content = content_of(store, name)
    store.blobs.write(object_name(name), content[: len(content) // 2] if damage is None else damage)
    with pytest.raises(CurateError, match=f"object {name[:12]} is damaged") as caught:
        store.read_table(name)
    assert "remove it and run again" in caught.value.hint
    with pytest.raises(CurateError, match="is damaged"):
        store.read_schema(name)


def test_a_receipt_counts_only_with_all_its_objects(store):
    name = store.write_table(TABLE)
    store.write_receipt("k" * 64, {"result": 1}, [name])
    assert store.read_receipt("k" * 64) == {"result": 1, "objects": [name]}
    store.blobs.delete(object_name(name))
    assert store.read_receipt("k" * 64) is None


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", "null", '{"objects": 1}', '{"objects": null}', "\u00ff"])
def test_a_damaged_receipt_counts_for_nothing(store, content):
    store.write_receipt("k" * 64, {}, [])
    store.blobs.write(f"receipts/kk/{'k' * 64}.json", content.encode("latin-1"))
    assert store.read_receipt("k" * 64) is None


def test_equal_values_give_equal_json():
    assert canonical_json({"b": 1, "a": "\u00e9"}) == '{"a":"\u00e9","b":1}'.encode()


# ---- what is wrong with the folder


def test_a_store_of_a_newer_curate_is_refused(store):
    store.blobs.write("store.json", b'{"schema": 3}')
    with pytest.raises(CurateError, match=r"made by a newer curate .store format 3, this one knows 2") as caught:
        Store.open(store.location)
    assert caught.value.hint == "upgrade curate-lm, or use another store"


def test_a_store_of_an_older_curate_names_the_upgrade(store):
    store.blobs.write("store.json", b'{"schema": 1}')
    with pytest.raises(CurateError, match="the store has the older format 1") as caught:
        Store.open(store.location, create=True)
    assert caught.value.hint == "`curate data upgrade` brings it to this one and loses no version"


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"schema": "2"}', "\u00ff"])
def test_a_store_whose_marker_is_damaged_is_refused(store, content):
    store.blobs.write("store.json", content.encode("latin-1"))
    with pytest.raises(CurateError, match="marker file cannot be read"):
        Store.open(store.location)


@pytest.mark.parametrize("create", [True, False])
def test_a_file_in_place_of_the_store_is_an_error(tmp_path, create):
    (tmp_path / "store").write_text("")
    with pytest.raises(CurateError, match=r"there is no store|cannot be written"):
        Store.open(tmp_path / "store", create=create)


@pytest.mark.folder
def test_a_file_in_place_of_a_folder_of_the_store_is_an_error(store):
    (store.root / "objects").write_text("")
    with pytest.raises(CurateError, match="the store cannot be written: Not a directory"):
        store.write_table(TABLE)


@pytest.mark.folder
def test_a_store_that_may_not_be_written_is_refused_for_a_run(store, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(CurateError, match="the store cannot be written"):
        Store.open(store.root, create=True)
    assert Store.open(store.root).root == store.root


@pytest.mark.folder
@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.EPERM])
def test_a_file_that_may_not_be_written_is_an_error(store, monkeypatch, code):
    def fails(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(CurateError, match=f"the store cannot be written: {os.strerror(code)}") as caught:
        store.write_table(TABLE)
    assert caught.value.exit_code == 2


@pytest.mark.folder
def test_a_full_disk_is_told_and_leaves_nothing_half_written(store, monkeypatch):
    def fails(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(ResumableError, match="the disk is full") as caught:
        store.write_table(TABLE)
    assert caught.value.exit_code == 4
    assert "earlier versions are intact" in caught.value.hint
    assert list((store.root / "temporary").iterdir()) == []
    assert list((store.root / "objects").glob("*/*")) == []


@pytest.mark.folder
def test_other_errors_of_the_system_are_ours(store, monkeypatch):
    def fails(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="Input/output error"):
        store.write_table(TABLE)


# ---- leases


def test_an_error_inside_a_lease_keeps_its_own_words(store):
    with pytest.raises(PermissionError, match="of the user"), lease(store, "run"):
        raise PermissionError(errno.EACCES, "a file of the user")


def test_runs_share_the_store(store):
    with lease(store, "run"), lease(Store.open(store.location), "run"), lease(store, "read", "v"):
        assert versions_in_use(store) == {"v"}
    assert list(store.blobs.list("leases")) == []


@pytest.mark.parametrize(
    "purposes",
    [("run", "collect"), ("collect", "run"), ("collect", "collect"), ("plan", "collect"), ("collect", "plan")],
)
def test_garbage_collection_wants_no_run_beside_it(store, purposes):
    in_use = pytest.raises(CurateError, match=f"the store is in use by another process .process {os.getpid()} on ")
    with lease(store, purposes[0]), in_use, lease(Store.open(store.location), purposes[1]):
        pass


@pytest.mark.parametrize("code", [errno.EROFS, errno.ENOSPC, errno.EACCES])
def test_where_nothing_can_be_written_readers_go_without_a_lease_and_runs_do_not(store, monkeypatch, code):
    def fails(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(type(store.blobs), "hold", fails)
    with lease(store, "read", "v"), lease(store, "plan"):
        pass
    with pytest.raises(CurateError, match=r"cannot be written|disk is full"), lease(store, "run"):
        pass


# ---- manifests


def test_a_manifest_is_named_by_its_hash_and_written_once(store):
    version = store.write_manifest({"a": 1})
    assert store.write_manifest({"a": 1}) == version
    assert store.manifest(version) == {"a": 1}


def test_a_manifest_that_is_gone_or_damaged_is_an_error(store):
    version = store.write_manifest({"a": 1})
    store.blobs.write(f"versions/{version}.json", b"{")
    with pytest.raises(CurateError, match=r"manifest of version .* is damaged"):
        store.manifest(version)
    with pytest.raises(CurateError, match="there is no version bbbbbbbbbbbb in the store"):
        store.manifest("b" * 64)


# ---- a real full disk


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting is not permitted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.folder
@pytest.mark.slow
def test_a_run_on_a_full_disk_leaves_the_old_version_and_goes_on_when_there_is_space(project, small_disk):
    project.write("a.txt", *(f"line {i}" for i in range(50)))
    project.stages("Shout, word: line")
    store = small_disk / "store"
    first = json.loads(project.cli("run", "pipeline.yaml", "--store", store, "--workers", 1, "--json").out)["version"]
    project.write("b.txt", *(f"{i}|{os.urandom(8000).hex()}" for i in range(450)))
    undisturbed = project.run(store=project.root / "other").version

    outcome = project.cli("run", "pipeline.yaml", "--store", store, "--workers", 1, "--json")
    assert outcome.code == 4
    assert json.loads(outcome.out)["errors"][0]["problem"] == "the disk is full"
    assert "earlier versions are intact; free some space" in outcome.err
    assert json.loads(project.cli("data", "show", "toy", "--store", store, "--json").out)["version"] == first
    assert project.cli("data", "verify", "toy", "--store", store).code == 0

    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    again = project.cli("run", "pipeline.yaml", "--store", store, "--workers", 1, "--json")
    assert json.loads(again.out)["version"] == undisturbed


@pytest.mark.folder
@pytest.mark.slow
def test_a_read_only_file_system_is_told(project, small_disk):
    project.write("a.txt", "line")
    project.stages()
    project.run(store=small_disk / "store")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    outcome = project.cli("run", "pipeline.yaml", "--store", small_disk / "store")
    assert outcome.code == 2
    assert outcome.err.startswith("error: the store cannot be written")


@pytest.mark.folder
def test_a_lease_is_readable_whatever_the_umask(store):
    before = os.umask(0o077)
    try:
        with lease(store, "read", "v"):
            (blob,) = store.blobs.list("leases")
            assert store.blobs.local_path(blob.name).stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(before)


@pytest.mark.folder
def test_garbage_is_not_collected_beside_a_lease_that_cannot_be_read(store, monkeypatch):
    def forbidden(path, mode="r", *arguments, **options):
        if path.parent.name == "leases" and mode == "rb":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(path, mode, *arguments, **options)

    opened = Path.open
    with lease(store, "read", "v"):
        monkeypatch.setattr(Path, "open", forbidden)
        with lease(Store.open(store.location), "run"):
            pass
        unreadable = pytest.raises(CurateError, match="a lease cannot be read, so another user may be using the store")
        with unreadable as caught, lease(Store.open(store.location), "collect"):
            pass
        assert caught.value.where.startswith(f"{store.location}/leases/")
        with pytest.raises(CurateError, match="a lease cannot be read"):
            versions_in_use(store)


def test_what_is_read_and_written_again_has_the_same_bytes(store):
    inner = pa.list_(pa.struct([("words", pa.list_(pa.string()))]))
    types = [
        inner,
        pa.list_(pa.float32(), 2),
        pa.map_(pa.string(), pa.list_(pa.int64())),
        pa.timestamp("s"),
        pa.date64(),
    ]
    schema = pa.schema([(f"c{number}", kind) for number, kind in enumerate(types)])
    row = [[{"words": ["a"]}], [1.0, 2.0], [("k", [1])], 1_000, 86_400_000]
    table = pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)), {}], schema)
    name = store.write_table(table)
    assert store.write_table(store.read_table(name)) == name
    assert store.read_table(name, ["c3", "c0"]).schema.types == [pa.timestamp("s"), inner]
    assert store.write_table(store.read_schema(name).empty_table()) == store.write_table(schema.empty_table())
