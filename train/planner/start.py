"""Settings to start a run with, from its size and tokens, cut so that it fits into the devices' memory.

Batch 327,680 tokens x (N / 108M)^(2/3), learning rate 0.0047 (N / 108M)^(-1/3), halved, warm-up of N tokens, beta2 0.95 from
524,288 tokens a batch and 0.99 below: Porian et al. 2024 (arXiv 2406.19146; models of 5M to 901M parameters), as
OLMo-core's model ladder uses them. They are where a search begins, not its end. Short runs differ: warm-up takes at most a
tenth of the tokens, and a batch at most a fiftieth.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from curate.train.planner.memory import Estimate, estimate

if TYPE_CHECKING:
    from curate.train.settings.architecture import Architecture
    from curate.train.settings.config import TrainConfig

__all__ = ["start_values"]

SIZE = 108e6
BATCH = 2048 * 160
RATE = 0.0047 / 2
LARGE_BATCH = 524_288
LEAST_STEPS = 50
LONGEST_WARMUP = 0.1
PIECE = 16_384
"""Tokens that a device computes at once, where its memory is not known."""
ROOM = 0.9
"""Share of a device's memory that is planned for."""


def start_values(
    config: TrainConfig,
    sizes: Architecture,
    *,
    parameters: float,
    tokens: float,
    vocabulary: int,
    devices: int,
    available: float | None,
    place: Literal["cpu", "cuda"],
) -> tuple[dict[str, Any], TrainConfig, Estimate]:
    """Settings by their names in train.yaml, the training file with them, and the memory that it takes.

    Args:
        config: The training file; its sequence length is kept.
        sizes: The model's architecture.
        parameters: Its parameters.
        tokens: How many it is to see.
        vocabulary: Tokens of the tokenizer.
        devices: How many share the work.
        available: Bytes of each; None where they are not known.
        place: What the devices are.
    """
    length = config.batch.length
    readers = max(1, devices // config.parallel.tensor)
    wanted = min(BATCH * (parameters / SIZE) ** (2 / 3), tokens / LEAST_STEPS)
    share = max(1, round(wanted / (length * readers)))  # sequences of one device in a step
    room = None if available is None else ROOM * available

    def cut(settings: TrainConfig) -> tuple[TrainConfig, Estimate]:
        return _largest_piece(settings, sizes, vocabulary, share=share, devices=devices, room=room, place=place)

    config, memory = cut(config)
    if room is not None and memory.total > room:
        config, memory = cut(config.model_copy(update={"recompute": True}))
    batch = config.batch.sequences * length
    steps = math.ceil(tokens / batch)
    settings: dict[str, Any] = {
        "steps": steps,
        "batch.sequences": config.batch.sequences,
        "batch.length": length,
        "batch.accumulate": config.batch.accumulate,
        "optimizer.learning_rate": float(f"{RATE * (parameters / SIZE) ** (-1 / 3):.2g}"),
        "optimizer.beta2": 0.95 if batch >= LARGE_BATCH else 0.99,
        "schedule.warmup": max(1, round(min(parameters / batch, LONGEST_WARMUP * steps))),
        "processes": devices,
    }
    if config.recompute:
        settings["recompute"] = True
    return settings, config, memory


def _largest_piece(
    config: TrainConfig,
    sizes: Architecture,
    vocabulary: int,
    *,
    share: int,
    devices: int,
    room: float | None,
    place: Literal["cpu", "cuda"],
) -> tuple[TrainConfig, Estimate]:
    """The training file with about `share` sequences a device, in the largest pieces (a power of two) that fit."""
    readers = max(1, devices // config.parallel.tensor)
    rows = 1 << (share.bit_length() - 1)
    if room is None:
        rows = min(rows, 1 << (max(1, PIECE // config.batch.length).bit_length() - 1))
    while True:
        pieces = max(1, round(share / rows))
        batch = {"sequences": readers * pieces * rows, "accumulate": pieces}
        changed = config.model_copy(update={"batch": config.batch.model_copy(update=batch), "processes": devices})
        memory = estimate(changed, sizes, vocabulary, device=place)
        if rows == 1 or room is None or memory.total <= room:
            return changed, memory
        rows //= 2
