"""Charts, each with its data as a table: bars, histograms, small multiples, lines.

Every chart is a `Figure`: the template shows the drawing, and its data in a table that can be unfolded and read aloud. What
does not fit beside the other on a phone stands below it: labels above their bars, small histograms in one column.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

from curate.reports.drawing import (
    LETTER,
    NARROW,
    Drawing,
    Figure,
    Point,
    line,
    make_figure,
    rectangle,
    rounded,
    shortened,
    text,
)
from curate.reports.numbers import compact, nice_ticks, number

__all__ = ["Bar", "Figure", "Small", "bars", "histogram", "lines", "multiples", "stacked"]

MOST_POINTS = 400
MOST_ROWS = 30
MOST_SERIES = 6


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar made of parts: colour class and value, left to right; `note` stands at its end."""

    name: str
    parts: tuple[tuple[str, float], ...]
    note: str = ""


# ---- bars


def stacked(
    key: str,
    caption: str,
    description: str,
    items: Sequence[Bar],
    *,
    whole: float,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    legend: Sequence[tuple[str, str]],
) -> Figure:
    """Horizontal bars made of parts, all to the scale of `whole`; parts that are not zero are at least a hair wide."""

    def draw(width: float) -> Drawing:
        one = _bar_below_its_name if width == NARROW else _bar_beside_its_name
        return one(items, whole, width)

    return make_figure(key, caption, description, draw, header=header, rows=rows, legend=legend)


def _bar_beside_its_name(items: Sequence[Bar], whole: float, width: float) -> Drawing:
    label, thickness, row = 170.0, 20.0, 30.0
    across = width - label - 12 - max((len(item.note) for item in items), default=0) * LETTER
    content: list[Markup] = []
    for index, item in enumerate(items):
        top = index * row + 4
        content.append(text(label - 12, top + 15, shortened(item.name, label - 12), "label", "end"))
        content += _bar(item, whole, label, top, across, thickness)
        content.append(text(label + across + 12, top + 15, item.note, "value"))
    return len(items) * row + 2, content


def _bar_below_its_name(items: Sequence[Bar], whole: float, width: float) -> Drawing:
    thickness, row = 14.0, 44.0
    content: list[Markup] = []
    for index, item in enumerate(items):
        top = index * row
        content.append(text(0, top + 14, shortened(item.name, width - len(item.note) * LETTER - 12), "label"))
        content.append(text(width, top + 14, item.note, "value", "end"))
        content += _bar(item, whole, 0, top + 21, width, thickness)
    return len(items) * row, content


def _bar(item: Bar, whole: float, left: float, top: float, across: float, thickness: float) -> list[Markup]:
    content = [rectangle(left, top, across, thickness, "track")]
    for kind, value in item.parts:
        width = max(across * value / whole, 1.5) if value and whole else 0.0
        content.append(rectangle(left, top, width, thickness, kind))
        left += width
    return content


def bars(
    key: str,
    caption: str,
    description: str,
    values: dict[str, float],
    *,
    header: tuple[str, str],
    kind: str = "kept",
    note: Callable[[float], str] = lambda value: number(int(value)),
) -> Figure:
    """Horizontal bars, one for each name."""
    largest = max(values.values(), default=0) or 1
    items = [Bar(name, ((kind, value),), note(value)) for name, value in values.items()]
    rows = [(name, note(value)) for name, value in values.items()]
    return stacked(key, caption, description, items, whole=largest, header=header, rows=rows, legend=())


# ---- axes


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where the inside of a chart with axes stands, and what its upright axis tells."""

    ticks: Sequence[float]
    width: float
    height: float = 290.0
    top: float = 12.0

    @property
    def left(self) -> float:
        return 16.0 + LETTER * max(len(compact(tick)) for tick in self.ticks)

    @property
    def right(self) -> float:
        """Half of a tick's name stands beyond the last tick."""
        return self.width - 20.0

    @property
    def base(self) -> float:
        return self.height - 46.0

    def up(self, value: float) -> float:
        share = (value - self.ticks[0]) / (self.ticks[-1] - self.ticks[0])
        return self.base - (self.base - self.top) * share

    def drawn(self, x_name: str) -> list[Markup]:
        """Lines across with their numbers, and the name of the axis below."""
        content: list[Markup] = []
        for tick in self.ticks:
            y = self.up(tick)
            content.append(line((self.left, y), (self.right, y), "axis" if tick == self.ticks[0] else "grid"))
            content.append(text(self.left - 10, y + 4, compact(tick), "tick", "end"))
        content.append(text((self.left + self.right) / 2, self.height - 6, x_name, "tick", "middle"))
        return content


# ---- histogram


