"""`curate compare`: two models on the same items, task by task.

Items are paired where a task's definition and data are the same. One metric of each task is tested (`PRIMARY`, unless it is
named), all others are told without a verdict: who tests every number finds a difference in one of them. A verdict needs a
p-value, adjusted over all tests (Holm), below 5%, and an interval without zero.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from curate.errors import CurateError, did_you_mean
from curate.evaluation.metrics import METRICS, Metric, adding, clustered, finite, is_binary
from curate.evaluation.pairs import Pair, notes_of, pair_of
from curate.evaluation.result import Evaluation, open_evaluation
from curate.evaluation.statistics import (
    detectable,
    detectable_share,
    exchanged,
    holm,
    least_p,
    matched_difference,
    mcnemar,
    paired,
    wide,
)
from curate.jsontext import dumps

__all__ = [
    "MEANING",
    "PRIMARY",
    "Comparison",
    "Difference",
    "compare",
    "compare_metric",
    "find_evaluation",
    "told_of_groups",
]

Verdict = Literal["better", "worse", "no difference shown"]
PRIMARY = ("accuracy", "exact_match", "span_f1", "pearson", "bleu", "chrf", "rougeL", "token_f1", "bits_per_byte")
"""What is tested, unless it is named: the first of these that a task has."""
OF_GROUPS = (
    "stereotype_share", "coreference_gap", "bias_ambiguous", "bias_disambiguated", "counterfactual_difference", "toxic_share"
)  # fmt: skip
"""What is told of groups where a task has some of them, else what is tested."""
LEVEL, ROUNDING = 0.05, 1e-3
MEANING = (
    "This compares these trained models on these items, not how they were made: another seed of the same training can differ "
    "as much. What data or settings are worth needs several seeds of each (`curate ablate`)."
)


def told_of_groups(metrics: Iterable[str]) -> list[str]:
    """Which metrics of a group are told, of those that it has."""
    there = list(metrics)
    return [name for name in OF_GROUPS if name in there] or [name for name in (*PRIMARY, *there) if name in there][:1]


@dataclass(frozen=True, slots=True)
class Difference:
    """A metric of the other model less that of the first, on the same items.

    Attributes:
        task: The task.
        baseline: Name of the first model.
        model: Name of the other.
        metric: The metric.
        first: The first model's value.
        other: The other's.
        difference: other - first, or, of a metric with an ideal value, how much farther from it; None where one has no value.
        low: Of its 95% interval; None where items cannot tell: fewer than two, or none on which the models differ.
        high: As `low`.
        p: Of no difference: McNemar's exact test for items that are right or wrong, else approximate randomization.
        n: Items that both were measured on, and that the metric is a function of.
        clusters: Of these, where they are not alone.
        detectable: The least true difference that would be found in 8 of 10 tries, before any other test has found one (Holm's
            first step); None where the items are too few for any.
        higher_is_better: Which way is better.
        p_holm: p, adjusted over all tests; None where it is not tested.
        verdict: None where it is not tested.
        by: Column and value, where it is of some of the items.
    """

    task: str
    baseline: str
    model: str
    metric: str
    first: float | None
    other: float | None
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    n: int
    clusters: int | None
    detectable: float | None
    higher_is_better: bool
    p_holm: float | None = None
    verdict: Verdict | None = None
    by: tuple[str, str] | None = None

    @property
    def shown(self) -> Verdict:
        """What its own p-value and interval show, without other tests."""
        if self.low is None or self.high is None or self.p is None or self.p >= LEVEL or self.low <= 0 <= self.high:
            return "no difference shown"
        return "better" if (self.low > 0) == self.higher_is_better else "worse"

    @property
    def missed(self) -> str:
        """What would have been found, in words; nothing where there is no interval."""
        if self.low is None or self.p is None:
            return ""
        if self.detectable is None:
            return f"{self.n:,} items are too few to find any difference"
        return f"a true difference of {self.detectable:.3g} would be found in 8 of 10 tries"

    def json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        names = [name for name in self.__slots__ if name != "by"]
        return {name: getattr(self, name) for name in names} | ({"by": list(self.by)} if self.by else {})


@dataclass(frozen=True, slots=True)
class Comparison:
    """Some evaluations, compared with the first.

    Attributes:
        evaluations: By the name that they are told by.
        tests: One difference for each task and model: the one with a verdict.
        others: All other metrics.
        groups: The tested metric of the values of the tasks' `by` columns.
        apart: Tasks that could not be paired: task, model, why.
        notes: What people should know of it.
    """

    evaluations: dict[str, Evaluation]
    tests: tuple[Difference, ...]
    others: tuple[Difference, ...]
    groups: tuple[Difference, ...]
    apart: tuple[tuple[str, str, str], ...]
    notes: tuple[str, ...]

    def json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "models": [
                {"name": name, "folder": str(one.folder), "identity": one.result["identity"]}
                for name, one in self.evaluations.items()
            ],
            "comparisons": [one.json() for one in self.tests],
            "secondary": [one.json() for one in self.others],
            "groups": [one.json() for one in self.groups],
            "not_compared": [{"task": task, "model": model, "reason": reason} for task, model, reason in self.apart],
            "notes": list(self.notes),
            "meaning": MEANING,
        }  # fmt: skip


def find_evaluation(named: str) -> Evaluation:
    """The evaluation in a folder, or that of a run or model in `evaluations/`.

    Raises:
        CurateError: There is none.
    """
    beside = Path("evaluations") / Path(named).name
    for folder in (Path(named), beside):
        if (folder / "items").is_dir():
            return open_evaluation(folder)
    known = sorted(path.parent.name for path in Path("evaluations").glob("*/items"))
    near = did_you_mean(Path(named).name, known) or (f"there are: {', '.join(known[:10])}" if known else None)
    model = f"`curate eval {named}` makes one" if Path(named).is_dir() else "`curate eval MODEL` makes one"
    raise CurateError(f"there is no evaluation of `{named}`", f"{named} and {beside}", near or model)


def named_apart(evaluations: Sequence[Evaluation]) -> dict[str, Evaluation]:
    """Evaluations by the names of their folders, or by the whole paths where names are the same.

    Raises:
        CurateError: One of them is there twice.
    """
    places = [one.folder.resolve() for one in evaluations]
    twice = next((one for number, one in enumerate(places) if one in places[:number]), None)
    if twice is not None:
        raise CurateError("an evaluation is compared with itself", str(twice), "name another one")
    names = [one.name for one in places]
    return {
        name if names.count(name) == 1 else str(one.folder): one
        for name, one in zip(names, evaluations, strict=True)
    }  # fmt: skip


def compare(
    evaluations: Sequence[Evaluation],
    *,
    metrics: Sequence[str] = (),
    seed: int = 0,
    say: Callable[[str], None] = lambda words: None,
) -> Comparison:
    """Compare each evaluation with the first, on the tasks that both have of the same data.

    Args:
        evaluations: Two or more.
        metrics: What is tested: of each task the first of them that it has; tasks without any are not tested.
        seed: Of the draws.
        say: Told which task is next.

    Raises:
        CurateError: A metric is not known, or nothing can be compared.
    """
    for name in metrics:
        if name not in METRICS:
            raise CurateError(f"there is no metric `{name}`", "--metric", _known(name, METRICS))
    named = named_apart(evaluations)
    baseline = next(iter(named))
    pairs, apart, notes = _pairs(named)
    level = LEVEL / max(sum(_tested(pair, metrics) is not None for _, _, pair in pairs), 1)
    found: list[Difference] = []
    for task, name, pair in pairs:
        say(task)
        notes += [f"{task}: {words}" for words in notes_of(pair)]
        some = _differences(pair, _tested(pair, metrics), seed, level)
        found += [replace(one, task=task, baseline=baseline, model=name) for one in some]
    whole = [one for one in found if not one.by]
    tests, told = [one for one in whole if one.verdict], tuple(one for one in whole if not one.verdict)
    if not tests:
        raise _nothing(metrics, told, apart)
    adjusted = holm([1.0 if one.p is None else one.p for one in tests])
    judged = tuple(_judged(one, p) for one, p in zip(tests, adjusted, strict=True))
    groups = tuple(one for one in found if one.by)
    return Comparison(named, judged, told, groups, tuple(apart), tuple(dict.fromkeys(notes)))


def _pairs(
    named: Mapping[str, Evaluation],
) -> tuple[list[tuple[str, str, Pair]], list[tuple[str, str, str]], list[str]]:
    """Task, model and pair; task, model and why there is none; and what people should know."""
    baseline, *others = named
    pairs: list[tuple[str, str, Pair]] = []
    apart: list[tuple[str, str, str]] = []
    notes: list[str] = []
    for name in others:
        if named[name].result["identity"] == named[baseline].result["identity"]:
            notes.append(f"{baseline} and {name} are the same model")
        for task in dict.fromkeys([*named[baseline].result["tasks"], *named[name].result["tasks"]]):
            pair = pair_of(task, named[baseline], named[name])
            if isinstance(pair, str):
                apart.append((task, name, pair))
            elif not pair.metrics:
                apart.append((task, name, "there is no metric that both have"))
            else:
                pairs.append((task, name, pair))
    return pairs, apart, notes


def identity_of(evaluation: Evaluation) -> str:
    """The hash that the store's record of an evaluation names its result by."""
    return hashlib.sha256(dumps(evaluation.result).encode()).hexdigest()


