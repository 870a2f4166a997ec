"""Documents of one kind each: who is erased from them is gone, and stays so in the next run."""

from __future__ import annotations

import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as parquet

from curate.erasure.going import Documents
from tests.erasure.conftest import canaries
from tests.erasure.test_erase import erase, sound, subject


def texts(project, rows, *stages):
    """A run over some documents."""
    project.write("rows.jsonl", *map(json.dumps, rows))
    listed = "".join(f"\n  - stage: {one}" for one in stages) or " []"
    project.pipeline(f"dataset: toy\nsources:\n  - {{stage: files, paths: [rows.jsonl]}}\nstages:{listed}\n")
    return project.run()


def test_no_cluster_or_pair_of_near_copies_names_one_that_is_gone(project):
    words = " ".join(f"word{number}" for number in range(60))
    rows = {"first-one": words, "second-one": f"{words} more", "third-one": "Of something else, and no copy of any."}
    texts(project, [{"id": name, "text": text} for name, text in rows.items()], "near_duplicates")
    assert canaries(project.store, ["first-one"])
    subject(project, "documents: [first-one]")
    assert erase(project)["similar"] == ["second-one"]
    assert canaries(project.store, ["first-one"]) == []
    subject(project, "documents: [second-one]")
    erase(project)
    assert canaries(project.store, ["first-one", "second-one"]) == []
    assert sound(project)


def test_a_number_in_a_column_of_decimals_is_found(project):
    numbers = pa.array([Decimal(4930901820), Decimal(7)], pa.decimal128(20, 0))
    parquet.write_table(
        pa.table({"id": ["a", "b"], "text": ["one", "two"], "n": numbers}), project.root / "rows.parquet"
    )
    project.pipeline("dataset: toy\nsources:\n  - {stage: files, paths: [rows.parquet]}\nstages: []\n")
    for _ in range(2):
        project.run()
        subject(project, 'phones: ["+49 30 901820"]')
        erase(project)
        assert project.open().arrow().column("n").to_pylist() == [None, Decimal(7)]


def test_two_people_in_one_document_stay_away_both(project):
    texts(
        project, [{"id": "one", "text": "Alice Alison and Robert Bobson write letters."}, {"text": "Alice Alison " * 9}]
    )
    own = next(row["id"] for row in project.open().arrow().to_pylist() if row["id"] != "one")
    subject(project, "names: [Alice Alison]")
    erase(project)
    subject(project, f"names: [Robert Bobson]\ndocuments: [{own}]")
    erase(project)
    project.run()
    assert project.texts() == ["<PERSON> and <PERSON> write letters."]


def test_a_chat_without_an_id_is_known_again_among_documents_with_other_columns(project):
    rows = [{"messages": [{"role": "user", "content": f"hello number {n}"}], "language": "en"} for n in range(3)]
    texts(project, rows)
    (one,) = [row["id"] for row in project.open().arrow().to_pylist() if "number 1" in row["messages"]]
    subject(project, f"documents: [{one}]")
    erase(project)
    texts(project, [{**rows[0], "tone": "kind"}, *rows[1:]])
    assert len(project.open()) == 2


def test_a_long_chain_of_answers_goes_in_one_look_at_the_store(project, monkeypatch):
    looked, copies = [], Documents.copies_of
    monkeypatch.setattr(Documents, "copies_of", lambda *given: looked.append(1) or copies(*given))
    rows = [{"id": f"d{n}", "parent": f"d{n - 1}", "text": f"Answer {n}."} for n in range(50, 0, -1)]
    texts(project, [*rows, {"id": "d0", "text": "A question."}, {"id": "other", "text": "Another one."}])
    subject(project, "documents: [d0]")
    erase(project)
    assert project.texts() == ["Another one."]
    assert len(looked) == 1
