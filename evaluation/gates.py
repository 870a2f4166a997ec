"""Gates: what has to be shown by a comparison, in words.

    [METRIC] better                        the interval is on the better side of zero, and p is below 5%
    [METRIC] not worse than 0.5%           the interval's worse end is at most so much of the first model's value
    [METRIC] not worse than 1 point        ... at most 0.01 of a share, or 1 of a score from 0 to 100
    [METRIC] not worse than 0.02           ... at most so much in the metric's own unit
    [METRIC] at least 0.6                  the lower end of the metric's own interval is at least so much (also 60%, 60 points)
    [METRIC] at most 2.9                   ... the upper end at most
    [METRIC] on TASK ...                   of one task; otherwise of every task that has the metric, and all have to be compared

That no difference is shown shows nothing: a gate asks for the bound of the interval (a non-inferiority test at 2.5%). All gates
have to hold in all tasks and models that they are about, so that their p-values need no adjustment (Berger 1982). A gate that
is not shown has either `failed`, where the whole interval is on the wrong side, or it `cannot tell`: both end a command.

A bootstrap knows no more than its items: of 2 to 4 a model that is worse by exactly the margin passes in 23, 15 and 7 of 100
tries, from 6 on in 3. Below FEWEST items, or clusters of them, a gate of a metric cannot tell.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, NoReturn

from curate.errors import CurateError, did_you_mean
from curate.evaluation.compare import Comparison, Difference
from curate.evaluation.metrics import METRICS
from curate.evaluation.result import Evaluation

__all__ = ["FACTS", "Gate", "Judged", "Verdict", "judge", "judge_limits", "read_gate"]

Unit = Literal["percent", "points", "ms", "MB", ""]
Verdict = Literal["passed", "failed", "cannot tell"]
EXAMPLES = (
    '"bits_per_byte not worse than 0.5%", "accuracy on sst2 better", "f1 not worse than 1 point", "f1 at least 0.6"'
)
OF_HUNDRED = ("bleu", "chrf")
FACTS: dict[str, tuple[Unit, str]] = {
    "contamination": ("percent", "--contamination VERSION"),
    "memorization": ("percent", "--memorization 500"),
    "leaks": ("percent", "--leaks 500"),
    "latency": ("ms", "--cost"),
    "size": ("MB", "--cost"),
}
"""What is measured of a model and is no metric of a task: in what it is told, and what of `curate eval` measures it."""
FEWEST = 6
"""Items, below which `better` is not shown either: the least p that 5 can give is above 5%."""
_NUMBER = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(%|percent|points?|ms|MB)?")
_LIMITS: dict[str, Literal["at least", "at most"]] = {"at least": "at least", "at most": "at most"}
_UNITS: dict[str | None, Unit] = {
    "%": "percent", "percent": "percent", "point": "points", "points": "points", "ms": "ms", "MB": "MB", None: ""
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Gate:
    """What has to be shown.

    Attributes:
        text: As it was written.
        metric: Of which metric, or which of `FACTS`.
        task: Of which task; None: of all that have it.
        margin: How much worse is allowed, or the limit; None: it has to be better.
        unit: Of the margin: percent of the first model's value, points, or the metric's own.
        limit: The margin is a limit of the model's own value; None: it is one of the difference from the first model.
    """

    text: str
    metric: str
    task: str | None
    margin: float | None
    unit: Unit
    limit: Literal["at least", "at most"] | None = None

    def bound(self, first: float) -> float:
        """The margin in the metric's unit, where the first model has this value."""
        assert self.margin is not None
        if self.unit == "percent":
            return self.margin / 100 * abs(first - (METRICS[self.metric].ideal or 0.0))
        return self.margin / 100 if self.unit == "points" and self.metric not in OF_HUNDRED else self.margin

    @property
    def limit_value(self) -> float:
        """The limit in the metric's unit: a share, bits, milliseconds or bytes."""
        assert self.margin is not None
        if self.unit in ("percent", "points") and self.metric not in OF_HUNDRED:
            return self.margin / 100
        return self.margin * 1e6 if self.unit == "MB" else self.margin


