"""Documents from WARC files, real and broken."""

import gzip
import io
import zlib

import brotli
import pytest
import zstandard

from curate.collect.archives import read_warc
from curate.collect.columns import Selection
from curate.stages.contract import Passed


def record(content, *, kind="response", url="http://example.org/", headers=b"Content-Type: text/html\r\n"):
    payload = content.encode() if isinstance(content, str) else content
    if kind == "response":
        payload = b"HTTP/1.1 200 OK\r\n" + headers + b"\r\n" + payload
        mime = "application/http; msgtype=response"
    else:
        mime = "text/plain"
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:12345678-1234-1234-1234-123456789abc>\r\n"
        f"WARC-Date: 2024-05-01T00:00:00Z\r\nWARC-Target-URI: {url}\r\nContent-Type: {mime}\r\n"
        f"Content-Length: {len(payload)}\r\n\r\n"
    )
    return head.encode() + payload + b"\r\n\r\n"


def texts(documents):
    return [document["text"] for document in documents]


def test_a_fetched_page_becomes_a_document(read_files):
    documents, rejects = read_files({"a.warc": record("<p>one</p>")})
    assert documents == [
        {
            "id": None,
            "text": "<p>one</p>",
            "source_uri": "a.warc#0",
            "url": "http://example.org/",
            "date": "2024-05-01T00:00:00+00:00",
            "content_type": "text/html",
            "status": 200,
        }
    ]
    assert rejects == []


def test_what_is_neither_html_nor_plain_text_is_no_document(read_files):
    image = record(b"\x89PNG", headers=b"Content-Type: image/png\r\n")
    assert read_files({"a.warc": image + record("x", kind="request")}) == ([], [])


def test_conversion_records_are_documents(read_files):
    documents, _ = read_files({"a.warc.wet.gz": gzip.compress(record("plain", kind="conversion"))})
    assert texts(documents) == ["plain"]


@pytest.mark.parametrize(
    ("headers", "content"),
    [
        (b"Content-Encoding: gzip\r\n", gzip.compress(b"<p>one</p>", mtime=0)),
        (b"Content-Encoding: gzip\r\n", b"<p>one</p>"),
        (b"Transfer-Encoding: chunked\r\n", b"a\r\n<p>one</p>\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked\r\n", b"<p>one</p>"),
        (b"Content-Encoding: zstd\r\n", zstandard.compress(b"<p>one</p>")),
    ],
)
def test_encodings_are_undone_where_they_are_there(read_files, headers, content):
    page = record(content, headers=b"Content-Type: text/html\r\n" + headers)
    documents, rejects = read_files({"a.warc": page})
    assert (texts(documents), rejects) == (["<p>one</p>"], [])


def test_a_page_is_decoded_by_its_http_charset_and_bad_bytes_are_replaced(read_files):
    first = record("\u043c\u0438\u0440".encode("cp1251"), headers=b"Content-Type: text/html; charset=windows-1251\r\n")
    second = record(
        ("\u043c\u0438\u0440 " * 20).encode() + b"\xff", headers=b"Content-Type: text/html; charset=utf-8\r\n"
    )
    documents, _ = read_files({"a.warc": first + second})
    assert texts(documents)[0] == "\u043c\u0438\u0440"
    assert texts(documents)[1] == "\u043c\u0438\u0440 " * 20 + "\ufffd"


def test_a_page_over_the_limit_is_rejected(read_files):
    documents, rejects = read_files({"a.warc": record("x" * 300) + record("fine")}, max_document_bytes=200)
    assert texts(documents) == ["fine"]
    assert [(reject.offset, reject.reason) for reject in rejects] == [(0, "too_long")]


def test_a_small_page_that_unpacks_to_a_large_one_is_rejected(read_files):
    content = gzip.compress(b"a" * (8 << 20))
    page = record(content, headers=b"Content-Type: text/html\r\nContent-Encoding: gzip\r\n")
    documents, rejects = read_files({"a.warc": page}, max_document_bytes=1 << 20)
    assert documents == []
    assert [reject.reason for reject in rejects] == ["too_long"]


def test_http_headers_that_cannot_be_read_are_rejected(read_files):
    broken = record("x").replace(b"HTTP/1.1 200 OK", b"HTTP/1.1 200xOK")
    documents, rejects = read_files({"a.warc": record("a") + broken + record("c")})
    assert texts(documents) == ["a", "c"]
    assert [reject.reason for reject in rejects] == ["corrupt"]


def test_a_broken_warc_header_costs_its_own_record_alone(read_files):
    content = record("a") + record("b").replace(b"WARC/1.0", b"WURC/1.0") + record("c")
    documents, rejects = read_files({"a.warc": content})
    assert texts(documents) == ["a", "c"]
    assert [reject.reason for reject in rejects] == ["corrupt"]


