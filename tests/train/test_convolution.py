from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn import functional

from curate.errors import CurateError
from curate.train.models.convolution import Convolutional
from curate.train.parallel.world import joined
from curate.train.settings.architecture import Architecture

VOCABULARY = 61
CLOSE = {"rtol": 0, "atol": 5e-6}


def build(**switches):
    given = {"layers": 1, "width": 16, "heads": 1, "key_value_heads": 1, "head_width": 16, "feed_forward": 10}
    trunk = Convolutional(Architecture(**{"kind": "cnn", **given, **switches}), vocabulary=VOCABULARY, length=12)
    with torch.no_grad():
        for number, (name, parameter) in enumerate(trunk.named_parameters()):
            trunk.first_weights(name, parameter, torch.Generator().manual_seed(number))
            if name.endswith("bias"):  # so that an answer of padding would be seen
                parameter.fill_(0.5)
    return trunk.eval()


@pytest.fixture
def trunk():
    return build()


@pytest.fixture
def tokens():
    return torch.randint(0, VOCABULARY, (3, 12), generator=torch.Generator().manual_seed(0))


def by_hand(trunk, states):
    """Kim's section 2 for one text (length, width), a window and a filter at a time."""
    found = []
    for kernel, block in zip(trunk.sizes.kernels, trunk.blocks, strict=True):
        zeros = torch.zeros(kernel - 1, trunk.width)
        text = torch.cat((zeros, states, zeros))
        windows = [text[place : place + kernel] for place in range(len(text) - kernel + 1)]
        for weight, bias in zip(block.weight, block.bias, strict=True):
            found.append(max(functional.relu((window.T * weight).sum() + bias) for window in windows))
    return torch.stack(found)


@torch.no_grad()
def test_its_features_are_those_of_the_equations(trunk, tokens):
    wanted = torch.stack([by_hand(trunk, trunk.embedding(row)) for row in tokens])
    assert wanted.shape == (3, trunk.sentence_width) == (3, 30)
    torch.testing.assert_close(trunk.sentence(tokens), wanted, **CLOSE)


@torch.no_grad()
def test_padding_on_either_side_changes_nothing(trunk, tokens):
    padding = torch.full((3, 6), 7)
    documents = torch.cat((torch.zeros_like(tokens), padding.new_full((3, 6), -1)), 1)
    alone = trunk.sentence(tokens)
    after = trunk.sentence(torch.cat((tokens, padding), 1), documents=documents)
    before = trunk.sentence(torch.cat((padding, tokens), 1), documents=documents.flip(1))
    torch.testing.assert_close(after, alone, **CLOSE)
    torch.testing.assert_close(before, alone, **CLOSE)


@torch.no_grad()
def test_a_text_may_be_shorter_than_a_filter(trunk, tokens):
    wanted = torch.stack([by_hand(trunk, trunk.embedding(row)) for row in tokens[:, :2]])
    torch.testing.assert_close(trunk.sentence(tokens[:, :2]), wanted, **CLOSE)


@torch.no_grad()
def test_an_empty_row_gives_zeros(trunk, tokens):
    documents = torch.zeros_like(tokens)
    documents[1] = -1
    features = trunk.sentence(tokens, documents=documents)
    assert not features[1].any()
    torch.testing.assert_close(features[[0, 2]], trunk.sentence(tokens[[0, 2]]), **CLOSE)


@torch.no_grad()
def test_noise_is_added_to_the_embedded_tokens(trunk, tokens):
    noise = torch.randn(3, 12, 16, generator=torch.Generator().manual_seed(1))
    wanted = torch.stack([by_hand(trunk, row) for row in trunk.embedding(tokens) + noise])
    torch.testing.assert_close(trunk.sentence(tokens, noise=noise), wanted, **CLOSE)


def test_gradients_reach_all_parameters(trunk, tokens):
    trunk.sentence(tokens, documents=torch.full_like(tokens, -1)).sum().backward()
    assert all(parameter.grad is not None for parameter in trunk.parameters())
    trunk.sentence(tokens).sum().backward()
    assert all(parameter.grad.any() for parameter in trunk.parameters())


def test_it_is_built_without_memory_and_has_no_buffers(trunk):
    with torch.device("meta"):
        empty = Convolutional(trunk.sizes, vocabulary=VOCABULARY, length=12)
    assert {parameter.device.type for parameter in empty.parameters()} == {"meta"}
    assert not list(empty.buffers())


def test_it_knows_no_first_state(trunk, tokens):
    with pytest.raises(CurateError, match="no first state"):
        trunk.sentence(tokens, pooling="first")


class Squares(nn.Module):
    """The root, as an objective is."""

    def __init__(self, trunk):
        super().__init__()
        self.model = trunk

    def forward(self, tokens):
        return self.model.sentence(tokens).square().sum()


def test_sharded_blocks_give_the_same_gradients(tokens):
    sharded, plain = Squares(build()), Squares(build())
    plain(tokens).backward()
    with joined(0, 1, device="cpu"):
        for block in (*sharded.model.blocks, sharded):
            fully_shard(block)
        sharded(tokens).backward()
        for one, other in zip(sharded.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(one.grad.full_tensor(), other.grad, **CLOSE)
