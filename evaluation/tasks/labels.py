"""What a model with a head predicts, against what is right.

A label that the model has never seen cannot be right: its items count as wrong, and are counted. Words behind the end of
what the model reads are labelled with nothing (null), and count as wrong: else who reads less would be asked less.
Spans are those of train/objectives/spans.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.special import softmax

from curate.dataset.fillers import without_fillers
from curate.errors import CurateError
from curate.evaluation.models.headed import HeadedModel
from curate.evaluation.tasks.data import Rows, column
from curate.evaluation.tasks.settings import LabelTask
from curate.jsontext import loads
from curate.tokenize.roles import roles_of
from curate.tokenize.streams import lists_of_words
from curate.train.data.tasks import positive_of
from curate.train.objectives.spans import has_spans, span_counts
from curate.train.objectives.texts import judged

__all__ = ["label_columns", "predictions", "word_logits"]


def label_columns(task: LabelTask, model: HeadedModel) -> dict[str, str]:
    """The columns that a task reads, by setting: its own, else those of the training."""
    columns = model.columns
    text = task.text or (columns.words if model.kind == "token_classification" else columns.text)
    label = task.label or (columns.target if model.kind == "seq2seq" else columns.label)
    second = (task.second or columns.second) if model.kind == "classification" else None
    if model.kind == "classification" and not model.reads_text:
        return {"label": label}
    return {"text": text, "label": label, **({"second": second} if second else {})}


def predictions(task: LabelTask, rows: Rows, model: HeadedModel) -> dict[str, list[Any]]:
    """Facts of each row, by what the model predicts; `cut` are the tokens that it did not read.

    classes    gold, predicted, accuracy, confidence; unknown (1 where the model has never seen the label); positive_gold,
               positive_found, positive_right of a positive label
    numbers    gold_value, predicted_value
    words      gold, predicted (lists), words, words_right, unknown (words); spans_gold, spans_found, spans_right
    texts      what `judged` makes of the targets

    Raises:
        CurateError: A row lacks a column, or no label of the data is one of the model's.
    """
    columns = label_columns(task, model)
    text, label = columns.get("text"), columns["label"]
    right = column(rows, label, task.name, "label")
    given = column(rows, text, task.name, "text") if text else [""] * len(right)
    if model.kind == "seq2seq":
        said, cut = model.translate([str(one) for one in given], beams=task.beams, most=task.most)
        references = [[str(some) for some in one] if isinstance(one, list) else [str(one)] for one in right]
        return {"cut": cut, "generated": said, **judged(said, references, task.metrics)}
    if model.kind == "token_classification":
        return _words(task, rows, model, columns["text"], label)
    second = columns.get("second")
    seconds = None if second is None else [str(one) for one in column(rows, second, task.name, "second")]
    if rows.table is not None:
        model.check_recipe(rows.table, rows.source)
    texts, table = [str(one) for one in given], model.features(rows.rows)
    if model.regression:
        numbers = [_number(task, row, value) for row, value in zip(rows.rows, right, strict=True)]
        logits, cut = model.read(texts, seconds, table)
        return {"cut": cut, "gold_value": numbers, "predicted_value": logits[:, 0].astype(float).tolist()}
    gold = [_name(task, one) for one in right]
    _refuse_strange(task, model, set(gold))
    logits, cut = model.read(texts, seconds, table)
    shares = softmax(logits.astype(np.float64), axis=1)
    predicted = [model.labels[number] for number in logits.argmax(1)]
    return {
        "cut": cut, "gold": gold, "predicted": predicted, **_positives(task, model, gold, predicted),
        "accuracy": [float(one == other) for one, other in zip(gold, predicted, strict=True)],
        "confidence": shares.max(1).tolist(),
        "unknown": [int(one not in model.labels) for one in gold],
    }  # fmt: skip


def _positives(task: LabelTask, model: HeadedModel, gold: list[str], predicted: list[str]) -> dict[str, list[int]]:
    """What F1 of the positive label is made of; nothing where no label is."""
    place = positive_of(task.positive, model.labels, where=f"task {task.name}: positive")
    if place is None:
        return {}
    label = model.labels[place]
    wanted, found = [int(one == label) for one in gold], [int(one == label) for one in predicted]
    right = [one * other for one, other in zip(wanted, found, strict=True)]
    return {"positive_gold": wanted, "positive_found": found, "positive_right": right}


def _name(task: LabelTask, label: Any) -> str:
    """What the model calls a label; whole numbers are written without a point, as in the training."""
    name = str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)
    return task.labels.get(name, name)


def _number(task: LabelTask, row: dict[str, Any], value: Any) -> float:
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = float("nan")
    if not np.isfinite(found):
        raise CurateError(
            f"the row {row['id']} has {value!r} where a number should be", f"task {task.name}: label",
            "the model predicts numbers",
        )  # fmt: skip
    return found


def _refuse_strange(task: LabelTask, model: HeadedModel, gold: set[str]) -> None:
    if gold and gold.isdisjoint(model.labels):
        raise CurateError(
            f"the model knows none of the labels of the data: {_few(sorted(gold))}",
            f"task {task.name}: label",
            f"it tells apart: {_few(model.labels)}; `labels: {{{min(gold)}: {model.labels[0]}}}` of a task in a file for "
            "--tasks says what it calls them",
        )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} others" if len(names) > 8 else "")


# ---- words


class _Column:
    """The part of a dataset that tokenizing reads, of one column."""

    columns = ("id", "words")

    def __init__(self, rows: Sequence[dict[str, Any]], words: list[list[str]]) -> None:
        self.table = pa.table({"id": [row["id"] for row in rows], "words": pa.array(words, pa.list_(pa.string()))})

    def batches(self, split: str, columns: list[str], batch_size: int) -> list[pa.RecordBatch]:
        """As a dataset's."""
        return self.table.select(columns).to_batches(batch_size)