def histogram(
    key: str,
    caption: str,
    description: str,
    edges: Sequence[float],
    counts: dict[str, Sequence[int]],
    *,
    unit: str,
    legend: Sequence[tuple[str, str]],
) -> Figure:
    """Bars between edges on a logarithmic axis; the first series stands behind the second."""
    highest = max((max(series, default=0) for series in counts.values()), default=0) or 1
    ticks = [tick for tick in nice_ticks(0, highest, 5) if tick == int(tick)]

    def draw(width: float) -> Drawing:
        frame = _Frame(ticks, width)
        place = _log_places(edges, frame.left, frame.right)
        content = frame.drawn(unit)
        for (kind, _), series in zip(legend, counts.values(), strict=True):
            inset = 0.04 if kind == legend[0][0] else 0.14
            content += [
                rectangle(
                    start + inset * (stop - start),
                    frame.up(count),
                    (1 - 2 * inset) * (stop - start),
                    frame.base - frame.up(count),
                    kind,
                )
                for start, stop, count in zip(place, place[1:], series, strict=False)
                if count
            ]
        return frame.height, content + _log_ticks(edges, place, frame.base)

    rows = [
        (
            f"{number(int(start))}\u2013{number(max(int(stop) - 1, int(start)))}",
            *(number(series[i]) for series in counts.values()),
        )
        for i, (start, stop) in enumerate(pairwise(edges))
    ]
    header = (unit, *(name for _, name in legend))
    return make_figure(key, caption, description, draw, header=header, rows=rows, legend=legend)


def _log_places(edges: Sequence[float], left: float, right: float) -> list[float]:
    """Where the edges stand; an edge at zero stands as far before the next as the axis' usual bin is wide."""
    logs = [math.log2(edge) if edge > 0 else math.nan for edge in edges]
    if edges[0] == 0:
        logs[0] = (logs[1] if len(logs) > 1 else 1.0) - 0.5
    span = (logs[-1] - logs[0]) or 1.0
    return [left + (right - left) * (log - logs[0]) / span for log in logs]


