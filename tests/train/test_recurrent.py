from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.utils.checkpoint import checkpoint

from curate.errors import CurateError
from curate.train.models.recurrent import Recurrent
from curate.train.parallel.world import joined
from curate.train.settings.architecture import Architecture

VOCABULARY = 61
CLOSE = {"rtol": 0, "atol": 1e-6}


def build(**switches):
    given = {"layers": 2, "width": 16, "heads": 1, "key_value_heads": 1, "head_width": 16, "feed_forward": 16}
    sizes = Architecture(**{"kind": "lstm", **given, **switches})
    trunk = Recurrent(sizes, vocabulary=VOCABULARY, length=12)
    with torch.no_grad():
        for number, (name, parameter) in enumerate(trunk.named_parameters()):
            trunk.first_weights(name, parameter, torch.Generator().manual_seed(number))
    return trunk.eval()


@pytest.fixture
def tokens():
    return torch.randint(0, VOCABULARY, (3, 12), generator=torch.Generator().manual_seed(0))


def stacked(trunk):
    """torch's own stack of layers with the same weights."""
    width = trunk.width // 2 if trunk.sizes.bidirectional else trunk.width
    lstm = nn.LSTM(trunk.width, width, 2, batch_first=True, bidirectional=trunk.sizes.bidirectional)
    weights = {}
    for number, block in enumerate(trunk.blocks):
        for name, value in block.cells.state_dict().items():
            weights[name.replace("_l0", f"_l{number}")] = value
    lstm.load_state_dict(weights)
    return lstm


def by_hand(states, cells):
    """The equations of one layer, token by token: input, forget, candidate and output gates (torch's order)."""
    hidden = cell = torch.zeros(len(states), cells.hidden_size)
    found = []
    for step in states.unbind(1):
        gates = step @ cells.weight_ih_l0.T + cells.bias_ih_l0 + hidden @ cells.weight_hh_l0.T + cells.bias_hh_l0
        enter, keep, candidate, leave = gates.chunk(4, dim=-1)
        cell = keep.sigmoid() * cell + enter.sigmoid() * candidate.tanh()
        hidden = leave.sigmoid() * cell.tanh()
        found.append(hidden)
    return torch.stack(found, 1)


@pytest.mark.parametrize("bidirectional", [False, True])
@torch.no_grad()
def test_its_states_are_those_of_a_stack_of_torch_with_the_same_weights(tokens, bidirectional):
    trunk = build(bidirectional=bidirectional)
    torch.testing.assert_close(trunk(tokens), stacked(trunk)(trunk.embedding(tokens))[0], **CLOSE)


@torch.no_grad()
def test_its_states_are_those_of_the_equations(tokens):
    trunk = build()
    states = trunk.embedding(tokens)
    for block in trunk.blocks:
        states = by_hand(states, block.cells)
    torch.testing.assert_close(trunk(tokens), states, **CLOSE)


@pytest.mark.parametrize("bidirectional", [False, True])
@torch.no_grad()
def test_a_packed_row_gives_what_its_documents_give_alone(tokens, bidirectional):
    trunk = build(bidirectional=bidirectional)
    documents = torch.tensor([[0] * 5 + [1] * 7, [0] * 12, [0] * 3 + [1] + [2] * 6 + [-1] * 2])
    packed = trunk(tokens, documents=documents)
    for row, start, end in [(0, 0, 5), (0, 5, 12), (1, 0, 12), (2, 0, 3), (2, 3, 4), (2, 4, 10)]:
        alone = trunk(tokens[row : row + 1, start:end])
        torch.testing.assert_close(packed[row : row + 1, start:end], alone, **CLOSE)
    assert not packed[2, 10:].any()