def word_logits(
    model: HeadedModel, rows: Sequence[dict[str, Any]], words: Sequence[Sequence[Any]]
) -> tuple[list[np.ndarray], list[int]]:
    """Logits (words, labels) of the words of each row, as far as the model reads, and how many tokens it did not read."""
    known = roles_of(model.tokenizer, Path(model.name))
    dataset: Any = _Column(rows, [[str(word) for word in some] for some in words])
    pieces = lists_of_words(dataset, "rows", "words", model.tokenizer, known["end_of_text"], known.get("unknown"))
    return model.tag([(np.array(piece.tokens[:-1], np.int64), np.asarray(piece.mask)[:-1]) for piece in pieces])


def _words(task: LabelTask, rows: Rows, model: HeadedModel, text: str, label: str) -> dict[str, list[Any]]:
    lists = [_list(task, row, text, "text") for row in rows.rows]
    golds = [[_name(task, one) for one in _list(task, row, label, "label")] for row in rows.rows]
    for row, words, gold in zip(rows.rows, lists, golds, strict=True):
        if len(words) != len(gold):
            raise CurateError(
                f"the row {row['id']} has {len(words)} words and {len(gold)} labels", f"task {task.name}: label"
            )
    _refuse_strange(task, model, {one for gold in golds for one in gold})
    logits, cut = word_logits(model, rows.rows, lists)
    read = [[model.labels[number] for number in some.argmax(1)] for some in logits]
    found = [[*some, *[None] * (len(gold) - len(some))] for gold, some in zip(golds, read, strict=True)]
    pairs = list(zip(golds, found, strict=True))
    facts: dict[str, list[Any]] = {
        "cut": cut, "gold": golds, "predicted": found, "words": [len(gold) for gold in golds],
        "words_right": [sum(one == other for one, other in zip(*pair, strict=True)) for pair in pairs],
        "unknown": [sum(one not in model.labels for one in gold) for gold in golds],
    }  # fmt: skip
    if not has_spans(model.labels):
        return facts
    counts = [span_counts(*pair) for pair in pairs]
    names = ("spans_gold", "spans_found", "spans_right")
    return {**facts, **{name: [one[place] for one in counts] for place, name in enumerate(names)}}


def _list(task: LabelTask, row: dict[str, Any], name: str, setting: str) -> list[Any]:
    """A list, which may be there as JSON text."""
    value = row[name]
    try:
        value = loads(value.encode()) if isinstance(value, str) else without_fillers(value)
    except ValueError:
        value = None
    if not isinstance(value, list):
        raise CurateError(f"the row {row['id']} has no list in `{name}`", f"task {task.name}: {setting}")
    return value
