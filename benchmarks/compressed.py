"""One JSON lines file of 200 MB, compressed in several ways: how many parts it becomes, and what reading them costs.

    python benchmarks/compressed.py

CPU seconds of planning without hashing, of reading all parts, and of the longest part, which is what a run waits for with
enough workers. Texts are random words of a small vocabulary, from a fixed seed; shards of 32 MB.
"""

from __future__ import annotations

import gzip
import json
import random
import struct
import tempfile
import time
import zlib
from pathlib import Path

import zstandard

from curate.collect.files import Files
from curate.stages.contract import SourceContext

WORDS = [
    "the",
    "of",
    "and",
    "to",
    "a",
    "in",
    "that",
    "is",
    "was",
    "with",
    "have",
    "be",
    "this",
    "from",
    "they",
    "which",
    "at",
    "on",
    "by",
    "river",
    "mill",
    "stone",
    "bridge",
]
MEGABYTES, FRAME, BLOCK = 200, 4 << 20, 65280


def text() -> bytes:
    """The lines."""
    draw, lines, size = random.Random(1), [], 0
    while size < MEGABYTES * 1_000_000:
        line = json.dumps({"text": " ".join(draw.choices(WORDS, k=draw.randint(60, 400)))}).encode() + b"\n"
        lines.append(line)
        size += len(line)
    return b"".join(lines)


def block(piece: bytes) -> bytes:
    """A block of bgzf."""
    deflate = zlib.compressobj(6, wbits=-15)
    data = deflate.compress(piece) + deflate.flush()
    head = b"\x1f\x8b\x08\x04" + bytes(4) + b"\0\xff" + struct.pack("<HBBHH", 6, 66, 67, 2, len(data) + 25)
    return head + data + struct.pack("<II", zlib.crc32(piece), len(piece))


def pieces(data: bytes, size: int) -> list[bytes]:
    """The data in pieces of one size."""
    return [data[start : start + size] for start in range(0, len(data), size)]


def main() -> None:
    """Write the files, read them part by part, print a row for each."""
    data, zstd = text(), zstandard.ZstdCompressor(3)
    files = {
        "plain.jsonl": data,
        "frames.jsonl.zst": b"".join(map(zstd.compress, pieces(data, FRAME))),
        "one.jsonl.zst": zstd.compress(data),
        "blocks.jsonl.gz": b"".join(map(block, [*pieces(data, BLOCK), b""])),
        "one.jsonl.gz": gzip.compress(data, 6),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
            source, began = Files(paths=[name]), time.process_time()
            parts = source.plan(SourceContext(Path(folder), 32_000_000, str))
            planned, spent = time.process_time() - began, []
            for part in parts:
                began = time.process_time()
                sum(piece.num_rows for piece in source.read(part))  # type: ignore[union-attr]
                spent.append(time.process_time() - began)
            print(
                f"{name:18} {len(content) / 1e6:5.0f} MB, {len(parts):2} parts: plan {planned:6.4f} s, "
                f"all {sum(spent):5.2f} s, longest {max(spent):5.2f} s"
            )


if __name__ == "__main__":
    main()