def test_a_corrupt_gzip_member_costs_its_own_record_alone(read_files):
    members = [gzip.compress(record(f"page {n} " * 30)) for n in range(4)]
    broken = bytearray(members[1])
    broken[30:60] = b"\xff" * 30
    documents, rejects = read_files({"a.warc.gz": members[0] + bytes(broken) + members[2] + members[3]})
    assert [text[:6] for text in texts(documents)] == ["page 0", "page 2", "page 3"]
    assert [(reject.offset, reject.reason) for reject in rejects] == [(len(members[0]), "corrupt")]


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz", "a.warc.zst"])
def test_a_truncated_archive_gives_its_whole_records(read_files, name):
    pack = {"warc": bytes, "gz": gzip.compress, "zst": zstandard.compress}[name.rpartition(".")[2]]
    packed = [pack(record(f"page {n} " + "".join(chr(33 + n * k % 90) for k in range(200)))) for n in range(4)]
    documents, rejects = read_files({name: b"".join(packed)[: -len(packed[3]) // 2]})
    assert [text[:6] for text in texts(documents)] == ["page 0", "page 1", "page 2"]
    (reject,) = rejects
    assert sum(map(len, packed[:3])) <= reject.offset < sum(map(len, packed))
    assert reject.reason in ("truncated", "corrupt")


@pytest.mark.parametrize("kept", [3, 9, 12, 40, 150])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
def test_a_header_that_is_cut_short_is_not_passed_over_in_silence(read_files, pack, kept):
    name = {bytes: "a.warc", gzip.compress: "a.warc.gz"}.get(pack, "a.warc.zst")
    documents, rejects = read_files({name: pack(record("one")) + pack(record("two"))[:kept]})
    assert texts(documents) == ["one"]
    assert len(rejects) == 1


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_records_compressed_together_have_offsets_of_their_own(read_files, pack):
    content = record("one") + record("two") + record("three")
    name = "a.warc.gz" if pack is gzip.compress else "a.warc.zst"
    documents, rejects = read_files({name: pack(content)})
    plain, _ = read_files({"b.warc": content})
    assert [document["source_uri"].partition("#")[2] for document in documents] == [
        document["source_uri"].partition("#")[2] for document in plain
    ]
    assert rejects == []


def test_a_file_that_is_no_archive_is_rejected(read_files):
    documents, rejects = read_files({"a.warc": b"hello\n" * 100, "b.warc.gz": b"hello\n" * 100})
    assert documents == []
    assert [(reject.offset, reject.reason) for reject in rejects] == [(0, "corrupt")] * 2


def test_an_empty_archive_gives_nothing(read_files):
    assert read_files({"a.warc": b"", "b.warc.gz": b""}) == ([], [])


@pytest.mark.parametrize(
    ("name", "documents", "rejects"),
    [
        ("warcfile.warc", 16, []),
        ("warcfile.warc.gz", 16, []),
        ("warcfile.warc.lz4", 16, []),
        ("iana.warc.gz", 18, []),
        ("example-trunc.warc", 1, ["corrupt"]),
        ("example.warc", 2, ["corrupt"]),
        ("example-wrong-chunks.warc.gz", 1, []),
    ],
)
def test_real_archives_give_their_pages(read_files, shared_data, name, documents, rejects):
    content = (shared_data / "warc_samples" / name).read_bytes()
    found, rejected = read_files({name: content})
    assert len(found) == documents
    assert [reject.reason for reject in rejected] == rejects


def test_a_real_archive_cut_in_half_gives_half_its_pages(read_files, shared_data):
    content = io.BytesIO((shared_data / "warc_samples" / "warcfile.warc.gz").read_bytes()).read(70000)
    documents, rejects = read_files({"a.warc.gz": content})
    assert len(documents) == 7
    assert [reject.reason for reject in rejects] == ["truncated"]


def passed(content):
    selection = Selection("text", None, None, 1 << 20, "a.warc")
    found = read_warc(lambda: io.BytesIO(content), None, selection, name="a.warc")
    return {item.kind: item.count for item in found if isinstance(item, Passed)}


def test_what_is_no_document_is_counted_by_its_kind():
    image = record(b"\x89PNG", headers=b"Content-Type: image/png\r\n")
    content = image + image + record("x", kind="request") + record("", headers=b"Content-Type: text/html\r\n")
    content += record("x", kind="metadata") + record("untyped", headers=b"") + record("one")
    assert passed(content) == {
        "metadata": 1,
        "no content type": 1,
        "other content type": 2,
        "request": 1,
        "status 200 without content": 1,
    }


def test_no_record_of_a_real_archive_vanishes(shared_data):
    content = (shared_data / "warc_samples" / "warcfile.warc").read_bytes()
    assert sum(passed(content).values()) + 16 == content.count(b"WARC/1.0\r\n")


@pytest.mark.parametrize("version", [b"WARC/1.0", b"WARC/0.18"])
def test_headers_may_end_in_bare_line_feeds(read_files, version):
    lines = record("<p>one</p>").replace(b"\r\n", b"\n").replace(b"WARC/1.0", version)
    size = len(b"HTTP/1.1 200 OK\nContent-Type: text/html\n\n<p>one</p>")
    lines = lines.replace(b"Content-Length: 54", b"Content-Length: %d" % size)
    assert b"Content-Length: %d\n" % size in lines
    documents, rejects = read_files({"a.warc": lines + lines})
    assert (texts(documents), rejects) == (["<p>one</p>"] * 2, [])


def test_http_headers_alone_may_end_in_bare_line_feeds(read_files):
    page = b"HTTP/1.1 404 Not Found\nContent-type: text/html\n ; charset=shift_jis\n\n" + "\u65e5\u2460".encode("cp932")
    head = b"WARC/1.0\r\nWARC-Type: response\r\nContent-Type: application/http\r\nContent-Length: %d\r\n\r\n" % len(
        page
    )
    documents, _ = read_files({"a.warc": head + page + b"\r\n\r\n"})
    assert [(document["text"], document["status"]) for document in documents] == [("\u65e5\u2460", 404)]


def test_an_interim_response_is_not_the_response(read_files):
    page = record("<p>one</p>")
    page = page.replace(b"Content-Length: 54", b"Content-Length: 79")
    page = page.replace(b"HTTP/1.1 200", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")
    assert texts(read_files({"a.warc": page})[0]) == ["<p>one</p>"]


def deflated(content):
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(content) + packer.flush()


TEXT = b"<p>" + bytes(range(97, 123)) * 40 + b"</p>"


@pytest.mark.parametrize(
    ("codings", "body"),
    [
        (b"Content-Encoding: gzip, gzip\r\n", gzip.compress(gzip.compress(TEXT))),
        (b"Content-Encoding: br\r\nContent-Encoding: gzip\r\n", gzip.compress(brotli.compress(TEXT))),
        (b"Content-Encoding: gzip\r\n", gzip.compress(TEXT[:50]) + gzip.compress(TEXT[50:])),
        (b"Content-Encoding: x-gzip\r\n", gzip.compress(TEXT) + b"garbage"),
        (b"", gzip.compress(TEXT)),
        (b"Content-Encoding: deflate\r\n", zlib.compress(TEXT)),
        (b"Content-Encoding: deflate\r\n", deflated(TEXT)),
        (b"Content-Encoding: deflate\r\n", TEXT),
        (b"Content-Encoding: br\r\n", brotli.compress(TEXT)),
        (b"Content-Encoding: br\r\n", TEXT),
        (b"Content-Encoding: zstd\r\n", zstandard.compress(TEXT[:9]) + zstandard.compress(TEXT[9:])),
        (b"Content-Encoding: UTF-8\r\n", TEXT),
        (b"Transfer-Encoding: gzip, chunked\r\n", b"%x;a=b\r\n%b\r\n0\r\n\r\n" % (len(p := gzip.compress(TEXT)), p)),
    ],
)
def test_codings_are_undone_as_browsers_do_it(read_files, codings, body):
    documents, rejects = read_files({"a.warc": record(body, headers=b"Content-Type: text/html\r\n" + codings)})
    assert (texts(documents), rejects) == ([TEXT.decode()], [])


@pytest.mark.parametrize(
    ("codings", "pack"),
    [
        (b"Content-Encoding: gzip\r\n", gzip.compress),
        (b"Content-Encoding: deflate\r\n", zlib.compress),
        (b"Content-Encoding: deflate\r\n", deflated),
        (b"Content-Encoding: br\r\n", brotli.compress),
        (b"Transfer-Encoding: chunked\r\n", lambda text: b"200\r\n%b\r\n1000\r\n%b" % (text[:512], text[512:])),
    ],
)
def test_of_a_body_that_is_cut_short_what_can_be_read_is_kept(read_files, codings, pack):
    text = "".join(f"<p>line {number * number}</p>" for number in range(200))
    body = pack(text.encode())
    documents, rejects = read_files(
        {"a.warc": record(body[: len(body) * 3 // 4], headers=b"Content-Type: text/html\r\n" + codings)}
    )
    (document,) = documents
    assert rejects == []
    assert len(document["text"]) > 100
    assert text.startswith(document["text"])


@pytest.mark.parametrize(
    ("codings", "body"),
    [
        (b"Content-Encoding: br\r\n", b"\x81\xf3\x00\xff\x07" * 40),
        (b"Content-Encoding: deflate\r\n", b"\xff\xff\x00\x01" * 40),
        (b"", zstandard.compress(TEXT)),
        (b"Content-Encoding: gzip\r\n", gzip.compress(TEXT)[:-8] + b"\xff" * 8),
    ],
)
def test_compressed_bytes_never_become_a_document(read_files, codings, body):
    documents, rejects = read_files({"a.warc": record(body, headers=b"Content-Type: text/html\r\n" + codings)})
    assert documents == []
    assert [reject.reason for reject in rejects] == ["corrupt"]


def test_a_text_that_starts_like_a_chunk_is_kept_whole(read_files):
    content = "3\r\nonce upon a time"
    page = record(content, headers=b"Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n")
    assert texts(read_files({"a.warc": page})[0]) == [content]