def _known(name: str, known: Any) -> str:
    return did_you_mean(name, known) or f"there are: {', '.join(known)}"


def _nothing(metrics: Sequence[str], told: Sequence[Difference], apart: list[tuple[str, str, str]]) -> CurateError:
    if told:
        has = dict.fromkeys(one.metric for one in told)
        return CurateError(f"no task has the metric {' or '.join(metrics)}", "--metric", f"they have: {', '.join(has)}")
    listed = "; ".join(f"{task}: {reason}" for task, _, reason in apart[:5])
    return CurateError("no task can be compared", listed or None, "evaluate both models with the same tasks and data")


def _judged(one: Difference, p: float) -> Difference:
    verdict = one.shown if p < LEVEL else "no difference shown"
    return replace(one, p_holm=None if one.p is None else p, verdict=verdict)


def _tested(pair: Pair, metrics: Sequence[str]) -> str | None:
    return next((name for name in metrics or (*PRIMARY, *pair.metrics) if name in pair.metrics), None)


def _differences(pair: Pair, tested: str | None, seed: int, level: float) -> Iterator[Difference]:
    """The metrics that both have; the one that is tested is marked by a verdict, which is decided later."""
    left, right = pair.first.table, pair.other.table
    for name in pair.metrics:
        if name == tested:
            one = compare_metric(name, left, right, seed=seed, same=pair.same, level=level)
            yield replace(one, verdict="no difference shown")
        else:
            yield compare_metric(name, left, right, seed=seed, same=pair.same)
    if tested is None:
        return
    for by in dict.fromkeys([*pair.first.about.get("by", ()), *pair.other.about.get("by", ())]):
        table = next((one for one in (left, right) if by in one.column_names), None)
        if table is None:
            continue
        values = np.array(table[by].cast(pa.string()).fill_null("(none)").to_pylist(), object)
        for value in sorted(set(values)):
            rows = np.flatnonzero(values == value)
            some = compare_metric(tested, left.take(rows), right.take(rows), seed=seed, same=pair.same)
            yield replace(some, by=(by, value))


