"""Texts through a language model in batches of fixed shapes: what is said of one does not depend on those beside it.

Evaluation reads texts in batches that are as long as their longest; a matrix of another shape is multiplied in another order,
and its last digits differ. A stage's numbers must be those of the text alone, so windows are filled up to one of a few
lengths, and each length has its own number of rows, whoever is in them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from curate.errors import CurateError, MachineError
from curate.evaluation.models.contract import not_finite
from curate.evaluation.models.opened import open_model
from curate.evaluation.models.tokens import TokenModel
from curate.evaluation.models.windows import Window, text_windows

__all__ = ["Numbers", "open_reader", "read_costs"]

Numbers = NDArray[np.float64]
SHORTEST = 32
TOKENS = {"cpu": 1024, "cuda": 16_384}
"""Of a batch: a CPU is as fast on few rows, and what fills up the last batch of a length costs less."""
CHUNK = 512
"""Positions whose logits are made at once."""


def open_reader(
    model: str, *, device: Literal["cpu", "cuda"], length: int | None = None
) -> Callable[[pa.ChunkedArray], tuple[Numbers, Numbers]]:
    """The function that gives nats and tokens of each text (float64).

    Raises:
        CurateError: There is no model, or it does not predict the next token.
        MachineError: There is no such device here.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise MachineError("`device: cuda`, and there is no GPU here", hint="`device: cpu` computes without one")
    opened: Any = open_model(model, length=length)
    if not isinstance(opened, TokenModel):
        raise CurateError(f"the model in `{model}` does not predict the next token", hint="it has no perplexity")
    known: Any = opened
    (known.trunk if hasattr(known, "trunk") else known.model).to(device)
    return lambda texts: read_costs(opened, texts.to_pylist(), tokens=TOKENS[device])


@torch.inference_mode()
def read_costs(model: TokenModel, texts: Sequence[str], *, tokens: int = TOKENS["cpu"]) -> tuple[Numbers, Numbers]:
    """What texts cost a model.

    Args:
        model: Of the next token.
        texts: Any.
        tokens: Of a batch.

    Returns:
        Nats of all tokens of each text, and how many tokens it has.
    """
    encoded = model.encode(texts)
    by_length: dict[int, list[Window]] = defaultdict(list)
    for window in text_windows(encoded, model.prefix, model.length):
        by_length[_filled(len(window.tokens) - 1, model.length)].append(window)
    nats = np.zeros(len(texts))
    for length, windows in sorted(by_length.items()):
        rows = max(1, tokens // length)
        for start in range(0, len(windows), rows):
            some = windows[start : start + rows]
            for window, losses in zip(some, _losses(model, some, rows, length), strict=True):
                nats[window.request] += losses.sum(dtype=np.float64)
    if not np.isfinite(nats).all():
        raise not_finite(model.name)
    return nats, np.array([len(one) for one in encoded], np.float64)


def _filled(positions: int, most: int) -> int:
    """The least of 32, 48, 64, 96, 128, ... that a window fits into, or what the model reads at once."""
    length = SHORTEST
    while length < positions:
        length = length * 3 // 2 if length & (length - 1) == 0 else length // 3 * 4
    return min(length, most)


def _losses(model: TokenModel, windows: Sequence[Window], rows: int, length: int) -> list[NDArray[np.float32]]:
    """Nats of the targets of each window, all read as one batch of (rows, length)."""
    whole = torch.full((rows, length + 1), model.prefix, dtype=torch.long)
    for row, window in enumerate(windows):
        whole[row, : len(window.tokens)] = torch.tensor(window.tokens)
    whole = whole.to(model.device)
    states, wanted = model.states(whole[:, :-1]), whole[:, 1:]
    found: list[torch.Tensor] = []
    for row in range(len(windows)):  # one row's logits at a time: they are what needs memory
        for part, targets in zip(states[row].split(CHUNK), wanted[row].split(CHUNK), strict=True):
            logits = model.logits(part)
            found.append(logits.logsumexp(-1) - logits.gather(-1, targets[:, None])[:, 0])
    losses = torch.cat(found).float().cpu().numpy().reshape(len(windows), length)
    ends = [len(window.tokens) - 1 for window in windows]
    return [
        losses[row, end - window.targets : end] for row, (window, end) in enumerate(zip(windows, ends, strict=True))
    ]
