"""`curate compare`: two models on the same items, task by task.

Items are paired where a task's definition and data are the same. One metric of each task is tested (`PRIMARY`, unless it is
named), all others are told without a verdict: who tests every number finds a difference in one of them. A verdict needs a
p-value, adjusted over all tests (Holm), below 5%, and an interval without zero.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from curate.errors import CurateError, did_you_mean
from curate.evaluation.metrics import METRICS, Metric, clustered, finite, is_binary
from curate.evaluation.result import Evaluation, Items, open_evaluation
from curate.evaluation.statistics import detectable, exchanged, holm, matched_difference, mcnemar, paired
from curate.jsontext import dumps

__all__ = ["MEANING", "PRIMARY", "Comparison", "Difference", "compare", "compare_metric", "find_evaluation"]

Verdict = Literal["better", "worse", "no difference shown"]
PRIMARY = ("accuracy", "exact_match", "span_f1", "pearson", "bleu", "chrf", "rougeL", "token_f1", "bits_per_byte")
"""What is tested, unless it is named: the first of these that a task has."""
LEVEL = 0.05
MEANING = (
    "This compares these trained models on these items, not how they were made: another seed of the same training can differ "
    "as much. What data or settings are worth needs several seeds of each (`curate ablate`)."
)


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
        difference: other - first; None where one of them has no value.
        low: Of its 95% interval; None where items cannot tell: fewer than two, or none on which the models differ.
        high: As `low`.
        p: Of no difference: McNemar's exact test for items that are right or wrong, else approximate randomization.
        n: Items that both were measured on.
        clusters: Of these, where they are not alone.
        detectable: The least true difference that would be found in 8 of 10 tries.
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
    baseline, *others = named
    found: list[Difference] = []
    apart: list[tuple[str, str, str]] = []
    notes: list[str] = []
    for name in others:
        if named[name].result["identity"] == named[baseline].result["identity"]:
            notes.append(f"{baseline} and {name} are the same model")
        for task in dict.fromkeys([*named[baseline].result["tasks"], *named[name].result["tasks"]]):
            pair = _pair(task, named[baseline], named[name])
            if isinstance(pair, str):
                apart.append((task, name, pair))
                continue
            say(task)
            notes += [f"{task}: {words}" for words in _notes(pair)]
            some = [replace(one, task=task, baseline=baseline, model=name) for one in _differences(pair, metrics, seed)]
            found += some
            if not some:
                apart.append((task, name, "there is no metric that both have"))
    whole = [one for one in found if not one.by]
    tests, told = [one for one in whole if one.verdict], tuple(one for one in whole if not one.verdict)
    if not tests:
        raise _nothing(metrics, told, apart)
    adjusted = holm([1.0 if one.p is None else one.p for one in tests])
    judged = tuple(_judged(one, p) for one, p in zip(tests, adjusted, strict=True))
    groups = tuple(one for one in found if one.by)
    return Comparison(named, judged, told, groups, tuple(apart), tuple(dict.fromkeys(notes)))


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


# ---- pairs


@dataclass(frozen=True, slots=True)
class _Pair:
    """Items that both were measured on, row by row; `same`: by one model; `lost`: items that only one has."""

    first: Items
    other: Items
    same: bool
    lost: int


def _pair(task: str, first: Evaluation, other: Evaluation) -> _Pair | str:
    """The items of both, or why they are not the same."""
    for one, absent in ((first, other), (other, first)):
        if task not in absent.result["tasks"]:
            return f"only {one.folder.name} has it"
    left, right = first.items(task), other.items(task)
    for what, words in (("data", "on other data"), ("definition", "with another definition")):
        if left.about[what] != right.about[what]:
            return f"measured {words}"
    same = (left.about["model"], left.about.get("length")) == (right.about["model"], right.about.get("length"))
    ids, others = left.table["id"].to_pylist(), right.table["id"].to_pylist()
    if ids == others:
        return _Pair(left, right, same, 0)
    places = {name: place for place, name in enumerate(others)}
    both = [(place, places[name]) for place, name in enumerate(ids) if name in places]
    if not both:
        return "no item is in both"
    one, two = (list(some) for some in zip(*both, strict=True))
    lost = len(ids) + len(others) - 2 * len(both)
    return _Pair(
        replace(left, table=left.table.take(one)), replace(right, table=right.table.take(two)), same, lost
    )  # fmt: skip


def _notes(pair: _Pair) -> Iterator[str]:
    if pair.lost:
        yield f"{pair.lost:,} items are in one of the two only, and left out"
    if pair.first.about.get("length") != pair.other.about.get("length"):
        lengths = [one.about.get("length") for one in (pair.first, pair.other)]
        yield f"one model reads {lengths[0]} tokens at once, the other {lengths[1]}"
    cuts = [one.about.get("cut") for one in (pair.first, pair.other)]
    if cuts[0] != cuts[1]:
        yield f"{cuts[0]} items were too long for the first model and were cut, {cuts[1]} for the other"
    if pair.first.table.num_rows < 20:
        yield f"{pair.first.table.num_rows} items are too few to tell much: see what would have been found"


def _differences(pair: _Pair, metrics: Sequence[str], seed: int) -> Iterator[Difference]:
    """The metrics that both have; the one that is tested is marked by a verdict, which is decided later."""
    left, right = pair.first.table, pair.other.table
    there = set(left.column_names) & set(right.column_names)
    names = [name for name, metric in METRICS.items() if there.issuperset(metric.facts)]
    tested = next((name for name in metrics or (*PRIMARY, *names) if name in names), None)
    for name in names:
        one = compare_metric(name, left, right, seed=seed, same=pair.same)
        yield replace(one, verdict="no difference shown") if name == tested else one
    if tested is None:
        return
    for by in pair.first.about.get("by", ()):
        if by not in there:
            continue
        values = np.array(left[by].cast(pa.string()).fill_null("(none)").to_pylist(), object)
        for value in sorted(set(values)):
            rows = np.flatnonzero(values == value)
            some = compare_metric(tested, left.take(rows), right.take(rows), seed=seed, same=pair.same)
            yield replace(some, by=(by, value))


def compare_metric(name: str, first: pa.Table, other: pa.Table, *, seed: int = 0, same: bool = False) -> Difference:
    """One metric of two tables of the same items, row by row.

    Args:
        name: In `METRICS`.
        first: Facts of the first model.
        other: Facts of the other.
        seed: Of the draws.
        same: They are one model, so that no difference is a fact and not a finding.
    """
    metric, n = METRICS[name], first.num_rows
    alone = _rows(metric, first, other)
    (left, clusters), (right, _) = (clustered(rows, first) for rows in alone)
    values = [float(metric.value(np.asarray(rows.sum(axis=0), float).reshape(1, -1))[0]) for rows in (left, right)]
    one, two = (value if np.isfinite(value) else None for value in values)
    found = Difference(
        "", "", "", name, one, two, None, None, None, None, n, clusters, None, higher_is_better=metric.higher_is_better
    )
    if one is None or two is None or not (finite(left) and finite(right)):
        return found
    if metric.share and clusters is None and is_binary(left) and is_binary(right):
        wins, losses = int((right[:, 0] > left[:, 0]).sum()), int((left[:, 0] > right[:, 0]).sum())
        estimate, p = matched_difference(wins, losses, n), mcnemar(wins, losses)
    else:
        estimate = paired(left, right, metric.value, seed=seed)
        p = exchanged(left, right, metric.value, seed=seed) if estimate else None
    found = replace(found, difference=two - one, p=p)
    if same:
        return replace(found, low=found.difference, high=found.difference)
    # items that all agree have no spread: they bound what is measured exactly, and nothing that is counted
    if estimate is None or (estimate.low == estimate.high and "nats" not in metric.facts):
        return found
    error = (estimate.high - estimate.low) / (2 * 1.959964)
    return replace(found, low=estimate.low, high=estimate.high, detectable=detectable(error))


def _rows(metric: Metric, first: pa.Table, other: pa.Table) -> tuple[Any, Any]:
    """Both models' rows, as sums of the same things."""
    if not metric.together:
        return metric.rows(first), metric.rows(other)
    facts = list(metric.facts)
    tables = [first.select(facts), other.select(facts)]
    whole = metric.rows(pa.concat_tables(tables, promote_options="permissive"))
    return whole[: first.num_rows], whole[first.num_rows :]