def compare_metric(
    name: str, first: pa.Table, other: pa.Table, *, seed: int = 0, same: bool = False, level: float = LEVEL
) -> Difference:
    """One metric of two tables of the same items, row by row.

    Args:
        name: In `METRICS`.
        first: Facts of the first model.
        other: Facts of the other.
        seed: Of the draws.
        same: They are one model: what differs by less than a thousandth is rounding, and no finding.
        level: Of the test, for `detectable`.
    """
    metric = METRICS[name]
    left, right = _rows(metric, first, other)
    counted = adding(left) | adding(right)
    n, items = int(counted.sum()), first.filter(pa.array(counted))
    (left, clusters), (right, _) = (clustered(rows[counted], items) for rows in (left, right))
    sums = [np.asarray(rows.sum(axis=0), float).reshape(1, -1) for rows in (left, right)]
    one, two = (float(metric.value(some)[0]) if n else math.nan for some in sums)
    found = Difference(
        "", "", "", name, one if math.isfinite(one) else None, two if math.isfinite(two) else None, None, None, None, None, n,
        clusters, None, higher_is_better=metric.higher_is_better,
    )  # fmt: skip
    if found.first is None or found.other is None or not (finite(left) and finite(right)):
        return found
    found = replace(found, difference=float(metric.judged(sums[1])[0] - metric.judged(sums[0])[0]))
    if same and abs(two - one) <= ROUNDING * max(abs(one), abs(two)):
        return replace(found, low=found.difference, high=found.difference)
    count = left.shape[0]
    if metric.share and metric.ideal is None and clusters is None and is_binary(left) and is_binary(right):
        wins, losses = int((right[:, 0] > left[:, 0]).sum()), int((left[:, 0] > right[:, 0]).sum())
        estimate = matched_difference(wins, losses, n)
        return replace(found, p=mcnemar(wins, losses), low=estimate.low, high=estimate.high,
                       detectable=detectable_share(wins, losses, n, level=level))  # fmt: skip
    estimate = paired(left, right, metric.judged, seed=seed)
    found = replace(found, p=exchanged(left, right, metric.judged, seed=seed) if estimate else None)
    # items that all agree have no spread: they bound what is measured exactly, and nothing that is counted
    if estimate is None or (estimate.low == estimate.high and "nats" not in metric.facts):
        return found
    least = None
    if least_p(count) < level:
        error = (estimate.high - estimate.low) / (2 * NormalDist().inv_cdf((1 + wide(count)) / 2))
        least = detectable(error, count - 1, count - 1, level=level)
    return replace(found, low=estimate.low, high=estimate.high, detectable=least)


def _rows(metric: Metric, first: pa.Table, other: pa.Table) -> tuple[Any, Any]:
    """Both models' rows, as sums of the same things."""
    if not metric.together:
        return metric.rows(first), metric.rows(other)
    facts = list(metric.facts)
    tables = [first.select(facts), other.select(facts)]
    whole = metric.rows(pa.concat_tables(tables, promote_options="permissive"))
    return whole[: first.num_rows], whole[first.num_rows :]
