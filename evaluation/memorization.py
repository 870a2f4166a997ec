"""What a model knows of the text that it was trained on and of no other.

A passage is at most 2,000 characters from a seeded place of a document. `verbatim`: after its first 32 tokens the next 32 are
each the likeliest one, which is to say that greedy decoding continues it word for word (Carlini et al. 2023, arXiv 2202.07646,
with shorter prompts). It is read off one pass over the 64 tokens, with nothing generated. Passages of fewer tokens are left
out, and counted. `gap`: bits per byte of held-out passages less that of as many passages of the training.

Held-out text has phrases that everybody writes, and a share of its own: the excess over it is what was memorized.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from curate.audit.bias.statistics import wilson
from curate.dataset.reader import Dataset
from curate.errors import CurateError
from curate.evaluation.metrics import METRICS, Measured
from curate.evaluation.models.tokens import TokenModel
from curate.evaluation.statistics import unpaired
from curate.evaluation.tasks.data import documents

__all__ = ["Passage", "check", "gap", "held_out", "memorization", "passages"]

PROMPT, CONTINUED, CHARACTERS = 32, 32, 2000


class Passage(NamedTuple):
    """Some text of a document; `begins`: it is its begin."""

    text: str
    begins: bool


def held_out(dataset: Dataset) -> str:
    """The split that stands for text that was not trained on: validation, else test.

    Raises:
        CurateError: There is none.
    """
    for split in ("validation", "test"):
        if dataset.splits.get(split):
            return split
    raise CurateError(
        f"{dataset.name} has no text that was held out of the training",
        hint="`{stage: split}` makes a validation split",
    )


def passages(dataset: Dataset, split: str, column: str, count: int, *, seed: int = 0) -> list[Passage]:
    """Passages of at most `count` documents of a split, drawn by the seed, in random order; empty documents give none."""
    total = dataset.splits.get(split, 0)
    if not total:
        raise CurateError(f"there is no document in {dataset.name}, split {split}")
    random = np.random.default_rng(seed)
    numbers = random.choice(total, size=min(count, total), replace=False)
    order = np.argsort(numbers)
    rows = documents(dataset, split, [column], numbers[order])
    found: list[Passage | None] = [None] * len(numbers)
    for place, row in zip(order.tolist(), rows, strict=True):
        found[place] = _passage(str(row[column] or ""), np.random.default_rng((seed, int(numbers[place]))))
    return [one for one in found if one and one.text]


def _passage(text: str, random: np.random.Generator) -> Passage:
    start = int(random.integers(max(len(text) - CHARACTERS, 0) + 1))
    if start:
        space = text.find(" ", start)
        start = space if 0 <= space < len(text) - 1 else start
    return Passage(text[start : start + CHARACTERS], start == 0)


def gap(model: TokenModel, train: Sequence[Passage], held: Sequence[Passage], *, seed: int = 0) -> Measured:
    """Bits per byte of held-out passages less that of as many of the training; positive where the training is known better."""
    count = min(len(train), len(held))
    rows = [_costs(model, some[:count]) for some in (held, train)]
    found = unpaired(rows[0], rows[1], METRICS["bits_per_byte"].value, seed=seed)
    if found is None:
        return Measured(None, None, None, count)
    return Measured(found.value, found.low, found.high, count)


def _costs(model: TokenModel, some: Sequence[Passage]) -> NDArray[np.float64]:
    """(passages, 2): nats and bytes."""
    texts = [one.text for one in some]
    nats = [one.nats.sum(dtype="float64") for one in model.read(texts)]
    sizes = [len(text.encode()) for text in texts]
    return np.array([nats, sizes], np.float64).T


def check(model: TokenModel, dataset: Dataset) -> str:
    """The split that was held out.

    Raises:
        CurateError: Nothing was, or the model reads fewer than 64 tokens at once.
    """
    if model.length < PROMPT + CONTINUED:
        raise CurateError(
            f"{model.name} reads {model.length} tokens at once; memorization asks for {PROMPT + CONTINUED}",
            "--memorization",
        )
    return held_out(dataset)


def memorization(
    model: TokenModel, dataset: Dataset, *, count: int, column: str = "text", seed: int = 0
) -> dict[str, Any]:
    """The shares that are continued verbatim, and the gap in bits per byte, with their intervals.

    Args:
        model: A language model.
        dataset: What it was trained on.
        count: Documents of the training, and at most as many that were held out.
        column: With the text.
        seed: Of the sample.

    Raises:
        CurateError: Nothing was held out, or the model reads fewer than 64 tokens at once.
    """
    split = check(model, dataset)
    train = passages(dataset, "train", column, count, seed=seed)
    held = passages(dataset, split, column, count, seed=seed)
    shares, short = {}, {}
    for name, some in (("train", train), (split, held)):
        hits = _verbatim(model, some)
        share = wilson(float(sum(hits)), len(hits))
        value = share.value if hits else None
        shares[name] = Measured(value, share.low if hits else None, share.high if hits else None, len(hits)).json()
        short[name] = len(some) - len(hits)
    return {
        "version": dataset.version, "name": f"{dataset.name}@{dataset.tag or dataset.version[:12]}", "held_out": split,
        "prompt_tokens": PROMPT, "continued_tokens": CONTINUED, "seed": seed, "too_short": short,
        "verbatim": shares, "gap": {"bits_per_byte": gap(model, train, held, seed=seed).json()},
    }  # fmt: skip


def _verbatim(model: TokenModel, some: Sequence[Passage]) -> list[bool]:
    rows: list[list[int]] = []
    for one, tokens in zip(some, model.encode([one.text for one in some]), strict=True):
        if len(tokens) >= PROMPT + CONTINUED:
            rows.append([model.prefix] * one.begins + tokens[: PROMPT + CONTINUED])
    return [bool(likeliest[-CONTINUED:].all()) for _, likeliest in model.losses(rows)]
