"""Stages of a user's own for the state machine, which edits the line `CHOICE` of this file to change the code."""

from __future__ import annotations

from typing import ClassVar

import machine_weather
import machine_words

from curate.stages.contract import Effect, Filter, Mapper, Rule, Verdicts

CHOICE = 0


class Mark(Mapper):
    """Puts `word` between marks wherever it stands, and counts it in the column `marks`."""

    batch = 4
    word: str = "river"

    def open(self):
        import pyarrow as pa

        def mark(batch):
            machine_weather.endure(batch.column("id").to_pylist())
            verdicts, counts = Verdicts(), []
            for row, text in enumerate(batch.column("text").to_pylist()):
                counts.append(text.count(self.word))
                if counts[-1]:
                    marked = text.replace(self.word, "<" * (CHOICE + 1) + self.word + ">")
                    verdicts.edit(row, marked, "marked", value=counts[-1])
            return Effect(verdicts.table(), {"marks": pa.array(counts, pa.int64())})

        return mark


class Long(Filter):
    """Drops texts of fewer than `minimum` characters, as this version of the code counts them."""

    thresholds: ClassVar = frozenset({"minimum"})
    batch = 4
    minimum: int = 20

    def open(self):
        import pyarrow as pa

        def measure(batch):
            return pa.table({"length": [len(text) + 10 * CHOICE for text in batch.column("text").to_pylist()]})

        return measure

    def rules(self):
        return [Rule("too_short", "length", minimum=self.minimum)]


class Vowels(Filter):
    """Drops texts with a larger share of vowels than `maximum`; which letters are vowels, the helper module says."""

    thresholds: ClassVar = frozenset({"maximum"})
    batch = 4
    maximum: float = 0.4

    def open(self):
        import pyarrow as pa

        def measure(batch):
            return pa.table({"vowels": [machine_words.share(text) for text in batch.column("text").to_pylist()]})

        return measure

    def rules(self):
        return [Rule("many_vowels", "vowels", maximum=self.maximum)]
