"""Drawings as inline SVG, in two widths: no script, colours from the style sheet, a title and a description in each.

An SVG scales with the page, and its letters with it: what is made for a desk cannot be read on a phone. So every chart is
drawn twice, and the style sheet shows the one that fits; the other is hidden from everybody, readers of screens too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from curate.reports.text import visible

__all__ = [
    "LETTER",
    "NARROW",
    "WIDE",
    "Drawing",
    "Figure",
    "Point",
    "line",
    "make_figure",
    "rectangle",
    "rounded",
    "shortened",
    "text",
]

WIDE, NARROW = 760.0, 340.0
"""Units of a drawing's width; about a pixel each, on a desk and on a phone."""
LETTER = 7.6
"""Units that a letter of a label takes at most, on average, in any of the style sheet's fonts."""

Point = tuple[float, float]
Drawing = tuple[float, Sequence[Markup]]
"""Its height, and what is in it."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing and its data."""

    wide: Markup
    narrow: Markup
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    legend: tuple[tuple[str, str], ...] = ()
    """Colour class and name, where there is more than one colour."""


def make_figure(
    key: str,
    caption: str,
    description: str,
    draw: Callable[[float], Drawing],
    *,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    legend: Sequence[tuple[str, str]] = (),
) -> Figure:
    """A figure whose drawing `draw` makes for a width."""
    wide = _svg("wide", WIDE, key, caption, description, *draw(WIDE))
    narrow = _svg("narrow", NARROW, f"{key}-narrow", caption, description, *draw(NARROW))
    return Figure(wide, narrow, caption, tuple(header), tuple(tuple(row) for row in rows), tuple(legend))


def _svg(
    kind: str, width: float, key: str, title: str, description: str, height: float, content: Iterable[Markup]
) -> Markup:
    return Markup(
        '<svg viewBox="0 0 {width} {height}" width="100%" class="{kind}" role="img"'
        ' aria-labelledby="{key}-title {key}-description">'
        '<title id="{key}-title">{title}</title><desc id="{key}-description">{description}</desc>{content}</svg>'
    ).format(
        kind=kind,
        width=rounded(width),
        height=rounded(height),
        key=key,
        title=visible(title),
        description=visible(description),
        content=Markup("").join(content),
    )


def rounded(value: float) -> str:
    """A number of a drawing: tenths of a unit are fine enough."""
    return f"{value:.1f}".removesuffix(".0")


def text(x: float, y: float, content: str, kind: str = "", anchor: str = "start") -> Markup:
    """A line of text; `anchor` says which of its ends (or its middle) stands at x."""
    return Markup('<text x="{}" y="{}" class="{}" text-anchor="{}">{}</text>').format(
        rounded(x), rounded(y), kind, anchor, visible(content)
    )


def rectangle(x: float, y: float, width: float, height: float, kind: str) -> Markup:
    """A rectangle; one that would be turned inside out is empty."""
    return Markup('<rect x="{}" y="{}" width="{}" height="{}" class="{}"/>').format(
        rounded(x), rounded(y), rounded(max(width, 0.0)), rounded(max(height, 0.0)), kind
    )


def line(start: Point, end: Point, kind: str) -> Markup:
    """A straight line."""
    return Markup('<line x1="{}" y1="{}" x2="{}" y2="{}" class="{}"/>').format(
        rounded(start[0]), rounded(start[1]), rounded(end[0]), rounded(end[1]), kind
    )


def shortened(name: str, width: float) -> str:
    """The name, cut with an ellipsis where it would be wider than `width`."""
    most = max(2, int(width / LETTER))
    shown = visible(name)
    return shown if len(shown) <= most else shown[: most - 1] + "\u2026"
