"""Values with their intervals, one below the other, on a common axis: what is uncertain looks uncertain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from curate.reports.drawing import LETTER, NARROW, Drawing, Figure, line, make_figure, rounded, shortened, text
from curate.reports.numbers import compact, nice_ticks

__all__ = ["Interval", "intervals"]

MOST_APART = 64.0
"""Ratios beyond this, or below its inverse, stand at the edge of a logarithmic axis."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its interval; `kind` is the colour class, `note` stands at the end of its line."""

    name: str
    value: float
    low: float
    high: float
    kind: str
    note: str


def intervals(
    key: str,
    caption: str,
    description: str,
    items: Sequence[Interval],
    *,
    middle: float | None,
    logarithmic: bool,
    x_name: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    legend: Sequence[tuple[str, str]],
) -> Figure:
    """Dots with whiskers; a line stands at `middle`, where there is no difference.

    Args:
        key: Id of the drawing.
        caption: Its title.
        description: What it shows, for who does not see it.
        items: From above to below.
        middle: No effect; None where there is no such value.
        logarithmic: Whether equal ratios are equally far apart.
        x_name: What the axis tells.
        header: Of the table.
        rows: Of the table.
        legend: Colour class and name.
    """

    def draw(width: float) -> Drawing:
        return _drawn(items, middle, width, logarithmic=logarithmic, x_name=x_name)

    return make_figure(key, caption, description, draw, header=header, rows=rows, legend=legend)


def _drawn(items: Sequence[Interval], middle: float | None, width: float, *, logarithmic: bool, x_name: str) -> Drawing:
    narrow = width == NARROW
    left = 12.0 if narrow else 240.0
    right = width - (12.0 if narrow else 26.0 + LETTER * max((len(item.note) for item in items), default=0))
    row, top = (46.0, 4.0) if narrow else (27.0, 4.0)
    axis = _Axis(items, middle, logarithmic=logarithmic, left=left, right=right, count=3 if narrow else 5)
    base = top + row * len(items)
    content: list[Markup] = []
    for tick in axis.ticks:
        content.append(line((axis.at(tick), top), (axis.at(tick), base), "axis" if tick == middle else "grid"))
        content.append(text(axis.at(tick), base + 16, _tick(tick), "tick", "middle"))
    for index, item in enumerate(items):
        y = top + index * row + (32.0 if narrow else 15.0)
        if narrow:
            content.append(text(0, y - 15, shortened(item.name, width - len(item.note) * LETTER - 8), "label"))
            content.append(text(width, y - 15, item.note, "value", "end"))
        else:
            content.append(text(left - 14, y + 4, shortened(item.name, left - 14), "label", "end"))
            content.append(text(right + 14, y + 4, item.note, "value"))
        content.append(line((axis.at(item.low), y), (axis.at(item.high), y), f"whisker {item.kind}"))
        dot = Markup('<circle cx="{}" cy="{}" r="4" class="value-dot {}"/>')
        content.append(dot.format(rounded(axis.at(item.value)), rounded(y), item.kind))
    content.append(text((left + right) / 2, base + 36, shortened(x_name, width), "tick", "middle"))
    return base + 42, content


def _tick(value: float) -> str:
    """Halves as people say them: 1/8."""
    inverse = 1 / value if 0 < value < 1 else 0.0
    return f"1/{inverse:.0f}" if inverse and math.log2(inverse).is_integer() else compact(value)


class _Axis:
    def __init__(
        self,
        items: Sequence[Interval],
        middle: float | None,
        *,
        logarithmic: bool,
        left: float,
        right: float,
        count: int,
    ) -> None:
        self.logarithmic, self.left, self.right = logarithmic, left, right
        values = [value for item in items for value in (item.low, item.value, item.high)]
        values += [] if middle is None else [middle]
        if logarithmic:
            values = [min(max(value, 1 / MOST_APART), MOST_APART) for value in values if not math.isnan(value)]
            low, high = math.floor(math.log2(min(values) * 1.001)), math.ceil(math.log2(max(values) * 0.999))
            self.ends = 2.0**low, 2.0 ** max(high, low + 1)
            step = max(1, -(-(max(high, low + 1) - low) // count))
            powers = [power for power in range(low, max(high, low + 1) + 1) if power % step == 0]
            self.ticks = [2.0**power for power in powers]
        else:
            self.ticks = nice_ticks(min(values), max(values), count)
            self.ends = self.ticks[0], self.ticks[-1]

    def at(self, value: float) -> float:
        """Where a value stands; what is beyond the axis, at its end."""
        low, high = self.ends
        value = min(max(value, low), high)
        share = math.log(value / low) / math.log(high / low) if self.logarithmic else (value - low) / (high - low)
        return self.left + (self.right - self.left) * share
