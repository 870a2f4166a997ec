"""`curate eval`: tasks, a model, and what comes of them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from curate.audit.bias.statistics import wilson
from curate.dataset.reader import Dataset
from curate.dataset.runs import Thing, now, record, records, run_id
from curate.dataset.store import Store
from curate.errors import CurateError, ResumableError, did_you_mean
from curate.evaluation.contamination import contamination
from curate.evaluation.metrics import METRICS, Measured, group_measures, measures, signatures
from curate.evaluation.result import RESULT, Evaluation, Items, held, open_evaluation, read_items, write_items
from curate.evaluation.tasks.data import SMALL, Rows, as_texts, read_rows
from curate.evaluation.tasks.fairness import CAUTIONS
from curate.evaluation.tasks.settings import HarnessTask, TaskSettings
from curate.files import write_durably
from curate.jsontext import dumps

if TYPE_CHECKING:
    from curate.evaluation.asking import Model

__all__ = ["evaluate", "read_tasks"]

SAMPLES = ("prompt", "choices", "log_probabilities", "generated", "finish", "generated_tokens", "pieces")
"""Facts that only `--samples` keeps."""
FACTS = {"id", "cluster", "cut", "unknown", *SAMPLES, *(name for one in METRICS.values() for name in one.facts)}
"""Names of an evaluation's own columns."""
Say = Callable[[str], None]
Read = Sequence[tuple[TaskSettings, Rows]]
Measurements = Sequence[tuple[TaskSettings, Rows, Items]]
PATIENCE = 5.0
"""Seconds between two words about how far a task is."""


def evaluate(
    open_model: Callable[[], Model],
    tasks: Sequence[TaskSettings],
    folder: Path,
    *,
    store: Store | None,
    samples: bool = False,
    training: Dataset | None = None,
    columns: Sequence[str] = (),
    by: Sequence[str] = (),
    also: Callable[[Model], Callable[[], dict[str, Any]]] | None = None,
    fresh: bool = False,
    say: Say,
) -> Evaluation:
    """Measure a model on tasks, and keep what was measured.

    Args:
        open_model: Opens the model; called after all data is there.
        tasks: What is asked.
        folder: Of the evaluation; what it has for the same model, definition and data is not measured again.
        store: Where it is put on record, and versions are read; None: on no record.
        samples: Keep prompts and answers.
        training: The version that the model was trained on: how much of each item stands there is measured, too.
        columns: Of the training, for tasks that name none.
        by: Columns that group tasks of lm-evaluation-harness that have them.
        also: Whether more can be measured of the model; then measures it: parts of the result, by name.
        fresh: Remove an earlier evaluation in the folder first.
        say: Tells people how far it is.

    Raises:
        CurateError: Nothing was measured, as tasks, data and model do not fit; or a task failed: `result` has the others.
    """
    read: Read = read_tasks(tasks, store.location if store else None, by=by)
    began, identity = now(), run_id()
    _tell_tests(store, read, say)
    model = open_model()
    read = _rehearsed(read, model)
    more = also(model) if also else None
    with held(folder, model.identity, model.length, fresh=fresh):
        result, measured, failed = _measured(read, model, folder, samples=samples, say=say)
        try:
            if training:
                _look_for(measured, training, result, folder, columns, say)
            if more:
                write_durably(folder / RESULT, dumps(result := result | more()).encode())
        finally:  # whatever comes of the rest, a test split was read
            if store:
                _record(store, identity, began, model, [(task, rows) for task, rows, _ in measured], folder, result)
    _raise_first(failed, {**result, "folder": str(folder)})
    return Evaluation(folder, result)


def _raise_first(failed: Mapping[str, CurateError], result: dict[str, Any]) -> None:
    for error in failed.values():
        error.result = result
        raise error


def _rehearsed(read: Read, model: Model) -> Read:
    """The rows that have what is read of them, after a look at whether the model can be asked all of it."""
    from curate.evaluation.asking import rehearse, whole  # loads torch: what is wrong with the data is told before

    read = [(task, whole(task, rows, model)) for task, rows in read]
    for task, rows in read:
        rehearse(task, rows, model)
    return read


