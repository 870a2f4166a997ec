"""What a run shows while it works: on stderr, a bar for each phase on a terminal, else one line for each finished stage."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol

from curate.errors import GateError
from curate.terminal import visible

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Progress", "Quiet", "progress_for_terminal"]

LINES = 12
"""Finished stages that are shown below the bar, the newest ones."""
BESIDE_THE_TITLE = 76
"""Columns that the bar and its numbers take."""


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
        print(visible(line), file=sys.stderr, flush=True)  # noqa: T201

    def note(self, line: str) -> None:
        """Print it."""
        print(visible(f"note: {line}"), file=sys.stderr, flush=True)  # noqa: T201


class _Bars(Quiet):
    """A bar for the phase, and below it the stages that are finished.

    Where stdout is a terminal too, the command's table follows there and tells it all: the lines go then, unless the run
    fails. Else they stay.
    """

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self.console = Console(stderr=True)
        self.bars = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[documents]:,} documents"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
        )
        self.bar = None
        self.finished: list[str] = []
        self.passing = sys.stdout.isatty()
        self.live = Live(get_renderable=self._shown, console=self.console, transient=True, redirect_stdout=False)

    def _shown(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        return Group(
            self.bars, *(Text(visible(line), no_wrap=True, overflow="ellipsis") for line in self.finished[-LINES:])
        )

    def begin(self, phase: str, tasks: int) -> None:
        """Replace the bar."""
        if self.bar is not None:
            self.bars.remove_task(self.bar)
        title = _title(visible(phase), max(24, self.console.width - BESIDE_THE_TITLE))
        self.bar = self.bars.add_task(title, total=tasks, documents=0)

    def advance(self, documents: int) -> None:
        """Move it."""
        if self.bar is not None:
            done = self.bars.tasks[-1].fields["documents"] + documents
            self.bars.update(self.bar, advance=1, documents=done)

    def stage_done(self, line: str) -> None:
        """Print it above the bar, or show it below."""
        if self.passing:
            self.finished.append(line)
        else:
            self._print(line)

    def note(self, line: str) -> None:
        """Print it above the bar."""
        self._print(f"note: {line}", style="yellow")

    def _print(self, line: str, style: str | None = None) -> None:
        self.console.print(visible(line), markup=False, highlight=False, style=style)

    def __enter__(self) -> _Bars:
        self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.live.stop()
        # a failed gate prints the table too
        if isinstance(error[1], BaseException) and not isinstance(error[1], GateError):
            for line in self.finished:
                self._print(line)


def _title(phase: str, width: int) -> str:
    """The names of a phase's stages, as many as there is room for, and how many more there are."""
    names = phase.split(" > ")
    for count in range(len(names), 0, -1):
        left = [] if count == len(names) else [f"{len(names) - count} more"]
        title = " > ".join([*names[:count], *left])
        if len(title) <= width:
            return title
    return names[0] if len(names) == 1 else f"{names[0]} > {len(names) - 1} more"


def progress_for_terminal() -> Progress:
    """Bars where stderr is a terminal, lines elsewhere."""
    return _Bars() if sys.stderr.isatty() else _Lines()
