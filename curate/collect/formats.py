"""Which format and which compression a file has: told by the ending of its name.

A name may end in a compression (`.gz`, `.zst`, `.xz`, `.bz2`; `.lz4` for WARC files) after the format (`.jsonl`).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["COMPRESSIONS", "ENDINGS", "STREAMED", "UNDONE", "FileType", "Format", "file_type"]

Format = Literal["jsonl", "csv", "tsv", "parquet", "arrow", "text", "markdown", "html", "warc", "binary"]

ENDINGS: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
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
}
COMPRESSIONS = {".gz": "gz", ".zst": "zst", ".zstd": "zst", ".xz": "xz", ".bz2": "bz2", ".lz4": "lz4"}
STREAMED = ("gz", "zst", "xz", "bz2")
UNDONE: dict[Format, tuple[str, ...]] = {"warc": ("gz", "zst", "lz4"), "parquet": (), "arrow": ()}
"""Compressions that are undone for a format, where these are not the streamed ones."""


class FileType(NamedTuple):
    """A format (None where the ending does not tell) and a compression (None where there is none)."""

    format: Format | None
    compression: str | None


def file_type(name: str) -> FileType:
    """What the endings of a file name tell, whatever their case."""
    rest, dot, ending = name.lower().rpartition(".")
    compression = COMPRESSIONS.get(dot + ending)
    if compression:
        _, dot, ending = rest.rpartition(".")
    return FileType(ENDINGS.get(dot + ending), compression)
