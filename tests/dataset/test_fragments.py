"""What a version is made of: fragments survive writing and reading, and texts are written again only where they changed."""

from __future__ import annotations

import pyarrow as pa
import pytest

from curate.dataset.fragments import Fragment, Sidecar, read_fragments, write_fragments
from curate.dataset.ledger import Step
from curate.dataset.store import Store, blobs_at
from curate.pipeline.fragment import run_write
from curate.pipeline.task import shard_of
from curate.stages.contract import Verdicts

pytestmark = pytest.mark.anywhere


@pytest.fixture
def store(place):
    return Store(blobs_at(place.store("store")))


@pytest.fixture
def shard(store):
    columns = {name: [f"{name} {row}" for row in range(10)] for name in ("id", "text", "source_uri")}
    return shard_of(store, [pa.table(columns)], part="p", source="s")


def written(store, shard, *steps):
    return Fragment.from_json(run_write(store, shard.after(steps), "k" * 64)["fragment"])


def attaching(store, **columns):
    rows = pa.array(range(10), pa.int32())
    return Step("a", 10, 60, None, store.write_table(pa.table({"row": rows, **columns})), tuple(columns))


def said(store, verdicts, **reasons):
    return Step("v", 10, 60, store.write_table(verdicts.table()), reasons={key: {"r": n} for key, n in reasons.items()})


def test_fragments_survive_writing_and_reading(store):
    fragments = [
        Fragment("o1", 10, None, 10, 99, 500, "schema"),
        Fragment(
            "o2", 10, "kept", 4, 40, 300, "schema", (Sidecar("s1", ("a", "b")), Sidecar("s2", ("split",))),
            {"train": {"documents": 3, "text_bytes": 30}, "test": {"documents": 1, "text_bytes": 10}},
        ),
    ]  # fmt: skip
    assert read_fragments(store, write_fragments(store, fragments)) == fragments
    assert read_fragments(store, write_fragments(store, [])) == []
    assert [Fragment.from_json(one.to_json()) for one in fragments] == fragments


def test_a_shard_that_nothing_touched_is_not_written_again(store, shard):
    fragment = written(store, shard)
    assert (fragment.object, fragment.kept, fragment.documents) == (shard.object, None, 10)
    assert fragment.splits == {"train": {"documents": 10, "text_bytes": 60}}


def test_a_few_documents_that_left_are_a_list_of_rows(store, shard):
    verdicts = Verdicts()
    verdicts.drop(3, "r")
    fragment = written(store, shard, said(store, verdicts, dropped=1))
    assert (fragment.object, fragment.documents, fragment.rows) == (shard.object, 9, 10)
    assert store.read_table(fragment.kept).column("kept").to_pylist() == [row != 3 for row in range(10)]


def test_where_most_have_left_the_rest_is_written_again_in_its_rows(store, shard):
    verdicts = Verdicts()
    for row in range(9):
        verdicts.drop(row, "r")
    fragment = written(store, shard, said(store, verdicts, dropped=9))
    assert store.read_table(fragment.object).column("text").to_pylist() == [None] * 9 + ["text 9"]


def test_a_column_lies_beside_the_texts_and_a_split_is_counted(store, shard):
    step = attaching(store, split=pa.array(["train", "test"] * 5))
    fragment = written(store, shard, step)
    assert (fragment.object, fragment.sidecars) == (shard.object, (Sidecar(step.features, ("split",)),))
    assert fragment.splits["test"] == {"documents": 5, "text_bytes": 30}


def test_what_was_taken_out_of_an_attached_column_is_not_published(store, shard):
    mail = attaching(store, label=pa.array(["a@b.org"] * 10), other=pa.array(range(10)))
    edits = pa.Table.from_pylist(
        [{"row": row, "verdict": "edited", "reason": "r", "text": "<EMAIL>", "path": "label"} for row in range(10)],
        schema=Verdicts().table().schema,
    )
    clean = Step("pii", 10, 60, store.write_table(edits), reasons={"edited": {"r": 10}})
    fragment = written(store, shard, mail, clean)
    assert [one.columns for one in fragment.sidecars] == [("label",), ("other",)]
    assert store.read_table(fragment.sidecars[0].object).column("label").to_pylist() == ["<EMAIL>"] * 10