@torch.no_grad()
def test_gradients_of_a_packed_row_are_the_sum_of_those_of_its_documents(tokens):
    trunk = build()
    documents = torch.tensor([[0] * 5 + [1] * 7] * 3)

    def gradients(*parts):
        trunk.zero_grad()
        with torch.enable_grad():
            sum(part.square().sum() for part in parts).backward()
        return [parameter.grad.clone() for parameter in trunk.parameters()]

    with torch.enable_grad():
        packed = gradients(trunk(tokens, documents=documents))
        alone = gradients(trunk(tokens[:, :5]), trunk(tokens[:, 5:]))
    for one, other in zip(packed, alone, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_a_token_changes_no_states_before_it(tokens):
    trunk = build()
    changed = tokens.clone()
    changed[:, 7] = (changed[:, 7] + 1) % VOCABULARY
    before, after = trunk(tokens), trunk(changed)
    assert torch.equal(before[:, :7], after[:, :7])
    assert not torch.equal(before[:, 7:], after[:, 7:])


@pytest.mark.parametrize("pooling", [None, "first", "last", "mean"])
@pytest.mark.parametrize("bidirectional", [False, True])
@torch.no_grad()
def test_padding_on_either_side_changes_no_sentence(tokens, bidirectional, pooling):
    trunk = build(bidirectional=bidirectional)
    padding = torch.full((3, 4), 7)
    documents = torch.cat((torch.zeros_like(tokens), padding.new_full((3, 4), -1)), 1)
    alone = trunk.sentence(tokens, pooling=pooling)
    after = trunk.sentence(torch.cat((tokens, padding), 1), documents=documents, pooling=pooling)
    before = trunk.sentence(torch.cat((padding, tokens), 1), documents=documents.flip(1), pooling=pooling)
    assert alone.shape == (3, trunk.sentence_width)
    torch.testing.assert_close(after, alone, **CLOSE)
    torch.testing.assert_close(before, alone, **CLOSE)


@torch.no_grad()
def test_both_directions_give_the_state_in_which_each_has_read_all(tokens):
    trunk = build(bidirectional=True)
    states = trunk(tokens)
    ends = torch.cat((states[:, -1, :8], states[:, 0, 8:]), -1)
    assert torch.equal(trunk.sentence(tokens), ends)


@torch.no_grad()
def test_an_empty_row_gives_zeros_and_an_empty_batch_still_runs_all_blocks(tokens):
    trunk = build()
    documents = torch.zeros_like(tokens)
    documents[1] = -1
    assert not trunk.sentence(tokens, documents=documents)[1].any()
    with torch.enable_grad():
        trunk.sentence(tokens, documents=torch.full_like(tokens, -1)).sum().backward()
    assert all(parameter.grad is not None for parameter in trunk.parameters())


@torch.no_grad()
def test_reading_on_from_a_cache_gives_what_reading_at_once_gives(tokens):
    trunk = build()
    cache = trunk.new_cache()
    documents = torch.zeros_like(tokens)
    documents[1, :4] = -1  # a shorter prompt stands at the right end
    whole = trunk(tokens, documents=documents)
    parts = [trunk(tokens[:, :6], documents=documents[:, :6], cache=cache)]
    parts += [trunk(tokens[:, place : place + 1], cache=cache) for place in range(6, 12)]
    torch.testing.assert_close(torch.cat(parts, 1), whole, **CLOSE)


@torch.no_grad()
def test_a_row_without_new_tokens_keeps_its_memory(tokens):
    trunk = build()
    cache, untouched = trunk.new_cache(), trunk.new_cache()
    trunk(tokens[:, :6], cache=cache)
    trunk(tokens[:, :6], cache=untouched)
    documents = torch.tensor([[0], [-1], [0]])
    trunk(tokens[:, 6:7], documents=documents, cache=cache)
    trunk(tokens[:, 6:7], documents=documents.new_full((3, 1), -1), cache=untouched)
    for number in range(2):
        one, other = cache.memories[number][0], untouched.memories[number][0]
        assert torch.equal(one[1], other[1])
        assert not torch.equal(one[2], other[2])


@torch.no_grad()
def test_noise_is_added_to_the_embedded_tokens(tokens):
    trunk = build()
    noise = torch.randn(3, 12, 16, generator=torch.Generator().manual_seed(1))
    wanted = stacked(trunk)(trunk.embedding(tokens) + noise)[0]
    torch.testing.assert_close(trunk(tokens, noise=noise), wanted, **CLOSE)


def test_the_forget_gate_begins_open_and_recurrent_matrices_orthogonal():
    cells = build().blocks[0].cells
    assert torch.equal((cells.bias_ih_l0 + cells.bias_hh_l0).chunk(4)[1], torch.ones(16))
    assert sum(bias.sum() for bias in (cells.bias_ih_l0, cells.bias_hh_l0)) == 16
    for gate in cells.weight_hh_l0.detach().chunk(4):
        torch.testing.assert_close(gate @ gate.T, torch.eye(16), rtol=0, atol=1e-5)


def test_it_is_built_without_memory_and_has_no_buffers():
    with torch.device("meta"):
        trunk = Recurrent(build().sizes, vocabulary=VOCABULARY, length=12)
    assert {parameter.device.type for parameter in trunk.parameters()} == {"meta"}
    assert not list(trunk.buffers())


def test_the_output_is_the_embedding_or_a_matrix_of_its_own():
    tied, untied = build(), build(tied=False)
    assert tied.unembedding is tied.embedding.weight
    assert untied.unembedding.shape == (VOCABULARY, 16)
    assert untied.unembedding is not untied.embedding.weight


def test_two_directions_refuse_an_odd_width():
    with pytest.raises(CurateError, match="cannot share a width of 15"):
        build(bidirectional=True, width=15)


class Squares(nn.Module):
    """The root, as an objective is."""

    def __init__(self, trunk):
        super().__init__()
        self.model = trunk

    def forward(self, tokens):
        return self.model(tokens).square().sum()


def test_sharded_and_recomputed_blocks_give_the_same_gradients(tokens):
    sharded, plain = Squares(build()), Squares(build())
    plain(tokens).backward()
    with joined(0, 1, device="cpu"):
        for block in sharded.model.blocks:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
            fully_shard(block)
        fully_shard(sharded)
        sharded(tokens).backward()
        for one, other in zip(sharded.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(one.grad.full_tensor(), other.grad, **CLOSE)
