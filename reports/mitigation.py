"""The page of two versions compared: what a mitigation changed for each group, how sure that is, and what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from curate.audit.bias.comparison import Change
from curate.dataset.reader import Dataset
from curate.reports.bias_words import percent, quoted, ratio
from curate.reports.drawing import Figure
from curate.reports.html import render
from curate.reports.intervals import Interval, intervals
from curate.reports.numbers import number
from curate.reports.report import write_page

__all__ = ["build_comparison_report", "render_comparison"]

MOST_DRAWN, MOST_SENTENCES = 40, 12
COLOURS = {"changed": "dropped", "no change shown": "kept"}
TITLES = {"share": "Who is written about", "kept": "Who was kept", "label": "Labels by group"}
EXPLAINED = {
    "share": "The share of each group among documents that mention anybody of its axis, after less before, in points of a "
    "hundred. Any filter moves shares a little: the table says what dropping as many documents at random would have done.",
    "kept": "How often documents of a group were kept, over how often all others were, after over before: 1 is no change.",
    "label": "How often documents of a group have a label, less how often all others have it: that gap after, less the gap "
    "before, in points of a hundred. Weights count.",
}


def build_comparison_report(
    before: Dataset, after: Dataset, found: dict[str, Any], lexicons: Sequence[dict[str, Any]], out: Path
) -> Path:
    """Write the page.

    Raises:
        CurateError: The file cannot be written.
    """
    return write_page(out, render_comparison(before, after, found, lexicons))


def render_comparison(
    before: Dataset, after: Dataset, found: dict[str, Any], lexicons: Sequence[dict[str, Any]]
) -> str:
    """The page as HTML, of what `curate.audit.bias.comparison.compare` gives."""
    changes: list[Change] = found["changes"]
    titles = {key: title for key, title in TITLES.items() if key != "label" or any(one.subject for one in changes)}
    changed = sorted((one for one in changes if one.verdict == "changed"), key=lambda one: one.q or 0.0)
    return render(
        "mitigation.html",
        names=[f"{one.name} {one.tag or one.version[:12]}" for one in (before, after)],
        versions=[before.version, after.version],
        paired=found["paired"],
        cautions=[quoted(one) for one in found["cautions"]],
        compared=sum(one.q is not None for one in changes),
        insufficient=sum(one.verdict == "insufficient" for one in changes),
        changed=len(changed),
        sentences=[sentence(one) for one in changed[:MOST_SENTENCES]],
        others=max(0, len(changed) - MOST_SENTENCES),
        charts=[(key, title, EXPLAINED[key], _figure(key, title, changes)) for key, title in titles.items()],
        little=", ".join(
            dict.fromkeys(f"{one.group} ({one.axis})" for one in changes if one.verdict == "insufficient")
        ),
        cost=[_cost(name, pair) for name, pair in found["cost"].items()],
        lexicons=[tuple(one.values()) for one in lexicons],
        stages=_stages(before, after),
        contents=[
            ("found", "What changed", []),
            *((key, title, []) for key, title in titles.items()),
            ("cost", "What it cost", []),
            ("done", "What was done", []),
            ("limits", "What this cannot tell", []),
        ],
    )


def sentence(one: Change) -> str:
    """A change, in a sentence or two."""
    assert one.difference and one.before is not None and one.after is not None
    found = one.difference
    if one.measure == "label":
        return (
            f"Before, \u201c{one.subject}\u201d was {_gap(one.before)} in documents that mention \u201c{one.group}\u201d "
            f"({one.axis}) than in others; after, {_gap(one.after)}. The change is "
            f"{_points(found.value)} points (95 % interval {_points(found.low)} to {_points(found.high)})."
        )
    if one.measure == "share":
        told = (
            f"Of the documents that mention anybody by {one.axis}, {percent(one.before)} mentioned \u201c{one.group}\u201d "
            f"before and {percent(one.after)} after: {_points(found.value)} points (95 % interval {_points(found.low)} to "
            f"{_points(found.high)})."
        )
        if one.random:
            told += f" Dropping at random would have given {_points(one.random[0])} to {_points(one.random[1])}."
        return told
    return (
        f"Documents that mention \u201c{one.group}\u201d ({one.axis}) were kept {ratio(one.before)} times as often as others "
        f"before and {ratio(one.after)} times as often after: {_factor(one)}."
    )


def _gap(share: float) -> str:
    points = abs(100 * share)
    return (
        f"{points:.1f} points {'more' if share > 0 else 'less'} frequent"
        if points >= 0.05
        else "no more and no less frequent"
    )


def _value(key: str, part: float) -> str:
    return _points(part) if key == "label" else percent(part) if key == "share" else ratio(part)


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


def _factor(one: Change) -> str:
    assert one.difference
    return f"\u00d7 {one.difference.value:.2f} (95 % interval {one.difference.low:.2f} to {one.difference.high:.2f})"


def _figure(key: str, title: str, changes: Sequence[Change]) -> Figure | None:
    """The changes of a measure, the clearest ones."""
    told = [one for one in changes if one.measure == key and one.difference]
    chosen = sorted(told, key=lambda one: 1.0 if one.q is None else one.q)[:MOST_DRAWN]
    shown = [one for one in told if one in chosen]
    if not shown:
        return None
    scale, name = (100.0, "points") if key != "kept" else (1.0, "after over before")
    items, rows = [], []
    for one in shown:
        assert one.difference and one.before is not None and one.after is not None
        low, value, high = (scale * part for part in (one.difference.low, one.difference.value, one.difference.high))
        note = (
            f"{value:+.1f} ({low:+.1f} to {high:+.1f})" if key != "kept" else f"{value:.2f} ({low:.2f} to {high:.2f})"
        )
        name_of = f"{one.group}: {one.subject.rpartition(' = ')[2]}" if one.subject else one.group
        items.append(Interval(name_of, value, low, high, COLOURS[one.verdict], note))
        random = f"{_points(one.random[0])} to {_points(one.random[1])}" if one.random else "\u2013"
        values = [_value(key, part) for part in (one.before, one.after)]
        q = "" if one.q is None else f"{one.q:.2g}"
        rows.append((name_of, one.axis, number(one.n), *values, note, random, q, one.verdict))
    return intervals(
        f"comparison-{key}", f"{title}: {name}", f"Changes of {len(shown)} groups with intervals", items,
        middle=1.0 if key == "kept" else 0.0, logarithmic=key == "kept", x_name=name,
        header=("group", "axis", "documents", "before", "after", "change (95 %)", "at random", "q", "verdict"), rows=rows,
        legend=[(COLOURS[one], one) for one in dict.fromkeys(one.verdict for one in shown)],
    )  # fmt: skip


def _cost(name: str, pair: Sequence[float]) -> tuple[str, str, str, str]:
    before, after = pair
    change = f"{100 * (after / before - 1):+.1f} %" if before else "\u2013"
    return name.replace("_", " "), number(round(before)), number(round(after)), change


def _stages(before: Dataset, after: Dataset) -> list[tuple[str, str, str, str]]:
    """What each stage of either version dropped."""
    tables = [{row["id"]: row for row in one.manifest["stages"]} for one in (before, after)]
    rows = []
    for name in dict.fromkeys(name for table in tables for name in table):
        kinds = [table[name]["stage"] for table in tables if name in table]
        dropped = [number(table[name]["dropped"]) if name in table else "not there" for table in tables]
        rows.append((name, kinds[0], *dropped))
    return rows
