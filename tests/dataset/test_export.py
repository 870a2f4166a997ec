"""Every export format is read back by its own reader, with the content it was given."""

from __future__ import annotations

import csv
import gzip
import io
from datetime import UTC, date, datetime, time
from decimal import Decimal

import orjson
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import zstandard

from curate.dataset.export import FORMATS, export
from curate.dataset.fragments import Fragment, Sidecar
from curate.dataset.manifest import Lineage, make_manifest
from curate.dataset.reader import Dataset
from curate.dataset.refs import commit, resolve
from curate.dataset.runs import records
from curate.dataset.store import Store, object_name
from curate.errors import CurateError
from curate.files import file_hash

TEXTS = [
    "plain",
    'two\nlines\r\nand "quotes", commas\ttabs',
    "NUL \x00 here",
    "emoji \U0001f600 \u200d RTL \u202e",
    "",
    " lone \r ",
]
SCHEMA = pa.schema([
    ("id", pa.string()),
    ("text", pa.string()),
    ("score", pa.float64()),
    ("count", pa.int64()),
    ("good", pa.bool_()),
    ("tags", pa.list_(pa.string())),
    pa.field("meta", pa.string(), metadata={b"curate.json": b"1"}),
])  # fmt: skip
NAMES = SCHEMA.names


def document(index: int, text: str, **columns) -> dict:
    row = {
        "id": f"d{index}",
        "text": text,
        "score": index / 4,
        "count": -index,
        "good": index % 2 == 0,
        "tags": ["a", text],
    }
    return {**row, "meta": '{"n": 123456789012345678901,\n "x": [null]}', **columns}


ROWS = [document(index, text) for index, text in enumerate(TEXTS)]
NULLS = document(9, "nulls", score=None, count=None, good=None, tags=None, meta=None)


def make_dataset(root, splits: dict[str, list[dict]], schema: pa.Schema = SCHEMA) -> Dataset:
    """A version of these documents in a store of its own, one fragment for each split."""
    store = Store.open(root / "store", create=True)
    empty = store.write_table(schema.empty_table())
    fragments = [
        Fragment(
            object=store.write_table(pa.Table.from_pylist(rows, schema)), rows=len(rows), kept=None,
            documents=len(rows), text_bytes=0, bytes=0, schema=empty,
            splits={split: {"documents": len(rows), "text_bytes": 0}},
        )
        for split, rows in splits.items()
    ]  # fmt: skip
    return commit_fragments(store, fragments, schema)


def commit_fragments(store: Store, fragments: list[Fragment], schema: pa.Schema) -> Dataset:
    manifest = make_manifest(
        store, dataset="books", schema=schema, fragments=fragments, shards=[], stages=[], indexes=[], lineage=Lineage()
    )
    commit(store, "books", store.write_manifest(manifest))
    return Dataset(store, resolve(store, "books"))


@pytest.fixture
def dataset(tmp_path) -> Dataset:
    return make_dataset(tmp_path, {"train": [*ROWS, NULLS], "test": [document(20, "test")], "validation": []})


def decoded(row: dict) -> dict:
    """The row as JSON lines should hold it: JSON columns are values."""
    return {**row, "meta": None if row["meta"] is None else orjson.loads(row["meta"])}


def read_lines(content: bytes) -> list[dict]:
    return [orjson.loads(line) for line in content.split(b"\n") if line]


# ---- JSON lines


def test_json_lines_hold_the_documents_of_each_split(dataset, tmp_path):
    export(dataset, "jsonl", tmp_path / "out")
    assert read_lines((tmp_path / "out/train.jsonl").read_bytes()) == [decoded(row) for row in [*ROWS, NULLS]]


def test_an_empty_split_is_an_empty_json_lines_file(dataset, tmp_path):
    export(dataset, "jsonl", tmp_path / "out")
    assert (tmp_path / "out/validation.jsonl").read_bytes() == b""


def test_json_columns_keep_numbers_that_no_machine_type_holds(dataset, tmp_path):
    export(dataset, "jsonl", tmp_path / "out.jsonl", split="test")
    assert b'"meta":{"n": 123456789012345678901,' in (tmp_path / "out.jsonl").read_bytes()


def test_one_json_lines_file_holds_all_documents_in_the_order_of_the_version(dataset, tmp_path):
    result = export(dataset, "jsonl", tmp_path / "all.jsonl")
    assert [row["id"] for row in read_lines((tmp_path / "all.jsonl").read_bytes())][
        -1
    ] == "d20" and result.documents == 8


