"""Labelled sets of ../shared/data (or `CURATE_DATA`), for benchmarks of labeling."""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from curate.labeling.features import hashed

DATA = Path(os.environ.get("CURATE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


class Labelled(NamedTuple):
    """A set: its texts, their features, their labels, how many labels there are."""

    name: str
    texts: list[str]
    features: Any
    labels: np.ndarray
    classes: int


def _lines(name: str, encoding: str = "utf-8") -> list[str]:
    return [line for line in (DATA / name).read_text(encoding).split("\n") if line.strip()]


def sms() -> list[tuple[str, int]]:
    """SMS messages, and whether they are spam."""
    rows = (line.split("\t", 1) for line in _lines("sms_spam/sms.tsv"))
    return [(text, int(label == "spam")) for label, text in rows]


def _sst2() -> list[tuple[str, int]]:
    rows = (line.rsplit("\t", 1) for name in ("train", "test") for line in _lines(f"sst2/{name}.tsv"))
    return [(text, int(label)) for text, label in rows]


def _trec() -> list[tuple[str, int]]:
    names = ("sentence_sets/TREC.train.all", "sentence_sets/TREC.test.all")
    rows = (line.split(" ", 1) for name in names for line in _lines(name, "latin-1"))
    return [(text, int(label)) for label, text in rows]


def _movies() -> list[tuple[str, int]]:
    with zipfile.ZipFile(DATA / "nltk_corpora" / "movie_reviews.zip") as archive:
        names = sorted(
            name for name in archive.namelist() if name.endswith(".txt") and ("/neg/" in name or "/pos/" in name)
        )
        return [(archive.read(name).decode("latin-1"), int("/pos/" in name)) for name in names]


def sets() -> Iterator[Labelled]:
    """All sets; texts that stand twice count once, so that none is on both sides."""
    for name, rows in (("sms_spam", sms), ("sst2", _sst2), ("trec", _trec), ("movie_reviews", _movies)):
        if len(sys.argv) > 3 and sys.argv[3] != name:
            continue
        texts, labels = zip(*dict(rows()).items(), strict=True)
        given = np.array(labels)
        yield Labelled(name, list(texts), hashed(texts), given, int(given.max()) + 1)
