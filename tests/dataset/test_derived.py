"""Versions derived from others without a pipeline: columns beside the documents, no text written."""

from __future__ import annotations

import pyarrow as pa
import pytest

from curate.dataset import refs
from curate.dataset.care import collect_garbage, verify
from curate.dataset.diff import diff
from curate.dataset.manifest import attach
from curate.dataset.reader import Dataset
from curate.dataset.store import object_name
from curate.dataset.why import why
from curate.errors import CurateError

pytestmark = pytest.mark.anywhere


@pytest.fixture
def parent(project):
    """Two fragments of 5 and 3 documents; in the first one is missing, and a filter has attached `length`."""
    project.write("a.txt", *(f"a{i}|text {i}" for i in range(5)), "gone|x")
    project.write("b.txt", *(f"b{i}|other {i}" for i in range(3)))
    project.stages("Long, minimum: 2", "Halves", shard_megabytes=0.00001)
    project.run()
    return project.open()


def column(version, fragment, name, values, rows=None):
    """An object with a column for some rows of a fragment."""
    rows = range(version.fragments[fragment].rows) if rows is None else rows
    return version.store.write_table(pa.table({"row": pa.array(rows, pa.int32()), name: values}))


def derived(parent, columns, made_by=None):
    version = attach(parent.store, parent.version, columns, made_by or {"kind": "labeling", "round": "1"})
    number = refs.commit(parent.store, parent.name, version)
    return Dataset(parent.store, refs.resolve(parent.store, f"{parent.name}@{number}"))


@pytest.fixture
def labelled(parent):
    """Labels of all documents of the first fragment, and of one of the second."""
    return derived(parent, [
        (0, column(parent, 0, "label", [f"l{row}" for row in range(6)]), ["label"]),
        (1, column(parent, 1, "label", ["m2"], [2]), ["label"]),
    ])  # fmt: skip


LABELS = ["l0", "l1", "l2", "l3", "l4", None, None, "m2"]


def test_a_column_is_read_in_arrow_polars_and_hugging_face(parent, labelled):
    import polars

    assert labelled.columns == [*parent.columns, "label"]
    assert labelled.arrow().column("label").to_pylist() == LABELS
    assert labelled.arrow().drop_columns(["label"]).equals(parent.arrow())
    assert labelled.arrow("test", ["id", "label"]).to_pylist() == [
        {"id": "a1", "label": "l1"}, {"id": "a3", "label": "l3"}, {"id": "b1", "label": None},
    ]  # fmt: skip
    assert labelled.polars().filter(polars.col("label") == "m2").collect()["id"].to_list() == ["b2"]
    assert labelled.huggingface("train")["label"] == ["l0", "l2", "l4", None, "m2"]
    assert labelled.take([7, 1]).column("label").to_pylist() == ["l1", "m2"]


def test_no_object_with_texts_is_written(parent, labelled):
    assert [one.object for one in labelled.fragments] == [one.object for one in parent.fragments]
    new = labelled.store.read_schema(labelled.fragments[0].sidecars[-1].object)
    assert new.names == ["row", "label"]


def test_the_parent_stands_in_the_lineage_and_is_as_it_was(parent, labelled):
    lineage = labelled.manifest["lineage"]
    assert (lineage["parents"], lineage["made_by"]) == ([parent.version], {"kind": "labeling", "round": "1"})
    assert lineage["pipeline"] == parent.manifest["lineage"]["pipeline"]
    assert labelled.inputs() == parent.inputs()
    assert parent.columns == ["id", "text", "source_uri", "length", "split"]
    assert labelled.version != parent.version


def test_it_is_verified_told_of_and_compared_as_any_other(parent, labelled):
    assert verify(labelled)["problems"] == []
    assert why(labelled, "gone") == why(parent, "gone")
    found = diff(parent, labelled)
    assert [found[key] for key in ("added", "removed", "changed", "unchanged")] == [0, 0, 0, 8]
    assert found["columns"] == {"added": ["label"], "removed": [], "changed": {}}
    assert labelled.splits == parent.splits


def test_a_damaged_column_is_found(labelled):
    name = labelled.fragments[1].sidecars[-1].object
    labelled.store.blobs.delete(object_name(name))
    assert [row["object"] for row in verify(labelled)["problems"]] == [name]


def test_equal_columns_give_equal_versions(parent, labelled):
    columns = [(0, column(parent, 0, "label", [f"l{row}" for row in range(6)]), ["label"])]
    columns.append((1, column(parent, 1, "label", ["m2"], [2]), ["label"]))
    assert attach(parent.store, parent.version, columns, {"kind": "labeling", "round": "1"}) == labelled.version


def test_a_later_column_hides_an_earlier_one_of_its_name(parent, labelled):
    again = derived(labelled, [(0, column(parent, 0, "label", ["new"] * 6), ["label"])])
    assert again.arrow().column("label").to_pylist() == ["new"] * 5 + [None, None, "m2"]
    assert again.columns == labelled.columns
    over = derived(parent, [(0, column(parent, 0, "length", [0] * 6), ["length"])])
    assert over.arrow().column("length").to_pylist() == [0] * 5 + [7] * 3


def test_columns_of_fragments_whose_types_differ_are_read_as_one(parent):
    numbers = column(parent, 0, "score", [1, 2, 3, 4, 5, 6])
    version = derived(parent, [(0, numbers, ["score"]), (1, column(parent, 1, "score", [0.5, 1.5, 2.5]), ["score"])])
    assert version.arrow().column("score").to_pylist() == [1.0, 2.0, 3.0, 4.0, 5.0, 0.5, 1.5, 2.5]
    lists = derived(parent, [(0, numbers, ["score"])])
    with pytest.raises(CurateError, match="column `score` is"):
        derived(lists, [(1, column(parent, 1, "score", [[1], [2], [3]]), ["score"])])


@pytest.mark.parametrize("name", ["id", "text", "source_uri", "row", "split"])
@pytest.mark.folder
def test_a_column_has_a_name_of_its_own(parent, name):
    held = parent.store.write_table(pa.table({"row": pa.array([0], pa.int32()), "x": ["y"]}))
    with pytest.raises(CurateError, match=f"a column cannot be called `{name}`"):
        attach(parent.store, parent.version, [(0, held, [name])], {})


def test_garbage_collection_keeps_what_a_derived_version_needs(parent, labelled):
    parent_id, store = parent.version, labelled.store
    assert collect_garbage(store, keep_days=0, keep_last=0, dry_run=False)["versions"] == 0  # both are open
    version = labelled.version
    del parent, labelled
    assert parent_id != version
    whole = Dataset(store, refs.resolve(store, "toy"))
    assert whole.arrow().column("label").to_pylist() == LABELS
    assert verify(whole)["problems"] == []