@pytest.mark.parametrize(
    ("ending", "expand"),
    [
        ("zst", lambda content: zstandard.ZstdDecompressor().stream_reader(io.BytesIO(content)).read()),
        ("gz", gzip.decompress),
    ],
)
def test_json_lines_are_compressed_by_the_ending(dataset, tmp_path, ending, expand):
    target = tmp_path / f"all.jsonl.{ending}"
    export(dataset, "jsonl", target, split="train")
    assert read_lines(expand(target.read_bytes())) == [decoded(row) for row in [*ROWS, NULLS]]


def test_a_column_marked_as_json_that_is_not_is_an_error(tmp_path):
    broken = make_dataset(tmp_path, {"train": [document(0, "x", meta="{oops")]})
    with pytest.raises(CurateError, match="column `meta` is marked as JSON"):
        export(broken, "jsonl", tmp_path / "out.jsonl")


# ---- CSV


def test_csv_is_read_back_by_the_csv_module(dataset, tmp_path):
    export(dataset, "csv", tmp_path / "out.csv", split="train", columns=["id", "text", "count"])
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as stream:
        header, *rows = csv.reader(stream)
    assert header == ["id", "text", "count"]
    assert rows == [
        [row["id"], row["text"], "" if row["count"] is None else str(row["count"])] for row in [*ROWS, NULLS]
    ]


def test_csv_writes_lists_as_json(dataset, tmp_path):
    export(dataset, "csv", tmp_path / "out.csv", split="test", columns=["tags"])
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as stream:
        assert orjson.loads(list(csv.reader(stream))[1][0]) == ["a", "test"]


def test_csv_writes_scalars_as_themselves(tmp_path):
    types = {
        "price": pa.decimal128(10, 2), "wide": pa.decimal256(50, 1), "day": pa.date32(), "time": pa.time64("us"),
        "at": pa.timestamp("ms", "UTC"), "raw": pa.binary(), "half": pa.float16(),
        "word": pa.dictionary(pa.int32(), pa.string()),
    }  # fmt: skip
    row = {
        "price": Decimal("19.99"), "wide": Decimal("-0.5"), "day": date(2024, 2, 29), "time": time(1, 2, 3),
        "at": datetime(2024, 2, 29, 1, 2, 3, tzinfo=UTC), "raw": b"\x00\xff", "half": 1.5, "word": "a \"b\"",
    }  # fmt: skip
    dataset = make_dataset(tmp_path, {"train": [row, dict.fromkeys(row)]}, pa.schema(types))
    export(dataset, "csv", tmp_path / "out.csv")
    _, values, nulls = (tmp_path / "out.csv").read_text().splitlines()
    assert values == ('19.99,-0.5,"2024-02-29","01:02:03","2024-02-29T01:02:03+00:00","AP8=",1.5,"a ""b"""')
    assert nulls == "," * (len(row) - 1)


DANGEROUS = ["=1+1", "+1", "-1", "@SUM(A1)", "\ttab", "\rreturn", "\nline", "\uff1d1"]


def test_csv_cells_that_a_spreadsheet_would_run_are_escaped_on_request(tmp_path):
    risky = make_dataset(tmp_path, {"train": [document(i, text) for i, text in enumerate(["safe = 1", *DANGEROUS])]})
    export(risky, "csv", tmp_path / "out.csv", columns=["text"], escape_formulas=True)
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as stream:
        assert [row[0] for row in csv.reader(stream)] == ["text", "safe = 1", *("'" + text for text in DANGEROUS)]


def test_csv_cells_are_left_alone_unless_asked(tmp_path):
    risky = make_dataset(tmp_path, {"train": [document(i, text) for i, text in enumerate(DANGEROUS)]})
    export(risky, "csv", tmp_path / "out.csv", columns=["text"])
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as stream:
        assert [row[0] for row in csv.reader(stream)] == ["text", *DANGEROUS]


def test_escaping_leaves_numbers_alone(tmp_path):
    risky = make_dataset(tmp_path, {"train": [document(5, "x")]})
    export(risky, "csv", tmp_path / "out.csv", columns=["count"], escape_formulas=True)
    assert (tmp_path / "out.csv").read_bytes() == b'"count"\n-5\n'


# ---- Parquet


def test_parquet_has_the_same_table(dataset, tmp_path):
    export(dataset, "parquet", tmp_path / "out")
    assert parquet.read_table(tmp_path / "out/train.parquet").equals(dataset.arrow("train"))


