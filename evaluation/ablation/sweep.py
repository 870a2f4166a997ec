"""`curate sweep`: which settings train the better model, told on data and seeds that they were not picked by.

The best of n points is picked because it did well, so what it did is more than it will do. No formula for that is needed:
the picked point and the file's own settings are trained again, with seeds that nothing was picked by, and measured on the half
of the held-out documents that nothing was picked by. The difference is tested there, once. How much the picking flattered
is told beside it.

    sweeps/
      NAME/plan.json, NAME/result.json, NAME/report.html    (experiment.py)
      settings/ runs/ evaluations/                          of all sweeps, by key (trained.py)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from curate.dataset.reader import Dataset, open_dataset
from curate.dataset.runs import records
from curate.dataset.store import Store
from curate.errors import CurateError
from curate.evaluation.ablation.arms import Arm
from curate.evaluation.ablation.experiment import Experiment, experiment
from curate.evaluation.ablation.heldout import HeldOut, held_out_sets
from curate.evaluation.ablation.infer import PRIMARY, compare_arms, macro, t_interval
from curate.evaluation.ablation.points import BASE, Point, points_of
from curate.evaluation.ablation.trained import Shelf, Trained, cost, curve, key_of, values_of
from curate.evaluation.tasks.data import SMALL
from curate.train.data.tasks import references

__all__ = ["SCOPE", "Asked", "halves", "sweep"]

Say = Callable[[str], None]
SCOPE = (
    "This holds for models of this size, trained on as many tokens of this data. A setting that is best for a small model, or "
    "a short training, need not be best for a large or long one; learning rates least of all."
)
_TEXT = ("causal", "multi_token", "distillation")
"""Objectives whose models have bits per byte."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is tried, and how.

    Attributes:
        path: The training file.
        over: What is varied, `setting=value,value` or `setting=low..high`.
        store: Of the versions.
        folder: `sweeps`.
        name: Of this sweep.
        overrides: Changes of the file, for all points.
        draws: How many combinations are drawn; None: all are tried.
        seeds: Trainings of each point, to pick by.
        fresh: Trainings of the picked point and the file's own settings, to report.
        heldout: `VERSION_OR_FILE[:NAME]`; by default the validation splits.
        limit: Most documents of a held-out set.
        processes: Of a training.
    """

    path: Path
    over: Sequence[str]
    store: Store
    folder: Path
    name: str
    overrides: Sequence[str] = ()
    draws: int | None = None
    seeds: int = 3
    fresh: int = 5
    heldout: Sequence[str] = ()
    limit: int = 1000
    processes: int | None = None


@dataclass(frozen=True, slots=True)
class _Work:
    """What a sweep is done with: points, versions by reference, the halves, the mean that counts, and where models are."""

    points: Sequence[Point]
    datasets: Mapping[str, Dataset]
    pick: Sequence[HeldOut]
    report: Sequence[HeldOut]
    primary: Sequence[str]
    shelf: Shelf
    say: Say

    def train(self, points: Sequence[Point], seeds: Sequence[int], sets: Sequence[HeldOut], why: str) -> list[Trained]:
        """Every point with every seed; points take turns, so that what is there early tells of all."""
        todo = [(point, seed) for seed in seeds for point in points]
        found = []
        for number, (point, seed) in enumerate(todo, 1):
            self.say(f"{why}: {number} of {len(todo)}: {point.name}, seed {seed}")
            settings, versions = _pinned(point, self.datasets)
            found.append(self.shelf.trained(point.name, {**settings, "seed": seed}, versions, sets, self.say))
        return found


def sweep(asked: Asked, say: Say) -> dict[str, Any]:
    """Do what was asked, or go on with it; returns what `--json` prints.

    Raises:
        CurateError: The points or held-out sets do not fit, or the same name was used for another sweep.
        ResumableError: It was interrupted; the same call goes on.
    """
    points = points_of(asked.path, asked.over, asked.overrides, draws=asked.draws)
    _check(points)
    datasets = {name: open_dataset(name, asked.store) for point in points for name in references(point.config)}
    arms = [Arm(name, dataset, points[0].config.data.text) for name, dataset in datasets.items()]
    sets = held_out_sets(asked.heldout, arms, asked.store, limit=asked.limit, by=None, say=say)
    pick, report = halves(sets)
    primary = [one.name for one in sets if one.neutral] or [one.name for one in sets]
    work = _Work(points, datasets, pick, report, primary, Shelf(asked.folder, asked.store, asked.processes), say)
    plan = _plan(asked, work, sets)
    _tell_earlier(asked, sets, say)
    versions = {one.version: name for name, one in datasets.items()}
    with experiment(Experiment("sweep", asked.folder / asked.name, plan, asked.store, versions)) as finish:
        result = _swept(asked, work, plan)
        finish(result, [[result["winner"], PRIMARY, result["verdict"]]])
    return result


def halves(sets: Sequence[HeldOut]) -> tuple[list[HeldOut], list[HeldOut]]:
    """The documents to pick by, and those to report on, of each set: by a hash of their texts, so that equal ones lie together.

    Raises:
        CurateError: A half has no documents.
    """
    found: tuple[list[HeldOut], list[HeldOut]] = ([], [])
    for one in sets:
        for number, some in enumerate(found):
            kept = {name: text for name, text in one.kept.items() if int(text, 16) % 2 == number}
            if not kept:
                raise CurateError(
                    f"the held-out set `{one.name}` has too few documents to be divided: {len(one.kept)}",
                    hint="--heldout VERSION_OR_FILE names a larger one",
                )
            some.append(replace(one, kept=kept))
    return found


# ---- before the first step


def _check(points: Sequence[Point]) -> None:
    for point in points:
        if point.config.tasks or point.config.objective.kind not in _TEXT:
            kind = "several tasks" if point.config.tasks else f"the objective `{point.config.objective.kind}`"
            raise CurateError(
                f"a sweep compares bits per byte, which {kind} does not have", "objective", f"one of {', '.join(_TEXT)}"
            )


def _pinned(point: Point, datasets: Mapping[str, Dataset]) -> tuple[dict[str, Any], dict[str, str]]:
    """The settings of a point with whole names of its versions; and the ids of these."""
    names = {name: f"{one.name}@{one.version[:12]}" for name, one in datasets.items()}
    settings = point.config.model_dump(mode="json", exclude_unset=True, exclude={"run", "seed"})
    settings["dataset"] = names[settings["dataset"]]
    if settings.get("mixture"):
        settings["mixture"] = {names[name]: share for name, share in settings["mixture"].items()}
    return settings, {names[name]: one.version for name, one in datasets.items()}


def _plan(asked: Asked, work: _Work, sets: Sequence[HeldOut]) -> dict[str, Any]:
    seeds = list(range(1, asked.seeds + 1))
    config, warnings = work.points[0].config, [words for one in sets for words in one.warnings]
    small = [one.name for one in (*work.pick, *work.report) if len(one.kept) < SMALL <= 2 * len(one.kept)]
    warnings += [f"{name}: a half of it is fewer than {SMALL} documents" for name in dict.fromkeys(small)]
    if any(point.config.early_stopping for point in work.points) and not asked.heldout:
        warnings.append(
            "`early_stopping` looks at all of the validation split: --heldout names a set that it does not see"
        )
    if len({_tokens(point) for point in work.points}) > 1:
        warnings.append(
            "the points are not trained on equally many tokens: what costs more may be better for that alone"
        )
    return {
        "schema": 1, "name": asked.name, "file": _pinned(work.points[0], work.datasets)[0], "over": list(asked.over),
        "points": [{"name": one.name, "changes": dict(one.changes), "shares": one.shares, "tokens": _tokens(one)}
                   for one in work.points],
        "versions": {name: one.version for name, one in work.datasets.items()}, "column": config.data.text,
        "seeds": seeds, "fresh": list(range(asked.seeds + 1, asked.seeds + asked.fresh + 1)),
        "heldout": [
            {**one.json(), "to_pick_by": len(first.kept), "to_report": len(second.kept)}
            for one, first, second in zip(sets, work.pick, work.report, strict=True)
        ],
        "endpoint": {"metric": "bits_per_byte", "mean_over": list(work.primary)}, "warnings": warnings,
        "runs": [_key(point, seed, work) for seed in seeds for point in work.points],
    }  # fmt: skip


def _key(point: Point, seed: int, work: _Work) -> str:
    settings, versions = _pinned(point, work.datasets)
    return key_of({**settings, "seed": seed}, versions)


def _tell_earlier(asked: Asked, sets: Sequence[HeldOut], say: Say) -> None:
    """Documents that were reported on before are no longer what nothing was picked by: say so."""
    digests = {one.digest for one in sets}
    before = {
        one["name"] for one in records(asked.store, "sweep")
        if one["state"] == "done" and one["name"] != asked.name
        and digests & {about["hash"] for about in one["facts"]["plan"]["heldout"]}
    }  # fmt: skip
    if before:
        count = f"{len(before)} sweep{'s' * (len(before) > 1)}"
        say(f"the same documents were reported on by {count} before: what was chosen by that is not tested by it")


def _tokens(point: Point) -> int:
    return point.config.steps * point.config.batch.sequences * point.config.batch.length


# ---- pick, train again, report


def _swept(asked: Asked, work: _Work, plan: Mapping[str, Any]) -> dict[str, Any]:
    picking = work.train(work.points, plan["seeds"], work.pick, "picking")
    told = [_told(about, point, picking, work) for about, point in zip(plan["points"], work.points, strict=True)]
    able = [one for one in told if not one["diverged"]]
    winner = min(able, key=lambda one: one["value"])["name"] if able else None
    again, comparisons, flattery = list[Trained](), list[dict[str, Any]](), list[dict[str, Any]]()
    if winner not in (None, BASE):
        both = [work.points[0], next(point for point in work.points if point.name == winner)]
        again = work.train(both, plan["fresh"], work.report, "again, with other seeds")
        values = {point.name: _values(again, point.name, work) for point in both}
        comparisons = [one.json() for one in compare_arms(values, work.primary)[0]]
        seen = work.train(both, plan["fresh"], work.pick, "these on the documents that were picked by")
        flattery = [
            {"half": half, "seeds": when, **_difference(runs, winner, work)}
            for half, when, runs in (("pick", "seeds", picking), ("pick", "fresh", seen), ("report", "fresh", again))
        ]
    return {
        "schema": 1, **{key: plan[key] for key in ("name", "over", "seeds", "fresh", "endpoint", "heldout", "versions")},
        "overrides": list(asked.overrides), "points": told, "base": BASE, "winner": winner,
        "verdict": comparisons[0]["verdict"] if comparisons else "unstable" if winner is None else "not beaten",
        "comparisons": comparisons, "flattery": flattery,
        "runs": [one.json("point") for one in (*picking, *again)],
        "warnings": [*plan["warnings"], *_warnings(asked, told, again)],
        "scope": SCOPE, "folder": str(asked.folder / asked.name),
    }  # fmt: skip


def _told(about: Mapping[str, Any], point: Point, picking: Sequence[Trained], work: _Work) -> dict[str, Any]:
    """A point as results list it."""
    runs = [one for one in picking if one.name == point.name]
    means = _endpoint(picking, point.name, work)
    value, low, high, _ = t_interval(means) if means else (None, None, None, None)
    several = len(means) > 1
    return {
        **about, "set": point.overrides, "value": value, "low": low if several else None, "high": high if several else None,
        "values": _values(picking, point.name, work), **cost(runs), "curve": curve(runs),
    }  # fmt: skip


def _values(runs: Sequence[Trained], name: str, work: _Work) -> dict[str, list[float | None]]:
    """Bits per byte of a point's seeds by held-out set; None where they diverged."""
    return values_of([one for one in runs if one.name == name], [one.name for one in work.pick])


def _endpoint(runs: Sequence[Trained], name: str, work: _Work) -> list[float]:
    """The endpoint of a point's seeds that did not diverge."""
    return [value for value in macro(_values(runs, name, work), work.primary) if value is not None]


def _difference(runs: Sequence[Trained], winner: str, work: _Work) -> dict[str, float | None]:
    """The endpoint of the file's own settings and of the picked point, and the second less the first."""
    base, best = (sum(some) / len(some) if (some := _endpoint(runs, name, work)) else None for name in (BASE, winner))
    return {"base": base, "winner": best, "difference": None if base is None or best is None else best - base}


def _warnings(asked: Asked, told: Sequence[Mapping[str, Any]], again: Sequence[Trained]) -> list[str]:
    found = [
        f"{one['name']}: {one['diverged']} of {asked.seeds} trainings diverged: it is not picked"
        for one in told
        if one["diverged"]
    ]
    for name in dict.fromkeys(one.name for one in again if one.values is None):
        count = sum(one.values is None for one in again if one.name == name)
        found.append(f"{name}: {count} of {asked.fresh} trainings with other seeds diverged")
    if all(one["diverged"] for one in told):
        found.append("no point could be picked: trainings of each diverged")
    return found
