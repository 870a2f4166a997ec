"""The index of texts is a cache: whole or not there, made once for each object, gone with what it is of."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from curate.browse.cache import Cache
from curate.browse.columns import Columns
from curate.browse.indexing import build, objects_in
from curate.browse.search import Pattern, search
from curate.browse.text import FORMAT, TextIndex
from curate.dataset.care import collect_garbage
from curate.dataset.leases import lease
from curate.dataset.reader import open_dataset
from curate.errors import CurateError


def found(store, words, name="toy"):
    dataset = open_dataset(name, store)
    columns = Columns(dataset, Cache(store))
    return search(columns, dataset, np.arange(columns.rows), Pattern(words), index=TextIndex(store))


def files(store):
    return sorted(path for path in (store.root / "browse").rglob("*") if path.is_file())


def test_a_second_version_indexes_its_new_objects_alone(done):
    build(done.store, objects_in(done.store, "toy"))
    before = {path: path.stat().st_mtime_ns for path in (done.store.root / "browse" / FORMAT).glob("*/*")}
    assert before and found(done.store, "text").documents is not None
    done.run("long.minimum=8")
    build(done.store, objects_in(done.store, "toy"))
    after = {path: path.stat().st_mtime_ns for path in (done.store.root / "browse" / FORMAT).glob("*/*")}
    assert {path: after[path] for path in before} == before
    assert set(after) >= {done.store.root / "browse" / FORMAT / one[:2] / one for one in objects_in(done.store, "toy")}


def test_an_index_that_was_killed_or_is_damaged_is_made_anew(done):
    scanned = found(done.store, "text")
    name = objects_in(done.store, "toy")[0]
    code = (
        "import sys, os, signal\n"
        "from curate.browse import text\n"
        "from curate.dataset.store import Store\n"
        "whole = text.TextIndex._is_there\n"
        "text.TextIndex._is_there = lambda self, name: os.kill(os.getpid(), signal.SIGKILL)\n"
        "text.TextIndex(Store.open(sys.argv[1])).make(sys.argv[2])\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(done.store.root), name], env=dict(os.environ), check=False)
    assert killed.returncode == -signal.SIGKILL
    index = TextIndex(done.store)
    assert name not in index and found(done.store, "text") == scanned
    build(done.store, objects_in(done.store, "toy"))
    whole = found(done.store, "text")
    assert whole.rows == scanned.rows and whole.documents is not None
    for path in index.path(name).glob("*"):
        path.write_bytes(b"")
    assert found(done.store, "text").rows == scanned.rows
    build(done.store, objects_in(done.store, "toy"))
    assert found(done.store, "text") == whole
    assert not list((done.store.root / "browse").glob(f"{FORMAT}/*/.*"))


def test_an_erasure_leaves_no_word_of_a_person_and_none_is_put_in_place_beside_it(make, tmp_path):
    rows = [{"id": f"d{n}", "text": f"some plain text number {n}"} for n in range(20)]
    rows[7]["text"] += " xylograph7 of ann.plant@example.org"
    project = make("planted", {"in/a.jsonl": rows}, [])
    store = project.store
    build(store, objects_in(store, "books"))
    words = found(store, "xylograph7", "books")
    assert words.documents == 1 and files(store)
    subject = tmp_path / "subject.yaml"
    subject.write_text("documents: [d7]\n")
    from curate.erasure.erase import erase
    from curate.erasure.subject import read_subject

    erase(store, read_subject(subject), remove=True, say=lambda told: None)
    assert not files(store)
    with lease(store, "collect"), pytest.raises(CurateError):
        TextIndex(store).make(objects_in(store, "books")[0])
    assert not [path for path in files(store) if FORMAT in path.parts]
    build(store, objects_in(store, "books"))
    assert found(store, "xylograph7", "books").documents == 0
    assert not any(b"xylograph7" in path.read_bytes() for path in files(store))
    assert not list((store.root / "temporary").glob("*"))


def test_no_index_is_made_of_an_object_that_is_gone(done):
    index, name = TextIndex(done.store), objects_in(done.store, "toy")[0]
    asked = []

    def go_on():
        path = done.store.root / "objects" / name[:2] / f"{name}.parquet"
        asked.append(path.unlink(missing_ok=True))
        return True

    assert index.make(name, go_on) is False
    assert asked and name not in index and not list((done.store.root / "temporary").glob("*"))


def test_garbage_collection_takes_indexes_of_what_is_gone_and_of_older_formats(done):
    build(done.store, objects_in(done.store, "toy"))
    browse = done.store.root / "browse"
    there = objects_in(done.store, "toy")[0]
    old = [browse / "text-0" / there[:2] / there / "meta.json", browse / FORMAT / "ab" / ("ab" * 32) / "meta.json"]
    for path in old:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"{}")
    kept = [path for path in files(done.store) if path not in old]
    told = collect_garbage(done.store, keep_days=0, keep_last=1, dry_run=False)
    assert told["browse"] == 2 and files(done.store) == kept


def test_two_who_build_at_once_take_turns(done):
    with lease(done.store, "fetch", task="index of browse"), pytest.raises(CurateError):
        build(done.store, objects_in(done.store, "toy"))
    command = [sys.executable, "-m", "curate.browse.indexing", str(done.store.root), "toy"]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE, env=dict(os.environ)) for _ in range(2)]
    assert [one.wait() for one in both] == [0, 0]
    for one in both:
        one.stdin.close()
    assert found(done.store, "text").documents is not None


def test_only_the_owner_can_read_it(done):
    build(done.store, objects_in(done.store, "toy"))
    assert Path(done.store.root / "browse").stat().st_mode & 0o777 == 0o700
    shutil.rmtree(done.store.root / "browse")


def test_who_indexes_ends_with_the_server(done):
    with lease(done.store, "fetch", task="index of browse"):
        command = [sys.executable, "-m", "curate.browse.indexing", str(done.store.root), "toy"]
        waiting = subprocess.Popen(command, stdin=subprocess.PIPE, env=dict(os.environ))
        waiting.stdin.close()
        assert waiting.wait() == 0
