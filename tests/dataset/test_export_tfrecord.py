"""TFRecord files: read back by the `tfrecord` package, checksums held against google-crc32c."""

from __future__ import annotations

import struct

import google_crc32c
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.dataset.export.crc32c import crc32c, frame_records
from curate.dataset.export.tfrecord import write


def written(table: pa.Table, path) -> list[dict]:
    """The table as a TFRecord file, read by the `tfrecord` package."""
    from tfrecord.reader import tfrecord_loader

    with path.open("wb") as stream:
        assert write(table.to_batches(max_chunksize=2), table.schema, stream, path.name) == table.num_rows
    return list(tfrecord_loader(str(path), index_path=None))


def records_of(content: bytes) -> list[bytes]:
    """The records, every checksum checked with google-crc32c."""
    records, at = [], 0
    while at < len(content):
        head = content[at : at + 8]
        (size,) = struct.unpack("<Q", head)
        data = content[at + 12 : at + 12 + size]
        assert struct.unpack("<I", content[at + 8 : at + 12])[0] == masked(head)
        assert struct.unpack("<I", content[at + 12 + size : at + 16 + size])[0] == masked(data)
        records.append(data)
        at += 16 + size
    return records


def masked(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.binary(max_size=300))
def test_the_checksum_equals_googles(data):
    assert crc32c(data) == google_crc32c.value(data)


def test_the_checksum_of_the_standard_example_is_right():
    assert crc32c(b"123456789") == 0xE3069283


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.lists(st.binary(max_size=50), max_size=8))
def test_framed_records_come_back_with_right_checksums(records):
    assert records_of(bytes(frame_records(records))) == records


@pytest.mark.slow
def test_texts_are_read_back(tmp_path):
    texts = ["plain", "two\nlines", "NUL \x00", "\U0001f600", "", "x" * 100_000]
    rows = written(pa.table({"text": texts, "id": [str(i) for i in range(6)]}), tmp_path / "t")
    assert [bytes(row["text"]).decode() for row in rows] == texts


@pytest.mark.parametrize("numbers", [[0, 1, -1, 2**62, -(2**63), 2**63 - 1], [127, 128, 300, -300, 1, 2]])
def test_integers_are_read_back(tmp_path, numbers):
    from tfrecord.example_pb2 import Example

    with (tmp_path / "t").open("wb") as stream:
        table = pa.table({"n": numbers})
        write(table.to_batches(), table.schema, stream, "t")
    messages = [Example.FromString(data) for data in records_of((tmp_path / "t").read_bytes())]
    assert [list(message.features.feature["n"].int64_list.value) for message in messages] == [[n] for n in numbers]


def test_a_null_is_a_feature_without_values(tmp_path):
    from tfrecord.example_pb2 import Example

    table = pa.table({"text": pa.array(["a", None]), "score": pa.array([None, 0.5])})
    with (tmp_path / "t").open("wb") as stream:
        write(table.to_batches(), table.schema, stream, "t")
    first, second = (Example.FromString(data).features.feature for data in records_of((tmp_path / "t").read_bytes()))
    assert first["score"].WhichOneof("kind") is None and second["text"].WhichOneof("kind") is None
    assert first["text"].bytes_list.value == [b"a"] and second["score"].float_list.value == [0.5]


@pytest.mark.slow
def test_lists_have_several_values_and_structures_are_json(tmp_path):
    table = pa.table(
        {"scores": [[1.5, None, 2.5]], "tags": [["a", "b"]], "flags": [[True, False]], "more": [{"x": [1]}]}
    )
    (row,) = written(table, tmp_path / "t")
    assert list(row["scores"]) == [1.5, 2.5] and list(row["flags"]) == [1, 0] and bytes(row["more"]) == b'{"x":[1]}'
    assert [bytes(tag) for tag in row["tags"]] == [b"a", b"b"]


@pytest.mark.slow
def test_an_empty_table_is_an_empty_file(tmp_path):
    assert written(pa.table({"text": pa.array([], pa.string())}), tmp_path / "t") == []


@settings(derandomize=True, deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.text(), st.integers(-(2**63), 2**63 - 1), st.booleans(), st.binary()), min_size=1, max_size=5)
)
def test_any_values_come_back(tmp_path_factory, rows):
    import io

    from tfrecord.example_pb2 import Example

    text, number, flag, data = zip(*rows, strict=True)
    table = pa.table({"t": list(text), "n": list(number), "f": list(flag), "b": pa.array(data, pa.binary())})
    stream = io.BytesIO()
    write(table.to_batches(), table.schema, stream, "t")
    features = [Example.FromString(record).features.feature for record in records_of(stream.getvalue())]
    found = [
        (
            f["t"].bytes_list.value[0].decode(),
            f["n"].int64_list.value[0],
            bool(f["f"].int64_list.value[0]),
            f["b"].bytes_list.value[0],
        )
        for f in features
    ]
    assert found == rows
