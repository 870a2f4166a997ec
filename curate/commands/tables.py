"""Tables on stdout, plain text: columns as wide as they need to be, numbers to the right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer

__all__ = ["print_funnel", "print_table"]


def print_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows under a header; numbers are grouped and right-aligned."""
    shown = [
        [f"{cell:,}" if isinstance(cell, int) else str(cell if cell is not None else "-") for cell in row]
        for row in rows
    ]
    widths = [max(len(line[column]) for line in [list(header), *shown]) for column in range(len(header))]
    right = [bool(rows) and all(isinstance(row[column], int | float) for row in rows) for column in range(len(header))]
    for line in [list(header), *shown]:
        cells = [
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(line, widths, right, strict=True)
        ]
        typer.echo("  ".join(cells).rstrip())


def print_funnel(stages: Sequence[dict[str, Any]]) -> None:
    """What every stage did to the documents."""
    header = ("stage", "in", "kept", "dropped", "edited", "quarantined", "seconds")
    print_table(
        header, [[stage["id"], *(stage[key] for key in header[1:-1]), f"{stage['seconds']:.1f}"] for stage in stages]
    )
