"""Documents from lines of JSON."""

import json

import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.collect.files import Files
from curate.errors import CurateError
from curate.stages.contract import SourceContext


def lines(*records):
    return b"".join(orjson.dumps(record) + b"\n" for record in records)


def test_a_document_has_its_text_its_id_and_its_offset(read_files):
    documents, rejects = read_files({"in/a.jsonl": lines({"id": 7, "text": "one"}, {"id": "b", "text": "two"})})
    assert documents == [
        {"id": "7", "text": "one", "source_uri": "in/a.jsonl#0"},
        {"id": "b", "text": "two", "source_uri": "in/a.jsonl#22"},
    ]
    assert rejects == []


def test_a_document_without_an_id_leaves_it_to_the_engine(read_files):
    documents, _ = read_files({"a.jsonl": lines({"text": "one"})})
    assert documents[0]["id"] is None


def test_text_and_id_may_come_from_other_columns(read_files):
    documents, _ = read_files({"a.jsonl": lines({"body": "one", "key": 5, "n": 1})}, text="body", id_column="key")
    assert documents == [{"id": "5", "text": "one", "source_uri": "a.jsonl#0", "n": 1}]


def test_other_columns_are_typed_by_their_values(read_files):
    documents, _ = read_files({
        "a.jsonl": lines(
            {"text": "a", "n": 1, "x": 1, "b": True, "s": "u", "mixed": 1, "none": None},
            {"text": "b", "n": None, "x": 2.5, "b": False, "s": "v", "mixed": "z", "none": None},
        )
    })  # fmt: skip
    first = {"n": 1, "x": 1.0, "b": True, "s": "u", "mixed": "1", "none": None}
    assert {name: documents[0][name] for name in first} == first


