"""Automatic labels, with a certificate or not at all.

    propose   fit; choose a threshold on scores of held-out texts; draw a random audit from what lies above it, blind, and
              keep what the model says of all of that
    judge     compare the audit's answers with what the model said; a one-sided bound on the precision of what lies above

The audit is drawn from documents that nobody has labelled, so the threshold's choice has not seen it. An audit that proves
nothing makes labels to learn from; the next attempt has a new audit, a higher threshold, and half of the error that is left
(labeling/certification.py), also after a certificate. A document of the audit counts as wrong that was skipped, changed or left
meanwhile, answered with a suggestion in sight, or answered in two ways.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from curate.dataset.reader import Dataset
from curate.dataset.runs import now, records, run_id
from curate.dataset.store import Store
from curate.errors import CurateError, GateError
from curate.labeling.certification import allowed_errors, audit_size, certify, choose_threshold, error_of_attempt
from curate.labeling.crowd import Key
from curate.labeling.documents import Shown, find
from curate.labeling.log import (
    Answer,
    Decision,
    Item,
    Suggestion,
    answers,
    append,
    decisions,
    items,
    note,
    suggestions,
    text_of,
)
from curate.labeling.model import answer_of, fit_model, load_model, predicted
from curate.labeling.rounds import Wanted, draw, rounds
from curate.labeling.task import Task

__all__ = ["Goal", "judge", "propose"]


class Goal(NamedTuple):
    """The precision to prove, how surely, and with how many audited documents."""

    precision: float
    confidence: float
    audit: int


def propose(dataset: Dataset, task: Task, folder: Path, goal: Goal, *, seed: int = 0) -> dict[str, Any]:
    """Choose a threshold and draw its audit.

    Raises:
        CurateError: There is nothing to learn, an audit is still open or too small, or no document is left.
        GateError: No threshold has a chance to be certified.
    """
    store, seen, open_audit = dataset.store, len(rounds(dataset.store, task)), _open_audit(dataset.store, task)
    if open_audit is not None:
        hint = "answer it, then `curate label auto --certify`"
        raise CurateError(f"the audit of round {open_audit['round']} is not judged yet", hint=hint)
    attempt = len(_audits(store, task)) + 1
    error = error_of_attempt(goal.confidence, attempt)
    _refuse_small(goal, attempt, error)
    learned = fit_model(dataset, task, folder, seed=seed)
    model = load_model(task, folder)
    pool, told = _pool(dataset, task, model)
    scores = np.array([score for _, score in told])
    failed = _failed(store, task)
    said = [answer_of(task, row) for row in learned.fitted.out_of_fold()]
    right = np.array([text_of(value) == text_of(_truth(task, row)) for (value, _), row in
                      zip(said, learned.learned.labels, strict=True)], bool)  # fmt: skip
    chosen = choose_threshold(
        np.array([score for _, score in said]), right, scores, target=goal.precision, audit=goal.audit, error=error,
        above=failed[-1]["threshold"] if failed else None,
    )  # fmt: skip
    if chosen is None:
        raise GateError(
            f"no threshold of the model of `{task.name}` has a chance to be certified at {goal.precision:g}",
            hint=f"label more (it learned from {learned.facts['documents']:,}), ask for less, or give --audit more documents",
        )
    sure = np.flatnonzero(scores >= chosen.value)
    audited = np.sort(np.random.default_rng([seed, attempt]).choice(sure, min(goal.audit, len(sure)), replace=False))
    batch = f"{model.name}/{run_id()[:12]}"  # other suggestions of this model are not of this audit
    append(store, task, "suggestions", [
        Suggestion(pool[place].id, pool[place].hash, text_of(told[place][0]), told[place][1], batch) for place in sure
    ], {"model": model.name, "auto": True})  # fmt: skip
    auto = {"target": goal.precision, "confidence": goal.confidence, "attempt": attempt, "threshold": chosen.value,
            "model": model.name, "batch": batch, "above": len(sure)}  # fmt: skip
    wanted = Wanted(len(audited), "audit", "audit", seed=seed, blind=True)
    documents = [(pool[place], "audit") for place in audited]
    drawn = draw(
        dataset, task, wanted, chosen=lambda: (documents, len(pool)), new=True, seen=seen, facts={"auto": auto}
    )
    allowed = allowed_errors(len(audited), target=goal.precision, error=error, pool=len(sure))
    return {
        "task": task.name, "round": drawn.number, **auto, "pool": len(pool), "audited": len(audited),
        "expected_precision": chosen.precision, "chance": chosen.chance, "allowed_errors": allowed or 0,
    }  # fmt: skip


def _refuse_small(goal: Goal, attempt: int, error: float) -> None:
    needed, with_one = (audit_size(wrong, target=goal.precision, error=error) for wrong in (0, 1))
    if goal.audit < needed:
        raise CurateError(
            f"an audit of {goal.audit:,} documents cannot prove {goal.precision:g}, even without an error",
            "--audit",
            f"attempt {attempt} needs {needed:,} at least, and {with_one:,} where one may be wrong",
        )


def _truth(task: Task, row: Any) -> Any:
    if task.kind == "multilabel":
        return [name for name, held in zip(task.label_names, row, strict=True) if held]
    return task.label_names[int(row)]


def _pool(dataset: Dataset, task: Task, model: Any) -> tuple[list[Shown], list[tuple[Any, float]]]:
    """Documents that nobody was asked about, and what the model says of them."""
    asked = {(one.id, one.hash) for one in items(dataset.store, task)}
    asked |= {(one.id, one.hash) for one in (*answers(dataset.store, task), *decisions(dataset.store, task))
              if not isinstance(one, Decision) or one.certificate}  # fmt: skip
    pool, told = list[Shown](), list[tuple[Any, float]]()
    for some, probable in predicted(dataset, task, model):
        for one, row in zip(some, probable, strict=True):
            if (one.id, one.hash) not in asked:
                pool.append(one._replace(data={}))
                told.append(answer_of(task, row))
    return pool, told


def judge(dataset: Dataset, task: Task) -> dict[str, Any]:
    """Judge the open audit; where it proves the precision, everything above the threshold is labelled.

    Raises:
        CurateError: No audit is open, or it is not answered.
        GateError: It does not prove the precision.
    """
    began, store = now(), dataset.store
    facts = _open_audit(store, task)
    if facts is None:
        raise CurateError(f"`{task.name}` has no audit to judge", hint="`curate label auto` draws one")
    auto = facts["auto"]
    audit = {
        (one.id, one.hash): one for one in items(store, task) if one.round == facts["round"] and one.role == "audit"
    }
    given = _answered(dataset, task, audit, facts["round"])
    sure = {(one.id, one.hash): one for one in suggestions(store, task, model=auto["batch"])}
    correct = sum(given.get(key) == {sure[key].value} for key in audit)
    found = certify(correct, len(audit), target=auto["target"], confidence=auto["confidence"], attempt=auto["attempt"],
                    pool=auto["above"])  # fmt: skip
    identity, people = run_id(), {(one.id, one.hash) for one in answers(store, task) if one.value is not None}
    labelled = [
        Decision(*key, one.value, "automatic", one.probability, auto["model"], facts["round"], None, identity)
        for key, one in sure.items()
    ]  # fmt: skip
    told = {
        "task": task.name, "certify": facts["round"], **auto, "certified": found.certified, "bound": found.bound,
        "precision": found.precision, "audited": len(audit), "correct": correct,
        "labelled": len(labelled) - len(people & sure.keys()) if found.certified else 0,
    }  # fmt: skip
    if found.certified:
        append(store, task, "decisions", labelled, {"certificate": identity})
    note(dataset, task, began, told, identity=identity)
    if not found.certified:
        raise GateError(
            f"{correct:,} of {len(audit):,} audited documents are right: the precision may be as low as {found.bound:.3f}, "
            f"and {auto['target']:g} was asked for; nothing was labelled",
            hint="`curate label auto` learns from the audit and tries a higher threshold",
        )
    return told


def _answered(dataset: Dataset, task: Task, audit: Mapping[Key, Item], number: int) -> dict[Key, set[str | None]]:
    """The audit's answers; an error where somebody can still answer."""
    there = find(dataset, task, {identity for identity, _ in audit})
    given = _given(audit, answers(dataset.store, task))
    left = [key for key in audit if key not in given and key[0] in there and there[key[0]].hash == key[1]]
    if left:
        raise CurateError(
            f"{len(left):,} of {len(audit):,} documents of the audit (round {number}) have no answer",
            hint="`curate label annotate`, or `curate label pull`",
        )
    return given


