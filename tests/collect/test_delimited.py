"""Documents from CSV and TSV."""

import csv
import io

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.collect.files import Files
from curate.dataset.schema import conform, unify
from curate.errors import CurateError
from curate.jsontext import number_text
from curate.stages.contract import SourceContext


def texts(documents):
    return [document["text"] for document in documents]


def test_a_csv_record_becomes_a_document_at_its_offset(read_files):
    documents, rejects = read_files({"a.csv": 'id,text,n\r\n1,"one, two\nthree",5\r\n2,plain,6\r\n'})
    assert documents == [
        {"id": "1", "text": "one, two\nthree", "source_uri": "a.csv#11", "n": 5},
        {"id": "2", "text": "plain", "source_uri": "a.csv#33", "n": 6},
    ]
    assert rejects == []


def test_tsv_fields_are_between_tabs(read_files):
    documents, _ = read_files({"a.tsv": "text\tlabel\nhello, you\tx\n"})
    assert documents == [{"id": None, "text": "hello, you", "source_uri": "a.tsv#11", "label": "x"}]


def test_columns_of_numbers_are_numbers_and_others_strings(read_files):
    content = "text,i,f,zip,mixed,none\na,1,0.5,00123,1,\nb,,2.0,00124,x,\n"
    documents, _ = read_files({"a.csv": content})
    first = {"i": 1, "f": 0.5, "zip": "00123", "mixed": "1", "none": None}
    assert {name: documents[0][name] for name in first} == first
    assert documents[1]["i"] is None


@pytest.mark.parametrize(
    "value",
    [
        "007",
        "3.10",
        "1e10",
        "12e5",
        "+5",
        "-0",
        "1.",
        ".5",
        "nan",
        "inf",
        "1_000",
        "0x10",
        " 5",
        "5 ",
        "0.00001",
        "1" * 20,
    ],
)
def test_a_field_that_would_not_come_back_as_it_is_written_is_text(read_files, value):
    documents, _ = read_files({"a.csv": f"text,n\na,{value}\nb,5\n"})
    assert [document["n"] for document in documents] == [value, "5"]


def test_integers_beside_floats_are_text_as_both_are_written(read_files):
    documents, _ = read_files({"a.csv": "text,n\na,1\nb,0.5\n"})
    assert [document["n"] for document in documents] == ["1", "0.5"]


FIELDS = ["", "5", "-17", "9007199254740993", "0.5", "1.0", "-0.0", "3.10", "007", "x", "1e5", "123456789012345678901"]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(fields=st.lists(st.sampled_from(FIELDS), min_size=1, max_size=9), shard_bytes=st.integers(8, 60))
def test_the_type_of_a_column_does_not_depend_on_how_the_file_is_cut(tmp_path_factory, fields, shard_bytes):
    folder = tmp_path_factory.mktemp("cut")
    (folder / "a.csv").write_text("text,n\n" + "".join(f"t,{field}\n" for field in fields))
    source = Files(paths=["a.csv"])

    def column(size):
        tables = [table for part in source.plan(SourceContext(folder, size, str)) for table in source.read(part)]
        schema = unify([table.schema for table in tables])
        whole = pa.concat_tables([conform(table, schema) for table in tables])
        return whole.schema.field("n").type, whole.column("n").to_pylist()

    kind, values = column(shard_bytes)
    assert (kind, values) == column(1 << 30)
    assert [number_text(value) if isinstance(value, float) else str(value or 0) for value in values] == [
        field or "0" for field in fields
    ] or (kind == pa.string() and values == [field or None for field in fields])


def test_a_record_with_too_few_fields_is_rejected_alone(read_files):
    documents, rejects = read_files({"a.csv": "text,n\na,1\nb\nc,3\n"})
    assert texts(documents) == ["a", "c"]
    assert [(reject.offset, reject.reason, reject.detail) for reject in rejects] == [
        (11, "bad_csv", "1 fields, the header has 2")
    ]


def test_an_unclosed_quote_costs_its_own_line_alone(read_files):
    documents, rejects = read_files({"a.csv": 'text,n\na,1\n"b,2\nc,3\nd,4\n'})
    assert texts(documents) == ["a", "c", "d"]
    assert [(reject.offset, reject.reason) for reject in rejects] == [(11, "bad_csv")]


def test_quotes_may_be_plain_text(read_files):
    documents, rejects = read_files({"a.tsv": 'text\tn\n"a\t1\nb"c\t2\n'}, quote=None)
    assert (texts(documents), rejects) == (['"a', 'b"c'], [])


def test_invalid_utf8_costs_its_own_record_alone(read_files):
    documents, rejects = read_files({"a.csv": b"text,n\na,1\nb\xff,2\nc,3\n"})
    assert texts(documents) == ["a", "c"]
    assert [(reject.offset, reject.reason) for reject in rejects] == [(11, "invalid_utf8")]


def test_an_empty_text_is_no_text(read_files):
    documents, rejects = read_files({"a.csv": "text,n\n,1\nb,2\n"})
    assert texts(documents) == ["b"]
    assert [reject.reason for reject in rejects] == ["no_text"]


def test_a_field_over_the_limit_is_rejected(read_files):
    documents, rejects = read_files({"a.csv": f"text,n\n{'x' * 300},1\nb,2\n"}, max_document_bytes=100)
    assert texts(documents) == ["b"]
    assert [reject.reason for reject in rejects] == ["too_long"]


