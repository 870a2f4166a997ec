"""What a run shows while it works: on stderr, a bar for each phase on a terminal, else one line for each finished stage."""

from __future__ import annotations

import sys
from typing import Protocol

__all__ = ["Progress", "Quiet", "progress_for_terminal"]


class Progress(Protocol):
    """Where a run says how far it is."""

    def begin(self, phase: str, tasks: int) -> None:
        """A phase of so many tasks begins."""
        ...

    def advance(self, documents: int) -> None:
        """One task of the phase is done."""
        ...

    def stage_done(self, line: str) -> None:
        """A stage has seen all its documents."""
        ...

    def note(self, line: str) -> None:
        """Something worth knowing happened."""
        ...

    def __enter__(self) -> Progress: ...

    def __exit__(self, *_: object) -> None: ...


class Quiet:
    """Says nothing: for Python callers."""

    def begin(self, phase: str, tasks: int) -> None:
        """Nothing."""

    def advance(self, documents: int) -> None:
        """Nothing."""

    def stage_done(self, line: str) -> None:
        """Nothing."""

    def note(self, line: str) -> None:
        """Nothing."""

    def __enter__(self) -> Quiet:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class _Lines(Quiet):
    """One line a stage, for logs."""

    def stage_done(self, line: str) -> None:
        """Print it."""
        print(line, file=sys.stderr, flush=True)  # noqa: T201

    def note(self, line: str) -> None:
        """Print it."""
        print(f"note: {line}", file=sys.stderr, flush=True)  # noqa: T201


class _Bars(Quiet):
    """A bar for each phase, with the finished stages above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self.bars = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[documents]:,} documents"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self.bar = None

    def begin(self, phase: str, tasks: int) -> None:
        """Replace the bar."""
        if self.bar is not None:
            self.bars.remove_task(self.bar)
        shown = phase if len(phase) <= 48 else phase[:45] + "..."
        self.bar = self.bars.add_task(shown, total=tasks, documents=0)

    def advance(self, documents: int) -> None:
        """Move it."""
        if self.bar is not None:
            done = self.bars.tasks[-1].fields["documents"] + documents
            self.bars.update(self.bar, advance=1, documents=done)

    def stage_done(self, line: str) -> None:
        """Print it above the bar."""
        self.bars.console.print(line, markup=False, highlight=False)

    def note(self, line: str) -> None:
        """Print it above the bar."""
        self.bars.console.print(f"note: {line}", markup=False, highlight=False, style="yellow")

    def __enter__(self) -> _Bars:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()


def progress_for_terminal() -> Progress:
    """Bars where stderr is a terminal, lines elsewhere."""
    return _Bars() if sys.stderr.isatty() else _Lines()
