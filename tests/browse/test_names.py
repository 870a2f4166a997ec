"""Columns of documents that are called as something else is, edited by a stage, or hold odd numbers."""

from __future__ import annotations

import json

import pytest

from curate.browse.query import Query, Selection, read_query
from curate.browse.whatif import WhatIf
from curate.dataset.care import collect_garbage
from tests.browse.conftest import client, opened, version_of
from tests.reports.conftest import LONG, stage


@pytest.fixture(scope="module")
def named(make):
    """Documents with columns that are called as names of the engine and features of a stage, one of which a stage edits."""
    own = {"q2.words": 999.0, "value": 7, "#id": "x", "#length": 3, "column.verdict": "a", "verdict": "b"}
    rows = [
        {"text": f"{LONG} one", "source": "Zebulon Pike", "huge": 1.5e308, **own},
        {"text": f"{LONG} two", "source": "web", "huge": -1.5e308, **own},
        {"text": "short", "source": "web", "huge": 1, **own},
    ]
    stages = [
        stage("Short", "q1", ", min_words: 5"),
        stage("Short", "q2", ", min_words: 6"),
        stage("Hide", "pii", ", on: [source], pattern: Zebulon, type: NAME"),
    ]
    return make("named", {"texts/a.jsonl": rows}, stages)


def test_a_column_that_a_stage_edited_is_not_counted_whatever_it_is_called(named):
    _, columns = opened(named)
    assert "column.source" in columns.left_out and "column.source" not in columns.facets
    assert "Zebulon" not in client(named.store, read_only=True).get(f"/v/{version_of(named.store)}/documents").text


def test_a_column_called_as_a_feature_of_a_stage_stands_beside_it(named):
    _, columns = opened(named)
    assert columns.feature("column.q2.words").tolist() == [999.0] * 3
    assert [one == one for one in columns.feature("q2.words")] == [True, True, False]
    assert max(one["most"] for one in WhatIf(columns).sliders()) < 999
    assert columns.facet("column.verdict").names == ["b"]
    assert columns.facet("column.column.verdict").names == ["a"]
    assert columns.feature("column.value").tolist() == [7.0] * 3


def test_a_column_called_as_those_of_the_cache_is_left_out_and_told(named):
    _, columns = opened(named)
    assert {"#id", "#length"} <= columns.left_out
    assert client(named.store).get(f"/v/{version_of(named.store)}/documents").status_code == 200


def test_very_many_filters_that_no_document_passes_find_none(named):
    _, columns = opened(named)
    selection = Selection(columns, Query())
    selection._kept = {("range", str(number)): columns.length < 0 for number in range(256)}
    from curate.browse import query

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(query, "_masks", lambda *_: selection._kept.items())
        assert len(Selection(columns, Query())) == 0


def test_numbers_as_great_as_they_can_be_have_a_histogram(named):
    _, columns = opened(named)
    told = Selection(columns, read_query([])).range("huge", [-1.7e308])
    assert sum(told["counts"]) == told["measured"] == 3 and json.dumps(told["edges"], allow_nan=False)


def test_garbage_collection_removes_what_was_kept_in_an_older_form(named):
    opened(named)
    folder = named.store.root / "browse"
    one = next((folder / "2").rglob("*.arrow"))
    old = folder / "1" / one.parent.name / one.name
    old.parent.mkdir(parents=True)
    old.write_bytes(b"old")
    assert collect_garbage(named.store, keep_days=0, keep_last=1, dry_run=False)["browse"] == 1
    assert one.exists() and not old.exists()
