"""Stages whose columns Parquet does not give back in the types that they were written in, and one whose worker dies once."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from curate.stages.contract import Effect, Filter, Mapper, Rule, Span, Verdicts


class Words(Mapper):
    """Attaches lists of words and a time in seconds; edits with spans that have a rule."""

    batch = 20

    def open(self):
        import pyarrow as pa

        def split(batch):
            verdicts, texts = Verdicts(), batch.column("text").to_pylist()
            for row, text in enumerate(texts):
                if text.endswith("3"):
                    verdicts.edit(row, text[:-1], "cut", spans=[Span(len(text) - 1, len(text), "digit", rule="three")])
            words = pa.array([text.split() for text in texts], pa.list_(pa.string()))
            return Effect(verdicts.table(), {"words": words, "at": pa.array([0] * len(texts), pa.timestamp("s"))})

        return split


class Dies(Filter):
    """Kills its worker as long as the file `marker` is there, and removes it."""

    batch = 20
    marker: str

    def open(self):
        import pyarrow as pa

        def measure(batch):
            if Path(self.marker).exists() and batch.num_rows > 5:
                Path(self.marker).unlink()
                os.kill(os.getpid(), signal.SIGKILL)
            return pa.table({"nothing": [0.0] * batch.num_rows})

        return measure

    def rules(self):
        return [Rule("something", "nothing", maximum=1)]
