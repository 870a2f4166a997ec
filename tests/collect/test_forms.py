"""What a file is, and the forms of text and records: arrays, lines, other encodings, other delimiters, mailboxes."""

import gzip
import io
import json
import mailbox
import zipfile
from contextlib import closing

import pytest
from pydantic import ValidationError

from curate.collect.files import Files
from curate.collect.jsonfile import json_values
from curate.collect.mail import _messages
from curate.errors import CurateError


def texts(documents):
    return [one["text"] for one in documents]


# ---- what a file is


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"%PDF-1.7\n1 0 obj", "application/pdf"),
        ("a.csv", gzip.compress(b"text\na\n"), "application/gzip"),
        ("a.jsonl", b"PAR1\x15\x04..", "application/vnd.apache.parquet"),
        ("a.parquet", b"PK\x03\x04" + bytes(40), "application/zip"),
        ("a.jsonl.gz", b"\x28\xb5\x2f\xfd....", "application/zstd"),
        ("a.md", b"\x89PNG\r\n\x1a\n", "image/png"),
    ],
)
def test_bytes_that_contradict_the_ending_are_not_read_as_either(read_files, name, content, said):
    documents, rejects = read_files({name: content})
    assert (documents, [one.reason for one in rejects]) == ([], ["format_mismatch"])
    assert rejects[0].detail == f"its bytes are {said}; rename the file, or say what it is with `format:`"


def test_bytes_decide_where_the_ending_says_nothing(read_files):
    documents, rejects = read_files({"page": "<!DOCTYPE html><p>Hello"})
    assert (texts(documents), rejects) == (["<!DOCTYPE html><p>Hello"], [])


def test_a_book_without_an_ending_is_no_archive_and_a_mailbox_read_as_binary_is_opened(read_files):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("META-INF/container.xml", "<container/>")
    box = "From a@b.org Mon Jan  1 00:00:00 2024\nSubject: x\n\nwords\n"
    assert [one["media_type"] for one in read_files({"book": file.getvalue()})[0]] == ["application/epub+zip"]
    assert [one["media_type"] for one in read_files({"a.mbox": box}, format="binary")[0]] == ["message/rfc822"]


@pytest.mark.parametrize(
    "content",
    [
        "A PDF file begins with %PDF-1.7, as its first line.\n%PDF-1.7 is a version.",
        "# PDF\nA file begins with\n%PDF-1.4\nand ends with EOF.",
        "ID3 tags are metadata.",
        "BZhang et al. wrote",
        "OggSpirit",
        "WARC/1.0 is a format",
        "The ftyp box",
        "GIF89a is a form of pictures",
        "PAR1 and ARROW1",
    ],
)
def test_a_text_that_begins_as_other_files_do_is_a_text(read_files, content):
    assert texts(read_files({"a.txt": content, "b.md": content})[0]) == [content, content]


# ---- JSON


RECORDS = [{"id": "a", "text": 'caf\u00e9 [1, {2}] \\"', "n": 1}, {"id": "b", "text": "two", "n": 12345678901234567890}]


@pytest.mark.parametrize("indent", [None, 2])
def test_the_elements_of_an_array_are_documents_at_their_places(read_files, indent):
    content = "\ufeff" + json.dumps(RECORDS, ensure_ascii=False, indent=indent)
    documents, rejects = read_files({"a.json": content})
    assert (texts(documents), rejects) == ([one["text"] for one in RECORDS], [])
    data = content.encode()
    for document in documents:
        place = int(document["source_uri"].partition("#")[2])
        assert json.JSONDecoder().raw_decode(data[place:].decode())[0]["text"] == document["text"]
    assert documents[1]["n"] == "12345678901234567890"


def test_objects_may_stand_one_behind_the_other(read_files):
    content = "\n".join(json.dumps(one, indent=1) for one in RECORDS)
    assert texts(read_files({"a.json": content})[0]) == [one["text"] for one in RECORDS]


