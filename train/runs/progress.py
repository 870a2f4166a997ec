"""How a run goes, for people, on stderr: a live table in a terminal, else about twenty lines a run.

Shown is what a step's record has: step, loss, reward, learning rate, tokens a second, share of the measured peak (MFU), memory,
the last validation, steps that were skipped, and the time left at the pace of this part of the run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["Progress"]

LINES = 20
_COUNTS = ("count", "tokens", "bytes", "size")
"""Of a validation: how much it is measured on, which is not shown."""


class Progress:
    """Shows the records of the steps.

    Args:
        run: The run's name.
        steps: Steps of the whole run.
        clock: Seconds from any point in time.
    """

    def __init__(self, run: str, steps: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.run, self.steps, self.clock = run, steps, clock
        self.every = max(1, steps // LINES)
        self.shown: dict[str, str] = {}
        self.step = self.skipped = 0
        self.validation = ""
        self.began: tuple[int, float] | None = None
        self.live = self._start_live() if sys.stderr.isatty() else None

    def _start_live(self) -> Any:
        from rich.console import Console
        from rich.live import Live

        live = Live(console=Console(stderr=True), get_renderable=self._table, refresh_per_second=4)
        live.start()
        return live

    def __call__(self, record: dict[str, Any]) -> None:
        """Show a step."""
        self.step = record["step"]
        self.began = self.began or (self.step, self.clock())
        self.skipped += bool(record.get("skipped"))
        if "validation" in record:
            self.validation = _validation(record["validation"])
        self.shown = self._words(record)
        due = self.step % self.every == 0 or self.step == self.steps
        if not self.live and (due or "validation" in record or record.get("skipped")):
            words = ", ".join(f"{name} {value}" for name, value in self.shown.items())
            sys.stderr.write(f"train {self.run}: step {self.step}/{self.steps}, {words}\n")
            sys.stderr.flush()

    def close(self) -> None:
        """Leave the terminal as it was, with the last table in it."""
        if self.live:
            self.live.stop()

    def _words(self, record: dict[str, Any]) -> dict[str, str]:
        loss = record.get("loss")
        shown = {"loss": "not finite" if record.get("skipped") or loss is None else f"{loss:.3f}"}
        formats = {
            "reward": "{:.3f}", "failed": "{:.1%}", "learning_rate": "{:.3g}", "tokens_per_second": "{:,.0f}", "mfu": "{:.1%}",
        }  # fmt: skip
        names = {
            "failed": "rewards failed", "learning_rate": "learning rate", "tokens_per_second": "tokens/s", "mfu": "MFU",
        }  # fmt: skip
        shown |= {names.get(name, name): form.format(record[name]) for name, form in formats.items() if name in record}
        if "memory_bytes" in record:
            shown["memory"] = _size(record["memory_bytes"])
        if self.validation:
            shown["validation"] = self.validation
        if self.skipped:
            shown["skipped"] = str(self.skipped)
        left = self._left()
        return {**shown, "left": left} if left else shown

    def _left(self) -> str:
        """Time to the last step, validations and checkpoints included."""
        assert self.began
        first, then = self.began
        if self.step in (first, self.steps):
            return ""
        seconds = round((self.clock() - then) / (self.step - first) * (self.steps - self.step))
        hours, minutes = divmod(seconds // 60, 60)
        return f"{hours}:{minutes:02}:{seconds % 60:02}"

    def _table(self) -> Any:
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        table = Table.grid(padding=(0, 2))
        table.add_row(f"train {self.run}", ProgressBar(self.steps, self.step, width=40))
        table.add_row("step", f"{self.step:,} / {self.steps:,}")
        for name, value in self.shown.items():
            table.add_row(name, value)
        return table


def _validation(metrics: dict[str, Any]) -> str:
    """The metrics that are single numbers, the first two; of several tasks those of each."""
    if "bits_per_byte" in metrics:
        value = metrics["bits_per_byte"]
        return "no text" if value is None else f"{value:.3f} bits per byte"
    return ", ".join(_metrics(metrics))


def _metrics(metrics: dict[str, Any]) -> Iterator[str]:
    numbers = {
        name: value for name, value in metrics.items() if isinstance(value, (int, float)) and name not in _COUNTS
    }
    for name, value in list(numbers.items())[:2]:
        yield f"{name.replace('_', ' ')} {value:.3f}"
    for name, task in metrics.items():
        if isinstance(task, dict):
            yield f"{name}: {_validation(task)}"


def _size(count: float) -> str:
    """Bytes, in the unit that fits."""
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
