"""Learning curves: bits per byte by tokens, the mean over seeds inside the band from the best seed to the worst."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from curate.reports.charts import lines
from curate.reports.drawing import Figure

__all__ = ["learning_curves"]


def learning_curves(key: str, curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """A line for each name, of points with `tokens`, `bits_per_byte`, `least` and `most`."""

    def line(points: Sequence[Mapping[str, Any]], value: str) -> list[tuple[float, float]]:
        return [(point["tokens"], point[value]) for point in points]

    return lines(
        key, "Learning curves on the run's own validation split",
        f"{len(curves)} lines of bits per byte by tokens, means over seeds, each in the band of its seeds; lower is better.",
        {name: line(points, "bits_per_byte") for name, points in curves.items()},
        x_name="tokens trained on", y_name="bits per byte",
        bands={name: (line(points, "least"), line(points, "most")) for name, points in curves.items()},
    )  # fmt: skip
