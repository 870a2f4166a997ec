"""`curate predict`: what a model with a head says of each row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax

from curate.dataset.fillers import without_fillers
from curate.errors import CurateError
from curate.evaluation.models.headed import HeadedModel
from curate.evaluation.models.opened import open_model
from curate.evaluation.tasks.labels import word_logits
from curate.jsontext import loads
from curate.train.weights.origin import checkpoint_of, read_stored
from curate.train.weights.reward_model import RewardModel, open_reward_model

__all__ = ["open_predictor", "predicted"]

BLOCK = 1000
"""Rows that are read at a time."""


def open_predictor(model: str, *, length: int | None = None, scores: bool = False) -> Any:
    """The model in a folder, for `predicted`: a reward model where it is one of ours, or `scores` says so.

    Raises:
        CurateError: There is none.
    """
    return (
        open_reward_model(model, length=length)
        if scores or _gives_scores(Path(model))
        else open_model(model, length=length)
    )


def _gives_scores(folder: Path) -> bool:
    """It is a run of reward models, or the export of one."""
    if checkpoint := checkpoint_of(folder):
        return read_stored(checkpoint).config.objective.kind == "reward"
    config = folder / "config.json"
    return config.is_file() and loads(config.read_bytes()).get("id2label") == {"0": "reward"}


def predicted(
    model: Any,
    rows: Sequence[dict[str, Any]],
    *,
    text: str | None = None,
    second: str | None = None,
    embeddings: bool = False,
    beams: int = 1,
    prompt: str | None = None,
) -> Iterator[dict[str, Any]]:
    """What the model says of each row, in their order.

    classes    `label`, `probability`, and `probabilities` of all labels by name
    numbers    `number`
    words      `labels` and `probabilities` of the words that it read
    texts      `text`
    scores     `score` of the answer to the prompt, or `chosen_score` and `rejected_score`; and no `cut`
    `embeddings` gives `embedding` alone. All have `id`, and `cut`: how many tokens were too many for the model.

    Args:
        model: What was opened.
        rows: Each with an `id`.
        text: Column that is read; by default that of the training; of a reward model that with the answers.
        prompt: Column with the prompts of a reward model.
        second: Column with the second text of a pair.
        embeddings: What stands for a text before the head, not what the head makes of it.
        beams: Beginnings that are kept when a text is written.

    Raises:
        CurateError: The model predicts the next token, or a row lacks what is read.
    """
    if isinstance(model, RewardModel):
        yield from _scores(model, rows, prompt or model.columns.prompt, text)
        return
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


def _scores(
    model: RewardModel, rows: Sequence[dict[str, Any]], prompt: str, answer: str | None
) -> Iterator[dict[str, Any]]:
    columns = model.columns
    for start in range(0, len(rows), BLOCK):
        some = rows[start : start + BLOCK]
        single = answer or columns.completion
        pairs = answer is None and single not in some[0] and columns.chosen in some[0]
        read = {"chosen_score": columns.chosen, "rejected_score": columns.rejected} if pairs else {"score": single}
        prompts = [_given(row, prompt, "--prompt") for row in some]
        found = {name: model.score(prompts, [_given(row, one, "--text") for row in some]) for name, one in read.items()}
        for row, *scores in zip(some, *found.values(), strict=True):
            yield {"id": row["id"], **dict(zip(found, scores, strict=True))}


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
    return str(_given(row, name, "--text"))


def _given(row: dict[str, Any], name: str, option: str) -> Any:
    value = row.get(name)
    if value is None or value == "":
        columns = ", ".join(key for key in row if key != "id")
        raise CurateError(f"the row {row['id']} has no text in `{name}`", option, f"it has: {columns}")
    return value


def _list(row: dict[str, Any], name: str) -> list[Any]:
    value = row.get(name)
    try:
        value = loads(value.encode()) if isinstance(value, str) else without_fillers(value)
    except ValueError:
        value = None
    if not isinstance(value, list) or not value:
        raise CurateError(f"the row {row['id']} has no list of words in `{name}`", "--text")
    return value
