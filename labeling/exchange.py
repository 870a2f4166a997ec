"""Between the store's logs and a Label Studio: what is left goes there, answers come back."""

from __future__ import annotations

from typing import Any

from curate.dataset.erased import Erased
from curate.dataset.reader import Dataset
from curate.dataset.runs import Thing, now, record, run_id
from curate.labeling.documents import find
from curate.labeling.log import answers, append, items, suggestions
from curate.labeling.rounds import queue
from curate.labeling.studio.client import Client
from curate.labeling.studio.pull import pull
from curate.labeling.studio.push import push
from curate.labeling.task import Task
from curate.pipeline.progress import Progress

__all__ = ["receive", "send"]


def send(dataset: Dataset, task: Task, client: Client, progress: Progress) -> dict[str, Any]:
    """Push what is left to be labelled; the counts of `Pushed`, and documents that changed or are absent."""
    store, began = dataset.store, now()
    wanted, said = items(store, task), answers(store, task)
    there = find(dataset, task, {one.id for one in wanted})
    state = queue(wanted, said, {one.id: one.hash for one in there.values()})
    left = {(item.id, item.hash) for item, _ in state.left}
    answered = {key: sum((one.id, one.hash) == key for one in said) for key in left if any(
        (item.id, item.hash) == key and item.role == "review" for item in wanted)}  # fmt: skip
    asked = [
        one._replace(annotators=answered[one.id, one.hash] + 1) if one.role == "review" else one
        for one in wanted
        if (one.id, one.hash) in left
    ]
    progress.begin("push", 1)
    last = 0

    def tell(done: int, of: int) -> None:
        nonlocal last
        progress.advance(done - last)
        last = done

    done = push(
        client, task, asked, {one.id: one.data for one in there.values()}, suggestions(store, task), progress=tell
    )
    told = {**done._asdict(), "changed": state.changed, "absent": state.absent}
    if done.tasks or done.predictions:
        _record(dataset, task, began, {"push": told, "url": client.url})
    return told


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
    append(store, task, "answers", found.answers, {"from": client.url})
    told = {
        "answers": len(found.answers), "counts": found.counts, "refused": [one._asdict() for one in found.refused],
        "configuration_changed": found.configuration_changed,
    }  # fmt: skip
    if found.answers:
        _record(dataset, task, began, {"pull": len(found.answers), "url": client.url, "counts": found.counts})
    return told


def _record(dataset: Dataset, task: Task, began: str, facts: dict[str, Any]) -> None:
    source: Thing = {
        "kind": "version",
        "id": dataset.version,
        "name": f"{dataset.name}@{dataset.tag or dataset.version[:12]}",
    }
    record(dataset.store, "labeling", run_id(), name=task.name, state="done", began=began, inputs=[source], outputs=[],
           facts=facts)  # fmt: skip
