"""The page of an ablation: which data trained the better models, how sure that is, and how it was found out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from curate.reports.curves import learning_curves
from curate.reports.drawing import Figure
from curate.reports.html import render
from curate.reports.intervals import Interval, intervals
from curate.reports.numbers import number
from curate.reports.report import write_page

__all__ = ["build_ablation_page", "render_ablation", "worth"]

COLOURS = {"better": "kept", "worse": "dropped", "no difference shown": "ghost", "unstable": "edited"}
DASH, ELLIPSIS = "\u2013", "\u2026"
ROOM = 28
"""Characters of a label, beside a chart and above it on a phone."""


def build_ablation_page(result: dict[str, Any], out: Path) -> Path:
    """Write the page.

    Raises:
        CurateError: The file cannot be written.
    """
    return write_page(out, render_ablation(result))


def render_ablation(result: dict[str, Any]) -> str:
    """The page as HTML."""
    first, homes = result["arms"][0]["name"], result["home"]["sets"]
    heads = [one for one in result["comparisons"] if one["task"] == "macro"]
    tails = [one for one in result["comparisons"] if one["task"] != "macro"]
    sections = [("found", "What was found"), ("sets", "By held-out set"), ("arms", "What was compared"),
                ("limits", "What this cannot tell")]  # fmt: skip
    return render(
        "ablation.html",
        result=result, first=first, sentences=[*(_sentence(one) for one in heads), *worth(result)],
        charts=[_chart("found-chart", "Differences on the endpoint", heads, "arm"),
                *(_chart(f"sets-chart-{at}", f"{one['arm']}: differences on each held-out set",
                         [tail for tail in tails if tail["arm"] == one["arm"]], "task") for at, one in enumerate(heads, 1))],
        header=("arm", "verdict", "held-out set", "difference", "95% interval", "p (Holm)", "Welch's p", "would be found"),
        rows=[_cells(one) for one in (*heads, *tails)],
        arm_header=("arm", "version", "trained on", "tokens it has", "times read", "tokens a second", "seconds", "diverged"),
        arms=[(one["name"], one["dataset"], number(one["tokens"]), _count(one["train_tokens"]),
               DASH if one["epochs"] is None else f"{one['epochs']:.2f}", f"{one['tokens_per_second']:,.0f}",
               f"{one['seconds']:,.0f}", str(one["diverged"])) for one in result["arms"]],
        set_header=("held-out set", "from", "documents", "left", "seen by an arm"),
        sets=[(one["name"], one["home"] or "neutral", number(one["documents"]), number(one["left"]),
               ", ".join(f"{name}: {count}" for name, count in one["removed"].items())) for one in result["heldout"]],
        value_header=("arm", "held-out set", *(f"seed {at}" for at in range(1, result["seeds"] + 1))),
        values=[(arm, task, *(DASH if value is None else f"{value:.4f}" for value in values))
                for arm, sets in result["values"].items() for task, values in sets.items()],
        gates=[(one["gate"], "shown" if one["passed"] else "not shown", "; ".join(one["missing"])) for one in result["gates"]],
        home_header=("arm", *(f"{name} (of {arm})" for arm, name in homes.items())),
        home=[(arm, *(_mean(values[name]) for name in homes.values())) for arm, values in result["values"].items()]
        if len(homes) > 1 else [],
        curves=learning_curves("curves-chart", result["curves"]),
        contents=[(name, title, []) for name, title in sections],
    )  # fmt: skip


def worth(result: dict[str, Any]) -> list[str]:
    """What each arm is worth in compute, in sentences; none where that was not asked for."""
    found, first = result["equivalents"], result["arms"][0]["name"]
    return [_worth(name, first, one) for name, one in found["arms"].items()] if found else []


def _worth(name: str, first: str, one: dict[str, Any] | None) -> str:
    if one is None:
        return f"{name}: what it is worth in compute cannot be told: that more tokens help {first} is not shown."
    times, low, high = (
        ("more than " if one[key] > 1 else "less than ") * (key in one["beyond"]) + f"{one[key]:.3g}"
        for key in ("times", "low", "high")
    )
    return f"{name} is worth {times} times the compute of {first} ({low} to {high})."


def _count(value: int | None) -> str:
    return DASH if value is None else number(value)


def _signed(value: float | None) -> str:
    return DASH if value is None else f"{value:+.4f}"


def _mean(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):.4f}" if known else DASH


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
    return one["arm"], one["verdict"], one["task"], _signed(one["difference"]), interval, *ps, least


def _labels(names: list[str]) -> list[str]:
    """Names as a chart has room for: long ones without their middle, numbered where they would be alike."""
    cut = [name if len(name) <= ROOM else f"{name[: ROOM // 2 - 3]}{ELLIPSIS}{name[-ROOM // 2 :]}" for name in names]
    return [f"{at}. {one}" if cut.count(one) > 1 else one for at, one in enumerate(cut, 1)]


def _chart(key: str, what: str, some: list[dict[str, Any]], named: str) -> Figure:
    """Differences with their intervals; `named` is what tells them apart, the arm or the held-out set (`task`)."""
    drawn = [one for one in some if one["low"] is not None]
    items = [
        Interval(label, one["difference"], one["low"], one["high"], COLOURS[one["verdict"]], _signed(one["difference"]))
        for label, one in zip(_labels([one[named] for one in drawn]), drawn, strict=True)
    ]  # fmt: skip
    legend = [(COLOURS[word], word) for word in dict.fromkeys(one["verdict"] for one in drawn)]
    return intervals(
        key, f"{what}, over seeds",
        f"{len(items)} mean differences over seeds with 95 % t intervals; lower is better.",
        items, middle=0.0, logarithmic=False, x_name="bits per byte less those of the first arm (lower is better)",
        header=("what", "difference", "from", "to"),
        rows=[(one[named], _signed(one["difference"]), _signed(one["low"]), _signed(one["high"])) for one in drawn],
        legend=legend,
    )  # fmt: skip
