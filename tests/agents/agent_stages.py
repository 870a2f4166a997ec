"""Small stages of the agents' tests: one that counts words, and one that takes its time."""

from __future__ import annotations

import time
from pathlib import Path

import pyarrow as pa

from curate.stages.contract import Filter, Rule


class Words(Filter):
    """Drops texts of few words."""

    thresholds = frozenset({"minimum"})
    minimum: int = 4

    def open(self):
        def measure(batch):
            return pa.table({"words": [float(len(text.split())) for text in batch.column("text").to_pylist()]})

        return measure

    def rules(self):
        return [Rule("few_words", "words", minimum=self.minimum)]


class Slow(Filter):
    """Waits for each document as long as there is a file `slow` where the run was started."""

    batch = 1

    def open(self):
        def measure(batch):
            for text in batch.column("text").to_pylist():
                while Path("slow").exists() and text != "Three words here.":
                    Path("begun").touch()
                    time.sleep(0.02)
            return pa.table({"one": [1.0] * batch.num_rows})

        return measure

    def rules(self):
        return [Rule("never", "one", minimum=0)]
