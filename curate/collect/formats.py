"""Which format and which compression a file has: told by the ending of its name, and held against its first bytes.

A name may end in a compression (`.gz`, `.zst`, `.xz`, `.bz2`; `.lz4` for WARC files) after the format (`.jsonl`). Where the
ending says nothing, bytes with a mark of their own decide; bytes with a mark of something else than the ending says are not
read as either.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = [
    "ARCHIVES", "COMPRESSIONS", "CUT_BY_LINES", "DELIMITERS", "ENDINGS", "STREAMED", "TEXTUAL", "UNDONE", "FileType", "Format",
    "ending", "file_type", "mismatch", "type_by_bytes",
]  # fmt: skip

Format = Literal[
    "jsonl",
    "json",
    "csv",
    "tsv",
    "parquet",
    "arrow",
    "lines",
    "text",
    "markdown",
    "html",
    "warc",
    "mbox",
    "zip",
    "tar",
    "binary",
]

ENDINGS: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".txt": "text",
    ".text": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".warc": "warc",
    ".wet": "warc",
    ".mbox": "mbox",
    ".zip": "zip",
    ".tar": "tar",
    **dict.fromkeys((".pdf", ".docx", ".docm", ".pptx", ".pptm", ".xlsx", ".xlsm", ".odt", ".ods", ".odp"), "binary"),
    **dict.fromkeys((".doc", ".xls", ".ppt", ".epub", ".eml", ".ipynb", ".tex"), "binary"),
}
COMPRESSIONS = {".gz": "gz", ".zst": "zst", ".zstd": "zst", ".xz": "xz", ".bz2": "bz2", ".lz4": "lz4"}
TARS = {".tgz": ".gz", ".tbz2": ".bz2", ".txz": ".xz", ".tzst": ".zst"}
STREAMED = ("gz", "zst", "xz", "bz2")
UNDONE: dict[Format, tuple[str, ...]] = {"warc": ("gz", "zst", "lz4"), "parquet": (), "arrow": (), "zip": ()}
"""Compressions that are undone for a format, where these are not the streamed ones."""
ARCHIVES = ("zip", "tar")
DELIMITERS = {"csv": ",", "tsv": "\t"}
CUT_BY_LINES = ("jsonl", "lines")
TEXTUAL = ("jsonl", "json", "csv", "tsv", "lines", "text", "markdown")
"""Formats that are read as UTF-8, or in the encoding that the source names."""
MARKED: dict[str, Format] = {
    "application/vnd.apache.parquet": "parquet",
    "application/vnd.apache.arrow.file": "arrow",
    "application/warc": "warc",
    "application/zip": "zip",
    "application/x-tar": "tar",
    "text/html": "html",
    "application/xhtml+xml": "html",
}
"""Media types that bytes alone tell, and the formats that they are; all others are `binary`."""
PACKED = {
    "application/gzip": "gz", "application/zstd": "zst", "application/x-xz": "xz", "application/x-bzip2": "bz2",
}  # fmt: skip
PLAIN = ("text/plain", "text/html", "application/xml", "application/xhtml+xml", "application/octet-stream")
"""Media types that are no mark: text of some kind, and bytes of no known kind."""


class FileType(NamedTuple):
    """A format (None where the ending does not tell) and a compression (None where there is none)."""

    format: Format | None
    compression: str | None


def ending(name: str) -> tuple[str, str | None]:
    """The ending that tells what a file is, in lower case and with its dot, and the compression around it."""
    rest, dot, last = name.lower().rpartition(".")
    if dot + last in TARS:
        return ".tar", COMPRESSIONS[TARS[dot + last]]
    compression = COMPRESSIONS.get(dot + last)
    if compression:
        _, dot, last = rest.rpartition(".")
    return dot + last, compression


def file_type(name: str) -> FileType:
    """What the endings of a file name tell, whatever their case."""
    last, compression = ending(name)
    return FileType(ENDINGS.get(last), compression)


def type_by_bytes(seen: str) -> FileType:
    """What the media type of a file's first bytes says of one whose ending says nothing."""
    if seen in PACKED:
        return FileType(None, PACKED[seen])
    return FileType(MARKED.get(seen) or (None if seen in PLAIN else "binary"), None)


def mismatch(told: FileType, seen: str) -> str | None:
    """How the first bytes of a file contradict its ending, in words; None where they do not.

    Args:
        told: What the ending says; with a format.
        seen: The media type of the first bytes.
    """
    packed = PACKED.get(seen)
    if seen in PLAIN or (told.format == "binary" and not told.compression):
        return None
    if packed == told.compression and (packed or MARKED.get(seen) == told.format):
        return None
    return f"its bytes are {seen}"