def test_an_array_of_many_blocks_is_read_as_lines_are(read_files):
    records = [{"id": str(n), "text": f"{n} " * 2000} for n in range(2000)]
    content = json.dumps(records)
    assert len(content) > 8 << 20
    documents, rejects = read_files({"a.json": content})
    assert ([one["id"] for one in documents], rejects) == ([one["id"] for one in records], [])


@pytest.mark.parametrize(
    ("content", "kept", "reasons"),
    [
        ('[{"text": "a"}, {"text": "b"', ["a"], ["bad_json"]),
        ('[{"text": "a"},', ["a"], ["truncated"]),
        ('[{"text": "a"}, {"text": nope}, {"text": "c"}]', ["a"], ["bad_json"]),
        ('[{"text": "a"}, 3, {"text": 4}, {"text": "c"}]', ["a", "c"], ["bad_json", "no_text"]),
        ('[{"text": "a"}] [1]', ["a"], ["bad_json"]),
        ("[" * 100_000, [], ["bad_json"]),
        ("[]", [], []),
        ("", [], []),
    ],
)
def test_damage_in_json_is_said_and_what_stands_before_it_is_read(read_files, content, kept, reasons):
    documents, rejects = read_files({"a.json": content})
    assert (texts(documents), [one.reason for one in rejects]) == (kept, reasons)


def test_a_value_that_is_too_long_is_not_held(read_files):
    content = json.dumps([{"text": "a"}, {"text": "x" * 9_000_000}, {"text": "c"}])
    documents, rejects = read_files({"a.json": content}, max_document_bytes=1_000_000)
    assert (texts(documents), [one.reason for one in rejects]) == (["a"], ["too_long"])


# ---- lines, encodings, delimiters


def test_every_line_is_a_document_however_the_file_is_cut(read_files):
    content = "\ufeffone\r\n\n  \ntwo\nthr\u00e9e".encode() + b"\nb\xffd\n"
    whole = read_files({"a.txt": content}, format="lines")
    assert texts(whole[0]) == ["one", "two", "thr\u00e9e"]
    assert [(one.offset, one.reason) for one in whole[1]] == [(23, "invalid_utf8")]
    assert read_files({"a.txt": content}, format="lines", shard_bytes=7) == whole


@pytest.mark.parametrize("form", ["utf-16", "utf-16-be"])
def test_utf16_is_read_by_its_mark(read_files, form):
    def wide(text):
        return ("\ufeff" * (form == "utf-16-be") + text).encode(form)

    contents = {
        "a.csv": wide("text,n\n\u6f22\u5b57,7\n"),
        "b.jsonl": wide('{"text": "\u6f22", "n": 8}\n'),
        "c.txt": wide("\u5b57"),
    }
    documents, rejects = read_files(contents, shard_bytes=4)
    assert (texts(documents), rejects) == (["\u6f22\u5b57", "\u6f22", "\u5b57"], [])
    assert documents[0]["source_uri"] == "a.csv#7"


def test_another_encoding_is_named(read_files):
    documents, _ = read_files({"a.csv": "text\ncaf\u00e9\n".encode("cp1252")}, encoding="windows-1252")
    assert texts(documents) == ["caf\u00e9"]
    documents, rejects = read_files({"a.csv": b"text\na\n\x81\xff\nb\n"}, encoding="shift_jis")
    assert (texts(documents), [one.reason for one in rejects]) == (["a", "b"], ["invalid_utf8"])
    with pytest.raises(ValidationError, match="no encoding is called `latin-klingon`"):
        Files(paths=["a"], encoding="latin-klingon")