def test_lists_and_objects_are_kept_as_marked_json_text(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(lines({"text": "a", "tags": ["x", 1], "meta": {"k": None}}))
    source = Files(paths=["a.jsonl"])
    (part,) = source.plan(SourceContext(tmp_path, 1 << 20, str))
    (table,) = source.read(part)
    assert table.column("tags").to_pylist() == ['["x",1]']
    assert table.schema.field("meta").metadata == {b"curate.json": b"1"}


def test_integers_beyond_64_bits_become_strings(read_files):
    documents, _ = read_files({"a.jsonl": lines({"text": "a", "hash": 2**64 - 1})})
    assert documents[0]["hash"] == "18446744073709551615"


def test_integers_of_any_length_stay_as_they_are_as_ids_and_inside_objects(read_files):
    line = (
        b'{"id": 123456789012345678901, "text": "a", "n": {"k": -9223372036854775809, "j": [18446744073709551617]}}\n'
    )
    documents, _ = read_files({"a.jsonl": line})
    assert documents[0]["id"] == "123456789012345678901"
    assert documents[0]["n"] == '{"k":-9223372036854775809,"j":[18446744073709551617]}'


@pytest.mark.parametrize("number", ["3.10", "1E5", "-0", "1e999", "0.12345678901234567891", "1.0", "0.00001", "1e-05"])
@pytest.mark.parametrize("between", ["", " "])
def test_a_number_inside_an_object_is_kept_as_it_is_written(read_files, number, between):
    line = f'{{"text":{between}"a","n":{between}{{"k":{between}{number}}}}}'
    documents, _ = read_files({"a.jsonl": line})
    assert documents[0]["n"] == f'{{"k":{number}}}'


@pytest.mark.parametrize("number", ["3.10", "1e2", "1.50", "12345678901234567890.5"])
def test_an_id_that_is_a_number_is_kept_as_it_is_written(read_files, number):
    documents, _ = read_files({"a.jsonl": f'{{"id": {number}, "text": "a"}}'})
    assert documents[0]["id"] == number


def test_a_column_of_numbers_that_a_double_does_not_hold_is_json_text(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a", "n": 0.1234567890123456789}\n{"text": "b", "n": 2.50}\n')
    source = Files(paths=["a.jsonl"])
    (table,) = source.read(source.plan(SourceContext(tmp_path, 1 << 20, str))[0])
    assert table.column("n").to_pylist() == ["0.1234567890123456789", "2.50"]
    assert table.schema.field("n").metadata == {b"curate.json": b"1"}


def test_floats_that_are_doubles_written_otherwise_stay_floats(read_files):
    documents, _ = read_files({"a.jsonl": '{"text": "a", "n": 0.10000000000000001}\n{"text": "b", "n": 2.50}\n'})
    assert [document["n"] for document in documents] == [0.1, 2.5]


def test_a_value_nested_too_deep_costs_its_own_line_alone(read_files):
    deep = "[" * 300 + "]" * 300
    documents, rejects = read_files({"a.jsonl": f'{{"text": "a"}}\n{{"text": "b", "n": {deep}}}\n{{"text": "c"}}\n'})
    assert [document["text"] for document in documents] == ["a", "c"]
    assert [reject.reason for reject in rejects] == ["bad_json"]


def test_columns_names_the_columns_to_keep(read_files):
    documents, _ = read_files({"a.jsonl": lines({"text": "a", "n": 1, "m": 2})}, columns=["m"])
    assert documents[0] == {"id": None, "text": "a", "source_uri": "a.jsonl#0", "m": 2}


def test_blank_lines_and_a_byte_order_mark_are_passed_over(read_files):
    documents, rejects = read_files({"a.jsonl": b'\xef\xbb\xbf{"text":"a"}\r\n\r\n  \n{"text":"b"}'})
    assert [document["text"] for document in documents] == ["a", "b"]
    assert documents[0]["source_uri"] == "a.jsonl#3"
    assert rejects == []


def test_an_empty_file_gives_nothing(read_files):
    assert read_files({"a.jsonl": b""}) == ([], [])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "cut', "bad_json"),
        (b'["text"]', "bad_json"),
        (b"7", "bad_json"),
        (b'{"text": "\\ud800"}', "bad_json"),
        (b"[" * 5000, "bad_json"),
        (b'{"text": "\xff\xfe"}', "invalid_utf8"),
        (b'{"other": 1}', "no_text"),
        (b'{"text": null}', "no_text"),
        (b'{"text": 5}', "no_text"),
    ],
)
def test_a_bad_line_costs_itself_alone(read_files, line, reason):
    good = lines({"text": "first"})
    documents, rejects = read_files({"a.jsonl": good + line + b"\n" + lines({"text": "last"})})
    assert [document["text"] for document in documents] == ["first", "last"]
    assert [(reject.offset, reject.reason) for reject in rejects] == [(len(good), reason)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_text_among_documents_that_have_none_costs_itself_alone(read_files, name):
    records = [{"messages": [1]}, {"messages": [2], "text": "odd"}, {"messages": [3]}]
    data = lines(*records) if name == "a.jsonl" else json.dumps(records).encode()
    documents, rejects = read_files({name: data})
    assert [document["messages"] for document in documents] == ["[1]", "[3]"]
    assert [reject.reason for reject in rejects] == ["unexpected_text"]
    documents, rejects = read_files({name: data}, columns=["messages"])
    assert (len(documents), rejects) == (3, [])


def test_a_reject_never_quotes_the_text(read_files):
    _, rejects = read_files({"a.jsonl": b'{"text": "a"}\n{"text": "secret" oops}\n{"text": "secret\xff"}\n'})
    assert len(rejects) == 2
    assert not any("secret" in reject.detail or "oops" in reject.detail for reject in rejects)


def test_nan_is_read_though_it_is_not_json(read_files):
    documents, rejects = read_files({"a.jsonl": b'{"text": "a", "score": NaN}\n{"text": "b", "score": 1.5}\n'})
    assert [document["text"] for document in documents] == ["a", "b"]
    assert documents[1]["score"] == 1.5
    assert rejects == []


def test_a_missing_text_column_is_an_error_that_names_the_columns(read_files):
    with pytest.raises(CurateError, match="no column `text`; the columns are `Text`, `url`") as error:
        read_files({"a.jsonl": lines({"Text": "a", "url": "u"})}, text="text")
    assert error.value.where == "a.jsonl"


def test_a_column_called_source_uri_is_carried_on_as_original_uri(read_files):
    documents, rejects = read_files({"a.jsonl": lines({"id": "7", "text": "a", "source_uri": "x#3", "n": 1})})
    assert documents == [{"id": "7", "text": "a", "source_uri": "a.jsonl#0", "original_uri": "x#3", "n": 1}]
    assert rejects == []


def test_source_uri_is_refused_where_original_uri_is_there_too(read_files):
    record = lines({"text": "a", "source_uri": "x", "original_uri": "y", "n": 1})
    with pytest.raises(CurateError, match="`source_uri` would be carried on as `original_uri`") as error:
        read_files({"a.jsonl": record})
    assert "`columns: [original_uri, n]`" in (error.value.hint or "")
    documents, _ = read_files({"a.jsonl": record}, columns=["original_uri", "n"])
    assert documents[0]["original_uri"] == "y"


def test_source_uri_may_be_asked_for(read_files):
    documents, _ = read_files({"a.jsonl": lines({"text": "a", "source_uri": "x", "n": 1})}, columns=["source_uri"])
    assert documents == [{"id": None, "text": "a", "source_uri": "a.jsonl#0", "original_uri": "x"}]


def test_a_column_called_id_that_is_not_the_id_is_an_error(read_files):
    with pytest.raises(CurateError, match="column `id` has a name that documents use") as error:
        read_files({"a.jsonl": lines({"text": "a", "id": 1, "key": 2, "n": 3})}, id_column="key")
    assert "`columns: [n]`" in (error.value.hint or "")


def test_ids_may_be_made_and_those_of_the_file_carried_on(read_files):
    contents = {name: lines({"id": 0, "text": name}) for name in ("a.jsonl", "b.jsonl")}
    documents, rejects = read_files(contents, make_ids=True, columns=[])
    assert documents == [
        {"id": None, "text": name, "source_uri": f"{name}#0", "original_id": 0} for name in ("a.jsonl", "b.jsonl")
    ]
    assert rejects == []


def test_a_named_id_column_is_carried_on_where_ids_are_made(read_files):
    documents, _ = read_files({"a.jsonl": lines({"text": "a", "key": "k"})}, id_column="key", make_ids=True)
    assert documents == [{"id": None, "text": "a", "source_uri": "a.jsonl#0", "original_id": "k"}]


def test_making_ids_is_refused_where_original_id_is_there_too(read_files):
    record = lines({"text": "a", "id": 1, "original_id": 2, "n": 3})
    with pytest.raises(CurateError, match="`id` would be carried on as `original_id`") as error:
        read_files({"a.jsonl": record}, make_ids=True)
    assert "`columns: [n]`" in (error.value.hint or "")


def test_a_column_that_documents_use_may_be_left_out(read_files):
    documents, _ = read_files({"a.jsonl": lines({"text": "a", "source_uri": "x"})}, columns=[])
    assert documents[0]["source_uri"] == "a.jsonl#0"


def test_a_line_over_the_limit_is_rejected_and_the_next_one_read(read_files):
    content = lines({"text": "x" * 500}, {"text": "b"})
    documents, rejects = read_files({"a.jsonl": content}, max_document_bytes=100)
    assert [document["text"] for document in documents] == ["b"]
    assert [(reject.offset, reject.reason) for reject in rejects] == [(0, "too_long")]


def test_columns_that_only_some_records_have_are_null_elsewhere(read_files):
    documents, _ = read_files({"a.jsonl": lines({"text": "a"}, {"text": "b", "late": 1})})
    assert [document["late"] for document in documents] == [None, 1]


RECORDS = st.lists(
    st.one_of(
        st.builds(lambda text: json.dumps({"text": text}, ensure_ascii=False), st.text(max_size=60)),
        st.sampled_from(["", "  ", "{", '{"no": 1}', '{"text": null}']),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(records=RECORDS, shard_bytes=st.integers(1, 200), closed=st.booleans())
def test_documents_and_rejects_do_not_depend_on_how_a_file_is_cut(tmp_path_factory, records, shard_bytes, closed):
    folder = tmp_path_factory.mktemp("cut")
    content = "\n".join(['{"text": "first"}', *records]) + ("\n" if closed else "")
    (folder / "a.jsonl").write_bytes(content.encode("utf-8", "surrogatepass"))
    source = Files(paths=["a.jsonl"])

    def read(size):
        found = [piece for part in source.plan(SourceContext(folder, size, str)) for piece in source.read(part)]
        documents = [row for piece in found if isinstance(piece, pa.Table) for row in piece.to_pylist()]
        return documents, [piece for piece in found if not isinstance(piece, pa.Table)]

    assert read(shard_bytes) == read(1 << 30)
