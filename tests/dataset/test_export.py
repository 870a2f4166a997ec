"""What is true of exports in every format: what is replaced, recorded, refused."""

from __future__ import annotations

import csv
import io

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from curate.dataset.export import FORMATS, export
from curate.dataset.fragments import Fragment, Sidecar
from curate.dataset.reader import Dataset
from curate.dataset.runs import records
from curate.dataset.store import Store, object_name
from curate.errors import CurateError
from curate.files import file_hash
from tests.dataset.exported import NULLS, ROWS, commit_fragments, document, make_dataset, read_lines

PLAIN = [name for name in FORMATS if name not in ("sharegpt", "alpaca")]
"""Formats for documents of any kind; the others are for conversations alone."""


@pytest.fixture
def dataset(tmp_path) -> Dataset:
    return make_dataset(tmp_path, {"train": [*ROWS, NULLS], "test": [document(20, "test")], "validation": []})


# ---- all formats


@pytest.mark.parametrize("format", PLAIN)
def test_an_existing_target_is_refused(dataset, tmp_path, format):
    out = tmp_path / "out"
    export(dataset, format, out)
    with pytest.raises(CurateError, match="is there already"):
        export(dataset, format, out)


@pytest.mark.parametrize("format", PLAIN)
def test_the_same_version_gives_the_same_bytes(dataset, tmp_path, format):
    first, second = (export(dataset, format, tmp_path / name) for name in ("one", "two"))
    assert [path.read_bytes() for path in [*first.files, *first.cards]] == [
        path.read_bytes() for path in [*second.files, *second.cards]
    ]


@pytest.fixture
def sparse(tmp_path) -> Dataset:
    """Four rows of which two are left, with a column of the engine's own and two columns beside them."""
    store = Store.open(tmp_path / "store", create=True)
    table = pa.table({"id": list("abcd"), "text": ["one", None, "three", None], "#bytes": [3, 0, 5, 0]})
    labels = store.write_table(pa.table({"row": [0, 3], "label": ["good", "bad"]}))
    splits = store.write_table(pa.table({"row": [0, 2], "split": ["train", "test"]}))
    schema = pa.schema([(name, pa.string()) for name in ("id", "text", "label", "split")])
    part = {"documents": 1, "text_bytes": 0}
    fragment = Fragment(
        object=store.write_table(table), rows=4, kept=store.write_table(pa.table({"kept": [True, False, True, False]})),
        documents=2, text_bytes=8, bytes=0, schema=store.write_table(schema.empty_table()),
        sidecars=(Sidecar(labels, ("label",)), Sidecar(splits, ("split",))), splits={"train": part, "test": part},
    )  # fmt: skip
    return commit_fragments(store, [fragment], schema)


READ_BACK = {
    "jsonl": lambda path: read_lines(path.read_bytes()),
    "parquet": lambda path: parquet.read_table(path).to_pylist(),
    "csv": lambda path: list(csv.DictReader(io.StringIO(path.read_text()))),
}


@pytest.mark.parametrize("format", READ_BACK)
def test_only_rows_that_are_left_go_out_with_the_columns_beside_them_and_none_of_the_engine_s(sparse, tmp_path, format):
    nothing = "" if format == "csv" else None
    export(sparse, format, tmp_path / f"all.{format}")
    assert READ_BACK[format](tmp_path / f"all.{format}") == [
        {"id": "a", "text": "one", "label": "good", "split": "train"},
        {"id": "c", "text": "three", "label": nothing, "split": "test"},
    ]
    export(sparse, format, tmp_path / "out")
    assert [row["id"] for row in READ_BACK[format](tmp_path / f"out/test.{format}")] == ["c"]


@pytest.mark.slow
def test_a_hugging_face_folder_has_the_rows_that_are_left_too(sparse, tmp_path):
    import datasets

    export(sparse, "hf", tmp_path / "out")
    loaded = datasets.load_from_disk(str(tmp_path / "out"))
    assert loaded["train"].to_list() == [{"id": "a", "text": "one", "label": "good", "split": "train"}]


@pytest.mark.parametrize("format", PLAIN)
def test_no_exported_file_shares_its_bytes_with_an_object_of_the_store(dataset, tmp_path, format):
    assert all(path.stat().st_nlink == 1 for path in export(dataset, format, tmp_path / "out").files)


