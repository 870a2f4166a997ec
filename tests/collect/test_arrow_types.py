"""Every type of Arrow, from Parquet and Arrow files into every export: what arrives is what was written, or a refusal.

What is expected is written out by hand: as JSON lines have it, as text (an id, a cell of CSV), and, where the store does not
keep the type itself, as an Arrow array.
"""

from __future__ import annotations

import csv
import json
import math
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import yaml

import curate
from curate.collect.columns import Selection
from curate.collect.files import Files
from curate.collect.rows import needed_columns
from curate.dataset.export import export
from curate.errors import CurateError
from curate.stages.contract import Rejected, SourceContext
from tests.collect.arrow_cases import CASES, MARKED, Unknown

TEXTS = ["first", "second", "third"]


@pytest.fixture(scope="module", autouse=True)
def registered():
    """Written with the type registered; workers read it without, as any other machine does."""
    pa.register_extension_type(Unknown())
    yield
    pa.unregister_extension_type("tests.unknown")


def dumps(value: Any) -> str:
    return orjson.dumps(value).decode()


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else dumps(value)


def cell(value: Any, name: str) -> str:
    return "" if value is None else dumps(value) if name in MARKED else as_text(value)


def with_null(values: list[Any]) -> list[Any]:
    return [values[0], None, values[1]]


def expected(name: str) -> pa.Array:
    """A column as the store keeps it."""
    case = CASES[name]
    if case.kept is not str:
        return case.array if case.kept is None else case.kept
    texts = map(dumps if name in MARKED else str, case.json)
    return pa.array(with_null(list(texts)), pa.string())


def write(path: Any, columns: dict[str, pa.Array], *, texts: bool = True) -> None:
    table = pa.table({"text": TEXTS, **columns} if texts else columns)
    if path.suffix == ".parquet":
        parquet.write_table(table, path)
    else:
        with pa.ipc.new_file(path, table.schema) as file:
            file.write_table(table)


FORMATS = {"parquet": [name for name, case in CASES.items() if case.parquet], "arrow": list(CASES)}


@pytest.fixture(scope="module", params=list(FORMATS))
def version(request, tmp_path_factory):
    """A version made of one file with a column of every type that its format holds; with the names of these."""
    root = tmp_path_factory.mktemp(request.param)
    names = FORMATS[request.param]
    write(root / f"in.{request.param}", {name: CASES[name].array for name in names})
    pipeline = {"dataset": "types", "sources": [{"stage": "files", "paths": [f"in.{request.param}"]}], "stages": []}
    (root / "pipeline.yaml").write_text(yaml.safe_dump(pipeline))
    curate.run(root / "pipeline.yaml", workers=1)
    return curate.open_dataset("types", root / ".curate"), names


def differing(names: list[str], found: dict[str, list[Any]], wanted: dict[str, list[Any]]) -> dict[str, Any]:
    return {name: (found[name], wanted[name]) for name in names if found[name] != wanted[name]}