def _measured(
    read: Read, model: Model, folder: Path, *, samples: bool, say: Say
) -> tuple[dict[str, Any], Measurements, dict[str, CurateError]]:
    """The result, which is in the folder; the tasks that it has, with their items; and what was wrong with the others."""
    found, failed = _all_items(read, model, folder, samples=samples, say=say)
    if failed and not found:
        raise next(iter(failed.values()))
    result = _with_earlier(_result(model, found, failed), folder)
    write_durably(folder / RESULT, dumps(result).encode())
    done = [pair for pair in read if pair[0].name not in failed]  # fewer items where a server has gone
    return result, [(*pair, items) for pair, items in zip(done, found, strict=False)], failed


def _look_for(
    measured: Measurements,
    training: Dataset,
    result: dict[str, Any],
    folder: Path,
    columns: Sequence[str],
    say: Say,
) -> None:
    """Add to a result how many of its items stand in the training."""
    tell = _every(PATIENCE, lambda share: say(f"contamination by {training.name}: {share:.0%}"))
    read = [(task, rows) for task, rows, _ in measured]
    overlaps = contamination(read, training, folder, columns=columns, tell=tell)
    found = [items for _, _, items in measured]
    result["contamination"] = _with_known(_contaminated(training, found, overlaps), result)
    write_durably(folder / RESULT, dumps(result).encode())


def read_tasks(
    tasks: Sequence[TaskSettings], store: str | None, *, by: Sequence[str] = ()
) -> list[tuple[TaskSettings, Rows]]:
    """The tasks with their rows.

    Args:
        tasks: What is asked.
        store: Where versions are.
        by: Columns whose values get numbers of their own in those tasks of lm-evaluation-harness that have them.

    Raises:
        CurateError: Data is not there, or a column that groups or clusters a task is in none of its rows.
    """
    read = [(task, read_rows(task, store)) for task in tasks]
    for number, (task, rows) in enumerate(read):
        known = dict.fromkeys(key for row in rows.rows for key in row)
        if isinstance(task, HarnessTask):
            more = [name for name in by if name in known and name not in task.by]
            read[number] = task.model_copy(update={"by": (*task.by, *more)}), rows
        asked = [("by", name) for name in task.by] + ([("cluster", task.cluster)] if task.cluster else [])
        for setting, name in asked:
            if setting == "by" and name in FACTS:
                raise CurateError(
                    f"a result has something else under the name `{name}`", f"task {task.name}: by", "rename the column"
                )
            if name not in known:
                near = did_you_mean(name, known) or f"there are: {', '.join(known)}"
                raise CurateError(f"no row has a column `{name}`", f"task {task.name}: {setting}", near)
    strange = next((name for name in by if all(name not in task.by for task, _ in read)), None)
    if strange is not None:
        known = dict.fromkeys(key for _, rows in read for row in rows.rows for key in row)
        near = did_you_mean(strange, known) or f"there are: {', '.join(known)}"
        raise CurateError(f"no row of any task has a column `{strange}`", "--by", near)
    return read


def _all_items(
    read: Read, model: Model, folder: Path, *, samples: bool, say: Say
) -> tuple[list[Items], dict[str, CurateError]]:
    """The items of all tasks, and what was wrong with those that failed; behind a server that is gone nothing is tried."""
    found, failed = list[Items](), dict[str, CurateError]()
    for task, rows in read:
        try:
            found.append(_items(task, rows, model, folder, samples=samples, say=say))
        except KeyboardInterrupt:
            say(f"{len(found)} of {len(read)} tasks are measured, and kept; {task.name} begins again next time")
            raise
        except CurateError as error:
            say(f"{task.name}: failed: {error.problem}")
            failed[task.name] = error
            if isinstance(error, ResumableError):
                break
    return found, failed


