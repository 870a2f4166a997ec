"""A row is known by its place in what was asked for, not by the same key of another query of the same database."""

import sqlite3

import pytest

from curate.dataset.snapshots import snapshots
from curate.dataset.store import Store
from tests.oracles import library

library("sqlalchemy")
PIPELINE = """\
dataset: toy
sources:
  - {stage: database, id: people, url: "sqlite:///a.db", query: "select * from people", key: nr, id_column: own}
  - {stage: database, id: orders, url: "sqlite:///a.db", query: "select * from orders", key: nr, id_column: own}
stages: []
"""


@pytest.mark.parametrize("addresses", ["of_today", "without_queries"])
def test_erasing_a_row_of_one_query_leaves_the_row_of_the_same_key_of_another(project, monkeypatch, addresses):
    if addresses == "without_queries":
        monkeypatch.setattr("curate.collect.fetch.database.Database._place", lambda source: "query")
    with sqlite3.connect(project.root / "a.db") as connection:
        for name in ("people", "orders"):
            connection.execute(f"create table {name} (nr integer primary key, text text, own text)")
            rows = [(number, f"Row {number} of {name}.", f"{name}-{number}") for number in range(3)]
            connection.executemany(f"insert into {name} values (?, ?, ?)", rows)
    project.pipeline(PIPELINE)
    project.run()
    (project.root / "subject.yaml").write_text("documents: [people-1]\n")
    assert project.cli("data", "erase", "--subject-file", "subject.yaml").code == 0
    store = Store.open(project.root / ".curate")
    pieces = [piece["object"] for _, record in snapshots(store) for piece in record["pieces"]]
    left = [own for name in pieces for own in store.read_table(name).column("own").to_pylist()]
    assert sorted(left) == ["orders-0", "orders-1", "orders-2", "people-0", "people-2"]
