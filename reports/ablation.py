"""The page of an ablation: which data trained the better models, how sure that is, and how it was found out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from curate.reports.drawing import Figure
from curate.reports.html import render
from curate.reports.intervals import Interval, intervals
from curate.reports.numbers import number
from curate.reports.report import write_page

__all__ = ["build_ablation_page", "render_ablation"]

COLOURS = {"better": "kept", "worse": "dropped", "no difference shown": "ghost", "unstable": "edited"}
DASH = "\u2013"


def build_ablation_page(result: dict[str, Any], out: Path) -> Path:
    """Write the page.

    Raises:
        CurateError: The file cannot be written.
    """
    return write_page(out, render_ablation(result))


def render_ablation(result: dict[str, Any]) -> str:
    """The page as HTML."""
    first = result["arms"][0]["name"]
    heads = [one for one in result["comparisons"] if one["task"] == "macro"]
    tails = [one for one in result["comparisons"] if one["task"] != "macro"]
    sections = [("found", "What was found"), ("sets", "By held-out set"), ("arms", "What was compared"),
                ("limits", "What this cannot tell")]  # fmt: skip
    return render(
        "ablation.html",
        result=result, first=first, sentences=[_sentence(one) for one in heads],
        charts=[_chart("found-chart", "the endpoint", heads), _chart("sets-chart", "each held-out set", tails)],
        header=("arm", "held-out set", "verdict", "difference", "95% interval", "p (Holm)", "Welch's p", "would be found"),
        rows=[_cells(one) for one in (*heads, *tails)],
        arm_header=("arm", "version", "tokens it has", "times read", "tokens a second", "seconds", "diverged"),
        arms=[(one["name"], one["dataset"], _count(one["train_tokens"]),
               DASH if one["epochs"] is None else f"{one['epochs']:.2f}", f"{one['tokens_per_second']:,.0f}",
               f"{one['seconds']:,.0f}", str(one["diverged"])) for one in result["arms"]],
        set_header=("held-out set", "from", "documents", "left", "seen by an arm"),
        sets=[(one["name"], one["home"] or "neutral", number(one["documents"]), number(one["left"]),
               ", ".join(f"{name}: {count}" for name, count in one["removed"].items())) for one in result["heldout"]],
        value_header=("arm", "held-out set", *(f"seed {at}" for at in range(1, result["seeds"] + 1))),
        values=[(arm, task, *(DASH if value is None else f"{value:.4f}" for value in values))
                for arm, sets in result["values"].items() for task, values in sets.items()],
        curve_header=("arm", "tokens", "bits per byte, own validation split"),
        curves=[(arm, number(point["tokens"]), f"{point['bits_per_byte']:.4f}")
                for arm, points in result["curves"].items() for point in points],
        contents=[(name, title, []) for name, title in sections],
    )  # fmt: skip


def _count(value: int | None) -> str:
    return DASH if value is None else number(value)


def _signed(value: float | None) -> str:
    return DASH if value is None else f"{value:+.4f}"


def _sentence(one: dict[str, Any]) -> str:
    """A verdict as people say it."""
    values = f"{_signed(one['difference'])} bits per byte ({_signed(one['low'])} to {_signed(one['high'])})"
    least = (
        "" if one["mde"] is None else f"; a true difference of {one['mde']:.4f} would have been found in 8 of 10 tries"
    )
    if one["verdict"] == "no difference shown":
        return f"{one['arm']}: no difference from {one['against']} is shown: {values}{least}."
    if one["verdict"] == "unstable":
        why = "a seed diverged, or the same data with other seeds came out different"
        return f"{one['arm']}: nothing can be said: {why} ({values})."
    return f"{one['arm']} is {one['verdict']} than {one['against']}: {values}."


def _cells(one: dict[str, Any]) -> tuple[str, ...]:
    interval = DASH if one["low"] is None else f"{_signed(one['low'])} to {_signed(one['high'])}"
    ps = (DASH if one[key] is None else f"{one[key]:.2g}" for key in ("holm", "welch"))
    least = DASH if one["mde"] is None else f"{one['mde']:.4f}"
    return one["arm"], one["task"], one["verdict"], _signed(one["difference"]), interval, *ps, least


def _chart(key: str, what: str, some: list[dict[str, Any]]) -> Figure:
    drawn = [one for one in some if one["low"] is not None]
    items = [
        Interval(f"{one['arm']}: {one['task']}", one["difference"], one["low"], one["high"], COLOURS[one["verdict"]],
                 _signed(one["difference"]))
        for one in drawn
    ]  # fmt: skip
    legend = [(COLOURS[word], word) for word in dict.fromkeys(one["verdict"] for one in drawn)]
    return intervals(
        key, f"Differences on {what}, over seeds",
        f"{len(items)} mean differences over seeds with 95 % t intervals; lower is better.",
        items, middle=0.0, logarithmic=False, x_name="bits per byte less those of the first arm (lower is better)",
        header=("what", "difference", "from", "to"),
        rows=[(item.name, _signed(item.value), _signed(item.low), _signed(item.high)) for item in items], legend=legend,
    )  # fmt: skip
