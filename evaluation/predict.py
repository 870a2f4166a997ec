"""`curate predict`: what a model with a head says of each row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy.special import softmax

from curate.dataset.fillers import without_fillers
from curate.errors import CurateError
from curate.evaluation.models.headed import HeadedModel
from curate.evaluation.tasks.labels import word_logits
from curate.jsontext import loads

__all__ = ["predicted"]

BLOCK = 1000
"""Rows that are read at a time."""


def predicted(
    model: Any,
    rows: Sequence[dict[str, Any]],
    *,
    text: str | None = None,
    second: str | None = None,
    embeddings: bool = False,
    beams: int = 1,
) -> Iterator[dict[str, Any]]:
    """What the model says of each row, in their order.

    classes    `label`, `probability`, and `probabilities` of all labels by name
    numbers    `number`
    words      `labels` and `probabilities` of the words that it read
    texts      `text`
    `embeddings` gives `embedding` alone. All have `id`, and `cut`: how many tokens were too many for the model.

    Args:
        model: What was opened.
        rows: Each with an `id`.
        text: Column that is read; by default that of the training.
        second: Column with the second text of a pair.
        embeddings: What stands for a text before the head, not what the head makes of it.
        beams: Beginnings that are kept when a text is written.

    Raises:
        CurateError: The model predicts the next token, or a row lacks what is read.
    """
    if not isinstance(model, HeadedModel):
        raise CurateError(
            f"the model {model.name} has no head that predicts labels, numbers or texts", "MODEL",
            "`curate generate` lets a model of the next token go on with prompts",
        )  # fmt: skip
    if embeddings and model.kind != "classification":
        raise CurateError("a model of words or of target texts has no embedding of a text", "--embeddings")
    name = text or (model.columns.words if model.kind == "token_classification" else model.columns.text)
    for start in range(0, len(rows), BLOCK):
        some = rows[start : start + BLOCK]
        for row, found in zip(some, _of_block(model, some, name, second, embeddings, beams), strict=True):
            yield {"id": row["id"], **found}


def _of_block(
    model: HeadedModel, rows: Sequence[dict[str, Any]], text: str, second: str | None, embeddings: bool, beams: int
) -> Iterator[dict[str, Any]]:
    if model.kind == "token_classification":
        words = [_list(row, text) for row in rows]
        logits, cuts = word_logits(model, rows, words)
        for some, cut in zip(logits, cuts, strict=True):
            shares = softmax(some.astype(np.float64), axis=1)
            labels = [model.labels[number] for number in some.argmax(1)]
            yield {"labels": labels, "probabilities": shares.max(1, initial=0.0).tolist(), "cut": cut}
        return
    texts = [_text(row, text) for row in rows]
    if model.kind == "seq2seq":
        said, cuts = model.translate(texts, beams=beams)
        yield from ({"text": one, "cut": cut} for one, cut in zip(said, cuts, strict=True))
        return
    name = second or model.columns.second
    seconds = None if name is None else [_text(row, name) for row in rows]
    if embeddings:
        vectors, cuts = model.embed(texts, seconds)
        yield from ({"embedding": one.tolist(), "cut": cut} for one, cut in zip(vectors, cuts, strict=True))
        return
    logits, cuts = model.read(texts, seconds)
    if model.regression:
        yield from ({"number": float(one[0]), "cut": cut} for one, cut in zip(logits, cuts, strict=True))
        return
    for shares, cut in zip(softmax(logits.astype(np.float64), axis=1), cuts, strict=True):
        best = int(shares.argmax())
        probabilities = dict(zip(model.labels, shares.tolist(), strict=True))
        yield {
            "label": model.labels[best],
            "probability": float(shares[best]),
            "probabilities": probabilities,
            "cut": cut,
        }


def _text(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    if value is None or value == "":
        columns = ", ".join(key for key in row if key != "id")
        raise CurateError(f"the row {row['id']} has no text in `{name}`", "--text", f"it has: {columns}")
    return str(value)


def _list(row: dict[str, Any], name: str) -> list[Any]:
    value = row.get(name)
    try:
        value = loads(value.encode()) if isinstance(value, str) else without_fillers(value)
    except ValueError:
        value = None
    if not isinstance(value, list) or not value:
        raise CurateError(f"the row {row['id']} has no list of words in `{name}`", "--text")
    return value
