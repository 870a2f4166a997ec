"""`verify` finds every damage; `gc` removes what no name leads to, and nothing else."""

from __future__ import annotations

import json
import os
import time

import pytest

from curate.dataset import refs
from curate.dataset.care import REMEDY, collect_garbage, objects_of, verify
from curate.errors import CurateError


def age(store, days=30):
    """Make everything look older than it is."""
    then = time.time() - days * 86_400
    for path in store.root.rglob("*"):
        os.utime(path, (then, then))


# ---- verify


def test_a_good_version_has_no_problems(done):
    found = verify(done.open())
    assert found["problems"] == []
    assert found["objects"] == len(set(dict(objects_of(done.open().manifest))))


def test_an_object_that_is_missing_is_found(done):
    path = done.open().files()[0]
    path.unlink()
    assert verify(done.open())["problems"] == [{"object": path.stem, "problem": "missing", "file": str(path)}]


def test_every_object_that_is_damaged_is_found(done):
    names = [name for name, _ in objects_of(done.open().manifest)]
    for name in set(names):
        path = done.store.object_path(name)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    assert {row["object"] for row in verify(done.open())["problems"]} == set(names)


def test_a_manifest_that_was_changed_is_found(done):
    path = done.store.manifest_path(done.open().version)
    path.write_text(path.read_text().replace('"kept":57', '"kept":56'))
    problems = verify(done.open())["problems"]
    assert [row["object"] for row in problems] == ["manifest", "manifest"]
    assert "do not add up" in problems[1]["problem"]


def test_the_command_exits_with_3_where_something_is_wrong(done):
    assert done.cli("data", "verify", "toy").out.splitlines()[1] == "all of them are what their names say"
    path = done.open().files()[0]
    path.write_bytes(b"")
    outcome = done.cli("data", "verify", "toy", "--json")
    assert outcome.code == 3
    [problem] = json.loads(outcome.out)["problems"]
    assert (problem["object"], problem["problem"]) == (path.stem, "its bytes are not what its name says")


def test_the_command_names_the_remedy_and_the_remedy_works(done):
    version, path = done.open().version, done.open().files()[0]
    path.write_bytes(b"")
    assert done.cli("data", "verify", "toy").out.splitlines()[-1] == f"hint: {REMEDY}"
    found = json.loads(done.cli("data", "verify", "toy", "--json").out)
    assert found["hint"] == REMEDY
    for problem in found["problems"]:
        (done.root / problem["file"]).unlink()
    assert done.run().version == version
    assert verify(done.open())["problems"] == []


def test_a_run_that_reads_a_damaged_object_says_so(done):
    record = done.open().manifest["ledger"][0]
    done.store.object_path(record["object"]).write_bytes(b"damaged")
    outcome = done.cli("run", "pipeline.yaml", "--set", "shout.word=x", "--workers", 1)
    assert outcome.code == 2
    assert f"error: object {record['object'][:12]} is damaged" in outcome.err


def test_a_damaged_object_is_made_again_when_its_stage_is_forced(done):
    path = done.store.object_path(done.open().manifest["ledger"][0]["object"])
    path.write_bytes(path.read_bytes()[:-50])
    done.run(force=["lines"])
    assert verify(done.open())["problems"] == []


def test_a_damaged_object_that_is_removed_is_made_again(done):
    version, name = done.open().version, done.open().manifest["ledger"][0]["object"]
    done.store.object_path(name).unlink()
    assert done.run().version == version
    assert verify(done.open())["problems"] == []


# ---- gc


def test_what_is_named_stays(done):
    done.run("long.minimum=16")
    age(done.store)
    found = collect_garbage(done.store, keep_days=0, dry_run=False)
    assert found["versions"] == 0
    for name in ("toy@v1", "toy@v2"):
        assert verify(done.open(name))["problems"] == []


def test_what_is_not_named_goes(done):
    done.run("long.minimum=16")
    refs.remove_tag(done.store, "toy", "v1")
    age(done.store)
    found = collect_garbage(done.store, keep_days=0, dry_run=False)
    assert found["versions"] == 1
    assert found["objects"] > 0
    assert found["receipts"] > 0
    kept = {path.stem for path in (done.store.root / "objects").glob("*/*.parquet")}
    assert kept == {name for name, _ in objects_of(done.open().manifest)}
    assert verify(done.open())["problems"] == []


def test_a_rerun_after_garbage_collection_gives_the_same_version(done):
    version = done.open().version
    done.run("long.minimum=16")
    refs.remove_tag(done.store, "toy", "v1")
    age(done.store)
    collect_garbage(done.store, keep_days=0, dry_run=False)
    assert done.run().version == version


def test_young_work_stays(done):
    done.run("long.minimum=16")
    refs.remove_tag(done.store, "toy", "v1")
    found = collect_garbage(done.store, keep_days=7, dry_run=False)
    assert (found["objects"], found["receipts"]) == (0, 0)


def test_a_dry_run_removes_nothing(done):
    done.run("long.minimum=16")
    refs.remove_tag(done.store, "toy", "v1")
    age(done.store)
    before = sorted(done.store.root.rglob("*"))
    found = collect_garbage(done.store, keep_days=0, dry_run=True)
    assert (found["versions"], found["dry_run"], found["bytes"] > 0) == (1, True, True)
    assert sorted(done.store.root.rglob("*")) == before


def test_garbage_is_not_collected_while_a_run_is_going_on(done):
    with done.store.lock("shared"), pytest.raises(CurateError, match="the store is in use by another process"):
        collect_garbage(done.store, keep_days=0, dry_run=False)


def test_the_command_tells_what_it_removed(done):
    outcome = done.cli("data", "gc", "--dry-run", "--keep-days", 0)
    assert outcome.out.startswith("would remove 0 version(s), ")
    assert set(json.loads(done.cli("data", "gc", "--json").out)) == {
        "schema", "versions", "objects", "receipts", "token_shards", "temporary", "bytes", "dry_run",
    }  # fmt: skip


def test_gc_removes_the_tokens_of_versions_that_nobody_names(done):
    for name, version in (("kept", refs.resolve(done.store, "toy").version), ("gone", "0" * 64)):
        folder = done.store.root / "tokens" / name
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(json.dumps({"version": version}))
        (folder / "train-00000.ds").write_bytes(b"1234")
    age(done.store)
    assert collect_garbage(done.store, keep_days=1, dry_run=False)["token_shards"] == 1
    assert [path.name for path in (done.store.root / "tokens").iterdir()] == ["kept"]
