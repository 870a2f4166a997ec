"""`verify` finds every damage; `gc` removes what no name leads to, and nothing else."""

from __future__ import annotations

import gc
import json
import subprocess
import sys

import pytest

from curate.dataset import care, refs
from curate.dataset.care import REMEDY, collect_garbage, verify
from curate.dataset.leases import lease
from curate.dataset.manifest import objects_of
from curate.dataset.reader import Dataset
from curate.dataset.refs import resolve
from curate.dataset.store import object_name
from curate.errors import CurateError


def collect(project, *, keep_days=0, keep_last=0, dry_run=False):
    return collect_garbage(project.store, keep_days=keep_days, keep_last=keep_last, dry_run=dry_run)


def objects(project, name="toy"):
    return {one for one, _ in objects_of(project.store, project.open(name).manifest)}


pytestmark = pytest.mark.anywhere


def damage(project, name, content=b""):
    project.store.blobs.write(object_name(name), content)


def stored(project, folder):
    return {blob.name.rpartition("/")[2].partition(".")[0] for blob in project.store.blobs.list(folder)}


def test_nothing_is_removed_where_nobody_knows_what_the_newest_version_needs(done):
    """Its list of fragments is lost; a run makes it anew."""
    store, lost = done.store, done.open().manifest["fragments"]
    store.blobs.delete(object_name(lost))
    before = stored(done, "objects")
    with pytest.raises(CurateError, match=f"object {lost[:12]} is missing") as caught:
        collect(done)
    assert caught.value.hint.startswith("run its pipeline again, which makes the object anew")
    assert stored(done, "objects") == before
    done.run()
    collect(done)
    assert verify(done.open())["problems"] == []


# ---- verify


def test_a_good_version_has_no_problems(done):
    found = verify(done.open())
    assert found["problems"] == []
    assert found["objects"] == len(objects(done))


def test_an_object_that_is_missing_is_found(done):
    store, name = done.store, done.open().fragments[0].object
    store.blobs.delete(object_name(name))
    file = f"{store.location}/{object_name(name)}"
    assert verify(done.open())["problems"] == [{"object": name, "problem": "missing", "file": file}]


