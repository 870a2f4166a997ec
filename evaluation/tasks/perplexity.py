"""What each text costs a model: nats of all its tokens, beside its bytes, words and tokens."""

from __future__ import annotations

from typing import Any

from curate.errors import CurateError
from curate.evaluation.models.contract import LanguageModel
from curate.evaluation.tasks.data import Rows, column
from curate.evaluation.tasks.settings import PerplexityTask

__all__ = ["text_losses"]


def text_losses(task: PerplexityTask, rows: Rows, model: LanguageModel) -> dict[str, list[Any]]:
    """Facts of each row: `nats`, `bytes` (of UTF-8), `words` (runs without white space), `tokens`.

    Raises:
        CurateError: A row has no text, or none at all has a byte.
    """
    texts = [str(text) for text in column(rows, task.text, task.name, "text")]
    if not any(texts):
        raise CurateError("all texts are empty", f"task {task.name}: {task.text}")
    losses = model.read(texts)
    return {
        "nats": [float(one.nats.sum(dtype="float64")) for one in losses],
        "bytes": [len(text.encode()) for text in texts],
        "words": [len(text.split()) for text in texts],
        "tokens": [len(one.tokens) for one in losses],
    }
