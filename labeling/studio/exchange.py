"""Between the store's logs and a Label Studio: what is left goes there, answers come back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.dataset.erased import Erased
from curate.dataset.leases import lease
from curate.dataset.reader import Dataset
from curate.dataset.runs import now, records
from curate.labeling.crowd import Key
from curate.labeling.documents import find, text_to_learn
from curate.labeling.log import Answer, Item, answers, append_answers, items, note, suggestions
from curate.labeling.model import answer_of, fit_model, load_model
from curate.labeling.rounds import queue
from curate.labeling.studio.backend import Model
from curate.labeling.studio.client import Client
from curate.labeling.studio.pull import pull
from curate.labeling.studio.push import delete_tasks, push
from curate.labeling.task import Task
from curate.pipeline.progress import Progress

__all__ = ["forget", "model_for_studio", "receive", "send"]


def send(dataset: Dataset, task: Task, client: Client, progress: Progress, *, restore: bool = False) -> dict[str, Any]:
    """Push what is left to be labelled; the counts of `Pushed`, and documents that changed or are absent.

    With `restore`, a labeling configuration that somebody changed there is given again.

    Raises:
        CurateError: Somebody else pushes this task, or as `push`.
    """
    with lease(dataset.store, "push", task=task.name):
        return _send(dataset, task, client, progress, restore=restore)


def _send(dataset: Dataset, task: Task, client: Client, progress: Progress, *, restore: bool) -> dict[str, Any]:
    store, began = dataset.store, now()
    wanted, said = items(store, task), answers(store, task)
    there = find(dataset, task, {one.id for one in wanted})
    state = queue(wanted, said, {one.id: one.hash for one in there.values()})
    current = [one for one in wanted if one.id in there and there[one.id].hash == one.hash]
    asked = _asked(current, said, {(item.id, item.hash) for item, _ in state.left})
    progress.begin("push", 1)
    last = 0

    def tell(done: int, of: int) -> None:
        nonlocal last
        progress.advance(done - last)
        last = done

    data = {one.id: one.data for one in there.values()}
    done = push(client, task, asked, data, suggestions(store, task), restore=restore, progress=tell)
    told = {**done._asdict(), "changed": state.changed, "absent": state.absent}
    if done.tasks or done.predictions:
        note(dataset, task, began, {"push": told, "url": client.url})
    return told


def _asked(wanted: Sequence[Item], said: Sequence[Answer], left: set[Key]) -> list[Item]:
    """What is left, and what was answered there; a review is for one person more than have answered."""
    given = Counter((one.id, one.hash) for one in said)
    there = {(one.id, one.hash) for one in said if one.source.startswith("studio/")}
    return [
        one._replace(annotators=given[one.id, one.hash] + 1)
        if one.role == "review" and (one.id, one.hash) in left
        else one
        for one in wanted
        if (one.id, one.hash) in left | there
    ]


def receive(dataset: Dataset, task: Task, client: Client) -> dict[str, Any]:
    """Pull new answers into the log."""
    store, began = dataset.store, now()
    known = {one.source for one in answers(store, task, every=True)}
    there = find(dataset, task, {one.id for one in items(store, task)})
    erased = Erased.of(store)
    found = pull(
        client, task, known, current={one.id: one.hash for one in there.values()},
        erased=lambda identity: bool(erased and erased.gone(identity, dataset.name)),
    )  # fmt: skip
    new = append_answers(store, task, found.answers, {"from": client.url})
    told_before = {
        source for one in records(store, kind="labeling") if one["name"] == task.name
        for source in one["facts"].get("refused", ())
    }  # fmt: skip
    refused = [one for one in found.refused if one.source not in told_before]
    told = {
        "answers": new, "counts": found.counts, "refused": [one._asdict() for one in refused],
        "refused_before": len(found.refused) - len(refused),
        "configuration_changed": found.configuration_changed,
    }  # fmt: skip
    if new or refused:
        facts = {"pull": new, "url": client.url, "counts": found.counts, "refused": [one.source for one in refused]}
        note(dataset, task, began, facts)
    return told


def forget(dataset: Dataset, task: Task, client: Client) -> int:
    """Delete the tasks at Label Studio of documents that an erasure removed or changed; how many there were.

    Answers to them that nobody has pulled go with them: they are about what was erased.
    """
    store, erased = dataset.store, Erased.of(dataset.store)
    if erased is None:
        return 0
    known = {(one.id, one.hash) for one in items(store, task)}

    def is_gone(identity: str, digest: str) -> bool:
        touched = erased.gone(identity, dataset.name) or erased.noted(identity, dataset.name)
        return bool(touched) and (identity, digest) not in known

    return delete_tasks(client, task, is_gone)


def model_for_studio(
    dataset: Dataset, task: Task, folder: Path
) -> tuple[Model, Callable[[], Model], Callable[[str, str], bool]]:
    """The task's model as Label Studio asks it, what fits it anew, and which documents are blind.

    Raises:
        CurateError: The task has no model.
    """

    def ready() -> Model:
        loaded = load_model(task, folder)

        def predict(given: Sequence[Mapping[str, Any]]) -> list[tuple[Any, float | None]]:
            rows = loaded.classifier.predict_proba([text_to_learn(task, data) for data in given])
            return [answer_of(task, row) for row in rows]

        return Model(loaded.name, predict)

    def train() -> Model:
        fit_model(dataset, task, folder)
        return ready()

    known: dict[Key, bool] = {}

    def blind(identity: str, digest: str) -> bool:
        if (identity, digest) not in known:  # a round that was drawn meanwhile
            for one in items(dataset.store, task):
                known[one.id, one.hash] = known.get((one.id, one.hash), False) or one.blind
        return known.get((identity, digest), True)

    return ready(), train, blind
