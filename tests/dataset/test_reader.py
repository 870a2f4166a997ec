"""Reading a version as Arrow, polars and a Hugging Face dataset."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

import curate
from curate.dataset import reader
from curate.dataset.blobs import LocalBlobs
from curate.dataset.store import object_name
from curate.errors import CurateError
from curate.files import file_hash

pytestmark = pytest.mark.anywhere


@pytest.fixture
def version(project):
    """A version of 10 documents in two splits, read from two files."""
    project.write("a.txt", *(f"line {i}" for i in range(6)))
    project.write("b.txt", *(f"other {i}" for i in range(4)))
    project.stages("Halves", "Long, minimum: 1", shard_megabytes=0.00001)
    project.run()
    return project.open()


def blob_of(version, fragment):
    """The blob of a fragment's documents."""
    return object_name(version.fragments[fragment].object)


READS = (
    lambda version: version.arrow(),
    lambda version: list(version.batches(columns=["text"])),
    lambda version: version.polars().collect(),
    lambda version: version.huggingface(),
)


def test_a_version_tells_about_itself(version):
    assert (version.name, version.tag, len(version)) == ("toy", "v1", 10)
    assert version.splits == {"train": 5, "test": 5}
    assert version.columns == ["id", "text", "source_uri", "split", "length"]
    assert repr(version) == f"Dataset(toy@{version.version[:12]}, 10 documents, splits {{'train': 5, 'test': 5}})"


def test_arrow_gives_all_documents_or_those_of_a_split(version):
    assert sorted(version.arrow().column("text").to_pylist())[0] == "line 0"
    assert version.arrow("train").column("id").to_pylist() == ["a.txt#0", "a.txt#2", "a.txt#4", "b.txt#0", "b.txt#2"]


def test_arrow_gives_the_columns_that_are_asked_for_in_that_order(version):
    assert version.arrow(columns=["length", "id"]).column_names == ["length", "id"]


def test_documents_are_looked_up_by_their_ids_in_the_row_groups_that_hold_them(version, monkeypatch):
    wanted = ["b.txt#2", "a.txt#4", "a.txt#0", "nobody"]
    found = pa.concat_tables(version.lookup(wanted, ["text", "split"])).to_pylist()
    assert found == [row for row in version.arrow(columns=["id", "text", "split"]).to_pylist() if row["id"] in wanted]
    opened = []
    parts = reader._parts
    monkeypatch.setattr(reader, "_parts", lambda *given, **more: opened.append(1) or parts(*given, **more))
    assert sum(table.num_rows for table in version.lookup(["b.txt#3"], ["text"])) == 1
    assert list(version.lookup([], ["text"])) == []
    assert len(opened) == 1 < len(version.fragments)


def test_batches_are_as_large_as_asked_for(version):
    batches = list(version.batches("test", ["id"], batch_size=2))
    assert [batch.num_rows for batch in batches] == [2, 1, 2]
    assert batches[0].schema.names == ["id"]


def test_some_documents_are_taken_by_number_without_reading_other_files(version):
    assert version.take([4, 0], "train").column("id").to_pylist() == ["a.txt#0", "b.txt#2"]
    version.store.blobs.delete(blob_of(version, 1))
    assert version.take([2, 0], "train").column("id").to_pylist() == ["a.txt#0", "a.txt#4"]
    assert version.take([]).num_rows == 0


def test_polars_reads_lazily(version):
    import polars

    frame = version.polars("test")
    assert isinstance(frame, polars.LazyFrame)
    assert frame.select(polars.col("length").sum()).collect().item() == 6 * 3 + 7 * 2


def test_polars_filters_and_cuts_as_it_does_a_table(version):
    import polars

    lazy, whole = version.polars(), polars.from_arrow(version.arrow())
    length, text = polars.col("length"), polars.col("text")
    for query in (
        lambda frame: frame.filter(length > 6).select(text),
        lambda frame: frame.head(6).filter(length > 6),
        lambda frame: frame.filter(length > 6).head(3),
        lambda frame: frame.tail(3),
        lambda frame: frame.slice(4, 4).select("id"),
        lambda frame: frame.select(polars.len()),
        lambda frame: frame.group_by("split").agg(length.sum()).sort("split"),
    ):
        assert query(lazy).collect().equals(query(whole.lazy()).collect())


@pytest.mark.folder
def test_a_wrong_polars_query_keeps_the_words_of_polars(version):
    import polars

    with pytest.raises(polars.exceptions.PolarsError):
        version.polars().filter(polars.col("text").str.to_integer(strict=True) > 1).collect()


def test_hugging_face_gets_the_splits_without_copying(version):
    import datasets

    found = version.huggingface()
    assert isinstance(found, datasets.DatasetDict)
    assert {name: split.num_rows for name, split in found.items()} == version.splits
    assert found["test"].split == "test"
    assert found["test"][0]["text"] == "line 1"
    assert found["test"].cache_files == []


