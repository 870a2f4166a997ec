"""What the bytes of a file are: text, and in which encoding; or something else."""

from __future__ import annotations

import re

__all__ = ["decoded", "kind_of"]

TEXT = "text"
BINARY_BYTES = 8000
"""Git, too, takes a file with a zero byte in its first 8,000 for no text."""
WIDE = (b"\xff\xfe", b"\xfe\xff")
LFS = b"version https://git-lfs.github.com/spec/v1"
CODING = re.compile(rb"^.{0,80}?coding[:=][ \t]*([-\w.]+)", re.MULTILINE)
"""As PEP 263 has it, and editors: in the first two lines."""


def kind_of(content: bytes) -> str:
    """`text`, or what it is instead: `binary`, `LFS pointer`."""
    if content.startswith(LFS) and len(content) < 1024:
        return "LFS pointer"
    if content.startswith(WIDE) and len(content) % 2 == 0:
        return TEXT
    return "binary" if b"\0" in content[:BINARY_BYTES] or content.startswith((b"%PDF-", b"\x89PNG")) else TEXT


def decoded(content: bytes) -> tuple[str, str]:
    """A text, and the encoding it is in: by its mark, UTF-8, that which it names, else what its bytes look like."""
    from resiliparse.parse.encoding import detect_encoding

    from curate.collect.charsets import MARKS, decode_as, find_codec

    for mark, codec in MARKS.items():
        if content.startswith(mark):
            return decode_as(content[len(mark) :], codec), codec
    try:
        return content.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        pass
    named = CODING.search(b"\n".join(content[:400].split(b"\n", 2)[:2]))
    codec = find_codec(named[1].decode("ascii", "replace")) if named else None
    codec = codec if codec not in (None, "utf-8") else find_codec(detect_encoding(content)) or "cp1252"
    return decode_as(content, codec), codec
