"""Which model answers which task, and what can be known of it before anything is measured.

A row that has nothing (a null, or an empty text) in a column that the task reads is left out, and counted. All of a task
but its questions - columns, templates, right answers, room for new tokens - is gone through by `rehearse` before the first
task is measured, so that a task that cannot work costs no time.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any, NoReturn

import pyarrow as pa

from curate.errors import CurateError, did_you_mean
from curate.evaluation.models.contract import LanguageModel
from curate.evaluation.models.headed import HeadedModel
from curate.evaluation.models.tokens import TokenModel
from curate.evaluation.tasks.chat import assistant_losses, columns_of_training, preferred
from curate.evaluation.tasks.choice import choices
from curate.evaluation.tasks.data import Rows, as_texts
from curate.evaluation.tasks.fairness import (
    coreferences,
    counterfactuals,
    group_answers,
    stereotypes,
    toxicities,
)
from curate.evaluation.tasks.generation import answers
from curate.evaluation.tasks.harness import harness_facts
from curate.evaluation.tasks.labels import label_columns, predictions
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

__all__ = ["Model", "measured", "rehearse", "whole"]

Model = LanguageModel | HeadedModel
REHEARSED = 100
"""Rows of a task of lm-evaluation-harness, which takes as long to prepare its questions as a small model to answer."""


def measured(task: TaskSettings, rows: Rows, model: Model) -> pa.Table:
    """What a model answers to a task: a row an item, with its id, its groups and the facts.

    Raises:
        CurateError: The model does not answer questions of this kind.
    """
    columns = {"id": pa.array([row["id"] for row in rows.rows], pa.string()), **_facts(task, rows, model)}
    columns |= {name: as_texts(rows, name) for name in task.by}
    if task.cluster:
        columns["cluster"] = as_texts(rows, task.cluster)
    return pa.table(columns)


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


# ---- before


def whole(task: TaskSettings, rows: Rows, model: Model) -> Rows:
    """The rows that have what the task reads; `left_out` counts the others.

    Raises:
        CurateError: No row has it.
    """
    named, empty = _read_columns(task, rows, model), () if isinstance(task, GenerationTask) else ("",)
    kept = rows.rows
    for setting, name in named.items():
        where = f"task {task.name}: {setting}"
        having = [row for row in kept if row.get(name) is not None and row[name] not in empty]
        if kept and not having:
            known = dict.fromkeys(key for row in rows.rows for key in row)
            near = did_you_mean(name, known) or f"the rows have: {', '.join(known)}"
            if name in known:
                raise CurateError(f"no row has anything in `{name}`: all are null or empty", where)
            raise CurateError(f"no row has a column `{name}`", where, near)
        kept = having
    return replace(rows, rows=kept, left_out=len(rows.rows) - len(kept))


def _read_columns(task: TaskSettings, rows: Rows, model: Model) -> dict[str, str]:
    """The columns that a task reads as they are, by setting; templates say themselves what they do without."""
    match task:
        case PerplexityTask() | CounterfactualTask():
            return {"text": task.text}
        case LabelTask() if isinstance(model, HeadedModel):
            return label_columns(task, model)
        case ConversationTask() | PreferenceTask() if isinstance(model, TokenModel):
            return columns_of_training(task, model)
        case ChoiceTask():
            return {"answer": task.answer, **({"choices": task.choices} if isinstance(task.choices, str) else {})}
        case GenerationTask():
            return {"answer": task.answer} if any(task.answer in row for row in rows.rows) else {}
        case StereotypeTask():
            return {"more": task.more, "less": task.less}
        case ToxicityTask():
            return {"prompt": task.prompt}
        case _:
            return {}


class _Asked(BaseException):
    """The first question of a rehearsal; no `Exception`, which the edge to lm-evaluation-harness takes for its own."""


def rehearse(task: TaskSettings, rows: Rows, model: Model) -> None:
    """Go through a task up to its first question.

    Raises:
        CurateError: It does not fit its rows, or the model.
    """
    actor: Any = copy(model)

    def asked(*_: Any, **__: Any) -> NoReturn:
        raise _Asked

    def read(texts: Sequence[Any], *_: Any, **__: Any) -> NoReturn:
        getattr(model, "encode", list)([])  # a server without a tokenizer refuses
        raise _Asked

    def complete(prompts: Sequence[str], *, most: int, **_: Any) -> NoReturn:
        if most >= model.length:
            raise CurateError(
                f"{most} new tokens leave no room for a prompt: {model.name} reads {model.length} tokens at once",
                f"task {task.name}: {'harness' if isinstance(task, HarnessTask) else 'most'}",
                f"`settings: {{generation_kwargs: {{max_gen_toks: {model.length // 2}}}}}` of a task of `kind: harness`"
                if isinstance(task, HarnessTask) else f"`most: {model.length // 2}` leaves room",
            )  # fmt: skip
        raise _Asked

    for name in ("losses", "translate", "tag"):
        setattr(actor, name, asked)
    actor.score, actor.complete = read, complete
    actor.read = asked if isinstance(model, HeadedModel) else read
    some = replace(rows, rows=rows.rows[:REHEARSED]) if isinstance(task, HarnessTask) else rows
    try:
        _facts(task, some, actor)
    except _Asked:
        return