def _log_ticks(edges: Sequence[float], place: Sequence[float], base: float) -> list[Markup]:
    """A tick at every power of ten between the edges."""
    positive = [(edge, at) for edge, at in zip(edges, place, strict=True) if edge > 0]
    if len(positive) < 2:
        return [text(at, base + 18, compact(edge), "tick", "middle") for edge, at in positive]
    (low, start), (high, end) = positive[0], positive[-1]
    powers = [10.0**power for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
    slope = (end - start) / math.log(high / low)
    ticks: list[Markup] = []
    for power in powers if len(powers) > 1 else [low, high]:
        at = start + slope * math.log(power / low)
        ticks += [line((at, base), (at, base + 5), "axis"), text(at, base + 18, compact(power), "tick", "middle")]
    return ticks


# ---- small multiples


@dataclass(frozen=True, slots=True)
class Small:
    """One small histogram: its name, and where the thresholds stand."""

    name: str
    edges: Sequence[float]
    counts: Sequence[int]
    limits: Sequence[float] = ()
    logarithmic: bool = False


def multiples(
    key: str,
    caption: str,
    description: str,
    items: Sequence[Small],
    *,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    legend: Sequence[tuple[str, str]],
) -> Figure:
    """Small histograms in three columns, or one; each to its own scale."""

    def draw(width: float) -> Drawing:
        columns, gap, height = (1, 0.0, 106.0) if width == NARROW else (3, 28.0, 118.0)
        each = (width - gap * (columns - 1)) / columns
        content: list[Markup] = []
        for index, item in enumerate(items):
            content += _small(item, index % columns * (each + gap), index // columns * height, each, height - 46)
        return -(-len(items) // columns) * height, content

    return make_figure(key, caption, description, draw, header=header, rows=rows, legend=legend)


def _small(item: Small, left: float, top: float, width: float, height: float) -> list[Markup]:
    low, high = item.edges[0], item.edges[-1]
    base, scale = top + 20 + height, height / (max(item.counts, default=0) or 1)

    def across(value: float) -> float:
        if item.logarithmic:
            return left + width * math.log(value / low) / math.log(high / low)
        return left + width * (value - low) / (high - low)

    parts = [text(left, top + 12, shortened(item.name, width), "tick")]
    parts += [
        rectangle(across(start) + 0.5, base - count * scale, across(stop) - across(start) - 1, count * scale, "kept")
        for (start, stop), count in zip(pairwise(item.edges), item.counts, strict=True)
        if count
    ]
    parts.append(line((left, base), (left + width, base), "axis"))
    parts += [line((across(limit), base - height), (across(limit), base), "limit") for limit in item.limits]
    # Bins of whole numbers begin and end at halves; the numbers themselves are at the ends then.
    ends = (math.ceil(low), math.floor(high)) if low % 1 == high % 1 == 0.5 else (low, high)
    parts.append(text(left, base + 15, compact(ends[0]), "tick"))
    parts.append(text(left + width, base + 15, compact(ends[1]), "tick", "end"))
    return parts


# ---- lines


def lines(
    key: str,
    caption: str,
    description: str,
    curves: Mapping[str, Sequence[Point]],
    *,
    x_name: str,
    y_name: str,
    bands: Mapping[str, tuple[Sequence[Point], Sequence[Point]]] | None = None,
) -> Figure:
    """Lines over a common axis, at most `MOST_SERIES`; long ones are drawn through the means of `MOST_POINTS` stretches.

    `bands` are the lower and upper edge of what lies around a curve, at the same places.
    """
    whole = {name: points for name, points in curves.items() if points}
    series = {name: _thinned(points, MOST_POINTS) for name, points in list(whole.items())[:MOST_SERIES]}
    edges = {name: [_thinned(edge, MOST_POINTS) for edge in bands[name]] for name in series} if bands else {}
    if len(whole) > len(series):
        caption += f", the first {len(series)} of {len(whole)} runs"
    drawn = [*series.values(), *(edge for pair in edges.values() for edge in pair)]
    points = [point for part in drawn for point in part]
    if not points:
        return make_figure(key, caption, "No data.", lambda _: (20.0, []), header=(x_name,), rows=())

    def draw(width: float) -> Drawing:
        xs = nice_ticks(*_range(points, 0), 3 if width == NARROW else 6)
        frame = _Frame(nice_ticks(*_range(points, 1), 5), width)

        def across(value: float) -> float:
            return frame.left + (frame.right - frame.left) * (value - xs[0]) / (xs[-1] - xs[0])

        content = frame.drawn(x_name)
        content += [text(across(tick), frame.base + 18, compact(tick), "tick", "middle") for tick in xs]
        placed = {name: [(across(x), frame.up(y)) for x, y in part] for name, part in series.items()}
        for index, name in enumerate(edges):
            lower, upper = ([(across(x), frame.up(y)) for x, y in edge] for edge in edges[name])
            content.append(_outlined([*lower, *reversed(upper)], f"band series-{index + 1}"))
        content += [_curve(part, f"series-{index + 1}") for index, part in enumerate(placed.values())]
        return frame.height, content

    several = len(series) > 1
    legend = [(f"series-{index + 1}", name) for index, name in enumerate(series)] if several else []
    header = (*(("run",) if several else ()), x_name, y_name, *(("least", "most") if edges else ()))
    return make_figure(key, caption, description, draw, header=header, rows=_line_rows(series, edges), legend=legend)


def _range(points: Sequence[Point], axis: int) -> Point:
    values = [point[axis] for point in points]
    return min(values), max(values)


def _curve(points: Sequence[Point], kind: str) -> Markup:
    if len(points) == 1:
        return Markup('<circle cx="{}" cy="{}" r="3.5" class="dot {}"/>').format(*map(rounded, points[0]), kind)
    return Markup('<path d="M{}" class="curve {}"/>').format(_path(points), kind)


def _outlined(points: Sequence[Point], kind: str) -> Markup:
    return Markup('<path d="M{}Z" class="{}"/>').format(_path(points), kind)


def _path(points: Sequence[Point]) -> Markup:
    return escape("L".join(f"{rounded(x)} {rounded(y)}" for x, y in points))


def _thinned(points: Sequence[Point], most: int) -> list[Point]:
    """At most `most` points: each the mean of a stretch, the last one as it is."""
    if len(points) <= most:
        return [(float(x), float(y)) for x, y in points]
    cuts = [round(index * (len(points) - 1) / (most - 1)) for index in range(most)]
    stretches = [points[start:stop] for start, stop in pairwise(cuts)]
    means = [(stretch[-1][0], math.fsum(y for _, y in stretch) / len(stretch)) for stretch in stretches]
    return [*means, (float(points[-1][0]), float(points[-1][1]))]


def _line_rows(series: dict[str, list[Point]], edges: Mapping[str, list[list[Point]]]) -> tuple[tuple[str, ...], ...]:
    rows: list[tuple[str, ...]] = []
    for name, points in series.items():
        step = max(1, -(-len(points) // MOST_ROWS))
        whole = [(*points[at], *(edge[at][1] for edge in edges.get(name, ()))) for at in range(len(points))]
        chosen = whole[::step] if whole[::step][-1] == whole[-1] else [*whole[::step], whole[-1]]
        cells = [(number(int(x)), *(f"{y:.6g}" for y in ys)) for x, *ys in chosen]
        rows += [(name, *cell) for cell in cells] if len(series) > 1 else cells
    return tuple(rows)
