"""Gates: what has to be shown by a comparison, in words.

    [METRIC] better                        the interval is on the better side of zero, and p is below 5%
    [METRIC] not worse than 0.5%           the interval's worse end is at most so much of the first model's value
    [METRIC] not worse than 1 point        ... at most 0.01 of a share, or 1 of a score from 0 to 100
    [METRIC] not worse than 0.02           ... at most so much in the metric's own unit
    [METRIC] on TASK ...                   of one task; otherwise of every task that has the metric, and all have to be compared

That no difference is shown shows nothing: a gate asks for the bound of the interval (a non-inferiority test at 2.5%). All gates
have to hold in all tasks and models that they are about, so that their p-values need no adjustment (Berger 1982).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NoReturn

from curate.errors import CurateError, did_you_mean
from curate.evaluation.compare import Comparison, Difference
from curate.evaluation.metrics import METRICS

__all__ = ["Gate", "Judged", "judge", "read_gate"]

Unit = Literal["percent", "points", ""]
EXAMPLES = '"bits_per_byte not worse than 0.5%", "accuracy on sst2 better", "accuracy not worse than 1 point"'
OF_HUNDRED = ("bleu", "chrf")
_MARGIN = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(%|percent|points?)?")


@dataclass(frozen=True, slots=True)
class Gate:
    """What has to be shown.

    Attributes:
        text: As it was written.
        metric: Of which metric.
        task: Of which task; None: of all that have it.
        margin: How much worse is allowed; None: it has to be better.
        unit: Of the margin: percent of the first model's value, points, or the metric's own.
    """

    text: str
    metric: str
    task: str | None
    margin: float | None
    unit: Unit

    def bound(self, first: float) -> float:
        """The margin in the metric's unit, where the first model has this value."""
        assert self.margin is not None
        if self.unit == "percent":
            return self.margin / 100 * abs(first - (METRICS[self.metric].ideal or 0.0))
        return self.margin / 100 if self.unit == "points" and self.metric not in OF_HUNDRED else self.margin


@dataclass(frozen=True, slots=True)
class Judged:
    """A gate, and where it was not shown: task, model, why."""

    gate: Gate
    missing: tuple[str, ...]

    def json(self) -> dict[str, object]:
        """As `--json` prints it."""
        return {"gate": self.gate.text, "passed": not self.missing, "missing": list(self.missing)}


def read_gate(text: str) -> Gate:
    """The gate that somebody wrote.

    Raises:
        CurateError: It cannot be read; the error names the first character that is not understood.
    """
    words = [(match[0], match.start()) for match in re.finditer(r"\S+", text)]
    if not words:
        _refuse(text, 0, "the gate is empty")
    (metric, place), *rest = words
    if metric not in METRICS:
        _refuse(text, place, f"there is no metric `{metric}`", did_you_mean(metric, METRICS))
    task = None
    if rest and rest[0][0] == "on":
        if len(rest) < 2:
            _refuse(text, len(text), "after `on` comes the name of a task")
        task, rest = rest[1][0], rest[2:]
    said = [word for word, _ in rest]
    if said == ["better"]:
        return Gate(text, metric, task, None, "")
    for number, wanted in enumerate(("not", "worse", "than")):
        if said[number : number + 1] != [wanted]:
            at = rest[number][1] if number < len(rest) else len(text)
            _refuse(text, at, "a metric has to be `better`, or `not worse than` something")
    start = rest[3][1] if len(rest) > 3 else len(text)
    margin = _MARGIN.fullmatch(text[start:].strip())
    if margin is None:
        _refuse(text, start, "after `not worse than` comes a number, as 0.5%, 1 point or 0.02")
    unit: Unit = {"%": "percent", "percent": "percent", None: ""}.get(margin[2], "points")  # type: ignore[assignment]
    if unit == "points" and "nats" in METRICS[metric].facts:
        _refuse(text, start, f"`{metric}` is no share, and has no points", "say it in percent, or in its own unit")
    if unit == "" and float(margin[1]) >= 1 and METRICS[metric].share:
        _refuse(
            text,
            start,
            f"`{metric}` is a share: it cannot be worse by more than 1",
            f"`{margin[1]} points`, or less than 1",
        )
    return Gate(text, metric, task, float(margin[1]), unit)


def _refuse(text: str, place: int, problem: str, hint: str | None = None) -> NoReturn:
    raise CurateError(problem, f'--gate "{text}", character {place + 1}', hint or f"gates are like {EXAMPLES}")


def judge(gates: Sequence[Gate], found: Comparison) -> tuple[Judged, ...]:
    """Which gates are shown.

    Raises:
        CurateError: A gate is about a task or metric that was not compared.
    """
    return tuple(Judged(gate, _missing(gate, found)) for gate in gates)


def _missing(gate: Gate, found: Comparison) -> tuple[str, ...]:
    every = (*found.tests, *found.others)
    some = [one for one in every if one.metric == gate.metric and gate.task in (None, one.task)]
    tasks = dict.fromkeys(one.task for one in every)
    absent = tuple(
        f"{task} ({model}): not compared: {reason}"
        for task, model, reason in found.apart
        if task == gate.task or (gate.task is None and _has(found, task, gate.metric))
    )
    if gate.task is not None:
        if absent:
            return absent
        if gate.task not in tasks:
            _refuse(gate.text, gate.text.index(gate.task), f"there is no task `{gate.task}`", _near(gate.task, tasks))
    if not some and not absent:
        has = dict.fromkeys(one.metric for one in every if gate.task in (None, one.task))
        where = f"task `{gate.task}`" if gate.task else "no task"
        _refuse(
            gate.text, 0, f"{where} has {'no' if gate.task else 'the'} metric `{gate.metric}`", _near(gate.metric, has)
        )
    return (*absent, *(words for one in some if (words := _why_not(gate, one))))


def _has(found: Comparison, task: str, metric: str) -> bool:
    return any(metric in one.result["tasks"].get(task, {}) for one in found.evaluations.values())


def _near(name: str, known: dict[str, None]) -> str:
    return did_you_mean(name, known) or f"there are: {', '.join(known)}"


def _why_not(gate: Gate, one: Difference) -> str | None:
    """Why a gate is not shown by a difference; None where it is."""
    what = f"{one.task} ({one.model})"
    if one.low is None or one.high is None or one.first is None:
        return f"{what}: the items cannot bound the difference"
    interval = f"{one.difference:+.4g} ({one.low:+.4g} to {one.high:+.4g})"
    if gate.margin is None:
        return None if one.shown == "better" else f"{what}: {interval}, p {one.p:.2g}"
    worst, bound = (-one.low if one.higher_is_better else one.high), gate.bound(one.first)
    if worst <= bound:
        return None
    return f"{what}: {interval}: it may be worse by {worst:.4g}, {bound:.4g} is allowed"
