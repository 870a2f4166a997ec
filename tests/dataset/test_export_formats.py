"""Each export format is read back by its own reader, with the content it was given."""

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

from curate.dataset.export import export
from curate.dataset.reader import Dataset
from curate.errors import CurateError
from tests.dataset.exported import NULLS, ROWS, SCHEMA, TEXTS, decoded, document, make_dataset, read_lines


@pytest.fixture
def dataset(tmp_path) -> Dataset:
    return make_dataset(tmp_path, {"train": [*ROWS, NULLS], "test": [document(20, "test")], "validation": []})


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

    from curate.dataset.export import files, huggingface

    monkeypatch.setattr(huggingface, "BYTES_PER_FILE", 1)
    monkeypatch.setattr(files, "BATCH", 2)
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


# ---- nested data


CHATS = [
    '[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello","weight":1}]',
    "[]",
    '[{"role":"user","content":"Bye","weight":0.5}]',
]
NESTED = pa.schema([
    ("id", pa.string()),
    *(pa.field(name, pa.string(), metadata={b"curate.json": b"1"}) for name in ("messages", "mixed", "facts")),
])  # fmt: skip


@pytest.fixture
def chats(tmp_path):
    mixed, facts = ["[1]", '["a"]', "null"], ['{"n":9007199254740993}', '{"n":1}', None]
    rows = [
        {"id": f"d{number}", "messages": chat, "mixed": mixed[number], "facts": facts[number]}
        for number, chat in enumerate(CHATS)
    ]
    return make_dataset(tmp_path, {"train": rows[:2], "test": rows[2:]}, NESTED)


def as_arrow(chat):
    return [{"weight": None, **turn} for turn in orjson.loads(chat)]


def read_parquet(dataset, out):
    export(dataset, "parquet", out / "all.parquet")
    return parquet.read_table(out / "all.parquet").to_pylist()


def read_hugging_face(dataset, out):
    import datasets

    export(dataset, "hf", out / "folder")
    splits = datasets.load_from_disk(str(out / "folder"))
    return [*splits["train"], *splits["test"]]


def read_in_python(dataset, _):
    splits = dataset.huggingface()
    return [*splits["train"], *splits["test"]]


@pytest.mark.parametrize("read", [read_parquet, read_hugging_face, read_in_python])
def test_json_text_whose_values_have_one_type_is_lists_and_structures(chats, tmp_path, read):
    rows = read(chats, tmp_path)
    assert [row["messages"] for row in rows] == [as_arrow(chat) for chat in CHATS]
    assert [row["facts"] for row in rows] == [{"n": 9007199254740993}, {"n": 1}, None]
    assert [row["mixed"] for row in rows] == ["[1]", '["a"]', "null"]  # no one type: still JSON text


def test_every_split_has_the_type_of_the_whole_version(chats, tmp_path):
    kinds = set()
    for split in ("train", "test"):
        export(chats, "parquet", tmp_path / split, split=split)
        kinds.add(parquet.read_schema(tmp_path / split / f"{split}.parquet").field("messages").type)
    assert len(kinds) == 1


@pytest.mark.parametrize(
    "texts",
    [
        ["[9007199254740993]", "[0.5]"],
        ["[123456789012345678901]", "[0.5]"],
        ["{}", "{}"],
        ["1", "2"],
        ["[true]", "[1]"],
        ['{"a":1}', "[1]"],
    ],
)
def test_values_that_no_type_holds_as_they_are_stay_text(tmp_path, texts):
    rows = [{"id": str(number), "mixed": text} for number, text in enumerate(texts)]
    version = make_dataset(tmp_path, {"train": rows}, pa.schema([NESTED.field("id"), NESTED.field("mixed")]))
    assert [row["mixed"] for row in read_parquet(version, tmp_path)] == texts


def test_objects_whose_keys_are_data_stay_text(tmp_path):
    rows = [{"id": str(number), "mixed": f'{{"key {number}":1}}'} for number in range(101)]
    version = make_dataset(tmp_path, {"train": rows}, pa.schema([NESTED.field("id"), NESTED.field("mixed")]))
    assert read_parquet(version, tmp_path)[7]["mixed"] == '{"key 7":1}'


@pytest.mark.parametrize(("kind", "value", "line"), [(pa.string(), 'a "b"', '"a ""b"""'), (pa.int64(), 5, "5")])
def test_null_of_a_single_column_is_no_empty_line_of_csv(tmp_path, kind, value, line):
    dataset = make_dataset(tmp_path, {"train": [{"c": value}, {"c": None}]}, pa.schema([("c", kind)]))
    export(dataset, "csv", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == f'"c"\n{line}\n""\n'


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_numbers_inside_lists_that_json_has_not_are_told(tmp_path, format):
    kinds = [pa.list_(pa.float64()), pa.struct([("x", pa.float32())]), pa.map_(pa.string(), pa.float64())]
    rows = [{"c0": [float("nan"), 1.0], "c1": {"x": float("inf")}, "c2": [("k", float("-inf"))]}, {}]
    schema = pa.schema([(f"c{number}", kind) for number, kind in enumerate(kinds)])
    done = export(make_dataset(tmp_path, {"train": rows}, schema), format, tmp_path / "out", split="train")
    told = "NaN and infinities inside lists and structures, which JSON has not, are texts (1 values)"
    assert done.notes == [f"column `c{number}`: {told}" for number in range(3)]
