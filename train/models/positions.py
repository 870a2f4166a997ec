"""Where tokens stand in their documents, and what rotary positions make of it.

Sources: rotary positions Su et al. 2021; all frequencies divided Chen et al. 2023; YaRN Peng et al. 2023; Llama 3.1 (its
model card's code). Frequencies are made anew in each forward pass: a model has no buffers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from curate.train.settings.architecture import Architecture, RopeScaling

__all__ = ["document_begins", "document_positions", "frequencies_of", "rotate", "rotation"]


def document_positions(documents: Tensor) -> Tensor:
    """Places from 0 in each document, (rows, length) int64, of `documents` (rows, length)."""
    places = torch.arange(documents.shape[1], device=documents.device).expand_as(documents)
    return places - torch.where(_begins(documents), places, 0).cummax(1).values


def document_begins(documents: Tensor) -> Tensor:
    """Where documents, and stretches of padding, begin in the flattened rows, and where the last one ends, int32."""
    begins = _begins(documents).flatten().nonzero().flatten()
    return functional.pad(begins, (0, 1), value=documents.numel()).int()


def _begins(documents: Tensor) -> Tensor:
    return functional.pad(documents[:, 1:] != documents[:, :-1], (1, 0), value=True)


def rotation(positions: Tensor, sizes: Architecture, *, windowed: bool = False) -> Tensor:
    """Cosines and sines of the angles position / theta^(2i / head width), with scaled frequencies where sizes say so.

    Args:
        positions: (length,) or (rows, length).
        sizes: For `head_width`, `rope_theta` and `rope_scaling`.
        windowed: In layers with a window, which may have a base of their own.

    Returns:
        (2, rows or 1, length, 1, head width / 2) float32.
    """
    own = sizes.window_theta if windowed else None
    scaling = None if own else sizes.rope_scaling
    frequencies = frequencies_of(sizes, own, device=positions.device)
    angles = positions.view(-1, positions.shape[-1], 1, 1).float() * frequencies
    turn = torch.stack((angles.cos(), angles.sin()))
    return turn * scaling.attention_factor if scaling and scaling.attention_factor != 1 else turn


def frequencies_of(sizes: Architecture, theta: float | None = None, *, device: torch.device | None = None) -> Tensor:
    """Radians a position, (head width / 2,) float32: scaled where sizes say so, or with a base that is not.

    Args:
        sizes: For `head_width`, `rope_theta` and `rope_scaling`.
        theta: A base of its own; None: that of the sizes.
        device: Where to.
    """
    exponents = torch.arange(0, sizes.head_width, 2, dtype=torch.float32, device=device)
    frequencies = (theta or sizes.rope_theta) ** (-exponents / sizes.head_width)
    scaled = sizes.rope_scaling and not theta
    return _scaled(frequencies, sizes.rope_scaling, sizes.rope_theta) if scaled else frequencies  # pyright: ignore[reportArgumentType]


def _scaled(frequencies: Tensor, scaling: RopeScaling, theta: float) -> Tensor:
    """Frequencies divided by the factor: all of them, or the less the more they turn in the original length."""
    divided = frequencies / scaling.factor
    if scaling.kind == "linear":
        return divided
    if scaling.kind == "llama3":
        turns = scaling.original_length * frequencies / (2 * math.pi)
        kept = ((turns - scaling.slow) / (scaling.fast - scaling.slow)).clamp(0, 1)
        return (1 - kept) * divided + kept * frequencies
    # YaRN mixes by the number of the frequency, not by its turns
    width = 2 * len(frequencies)
    first, last = (_number_of(turns, scaling.original_length, theta, width) for turns in (scaling.fast, scaling.slow))
    if scaling.whole:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, width - 1)
    numbers = torch.arange(len(frequencies), dtype=torch.float32, device=frequencies.device)
    kept = 1 - ((numbers - first) / (last - first or 0.001)).clamp(0, 1)
    return (1 - kept) * divided + kept * frequencies


def _number_of(turns: float, length: int, theta: float, width: int) -> float:
    """Which frequency turns so often in so many positions; between two it is a fraction."""
    return width * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(theta))


def rotate(states: Tensor, rotation: Tensor) -> Tensor:
    """Turn each pair (i, i + head width / 2) by its angle; states are (rows, length, heads, head width)."""
    cosines, sines = rotation.to(states.dtype).unbind(0)
    first, second = states.chunk(2, dim=-1)
    return torch.cat((first * cosines - second * sines, second * cosines + first * sines), dim=-1)