def test_json_lines_have_every_value(version, tmp_path):
    dataset, names = version
    done = export(dataset, "jsonl", tmp_path / "out.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    found = {name: [row[name] for row in rows] for name in names}
    assert differing(names, found, {name: with_null(CASES[name].json) for name in names}) == {}
    assert done.notes == ["column `not_finite`: NaN and infinities, which JSON has not, are null (1 values)"]


def test_csv_has_every_value(version, tmp_path):
    dataset, names = version
    export(dataset, "csv", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    floats = [name for name in names if pa.types.is_floating(CASES[name].array.type)]
    for name in floats:
        assert [float(row[name]) for row in rows if row[name]] == CASES[name].array.drop_null().to_pylist()
    cells = {name: [cell(one, name) for one in with_null(CASES[name].json)] for name in names}
    others = [name for name in names if name not in floats]
    assert differing(others, {name: [row[name] for row in rows] for name in others}, cells) == {}


def same(left: Any, name: str) -> bool:
    """Whether a column is as the store keeps it, or has the values of its JSON text."""
    left, right = left.combine_chunks() if isinstance(left, pa.ChunkedArray) else left, expected(name)
    if name in MARKED and pa.types.is_nested(left.type):
        return without_nulls(left.to_pylist()) == without_nulls(with_null(list(CASES[name].json)))
    return left.type == right.type and left.equals(right)


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_nulls(one) for name, one in value.items() if one is not None}
    return [without_nulls(one) for one in value] if isinstance(value, list) else value


def test_parquet_has_every_value(version, tmp_path):
    dataset, names = version
    export(dataset, "parquet", tmp_path / "out.parquet")
    table = parquet.read_table(tmp_path / "out.parquet")
    assert [name for name in names if not same(table.column(name), name)] == []


@pytest.mark.slow
def test_hugging_face_has_every_value(version, tmp_path):
    import datasets

    dataset, names = version
    export(dataset, "hf", tmp_path / "out", split="train")
    table = datasets.load_from_disk(str(tmp_path / "out")).data.table
    assert [name for name in names if not same(table.column(name), name)] == []


def test_tfrecord_refuses_integers_that_it_cannot_hold_by_the_name_of_the_column(version, tmp_path):
    dataset, _ = version
    with pytest.raises(CurateError, match="`uint64_large` has an integer beyond 63 bits") as error:
        export(dataset, "tfrecord", tmp_path / "out.tfrecord")
    assert "--column" in str(error.value.hint)


def test_tfrecord_has_every_value(version, tmp_path):
    from tfrecord.example_pb2 import Example

    from tests.dataset.test_export_tfrecord import records_of

    dataset, names = version
    names = [name for name in names if name != "uint64_large"]
    done = export(dataset, "tfrecord", tmp_path / "out.tfrecord", columns=names)
    examples = [Example.FromString(record) for record in records_of((tmp_path / "out.tfrecord").read_bytes())]
    found = {name: [one.features.feature[name] for one in examples] for name in names}
    assert [name for name in names if list(map(feature_value, found[name])) != features(name)] == []
    assert done.notes == ["column `double`: floats are rounded to the 32 bits that TFRecord has (2 values)"]


def feature_value(feature: Any) -> Any:
    kind = feature.WhichOneof("kind")
    return None if kind is None else next(iter(getattr(feature, kind).value))


def features(name: str) -> list[Any]:
    """What TFRecord has of a column: bytes, integers, floats of 32 bits, and JSON text of all else."""
    array = expected(name)
    kind = array.type
    if pa.types.is_string(kind):
        return [one and one.encode() for one in array.to_pylist()]
    if pa.types.is_binary(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind):
        return array.to_pylist()
    if pa.types.is_floating(kind):
        with np.errstate(over="ignore"):
            return [one if one is None else float(np.float32(one)) for one in array.to_pylist()]
    return [one if one is None else dumps(one).encode() for one in with_null(CASES[name].json)]


# ---- as id, as text


def read(path: Any, **settings: Any) -> tuple[list[Any], list[Rejected]]:
    source = Files(paths=[path.name], **settings)
    pieces = [piece for part in source.plan(SourceContext(path.parent, 1 << 24, str)) for piece in source.read(part)]
    tables = [piece for piece in pieces if not isinstance(piece, Rejected)]
    return [row for table in tables for row in table.to_pylist()], [one for one in pieces if isinstance(one, Rejected)]


BOTH = [(name, suffix) for suffix, names in FORMATS.items() for name in names]


@pytest.mark.parametrize(("name", "suffix"), BOTH)
def test_any_type_is_an_id(tmp_path, name, suffix):
    case = CASES[name]
    write(tmp_path / f"in.{suffix}", {"id": case.array})
    rows, rejects = read(tmp_path / f"in.{suffix}")
    ids = case.ids or [one if one is None else as_text(one) for one in case.json]
    if ids[0] == "":  # the bytes are no text
        assert [(one.offset, one.reason) for one in rejects] == [(0, "invalid_utf8")]
        assert [row["id"] for row in rows] == [None, ids[1]]
    else:
        assert [row["id"] for row in rows] == with_null(ids) and rejects == []


STRINGS = ("string", "large_string", "string_view", "json", "json_broken", "opaque", "dictionary", "run_end_encoded")
BYTES = ("binary", "large_binary", "binary_view")


@pytest.mark.parametrize(("name", "suffix"), BOTH)
def test_any_type_is_text_or_refused(tmp_path, name, suffix):
    path = tmp_path / f"in.{suffix}"
    write(path, {"body": CASES[name].array}, texts=False)
    if name not in (*STRINGS, *BYTES, "null"):
        with pytest.raises(CurateError, match=r"column `body` holds .*, not strings") as error:
            read(path, text="body")
        assert "`text:`" in str(error.value.hint)
        return
    rows, rejects = read(path, text="body", columns=[])
    if name in STRINGS:
        wanted = [as_text(one) for one in CASES[name].json]
        assert [row["text"] for row in rows] == wanted and [one.reason for one in rejects] == ["no_text"]
    else:
        kept, reasons = (["xyz"], ["invalid_utf8", "no_text"]) if name in BYTES else ([], ["no_text"] * 3)
        assert [row["text"] for row in rows] == kept and [one.reason for one in rejects] == reasons


def test_an_id_that_is_nan_is_none(tmp_path):
    write(tmp_path / "in.parquet", {"id": pa.array([1.0, math.nan, 2.5])})
    rows, _ = read(tmp_path / "in.parquet")
    assert [row["id"] for row in rows] == ["1.0", None, "2.5"]


# ---- columns that cannot be


@pytest.mark.parametrize("suffix", FORMATS)
def test_two_columns_of_one_name_are_refused(tmp_path, suffix):
    table = pa.table([TEXTS, [1, 2, 3], [4, 5, 6], [7, 8, 9]], ["text", "n", "n", "m"])
    path = tmp_path / f"in.{suffix}"
    if suffix == "parquet":
        parquet.write_table(table, path)
    else:
        with pa.ipc.new_file(path, table.schema) as file:
            file.write_table(table)
    with pytest.raises(CurateError, match="two columns are called `n`") as error:
        read(path)
    assert error.value.hint == "rename one of them, or list the columns to keep: `columns: [m]`"
    assert [row["m"] for row in read(path, columns=["m"])[0]] == [7, 8, 9]


def test_two_fields_of_one_name_are_refused(tmp_path):
    twice = pa.StructArray.from_arrays([pa.array([1, 2, 3]), pa.array([4, 5, 6])], ["a", "a"])
    write(tmp_path / "in.arrow", {"s": twice})
    with pytest.raises(CurateError, match="column `s`: a structure has two fields called `a`"):
        read(tmp_path / "in.arrow")


def test_what_is_nested_too_deep_is_refused():
    kind = pa.int8()
    for _ in range(100):
        kind = pa.list_(kind)
    schema = pa.schema([("text", pa.string()), ("deep", kind)])
    with pytest.raises(CurateError, match="column `deep` has values in 101 levels"):
        needed_columns(schema, Selection("text", None, None, 100, "in.parquet"))


def test_a_string_inside_a_list_that_is_not_utf8_costs_its_row(tmp_path):
    broken = pa.array([[b"a"], [b"\xff"], [b"c"]]).cast(pa.list_(pa.string()), safe=False)
    storage = pa.ListArray.from_arrays(broken.offsets, pa.StringArray.from_buffers(3, *broken.values.buffers()[1:]))
    write(tmp_path / "in.parquet", {"tags": storage})
    rows, rejects = read(tmp_path / "in.parquet")
    assert [row["tags"] for row in rows] == ['["a"]', '["c"]']
    assert [(one.offset, one.reason) for one in rejects] == [(1, "invalid_utf8")]


# ---- Arrow files


def packed(columns: dict[str, Any], *, stream: bool, rows: int = 2) -> bytes:
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("stream", [False, True])
def test_files_and_streams_of_several_batches_are_read(tmp_path, stream):
    (tmp_path / "in.arrow").write_bytes(packed({"text": list("abcde"), "id": list("vwxyz")}, stream=stream))
    rows, rejects = read(tmp_path / "in.arrow")
    assert [(row["id"], row["text"], row["source_uri"]) for row in rows] == [
        (name, text, f"in.arrow#{number}") for number, (name, text) in enumerate(zip("vwxyz", "abcde", strict=True))
    ]
    assert rejects == []


def test_a_stream_cut_short_is_read_up_to_there(tmp_path):
    whole = packed({"text": list("abcde")}, stream=True)
    (tmp_path / "in.arrow").write_bytes(whole[: len(whole) - 100])
    rows, rejects = read(tmp_path / "in.arrow")
    assert [row["text"] for row in rows] == list("abcd") and [(one.offset, one.reason) for one in rejects] == [
        (4, "corrupt")
    ]


def test_offsets_that_lead_out_of_the_file_are_not_followed(tmp_path):
    sound = packed({"text": ["xyzzy"]}, stream=False)
    place = sound.rindex(pa.array([0, 5], pa.int32()).buffers()[1].to_pybytes()[:8], 0, sound.index(b"xyzzy"))
    (tmp_path / "in.arrow").write_bytes(sound[: place + 4] + b"\0\0\0\x40" + sound[place + 8 :])
    rows, rejects = read(tmp_path / "in.arrow")
    assert rows == [] and [(one.offset, one.reason) for one in rejects] == [(0, "corrupt")]


def test_a_text_that_is_not_utf8_costs_its_row(tmp_path):
    broken = pa.Array.from_buffers(pa.string(), 3, pa.array([b"a", b"\xff", b"c"]).buffers())
    (tmp_path / "in.arrow").write_bytes(packed({"text": broken}, stream=False, rows=3))
    rows, rejects = read(tmp_path / "in.arrow")
    assert [row["text"] for row in rows] == ["a", "c"] and [(one.offset, one.reason) for one in rejects] == [
        (1, "invalid_utf8")
    ]


def test_what_is_no_arrow_file_is_corrupt(tmp_path):
    (tmp_path / "in.arrow").write_bytes(b"ARROW1 is not enough")
    assert [(one.offset, one.reason) for one in read(tmp_path / "in.arrow")[1]] == [(0, "corrupt")]


def test_samples_and_histories_are_printed_whatever_the_types(version, monkeypatch):
    from typer.testing import CliRunner

    from curate.cli import app

    dataset, _ = version
    monkeypatch.chdir(dataset.store.root.parent)
    for command in (
        ["data", "sample", "types"],
        ["data", "sample", "types", "--json"],
        ["why", rows_of(dataset)[0]["id"]],
    ):
        result = CliRunner().invoke(app, command, catch_exceptions=False)
        assert result.exit_code == 0, result.output


def rows_of(dataset: Any) -> list[dict[str, Any]]:
    return dataset.arrow(columns=["id"]).to_pylist()
