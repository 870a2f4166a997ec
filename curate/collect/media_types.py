"""What a file is: its media type, by its first bytes, then by its ending.

Bytes win: a PDF that is called `.txt` is a PDF. An ending counts where bytes cannot tell: which kind of text, which
document in a container. Of a type that has a mark of its own a file without that mark is not. A mark of letters alone
(`OggS`, `ID3`) is one where bytes follow that no text has: sentences begin with such letters, too.
"""

from __future__ import annotations

import re
import struct

from curate.collect.formats import ending

__all__ = ["media_type"]

UNKNOWN = "application/octet-stream"
ZIP, OLE, TEXT = "application/zip", "application/x-ole-storage", "text/plain"
OFFICE = "application/vnd.openxmlformats-officedocument."
STARTS = (
    (b"%PDF-", "application/pdf"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"PK\x03\x04", ZIP),
    (b"PK\x05\x06", ZIP),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", OLE),
    (b"{\\rtf", "application/rtf"),
    (b"%!PS", "application/postscript"),
    (b"AT&TFORM", "image/vnd.djvu"),
    (b"\x1f\x8b", "application/gzip"),
    (b"\xfd7zXZ\x00", "application/x-xz"),
    (b"\x28\xb5\x2f\xfd", "application/zstd"),
    (b"\x50\x2a\x4d\x18", "application/zstd"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
    (b"PAR1", "application/vnd.apache.parquet"),
    (b"ARROW1", "application/vnd.apache.arrow.file"),
    (b"SQLite format 3\x00", "application/vnd.sqlite3"),
    (b"OggS", "application/ogg"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
    (b"\x7fELF", "application/x-executable"),
)
PLACED = (
    (8, b"WEBP", "image/webp"),
    (8, b"WAVE", "audio/vnd.wave"),
    (4, b"ftypavif", "image/avif"),
    (4, b"ftypheic", "image/heic"),
    (4, b"ftyp", "video/mp4"),
    (60, b"BOOKMOBI", "application/x-mobipocket-ebook"),
    (257, b"ustar", "application/x-tar"),
)
OFFICES = (
    (b"word/", OFFICE + "wordprocessingml.document"),
    (b"xl/", OFFICE + "spreadsheetml.sheet"),
    (b"ppt/", OFFICE + "presentationml.presentation"),
)
REFINED: dict[str, dict[str, str]] = {
    OLE: {".doc": "application/msword", ".xls": "application/vnd.ms-excel", ".ppt": "application/vnd.ms-powerpoint",
          ".msg": "application/vnd.ms-outlook"},
    TEXT: {".html": "text/html", ".htm": "text/html", ".xhtml": "application/xhtml+xml", ".md": "text/markdown",
           ".markdown": "text/markdown", ".csv": "text/csv", ".tsv": "text/tab-separated-values",
           ".json": "application/json", ".ipynb": "application/x-ipynb+json", ".eml": "message/rfc822",
           ".tex": "text/x-tex", ".svg": "image/svg+xml"},
    UNKNOWN: {".eml": "message/rfc822"},
    "application/xml": {".xhtml": "application/xhtml+xml", ".svg": "image/svg+xml"},
}  # fmt: skip
"""What an ending tells of bytes of a general kind."""
WORDS = frozenset([*REFINED[TEXT], ".txt", ".text", ".jsonl", ".ndjson", ".log", ".rst"])
"""Endings of text: a line in it that begins as a PDF does is a line."""
PDF_BEHIND_JUNK = re.compile(rb"[\r\n]%PDF-\d\.\d[\r\n]")
MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
HEAD_BYTES = 1024
TEXT_BYTES = 4096
HTML = re.compile(rb"(?i)\s*(?:<!--.*?-->\s*)*<(!doctype\s+html|html|head|body)[\s>]", re.DOTALL)
XML_HTML = re.compile(rb"(?i)<(!doctype\s+html|html)[\s>]")
CONTROLS = re.compile(rb"[\x00-\x07\x0e-\x1a\x1c-\x1f]")
"""Bytes that no text has, in any encoding but UTF-16, which begins with a mark.

ISO-2022 has the escape 1B, manual pages strike over (08), and files of DOS end with 1A.
"""
END_OF_DOS = b"\x1a"
READABLE = (b"%PDF-", b"{\\rtf", b"%!PS")
"""Marks of files that are text."""
LONGER = ((re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"), "application/x-bzip2"),
          (re.compile(rb"WARC/\d\.\d+\r?\n"), "application/warc"))  # fmt: skip
"""Marks whose second field tells."""


MEMBER = re.compile(rb"PK\x03\x04.{22}(..)..", re.DOTALL)
"""Stands before the name of a member of a zip file, with the length of it."""


PACKAGE = re.compile(rb"\[Content_Types\]|_rels/|docProps/|word/|xl/|ppt/|META-INF/")
"""The name of a package's first member."""


def media_type(data: bytes, name: str) -> str:
    """The media type of a file's bytes; `application/octet-stream` where nothing is known."""
    found = _by_bytes(data, is_text=ending(name)[0] in WORDS)
    return REFINED.get(found, {}).get(ending(name)[0], found)


def _by_bytes(data: bytes, *, is_text: bool) -> str:
    head = data[:HEAD_BYTES]
    for pattern, found in LONGER:
        if pattern.match(head):
            return found
    first = data[:TEXT_BYTES] if len(data) > TEXT_BYTES else data.rstrip(END_OF_DOS)
    has_controls = bool(CONTROLS.search(first))
    for start, found in STARTS:
        if head.startswith(start) and (has_controls or not start.isascii() or start in READABLE):
            return _in_zip(data) if found == ZIP else found
    for place, mark, found in PLACED:
        if has_controls and head.startswith(mark, place) and (place != 8 or head.startswith(b"RIFF")):
            return found
    if not is_text and PDF_BEHIND_JUNK.search(head):
        return "application/pdf"
    return _text_type(first)


def _in_zip(data: bytes) -> str:
    """Which document a zip file is: EPUB and ODF say it in their first member, Office files by their folders.

    Sphinx makes EPUBs whose first member is another: they are known by the file that names their package.
    """
    size, extra = struct.unpack_from("<HH", data, 26) if len(data) >= 30 else (0, 0)
    if data[30 : 30 + size] == b"mimetype":
        told = re.match(rb"[\w.+-]+/[\w.+-]+", data[30 + size + extra :][:100])
        if told:
            return told[0].removesuffix(b"PK").decode()
    names = _directory(data)
    if b"[Content_Types].xml" in names:
        return next((found for folder, found in OFFICES if folder in names), ZIP)
    return "application/epub+zip" if b"META-INF/container.xml" in names else ZIP


def _directory(data: bytes) -> bytes:
    """What a zip file says of its members' names: its last part, or what stands before each where that is cut off."""
    end = data.rfind(b"PK\x05\x06", max(0, len(data) - (1 << 16) - 22))
    size, start = struct.unpack_from("<II", data, end + 12) if 0 <= end <= len(data) - 22 else (0, 0)
    if end >= 0 and start + size == end:  # else it is cut off, and what was found may be a member's
        return data[start:end]
    if not PACKAGE.match(data, 30):  # an archive, whose members may be packages
        return b""
    names = ((one.end(), int.from_bytes(one[1], "little")) for one in MEMBER.finditer(data))
    return b"\n".join(data[start : start + size] for start, size in names)


def _text_type(head: bytes) -> str:
    mark = next((mark for mark in MARKS if head.startswith(mark)), b"")
    if len(mark) == 2:
        return "text/html" if HTML.match(head[2:].replace(b"\x00", b"")) else TEXT
    rest = head[len(mark) :]
    if CONTROLS.search(rest):
        return UNKNOWN
    if HTML.match(rest):
        return "text/html"
    if rest.lstrip().startswith(b"<?xml"):
        return "application/xhtml+xml" if XML_HTML.search(rest) else "application/xml"
    return TEXT
