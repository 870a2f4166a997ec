"""`curate eval`: tasks, a model, and what comes of them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curate.audit.bias.statistics import wilson
from curate.dataset.reader import Dataset
from curate.dataset.runs import Thing, now, record, records, run_id
from curate.dataset.store import Store
from curate.errors import CurateError, did_you_mean
from curate.evaluation.contamination import contamination
from curate.evaluation.metrics import Measured, group_measures, measures, signatures
from curate.evaluation.models.contract import LanguageModel
from curate.evaluation.models.headed import HeadedModel
from curate.evaluation.models.tokens import TokenModel
from curate.evaluation.result import RESULT, Evaluation, Items, open_evaluation, read_items, write_items
from curate.evaluation.tasks.chat import assistant_losses, preferred
from curate.evaluation.tasks.choice import choices
from curate.evaluation.tasks.data import SMALL, Rows, read_rows
from curate.evaluation.tasks.fairness import (
    CAUTIONS,
    coreferences,
    counterfactuals,
    group_answers,
    stereotypes,
    toxicities,
)
from curate.evaluation.tasks.generation import answers
from curate.evaluation.tasks.harness import harness_facts
from curate.evaluation.tasks.labels import predictions
from curate.evaluation.tasks.perplexity import text_losses
from curate.evaluation.tasks.settings import (
    BbqTask,
    ChoiceTask,
    ConversationTask,
    CoreferenceTask,
    CounterfactualTask,
    GenerationTask,
    HarnessTask,
    LabelTask,
    PerplexityTask,
    PreferenceTask,
    StereotypeTask,
    TaskSettings,
    ToxicityTask,
)
from curate.files import write_durably
from curate.jsontext import dumps

__all__ = ["check_columns", "evaluate", "measured"]

SAMPLES = ("prompt", "choices", "log_probabilities", "generated", "finish", "generated_tokens", "pieces")
"""Facts that only `--samples` keeps."""
Say = Callable[[str], None]
Model = LanguageModel | HeadedModel
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
    also: Callable[[Model], dict[str, Any]] | None = None,
    say: Say,
) -> Evaluation:
    """Measure a model on tasks, and keep what was measured.

    Args:
        open_model: Opens the model; called after all data is there.
        tasks: What is asked.
        folder: Of the evaluation; tasks that it has for the same model, definition and data are not measured again, and
            its other tasks stay.
        store: Where it is put on record, and versions are read; None: on no record.
        samples: Keep prompts and answers.
        training: The version that the model was trained on: how much of each item stands there is measured, too.
        columns: Of the training, for tasks that name none.
        also: Measures more of the model: parts of the result, by name.
        say: Tells people how far it is.

    Raises:
        CurateError: Data, model and tasks do not fit.
    """
    location = store.location if store else None
    read = [(task, _checked(task, read_rows(task, location))) for task in tasks]
    began, identity = now(), run_id()
    for _, rows in read:
        _tell_test(store, rows, say)
    model = open_model()
    found = [_items(task, rows, model, folder, samples=samples, say=say) for task, rows in read]
    result = _result(model, found)
    if training:
        tell = _every(PATIENCE, lambda share: say(f"contamination by {training.name}: {share:.0%}"))
        overlaps = contamination(read, training, folder, columns=columns, tell=tell)
        result["contamination"] = _contaminated(training, found, overlaps)
    if also:
        result |= also(model)
    result = _with_earlier(result, folder)
    write_durably(folder / RESULT, dumps(result).encode())
    if store:
        _record(store, identity, began, model, read, folder, result)
    return Evaluation(folder, result)


def _items(task: TaskSettings, rows: Rows, model: Model, folder: Path, *, samples: bool, say: Say) -> Items:
    definition = task.model_dump(exclude={"data", "files", "split", "by"})
    about = {"definition": definition, "data": rows.identity, "model": model.identity, "length": model.length}
    old = read_items(folder, task.name)
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
    whole = measured(task, rows, model)
    table = whole if samples else whole.drop_columns([name for name in SAMPLES if name in whole.column_names])
    items = Items(task.name, table, {
        **about, "by": list(task.by), "source": rows.source, "version": rows.version, "split": rows.split,
        "rows": len(rows.rows), "total": rows.total, "repeated": rows.repeated, "samples": samples,
        "cut": sum(one > 0 for one in table["cut"].to_pylist()) if "cut" in table.column_names else 0,
        "cpu_seconds": time.process_time() - started,
        "engine": f"curate {version('curate-lm')}",
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
        table = table.append_column(name, _texts(rows, name))
    items = Items(task.name, table, {**old.about, "by": list(task.by)})
    write_items(folder, items)
    return items


def _checked(task: TaskSettings, rows: Rows) -> Rows:
    check_columns(task, rows)
    return rows


def check_columns(task: TaskSettings, rows: Rows) -> None:
    """Refuse a task whose groups or clusters are in a column that no row has.

    Raises:
        CurateError: It is so.
    """
    known = dict.fromkeys(key for row in rows.rows for key in row)
    asked = [("by", name) for name in task.by] + ([("cluster", task.cluster)] if task.cluster else [])
    for setting, name in asked:
        if name not in known:
            near = did_you_mean(name, known) or f"there are: {', '.join(known)}"
            raise CurateError(f"no row has a column `{name}`", f"task {task.name}: {setting}", near)


def measured(task: TaskSettings, rows: Rows, model: Model) -> pa.Table:
    """What a model answers to a task: a row an item, with its id, its groups and the facts.

    Raises:
        CurateError: The model does not answer questions of this kind.
    """
    columns = {"id": pa.array([row["id"] for row in rows.rows], pa.string()), **_facts(task, rows, model)}
    columns |= {name: _texts(rows, name) for name in task.by}
    if task.cluster:
        columns["cluster"] = _texts(rows, task.cluster)
    return pa.table(columns)


def _texts(rows: Rows, name: str) -> pa.Array:
    """The values of a column as text, null where there is none."""
    values = (row.get(name) for row in rows.rows)
    return pa.array([None if value is None else str(value) for value in values], pa.string())


def _every(seconds: float, tell: Callable[[float], None]) -> Callable[[float], None]:
    """Tell at most every so many seconds."""
    last = time.monotonic()

    def maybe(share: float) -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            last = time.monotonic()
            tell(share)

    return maybe


def _facts(task: TaskSettings, rows: Rows, model: Model) -> dict[str, list[Any]]:
    """The facts of the rows.

    Raises:
        CurateError: The model does not answer questions of this kind.
    """
    match task:
        case LabelTask() if isinstance(model, HeadedModel):
            return predictions(task, rows, model)
        case ConversationTask() if isinstance(model, TokenModel):
            return assistant_losses(task, rows, model)
        case PreferenceTask() if isinstance(model, TokenModel):
            return preferred(task, rows, model)
        case PerplexityTask() if not isinstance(model, HeadedModel):
            return text_losses(task, rows, model)
        case ChoiceTask() if not isinstance(model, HeadedModel):
            return choices(task, rows, model)
        case GenerationTask() if not isinstance(model, HeadedModel):
            return answers(task, rows, model)
        case HarnessTask() if not isinstance(model, HeadedModel):
            return harness_facts(task, rows, model)
        case StereotypeTask() if not isinstance(model, HeadedModel):
            return stereotypes(task, rows, model)
        case CoreferenceTask() if not isinstance(model, HeadedModel):
            return coreferences(task, rows, model)
        case BbqTask() if not isinstance(model, HeadedModel):
            return group_answers(task, rows, model)
        case CounterfactualTask() if not isinstance(model, HeadedModel):
            return counterfactuals(task, rows, model)
        case ToxicityTask() if not isinstance(model, HeadedModel):
            return toxicities(task, rows, model)
        case _:
            pass
    if isinstance(model, HeadedModel):
        raise CurateError(
            f"the model {model.name} does not predict the next token: it was trained for `{model.kind}`",
            f"task {task.name}: kind", "`kind: labels` measures it",
        )  # fmt: skip
    raise CurateError(
        f"the model {model.name} has no head that predicts labels" if isinstance(task, LabelTask)
        else f"the tokens of {model.name} are not seen from here",
        f"task {task.name}: kind",
        "`choice` and `generation` ask a language model for labels" if isinstance(task, LabelTask) else None,
    )  # fmt: skip


def _result(model: Model, found: Sequence[Items]) -> dict[str, Any]:
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
        "schema": 1, "model": model.name, "identity": model.identity, "length": model.length, "tasks": tasks,
        "groups": groups, "signatures": {items.task: words for items in found if (words := signatures(items.table))},
        "warnings": [words for items in found for words in _warnings(items)],
        "about": {items.task: items.about for items in found},
    }  # fmt: skip


def _with_earlier(result: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The result, and what the folder had of the same model and was not asked for now."""
    try:
        before = open_evaluation(folder).result
    except CurateError:
        return result
    if any(before.get(key) != result[key] for key in ("identity", "length")):
        return result
    left = [task for task in before["tasks"] if task not in result["tasks"]]
    whole = {**before, **result}
    for part in ("tasks", "groups", "about", "signatures"):
        known = before.get(part, {})
        whole[part] = {task: known[task] for task in left if task in known} | result[part]
    told = [words for words in before["warnings"] if words.partition(":")[0] in left]
    whole["warnings"] = [*told, *result["warnings"]]
    old, new = before.get("contamination"), result.get("contamination")
    if old and new and old["version"] == new["version"]:
        known = {task: old["tasks"][task] for task in left if task in old["tasks"]}
        whole["contamination"] = {**new, "tasks": known | new["tasks"]}
    return whole


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
    read: Sequence[tuple[TaskSettings, Rows]],
    folder: Path,
    result: dict[str, Any],
) -> None:
    versions = {rows.version: rows.source for _, rows in read if rows.version}
    record(
        store, "evaluation", identity, name=folder.name, state="done", began=began,
        inputs=[
            Thing(kind="model", id=model.identity, name=model.name),
            *(Thing(kind="version", id=one, name=name) for one, name in versions.items()),
        ],
        outputs=[Thing(kind="evaluation", id=hashlib.sha256(dumps(result).encode()).hexdigest(), name=str(folder.resolve()))],
        facts={
            "folder": str(folder.resolve()), "tasks": [task.name for task, _ in read],
            "splits": [list(pair) for pair in sorted({(rows.version, rows.split) for _, rows in read if rows.version})],
        },
    )  # fmt: skip
