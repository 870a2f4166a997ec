"""Small stages of all five kinds for the engine's tests; some misbehave on documents that tell them to.

Calls into them are noted in the file that TOY_LOG names, one line each: the class and how many documents it got.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from pathlib import Path
from typing import ClassVar

from curate.stages.contract import (
    Audit,
    Effect,
    Filter,
    Global,
    Mapper,
    Part,
    Reduced,
    Rejected,
    Rule,
    Source,
    Span,
    Verdicts,
)


def note(name, count):
    if os.environ.get("TOY_LOG"):
        with Path(os.environ["TOY_LOG"]).open("a") as log:
            log.write(f"{name} {count}\n")


def note_batch(name, batch):
    """The documents of a call; not those with which the engine lets a stage load what it needs, and say its types."""
    if batch.column("text").to_pylist() not in ([], ["Three words here."]):
        note(name, batch.num_rows)


def misbehave(texts):
    """Do what the texts say."""
    for text in texts:
        if "RAISE" in text:
            raise ValueError(f"secret words of the document: {text}")
        if "HANG" in text:
            time.sleep(1000)
        if "KILL" in text:
            os.kill(os.getpid(), signal.SIGKILL)
        if "SLOW" in text:
            time.sleep(float(os.environ.get("TOY_SLEEP", "0.01")))


class Lines(Source):
    """Reads a document from every line of the matching files; lines that begin with `!` are rejected.

    `id|text` gives a document its own id.
    """

    paths: str = "*.txt"
    token: str = ""

    def plan(self, context):
        return [
            Part(path.name, str(path), context.content_hash(path)) for path in sorted(context.root.glob(self.paths))
        ]

    def read(self, part):
        import pyarrow as pa

        note("Lines", 1)
        rows = []
        for number, line in enumerate(Path(part.location).read_text().splitlines()):
            if line.startswith("!"):
                if rows:
                    yield pa.Table.from_pylist(rows)
                rows = []
                yield Rejected(number, "bad_line", "it begins with an exclamation mark")
                continue
            identity, bar, text = line.partition("|")
            uri = f"{part.name}#{number}"
            rows.append({"id": identity if bar else uri, "text": text if bar else line, "source_uri": uri})
            if len(rows) == 50:
                yield pa.Table.from_pylist(rows)
                rows = []
        if rows:
            yield pa.Table.from_pylist(rows)


class Typed(Source):
    """Gives two shards whose columns differ: `n` is an integer in one and a float in the other, `extra` stands in one."""

    mixed: str = "float"

    def plan(self, context):
        return [Part("a", "a", "a"), Part("b", "b", "b")]

    def read(self, part):
        import pyarrow as pa

        texts = {"id": [f"{part.name}{i}" for i in range(3)], "text": ["x", "yy", "zzz"]}
        texts["source_uri"] = [f"{part.name}#{i}" for i in range(3)]
        if part.name == "a":
            yield pa.table({**texts, "n": [1, 2, 3], "nothing": pa.nulls(3)})
        else:
            other = {"float": [0.5, 1.5, None], "list": [[1], [2], []]}[self.mixed]
            yield pa.table({**texts, "n": other, "nothing": ["p", "q", "r"], "a.dotted": [1, 2, 3]})


class Shout(Mapper):
    """Writes texts that hold `word` in capitals."""

    libraries: ClassVar = ("pyarrow",)
    batch = 20
    word: str = "a"
    token: str = ""

    def open(self):
        def shout(batch):
            note_batch("Shout", batch)
            verdicts, texts = Verdicts(), batch.column("text").to_pylist()
            misbehave(texts)
            for row, text in enumerate(texts):
                if self.word in text:
                    verdicts.edit(row, text.upper(), "shouted", value=len(text), spans=[Span(0, len(text), "all")])
            return Effect(verdicts.table(), {})

        return shout


class Label(Mapper):
    """Adds the column `label`: what the model file says."""

    batch = 20
    model: str
    column: str = "label"

    def model_files(self):
        return [Path(self.model)]

    def open(self):
        import pyarrow as pa

        word = Path(self.model).read_text()

        def label(batch):
            note_batch("Label", batch)
            return Effect(Verdicts().table(), {self.column: pa.array([word] * batch.num_rows)})

        return label


class Infers(Mapper):
    """Adds the column `value`: what the text says as JSON, in whatever type Arrow finds for a batch of them."""

    batch = 20
    declare: str = ""

    def open(self):
        import pyarrow as pa

        def infer(batch):
            values = [json.loads(text) for text in batch.column("text").to_pylist()]
            typed = pa.array(values, pa.type_for_alias(self.declare)) if self.declare else pa.array(values)
            return Effect(Verdicts().table(), {"value": typed})

        return infer


class Long(Filter):
    """Drops texts that are shorter than `minimum` or longer than `maximum`."""

    thresholds = frozenset({"minimum", "maximum"})
    carries = ("length",)
    batch = 20
    minimum: int | None = None
    maximum: int | None = None
    scale: int = 1

    def open(self):
        import pyarrow as pa
        import pyarrow.compute as compute

        def measure(batch):
            note_batch("Long", batch)
            misbehave(batch.column("text").to_pylist())
            length = compute.multiply(compute.utf8_length(batch.column("text")), self.scale)
            return pa.table({"length": length.cast("int64")})

        return measure

    def rules(self):
        return [Rule("too_short", "length", minimum=self.minimum), Rule("too_long", "length", maximum=self.maximum)]


class Letters(Audit):
    """Counts letters."""

    batch = 20
    letter: str = "e"

    def open(self):
        import pyarrow as pa
        import pyarrow.compute as compute

        def measure(batch):
            note_batch("Letters", batch)
            misbehave(batch.column("text").to_pylist())
            return pa.table({"letters": compute.count_substring(batch.column("text"), self.letter)})

        return measure


class Copies(Global):
    """Drops all but the first of equal texts."""

    batch = 20
    keep: bool = False

    def open(self):
        import pyarrow as pa

        def sign(batch):
            note_batch("Copies", batch)
            texts = batch.column("text").to_pylist()
            misbehave(texts)
            return pa.table({"hash": [hashlib.sha256(text.encode()).hexdigest() for text in texts]})

        return sign

    def reduce(self, signatures):
        import pyarrow as pa

        note("reduce", signatures.num_rows)
        first, verdicts, clusters, pairs = {}, Verdicts(), [], []
        rows = zip(signatures.column("hash").to_pylist(), signatures.column("id").to_pylist(), strict=True)
        for row, (signature, identity) in enumerate(rows):
            if signature in first:
                original, _ = first[signature]
                pairs.append((original, identity))
                if not self.keep:
                    verdicts.drop(row, "duplicate", duplicate_of=original)
            clusters.append(first.setdefault(signature, (identity, row))[0])
        table = pa.table({"left": [pair[0] for pair in pairs], "right": [pair[1] for pair in pairs]})
        return Reduced(verdicts.table(), {"cluster": pa.array(clusters, pa.string())}, {"pairs": table})


class Halves(Mapper):
    """Splits by the last digit of the id: even is `train`, odd is `test`."""

    def open(self):
        import pyarrow as pa

        def split(batch):
            names = ["test" if int(identity[-1]) % 2 else "train" for identity in batch.column("id").to_pylist()]
            return Effect(Verdicts().table(), {"split": pa.array(names)})

        return split


class Overwrites(Mapper):
    """Wrongly gives a column `text`."""

    def open(self):
        return lambda batch: Effect(Verdicts().table(), {"text": batch.column("id")})


class Unfinished(Mapper):
    """Dies before it has seen a document."""

    how: str = "raise"

    def open(self):
        if self.how == "raise":
            raise ValueError("no such model")
        if self.how == "slow":
            time.sleep(2.5)
            return lambda batch: Effect(Verdicts().table())
        os.kill(os.getpid(), signal.SIGKILL)


class Picky(Mapper):
    """Refuses its setting with words that hold it."""

    from pydantic import field_validator

    token: str = ""

    @field_validator("token")
    @classmethod
    def _refuse(cls, token):
        raise ValueError(f"{token} is no good")


class Narrow(Long):
    """The same, of the text alone, with nothing carried on."""

    carries = ()

    def columns(self):
        return ()


class Trims(Narrow):
    """Cuts what is behind `maximum` letters off, and drops texts that are shorter than `minimum`."""

    def decide(self, features):
        verdicts = Verdicts()
        for row, length in enumerate(features.column("length").to_pylist()):
            if length < self.minimum:
                verdicts.drop(row, "too_short", value=length, threshold=self.minimum)
            elif length > self.maximum:
                verdicts.cut(row, "trimmed", value=length, spans=[Span(self.maximum, length, "rest")])
        return verdicts.table()


class Between(Narrow):
    """The same with one reason for both thresholds, and no rule for one that is off."""

    def rules(self):
        return [
            rule._replace(reason="length") for rule in super().rules() if (rule.minimum, rule.maximum) != (None, None)
        ]
