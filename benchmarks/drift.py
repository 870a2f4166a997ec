"""`curate data drift`: how often it calls random halves of real documents different, and how often it finds a tenth of others.

    python benchmarks/drift.py --data FOLDER [--halves 400] [--planted 200]

Documents are sentences of SST-2 (sst2/train.tsv), with what `gopher_quality`, `gopher_repetition` and `fineweb` measure
of them, their length, and why they would leave. A side has 1,000 or 2,000. Alarms: two sides that were drawn from
the same sentences, without one in both. Planted: of the second side a tenth are captions, in German or in English
(multi30k), or messages (sms_spam); found is what names any column. Nothing tells of which kind a document is but what was
measured of it.
"""

from __future__ import annotations

import argparse
import gzip
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from machine import machine

from curate.browse.drift import Side, drift
from curate.filter.fineweb import FineWeb
from curate.filter.gopher import GopherQuality, GopherRepetition

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SIZES = (1000, 2000)


class Measured(NamedTuple):
    """Columns of documents: numbers by name, and the reasons for which they would leave."""

    numbers: dict[str, np.ndarray]
    reasons: tuple[np.ndarray, list[str]]

    @property
    def features(self):
        """Names of the numbers."""
        return list(self.numbers)

    @property
    def facets(self):
        """Names of the columns of names."""
        return ["reason"]

    def feature(self, name):
        """Of each document a number."""
        return self.numbers[name]

    def facet(self, name):
        """Of each document a name."""
        return self.reasons

    def take(self, rows):
        """Some of the documents."""
        codes, names = self.reasons
        return Measured({name: values[rows] for name, values in self.numbers.items()}, (codes[rows], names))


def measure(texts: list[str]) -> Measured:
    """What three filters measure of texts."""
    table = pa.table({"text": texts, "id": [str(at) for at in range(len(texts))]})
    numbers = {"length": np.array([len(text.encode()) for text in texts], np.float64)}
    codes, names = np.full(len(texts), -1, np.int32), list[str]()
    for stage in (GopherQuality(), GopherRepetition(), FineWeb()):
        found = stage.open()(table)
        for name in found.column_names:
            if pa.types.is_floating(found.schema.field(name).type) or pa.types.is_integer(
                found.schema.field(name).type
            ):
                numbers[f"{type(stage).__name__}.{name}"] = found.column(name).cast("float64").to_numpy()
        for row in stage.decide(found).to_pylist():
            if codes[row["row"]] < 0:
                if row["reason"] not in names:
                    names.append(row["reason"])
                codes[row["row"]] = names.index(row["reason"])
    return Measured(numbers, (codes, names))


def together(parts: list[Measured]) -> Measured:
    """All documents of several, one after the other."""
    names = list(dict.fromkeys(name for one in parts for name in one.reasons[1]))
    codes = [np.array([*(names.index(name) for name in one.reasons[1]), -1], np.int32)[one.reasons[0]] for one in parts]
    numbers = {name: np.concatenate([one.numbers[name] for one in parts]) for name in parts[0].numbers}
    return Measured(numbers, (np.concatenate(codes), names))


def lines(path: Path) -> list[str]:
    """The lines of a file, which may be gzip."""
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8", "replace").splitlines()


def is_drift(first: Measured, other: Measured) -> bool:
    """Whether any column has drifted."""
    whole = [np.ones(len(one.reasons[0]), bool) for one in (first, other)]
    return bool(drift(Side(first, whole[0]), Side(other, whole[1])).drifted)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--halves", type=int, default=400)
    parser.add_argument("--planted", type=int, default=200)
    asked = parser.parse_args()
    texts = list(dict.fromkeys(line.split("\t")[0] for line in lines(asked.data / "sst2" / "train.tsv")))[:30_000]
    base = measure(texts)
    raw = asked.data / "multi30k" / "raw"
    messages = [line.split("\t")[1] for line in lines(asked.data / "sms_spam" / "sms.tsv") if "\t" in line]
    kinds = {
        "captions, German": lines(raw / "train.de.gz")[:3000], "captions, English": lines(raw / "train.en.gz")[:3000],
        "messages": messages[:3000],
    }  # fmt: skip
    print(machine())
    print(f"{len(texts):,} sentences, {len(base.numbers)} numbers and the reasons of each")
    print("| documents a side | alarms of halves | " + " | ".join(f"{kind} found" for kind in kinds) + " | CPU ms |")
    others = {kind: measure(some) for kind, some in kinds.items()}
    for size in SIZES:
        started, alarms = time.process_time(), 0
        for seed in range(asked.halves):
            rows = np.random.default_rng(seed).choice(len(texts), 2 * size, replace=False)
            alarms += is_drift(base.take(rows[:size]), base.take(rows[size:]))
        spent = (time.process_time() - started) * 1000 / asked.halves
        cells = []
        for other in others.values():
            found = 0
            for seed in range(asked.planted):
                random = np.random.default_rng(seed)
                rows = random.choice(len(texts), 2 * size, replace=False)
                strange = other.take(random.choice(len(other.reasons[0]), size // 10, replace=False))
                found += is_drift(
                    base.take(rows[:size]), together([base.take(rows[size : 2 * size - size // 10]), strange])
                )
            cells.append(f"{found} of {asked.planted}")
        print(f"| {size:,} | {alarms} of {asked.halves} | {' | '.join(cells)} | {spent:.0f} |", flush=True)


if __name__ == "__main__":
    main()
