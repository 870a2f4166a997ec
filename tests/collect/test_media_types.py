"""What a file is, by its bytes and its ending."""

import io
import zipfile

import pytest

from curate.collect.media_types import media_type

OFFICE = "application/vnd.openxmlformats-officedocument."


def zipped(*members, stored=()):
    """A zip file of these names; `stored` is a name and content that comes first, not compressed."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        if stored:
            archive.writestr(zipfile.ZipInfo(stored[0]), stored[1])
        for name in members:
            archive.writestr(name, "x" * 100)
    return file.getvalue()


DOCX = zipped("[Content_Types].xml", "docProps/app.xml", "word/document.xml")


@pytest.mark.parametrize(
    ("data", "name", "found"),
    [
        (b"%PDF-1.7\n", "a.pdf", "application/pdf"),
        (b"junk before\n%PDF-1.4\n", "a", "application/pdf"),
        (b"%PDF-1.7\n", "a.txt", "application/pdf"),
        (b"plain words", "a.pdf", "text/plain"),
        (b"plain words", "a", "text/plain"),
        (b"# words", "a.md", "text/markdown"),
        (b"# words", "a.MD.gz", "text/markdown"),
        (b"<p>words</p>", "a.html", "text/html"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html>", "a.txt", "text/html"),
        (b"<!-- a -->\n<HTML lang=en>", "a", "text/html"),
        ("<html>".encode("utf-16"), "a", "text/html"),
        ("words".encode("utf-16"), "a", "text/plain"),
        (b"<?xml version='1.0'?><html xmlns='x'>", "a", "application/xhtml+xml"),
        (b"<?xml version='1.0'?><feed>", "a.xml", "application/xml"),
        (b"<?xml version='1.0'?><svg>", "a.svg", "image/svg+xml"),
        (b"\x89PNG\r\n\x1a\n", "a.jpg", "image/png"),
        (b"\xff\xd8\xff\xe0", "a", "image/jpeg"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "a", "image/webp"),
        (b"\x00\x00\x00\x1cftypavif", "a", "image/avif"),
        (b"abcdefghWEBP", "a.txt", "text/plain"),
        (DOCX, "a.zip", OFFICE + "wordprocessingml.document"),
        (zipped("[Content_Types].xml", "xl/workbook.xml"), "a", OFFICE + "spreadsheetml.sheet"),
        (zipped("word/document.xml"), "a.docx", "application/zip"),
        (zipped("inner", stored=("inner.docx", DOCX)), "a.zip", "application/zip"),
        (zipped("OEBPS/a.xhtml", stored=("mimetype", "application/epub+zip")), "a", "application/epub+zip"),
        (zipped("content.xml", stored=("mimetype", "application/vnd.oasis.opendocument.text")), "a",
         "application/vnd.oasis.opendocument.text"),
        (DOCX[:-30], "a.docx", OFFICE + "wordprocessingml.document"),
        (zipped("inner", stored=("inner.docx", DOCX))[:-30], "a.zip", "application/zip"),
        (b"PK\x03\x04", "a", "application/zip"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a.doc", "application/msword"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a", "application/x-ole-storage"),
        (b"\x00\x01\x02", "a.txt", "application/octet-stream"),
        (b"caf\xe9", "a", "text/plain"),
        (b"words\r\n\x1a", "a.txt", "text/plain"),
        (b"N\x08NA\x08AME", "a.txt", "text/plain"),
        (b"Subject: x\n\n%PDF-1.4\nhow to", "a.eml", "message/rfc822"),
        (b"ID3\x04\x00\x00\x00\x00", "a.mp3", "audio/mpeg"),
        (b"BZh91AY&SY", "a.txt", "application/x-bzip2"),
        (b"WARC/1.0\r\nWARC-Type: warcinfo", "a", "application/warc"),
        (b"\x1b$B$3$l\x1b(B", "a.txt", "text/plain"),
    ],
)  # fmt: skip
def test_bytes_come_before_the_ending(data, name, found):
    assert media_type(data, name) == found


def test_every_real_web_page_and_pdf_is_seen_as_one(shared_data):
    import gzip

    pages = sorted((shared_data / "zyte_article_extraction" / "html").iterdir())
    assert {media_type(gzip.decompress(path.read_bytes()), "page") for path in pages} == {"text/html"}
    book = shared_data / "pdf_book"
    assert media_type((book / "two_columns.pdf").read_bytes(), "x") == "application/pdf"
    assert media_type((book / "text.txt").read_bytes(), "x") == "text/plain"
