"""What documents have become: the state of a shard against a model in plain Python."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.dataset.blobs import LocalBlobs
from curate.dataset.fragments import read_ledger, write_ledger
from curate.dataset.ledger import Shard, Step
from curate.dataset.state import State
from curate.dataset.store import Store
from curate.pipeline.task import shard_of
from curate.stages.verdicts import verdict_schema

TEXTS = ("", "a", "b\u00e9", "a longer text")
ROWS = 4
JSON = {b"curate.json": b"1"}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(LocalBlobs(tmp_path_factory.mktemp("store")))


def plain_documents(rows=ROWS):
    return [
        {
            "id": f"d{row}",
            "text": f"text {row}",
            "source_uri": f"s#{row}",
            "title": None if row == 1 else f"title {row}",
            "messages": [{"role": "user", "content": f"hello {row}"}, {"content": "bye"}],
        }
        for row in range(rows)
    ]


@pytest.fixture(scope="module")
def shard(store):
    return make_shard(store, plain_documents())


def make_shard(store, documents):
    strings = [pa.field(name, pa.string()) for name in documents[0] if name != "messages"]
    schema = pa.schema(
        [*strings, *([pa.field("messages", pa.string(), metadata=JSON)] if "messages" in documents[0] else [])]
    )
    rows = [{**one, **({"messages": json.dumps(one["messages"])} if "messages" in one else {})} for one in documents]
    return shard_of(store, [pa.Table.from_pylist(rows, schema=schema)], part="p", source="s")


class Model:
    """The same in plain Python: a document or None for each row."""

    def __init__(self):
        self.rows = plain_documents()

    def alive(self):
        return [row for row, one in enumerate(self.rows) if one is not None]

    def apply(self, attach, edits, removed):
        for name, values in attach.items():
            for row in self.alive():
                self.rows[row][name] = values.get(row)
        for row, path, text in edits:
            document = self.rows[row]
            if path in ("text", "title", "note"):
                document[path] = text
            else:
                document["messages"][int(path[len("messages[") : path.index("]")])]["content"] = text
        for row in removed:
            self.rows[row] = None


def write_step(store, attach, edits, removed, nameless=True):
    """A step's objects, as the engine writes them: by row, then in the order of the edits."""
    said = [{"row": row, "verdict": "dropped", "reason": "r"} for row in removed]
    for row, path, text in edits:
        place = None if path == "text" and nameless else path
        said.append({"row": row, "verdict": "edited", "reason": "r", "text": text, "path": place})
    said.sort(key=lambda one: one["row"])
    verdicts = store.write_table(pa.Table.from_pylist(said, schema=verdict_schema())) if said else None
    features = None
    if attach:
        rows = sorted({row for values in attach.values() for row in values})
        kinds = {"note": pa.string(), "label": pa.int64()}
        columns = {name: pa.array([values.get(row) for row in rows], kinds[name]) for name, values in attach.items()}
        features = store.write_table(pa.table({"row": pa.array(rows, pa.int32()), **columns}))
    reasons = {"edited": {"r": len({row for row, _, _ in edits})}} if edits else {}
    return Step(
        "x",
        0,
        0,
        verdicts,
        features,
        tuple(attach),
        (),
        reasons | ({"dropped": {"r": len(removed)}} if removed else {}),
    )


@st.composite
def changes(draw):
    """Steps of a few stages, one after the other: (attach, edits, removed)."""
    alive, notes, steps = set(range(ROWS)), False, []
    for _ in range(draw(st.integers(0, 4))):
        attach = {}
        some = st.sets(st.sampled_from(sorted(alive))) if alive else st.just(set())
        if draw(st.booleans()):
            name = draw(st.sampled_from(["note", "label"]))
            value = st.sampled_from(TEXTS) if name == "note" else st.integers(0, 3)
            attach[name] = {row: draw(value) for row in draw(some)}
            if not attach[name]:
                attach = {}
        notes = notes or "note" in attach
        paths = ["text", "title", "messages[0].content", "messages[1].content", *(["note"] if notes else [])]
        edits = {
            (row, path): draw(st.sampled_from(TEXTS))
            for row in sorted(draw(some))
            for path in sorted(draw(st.sets(st.sampled_from(paths), min_size=1, max_size=2)))
        }
        removed = draw(some) - {row for row, _ in edits}
        alive -= removed
        steps.append((attach, [(row, path, text) for (row, path), text in edits.items()], sorted(removed)))
    return steps


