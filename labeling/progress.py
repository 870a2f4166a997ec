"""How far a task is, and what is left for whom."""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import Any

from curate.dataset.reader import Dataset
from curate.errors import CurateError
from curate.labeling.ask import Question
from curate.labeling.documents import find
from curate.labeling.log import Answer, answers, items, outdated, suggestions, value_of
from curate.labeling.rounds import queue, rounds
from curate.labeling.task import Task

__all__ = ["open_questions", "progress"]


def open_questions(dataset: Dataset, task: Task, who: str) -> list[Question]:
    """What a person has not answered yet of what is left, in order; with suggestions where they may be seen.

    Raises:
        CurateError: No round was drawn.
    """
    store = dataset.store
    wanted, said = items(store, task), answers(store, task)
    if not wanted:
        raise CurateError(
            f"nothing was drawn to be labelled for `{task.name}`", hint="`curate label next -n 50` draws a round"
        )
    there = find(dataset, task, {one.id for one in wanted})
    left = queue(wanted, said, {one.id: one.hash for one in there.values()}).left
    mine = {(one.id, one.hash) for one in said if one.annotator == who}
    blind = {(one.id, one.hash) for one in wanted if one.blind}
    known = {(one.id, one.hash): one for one in suggestions(store, task)}
    found: list[Question] = []
    for item, missing in left:
        key = (item.id, item.hash)
        if item.role == "review" or key not in mine:
            one = None if key in blind else known.get(key)
            suggested, model = (value_of(one), one.model) if one is not None else (None, None)
            found.append(Question(item.id, item.hash, there[item.id].data, suggested, model, missing))
    return found


def progress(dataset: Dataset, task: Task) -> dict[str, Any]:
    """Documents asked for, answered and left; by round, and by person with lead time, suggestions taken, gold met."""
    store = dataset.store
    wanted, said = items(store, task), answers(store, task)
    there = find(dataset, task, {one.id for one in wanted})
    state = queue(wanted, said, {one.id: one.hash for one in there.values()})
    still = {(one.id, one.hash, one.round) for one, _ in state.left}
    by_round = [
        {
            "round": number, "strategy": facts["request"]["strategy"], "role": facts["request"]["role"],
            "documents": len(mine := [one for one in wanted if one.round == number]),
            "answered": sum((one.id, one.hash, one.round) not in still for one in mine),
        }
        for number, facts in enumerate(rounds(store, task), 1)
    ]  # fmt: skip
    gold = {(one.id, one.hash): one.gold for one in wanted if one.gold is not None}
    people: dict[str, list[Answer]] = defaultdict(list)
    for one in said:
        people[one.annotator].append(one)
    return {
        "task": task.name, "kind": task.kind, "version": dataset.version,
        "items": state.done + len(state.left) + state.changed + state.absent, "done": state.done, "left": len(state.left),
        "changed": state.changed, "absent": state.absent, "outdated": outdated(store, task),
        "answers": len(said), "rounds": by_round,
        "annotators": [_person(name, given, gold) for name, given in sorted(people.items())],
    }  # fmt: skip


def _person(name: str, given: list[Answer], gold: dict[tuple[str, str], str]) -> dict[str, Any]:
    times = [one.seconds for one in given if one.seconds is not None]
    tested = [one for one in given if (one.id, one.hash) in gold and one.value is not None]
    return {
        "annotator": name,
        "answers": sum(one.value is not None for one in given),
        "skipped": sum(one.value is None for one in given),
        "median_seconds": round(median(times), 1) if times else None,
        "accepted": sum(one.origin == "prediction" for one in given),
        "changed": sum(one.origin == "prediction-changed" for one in given),
        "gold": len(tested),
        "gold_right": sum(one.value == gold[one.id, one.hash] for one in tested),
    }