def test_an_empty_split_is_a_parquet_file_with_the_schema(dataset, tmp_path):
    export(dataset, "parquet", tmp_path / "out")
    assert parquet.read_table(tmp_path / "out/validation.parquet").schema.equals(SCHEMA)


def test_parquet_footers_hold_no_text(dataset, tmp_path):
    export(dataset, "parquet", tmp_path / "out.parquet")
    group = parquet.ParquetFile(tmp_path / "out.parquet").metadata.row_group(0)
    measured = {group.column(i).path_in_schema for i in range(group.num_columns) if group.column(i).is_stats_set}
    assert measured == {"score", "count", "good"}


@pytest.mark.slow
def test_a_folder_of_parquet_is_a_dataset_for_load_dataset(tmp_path):
    import datasets

    dataset = make_dataset(tmp_path, {"train": [*ROWS, NULLS], "test": [document(20, "test")]})
    export(dataset, "parquet", tmp_path / "out")
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert loaded["train"]["text"][:] == [*TEXTS, "nulls"] and loaded["test"].num_rows == 1


# ---- Hugging Face


@pytest.mark.slow
def test_load_from_disk_reads_all_splits(dataset, tmp_path):
    import datasets

    export(dataset, "hf", tmp_path / "out")
    loaded = datasets.load_from_disk(str(tmp_path / "out"))
    assert {name: part.to_list() for name, part in loaded.items()} == {
        "train": [*ROWS, NULLS],
        "test": [document(20, "test")],
        "validation": [],
    }


@pytest.mark.slow
def test_load_from_disk_reads_one_split_as_a_dataset(dataset, tmp_path):
    import datasets

    export(dataset, "hf", tmp_path / "out", split="test", columns=["text", "id"])
    loaded = datasets.load_from_disk(str(tmp_path / "out"))
    assert loaded.to_list() == [{"text": "test", "id": "d20"}] and loaded.split == "test"


@pytest.mark.slow
def test_large_splits_are_cut_into_several_arrow_files(dataset, tmp_path, monkeypatch):
    import datasets

    from curate.dataset.export import huggingface

    monkeypatch.setattr(huggingface, "BYTES_PER_FILE", 1)
    monkeypatch.setattr(huggingface, "BATCH", 2)
    export(dataset, "hf", tmp_path / "out", split="train")
    assert len(list((tmp_path / "out").glob("data-*-of-00004.arrow"))) == 4
    assert datasets.load_from_disk(str(tmp_path / "out"))["text"][:] == [*TEXTS, "nulls"]


@pytest.mark.slow
def test_a_folder_with_something_else_in_it_is_never_replaced(dataset, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/cat.jpg").write_bytes(b"cat")
    with pytest.raises(CurateError, match="holds something else"):
        export(dataset, "hf", tmp_path / "photos", overwrite=True)
    assert (tmp_path / "photos/cat.jpg").read_bytes() == b"cat"


@pytest.mark.slow
def test_an_earlier_export_is_replaced_when_asked(dataset, tmp_path):
    export(dataset, "hf", tmp_path / "out", split="train")
    export(dataset, "hf", tmp_path / "out", overwrite=True)
    assert not (tmp_path / "out/state.json").exists() and (tmp_path / "out/dataset_dict.json").exists()


# ---- all formats


@pytest.mark.parametrize("format", FORMATS)
def test_an_existing_target_is_refused(dataset, tmp_path, format):
    out = tmp_path / "out"
    export(dataset, format, out)
    with pytest.raises(CurateError, match="is there already"):
        export(dataset, format, out)


@pytest.mark.parametrize("format", FORMATS)
def test_the_same_version_gives_the_same_bytes(dataset, tmp_path, format):
    first, second = (export(dataset, format, tmp_path / name) for name in ("one", "two"))
    assert [path.read_bytes() for path in first.files] == [path.read_bytes() for path in second.files]


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


@pytest.mark.parametrize("format", FORMATS)
def test_no_exported_file_shares_its_bytes_with_an_object_of_the_store(dataset, tmp_path, format):
    assert all(path.stat().st_nlink == 1 for path in export(dataset, format, tmp_path / "out").files)


@pytest.mark.parametrize("format", FORMATS)
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


@pytest.mark.parametrize("format", FORMATS)
def test_the_result_counts_what_was_written(dataset, tmp_path, format):
    result = export(dataset, format, tmp_path / "out")
    assert result.documents == 8 and result.bytes == sum(path.stat().st_size for path in result.files)
    assert sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file()) == sorted(result.files)


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


@pytest.mark.parametrize("format", FORMATS)
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
