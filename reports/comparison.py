"""The page of a comparison of models: what is better, how sure, what would have been found, and what this cannot tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from curate.evaluation.compare import MEANING, Comparison, Difference
from curate.evaluation.gates import Judged
from curate.evaluation.metrics import METRICS
from curate.reports.definitions import definitions, shown, signed
from curate.reports.drawing import Figure
from curate.reports.html import render
from curate.reports.intervals import Interval, intervals
from curate.reports.numbers import number
from curate.reports.report import write_page

__all__ = ["build_comparison_page", "render_comparison"]

COLOURS = {"better": "kept", "worse": "dropped", "no difference shown": "ghost", None: "edited"}
MOST_DRAWN = 40
HEADER = ("task", "metric", "first", "other", "difference", "95% interval")


def build_comparison_page(found: Comparison, judged: Sequence[Judged], out: Path) -> Path:
    """Write the page.

    Raises:
        CurateError: The file cannot be written.
    """
    return write_page(out, render_comparison(found, judged))


def render_comparison(found: Comparison, judged: Sequence[Judged] = ()) -> str:
    """The page as HTML."""
    baseline, *others = found.evaluations
    verdicts = {word: sum(one.verdict == word for one in found.tests) for word in COLOURS if word}
    sections = [("tested", "What was tested"), ("others", "What else was measured"), ("groups", "By group"),
                ("apart", "What was not compared"), ("numbers", "What the numbers are"),
                ("limits", "What this cannot tell")]  # fmt: skip
    group_charts = list(_charts("groups", found.groups))
    there = {"others": found.others, "groups": group_charts, "apart": found.apart}
    return render(
        "comparison.html",
        baseline=baseline, others=others, notes=found.notes, meaning=MEANING, verdicts=verdicts, tests=len(found.tests),
        models=[(name, str(one.folder), str(one.result["identity"])) for name, one in found.evaluations.items()],
        sentences=[_sentence(one) for one in found.tests],
        charts=list(_charts("tested", found.tests)),
        gates=[(one.gate.text, "not shown" if one.missing else "shown", "; ".join(one.missing)) for one in judged],
        header=(*HEADER[:2], "verdict", *HEADER[2:], "p", "p (Holm)", "items", "found in 8 of 10"),
        rows=[_tested(one, len(others)) for one in found.tests],
        more_header=HEADER, more=[_cells(one, len(others)) for one in found.others],
        group_charts=group_charts,
        apart=found.apart, definitions=definitions(one.metric for one in (*found.tests, *found.others)),
        contents=[(name, title, []) for name, title in sections if there.get(name, True)],
    )  # fmt: skip


def _sentence(one: Difference) -> str:
    """A verdict as people say it."""
    metric = one.metric.replace("_", " ")
    if one.low is None or one.high is None:
        return f"{one.task}: {metric} cannot be compared on {one.n:,} items."
    values = f"{metric} {shown(one.other)} against {shown(one.first)}, {_difference(one)}"
    if one.verdict == "no difference shown":
        missed = f"; {one.missed}" if one.missed else ""
        return f"{one.task}: no difference is shown between {one.model} and {one.baseline}: {values}{missed}."
    return f"{one.task}: {one.model} is {one.verdict} than {one.baseline}: {values}."


def _cells(one: Difference, others: int) -> tuple[str, ...]:
    task = f"{one.task} ({one.model})" if others > 1 else one.task
    interval = "\u2013" if one.low is None else f"{signed(one.low)} to {signed(one.high)}"
    return task, one.metric.replace("_", " "), shown(one.first), shown(one.other), signed(one.difference), interval


def _tested(one: Difference, others: int) -> tuple[str, ...]:
    task, metric, *values = _cells(one, others)
    numbers = (_p(one.p), _p(one.p_holm), number(one.n), shown(one.detectable))
    return task, metric, one.verdict or "", *values, *numbers


def _difference(one: Difference) -> str:
    return f"{signed(one.difference)} ({signed(one.low)} to {signed(one.high)})"


def _p(value: float | None) -> str:
    return "\u2013" if value is None else f"{value:.2g}"


def _charts(key: str, differences: Sequence[Difference]) -> Iterator[Figure]:
    """One chart for each metric, and for each task and column where they are of groups: scales differ."""

    def kind(one: Difference) -> tuple[str, str, str, str]:
        task, model, by = (one.task, one.model, one.by[0]) if one.by else ("", "", "")
        return one.metric, task, model, by

    for at, (names, some) in enumerate(groupby(sorted(differences, key=kind), key=kind)):
        drawn = [one for one in some if one.low is not None][:MOST_DRAWN]
        if drawn:
            yield _chart(f"{key}-{at}", names, drawn)


def _chart(key: str, names: tuple[str, str, str, str], some: Sequence[Difference]) -> Figure:
    metric, task, model, by = names
    title = metric.replace("_", " ") + (
        f" of {task} by {by}: {model} less {some[0].baseline}" if by else f": other less {some[0].baseline}"
    )
    way = METRICS[metric].way
    items = [
        Interval(one.by[1] if one.by else f"{one.task} ({one.model})", one.difference or 0.0, one.low or 0.0, one.high or 0.0,
                 COLOURS[one.verdict], signed(one.difference))
        for one in some
    ]  # fmt: skip
    legend = [(COLOURS[word], word or "no verdict") for word in dict.fromkeys(one.verdict for one in some)]
    return intervals(
        key, title, f"{len(items)} differences with 95 % intervals; {way}.", items, middle=0.0, logarithmic=False,
        x_name=f"difference ({way})", header=("what", "first", "other", "difference (95 %)", "items"),
        rows=[(item.name, shown(one.first), shown(one.other), _difference(one), number(one.n))
              for item, one in zip(items, some, strict=True)],
        legend=legend,
    )  # fmt: skip