@pytest.mark.folder
def test_hugging_face_gets_one_split(version):
    found = version.huggingface("train")
    assert found.map(lambda row: {"double": row["length"] * 2})["double"] == [12, 12, 12, 14, 14]


@pytest.mark.folder
def test_an_unknown_split_is_an_error(version):
    for read in (version.arrow, version.polars, version.huggingface):
        with pytest.raises(CurateError, match="`toy` has no split `tset`") as caught:
            read("tset")
        assert caught.value.hint == "did you mean `test`?"


@pytest.mark.folder
def test_an_unknown_column_is_an_error(version):
    with pytest.raises(CurateError, match="`toy` has no column `lenght`") as caught:
        version.arrow(columns=["lenght"])
    assert caught.value.hint == "did you mean `length`?"


def test_a_file_that_is_gone_is_an_error(version):
    version.store.blobs.delete(blob_of(version, 0))
    for read in READS:
        with pytest.raises(CurateError, match=r"object \w{12} is missing") as caught:
            read(version)
        assert caught.value.hint.startswith("`curate data verify` lists what is affected")


@pytest.mark.parametrize("where", [0.1, 0.5, 0.99])
def test_a_file_that_is_damaged_is_an_error_that_names_the_object(version, where):
    blobs, name = version.store.blobs, blob_of(version, -1)
    content = bytearray(blobs.read(name))
    start = int(where * len(content))
    content[start : start + 30] = bytes(30)
    blobs.write(name, bytes(content))
    for read in READS:
        with pytest.raises(CurateError, match=f"object {version.fragments[-1].object[:12]} is damaged") as caught:
            read(version)
        assert caught.value.hint.startswith("`curate data verify` lists what is affected")


@pytest.fixture
def altered(project):
    """A version of which an object says another text than was written, in Parquet that can be read, and that object."""
    project.write("a.txt", "1|some", "2|text")
    project.stages("Long")
    project.run()
    name = project.open().fragments[0].object
    path = project.store.root / object_name(name)
    content = path.read_bytes()
    assert b"some" in content
    path.write_bytes(content.replace(b"some", b"SOME"))
    assert "SOME" in parquet.read_table(path).column("text").to_pylist()
    return path


@pytest.mark.parametrize(
    "command", ["data export toy --out out", "data sample toy", "run pipeline.yaml --set Long.scale=2"]
)
@pytest.mark.folder  # an object store checks its own bytes
def test_an_object_with_other_values_in_it_is_never_read(project, altered, command):
    said = project.cli(*command.split())
    assert said.code == 2
    assert f"object {altered.stem[:12]} is damaged" in said.err
    assert ("and toy@v1 needs it" in said.err) == command.startswith("data")
    assert "remove it and run again" in said.err
    assert not (project.root / "out").exists() or list((project.root / "out").iterdir()) == []
    with pytest.raises(CurateError, match="is damaged, and toy@v1 needs it"):
        project.open().arrow()


@pytest.mark.folder  # an object store checks its own bytes
def test_an_altered_object_that_is_removed_is_made_anew(project, altered):
    before = project.open().version
    altered.unlink()
    assert project.run().version == before
    assert project.texts() == ["some", "text"]


@pytest.mark.folder
def test_an_object_is_hashed_once_and_not_after_it_was_written(project, monkeypatch):
    project.write("a.txt", "1|some")
    project.stages()
    project.run()
    hashed = []
    monkeypatch.setattr(
        LocalBlobs, "hash", lambda blobs, name: hashed.append(name) or file_hash(Path(blobs.location, name))
    )
    version = project.open()
    assert version.arrow() == version.arrow()
    assert len(hashed) == len(set(hashed)) > 0
    store = project.store
    hashed.clear()
    store.read_table(store.write_table(pa.table({"a": [1]})))
    assert hashed == []


def test_a_dataset_is_opened_from_the_store_that_the_environment_names(version, monkeypatch):
    monkeypatch.setenv("CURATE_STORE", version.store.location)
    assert curate.open_dataset("toy@v1").version == version.version
    assert curate.open_dataset(f"toy@{version.version[:6]}").tag == "v1"


def test_columns_of_shards_that_differ_are_read_as_one(project):
    project.pipeline('dataset: toy\nsources: [{stage: "toy_stages:Typed"}]\nstages: []\n')
    project.run()
    version = project.open()
    assert version.polars().collect().to_arrow().num_columns == 6
    assert version.huggingface("train")[0]["n"] == 1.0
    assert version.arrow(columns=["a.dotted"]).column("a.dotted").to_pylist() == [None, None, None, 1, 2, 3]


def test_a_version_without_documents_has_an_empty_train_split_with_the_columns(project):
    project.write("a.txt", "one", "two")
    project.stages("Long, minimum: 100", min_documents=0)
    project.run()
    version = project.open()
    assert version.splits == {"train": 0}
    found = version.huggingface()
    assert list(found) == ["train"]
    assert (found["train"].num_rows, found["train"].column_names) == (0, ["id", "text", "source_uri"])
    assert version.polars("train").collect().columns == version.columns
    assert project.cli("data", "show", "toy", "--json").code == 0
