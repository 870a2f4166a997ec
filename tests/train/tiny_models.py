"""Tiny models of each family, for tests against transformers."""

from __future__ import annotations

import json
from dataclasses import replace

import torch

from curate.train.models.trunk import build_trunk
from curate.train.settings.architecture import Architecture
from curate.train.weights.huggingface import write_huggingface

VOCABULARY, LENGTH = 300, 32
LLAMA = Architecture(layers=2, width=32, heads=4, key_value_heads=2, head_width=16, feed_forward=48, rope_theta=5e4)
GPT2 = replace(
    LLAMA,
    key_value_heads=4,
    head_width=8,
    norm="layer",
    positions="learned",
    activation="gelu_tanh",
    bias=True,
    rope_theta=1e4,
)
BERT = replace(
    GPT2, kind="encoder", norm_after=True, norm_epsilon=1e-12, activation="gelu", segments=2, feed_forward=40
)
T5 = Architecture(
    kind="encoder_decoder",
    layers=2,
    width=32,
    heads=4,
    key_value_heads=4,
    head_width=16,
    feed_forward=48,
    norm_epsilon=1e-6,
    positions="relative",
    activation="relu",
)


def filled(sizes, head=None, pooler=False):
    """Our trunk and head with random weights, as one module of `model` and `head`."""
    module = torch.nn.Module()
    module.model = build_trunk(sizes, vocabulary=VOCABULARY, length=LENGTH, pooler=pooler)
    module.head = head
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    return module.eval()


def tensors_of(module):
    return {name: parameter.detach() for name, parameter in module.named_parameters()}


def written(folder, sizes, module, head, **settings):
    """A folder with a model of ours."""
    write_huggingface(folder, sizes, tensors_of(module), head=head, vocabulary=VOCABULARY, length=LENGTH, **settings)
    return folder


def change(folder, **values):
    """Set values in a folder's config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
