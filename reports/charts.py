"""Charts as inline SVG, with a title, a description and the data as a table; no script, colours from the style sheet.

Every chart is a `Figure`: the template shows the drawing, and its data in a table that can be unfolded and read aloud. All
are drawn on a canvas 760 units wide, and scale with the page.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

from curate.reports.numbers import compact, nice_ticks, number
from curate.reports.text import visible

__all__ = ["Bar", "Figure", "Small", "bars", "histogram", "lines", "multiples", "stacked"]

WIDTH = 760
ROW = 30
LABEL = 170
"""Width kept for the names of bars."""
MOST_POINTS = 400
MOST_ROWS = 30
MOST_SERIES = 6

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing and its data."""

    svg: Markup
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    legend: tuple[tuple[str, str], ...] = ()
    """Colour class and name, where there is more than one colour."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar made of parts: colour class and value, left to right; `note` stands at its end."""

    name: str
    parts: tuple[tuple[str, float], ...]
    note: str = ""


def _svg(key: str, title: str, description: str, height: float, content: Iterable[Markup]) -> Markup:
    return Markup(
        '<svg viewBox="0 0 {width} {height}" role="img" aria-labelledby="{key}-title {key}-description">'
        '<title id="{key}-title">{title}</title><desc id="{key}-description">{description}</desc>{content}</svg>'
    ).format(
        width=WIDTH,
        height=_round(height),
        key=key,
        title=visible(title),
        description=visible(description),
        content=Markup("").join(content),
    )


