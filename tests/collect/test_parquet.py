"""Documents from Parquet files."""

import io
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from curate.collect.files import Files
from curate.errors import CurateError
from curate.stages.contract import SourceContext


def packed(table, **settings):
    out = io.BytesIO()
    parquet.write_table(table, out, **settings)
    return out.getvalue()


def texts(documents):
    return [document["text"] for document in documents]


def test_rows_become_documents_numbered_by_row(read_files):
    table = pa.table({"id": [1, 2], "text": ["a", "b"], "score": [0.5, None]})
    documents, rejects = read_files({"a.parquet": packed(table)})
    assert documents == [
        {"id": "1", "text": "a", "source_uri": "a.parquet#0", "score": 0.5},
        {"id": "2", "text": "b", "source_uri": "a.parquet#1", "score": None},
    ]
    assert rejects == []


def test_columns_keep_their_types_and_nested_ones_become_json(tmp_path):
    when = datetime(2024, 5, 1)
    table = pa.table({
        "text": ["a"],
        "when": [when],
        "small": pa.array([3], pa.int8()),
        "tags": [[{"k": "v", "at": when}]],
        "kind": pa.array(["x"]).dictionary_encode(),
    })  # fmt: skip
    (tmp_path / "a.parquet").write_bytes(packed(table))
    source = Files(paths=["a.parquet"])
    (part,) = source.plan(SourceContext(tmp_path, 1 << 20, str))
    (read,) = source.read(part)
    assert read.schema.field("when").type == table.schema.field("when").type
    assert read.schema.field("small").type == pa.int8()
    assert read.column("tags").to_pylist() == ['[{"k":"v","at":"2024-05-01T00:00:00"}]']
    assert read.schema.field("tags").metadata == {b"curate.json": b"1"}
    assert read.column("kind").to_pylist() == ["x"]


def test_large_strings_and_plain_binary_are_text(read_files):
    large = pa.table({"text": pa.array(["a"], pa.large_string())})
    binary = pa.table({"text": pa.array([b"b"], pa.binary())})
    documents, _ = read_files({"a.parquet": packed(large), "b.parquet": packed(binary)})
    assert texts(documents) == ["a", "b"]


def test_row_groups_are_cut_apart_and_read_the_same(read_files):
    table = pa.table({"text": [f"document {n}" * 50 for n in range(100)]})
    content = {"a.parquet": packed(table, row_group_size=10)}
    assert read_files(content, shard_bytes=2000) == read_files(content)


def test_a_large_file_has_several_parts(tmp_path):
    table = pa.table({"text": [f"document {n}" * 50 for n in range(100)]})
    (tmp_path / "a.parquet").write_bytes(packed(table, row_group_size=10, use_dictionary=False))
    parts = Files(paths=["a.parquet"]).plan(SourceContext(tmp_path, 12000, str))
    assert [(part.start, part.stop) for part in parts] == [(0, 20), (20, 40), (40, 60), (60, 80), (80, 100)]


@pytest.mark.parametrize(
    ("value", "reason"), [(None, "no_text"), (b"\xff\xfe", "invalid_utf8"), (b"x" * 200, "too_long")]
)
def test_a_bad_row_costs_itself_alone(read_files, value, reason):
    table = pa.table({"text": pa.array([b"a", value, b"c"], pa.binary())})
    documents, rejects = read_files({"a.parquet": packed(table)}, max_document_bytes=100)
    assert texts(documents) == ["a", "c"]
    assert [(reject.offset, reject.reason) for reject in rejects] == [(1, reason)]
    assert documents[1]["source_uri"] == "a.parquet#2"


def test_a_file_cut_short_is_rejected_whole(read_files):
    content = packed(pa.table({"text": ["a", "b"]}))
    documents, rejects = read_files({"a.parquet": content[: len(content) // 2]})
    assert documents == []
    assert [(reject.offset, reject.reason) for reject in rejects] == [(0, "corrupt")]


def test_a_corrupt_row_group_costs_its_own_rows_alone(read_files):
    table = pa.table({"text": [f"document {n} " * 20 for n in range(30)]})
    content = bytearray(packed(table, row_group_size=10, write_page_checksum=True, compression="none"))
    place = bytes(content).index(b"document 15")
    content[place : place + 8] = b"XXXXXXXX"
    documents, rejects = read_files({"a.parquet": bytes(content)})
    assert [document["source_uri"] for document in documents] == [
        f"a.parquet#{row}" for row in range(30) if not 10 <= row < 20
    ]
    assert [(reject.offset, reject.reason) for reject in rejects] == [(10, "corrupt")]
    assert "rows 10 to 19" in rejects[0].detail


def test_a_missing_text_column_is_an_error_that_names_the_columns(read_files):
    with pytest.raises(CurateError, match="no column `text`; the columns are `body`"):
        read_files({"a.parquet": packed(pa.table({"body": ["a"]}))}, text="text")


def test_a_text_column_of_numbers_is_an_error(read_files):
    with pytest.raises(CurateError, match="column `text` holds int64, not strings"):
        read_files({"a.parquet": packed(pa.table({"text": [1]}))})


def test_a_file_without_rows_gives_nothing(read_files):
    assert read_files({"a.parquet": packed(pa.table({"text": pa.array([], pa.string())}))}) == ([], [])


def test_a_compressed_parquet_file_is_refused(read_files):
    with pytest.raises(CurateError, match="a parquet file compressed as gz"):
        read_files({"a.parquet.gz": b"x"})


def test_source_uri_and_a_repeated_id_are_carried_on_under_other_names(read_files):
    table = pa.table({"id": pa.array([b"0"], pa.binary()), "text": ["a"], "source_uri": ["x.csv#5"]})
    documents, rejects = read_files({"a.parquet": packed(table)}, make_ids=True)
    assert documents == [
        {"id": None, "text": "a", "source_uri": "a.parquet#0", "original_id": "0", "original_uri": "x.csv#5"}
    ]
    assert rejects == []


FAR = datetime(9999, 12, 31, 23, 59, 59)


def test_old_96_bit_times_keep_their_year(read_files):
    old = pa.table({"text": ["a", "b"], "at": pa.array([FAR, None], pa.timestamp("us"))})
    documents, _ = read_files({"a.parquet": packed(old, use_deprecated_int96_timestamps=True)})
    assert [document["at"] for document in documents] == [FAR, None]


def test_old_96_bit_times_keep_their_nanoseconds(read_files):
    old = pa.table({"text": ["a"], "at": pa.array([1], pa.timestamp("ns")), "all": [[FAR]]})
    documents, _ = read_files({"a.parquet": packed(old, use_deprecated_int96_timestamps=True)})
    assert documents[0]["at"].value == 1 and documents[0]["all"] == '["9999-12-31T23:59:59"]'