@dataclass(frozen=True, slots=True)
class Judged:
    """A gate, what became of it, and where it was not shown: task, model, why."""

    gate: Gate
    missing: tuple[str, ...]
    verdict: Verdict = "passed"

    @classmethod
    def by(cls, gate: Gate, reasons: Sequence[_Reason]) -> Judged:
        """A gate with what speaks against it."""
        failed = any(one.failed for one in reasons)
        verdict: Verdict = "failed" if failed else "cannot tell" if reasons else "passed"
        return cls(gate, tuple(one.words for one in reasons), verdict)

    def json(self) -> dict[str, object]:
        """As `--json` prints it."""
        return {
            "gate": self.gate.text, "passed": not self.missing, "verdict": self.verdict, "missing": list(self.missing),
        }  # fmt: skip


class _Reason(NamedTuple):
    """Why a gate is not shown; `failed`: the opposite is."""

    words: str
    failed: bool = False


def read_gate(text: str) -> Gate:
    """The gate that somebody wrote.

    Raises:
        CurateError: It cannot be read; the error names the first character that is not understood.
    """
    words = [(match[0], match.start()) for match in re.finditer(r"\S+", text)]
    if not words:
        _refuse(text, 0, "the gate is empty")
    (metric, place), *rest = words
    if metric not in METRICS and metric not in FACTS:
        _refuse(text, place, f"there is no metric `{metric}`", did_you_mean(metric, (*METRICS, *FACTS)))
    task = None
    if rest and rest[0][0] == "on":
        if len(rest) < 2:
            _refuse(text, len(text), "after `on` comes the name of a task")
        task, rest = rest[1][0], rest[2:]
    said = [word for word, _ in rest]
    if said == ["better"] and metric in METRICS:
        return Gate(text, metric, task, None, "")
    limit = _LIMITS.get(" ".join(said[:2]))
    count = 2 if limit else _check_way(text, metric, rest)
    start = rest[count][1] if len(rest) > count else len(text)
    found = _NUMBER.fullmatch(text[start:].strip())
    if found is None:
        own = FACTS.get(metric, ("percent", ""))[0]
        example = "0.5%, 1 point or 0.02" if own == "percent" else f"100 {own}"
        _refuse(text, start, f"after `{' '.join(said[:count])}` comes a number, as {example}")
    unit = _UNITS[found[2]]
    _check_unit(text, start, metric, unit, float(found[1]), limit=limit is not None)
    return Gate(text, metric, task, float(found[1]), unit, limit)


def _check_way(text: str, metric: str, rest: Sequence[tuple[str, int]]) -> int:
    """How many words say that a metric has to be not worse than something; refuse others."""
    wanted = ("not", "worse", "than") if metric in METRICS else ("at", "most")
    for number, word in enumerate(wanted):
        if number >= len(rest) or rest[number][0] != word:
            at = rest[number][1] if number < len(rest) else len(text)
            ways = "`better`, or `not worse than`, `at least` or `at most`" if metric in METRICS else "`at most`"
            _refuse(text, at, f"a metric has to be {ways} something")
    return len(wanted)


