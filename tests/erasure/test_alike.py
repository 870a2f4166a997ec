"""What stages that compare documents keep of one that is erased: its id in verdicts on others, and what they signed of it."""

from __future__ import annotations

import json

import pytest

from curate.dataset.state import IDENT
from curate.dataset.why import why
from curate.errors import CurateError
from tests.erasure.conftest import canaries
from tests.erasure.test_erase import erase, sound, subject

FOOTER = "This footer line is shared by all of the pages here."
STAGES = [
    "{stage: exact_lines}",
    "{stage: exact_substrings, min_bytes: 30}",
    "{stage: near_duplicates}",
    "{stage: semantic_duplicates, embedding: vector}",
]


def alike(project, *more):
    """Six documents, of which the first, named by the subject file, has a line that stands in all."""
    words = [
        "Jane's own story of her illness, and of the harbour.",
        *(f"Of the river {n}, and its mouth." for n in range(5)),
    ]
    rows = [
        {
            "id": f"d{n}" if n else "jane-doe",
            "text": f"{text}\n{FOOTER}",
            "vector": [float(n == place) for place in range(6)],
        }
        for n, text in enumerate(words)
    ]
    project.write("rows.jsonl", *map(json.dumps, rows))
    stages = ", ".join([*STAGES, *more])
    project.pipeline(f"dataset: toy\nsources: [{{stage: files, paths: rows.jsonl}}]\nstages: [{stages}]\n")
    subject(project, "documents: [jane-doe]")


def signed(store):
    """Objects of what was measured or signed of the first document of the file: the one that goes."""
    for blob in store.blobs.list("objects"):
        name = blob.name.rpartition("/")[2].partition(".")[0]
        if IDENT in store.read_schema(name).names and 0 in store.read_table(name, ["row"]).column("row").to_pylist():
            yield name


def holder(project):
    """The document that `exact_lines` names as the one that has the line of another."""
    return next(one["duplicate_of"] for one in why(project.open(), "d3")["history"] if one["stage"] == "exact_lines")


def test_nothing_that_names_or_was_signed_of_an_erased_document_is_left(project):
    alike(project)
    project.run()
    assert holder(project) == "jane-doe"
    assert list(signed(project.store))
    told = erase(project)
    assert canaries(project.store, ["jane-doe", "Jane's own"]) == []
    assert list(signed(project.store)) == []
    assert told["similar"] == []  # a line in common makes no copy
    assert holder(project).startswith("<ERASED ")
    assert sound(project)
    project.run()
    assert FOOTER in project.texts()[0]


def test_nothing_that_was_signed_in_a_run_without_a_version_is_left(project):
    alike(project, '{stage: "toy_stages:Unfinished"}')
    with pytest.raises(CurateError):
        project.run()
    assert list(signed(project.store))
    erase(project)
    assert list(signed(project.store)) == []
