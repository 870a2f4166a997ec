"""The ledger: replaying steps gives what the stages did, and the state changes with the documents and only with them."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.dataset.ledger import Shard, Step, apply_step, next_state
from curate.stages.contract import Verdicts


def documents(count):
    texts = [f"text {i}" for i in range(count)]
    return pa.table(
        {"id": [f"d{i}" for i in range(count)], "text": texts, "source_uri": [f"s#{i}" for i in range(count)]}
    )


def verdicts(said):
    found = Verdicts()
    for row, what in said.items():
        if what == "edit":
            found.edit(row, f"edited {row}", "reason")
        elif what == "drop":
            found.drop(row, "reason", value=1.0)
        else:
            found.quarantine(row, "reason")
    return found.table()


SAID = st.dictionaries(st.integers(0, 11), st.sampled_from(["edit", "drop", "quarantine"]))


@settings(derandomize=True, deadline=None)
@given(SAID)
def test_a_step_edits_and_removes_what_its_verdicts_say(said):
    after = apply_step(documents(12), verdicts(said), None, ())
    expected = [
        (f"d{row}", f"edited {row}" if said.get(row) == "edit" else f"text {row}")
        for row in range(12)
        if said.get(row) not in ("drop", "quarantine")
    ]
    assert list(zip(after.column("id").to_pylist(), after.column("text").to_pylist(), strict=True)) == expected


@settings(derandomize=True, deadline=None)
@given(SAID, SAID)
def test_the_state_is_the_same_exactly_where_the_documents_are(left, right):
    def outcome(said):
        return apply_step(documents(12), verdicts(said), None, ()).to_pylist()

    states = [next_state("s", verdicts(said) if said else None, None, ()) for said in (left, right)]
    assert (states[0] == states[1]) == (outcome(left) == outcome(right)) or not (left and right)


def test_a_step_that_does_nothing_leaves_the_state():
    assert next_state("s", None, "features", ()) == "s"


def test_a_step_that_attaches_columns_changes_the_state():
    assert next_state("s", None, "features", ("length",)) != "s"


def test_columns_are_attached_before_documents_are_removed():
    features = pa.table({"n": [0, 1, 2]})
    after = apply_step(documents(3), verdicts({1: "drop"}), features, ("n",))
    assert after.column("n").to_pylist() == [0, 2]


def test_a_column_that_is_there_is_replaced():
    features = pa.table({"n": [0, 1, 2]})
    once = apply_step(documents(3), None, features, ("n",))
    again = apply_step(once, None, pa.table({"n": ["a", "b", "c"]}), ("n",))
    assert again.column("n").to_pylist() == ["a", "b", "c"]
    assert again.column_names.count("n") == 1


def test_steps_and_shards_survive_as_json():
    step = Step(
        "s", 5, 50, "state", "v", "f", ("n",), {"dropped": {"x": 2}, "quarantined": {"y": 1}, "edited": {"z": 1}}
    )
    shard = Shard("part", "source", "object", 5, 50, "schema", "rejected", {"bad": 1}, (step,))
    assert Shard.from_json(shard.to_json()) == shard
    assert (shard.kept, step.kept, shard.state) == (2, 2, "state")
