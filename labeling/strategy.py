"""How the documents of a round are chosen: at random, by strata, by what the model is least sure of, or unlike each other.

`active` is both of the latter. At least a fifth of each round is random: these alone say how good a model is. On four data sets
`active` was never worse than random and up to 19 points of macro-F1 better; `margin` alone was worse on one
(benchmarks/RESULTS.md). So `active` is what a task gets that has a model, unless told.

Reviews are rounds, too: answers that are tied, and labels that confident learning takes for wrong, by a model that did not
learn from them (labeling/suspects.py). About half of such candidates are wrong in published data (Northcutt et al. 2021), so
they are asked about, never changed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from curate.dataset.reader import Dataset
from curate.errors import CurateError, did_you_mean
from curate.labeling.classifier import learnable
from curate.labeling.decide import labels
from curate.labeling.documents import Shown, find, text_to_learn
from curate.labeling.log import items
from curate.labeling.model import TaskModel, fit_model, has_model, load_model, predicted
from curate.labeling.rounds import Round, Wanted, asked_before, draw, gold_items, pool_sample, read_gold, rounds
from curate.labeling.selection import diverse, margin, margins, mixture
from curate.labeling.suspects import suspects
from curate.labeling.task import Task

__all__ = ["STRATEGIES", "Request", "request_round", "review"]

STRATEGIES = ("random", "stratified", "active", "margin", "diverse")
CANDIDATES = 20
"""Documents looked at for each that `diverse` takes."""
FEWEST_CANDIDATES = 2000


class Request(NamedTuple):
    """What a command asks for: see `Wanted`; `gold` is a file."""

    documents: int
    strategy: str | None = None
    by: str | None = None
    annotators: int = 1
    overlap: float | None = None
    gold: Path | None = None
    seed: int = 0
    blind: bool = False


def request_round(dataset: Dataset, task: Task, folder: Path, request: Request, *, new: bool = False) -> Round:
    """Draw the round that is asked for, or find the one that was drawn for the same words.

    Raises:
        CurateError: There is no such strategy, no model for it, a bad gold file, or no document is left.
    """
    if request.strategy is None:
        strategy = "stratified" if request.by else "active" if has_model(folder) else "random"
        return request_round(dataset, task, folder, request._replace(strategy=strategy), new=new)
    if request.strategy not in STRATEGIES:
        hint = did_you_mean(request.strategy, STRATEGIES) or f"there are: {', '.join(STRATEGIES)}"
        raise CurateError(f"there is no strategy `{request.strategy}`", "--strategy", hint)
    if (request.strategy == "stratified") != (request.by is not None):
        raise CurateError("`stratified` and `--by COLUMN` go together", "--strategy")
    share = request.overlap if request.overlap is not None else 0.2 if request.annotators > 1 else 0.0
    wanted = Wanted(
        request.documents, request.strategy, "label", request.annotators, share, request.seed, request.blind, request.by
    )
    gold = gold_items(dataset, task, read_gold(request.gold)) if request.gold else []
    left_out = {(one.id, one.hash) for one in gold}
    chosen: Callable[[], tuple[list[tuple[Shown, str]], int]] | None = None
    if request.strategy == "margin":
        chosen = partial(_least_sure, dataset, task, wanted, left_out, load_model(task, folder))
    elif request.strategy in ("active", "diverse"):
        model = load_model(task, folder) if request.strategy == "active" else None
        chosen = partial(_unlike, dataset, task, wanted, left_out, model)
    return draw(dataset, task, wanted, gold=gold, new=new, chosen=chosen)


def _least_sure(
    dataset: Dataset, task: Task, wanted: Wanted, left_out: set[tuple[str, str]], model: TaskModel
) -> tuple[list[tuple[Shown, str]], int]:
    asked = asked_before(dataset.store, task) | left_out
    pool, sure = list[Shown](), list[np.ndarray]()
    for some, probable in predicted(dataset, task, model):
        free = np.array([(one.id, one.hash) not in asked for one in some], bool)
        pool += [one._replace(data={}) for one, here in zip(some, free, strict=True) if here]
        sure.append(margins(probable, multilabel=task.kind == "multilabel")[free])
    sureness = np.concatenate([*sure, np.zeros(0)])
    rows = margin(sureness, min(wanted.documents, len(pool)), seed=wanted.seed)
    return _mixed(pool, rows, wanted), len(pool)


def _unlike(
    dataset: Dataset, task: Task, wanted: Wanted, left_out: set[tuple[str, str]], model: TaskModel | None
) -> tuple[list[tuple[Shown, str]], int]:
    """Documents that are unlike each other, among random ones; the less sure a model is of one, the more it is wanted."""
    many = max(CANDIDATES * wanted.documents, FEWEST_CANDIDATES)
    candidates = wanted._replace(documents=many, strategy="random", by=None)
    pool, there = pool_sample(dataset, task, candidates, asked_before(dataset.store, task) | left_out)
    if not pool:
        return [], 0
    texts = [text_to_learn(task, one.data) for one in pool]
    features, *_ = learnable(texts)
    sureness = None
    if model is not None:
        sureness = margins(model.classifier.predict_proba(texts), multilabel=task.kind == "multilabel")
    rows = diverse(features, min(wanted.documents, len(pool)), seed=wanted.seed, sureness=sureness)
    return _mixed(pool, rows, wanted), there


def _mixed(pool: list[Shown], rows: np.ndarray, wanted: Wanted) -> list[tuple[Shown, str]]:
    made = mixture(rows, len(pool), wanted.documents, seed=wanted.seed)
    return [
        (pool[row], "random" if at_random else wanted.strategy)
        for row, at_random in zip(made.rows.tolist(), made.at_random.tolist(), strict=True)
    ]


def review(dataset: Dataset, task: Task, folder: Path, *, most: int, ties: bool, seed: int = 0) -> dict[str, Any]:
    """Draw a round of reviews, the most suspicious first, blind; ties alone where `ties` is set.

    Raises:
        CurateError: There is nothing to review.
    """
    seen = len(rounds(dataset.store, task))
    tied = [key for key in labels(dataset, task).ties]
    wrong: list[tuple[str, str]] = []
    if not ties and task.kind == "classification":
        learned = fit_model(dataset, task, folder, seed=seed)
        found = suspects(learned.learned.labels, learned.fitted.out_of_fold(), ranking="self_confidence")
        wrong = [learned.learned.keys[row] for row in found.texts.tolist()]
    asked = {(one.id, one.hash) for one in items(dataset.store, task) if one.role == "review"}
    keys = [key for key in dict.fromkeys([*tied, *wrong]) if key not in asked]
    there = find(dataset, task, {identity for identity, _ in keys})
    chosen = [
        (there[identity], "tie" if (identity, digest) in tied else "suspect")
        for identity, digest in keys
        if identity in there and there[identity].hash == digest
    ][:most]
    if not chosen:
        raise CurateError(
            f"`{task.name}` has nothing to review", hint="no answer is tied, and the model suspects no label"
        )
    wanted = Wanted(len(chosen), "review", "review", seed=seed, blind=True)
    drawn = draw(dataset, task, wanted, chosen=lambda: (chosen, len(chosen)), new=True, seen=seen)
    return {"task": task.name, "round": drawn.number, "documents": len(chosen), "ties": sum(how == "tie" for _, how in chosen),
            "suspects": sum(how == "suspect" for _, how in chosen)}  # fmt: skip
