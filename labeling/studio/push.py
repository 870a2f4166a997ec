"""Push what is to be labelled: the server is the truth, and gets what it has not.

A task there is known by the document and the hash of what it shows, so pushing twice adds nothing. New tasks go with their
predictions in one request (1 ms of the server's CPU each; predictions sent later cost a second a request and more with every
task of the project, so they go in few requests). A push that was killed, or timed out, may leave a request that the server
finishes later: if the number of tasks is not what it should be, those that nobody answered and that stand twice go away.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple, cast

from curate.errors import ConfigurationErrors, CurateError
from curate.jsontext import dumps
from curate.labeling.log import Item, Suggestion, value_of
from curate.labeling.studio.client import Client, Project, find_project, open_project, write_mark
from curate.labeling.studio.interface import studio_task, to_result
from curate.labeling.task import Task

__all__ = ["Pushed", "delete_tasks", "push"]

Key = tuple[str, str]
MOST_TASKS = 1000
"""In one request; predictions alone, ten times as many."""
MOST_BYTES = 16_000_000
"""In one request."""
MOST_ERRORS = 20


class Pushed(NamedTuple):
    """What a push did.

    Attributes:
        tasks: New ones.
        predictions: New ones.
        overlaps: Tasks that more people are to answer than before.
        there: Tasks that were there.
        removed: Tasks that stood there twice, and predictions of items that are blind now.
        blind: Suggestions that were held back.
        project: Number of the project.
    """

    tasks: int = 0
    predictions: int = 0
    overlaps: int = 0
    there: int = 0
    removed: int = 0
    blind: int = 0
    project: int = 0


@dataclass
class _Wanted:
    item: Item
    annotators: int
    blind: bool
    result: list[dict[str, Any]] | None = None
    suggestion: Suggestion | None = None

    @property
    def prediction(self) -> dict[str, Any] | None:
        if self.suggestion is None:
            return None
        return {"result": self.result, "score": self.suggestion.probability, "model_version": self.suggestion.model}


class _There(NamedTuple):
    number: int
    overlap: int


def push(
    client: Client,
    task: Task,
    items: Iterable[Item],
    shown_by_id: Mapping[str, Mapping[str, Any]],
    suggestions: Iterable[Suggestion] = (),
    *,
    restore: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Pushed:
    """Have Label Studio ask for these items, in their order.

    Args:
        client: The connection.
        task: The task.
        items: What is to be labelled: all rounds, since one document may be in several.
        shown_by_id: What is shown of each document (`values.shown`).
        suggestions: Predictions; those of blind items stay here. The model of the last one is the one that people see.
        restore: Put our configuration back where somebody changed it there.
        progress: Is told how many tasks are there, of how many.

    Raises:
        CurateError: A document is not there, a suggestion is no answer to the task (nothing is sent then), the configuration
            was changed there, or Label Studio is down or refuses.
        ResumableError: It failed or was too slow in the middle; the same call goes on.
    """
    wanted, blind = _wanted(items)
    held = _suggest(task, wanted, suggestions, shown_by_id)
    project = open_project(client, task, restore=restore)
    digest = f"{len(wanted)}:{_digest(wanted)}"
    if project.pushed == digest and project.tasks == len(wanted):
        return Pushed(there=len(wanted), blind=held, project=project.number)
    write_mark(client, task, project, None)
    there, removed = _once(client, project)
    run = _Run(client, task, project, shown_by_id, there, progress or (lambda done, of: None), len(wanted))
    before, known = len(there), {key for key in wanted if key in there}
    run.add([one for key, one in wanted.items() if key not in known])
    predictions = run.predict({key: one for key, one in wanted.items() if key in known})
    overlaps = run.overlap(wanted, known)
    removed += run.unpredict([there[key].number for key in known if key in blind])
    model = next((one.suggestion.model for one in reversed(wanted.values()) if one.suggestion), None)
    with client.asking("show the predictions"):
        if model is not None and model != project.model:
            client.api.projects.update(id=project.number, model_version=model)
        number = client.api.projects.get(id=project.number).task_number
    if number != len(there):
        removed += _once(client, project)[1]
    write_mark(client, task, project, digest)
    new = len(there) - before
    return Pushed(new, run.predicted + predictions, overlaps, before, removed, held, project.number)


def _wanted(items: Iterable[Item]) -> tuple[dict[Key, _Wanted], set[Key]]:
    """One task for each document as it is shown: for as many people as a round wants, blind where one is."""
    wanted: dict[Key, _Wanted] = {}
    for item in sorted(items, key=lambda one: (one.round, one.place)):
        one = wanted.setdefault((item.id, item.hash), _Wanted(item, item.annotators, item.blind))
        one.annotators, one.blind = max(one.annotators, item.annotators), one.blind or item.blind
    return wanted, {key for key, one in wanted.items() if one.blind}


def _suggest(
    task: Task,
    wanted: Mapping[Key, _Wanted],
    suggestions: Iterable[Suggestion],
    shown_by_id: Mapping[str, Mapping[str, Any]],
) -> int:
    """Put suggestions to their items; how many are held back because the item is blind."""
    errors: list[CurateError] = []
    absent = [one.item.id for one in wanted.values() if one.item.id not in shown_by_id]
    if absent:
        raise CurateError(f"what is shown of {len(absent):,} documents is not known, of `{absent[0]}` among them")
    held, wrong = 0, 0
    for one in suggestions:
        item = wanted.get((one.id, one.hash))
        if item is None or item.blind:
            held += item is not None
            continue
        try:
            item.result, item.suggestion = to_result(task, value_of(one), one.hash, shown_by_id[one.id]), one
        except CurateError as error:
            wrong += 1
            errors.append(CurateError(error.problem, f"document {one.id}, model {one.model}", error.hint))
    if errors:
        more = [CurateError(f"{wrong - MOST_ERRORS:,} more suggestions like these")] if wrong > MOST_ERRORS else []
        raise ConfigurationErrors(errors[:MOST_ERRORS] + more)
    return held


def _digest(wanted: Mapping[Key, _Wanted]) -> str:
    hashed = hashlib.sha256()
    for key, one in wanted.items():
        hashed.update(dumps([*key, one.annotators, one.blind, one.prediction]).encode())
    return hashed.hexdigest()[:16]


def _listed(client: Client, project: Project) -> list[tuple[Key | None, int, int]]:
    """Each task there: whose it is (None: nobody's here), its number, how many people it is for; oldest first."""
    with client.asking("list its tasks"):
        found = client.api.tasks.list(
            project=project.number, page_size=MOST_TASKS, fields="task_only", include="id,meta,overlap"
        )
        rows = [(_key(one.meta), one.id, one.overlap or 1) for one in found]
    return sorted(rows, key=lambda row: row[1])


def _key(meta: Any) -> Key | None:
    key = (meta.get("document"), meta.get("hash")) if isinstance(meta, dict) else (None, None)
    return key if isinstance(key[0], str) and isinstance(key[1], str) else None  # type: ignore[return-value]


def _once(client: Client, project: Project) -> tuple[dict[Key, _There], int]:
    """The tasks that are there by key, once those are gone that stand twice without an answer."""
    there: dict[Key, _There] = {}
    twice: list[tuple[Key, _There]] = []
    for key, number, overlap in _listed(client, project):
        if key in there:
            twice.append((key, _There(number, overlap)))
        elif key is not None:
            there[key] = _There(number, overlap)
    removed = 0
    for key, one in twice:
        with client.asking("remove a task that stands there twice"):
            numbers = [number for number in (one.number, there[key].number) if not _answered(client, number)]
            if numbers:
                removed += _deleted(client, numbers[0])
                there[key] = one if numbers[0] == there[key].number else there[key]
    return there, removed


def _answered(client: Client, number: int) -> bool:
    from label_studio_sdk.core.api_error import ApiError

    try:
        return bool(client.api.tasks.get(id=str(number)).annotations)
    except ApiError as error:
        if error.status_code != 404:
            raise
        return False


def _deleted(client: Client, number: int) -> bool:
    """Delete a task; whether it was there: somebody else may remove the same at the same time."""
    from label_studio_sdk.core.api_error import ApiError

    try:
        client.api.tasks.delete(id=str(number))
    except ApiError as error:
        if error.status_code != 404:
            raise
        return False
    return True


@dataclass
class _Run:
    """One push: what it has done so far."""

    client: Client
    task: Task
    project: Project
    shown_by_id: Mapping[str, Mapping[str, Any]]
    there: dict[Key, _There]
    progress: Callable[[int, int], None]
    of: int
    predicted: int = field(default=0)

    def add(self, new: Sequence[_Wanted]) -> None:
        """Import tasks, with their predictions."""
        self.progress(len(self.there), self.of)
        for batch in _batches(new, self._body, MOST_TASKS):
            with self.client.asking("take tasks"):
                done = self.client.api.projects.import_tasks(
                    id=self.project.number, request=cast("Any", [body for _, body in batch]), return_task_ids=True
                )
                numbers = cast("list[int]", cast("Any", done).task_ids or [])
            for (one, body), number in zip(batch, numbers, strict=True):
                self.there[one.item.id, one.item.hash] = _There(number, 1)
                self.predicted += "predictions" in body
            self.progress(len(self.there), self.of)

    def _body(self, one: _Wanted) -> dict[str, Any]:
        item = one.item
        body = studio_task(self.task, item.id, item.hash, item.round, self.shown_by_id[item.id])
        return body | ({"predictions": [one.prediction]} if one.prediction else {})

    def predict(self, old: Mapping[Key, _Wanted]) -> int:
        """Import the predictions that tasks have not, which were there before."""
        from label_studio_sdk import PredictionRequest

        added = 0
        by_model = sorted((one for one in old.values() if one.suggestion), key=lambda one: one.suggestion.model)  # type: ignore[union-attr]
        for model, group in groupby(by_model, key=lambda one: one.suggestion.model):  # type: ignore[union-attr]
            have = self._predicted(model)
            new = [one for one in group if self.there[one.item.id, one.item.hash].number not in have]
            for batch in _batches(new, lambda one: one.prediction or {}, 10 * MOST_TASKS):
                with self.client.asking("take predictions"):
                    self.client.api.projects.import_predictions(
                        id=self.project.number,
                        request=[
                            PredictionRequest(task=self.there[one.item.id, one.item.hash].number, **body)
                            for one, body in batch
                        ],
                    )
                added += len(batch)
        return added

    def _predicted(self, model: str) -> set[int]:
        """Numbers of the tasks that have a prediction of a model."""
        one = {
            "filter": "filter:tasks:predictions_model_versions", "operator": "contains", "type": "List", "value": [model],
        }  # fmt: skip
        query = dumps({"filters": {"conjunction": "and", "items": [one]}})
        with self.client.asking("list its predictions"):
            found = self.client.api.tasks.list(
                project=self.project.number, page_size=10 * MOST_TASKS, fields="task_only", include="id", query=query
            )
            return {one.id for one in found}

    def overlap(self, wanted: Mapping[Key, _Wanted], known: set[Key]) -> int:
        """Have tasks for several people answered by so many; those that were there, too."""
        more = [(key, one.annotators) for key, one in wanted.items() if one.annotators > self.there[key].overlap]
        for key, annotators in more:
            with self.client.asking("ask several people"):
                self.client.api.tasks.update(id=str(self.there[key].number), overlap=annotators)
        return sum(key in known for key, _ in more)

    def unpredict(self, numbers: Sequence[int]) -> int:
        """Remove the predictions of tasks, which are blind now."""
        if not numbers:
            return 0
        with self.client.asking("remove predictions of blind items"):
            listed = self.client.api.tasks.list(
                project=self.project.number,
                page_size=10 * MOST_TASKS,
                fields="task_only",
                include="id,total_predictions",
            )
            predicted = {one.id for one in listed if one.total_predictions}
            found = [
                one.id
                for number in numbers
                if number in predicted
                for one in self.client.api.predictions.list(task=number)
                if one.id is not None
            ]
            for prediction in found:
                self.client.api.predictions.delete(id=prediction)
        return len(found)


def _batches(
    rows: Sequence[_Wanted], body: Callable[[_Wanted], dict[str, Any]], most: int
) -> Iterator[list[tuple[_Wanted, dict[str, Any]]]]:
    batch: list[tuple[_Wanted, dict[str, Any]]] = []
    size = 0
    for row in rows:
        made = body(row)
        length = len(dumps(made))
        if batch and (len(batch) == most or size + length > MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((row, made))
        size += length
    if batch:
        yield batch


def delete_tasks(client: Client, task: Task, is_gone: Callable[[str, str], bool]) -> int:
    """Delete tasks of documents that were erased, with their answers and predictions; how many there were.

    Args:
        client: The connection.
        task: The task.
        is_gone: Whether a document (its id, and the hash of what is shown there) is to go.

    Raises:
        CurateError: Label Studio is down, or refuses.
    """
    project = find_project(client, task)
    if project is None:
        return 0
    numbers = [number for key, number, _ in _listed(client, project) if key is not None and is_gone(*key)]
    for number in numbers:
        with client.asking("delete a task"):
            client.api.tasks.delete(id=str(number))
    if numbers:
        write_mark(client, task, project, None)
    return len(numbers)
