from __future__ import annotations

import pytest
import torch

from curate.errors import CurateError
from curate.train.models import layers
from curate.train.models.cache import Cache
from curate.train.models.layers import (
    Attention,
    Block,
    attention_mask,
    check_room,
    first_weights,
    pool,
)
from curate.train.models.positions import document_begins, document_positions, rotate, rotation
from curate.train.settings.architecture import Architecture

SIZES = Architecture(layers=2, width=32, heads=4, key_value_heads=2, head_width=8, feed_forward=48)
DOCUMENTS = torch.tensor([[-1, -1, 3, 3, 3, 5], [0, 0, 1, 1, -1, -1]])


def filled(module):
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    return module


def test_positions_begin_again_in_each_document():
    assert document_positions(DOCUMENTS).tolist() == [[0, 1, 0, 1, 2, 0], [0, 1, 0, 1, 0, 1]]


def test_documents_and_padding_begin_anew_in_each_row():
    begins = document_begins(DOCUMENTS)
    assert (begins.tolist(), begins.dtype) == ([0, 2, 5, 6, 8, 10, 12], torch.int32)


def test_a_causal_mask_shows_what_came_before_in_the_same_document():
    mask = attention_mask(DOCUMENTS, causal=True, queries=6, dtype=torch.float32)
    assert mask.shape == (2, 1, 6, 6)
    assert mask[0, 0, 4].tolist() == [False, False, True, True, True, False]
    assert mask[0, 0, 3].tolist() == [False, False, True, True, False, False]


def test_a_full_mask_shows_all_of_the_document():
    mask = attention_mask(DOCUMENTS, causal=False, queries=6, dtype=torch.float32)
    assert mask[0, 0, 2].tolist() == [False, False, True, True, True, False]


def test_the_mask_of_the_last_positions_is_the_end_of_the_whole_one():
    whole = attention_mask(DOCUMENTS, causal=True, queries=6, dtype=torch.float32)
    assert torch.equal(attention_mask(DOCUMENTS, causal=True, queries=2, dtype=torch.float32), whole[:, :, -2:])


def test_a_window_shows_the_last_tokens_of_the_same_document():
    documents = torch.tensor([[0, 1, 1, 1, 1, 1]])
    mask = attention_mask(documents, causal=True, queries=6, dtype=torch.float32, window=3)
    assert mask[0, 0, 5].tolist() == [False, False, False, True, True, True]
    assert mask[0, 0, 2].tolist() == [False, True, True, False, False, False]
    whole = attention_mask(documents, causal=True, queries=6, dtype=torch.float32, window=3)
    assert torch.equal(
        attention_mask(documents, causal=True, queries=2, dtype=torch.float32, window=3), whole[:, :, -2:]
    )


def test_variable_length_attention_is_told_of_the_window(monkeypatch):
    asked = {}

    def kernel(query, key, value, *rest, window_size):
        asked["window"] = window_size
        return query

    monkeypatch.setattr(layers, "variable_length_kernel", lambda: kernel)
    attention = filled(Attention(SIZES, causal=True, window=4))
    attention(torch.randn(2, 6, 32), None, document_begins(DOCUMENTS))
    assert asked == {"window": (3, 0)}


def test_every_position_sees_at_least_itself():
    mask = attention_mask(DOCUMENTS, causal=True, queries=6, dtype=torch.float32)
    assert mask.diagonal(dim1=2, dim2=3).all()


def test_rotation_keeps_lengths_and_makes_products_depend_on_distances_only():
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 1, 1, 1, 8, generator=generator)

    def product(first, second):
        turns = [rotation(torch.tensor([place]), SIZES) for place in (first, second)]
        return (rotate(query, turns[0]) * rotate(key, turns[1])).sum().item()

    assert rotate(query, rotation(torch.tensor([9]), SIZES)).norm().item() == pytest.approx(query.norm().item())
    assert product(7, 3) == pytest.approx(product(104, 100), abs=1e-5)
    assert product(7, 3) != pytest.approx(product(3, 7), abs=1e-3)


def test_rotation_with_positions_of_rows_is_that_of_each_row():
    positions = torch.tensor([[0, 1, 2], [5, 6, 7]])
    whole = rotation(positions, SIZES)
    assert whole.shape == (2, 2, 3, 1, 4)
    assert torch.equal(whole[:, 1:], rotation(positions[1], SIZES))


def test_grouped_heads_are_whole_heads_with_copied_keys_and_values():
    grouped = filled(Attention(SIZES, causal=True))
    whole = Attention(
        Architecture(layers=2, width=32, heads=4, key_value_heads=4, head_width=8, feed_forward=48), causal=True
    )
    with torch.no_grad():
        whole.query.weight.copy_(grouped.query.weight)
        whole.output.weight.copy_(grouped.output.weight)
        for name in ("key", "value"):
            weight = grouped.get_submodule(name).weight.view(2, 8, 32).repeat_interleave(2, 0)
            whole.get_submodule(name).weight.copy_(weight.flatten(0, 1))
        states = torch.randn(2, 6, 32, generator=torch.Generator().manual_seed(1))
        turn = rotation(torch.arange(6), SIZES)
        torch.testing.assert_close(grouped(states, turn, None), whole(states, turn, None), rtol=0, atol=1e-5)


