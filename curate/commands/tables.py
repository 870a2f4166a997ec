"""Tables on stdout, plain text: columns as wide as they need to be, numbers to the right."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from typing import Any

from curate.terminal import echo, visible

__all__ = ["balance", "decimal", "print_facts", "print_funnel", "print_table", "print_wrapped", "reading_width"]

WIDEST = 100
"""Columns that are still easy to read, however wide the terminal; and what is assumed where there is none."""


def balance(counts: dict[str, int]) -> str:
    """Where all documents are: what came in, and was made, against what became of it."""
    made = f" + {counts['made']:,} made" if "made" in counts else ""
    gone = [f"{counts[name]:,} {name}" for name in ("dropped", "quarantined", "expanded") if name in counts]
    return f"{counts['in']:,} documents in{made} = {counts['kept']:,} kept + {' + '.join(gone)}"


def print_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows under a header; numbers are grouped and to the right, with `?` among them where one is not known."""
    shown = [list(header), *([_text(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in shown) for column in range(len(header))]
    right = [_is_numeric([row[column] for row in rows]) for column in range(len(header))]
    for line in shown:
        cells = [
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(line, widths, right, strict=True)
        ]
        echo("  ".join(cells).rstrip())


def decimal(value: float | None, sign: str = "") -> str:
    """A number with four decimals, or with three digits and an exponent from a million on; a zero has no sign."""
    if value is None:
        return "-"
    if abs(value) >= 1e6:
        return f"{value:{sign}.2e}"
    shown = f"{value:{sign},.4f}"
    return shown if shown.strip("+-0.,") else "0.0000"


def _text(cell: Any) -> str:
    if isinstance(cell, float):
        return f"{cell:,.1f}"
    return f"{cell:,}" if isinstance(cell, int) else visible(cell if cell is not None else "-", in_one_line=True)


def _is_numeric(cells: Sequence[Any]) -> bool:
    numbers = [cell for cell in cells if cell not in (None, "?")]
    return bool(numbers) and all(isinstance(cell, int | float) for cell in numbers)


def reading_width() -> int:
    """Columns that text may take: those of the terminal, up to `WIDEST`."""
    return max(40, min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns))


def print_wrapped(text: str, *, indent: int = 0) -> None:
    """Print paragraphs, each filled to the width of the terminal; words that are longer stay whole."""
    margin = " " * indent
    paragraphs = [
        textwrap.fill(
            " ".join(paragraph.split()),
            reading_width(),
            initial_indent=margin,
            subsequent_indent=margin,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for paragraph in text.split("\n\n")
    ]
    echo("\n\n".join(paragraphs))


def print_facts(facts: dict[str, Any]) -> None:
    """Print `key=value` pairs after a `---`, as many in a line as fit; none is cut or broken."""
    lines = ["---"]
    for fact in (visible(f"{key}={value}", in_one_line=True) for key, value in facts.items()):
        fits = len(lines[-1]) + 2 + len(fact) <= reading_width()
        if fits or lines == ["---"]:
            lines[-1] += (" " if lines[-1] == "---" else "  ") + fact
        else:
            lines.append(f"    {fact}")
    echo("\n".join(lines))


def print_funnel(stages: Sequence[dict[str, Any]]) -> None:
    """What every stage did to the documents."""
    counts = ("in", "kept", "dropped", "edited", "quarantined")
    rows = [[stage["id"], *(stage[key] for key in counts), float(stage["seconds"])] for stage in stages]
    print_table(
        ("stage", *counts, "worker s"), rows
    )  # of all workers together: more than has passed where there are several