def _check_unit(text: str, start: int, metric: str, unit: Unit, number: float, *, limit: bool) -> None:
    """Refuse a number that cannot be of this metric."""
    own = FACTS.get(metric, ("", ""))[0]
    if (own in ("ms", "MB")) != (unit in ("ms", "MB")) or (own in ("ms", "MB") and own != unit):
        told = own if own in ("ms", "MB") else "its own unit"
        _refuse(text, start, f"`{metric}` is told in {told}", f"`{metric} at most 100 {own}`" if own else None)
    nats = metric in METRICS and "nats" in METRICS[metric].facts
    if nats and (unit == "points" or (limit and unit == "percent")):
        what, hint = ("points", "say it in percent, or in its own unit") if unit == "points" else ("percent", None)
        _refuse(text, start, f"`{metric}` is no share, and has no {what}", hint or "say it in its own unit")
    share = own == "percent" or (metric in METRICS and METRICS[metric].share)
    if unit == "" and share and (number > 1 if limit else number >= 1):
        told = "cannot be above 1" if limit else "cannot be worse by more than 1"
        _refuse(text, start, f"`{metric}` is a share: it {told}", f"`{number:g} points`, or less than 1")


def _refuse(text: str, place: int, problem: str, hint: str | None = None) -> NoReturn:
    raise CurateError(problem, f'--gate "{text}", character {place + 1}', hint or f"gates are like {EXAMPLES}")


def judge(gates: Sequence[Gate], found: Comparison, *, fewest: int = FEWEST) -> tuple[Judged, ...]:
    """Which gates are shown; a limit is one of all models but the first.

    Args:
        gates: What has to be shown.
        found: The comparison.
        fewest: Items, or clusters, below which its intervals say nothing.

    Raises:
        CurateError: A gate is about a task or metric that was not compared, or about what was not measured.
    """
    others = dict(list(found.evaluations.items())[1:])
    return tuple(
        judge_limits([gate], others)[0] if gate.limit else Judged.by(gate, _missing(gate, found, fewest))
        for gate in gates
    )


def judge_limits(gates: Sequence[Gate], evaluations: Mapping[str, Evaluation]) -> tuple[Judged, ...]:
    """Which limits are kept by all of some models, each alone.

    Args:
        gates: Of which each has a `limit`.
        evaluations: By name.

    Raises:
        CurateError: A gate is about what was not measured; the hint says what measures it.
    """
    return tuple(
        Judged.by(gate, [
            reason
            for name, one in evaluations.items()
            for what, value, low, high in _measured(gate, name, one)
            if (reason := _beyond(gate, what, value, low, high))
        ])
        for gate in gates
    )  # fmt: skip


def _beyond(gate: Gate, what: str, value: float | None, low: float | None, high: float | None) -> _Reason | None:
    """Why a limit is not shown to be kept."""
    if value is None or low is None or high is None:
        return _Reason(f"{what}: cannot tell: the items cannot bound it, or are fewer than {FEWEST}")
    limit, least = gate.limit_value, gate.limit == "at least"
    if (low >= limit) if least else (high <= limit):
        return None
    failed = high < limit if least else low > limit
    told = f"{value:.4g}" + (f" ({low:.4g} to {high:.4g})" if low < high else "")
    words = f"{told} is {'less' if least else 'more'} than {limit:.4g}"
    end = f"it may be {low:.4g}" if least else f"it may be {high:.4g}"
    return _Reason(
        f"{what}: {words}" if failed else f"{what}: cannot tell: {told}: {end}, {limit:.4g} is the limit", failed
    )


Bounds = tuple[str, float | None, float | None, float | None]


def _measured(gate: Gate, name: str, one: Evaluation) -> list[Bounds]:
    """What a gate is about, as it was measured: in words, value, low, high.

    Raises:
        CurateError: It was not measured.
    """
    found = list(_facts(gate, name, one.result) if gate.metric in FACTS else _metrics(gate, name, one.result))
    if not found:
        tasks = one.result["tasks"]
        near = _near(gate.task, tasks) if gate.task and gate.task not in tasks else None
        of = f" of the task `{gate.task}`" if gate.task else ""
        option = FACTS[gate.metric][1] if gate.metric in FACTS else "--tasks FILE"
        hint = f"`curate eval {one.result['model']} {option} --out {one.folder}` measures it"
        raise CurateError(
            f"`{gate.metric}`{of} was not measured of {name}", str(one.folder), f"{near}; or {hint}" if near else hint
        )
    return found