@pytest.mark.parametrize("glance", [True, False])
def test_at_a_glance_a_large_file_is_not_searched_for_quotes(tmp_path, monkeypatch, glance):
    monkeypatch.setattr("curate.collect.files.SCAN_BYTES", 1000)
    lines = [f"line {number},{number}\n" for number in range(1000)]
    (tmp_path / "a.csv").write_text("text,n\n" + "".join(lines) + '"last, one",1\n')
    parts = Files(paths=["a.csv"]).plan(SourceContext(tmp_path, 5000, str, glance=glance))
    assert (len(parts) > 1) == glance


def test_a_missing_text_column_is_an_error_that_names_the_columns(read_files):
    with pytest.raises(CurateError, match="no column `text`; the columns are `body`, `n`"):
        read_files({"a.csv": "body,n\na,1\n"}, text="text")


def test_two_columns_of_one_name_are_an_error(read_files):
    with pytest.raises(CurateError, match="two columns are called `n`"):
        read_files({"a.csv": "text,n,n\na,1,2\n"})


def test_names_of_columns_that_are_not_utf8_are_an_error(read_files):
    with pytest.raises(CurateError, match="the names of the columns are not UTF-8") as error:
        read_files({"a.csv": "text,gr\u00f6\u00dfe\na,1\n".encode("latin-1")})
    assert error.value.hint == "name the encoding of the file: `encoding: windows-1252`"


def test_a_column_to_keep_that_is_not_there_is_an_error(read_files):
    with pytest.raises(CurateError, match="no column `lable`") as error:
        read_files({"a.csv": "text,label\na,1\n"}, columns=["lable"])
    assert "did you mean `label`?" in str(error.value)


def test_a_byte_order_mark_is_not_part_of_the_first_name(read_files):
    documents, _ = read_files({"a.csv": b"\xef\xbb\xbftext,n\na,1\n"})
    assert texts(documents) == ["a"]


@pytest.mark.parametrize("content", ["", "text,n\n", "\n\ntext\n"])
def test_a_file_without_records_gives_nothing(read_files, content):
    assert read_files({"a.csv": content}) == ([], [])


def test_a_truncated_file_gives_its_whole_records(read_files):
    import gzip
    import random

    source = random.Random(1)
    content = "text,n\n" + "".join(f'"{source.randbytes(99).hex()}\nnext",{n}\n' for n in range(3000))
    packed = gzip.compress(content.encode())
    documents, rejects = read_files({"a.csv.gz": packed[: len(packed) // 2]})
    assert 1000 < len(documents) < 2000
    assert all(text.endswith("\nnext") for text in texts(documents))
    assert rejects[-1].reason == "truncated"


def test_a_large_file_without_quotes_is_cut_and_reads_the_same(read_files):
    content = "text,n\n" + "".join(f"word{n},{n}\n" for n in range(50))
    assert read_files({"a.csv": content}, shard_bytes=64) == read_files({"a.csv": content})


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    rows=st.lists(st.tuples(st.text(min_size=1, max_size=20), st.text(max_size=5)), min_size=1, max_size=8),
    shard_bytes=st.integers(1, 100),
)
def test_what_the_csv_module_writes_is_read_back(tmp_path_factory, rows, shard_bytes):
    folder = tmp_path_factory.mktemp("csv")
    rows = [[field.replace("\r", "").replace("\0", "") for field in row] for row in rows]
    rows = [row for row in rows if row[0]]
    out = io.StringIO(newline="")
    csv.writer(out).writerows([["text", "other"], *rows])
    (folder / "a.csv").write_bytes(out.getvalue().encode("utf-8", "surrogatepass"))
    source = Files(paths=["a.csv"])
    parts = source.plan(SourceContext(folder, shard_bytes, str))
    read = [text for part in parts for table in source.read(part) for text in table.column("text").to_pylist()]
    assert read == [row[0] for row in rows]


@pytest.mark.parametrize("shard_bytes", [1 << 24, 20])
@pytest.mark.parametrize("closed", [b"\r", b""])
def test_lines_may_end_in_lone_carriage_returns(read_files, shard_bytes, closed):
    content = b'id,text\r1,first row\r2,"second\rrow\n, still"' + closed
    documents, rejects = read_files({"a.csv": content}, shard_bytes=shard_bytes)
    assert texts(documents) == ["first row", "second\rrow\n, still"]
    assert [document["source_uri"] for document in documents] == ["a.csv#8", "a.csv#20"]
    assert rejects == []


def test_a_lone_carriage_return_among_line_feeds_is_named_as_what_is_wrong(read_files):
    documents, rejects = read_files({"a.csv": b"text,n\na\rb,1\nc,2\n"})
    assert texts(documents) == ["c"]
    assert "a carriage return stands inside a field without quotes" in rejects[0].detail


def test_a_carriage_return_inside_quotes_in_the_header_ends_no_line(read_files):
    documents, _ = read_files({"a.csv": b'"a\rb",text\n1,one\n2,two\n'})
    assert texts(documents) == ["one", "two"]


def test_source_uri_and_a_repeated_id_are_carried_on_under_other_names(read_files):
    content = "id,text,source_uri,n\n0,one,x.csv#5,1\n"
    documents, rejects = read_files({"a.csv": content}, make_ids=True)
    assert documents == [
        {"id": None, "text": "one", "source_uri": "a.csv#21", "original_id": 0, "original_uri": "x.csv#5", "n": 1}
    ]
    assert rejects == []