@pytest.mark.parametrize("format", PLAIN)
def test_an_export_is_on_record_with_the_version_and_the_hash_of_every_file(dataset, tmp_path, format):
    result = export(dataset, format, tmp_path / "out", columns=["id", "text"])
    (one,) = records(dataset.store, "export", version=dataset.version)
    assert (one["state"], one["name"], one["inputs"][0]["id"]) == ("done", "books@v1", dataset.version)
    assert {thing["name"]: thing["id"] for thing in one["outputs"]} == {
        str(path): file_hash(path) for path in result.files
    }
    facts = one["facts"]
    assert (facts["folder"], facts["format"], facts["columns"]) == (str(tmp_path / "out"), format, ["id", "text"])
    assert (facts["documents"], facts["bytes"]) == (result.documents, result.bytes)


def test_an_export_that_fails_is_not_on_record(dataset, tmp_path):
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(CurateError, match="cannot write"):
        export(dataset, "jsonl", tmp_path / "out")
    assert records(dataset.store, "export") == []


@pytest.mark.parametrize("format", PLAIN)
def test_the_result_counts_what_was_written(dataset, tmp_path, format):
    result = export(dataset, format, tmp_path / "out")
    assert result.documents == 8 and result.bytes == sum(path.stat().st_size for path in result.files)
    assert sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file()) == sorted(
        [*result.files, *result.cards]
    )


def test_a_failure_leaves_no_file_behind(tmp_path):
    broken = make_dataset(tmp_path, {"test": [document(0, "x")], "train": [document(0, "x", meta="{oops")]})
    with pytest.raises(CurateError):
        export(broken, "jsonl", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("format", "ending"), [("jsonl", ".jsonl"), ("csv", ".csv"), ("parquet", ".parquet"), ("hf", "")]
)
def test_a_version_without_documents_is_an_empty_train_split(tmp_path, format, ending):
    result = export(make_dataset(tmp_path, {}), format, tmp_path / "out")
    assert (tmp_path / f"out/train{ending}").exists()
    assert (result.documents, result.files != []) == (0, True)


@pytest.mark.parametrize("format", PLAIN)
def test_a_damaged_object_is_told_as_what_could_not_be_read(dataset, tmp_path, format):
    path = dataset.store.root / object_name(dataset.fragments[0].object)
    content = path.read_bytes()
    path.write_bytes(content[:50] + bytes(100) + content[150:])
    with pytest.raises(CurateError, match=f"object {path.stem[:12]} is damaged"):
        export(dataset, format, tmp_path / "out")
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_a_split_of_an_earlier_export_is_not_left_beside_what_replaces_the_others(dataset, tmp_path):
    export(dataset, "jsonl", tmp_path / "out")
    (tmp_path / "out/other.jsonl").write_text("of another version")
    with pytest.raises(CurateError, match=r"holds `other\.jsonl` too, which this export would not replace"):
        export(dataset, "jsonl", tmp_path / "out", overwrite=True)
    (tmp_path / "out/other.jsonl").unlink()
    export(dataset, "jsonl", tmp_path / "out", overwrite=True)


def test_existing_files_are_replaced_when_asked_and_others_stay(dataset, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/train.jsonl").write_text("old")
    (tmp_path / "out/notes.txt").write_text("mine")
    export(dataset, "jsonl", tmp_path / "out", overwrite=True)
    assert (tmp_path / "out/notes.txt").read_text() == "mine" and b"plain" in (
        tmp_path / "out/train.jsonl"
    ).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"format": "jsonlines"}, "error: there is no export format `jsonlines`\n  hint: did you mean `jsonl`?"),
        ({"split": "trian"}, "error: `books` has no split `trian`\n  hint: did you mean `train`?"),
        ({"columns": ["txt"]}, "error: `books` has no column `txt`\n  hint: did you mean `text`?"),
        ({"columns": []}, "error: no column is asked for"),
        ({"escape_formulas": True}, "error: formulas are escaped in csv only, not in jsonl"),
        ({"out": "x.csv"}, "error: `x.csv` is a name for csv, not one that ends in .jsonl"),
    ],
)
def test_wrong_arguments_are_explained(dataset, tmp_path, arguments, message):
    given = {"format": "jsonl", **arguments}
    out = tmp_path / given.pop("out", "out")
    with pytest.raises(CurateError) as caught:
        export(dataset, given.pop("format"), out, **given)
    assert str(caught.value).startswith(message)


def test_a_number_too_large_for_the_format_is_explained(tmp_path):
    wide = make_dataset(tmp_path, {"train": [{"n": 2**64 - 1}]}, pa.schema([("n", pa.uint64())]))
    with pytest.raises(CurateError, match="column `n` has an integer beyond 63 bits, which TFRecord cannot hold"):
        export(wide, "tfrecord", tmp_path / "out.tfrecord")