def run(store, shard, steps):
    model, state = Model(), State(store, shard)
    for attach, edits, removed in steps:
        model.apply(attach, edits, removed)
        step = write_step(store, attach, edits, removed)
        state.apply(step)
        shard = shard.after([step])
    return model, state, shard


def told(table):
    rows = table.to_pylist()
    return [{**row, "messages": json.loads(row["messages"])} for row in rows]


def in_full(model):
    names = dict.fromkeys(name for one in model.rows if one for name in one)
    return [{name: one.get(name) for name in names} for one in model.rows if one is not None]


@settings(derandomize=True, deadline=None, max_examples=80)
@given(changes(), st.booleans())
def test_documents_are_what_plain_python_makes_of_the_same_steps(store, shard, steps, early):
    model, state = Model(), State(store, shard)
    for attach, edits, removed in steps:
        model.apply(attach, edits, removed)
        state.apply(write_step(store, attach, edits, removed))
        if early:  # texts that were read before a step are changed by it as those that are read later
            state.table()
    expected = in_full(model)
    found = told(state.table())
    assert [{name: row[name] for name in expected[0]} for row in found] == expected if expected else not found
    assert state.rows().tolist() == model.alive()
    assert state.kept == len(expected)
    assert state.bytes() == sum(len(one["text"].encode()) for one in expected)
    assert state.sizes[state.alive].tolist() == [len(one["text"].encode()) for one in expected]


@settings(derandomize=True, deadline=None, max_examples=30)
@given(changes())
def test_a_state_is_the_same_step_by_step_and_from_the_ledger(store, shard, steps):
    _, state, whole = run(store, shard, steps)
    (again,) = read_ledger(store, write_ledger(store, [whole]))
    assert again == whole
    replayed = State(store, again)
    assert replayed.identity() == state.identity()
    assert replayed.table().equals(state.table())
    assert replayed.idents(None).tolist() == state.idents(None).tolist()


@settings(derandomize=True, deadline=None, max_examples=30)
@given(changes(), st.sets(st.integers(0, ROWS - 1)))
def test_some_rows_of_a_column_are_those_of_the_whole(store, shard, steps, chosen):
    _, state, _ = run(store, shard, steps)
    rows = np.array(sorted(chosen & set(state.rows().tolist())), dtype=np.int64)
    table, place = state.table(), {row: number for number, row in enumerate(state.rows().tolist())}
    for name in table.column_names:
        values = table.column(name).to_pylist()
        assert state.column(name, rows).to_pylist() == [values[place[row]] for row in rows.tolist()]


@settings(derandomize=True, deadline=None, max_examples=40)
@given(changes(), changes())
def test_states_of_different_documents_differ(store, shard, left, right):
    one, other = run(store, shard, left)[1], run(store, shard, right)[1]
    if one.identity() == other.identity():
        assert told(one.table()) == told(other.table())


def test_no_order_of_edits_gives_one_identity_to_two_documents(store):
    shard = make_shard(store, plain_documents(1))
    places = ("text", "title", "messages[0].content")
    edits = list(product(places, ("x", "y"), (False, True)))
    found: dict[str, list] = {}
    for length in (1, 2):
        for chosen in product(edits, repeat=length):
            state = State(store, shard)
            for path, text, nameless in chosen:
                state.apply(write_step(store, {}, [(0, path, text)], [], nameless))
            documents = state.table().to_pylist()
            assert found.setdefault(state.identity(), documents) == documents, chosen


@settings(derandomize=True, deadline=None, max_examples=60)
@given(*[st.lists(st.tuples(st.sampled_from(["drop", *TEXTS[1:]]), st.integers(0, 2)), max_size=5)] * 2)
def test_states_are_the_same_exactly_where_the_texts_are(store, left, right):
    shard = make_shard(store, [{key: one[key] for key in ("id", "text", "source_uri")} for one in plain_documents(3)])

    def after(said):
        state = State(store, shard)
        for what, row in said:
            if state.alive[row]:
                state.apply(write_step(store, {}, *([], [row]) if what == "drop" else ([(row, "text", what)], [])))
        return state

    one, other = after(left), after(right)
    assert (one.identity() == other.identity()) == (one.table().equals(other.table()))


