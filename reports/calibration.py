"""Confidence against accuracy: where the dots lie under the line, a model is surer than it is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from markupsafe import Markup

from curate.audit.bias.statistics import Estimate, wilson
from curate.evaluation.metrics import BINS
from curate.reports.drawing import NARROW, Drawing, Figure, line, make_figure, rounded, text
from curate.reports.numbers import number

__all__ = ["calibration_figure"]

TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True)
class _Bin:
    """Items of about the same confidence: its mean, and the share that is right."""

    low: float
    confidence: float
    right: Estimate
    n: int


def calibration_figure(key: str, task: str, items: pa.Table) -> Figure | None:
    """The chart of a task's items; None where they have no confidence."""
    if not {"confidence", "accuracy"}.issubset(items.column_names) or not items.num_rows:
        return None
    bins = _bins(*(items[name].cast(pa.float64()).to_numpy() for name in ("confidence", "accuracy")))
    if not bins:
        return None
    rows = [
        (
            f"{one.low:.2f} to {one.low + 1 / BINS:.2f}", f"{one.confidence:.3f}",
            f"{one.right.value:.3f} ({one.right.low:.3f} to {one.right.high:.3f})", number(one.n),
        )
        for one in bins
    ]  # fmt: skip
    return make_figure(
        key, f"{task}: confidence and accuracy",
        f"Share of right answers in {len(bins)} bins of confidence, with 95 % intervals; on the line both are the same.",
        lambda width: _drawn(bins, width),
        header=("confidence", "its mean", "right (95 %)", "items"), rows=rows,
        legend=[("kept", "share of right answers"), ("edited", "confidence and accuracy the same")],
    )  # fmt: skip


def _bins(confidence: np.ndarray, right: np.ndarray) -> list[_Bin]:
    places = np.clip((confidence * BINS).astype(int), 0, BINS - 1)
    found: list[_Bin] = []
    for place in np.unique(places):
        some = places == place
        share = wilson(float(right[some].sum()), int(some.sum()))
        found.append(_Bin(place / BINS, float(confidence[some].mean()), share, int(some.sum())))
    return found


def _drawn(bins: Sequence[_Bin], width: float) -> Drawing:
    side = width - 60.0 if width == NARROW else 380.0
    left, top = 46.0, 12.0
    base, right = top + side, left + side

    def at(x: float, y: float) -> tuple[float, float]:
        return left + side * x, base - side * y

    content: list[Markup] = []
    for tick in TICKS:
        kind = "grid" if tick else "axis"
        content += [line(at(0, tick), at(1, tick), kind), line(at(tick, 0), at(tick, 1), kind)]
        content.append(text(left - 8, at(0, tick)[1] + 4, f"{tick:g}", "tick", "end"))
        content.append(text(at(tick, 0)[0], base + 16, f"{tick:g}", "tick", "middle"))
    content.append(line(at(0, 0), at(1, 1), "whisker edited"))
    for one in bins:
        content.append(line(at(one.confidence, one.right.low), at(one.confidence, one.right.high), "whisker kept"))
        x, y = at(one.confidence, one.right.value)
        dot = Markup('<circle cx="{}" cy="{}" r="4" class="value-dot kept"/>')
        content.append(dot.format(rounded(x), rounded(y)))
    content.append(
        text((left + right) / 2, base + 36, "mean confidence; upwards: share that is right", "tick", "middle")
    )
    return base + 44, content