def test_a_local_share_of_the_heads_is_enough():
    """As under tensor parallel: half of the heads, and the sum of both halves is the whole."""
    whole = filled(Attention(SIZES, causal=True))
    states = torch.randn(2, 6, 32, generator=torch.Generator().manual_seed(1))
    halves = []
    for part in range(2):
        half = Attention(SIZES, causal=True)
        for name in ("query", "key", "value"):
            half.get_submodule(name).weight = torch.nn.Parameter(whole.get_submodule(name).weight.chunk(2, 0)[part])
        half.output.weight = torch.nn.Parameter(whole.output.weight.chunk(2, 1)[part])
        halves.append(half(states, None, None))
    torch.testing.assert_close(halves[0] + halves[1], whole(states, None, None), rtol=0, atol=1e-5)


@pytest.mark.parametrize("causal", [True, False])
def test_variable_length_attention_gets_where_documents_begin(monkeypatch, causal):
    """The kernel needs CUDA; here each document is computed alone, from the same arguments."""
    asked = {}

    def kernel(query, key, value, begins, same, longest, again, *, window_size):
        asked.update(window=window_size, longest=longest, begins=begins.tolist())
        assert begins is same
        parts = [tensor.tensor_split(begins[1:-1].tolist()) for tensor in (query, key, value)]
        plain = torch.nn.functional.scaled_dot_product_attention
        return torch.cat(
            [
                plain(*(one.transpose(0, 1) for one in some), is_causal=causal, enable_gqa=True).transpose(0, 1)
                for some in zip(*parts, strict=True)
            ]
        )

    monkeypatch.setattr(layers, "variable_length_kernel", lambda: kernel)
    attention = filled(Attention(SIZES, causal=causal))
    states = torch.randn(2, 6, 32, generator=torch.Generator().manual_seed(1))
    dense = attention(states, None, attention_mask(DOCUMENTS, causal=causal, queries=6, dtype=torch.float32))
    begins = document_begins(DOCUMENTS)
    torch.testing.assert_close(attention(states, None, begins), dense, rtol=0, atol=1e-5)
    assert asked == {"window": (-1, 0) if causal else (-1, -1), "longest": 6, "begins": begins.tolist()}


def test_the_cache_gives_what_it_was_given():
    cache = Cache()
    assert len(cache) == 0
    cache.extend(torch.zeros(2, 3, dtype=torch.int64))
    cache.extend(torch.ones(2, 1, dtype=torch.int64))
    assert (len(cache), cache.documents[0].tolist()) == (4, [0, 0, 0, 1])
    keys, _ = cache.memory(1).extend(torch.zeros(2, 3, 2, 8), torch.zeros(2, 3, 2, 8))
    assert keys.shape == (2, 3, 2, 8)
    assert cache.memory(0).keys is None


@pytest.mark.parametrize(("pooling", "wanted"), [("first", [2, 0]), ("last", [5, 3])])
def test_pooling_takes_the_first_or_last_token_that_is_no_padding(pooling, wanted):
    states = torch.arange(12.0).view(2, 6, 1)
    assert pool(states, DOCUMENTS, pooling).flatten().tolist() == [wanted[0], 6 + wanted[1]]


def test_mean_pooling_leaves_padding_out():
    states = torch.arange(12.0).view(2, 6, 1)
    assert pool(states, DOCUMENTS, "mean").flatten().tolist() == [3.5, 7.5]
    assert pool(states, None, "mean").flatten().tolist() == [2.5, 8.5]


def test_a_row_of_padding_is_pooled_to_finite_numbers():
    documents = torch.full((1, 3), -1)
    for pooling in ("first", "last", "mean"):
        assert pool(torch.ones(1, 3, 2), documents, pooling).isfinite().all()


def test_first_weights_are_ones_in_norms_zeros_in_biases_and_smaller_in_writers():
    def of(name, *shape):
        tensor = torch.empty(shape)
        first_weights(name, tensor, torch.Generator().manual_seed(0), writers=4)
        return tensor

    assert of("blocks.0.attention_norm.weight", 8).tolist() == [1.0] * 8
    assert of("blocks.0.attention_norm.bias", 8).tolist() == [0.0] * 8
    plain, writer = of("blocks.0.attention.query.weight", 64, 64), of("blocks.0.attention.output.weight", 64, 64)
    assert plain.std().item() == pytest.approx(0.02, rel=0.05)
    torch.testing.assert_close(writer, plain / 2)


def test_dropout_works_in_training_only():
    block = filled(
        Block(
            Architecture(layers=1, width=32, heads=4, key_value_heads=2, head_width=8, feed_forward=48, dropout=0.5),
            causal=True,
        )
    )
    states = torch.randn(2, 6, 32, generator=torch.Generator().manual_seed(1))
    assert not torch.equal(block(states, None, None), block(states, None, None))
    block.eval()
    assert torch.equal(block(states, None, None), block(states, None, None))


def test_more_tokens_than_positions_are_refused():
    with pytest.raises(CurateError, match="a sequence of 9 tokens is longer than the 8 positions of the model"):
        check_room(9, 8)