def test_an_edit_of_a_document_that_left_makes_no_difference(store, shard):
    dropped = write_step(store, {}, [], [2])
    edited = write_step(store, {}, [(2, "text", "x")], [])
    assert State(store, shard.after([dropped])).identity() == State(store, shard.after([edited, dropped])).identity()


def test_an_attached_column_that_is_edited_shows_the_edit(store, shard):
    steps = [
        write_step(store, {"note": {0: "a@b.org", 2: "x"}}, [], []),
        write_step(store, {}, [(0, "note", "<EMAIL>")], []),
    ]
    state = State(store, shard.after(steps))
    assert state.table().column("note").to_pylist() == ["<EMAIL>", None, "x", None]
    assert state.beside() == {}
    state.apply(write_step(store, {"note": {0: "new"}}, [], []))
    assert state.table().column("note").to_pylist() == ["new", None, None, None]


def test_a_row_named_twice_is_given_twice(store, shard):
    rows = np.array([0, 0, 2, 3])
    assert State(store, shard).column("id", rows).to_pylist() == ["d0", "d0", "d2", "d3"]


def test_a_column_that_is_consumed_is_gone_and_the_text_is_there(store):
    documents = pa.table(
        {"id": ["a", "b"], "source_uri": ["s#0", "s#1"], "content": pa.array([b"123", b"4"], pa.binary())}
    )
    shard = shard_of(store, [documents], part="p", source="s")
    assert (shard.bytes, State(store, shard).bytes()) == (4, 4)
    step = write_step(store, {}, [(0, "text", "one"), (1, "text", "fours")], [])
    state = State(store, shard)
    assert state.schema.names == ["id", "source_uri", "content"]
    state.apply(Step("x", 2, 4, step.verdicts, consumed=("content",), reasons=step.reasons))
    assert state.table().to_pylist() == [
        {"id": "a", "source_uri": "s#0", "text": "one"},
        {"id": "b", "source_uri": "s#1", "text": "fours"},
    ]
    assert state.bytes() == 8


def test_what_a_stage_is_given_changes_with_the_columns_that_it_reads_alone(store, shard):
    state = State(store, shard)
    before = state.idents(())
    state.apply(write_step(store, {"label": {0: 1, 1: 2, 2: 3, 3: 4}}, [], []))
    assert state.idents(()).tolist() == before.tolist()
    assert state.idents(("title",)).tolist() == before.tolist()
    assert len(set(state.idents(("label",)).tolist())) == ROWS
    assert state.idents(None).tolist() == state.idents(("label",)).tolist()


# ---- the ledger's records


def test_steps_and_shards_survive_as_json():
    reasons = {"dropped": {"x": 2}, "quarantined": {"y": 1, "time_limit": 1}, "edited": {"z": 1}, "expanded": {"e": 1}}
    step = Step("s", 9, 50, "v", "f", ("n",), ("content",), reasons, 3)
    shard = Shard(
        "part", "source", "object", 9, 50, "schema", "rejected", {"bad": 1}, {"request": 4}, "parent", (step,)
    )
    assert Shard.from_json(json.loads(json.dumps(shard.to_json()))) == shard
    assert (shard.kept, step.kept, step.provisional) == (4, 4, 1)
    assert shard.objects == ["object", "schema", "rejected", "v", "f"]


def test_a_ledger_survives_as_tables_and_some_shards_are_read_alone(store):
    steps = (Step("a", 5, 9, "v", None, (), (), {"dropped": {"x": 2, "y": 1}, "edited": {"x": 1}}), Step("b", 2, 4))
    shards = [
        Shard("p", "s", "o1", 5, 9, "schema", None, {}, {"requests": 2}, None, steps),
        Shard("q", "s", "o2", 0, 0, "schema", "r", {"bad": 1}),
        Shard("q", "made", "o3", 1, 2, "schema", parent="o1", steps=(Step("b", 1, 2, made=7, consumed=("content",)),)),
    ]
    ledger = write_ledger(store, shards)
    assert read_ledger(store, ledger) == shards
    assert read_ledger(store, ledger, [2, 0]) == [shards[2], shards[0]]
    assert read_ledger(store, ledger, []) == []
    assert read_ledger(store, write_ledger(store, [])) == []