def _items(task: TaskSettings, rows: Rows, model: Model, folder: Path, *, samples: bool, say: Say) -> Items:
    # which files these are is said by the hash of what they hold
    definition = task.model_dump(mode="json", exclude={"data", "files", "split", "anti", "examples_from", "by"})
    about = {
        "definition": definition, "data": rows.identity, "model": model.identity, "length": model.length,
        "engine": f"curate {version('curate-lm')}",
    }  # fmt: skip
    try:
        old = read_items(folder, task.name)
    except CurateError as error:
        say(f"{task.name}: {error.problem}: it is measured again")
        old = None
    if (
        old
        and all(old.about.get(key) == value for key, value in about.items())
        and (old.about["samples"] or not samples)
    ):
        say(f"{task.name}: measured before")
        return _grouped(old, task, rows, folder)
    say(f"{task.name}: {len(rows.rows):,} rows" + (f" of {rows.total:,}" if rows.total > len(rows.rows) else ""))
    started = time.process_time()
    model.progress = _every(PATIENCE, lambda share: say(f"{task.name}: {share:.0%}"))
    from curate.evaluation.asking import measured

    whole = measured(task, rows, model)
    table = whole if samples else whole.drop_columns([name for name in SAMPLES if name in whole.column_names])
    items = Items(task.name, table, {
        **about, "by": list(task.by), "source": rows.source, "version": rows.version, "split": rows.split,
        "rows": len(rows.rows), "total": rows.total, "repeated": rows.repeated, "left_out": rows.left_out, "samples": samples,
        "cut": sum(one > 0 for one in table["cut"].to_pylist()) if "cut" in table.column_names else 0,
        "cpu_seconds": time.process_time() - started, "backend": model.backend,
    })  # fmt: skip
    write_items(folder, items)
    return items


def _grouped(old: Items, task: TaskSettings, rows: Rows, folder: Path) -> Items:
    """What was measured before, by the columns that are asked for now."""
    if old.about["by"] == list(task.by):
        return old
    kept = [name for name in old.table.column_names if name not in old.about["by"]]
    table = old.table.select(kept)
    for name in task.by:
        table = table.append_column(name, as_texts(rows, name))
    items = Items(task.name, table, {**old.about, "by": list(task.by)})
    write_items(folder, items)
    return items


def _every(seconds: float, tell: Callable[[float], None]) -> Callable[[float], None]:
    """Tell at most every so many seconds."""
    last = time.monotonic()

    def maybe(share: float) -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            last = time.monotonic()
            tell(share)

    return maybe


def _result(model: Model, found: Sequence[Items], failed: Mapping[str, CurateError]) -> dict[str, Any]:
    tasks = {items.task: _plain(measures(items.table)) for items in found}
    groups = {
        items.task: {
            by: {name: _plain(some) for name, some in group_measures(items.table, by).items()}
            for by in items.about["by"]
        }
        for items in found
        if items.about["by"]
    }
    return {
        "schema": 1, "model": model.name, "identity": model.identity, "weights": model.weights, "length": model.length,
        "tasks": tasks, "groups": groups,
        "signatures": {items.task: words for items in found if (words := signatures(items.table))},
        "warnings": [words for items in found for words in _warnings(items)],
        "about": {items.task: items.about for items in found},
        "failed": {task: error.problem for task, error in failed.items()},
    }  # fmt: skip


