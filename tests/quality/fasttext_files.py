"""fastText files of random numbers, of any kind that the format knows, for what reads them to be compared with fastText."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

LOSSES = {"hs": 1, "ns": 2, "softmax": 3, "ova": 4}


def write_model(
    path: Path, *, words, labels, dim=6, loss="softmax", ngrams=1, characters=(0, 0), buckets=300, quantized=None,
    kept=None, kind=3, version=12, seed=0,
) -> Path:  # fmt: skip
    """Write a model.

    Args:
        words: Its words; `</s>` is added.
        labels: Names without `__label__`.
        characters: Shortest and longest run.
        quantized: Numbers of a part; with `norm` or `output` in a tuple behind it.
        kept: How many buckets are left after pruning; None: it was not pruned.
        kind: 3 is supervised.
    """
    random = np.random.default_rng(seed)
    entries = ["</s>", *words]
    rows = len(entries) + (buckets if kept is None else kept)
    part, *more = quantized if isinstance(quantized, tuple) else (quantized,)
    head = struct.pack("<2i", 793712314, version)
    head += struct.pack("<12id", dim, 5, 1, 1, 5, ngrams, LOSSES[loss], kind, buckets, *characters, 100, 1e-4)
    head += struct.pack(
        "<3i2q", len(entries) + len(labels), len(entries), len(labels), 1000, -1 if kept is None else kept
    )
    for number, name in enumerate([*entries, *(f"__label__{label}" for label in labels)]):
        is_label = number >= len(entries)
        count = 7 * (len(entries) + len(labels) - number) if is_label else 5000 - number
        head += name.encode() + struct.pack("<bqb", 0, count, is_label)
    if kept:
        chosen = random.permutation(buckets)[:kept]
        head += b"".join(struct.pack("<2i", int(bucket), row) for row, bucket in enumerate(chosen))
    head += struct.pack("<?", part is not None)
    head += _codes(random, rows, dim, part, "norm" in more) if part else _dense(random, rows, dim)
    head += struct.pack("<?", "output" in more)
    head += (
        _codes(random, len(labels), dim, part, "norm" in more) if "output" in more else _dense(random, len(labels), dim)
    )
    path.write_bytes(head)
    return path


def _dense(random, rows, dim) -> bytes:
    return struct.pack("<2q", rows, dim) + random.standard_normal((rows, dim)).astype("<f4").tobytes()


def _codes(random, rows, dim, part, norm) -> bytes:
    parts = -(-dim // part)
    said = struct.pack("<?2qi", norm, rows, dim, rows * parts)
    said += random.integers(0, 256, rows * parts).astype("u1").tobytes() + _centroids(random, dim, part)
    if norm:
        said += random.integers(0, 256, rows).astype("u1").tobytes() + _centroids(random, 1, 1)
    return said


def _centroids(random, dim, part) -> bytes:
    parts = -(-dim // part)
    said = struct.pack("<4i", dim, parts, part, dim - (parts - 1) * part)
    return said + random.standard_normal(dim * 256).astype("<f4").tobytes()
