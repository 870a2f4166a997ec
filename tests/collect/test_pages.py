"""Files that are one document each."""

import gzip

import pytest


@pytest.mark.parametrize("name", ["a.txt", "b.md", "c.html", "d.HTM"])
def test_a_file_is_one_document(read_files, name):
    documents, rejects = read_files({name: "<p>one\ntwo</p>\n"})
    assert documents == [{"id": None, "text": "<p>one\ntwo</p>\n", "source_uri": f"{name}#0"}]
    assert rejects == []


def test_a_compressed_text_is_one_document(read_files):
    documents, _ = read_files({"a.txt.gz": gzip.compress("h\u00e9".encode())})
    assert documents[0]["text"] == "h\u00e9"


def test_an_empty_text_gives_nothing(read_files):
    assert read_files({"a.txt": ""}) == ([], [])


def test_a_text_that_is_not_utf8_is_rejected_with_the_place(read_files):
    documents, rejects = read_files({"a.txt": b"one \xff two", "b.txt": "fine"})
    assert [document["text"] for document in documents] == ["fine"]
    assert [(reject.offset, reject.reason, reject.detail) for reject in rejects] == [
        (0, "invalid_utf8", "byte 4 is not utf-8")
    ]


def test_a_byte_order_mark_is_taken_off(read_files):
    documents, _ = read_files({"a.txt": b"\xef\xbb\xbfone"})
    assert documents[0]["text"] == "one"


def test_a_text_over_the_limit_is_rejected(read_files):
    documents, rejects = read_files({"a.txt": "x" * 101}, max_document_bytes=100)
    assert documents == []
    assert [reject.reason for reject in rejects] == ["too_long"]


def test_a_truncated_text_is_rejected_and_not_taken_for_a_whole_one(read_files):
    documents, rejects = read_files({"a.txt.gz": gzip.compress(b"one two three")[:-9]})
    assert documents == []
    assert [reject.reason for reject in rejects] == ["truncated"]


@pytest.mark.parametrize(
    "content",
    [
        "<html><head><meta charset='windows-1251'></head>\u043c\u0438\u0440".encode("windows-1251"),
        "<html><meta http-equiv=Content-Type content='text/html; charset=windows-1251'>\u043c\u0438\u0440".encode(
            "cp1251"
        ),
        "<html>\u043c\u0438\u0440".encode(),
        "<html><meta charset=utf-16>\u043c\u0438\u0440".encode(),
        "<html>\u043c\u0438\u0440".encode("utf-16"),
    ],
)
def test_html_is_read_in_the_encoding_it_declares(read_files, content):
    documents, _ = read_files({"a.html": content})
    assert documents[0]["text"].endswith("\u043c\u0438\u0440")