def _given(audit: Mapping[Key, Item], said: Iterable[Answer]) -> dict[Key, set[str | None]]:
    """What was said of each audited document, blind and since it was asked for; of one that was only skipped, None."""
    given: dict[Key, set[str | None]] = {}
    for one in said:
        key = (one.id, one.hash)
        asked = audit[key].asked if key in audit else None
        if asked is not None and one.created > asked:
            given.setdefault(key, set()).add(None if one.suggested is not None else one.value)
    return {key: values - {None} or values for key, values in given.items()}


def _judged(store: Store, task: Task) -> dict[int, bool]:
    """Rounds that were judged, and whether they were certified."""
    said = [one["facts"] for one in records(store, kind="labeling") if one["name"] == task.name]
    return {facts["certify"]: facts["certified"] for facts in said if "certify" in facts}


def _audits(store: Store, task: Task) -> list[dict[str, Any]]:
    return [facts for facts in rounds(store, task) if "auto" in facts]


def _open_audit(store: Store, task: Task) -> dict[str, Any] | None:
    judged = _judged(store, task)
    return next((facts for facts in _audits(store, task) if facts["round"] not in judged), None)


def _failed(store: Store, task: Task) -> list[dict[str, Any]]:
    """The attempts since the last certificate."""
    judged, failed = _judged(store, task), list[dict[str, Any]]()
    for facts in _audits(store, task):
        failed = [] if judged.get(facts["round"]) else [*failed, facts["auto"]]
    return failed
