"""What each text costs a model: nats of all its tokens, beside its bytes, words and tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from curate.evaluation.models.contract import LanguageModel, TextLosses
from curate.evaluation.tasks.data import Rows, column
from curate.evaluation.tasks.settings import PerplexityTask

__all__ = ["text_losses"]

MAPPED, MOST_TOKENS = 4, 600
"""Of how many texts, and of how many tokens of each, `pieces` are kept."""


def text_losses(task: PerplexityTask, rows: Rows, model: LanguageModel) -> dict[str, list[Any]]:
    """Facts of each row: `nats`, `bytes` (of UTF-8), `words` (runs without white space), `tokens`.

    `pieces` are what each token of the first texts stands for, with what it cost, for people to look at; none of other texts,
    nor of models that do not show their tokenizer.

    Raises:
        CurateError: A row has no text.
    """
    texts = [str(text) for text in column(rows, task.text, task.name, "text")]
    losses = model.read(texts)
    shown = [_pieces(model, text, one) for text, one in zip(texts[:MAPPED], losses, strict=False)]
    return {
        "nats": [float(one.nats.sum(dtype="float64")) for one in losses],
        "bytes": [len(text.encode()) for text in texts],
        "words": [len(text.split()) for text in texts],
        "tokens": [len(one.tokens) for one in losses],
        "pieces": [*shown, *([[]] * (len(texts) - len(shown)))],
    }


def _pieces(model: LanguageModel, text: str, losses: TextLosses) -> list[dict[str, Any]]:
    tokenizer = getattr(model, "tokenizer", None)
    if tokenizer is None:
        return []
    encoded = tokenizer.encode(text, add_special_tokens=False)
    if len(encoded.ids) != len(losses.nats):
        return []
    pairs = list(zip(encoded.offsets, losses.nats.tolist(), strict=True))[:MOST_TOKENS]
    return list(_together(text, pairs))


def _together(text: str, pairs: Sequence[tuple[tuple[int, int], float]]) -> Iterator[dict[str, Any]]:
    """What each token adds to the text; tokens of parts of a character are one piece, which costs what they cost."""
    end, nats, tokens = 0, 0.0, 0
    for number, ((_, stop), cost) in enumerate(pairs):
        nats, tokens = nats + cost, tokens + 1
        following = pairs[number + 1][0] if number + 1 < len(pairs) else None
        if stop > end and (following is None or following[0] >= stop):
            yield {"text": text[end:stop], "nats": nats, "tokens": tokens}
            end, nats, tokens = stop, 0.0, 0
