"""How a run goes, for people, on stderr: a live bar in a terminal, else about twenty lines a run."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["Progress"]

LINES = 20


class Progress:
    """Shows the records of the steps.

    Args:
        run: The run's name.
        steps: Steps of the whole run.
    """

    def __init__(self, run: str, steps: int) -> None:
        self.run, self.steps = run, steps
        self.every = max(1, steps // LINES)
        self.validation = ""
        self.bar = self._start_bar() if sys.stderr.isatty() else None

    def _start_bar(self) -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        bar = Bar(*columns, console=Console(stderr=True))
        self.task = bar.add_task(f"train {self.run}", total=self.steps)
        bar.start()
        return bar

    def __call__(self, record: dict[str, Any]) -> None:
        """Show a step."""
        if "validation" in record:
            self.validation = f", validation {record['validation']['bits_per_byte']:.3f} bits per byte"
        words = f"loss {record['loss']:.3f}{self.validation}, {record['tokens_per_second']:,.0f} tokens/s"
        if self.bar:
            self.bar.update(self.task, completed=record["step"], description=f"train {self.run}: {words}")
        elif record["step"] % self.every == 0 or record["step"] == self.steps or "validation" in record:
            sys.stderr.write(f"train {self.run}: step {record['step']}/{self.steps}, {words}\n")
            sys.stderr.flush()

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self.bar:
            self.bar.stop()