def _round(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _text(x: float, y: float, content: str, kind: str = "", anchor: str = "start") -> Markup:
    return Markup('<text x="{}" y="{}" class="{}" text-anchor="{}">{}</text>').format(
        _round(x), _round(y), kind, anchor, visible(content)
    )


def _rectangle(x: float, y: float, width: float, height: float, kind: str) -> Markup:
    return Markup('<rect x="{}" y="{}" width="{}" height="{}" class="{}"/>').format(
        _round(x), _round(y), _round(max(width, 0.0)), _round(max(height, 0.0)), kind
    )


def _line(start: Point, end: Point, kind: str) -> Markup:
    return Markup('<line x1="{}" y1="{}" x2="{}" y2="{}" class="{}"/>').format(
        _round(start[0]), _round(start[1]), _round(end[0]), _round(end[1]), kind
    )


def _shortened(name: str, most: int = 21) -> str:
    return name if len(name) <= most else name[: most - 1] + "\u2026"


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
    note_width = 128
    across = WIDTH - LABEL - note_width
    content: list[Markup] = []
    for index, item in enumerate(items):
        top = index * ROW + 4
        content += [
            _text(LABEL - 12, top + 15, _shortened(item.name), "label", "end"),
            _rectangle(LABEL, top, across, ROW - 10, "track"),
        ]
        x = float(LABEL)
        for kind, value in item.parts:
            width = max(across * value / whole, 1.5) if value and whole else 0.0
            content.append(_rectangle(x, top, width, ROW - 10, kind))
            x += width
        content.append(_text(LABEL + across + 12, top + 15, item.note, "value"))
    svg = _svg(key, caption, description, len(items) * ROW + 2, content)
    return Figure(svg, caption, tuple(header), tuple(tuple(row) for row in rows), tuple(legend))


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
    height, left, bottom, top = 290.0, 56.0, 46.0, 12.0
    highest = max((max(series, default=0) for series in counts.values()), default=0) or 1
    ticks = [tick for tick in nice_ticks(0, highest, 5) if tick == int(tick)]
    scale = (height - bottom - top) / max(ticks[-1], highest)
    base = height - bottom
    place = _log_places(edges, left, WIDTH - 8.0)
    content = [
        part
        for tick in ticks
        for part in (
            _line((left, base - tick * scale), (WIDTH - 8.0, base - tick * scale), "grid" if tick else "axis"),
            _text(left - 10, base - tick * scale + 4, compact(tick), "tick", "end"),
        )
    ]
    for (kind, _), series in zip(legend, counts.values(), strict=True):
        gap = 1.0 if kind == legend[0][0] else 3.5
        content += [
            _rectangle(start + gap, base - count * scale, stop - start - 2 * gap, count * scale, kind)
            for start, stop, count in zip(place, place[1:], series, strict=False)
            if count
        ]
    content += _log_ticks(edges, place, base)
    content.append(_text((left + WIDTH) / 2, height - 6, unit, "tick", "middle"))
    rows = tuple(
        (
            f"{number(int(start))}\u2013{number(max(int(stop) - 1, int(start)))}",
            *(number(series[i]) for series in counts.values()),
        )
        for i, (start, stop) in enumerate(pairwise(edges))
    )
    header = (unit, *(name for _, name in legend))
    return Figure(_svg(key, caption, description, height, content), caption, header, rows, tuple(legend))


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
        return [_text(at, base + 18, compact(edge), "tick", "middle") for edge, at in positive]
    (low, start), (high, end) = positive[0], positive[-1]
    powers = [10.0**power for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
    slope = (end - start) / math.log(high / low)
    ticks: list[Markup] = []
    for power in powers if len(powers) > 1 else [low, high]:
        at = start + slope * math.log(power / low)
        ticks += [_line((at, base), (at, base + 5), "axis"), _text(at, base + 18, compact(power), "tick", "middle")]
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
    """Small histograms in three columns, each to its own scale."""
    columns, gap, height = 3, 28.0, 118.0
    width = (WIDTH - gap * (columns - 1)) / columns
    content: list[Markup] = []
    for index, item in enumerate(items):
        content += _small(item, index % columns * (width + gap), index // columns * height, width, height - 46)
    svg = _svg(key, caption, description, -(-len(items) // columns) * height, content)
    return Figure(svg, caption, tuple(header), tuple(tuple(row) for row in rows), tuple(legend))


def _small(item: Small, left: float, top: float, width: float, height: float) -> list[Markup]:
    low, high = item.edges[0], item.edges[-1]
    base, scale = top + 20 + height, height / (max(item.counts, default=0) or 1)

    def across(value: float) -> float:
        if item.logarithmic:
            return left + width * math.log(value / low) / math.log(high / low)
        return left + width * (value - low) / (high - low)

    parts = [_text(left, top + 12, _shortened(item.name, 32), "tick")]
    parts += [
        _rectangle(across(start) + 0.5, base - count * scale, across(stop) - across(start) - 1, count * scale, "kept")
        for (start, stop), count in zip(pairwise(item.edges), item.counts, strict=True)
        if count
    ]
    parts.append(_line((left, base), (left + width, base), "axis"))
    parts += [_line((across(limit), base - height), (across(limit), base), "limit") for limit in item.limits]
    # Bins of whole numbers begin and end at halves; the numbers themselves are at the ends then.
    ends = (math.ceil(low), math.floor(high)) if low % 1 == high % 1 == 0.5 else (low, high)
    parts.append(_text(left, base + 15, compact(ends[0]), "tick"))
    parts.append(_text(left + width, base + 15, compact(ends[1]), "tick", "end"))
    return parts


# ---- lines


def lines(
    key: str, caption: str, description: str, curves: Mapping[str, Sequence[Point]], *, x_name: str, y_name: str
) -> Figure:
    """Lines over a common axis, at most `MOST_SERIES`; long ones are drawn through the means of `MOST_POINTS` stretches."""
    whole = {name: points for name, points in curves.items() if points}
    series = {name: _thinned(points, MOST_POINTS) for name, points in list(whole.items())[:MOST_SERIES]}
    if len(whole) > len(series):
        caption += f", the first {len(series)} of {len(whole)} runs"
    points = [point for part in series.values() for point in part]
    if not points:
        return Figure(_svg(key, caption, "No data.", 20, []), caption, (x_name,), ())
    height, left, bottom, top = 290.0, 64.0, 46.0, 12.0
    xs, ys = nice_ticks(*_range(points, 0), 6), nice_ticks(*_range(points, 1), 5)
    right = WIDTH - 12.0

    def at(point: Point) -> Point:
        across = (point[0] - xs[0]) / (xs[-1] - xs[0])
        up = (point[1] - ys[0]) / (ys[-1] - ys[0])
        return left + (right - left) * across, height - bottom - (height - bottom - top) * up

    content = [
        part
        for tick in ys
        for part in (
            _line(at((xs[0], tick)), at((xs[-1], tick)), "axis" if tick == ys[0] else "grid"),
            _text(left - 10, at((xs[0], tick))[1] + 4, compact(tick), "tick", "end"),
        )
    ]
    content += [_text(at((tick, ys[0]))[0], height - bottom + 18, compact(tick), "tick", "middle") for tick in xs]
    content.append(_text((left + right) / 2, height - 6, x_name, "tick", "middle"))
    for index, part in enumerate(series.values()):
        content.append(_curve([at(point) for point in part], f"series-{index + 1}"))
    legend = tuple((f"series-{index + 1}", name) for index, name in enumerate(series)) if len(series) > 1 else ()
    rows = _line_rows(series)
    header = ("run", x_name, y_name) if len(series) > 1 else (x_name, y_name)
    return Figure(_svg(key, caption, description, height, content), caption, header, rows, legend)


def _range(points: Sequence[Point], axis: int) -> Point:
    values = [point[axis] for point in points]
    return min(values), max(values)


def _curve(points: Sequence[Point], kind: str) -> Markup:
    if len(points) == 1:
        return Markup('<circle cx="{}" cy="{}" r="3.5" class="dot {}"/>').format(*map(_round, points[0]), kind)
    path = "L".join(f"{_round(x)} {_round(y)}" for x, y in points)
    return Markup('<path d="M{}" class="curve {}"/>').format(escape(path), kind)


def _thinned(points: Sequence[Point], most: int) -> list[Point]:
    """At most `most` points: each the mean of a stretch, the last one as it is."""
    if len(points) <= most:
        return [(float(x), float(y)) for x, y in points]
    cuts = [round(index * (len(points) - 1) / (most - 1)) for index in range(most)]
    stretches = [points[start:stop] for start, stop in pairwise(cuts)]
    means = [(stretch[-1][0], math.fsum(y for _, y in stretch) / len(stretch)) for stretch in stretches]
    return [*means, (float(points[-1][0]), float(points[-1][1]))]


def _line_rows(series: dict[str, list[Point]]) -> tuple[tuple[str, ...], ...]:
    rows: list[tuple[str, ...]] = []
    for name, points in series.items():
        step = max(1, -(-len(points) // MOST_ROWS))
        chosen = points[::step] if points[::step][-1] == points[-1] else [*points[::step], points[-1]]
        cells = [(number(int(x)), f"{y:.6g}") for x, y in chosen]
        rows += [(name, *cell) for cell in cells] if len(series) > 1 else cells
    return tuple(rows)
