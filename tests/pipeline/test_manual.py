"""What people write themselves: `curate add`, and the source that reads it."""

from __future__ import annotations

import io
import json
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from curate.dataset.entries import add_entry, entries_of
from curate.dataset.leases import lease
from curate.dataset.snapshots import snapshot_objects
from curate.dataset.store import Store
from curate.errors import CurateError

PIPELINE = "dataset: toy\nsources: [{stage: manual, id: notes, name: notes}]\nstages: []\n"


@pytest.fixture
def notes(project, monkeypatch):
    monkeypatch.setenv("CURATE_AUTHOR", "Ada")
    project.pipeline(PIPELINE)
    return project


def typed(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_a_text_comes_from_a_file_from_standard_input_or_from_an_editor(notes, monkeypatch):
    notes.write("note.txt", "from a file")
    told = json.loads(notes.cli("add", "notes", "--file", "note.txt", "--license", "CC0-1.0", "--json").out)
    assert (told["id"], told["author"], told["characters"]) == ("notes-1", "Ada", 12)
    typed(monkeypatch, b"\xef\xbb\xbffrom standard input")
    assert "notes-2: 19 characters by Bob" in notes.cli("add", "notes", "--author", "Bob").out
    notes.write("editor.sh", "#!/bin/sh", 'printf "from an editor" > "$1"').chmod(0o755)
    monkeypatch.setenv("VISUAL", str(notes.root / "editor.sh"))
    monkeypatch.setattr(sys, "stdin", type("Terminal", (io.StringIO,), {"isatty": lambda self: True})())
    assert notes.cli("add", "notes").code == 0
    pieces, following = entries_of(notes.store, "notes")
    rows = [row for piece in pieces for row in notes.store.read_table(piece.object).to_pylist()]
    assert [row["text"] for row in rows] == ["from a file\n", "from standard input", "from an editor"]
    assert [row["license"] for row in rows] == ["CC0-1.0", None, None]
    assert following == 4


@pytest.mark.parametrize(
    ("arguments", "data", "words"),
    [
        (["notes"], b"  \n", "the text is empty: nothing was added"),
        (["no/tes"], b"text", "`no/tes` is no name"),
        (["notes"], b"\xff\xfe", "`standard input` is not UTF-8"),
        (["notes", "--file", "nothing.txt"], b"", "`nothing.txt` cannot be read"),
    ],
)
def test_what_cannot_be_added_is_said(notes, monkeypatch, arguments, data, words):
    typed(monkeypatch, data)
    outcome = notes.cli("add", *arguments)
    assert (outcome.code, words in outcome.err) == (2, True)


def test_entries_of_two_who_add_at_once_are_both_there(tmp_path):
    store = Store.open(tmp_path / "store", create=True)
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda number: add_entry(store, "n", f"text {number}", author="a"), range(40)))
    assert {one.id for one in done} == {f"n-{number}" for number in range(1, 41)}
    pieces, _ = entries_of(store, "n")
    assert len(pieces) < 40
    texts = [text for piece in pieces for text in store.read_table(piece.object).column("text").to_pylist()]
    assert sorted(texts) == sorted(f"text {number}" for number in range(40))
    assert {piece.object for piece in pieces} <= snapshot_objects(store)


@pytest.mark.slow
def test_nothing_is_added_beside_an_erasure_or_a_garbage_collection(tmp_path):
    store = Store.open(tmp_path / "store", create=True)
    with lease(store, "collect"), pytest.raises(CurateError, match="the store is in use by another process"):
        add_entry(store, "notes", "text", author="Ada")
    assert add_entry(store, "notes", "text", author="Ada").id == "notes-1"


def test_a_run_reads_what_was_added_when_it_was_pinned_and_a_refresh_the_rest(notes):
    with pytest.raises(CurateError, match="nothing was added to `notes`"):
        notes.run()
    for number in range(2):
        add_entry(notes.store, "notes", f"entry {number}", author="Ada")
    first = notes.run()
    row = notes.open().arrow().to_pylist()[1]
    assert (row["id"], row["source_uri"], row["author"]) == ("notes-2", "manual:notes#notes-2", "Ada")
    add_entry(notes.store, "notes", "entry 2", author="Ada")
    assert notes.run().version == first.version
    assert notes.cli("collect", "pipeline.yaml", "--refresh", "notes").code == 0
    notes.run()
    assert notes.texts() == ["entry 0", "entry 1", "entry 2"]
    (notes.root / "subject.yaml").write_text("documents: [notes-2]\n")
    assert notes.cli("data", "erase", "--subject-file", "subject.yaml").code == 0
    pieces, following = entries_of(notes.store, "notes")
    texts = [text for piece in pieces for text in notes.store.read_table(piece.object).column("text").to_pylist()]
    assert (texts, following) == (["entry 0", "entry 2"], 4)
    assert notes.cli("collect", "pipeline.yaml", "--refresh", "notes").code == 0
    notes.run()
    assert notes.texts() == ["entry 0", "entry 2"]
