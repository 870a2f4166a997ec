"""Numbers as people read them."""

from __future__ import annotations

import math

__all__ = ["compact", "measure", "nice_ticks", "number", "share", "size"]


def number(count: int) -> str:
    """A count: 12,345."""
    return f"{count:,}"


def compact(value: float) -> str:
    """A short number for an axis: 1, 10, 1k, 2.5M."""
    for limit, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{suffix}"
    return f"{value:.3g}"


def size(count: int) -> str:
    """Bytes in decimal units: 1.2 MB."""
    for limit, unit in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= limit:
            return f"{count / limit:.1f} {unit}"
    return f"{count} bytes"


def share(part: int, whole: int) -> str:
    """A share in percent; never 0% or 100% for what is not quite so."""
    if whole == 0:
        return "\u2013"
    percent = 100 * part / whole
    if part == 0 or part == whole:
        return f"{percent:.0f}%"
    if percent < 0.1:
        return "<0.1%"
    return ">99.9%" if percent > 99.9 else f"{percent:.1f}%"


def measure(value: float | None) -> str:
    """A measured value with as many digits as tell something."""
    if value is None or math.isnan(value):
        return "\u2013"
    if math.isinf(value):
        return "\u221e" if value > 0 else "-\u221e"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if 1000 <= abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:.4g}" if abs(value) >= 1e-4 else f"{value:.3e}"


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that cover a range, about `count` of them."""
    span = high - low or abs(high) or 1.0
    rough = span / count
    magnitude = 10 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil((low + span) / step - 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]
