"""From features and thresholds to verdicts."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.stages.contract import Rule, Span, Verdicts, verdict_schema
from curate.stages.decide import decide_by_rules, verdict_table
from curate.stages.verdicts import as_one

RULES = [Rule("short", "length", minimum=3), Rule("long", "length", maximum=8), Rule("odd", "share", maximum=0.5)]


def decided(lengths, shares, rules=RULES):
    features = pa.table({"length": pa.array(lengths, pa.int64()), "share": pa.array(shares, pa.float64())})
    return {row["row"]: row for row in decide_by_rules(features, rules).to_pylist()}


def test_bounds_are_inclusive():
    assert decided([2, 3, 8, 9], [0.5] * 4).keys() == {0, 3}


def test_the_first_rule_that_fails_is_the_reason_with_value_and_threshold():
    row = decided([9], [0.9])[0]
    assert (row["verdict"], row["reason"], row["value"], row["threshold"]) == ("dropped", "long", 9.0, 8.0)


def test_a_missing_value_fails_its_rule():
    assert decided([None, 5], [0.1, math.nan])[0]["reason"] == "short"
    assert decided([5], [math.nan])[0] | {"spans": None} == {
        **dict.fromkeys(verdict_schema().names),
        "row": 0,
        "verdict": "dropped",
        "reason": "odd",
        "threshold": 0.5,
    }


def test_a_rule_without_bounds_drops_nothing():
    assert decided([None], [None], [Rule("never", "length")]) == {}


NUMBERS = st.lists(st.tuples(st.one_of(st.none(), st.integers(0, 12)), st.floats(0, 1)), max_size=30)


@settings(derandomize=True, deadline=None)
@given(NUMBERS)
def test_whole_columns_decide_as_one_document_at_a_time_would(pairs):
    def plain(length, share):
        if length is None or length < 3:
            return "short"
        if length > 8:
            return "long"
        return "odd" if share > 0.5 else None

    found = decided([pair[0] for pair in pairs], [pair[1] for pair in pairs])
    expected = {row: plain(*pair) for row, pair in enumerate(pairs) if plain(*pair)}
    assert {row: verdict["reason"] for row, verdict in found.items()} == expected


def test_collected_verdicts_stand_in_the_order_of_the_rows():
    verdicts = Verdicts()
    verdicts.quarantine(4, "broken", detail="it is")
    verdicts.edit(1, "new", "cleaned", value=2, spans=[Span(0, 3, "email", 0.5)])
    verdicts.drop(2, "copy", duplicate_of="d1")
    table = verdicts.table()
    assert table.schema == verdict_schema()
    assert [(row["row"], row["verdict"]) for row in table.to_pylist()] == [
        (1, "edited"),
        (2, "dropped"),
        (4, "quarantined"),
    ]
    assert table.to_pylist()[0]["spans"] == [{"start": 0, "end": 3, "type": "email", "score": 0.5}]


def test_a_verdict_table_is_made_of_whole_columns():
    import numpy as np

    table = verdict_table(
        np.array([1, 5]), "dropped", "r", value=np.array([1.0, np.nan]), duplicate_of=pa.array(["a", "b"])
    )
    assert table.schema == verdict_schema()
    assert table.column("value").to_pylist() == [1.0, None]
    assert table.column("duplicate_of").to_pylist() == ["a", "b"]


@pytest.mark.parametrize("count", [0, 1])
def test_no_features_and_no_verdicts_are_tables_too(count):
    features = pa.table({"length": pa.array([5] * count, pa.int64()), "share": pa.array([0.1] * count)})
    assert decide_by_rules(features, RULES).num_rows == 0


def test_spans_with_a_rule_stand_beside_those_that_an_earlier_curate_stored():
    old, new = Verdicts(), Verdicts()
    old.edit(0, "new", "cleaned", spans=[Span(0, 3, "email")])
    new.edit(1, "new", "cleaned", spans=[Span(0, 3, "email", rule="EmailRecognizer: 1")])
    assert old.table().schema == verdict_schema()
    whole = as_one([verdict_schema().empty_table(), old.table(), new.table()])
    assert [span["rule"] for row in whole.column("spans").to_pylist() for span in row] == [None, "EmailRecognizer: 1"]