def _metrics(gate: Gate, name: str, result: Mapping[str, Any]) -> Iterator[Bounds]:
    for task, metrics in result["tasks"].items():
        if gate.task in (None, task) and (one := metrics.get(gate.metric)):
            few = one.get("clusters", one["n"]) < FEWEST
            low, high = (None, None) if few else (one["low"], one["high"])
            yield f"{task} ({name})", one["value"], low, high


def _facts(gate: Gate, name: str, result: Mapping[str, Any]) -> Iterator[Bounds]:
    if gate.metric == "contamination":
        for task, one in result.get("contamination", {"tasks": {}})["tasks"].items():
            if gate.task in (None, task):
                yield f"{task} ({name})", *(one["share"][key] for key in ("value", "low", "high"))
    elif gate.metric in ("memorization", "leaks") and gate.metric in result:
        yield name, *_excess(result[gate.metric])
    elif gate.metric in ("latency", "size") and "cost" in result:
        one = result["cost"][gate.metric]
        yield name, one["value"], one["low"], one["high"]


def _excess(found: Mapping[str, Any]) -> tuple[float | None, float | None, float | None]:
    """What is continued verbatim of the training more than of held-out text, with Newcombe's interval (1998, method 10)."""
    train, held = (found["verbatim"][split] for split in ("train", found["held_out"]))
    if train["value"] is None or held["value"] is None:
        return None, None, None
    value = train["value"] - held["value"]
    low = value - math.hypot(train["value"] - train["low"], held["high"] - held["value"])
    high = value + math.hypot(train["high"] - train["value"], held["value"] - held["low"])
    return value, low, high


def _missing(gate: Gate, found: Comparison, fewest: int) -> tuple[_Reason, ...]:
    every = (*found.tests, *found.others)
    some = [one for one in every if one.metric == gate.metric and gate.task in (None, one.task)]
    tasks = dict.fromkeys(one.task for one in every)
    absent = tuple(
        _Reason(f"{task} ({model}): not compared: {reason}")
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
    return (*absent, *(reason for one in some if (reason := _why_not(gate, one, fewest))))


def _has(found: Comparison, task: str, metric: str) -> bool:
    return any(metric in one.result["tasks"].get(task, {}) for one in found.evaluations.values())


def _near(name: str, known: dict[str, None]) -> str:
    return did_you_mean(name, known) or f"there are: {', '.join(known)}"


def _why_not(gate: Gate, one: Difference, fewest: int) -> _Reason | None:
    """Why a gate is not shown by a difference; None where it is."""
    what = f"{one.task} ({one.model})"
    if one.low is None or one.high is None or one.first is None or one.difference is None:
        return _Reason(f"{what}: cannot tell: the items cannot bound the difference")
    count = one.n if one.clusters is None else one.clusters
    if count < fewest:
        return _Reason(f"{what}: cannot tell: {count} items bound no difference, {fewest} or more do")
    interval = f"{one.difference:+.4g} ({one.low:+.4g} to {one.high:+.4g})"
    if gate.margin is None:
        if one.shown == "better":
            return None
        return _Reason(f"{what}: {interval}, p {one.p:.2g}", one.shown == "worse")
    sign = -1 if one.higher_is_better else 1
    least, worst = sorted((sign * one.low, sign * one.high))
    bound = gate.bound(one.first)
    if worst <= bound:
        return None
    words = f"it may be worse by {worst:.4g}, {bound:.4g} is allowed"
    if least > bound:
        return _Reason(f"{what}: {interval}: {words}", failed=True)
    room, half = bound - sign * one.difference, worst - sign * one.difference
    needed = one.n * (half / room) * (half / room) if room > 0 else math.inf
    more = f"; about {math.ceil(needed):,} items like these would tell" if math.isfinite(needed) else ""
    return _Reason(f"{what}: cannot tell: {interval}: {words}{more}")
