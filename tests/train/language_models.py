"""A small text in documents, and trunks of two layers for the objectives that learn language from it."""

from __future__ import annotations

import numpy as np
import torch

from curate.train.data.batch import IGNORED
from curate.train.models.decoder import Decoder
from curate.train.settings.architecture import Architecture

SIZES = Architecture(layers=2, width=32, heads=2, key_value_heads=1, head_width=16, feed_forward=64)
VOCABULARY, LENGTH, END = 60, 24, 0
BYTES = np.arange(VOCABULARY) % 5


def filled(objective, seed=0):
    """With its first weights, ten times as large, so that no loss is near that of guessing."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in objective.named_parameters():
        objective.first_weights(name, parameter.data, generator)
        if parameter.ndim > 1:
            parameter.data *= 10
    return objective


def three_rows():
    """Three rows of documents of 8 tokens; ends of text and targets that do not count among the targets."""
    tokens = torch.randint(1, VOCABULARY, (3, LENGTH + 1), generator=torch.Generator().manual_seed(1))
    tokens[:, ::8] = END
    targets = tokens[:, 1:].clone()
    targets[2, 20:] = IGNORED
    documents = torch.arange(LENGTH).div(8, rounding_mode="floor").repeat(3, 1)
    return {"tokens": tokens[:, :-1], "targets": targets, "documents": documents, "samples": torch.arange(3)}


def decoder(**sizes):
    return Decoder(Architecture(**{**{name: getattr(SIZES, name) for name in SIZES.__slots__}, **sizes}), **WORDS)


WORDS = {"vocabulary": VOCABULARY, "length": LENGTH}
TEXT = {"token_bytes": BYTES, "end_of_text": END}


def gradients(objective, total):
    objective.zero_grad()
    total.backward()
    return {name: parameter.grad.clone() for name, parameter in objective.named_parameters()}