def test_every_object_that_is_damaged_is_found(done):
    version = done.open()
    hidden = {version.manifest["fragments"], *version.manifest["ledger"].values()}
    names = objects(done) - hidden  # without those nobody knows what else there is
    for name in names:
        content = bytearray(done.store.blobs.read(object_name(name)))
        content[len(content) // 2] ^= 1
        damage(done, name, bytes(content))
    assert {row["object"] for row in verify(version)["problems"]} == names
    for name in hidden:
        damage(done, name)
    assert {row["object"] for row in verify(version)["problems"]} == hidden


def test_a_manifest_that_was_changed_is_found(done):
    blobs, name = done.store.blobs, f"versions/{done.open().version}.json"
    blobs.write(name, blobs.read(name).replace(b'"kept":57', b'"kept":56'))
    problems = verify(done.open())["problems"]
    assert [row["object"] for row in problems] == ["manifest", "manifest"]
    assert "do not add up" in problems[1]["problem"]


@pytest.mark.folder
def test_the_command_exits_with_3_where_something_is_wrong(done):
    assert done.cli("data", "verify", "toy").out.splitlines()[1] == "all of them are what their names say"
    name = done.open().fragments[0].object
    damage(done, name)
    outcome = done.cli("data", "verify", "toy", "--json")
    assert outcome.code == 3
    [problem] = json.loads(outcome.out)["problems"]
    assert (problem["object"], problem["problem"]) == (name, "its bytes are not what its name says")


@pytest.mark.folder
def test_the_command_names_the_remedy_and_the_remedy_works(done):
    version = done.open().version
    damage(done, done.open().fragments[0].object)
    assert done.cli("data", "verify", "toy").out.splitlines()[-1] == f"hint: {REMEDY}"
    found = json.loads(done.cli("data", "verify", "toy", "--json").out)
    assert found["hint"] == REMEDY
    for problem in found["problems"]:
        done.store.blobs.delete(object_name(problem["object"]))
    assert done.run().version == version
    assert verify(done.open())["problems"] == []


def test_a_run_that_reads_a_damaged_object_says_so(done):
    name = done.open().ledger()[0].object
    damage(done, name, b"damaged")
    outcome = done.cli("run", "pipeline.yaml", "--set", "shout.word=x", "--workers", 1)
    assert outcome.code == 2
    assert f"error: object {name[:12]} is damaged" in outcome.err


def test_a_damaged_object_is_made_again_when_its_stage_is_forced(done):
    name = done.open().ledger()[0].object
    damage(done, name, done.store.blobs.read(object_name(name))[:-50])
    done.run(force=["lines"])
    assert verify(done.open())["problems"] == []


def test_a_damaged_object_that_is_removed_is_made_again(done):
    version, name = done.open().version, done.open().ledger()[0].object
    done.store.blobs.delete(object_name(name))
    assert done.run().version == version
    assert verify(done.open())["problems"] == []


# ---- gc


def test_heads_and_tagged_versions_stay(done, place):
    done.run("long.minimum=16")
    refs.set_tag(done.store, refs.resolve(done.store, "toy@v1"), "release")
    place.age(done.store)
    assert collect(done)["versions"] == 0
    for name in ("toy@release", "toy@v1", "toy@v2"):
        assert verify(done.open(name))["problems"] == []


def test_old_versions_that_nobody_tagged_go(done, place):
    done.run("long.minimum=16")
    place.age(done.store)
    found = collect(done)
    assert found["versions"] == 1
    assert found["objects"] > 0
    assert found["receipts"] > 0
    assert stored(done, "objects") == objects(done)
    assert verify(done.open())["problems"] == []
    with pytest.raises(CurateError, match="no tag or version `v1`"):
        done.open("toy@v1")


def test_the_last_versions_stay_whatever_their_age(done, place):
    for minimum in (14, 15, 16):
        done.run(f"long.minimum={minimum}")
    place.age(done.store)
    assert collect(done, keep_last=3)["versions"] == 1
    assert sorted(refs.tags_of(done.store, "toy")) == ["v2", "v3", "v4"]
    assert all(verify(done.open(f"toy@v{number}"))["problems"] == [] for number in (2, 3, 4))


def test_young_versions_stay(done, place):
    place.age(done.store)
    done.run("long.minimum=16")
    done.run("long.minimum=17")
    assert collect(done, keep_days=7)["versions"] == 1
    assert sorted(refs.tags_of(done.store, "toy")) == ["v2", "v3"]


def test_a_refused_version_goes_by_its_age(done, place):
    outcome = done.cli(
        "run", "pipeline.yaml", "--set", "max_quarantined=0", "--set", "long.minimum=6", "--workers", 1, "--json"
    )
    assert outcome.code == 3
    refused = json.loads(outcome.out)["version"]
    assert collect(done, keep_days=7)["versions"] == 0
    assert verify(done.open(f"toy@{refused[:8]}"))["problems"] == []
    place.age(done.store)
    assert collect(done)["versions"] == 1
    with pytest.raises(CurateError, match=f"there is no version {refused[:12]} in the store") as caught:
        done.open(f"toy@{refused[:8]}")
    assert caught.value.hint == "`curate data gc` removes versions that nothing names"


@pytest.mark.folder
def test_a_damaged_version_stops_the_collection_and_the_hint_says_how_to_give_it_up(done, place):
    done.run("long.minimum=16")
    place.age(done.store)
    old = done.open("toy@v1")
    table, identity = old.manifest["fragments"], old.version[:12]
    del old
    done.store.blobs.delete(object_name(table))
    with pytest.raises(CurateError, match=f"version {identity} needs it.*nothing was removed") as caught:
        collect(done, keep_last=5)
    assert "`--keep-last 0 --keep-days 0`" in caught.value.hint
    assert collect(done, keep_last=0, keep_days=0)["versions"] == 1
    assert verify(done.open())["problems"] == []


def test_a_version_that_somebody_reads_stays_until_they_have_done(done, place):
    done.run("long.minimum=16")
    place.age(done.store)
    reader = done.open("toy@v1")
    assert collect(done)["versions"] == 0
    assert verify(reader)["problems"] == []
    del reader
    gc.collect()
    assert collect(done)["versions"] == 1


def test_a_version_that_another_process_reads_stays_until_it_has_died(done, place):
    done.run("long.minimum=16")
    place.age(done.store)
    code = "import curate, sys; d = curate.open_dataset('toy@v1', sys.argv[1]); print('there', flush=True); input()"
    command = [sys.executable, "-c", code, done.location]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "there\n"
    assert collect(done)["versions"] == 0
    process.kill()
    process.communicate()
    place.age(done.store)
    assert collect(done)["versions"] == 1
    assert stored(done, "leases") == set()


def test_a_version_that_is_opened_while_garbage_is_collected_stays(done, monkeypatch, place):
    done.run("long.minimum=16")
    place.age(done.store)
    opened, forget = [], refs.forget

    def forget_late(*arguments):
        opened.append(done.open("toy@v1"))
        forget(*arguments)

    monkeypatch.setattr(refs, "forget", forget_late)
    assert collect(done)["versions"] == 0
    assert verify(opened[0])["problems"] == []


def test_a_version_that_is_opened_after_the_last_look_stays(done, monkeypatch, place):
    done.run("long.minimum=16")
    place.age(done.store)
    opened, look, reference = [], care.versions_in_use, resolve(done.store, "toy@v1")

    def look_and_open(store):
        found = look(store)
        if len(opened) < 2:
            opened.append(Dataset(store, reference) if opened else None)
        return found

    monkeypatch.setattr(care, "versions_in_use", look_and_open)
    assert collect(done)["versions"] == 0
    assert opened[1] and verify(opened[1])["problems"] == []
    assert Dataset(done.store, reference).arrow().num_rows


@pytest.mark.folder
def test_a_forked_child_that_lets_go_of_a_version_leaves_its_parents_lease(done):
    code = (
        "import curate, os, sys; d = curate.open_dataset('toy@v1', sys.argv[1]); pid = os.fork()\n"
        "if not pid: del d; sys.exit()\n"
        "os.waitpid(pid, 0); print(len(os.listdir(sys.argv[1] + '/leases')))"
    )
    done_by = subprocess.run([sys.executable, "-c", code, done.location], capture_output=True, text=True, check=True)
    assert done_by.stdout == "1\n"


def test_a_rerun_after_garbage_collection_gives_the_same_version(done, place):
    version = done.open().version
    done.run("long.minimum=16")
    place.age(done.store)
    collect(done)
    assert done.run().version == version


def test_after_garbage_collection_what_a_version_keeps_is_not_made_again(done, place):
    """Signatures are not part of a version; what was measured and decided is."""
    done.run("long.minimum=16")
    place.age(done.store)
    collect(done)
    done.calls()
    done.run("long.minimum=16")
    assert done.calls().keys() == {"Copies", "reduce"}
    done.run("long.minimum=17")
    assert "Long" not in done.calls()


def test_young_work_stays(done):
    done.run("long.minimum=16")
    found = collect(done, keep_days=7)
    assert (found["objects"], found["receipts"]) == (0, 0)


def test_receipts_without_objects_go_by_their_age(done, place):
    done.store.write_receipt("a" * 64, {"documents": 0}, [])
    done.store.blobs.write(f"receipts/bb/{'b' * 64}.json", b"{}")
    done.store.blobs.write(f"receipts/bb/{'c' * 64}.json", b"{")
    collect(done, keep_days=7)
    assert stored(done, "receipts") >= {"a" * 64, "b" * 64, "c" * 64}
    place.age(done.store)
    collect(done)
    assert stored(done, "receipts").isdisjoint({"a" * 64, "b" * 64, "c" * 64})


@pytest.mark.parametrize("damage", ["{}", "{", "[]", ""])
def test_a_run_over_damaged_receipts_does_the_work_again(done, damage):
    version = done.open().version
    blobs = done.store.blobs
    for blob in [*blobs.list("receipts"), *blobs.list("measured")]:
        blobs.write(blob.name, damage.encode())
    assert done.run().version == version
    done.calls()
    done.run()
    assert done.calls() == {}


def everything(project):
    return sorted(blob.name for blob in project.store.blobs.list("") if not blob.name.startswith("temporary/"))


def test_a_dry_run_removes_nothing(done, place):
    done.run("long.minimum=16")
    place.age(done.store)
    before = everything(done)
    found = collect(done, dry_run=True)
    assert (found["versions"], found["dry_run"], found["bytes"] > 0) == (1, True, True)
    assert everything(done) == before
    wet = collect(done)
    assert {**wet, "dry_run": True} == found


def test_garbage_is_not_collected_while_a_run_is_going_on(done):
    with lease(done.store, "run"), pytest.raises(CurateError, match="the store is in use by another process"):
        collect(done)


def test_no_run_begins_while_garbage_is_collected(done):
    with lease(done.store, "collect"), pytest.raises(CurateError, match="the store is in use by another process"):
        done.run()


def test_the_command_tells_what_it_removed(done):
    outcome = done.cli("data", "gc", "--dry-run", "--keep-days", 0)
    assert outcome.out.startswith("would remove 0 version(s), ")
    assert set(json.loads(done.cli("data", "gc", "--json").out)) == {
        "schema", "versions", "objects", "receipts", "snapshots", "token_shards", "browse", "temporary", "bytes", "dry_run",
    }  # fmt: skip


def test_gc_removes_the_tokens_of_versions_that_nobody_names(done, place):
    for name, version in (("kept", refs.resolve(done.store, "toy").version), ("gone", "0" * 64)):
        done.store.blobs.write(f"tokens/{name}/manifest.json", json.dumps({"version": version}).encode())
        done.store.blobs.write(f"tokens/{name}/train-00000.ds", b"1234")
    done.store.blobs.write("tokens/half/train-00000.ds", b"1234")
    place.age(done.store)
    assert collect(done, keep_days=1)["token_shards"] == 2
    assert {blob.name.split("/")[1] for blob in done.store.blobs.list("tokens")} == {"kept"}