def test_columns_without_a_line_of_names_are_named(read_files):
    content = "1;first\n2;second\n3\n"
    settings = {"names": ["n", "text"], "delimiter": ";"}
    documents, rejects = read_files({"a.csv": content}, **settings)
    assert ([(one["n"], one["text"]) for one in documents], [one.reason for one in rejects]) == (
        [(1, "first"), (2, "second")],
        ["bad_csv"],
    )
    cut = read_files({"a.csv": content}, shard_bytes=6, **settings)[0]
    assert [one["text"] for one in cut] == ["first", "second"]
    with pytest.raises(CurateError, match="two columns are called `n`"):
        read_files({"a.csv": content}, names=["n", "n"], text="n", delimiter=";")


# ---- mailboxes


def message(number, body):
    return f"From: a{number}@example.org\nSubject: {number}\n\n{body}\n"


def test_a_line_that_begins_with_from_is_no_new_message(tmp_path, read_files):
    body = "Hello,\n\nFrom here it is far.\n>From the other side, too.\n\nFrom Monday on\n"
    content = "".join(f"From a{n}@example.org Mon Jan  1 00:00:{n:02} 2024\n{message(n, body)}\n" for n in range(20))
    documents, rejects = read_files({"a.mbox": content})
    assert (len(documents), rejects) == (20, [])
    assert b"\nFrom the other side" in documents[0]["content"]
    (tmp_path / "a.mbox").write_text(content)
    with closing(mailbox.mbox(tmp_path / "a.mbox")) as box:
        assert len(box) > 20  # why not the standard library


def test_messages_are_those_that_a_mail_program_wrote(tmp_path, read_files):
    box = mailbox.mbox(tmp_path / "made.mbox")
    for number in range(30):
        box.add(mailbox.mboxMessage(message(number, f"body {number}\nFrom x\n")))
    box.close()
    documents, rejects = read_files({"b.mbox": (tmp_path / "made.mbox").read_bytes()})
    assert (len(documents), rejects) == (30, [])
    assert [one["media_type"] for one in documents[:1]] == ["message/rfc822"]
    assert documents[7]["content"].decode().startswith("From: a7@example.org\nSubject: 7\n\nbody 7\nFrom x\n")


def test_what_stands_before_the_first_message_and_what_is_too_long_is_said(read_files):
    first = f"From a@b.org Mon Jan  1 00:00:00 2024\n{message(1, 'x' * 5000)}\n"
    second = f"From a@b.org Mon Jan  1 00:00:00 2024\n{message(2, 'short')}"
    documents, rejects = read_files({"a.mbox": f"junk\n\n{first}{second}"}, max_document_bytes=1000)
    assert [one.reason for one in rejects] == ["corrupt", "too_long"]
    assert [b"short" in one["content"] for one in documents] == [True]


class Blocks:
    """A stream of given blocks."""

    damage = None

    def __init__(self, data, size):
        self.blocks = [data[place : place + size] for place in range(0, len(data), size)]

    def __iter__(self):
        return iter(self.blocks)


def test_messages_begin_at_the_same_places_whatever_the_blocks_are():
    first = b"From a@b Mon Jan  1 00:00:00 2024\n"
    box = first + b"Subject: x\r\n\r\nbody\n\r\n" + first + b"text\n" + first + b"\n" + first + b"\n\n"
    whole = list(_messages(Blocks(box, 1000), 1 << 20))
    assert len(whole) == 3
    assert all(list(_messages(Blocks(box, size), 1 << 20)) == whole for size in (1, 2, 3, 7, 20, 50))


def test_an_object_over_many_blocks_is_scanned_a_few_times(monkeypatch):
    scanned = []

    class Decoder(json.JSONDecoder):
        def raw_decode(self, s, idx=0):
            scanned.append(len(s) - idx)
            return super().raw_decode(s, idx)

    monkeypatch.setattr("curate.collect.jsonfile.json.JSONDecoder", Decoder)
    value = json.dumps({"rows": [{"n": n} for n in range(5000)]}).encode()
    assert list(json_values(Blocks(value, 1000), 1 << 20)) == [(0, value)]
    assert sum(scanned) < 4 * len(value)
