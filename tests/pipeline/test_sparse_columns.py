"""Columns that only some files have, or have in another type."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from curate.errors import ConfigurationErrors, CurateError

MAIL = "jane.roe@example.com"
WORDS = " ".join(f"word{n}" for n in range(30))


def rows_of(project):
    return project.open().arrow().to_pylist()


def cut(project, rows, together):
    """The rows as one file, or each as a file of its own."""
    lines = [json.dumps(row) for row in rows]
    for number, some in enumerate([lines] if together else [[line] for line in lines]):
        project.write(f"cut{number}.jsonl", *some)


SPARSE = {
    "exact_duplicates, keep: best, by: score": [{"text": WORDS}, {"text": WORDS, "score": 3}, {"text": WORDS, "score": 9}],
    "near_duplicates, keep: best, by: score": [
        {"text": f"{WORDS} a"}, {"text": f"{WORDS} b", "score": 3}, {"text": f"{WORDS} c", "score": "high"},
    ],
    "exact_duplicates, on: summary": [{"text": "a"}, {"text": "b", "summary": "s"}, {"text": "c", "summary": "s"}],
    "unicode, on: [text, summary]": [{"text": "a"}, {"text": "b", "summary": "\u200bs"}, {"text": "c", "summary": 5}],
    "pii, on: '*'": [{"text": MAIL}, {"text": "b", "to": MAIL}, {"text": "c", "to": 5}],
    "split, by: host": [{"text": "a"}, {"text": "b", "host": "x"}, {"text": "c", "host": 5}],
    "split, column: fold": [{"text": "a"}, {"text": "b", "fold": "test"}, {"text": "c", "fold": None}],
    "text_statistics": [{"title": "a"}, {"text": "b"}, {"text": "c"}],
    "chunk, on: body": [{"text": "a"}, {"text": "b", "body": "one two"}, {"text": "c", "body": "three"}],
}  # fmt: skip


@pytest.mark.parametrize("stage", SPARSE)
def test_a_column_that_only_some_files_have_is_what_it_is_in_one_file(project, stage):
    found = []
    for together in (True, False) if stage != "text_statistics" else (False,):
        cut(project, [{"id": str(number), **row} for number, row in enumerate(SPARSE[stage])], together)
        files = "cut0.jsonl" if together else "cut*.jsonl"
        project.file.write_text(
            f"dataset: toy\nmin_documents: 0\nsources: [{{stage: files, paths: {files}}}]\nstages: [{{stage: {stage}}}]\n"
        )
        documents = project.run().documents
        rows = [{name: value for name, value in row.items() if name != "source_uri"} for row in rows_of(project)]
        for row in rows:
            if "parent" in row:
                del row["id"]
        found.append((documents, rows))
    assert found[0] == found[-1]
    assert found[0][0]["quarantined"] == 0


def test_a_column_that_no_file_has_is_an_error_before_any_stage_runs(project):
    cut(project, [{"text": WORDS}, {"text": WORDS, "score": 1}], together=False)
    project.file.write_text(
        "dataset: toy\nsources: [{stage: files, paths: cut*.jsonl}]\n"
        "stages: [{stage: unicode}, {stage: exact_duplicates, keep: best, by: scor}, {stage: pii, on: summary}]\n"
    )
    with pytest.raises(ConfigurationErrors) as caught:
        project.run()
    assert [error.problem for error in caught.value.errors] == [
        "stage `exact_duplicates` needs the column `scor`",
        "stage `pii`: `on: summary`: column `summary` is not there",
    ]


@pytest.mark.parametrize("there", ["cut0.jsonl", "cut1.jsonl", "cut39.jsonl"])
def test_validate_does_not_refuse_a_column_that_a_later_file_has(project, there):
    cut(project, [{"text": WORDS}] * 40, together=False)
    project.write(there, json.dumps({"text": WORDS, "summary": "s"}))
    project.file.write_text(
        "dataset: toy\nsources: [{stage: files, paths: cut*.jsonl}]\nstages: [{stage: unicode, on: summary}]\n"
    )
    done = project.cli("validate", "pipeline.yaml")
    assert done.code == 0, done.err


def test_columns_of_lists_and_of_numbers_have_nothing_in_common_and_the_column_is_named(project):
    import pyarrow.parquet as parquet

    for number, kind in enumerate((pa.decimal128(5, 2), pa.int64())):
        parquet.write_table(pa.table({"text": ["a"], "score": pa.array([1], kind)}), project.root / f"{number}.parquet")
    project.file.write_text(
        "dataset: toy\nsources: [{stage: files, paths: '*.parquet'}]\n"
        "stages: [{stage: exact_duplicates, keep: best, by: score}]\n"
    )
    with pytest.raises(CurateError, match=r"column `score` is decimal.* in one shard and int64 in another"):
        project.run()


@pytest.mark.parametrize("together", [True, False])
def test_large_integers_beside_floats_are_published_as_they_are(project, together):
    rows = [{"text": "a", "n": 2**53 + 1}, {"text": "b", "n": 0.5}, {"text": "c"}]
    cut(project, rows, together)
    files = "cut0.jsonl" if together else "cut*.jsonl"
    project.file.write_text(f"dataset: toy\nsources: [{{stage: files, paths: {files}}}]\nstages: []\n")
    project.run()
    assert project.open().arrow().column("n").to_pylist() == ["9007199254740993", "0.5", None]
    assert project.cli("data", "verify", "toy").code == 0


def test_a_version_with_a_value_that_its_column_does_not_hold_is_not_committed_and_verify_finds_one(
    project, monkeypatch
):
    from curate.pipeline import run as running
    from curate.pipeline import walk

    cut(project, [{"text": "a", "n": 2**53 + 1}, {"text": "b", "n": 0.5}], together=False)
    project.file.write_text("dataset: toy\nsources: [{stage: files, paths: cut*.jsonl}]\nstages: []\n")
    monkeypatch.setattr(walk, "targets", lambda store, shards, stages: [None] * len(shards))
    with pytest.raises(CurateError, match="column `n` has a value that no double holds"):
        project.run()
    monkeypatch.setattr(running, "check_values", lambda *_: None)
    project.run()
    told = project.cli("data", "verify", "toy")
    assert told.code
    assert "column `n` has a value that no double holds" in told.out
