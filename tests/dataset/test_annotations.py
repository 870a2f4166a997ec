"""What was said of documents is kept for ever, and stands beside those that are still what was judged."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest

from curate.dataset import refs
from curate.dataset.annotations import annotate, annotated, annotation_objects, hashes, read_annotations
from curate.dataset.care import collect_garbage, verify
from curate.dataset.reader import Dataset
from curate.dataset.store import object_name
from curate.errors import CurateError

pytestmark = pytest.mark.anywhere


@pytest.fixture
def dataset(project):
    """Five documents and three in two shards; one of the first five has left."""
    project.write("a.txt", "gone|x", *(f"a{i}|text {i}" for i in range(5)))
    project.write("b.txt", *(f"b{i}|other {i}" for i in range(3)))
    project.stages("Long, minimum: 2", shard_megabytes=0.00001)
    project.run()
    return project.open()


def said(dataset, labels, on=("text",), **more):
    """Annotations of documents by id, about what they are now."""
    documents = dataset.arrow()
    digests = dict(zip(documents.column("id").to_pylist(), hashes(documents, on).to_pylist(), strict=True))
    table = {
        "id": list(labels),
        "hash": [digests.get(name, "0" * 64) for name in labels],
        "label": list(labels.values()),
    }
    return pa.table({**table, **more})


def labels(dataset, version):
    refs.commit(dataset.store, dataset.name, version)
    one = Dataset(dataset.store, refs.resolve(dataset.store, dataset.name))
    return {
        row["id"]: row["label"] for row in one.arrow(columns=["id", "label"]).to_pylist() if row["label"] is not None
    }


def test_each_document_has_what_was_said_of_it_last(dataset):
    annotate(dataset.store, "taste", said(dataset, {"a1": "good", "b2": "bad"}))
    annotate(dataset.store, "taste", said(dataset, {"b2": "good", "gone": "bad", "nobody": "bad"}))
    found = annotated(dataset, "taste")
    assert (found.documents, found.changed, found.absent) == (2, 0, 2)
    assert labels(dataset, found.version) == {"a1": "good", "b2": "good"}
    assert verify(dataset)["problems"] == []


def test_what_was_said_of_another_text_is_counted_and_not_taken(dataset, project):
    annotate(dataset.store, "taste", said(dataset, {"a0": "good", "a1": "good"}))
    project.write("a.txt", "gone|x", "a0|text 0", "a1|another text")
    project.run()
    found = annotated(project.open(), "taste")
    assert (found.documents, found.changed, found.absent) == (1, 1, 0)
    assert labels(project.open(), found.version) == {"a0": "good"}


def test_an_earlier_word_counts_again_where_the_text_is_again_what_it_was(dataset):
    annotate(dataset.store, "taste", said(dataset, {"a0": "good"}))
    other = pa.table({"id": ["a0"], "hash": ["0" * 64], "label": ["bad"]})
    annotate(dataset.store, "taste", other)
    assert labels(dataset, annotated(dataset, "taste").version) == {"a0": "good"}


def test_the_version_names_its_parent_and_what_was_said(dataset):
    annotate(dataset.store, "taste", said(dataset, {"a0": "good"}), facts={"by": "a person"})
    version = annotated(dataset, "taste").version
    lineage = dataset.store.manifest(version)["lineage"]
    assert lineage["parents"] == [dataset.version]
    assert lineage["made_by"]["objects"] == annotation_objects(dataset.store, "taste")
    assert annotated(dataset, "taste").version == version


def test_entries_are_numbered_and_never_changed(dataset):
    names = [annotate(dataset.store, "taste", said(dataset, {"a0": word})) for word in ("good", "bad")]
    assert names == ["annotations/taste/000000001.json", "annotations/taste/000000002.json"]
    assert read_annotations(dataset.store, "taste").column("label").to_pylist() == ["good", "bad"]
    assert annotation_objects(dataset.store, "tas") == []


def test_people_who_annotate_at_once_lose_nothing(dataset):
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda n: annotate(dataset.store, "taste", said(dataset, {"a0": str(n)})), range(16)))
    assert len(set(names)) == 16
    assert sorted(map(int, read_annotations(dataset.store, "taste").column("label").to_pylist())) == list(range(16))


def test_columns_that_came_later_are_null_before(dataset):
    annotate(dataset.store, "taste", said(dataset, {"a0": "good"}))
    annotate(dataset.store, "taste", said(dataset, {"a1": "bad"}, sure=[0.5]))
    assert read_annotations(dataset.store, "taste").column("sure").to_pylist() == [None, 0.5]


def test_garbage_collection_keeps_what_was_said(dataset):
    annotate(dataset.store, "taste", said(dataset, {"a0": "good"}))
    collect_garbage(dataset.store, keep_days=0, keep_last=0, dry_run=False)
    assert read_annotations(dataset.store, "taste").num_rows == 1


def test_a_conversation_is_annotated_by_what_was_shown_of_it(project):
    rows = '{"id": "c", "messages": [{"role": "user", "content": "hello"}]}\n'
    project.write("rows.jsonl", rows.strip())
    project.pipeline('dataset: toy\nsources: [{stage: files, paths: ["rows.jsonl"]}]\nstages: []\n')
    project.run()
    dataset, on = project.open(), ["messages[].content"]
    annotate(dataset.store, "taste", said(dataset, {"c": "good"}, on), on=on)
    assert labels(dataset, annotated(dataset, "taste").version) == {"c": "good"}
    with pytest.raises(CurateError, match=r"are about messages\[\]\.content"):
        annotate(dataset.store, "taste", said(dataset, {"c": "good"}, on))


@pytest.mark.parametrize("name", ["../out", "", "a/b"])
@pytest.mark.folder
def test_what_is_not_a_name_never_becomes_a_path(name, dataset):
    with pytest.raises(CurateError, match="is not a name"):
        annotate(dataset.store, name, said(dataset, {"a0": "good"}))


@pytest.mark.parametrize("table", [{"id": ["a"], "label": ["x"]}, {"id": ["a"], "hash": [None], "label": ["x"]}])
@pytest.mark.folder
def test_an_annotation_without_a_hash_is_refused(table, dataset):
    with pytest.raises(CurateError, match="annotations need `hash` for every document"):
        annotate(dataset.store, "taste", pa.table(table))


def test_annotations_that_are_not_there_or_damaged_are_errors(dataset):
    with pytest.raises(CurateError, match="there are no annotations of `taste`"):
        read_annotations(dataset.store, "taste")
    name = annotate(dataset.store, "taste", said(dataset, {"a0": "good"}))
    assert dataset.store.blobs.exists(object_name(annotation_objects(dataset.store)[0]))
    dataset.store.write(name, b"{")
    with pytest.raises(CurateError, match="an entry of annotations is damaged"):
        read_annotations(dataset.store, "taste")