def _with_earlier(result: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The result, and what the folder had of the same model and was not asked for now."""
    try:
        before = open_evaluation(folder).result
    except CurateError:
        return result
    left = [task for task in before["tasks"] if task not in result["tasks"] and task not in result["failed"]]
    whole = {**before, **result}
    if "contamination" in before:
        tasks = {task: one for task, one in before["contamination"]["tasks"].items() if task in left}
        whole["contamination"] = {**before["contamination"], "tasks": tasks}
    for part in ("tasks", "groups", "about", "signatures"):
        known = before.get(part, {})
        whole[part] = {task: known[task] for task in left if task in known} | result[part]
    told = [words for words in before["warnings"] if words.partition(":")[0] in left]
    whole["warnings"] = [*told, *result["warnings"]]
    return whole


def _with_known(found: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """What was found of contamination, and what was known of other tasks by the same version."""
    before = result.get("contamination")
    if before is None or before["version"] != found["version"]:
        return found
    return {
        **found,
        "tasks": {task: one for task, one in before["tasks"].items() if task in result["tasks"]} | found["tasks"],
    }


def _contaminated(training: Dataset, found: Sequence[Items], overlaps: Mapping[str, pa.Table]) -> dict[str, Any]:
    return {
        "version": training.version, "name": f"{training.name}@{training.tag or training.version[:12]}",
        "tasks": {items.task: _beside(items, overlaps[items.task]) for items in found},
    }  # fmt: skip


def _beside(items: Items, overlaps: pa.Table) -> dict[str, Any]:
    """How many items stand in the training data, of those of which it can be told, and the metrics of those that do not."""
    told = overlaps["contaminated"].drop_null().to_pylist()
    share = wilson(float(sum(told)), len(told))
    known = Measured(share.value, share.low, share.high, len(told)) if told else Measured(None, None, None, 0)
    return {
        "contaminated": sum(told), "n": len(told), "too_short": overlaps.num_rows - len(told),
        "share": known.json(), "longest": max(overlaps["longest"].to_pylist(), default=0),
        "clean": _plain(measures(items.table.filter(pc.invert(overlaps["contaminated"])))),
    }  # fmt: skip


def _plain(some: dict[str, Measured]) -> dict[str, Any]:
    return {name: one.json() for name, one in some.items()}


def _warnings(items: Items) -> list[str]:
    told, about = [], items.about
    if about["definition"]["kind"] in CAUTIONS:
        told.append(f"{items.task}: {CAUTIONS[about['definition']['kind']]}")
    if items.table.num_rows < SMALL:
        told.append(f"{items.task}: {items.table.num_rows} items are too few to tell much: see the intervals")
    if about["left_out"]:
        told.append(f"{items.task}: {about['left_out']:,} rows have nothing in a column that is read, and are left out")
    if about["repeated"]:
        told.append(
            f"{items.task}: {about['repeated']:,} rows had the id of another one, and got a number behind it: "
            "two models are paired by their place in the data"
        )
    if about["cut"]:
        told.append(f"{items.task}: {about['cut']:,} of {about['rows']:,} were too long for the model, and were cut")
    unknown = sum(one > 0 for one in items.table["unknown"].to_pylist()) if "unknown" in items.table.column_names else 0
    if unknown:
        told.append(
            f"{items.task}: {unknown:,} of {about['rows']:,} have labels that the model never saw: they count as wrong"
        )
    return told


def _tell_tests(store: Store | None, read: Read, say: Say) -> None:
    for _, rows in read:
        _tell_test(store, rows, say)


def _tell_test(store: Store | None, rows: Rows, say: Say) -> None:
    """A test split that decides twice is a validation split: say that it was read before."""
    if store is None or rows.split != "test" or rows.version is None:
        return
    before = [
        one for one in records(store, "evaluation", version=rows.version)
        if any(split == [rows.version, "test"] for split in one["facts"]["splits"])
    ]  # fmt: skip
    if before:
        say(
            f"the test split of {rows.source} was read {len(before)} times before: what is chosen by it is not tested by it"
        )


def _record(
    store: Store,
    identity: str,
    began: str,
    model: Model,
    read: Read,
    folder: Path,
    result: dict[str, Any],
) -> None:
    versions = {rows.version: rows.source for _, rows in read if rows.version}
    record(
        store, "evaluation", identity, name=folder.name, state="failed" if result["failed"] else "done", began=began,
        inputs=[
            Thing(kind="model", id=model.weights, name=model.name),
            *(Thing(kind="version", id=one, name=name) for one, name in versions.items()),
        ],
        outputs=[Thing(kind="evaluation", id=hashlib.sha256(dumps(result).encode()).hexdigest(), name=str(folder.resolve()))],
        facts={
            "folder": str(folder.resolve()), "tasks": [task.name for task, _ in read],
            "splits": [list(pair) for pair in sorted({(rows.version, rows.split) for _, rows in read if rows.version})],
        },
    )  # fmt: skip
