"""Documents made of documents."""

from __future__ import annotations

import json

import pytest


def rows_of(project):
    return project.open().arrow().to_pylist()


@pytest.fixture
def chunked(project):
    project.write("a.txt", "x1|one two three four five", "x2|six", "x3|", "x4|seven eight nine ten")
    project.stages("Lines")
    project.file.write_text(
        'dataset: toy\nsources: [{stage: "toy_stages:Lines", id: lines}]\nstages:\n'
        "  - {stage: chunk, size: 2}\n  - {stage: exact_duplicates}\n"
        "  - {stage: split, train: 1.0, validation: 0.0, test: 0.0}\n"
    )
    return project


def test_documents_made_of_documents_are_all_accounted_for(chunked):
    done = chunked.run()
    assert done.documents == {"in": 4, "kept": 6, "dropped": 1, "quarantined": 0, "made": 6, "expanded": 3}
    row = next(row for row in done.stages if row["id"] == "chunk")
    assert (row["in"], row["made"], row["expanded"], row["dropped"], row["kept"]) == (4, 6, 3, 1, 6)
    assert chunked.texts() == ["one two", "three four", "five", "six", "seven eight", "nine ten"]


def test_why_tells_the_story_of_a_piece_and_then_of_the_document_that_it_was_made_of(chunked):
    chunked.write("a.txt", "x1|one two three four five", "x2|one two")
    chunked.run()
    piece = rows_of(chunked)[1]
    assert (piece["parent"], piece["ordinal"]) == ("x1", 1)
    told = json.loads(chunked.cli("why", piece["id"], "--json").out)
    assert [told[key] for key in ("verdict", "stage", "reason", "split", "children")] == [
        "kept",
        None,
        None,
        "train",
        None,
    ]
    assert told["history"] == [{"stage": "chunk", "event": "made", "parent": "x1", "characters": 10}]
    parent = told["parent"]
    assert [parent[key] for key in ("id", "verdict", "stage", "parent")] == ["x1", "expanded", "chunk", None]
    assert [(event["stage"], event["event"]) for event in parent["history"]] == [
        ("lines", "read"),
        ("chunk", "expanded"),
    ]
    assert chunked.cli("why", piece["id"]).out == (
        f"{piece['id']} (a.txt#0/chunk.1): kept\n"
        "  chunk: made of `x1`, 10 characters\n"
        "  => in the version, in the split `train`\n"
        "made of x1 (a.txt#0): expanded\n"
        "  lines: read, 23 characters\n"
        "  chunk: expanded chunk\n"
        "  => expanded\n"
    )
    dropped = json.loads(chunked.cli("why", "a.txt#1/chunk.0", "--json").out)
    assert [dropped[key] for key in ("verdict", "stage", "split")] == ["dropped", "exact_duplicates", None]


def test_why_names_the_pieces_of_a_document(chunked):
    chunked.write("a.txt", "x1|" + " ".join("abcdefghijklmno"), "x3|")
    chunked.run()
    pieces = [row["id"] for row in rows_of(chunked)]
    told = json.loads(chunked.cli("why", "x1", "--json").out)
    assert (told["verdict"], told["children"]) == ("expanded", {"documents": 8, "ids": pieces[:5]})
    last = chunked.cli("why", "x1").out.splitlines()[-1]
    assert last == f"  => expanded into 8 documents: {', '.join(pieces[:5])}, ..."
    none = json.loads(chunked.cli("why", "x3", "--json").out)
    assert (none["verdict"], none["reason"], none["children"]) == ("dropped", "nothing_made", None)


def test_pieces_have_the_same_ids_in_every_store_and_are_cached(chunked):
    first = chunked.run()
    assert chunked.run().tasks["run"] == 0
    again = chunked.run(store=chunked.root / "other", workers=2)
    assert again.version == first.version


def test_a_piece_that_equals_another_one_is_dropped_like_any_document(chunked):
    chunked.write("a.txt", "x1|same words same words")
    assert chunked.run().documents["kept"] == 1
