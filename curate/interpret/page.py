"""The page of an inspection: a map of what each token cost, and tables of what is behind it; no script."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from curate.reports.charts import Bar, Figure, stacked
from curate.reports.html import render
from curate.reports.report import write_page

__all__ = ["render_inspection", "write_inspection"]

LEVELS = (1.0, 3.0, 6.0, 10.0)
"""Bits from which a token has another colour."""


def write_inspection(out: Path, found: dict[str, Any]) -> Path:
    """Write the page of what `inspect` found.

    Raises:
        CurateError: The file cannot be written.
    """
    return write_page(out, render_inspection(found))


def render_inspection(found: dict[str, Any]) -> str:
    """The page as HTML."""
    places, lens, target = found["places"], found["lens"], found["target"]
    sections = [("losses", "What each token cost"), ("limits", "What this cannot tell")]
    if lens:
        sections[1:1] = [("lens", "Layer by layer"), ("target", "Why it expected one of them")]
    more = _of_target(target) if target else {}
    return render(
        "inspection.html", found=found, levels=[(f"loss-{at}", f"from {bits:g} bits") for at, bits in enumerate(LEVELS, 1)],
        pieces=[(one["text"], f"loss-{sum(one['bits'] >= level for level in LEVELS)}") for one in _apart(places)],
        token_header=("token", "text", "bits", "rank", "uncertainty, bits", "expected"),
        tokens=[
            (str(at), repr(one["text"]), f"{one['bits']:.2f}", f"{one['rank']:,}", f"{one['entropy']:.2f}", _expected(one))
            for at, one in enumerate(places)
        ],
        lens=lens and [
            (f"{at} {one['text']!r}", *(f"{layer[at]['text']!r} {layer[at]['own']:.3f}" for layer in lens))
            for at, one in enumerate(places)
        ],
        lens_header=("token", "embedded", *(f"layer {number}" for number in range(1, len(lens or ())))),
        word=places[target["place"]]["text"] if target else "", contents=[(name, title, []) for name, title in sections],
        **more,
    )  # fmt: skip


def _apart(places: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Places whose characters no other has: of tokens that are parts of one character the first, with the bits of all."""
    found = list[dict[str, Any]]()
    for one in places:
        if found and one["start"] < found[-1]["end"]:
            found[-1] = {**found[-1], "bits": found[-1]["bits"] + one["bits"]}
        else:
            found.append(one)
    return found


def _expected(place: dict[str, Any]) -> str:
    return ", ".join(f"{one['text']!r} {one['probability']:.3f}" for one in place["alternatives"])


def _of_target(target: dict[str, Any]) -> dict[str, Any]:
    read = [f"{at} {word!r}" if at else word for at, word in enumerate(target["read"])]
    values = dict(zip(read, target["attributions"]["values"], strict=True))
    layers = target["attention"]
    rows = []
    for at, name in enumerate(read):
        cells = list[str]()
        for layer in layers:
            taken = [head[at] for head in layer]
            most = max(range(len(taken)), key=taken.__getitem__)
            cells.append(f"{sum(taken) / len(taken):.3f}, head {most} {taken[most]:.3f}")
        rows.append((name, *cells))
    return {
        "attributions": _bars(values), "attention": rows,
        "attention_header": ("read", *(f"layer {number}" for number in range(1, len(layers) + 1))),
    }  # fmt: skip


def _bars(values: dict[str, float]) -> Figure:
    """What each token that was read adds to the log-probability, or takes from it."""
    legend = (("kept", "makes it likelier"), ("dropped", "makes it less likely"))
    items = [
        Bar(name, ((legend[value < 0][0], abs(value)),), f"{value:+.3f}") for name, value in values.items()
    ]  # fmt: skip
    return stacked(
        "attributions-chart", "What each token adds to the log-probability", "A bar for each token that was read, in nats.",
        items, whole=max(map(abs, values.values()), default=0.0) or 1.0, header=("token", "nats"),
        rows=[(name, f"{value:+.4f}") for name, value in values.items()], legend=legend,
    )  # fmt: skip
