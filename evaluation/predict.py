"""`curate predict`: what a model with a head says of each row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
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
        CurateError: The model predicts the next token, or none of the first rows has what is read. A row further on that lacks
            it has `error`, and nothing else.
    """
    if isinstance(model, RewardModel):
        read, tell = _scored(model, rows, prompt or model.columns.prompt, text)
    else:
        read, tell = _headed(model, text, second, embeddings, beams)
    for start in range(0, len(rows), BLOCK):
        some = rows[start : start + BLOCK]
        given = [_tried(read, row) for row in some]
        there = [number for number, one in enumerate(given) if not isinstance(one, CurateError)]
        if not start and not there and isinstance(given[0], CurateError):
            raise given[0]
        found = iter(tell([some[number] for number in there], [given[number] for number in there]) if there else ())
        for row, one in zip(some, given, strict=True):
            yield {"id": row["id"], **({"error": one.problem} if isinstance(one, CurateError) else next(found))}


Read = Callable[[dict[str, Any]], Any]
"""What is read of a row; CurateError where it is not there."""
Tell = Callable[[list[dict[str, Any]], list[Any]], Iterable[dict[str, Any]]]
"""What the model says of rows, from what was read of them."""


def _tried(read: Read, row: dict[str, Any]) -> Any:
    try:
        return read(row)
    except CurateError as error:
        return error


def _headed(model: Any, text: str | None, second: str | None, embeddings: bool, beams: int) -> tuple[Read, Tell]:
    if not isinstance(model, HeadedModel):
        raise CurateError(
            f"the model {model.name} has no head that predicts labels, numbers or texts", "MODEL",
            "`curate generate` lets a model of the next token go on with prompts",
        )  # fmt: skip
    columns = model.columns
    if model.kind == "classification":
        return _classified(model, text or columns.text, second or columns.second, embeddings)
    if embeddings:
        raise CurateError("a model of words or of target texts has no embedding of a text", "--embeddings")
    if model.kind == "token_classification":
        return _tagged(model, text or columns.words)
    return _translated(model, text or columns.text, beams)


def _scored(model: RewardModel, rows: Sequence[dict[str, Any]], prompt: str, answer: str | None) -> tuple[Read, Tell]:
    columns = model.columns
    single = answer or columns.completion
    pairs = answer is None and single not in rows[0] and columns.chosen in rows[0]
    names = {"chosen_score": columns.chosen, "rejected_score": columns.rejected} if pairs else {"score": single}

    def tell(_: list[dict[str, Any]], given: list[Any]) -> Iterator[dict[str, Any]]:
        prompts, *answers = zip(*given, strict=True)
        scores = [model.score(list(prompts), list(one)) for one in answers]
        yield from (dict(zip(names, one, strict=True)) for one in zip(*scores, strict=True))

    return lambda row: (_given(row, prompt, "--prompt"), *(_given(row, one, "--text") for one in names.values())), tell


def _tagged(model: HeadedModel, name: str) -> tuple[Read, Tell]:
    def tell(rows: list[dict[str, Any]], words: list[Any]) -> Iterator[dict[str, Any]]:
        for some, cut in zip(*word_logits(model, rows, words), strict=True):
            shares = softmax(some.astype(np.float64), axis=1)
            labels = [model.labels[number] for number in some.argmax(1)]
            yield {"labels": labels, "probabilities": shares.max(1, initial=0.0).tolist(), "cut": cut}

    return lambda row: _list(row, name), tell


def _translated(model: HeadedModel, name: str, beams: int) -> tuple[Read, Tell]:
    def tell(_: list[dict[str, Any]], texts: list[Any]) -> Iterator[dict[str, Any]]:
        said, cuts = model.translate(texts, beams=beams)
        yield from ({"text": one, "cut": cut} for one, cut in zip(said, cuts, strict=True))

    return lambda row: _text(row, name), tell


def _classified(model: HeadedModel, name: str, second: str | None, embeddings: bool) -> tuple[Read, Tell]:
    def tell(rows: list[dict[str, Any]], given: list[Any]) -> Iterator[dict[str, Any]]:
        texts, *more = (list(one) for one in zip(*given, strict=True)) if model.reads_text else ([""] * len(rows),)
        made, cuts = (model.embed if embeddings else model.read)(texts, more[0] if more else None, model.features(rows))
        for one, cut in zip(made, cuts, strict=True):
            if embeddings:
                yield {"embedding": one.tolist(), "cut": cut}
            elif model.regression:
                yield {"number": float(one[0]), "cut": cut}
            else:
                yield {**_label(model, softmax(one.astype(np.float64))), "cut": cut}

    def read(row: dict[str, Any]) -> tuple[str, ...]:
        model.check_row(row)
        return tuple(_text(row, one) for one in names)

    names = [] if not model.reads_text else [name] if second is None else [name, second]
    return read, tell


def _label(model: HeadedModel, shares: Any) -> dict[str, Any]:
    best = int(shares.argmax())
    return {
        "label": model.labels[best],
        "probability": float(shares[best]),
        "probabilities": dict(zip(model.labels, shares.tolist(), strict=True)),
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
