"""The page of a sweep: which settings were picked, whether they are better, and how much the picking flattered them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from curate.reports.curves import learning_curves
from curate.reports.drawing import Figure
from curate.reports.html import render
from curate.reports.intervals import Interval, intervals
from curate.reports.numbers import number
from curate.reports.report import write_page

__all__ = ["build_sweep_page", "meaning", "render_sweep"]

DASH = "\u2013"
MOST_DRAWN = 40


def build_sweep_page(result: dict[str, Any], out: Path) -> Path:
    """Write the page.

    Raises:
        CurateError: The file cannot be written.
    """
    return write_page(out, render_sweep(result))


def meaning(result: dict[str, Any]) -> list[str]:
    """What a result says, in sentences."""
    count, winner, verdict = len(result["points"]), result["winner"], result["verdict"]
    if winner is None:
        return ["Nothing can be said: trainings of every point diverged."]
    if verdict == "not beaten":
        return [
            f"No other of the {count} points did better than the file's own settings; nothing was left to be tested."
        ]
    first = result["comparisons"][0]
    shown = "with no interval" if first["low"] is None else f"({first['low']:+.4f} to {first['high']:+.4f})"
    value = "unknown" if first["difference"] is None else f"{first['difference']:+.4f}"
    told = [
        f"Picked of {count} points: {winner}. Trained again with {len(result['fresh'])} other seeds, on documents that it was "
        f"not picked by, its bits per byte are {value} {shown} against the file's own settings: {verdict}."
    ]
    if verdict == "no difference shown" and first["mde"] is not None:
        told.append(f"A true difference of {first['mde']:.4f} would have been found in 8 of 10 tries.")
    picked, *_, last = (one["difference"] for one in result["flattery"])
    if picked is not None and last is not None:
        more = f"{last - picked:.4f} better" if last > picked else "no better"
        told.append(f"When it was picked it looked {more} than that: {picked:+.4f}.")
    return told


def render_sweep(result: dict[str, Any]) -> str:
    """The page as HTML."""
    ranked = sorted(result["points"], key=lambda one: (one["diverged"] > 0, one["value"] or 0.0))
    winner = next((one for one in ranked if one["name"] == result["winner"]), None)
    sections = [("found", "What was found"), ("points", "What was tried"), ("runs", "Learning curves and trainings"),
                ("limits", "What this cannot tell")]  # fmt: skip
    return render(
        "sweep.html",
        result=result, sentences=meaning(result), settings=[f"--set {one}" for one in winner["set"]] if winner else [],
        tested_header=("documents not picked by", "difference", "95% interval", "p", "Welch's p", "would be found", "verdict"),
        tested=[(one["task"], _signed(one["difference"]), _interval(one, "+.4f"), *(_p(one[key]) for key in ("p", "welch")),
                 _value(one["mde"]), one["verdict"]) for one in result["comparisons"]],
        flattery_header=("documents", "seeds", result["base"], "picked", "difference"),
        flattery=[("picked by" if one["half"] == "pick" else "not picked by", _seeds(result[one["seeds"]]),
                   _value(one["base"]), _value(one["winner"]), _signed(one["difference"])) for one in result["flattery"]],
        chart=_chart(ranked, result["winner"]),
        point_header=("settings", "shares", "bits per byte", "95% interval", "tokens", "seconds", "diverged"),
        points=[(one["name"], _shares(one["shares"]), _value(one["value"]), _interval(one, ".4f"), number(one["tokens"]),
                 f"{one['seconds']:,.0f}", str(one["diverged"])) for one in ranked],
        curves=learning_curves("curves-chart", {one["name"]: one["curve"] for one in ranked}),
        value_header=("settings", "held-out set", *(f"seed {seed}" for seed in result["seeds"])),
        values=[(one["name"], name, *map(_value, values)) for one in ranked for name, values in one["values"].items()],
        set_header=("held-out set", "documents", "to pick by", "to report on", "seen in training"),
        sets=[(one["name"], *(number(one[key]) for key in ("documents", "to_pick_by", "to_report")),
               number(one["documents"] - one["left"])) for one in result["heldout"]],
        contents=[(name, title, []) for name, title in sections],
    )  # fmt: skip


def _value(value: float | None) -> str:
    return DASH if value is None else f"{value:.4f}"


def _signed(value: float | None) -> str:
    return DASH if value is None else f"{value:+.4f}"


def _p(value: float | None) -> str:
    return DASH if value is None else f"{value:.2g}"


def _interval(one: dict[str, Any], form: str) -> str:
    return DASH if one["low"] is None else f"{one['low']:{form}} to {one['high']:{form}}"


def _seeds(seeds: list[int]) -> str:
    return ", ".join(map(str, seeds))


def _shares(shares: dict[str, float] | None) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in shares.items()) if shares else DASH


def _chart(ranked: list[dict[str, Any]], winner: str | None) -> Figure | None:
    drawn = [one for one in ranked if one["low"] is not None][:MOST_DRAWN]
    if not drawn:
        return None
    kinds = {
        one["name"]: "kept" if one["name"] == winner else "edited" if one["diverged"] else "ghost" for one in drawn
    }
    names = {"kept": "picked", "ghost": "not picked", "edited": "a training diverged"}
    items = [
        Interval(one["name"], one["value"], one["low"], one["high"], kinds[one["name"]], _value(one["value"]))
        for one in drawn
    ]
    return intervals(
        "points-chart", "Bits per byte when it was picked, over seeds",
        f"{len(items)} means over seeds with 95 % t intervals, not corrected for there being several; lower is better.",
        items, middle=None, logarithmic=False, x_name="bits per byte, on the documents that were picked by (lower is better)",
        header=("settings", "bits per byte", "from", "to"),
        rows=[(item.name, *map(_value, (item.value, item.low, item.high))) for item in items],
        legend=[(kind, names[kind]) for kind in dict.fromkeys(kinds.values())],
    )  # fmt: skip
