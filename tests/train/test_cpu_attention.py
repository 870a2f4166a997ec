"""Attention in pieces against PyTorch's own."""

import pytest
import torch
from torch.nn import functional

from curate.train.models.cpu_attention import LONG, PIECE, WIDTHS, attend_in_pieces, pieces_pay
from curate.train.models.layers import attention_mask


def states(rows, length, heads, key_heads, width=8, dtype=torch.float64):
    generator = torch.Generator().manual_seed(length)
    shapes = [(rows, length, count, width) for count in (heads, key_heads, key_heads)]
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


def masked(rows, length, document):
    """Documents of other lengths in each row; the last third of the second row is padding."""
    documents = torch.stack([torch.arange(length) // (document + row) for row in range(rows)])
    documents[1, 2 * length // 3 :] = -1
    return attention_mask(documents, causal=True, queries=length, dtype=torch.float32)


def by_pytorch(query, key, value, mask):
    query, key, value = (part.transpose(1, 2) for part in (query, key, value))
    mixed = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, enable_gqa=True
    )
    return mixed.transpose(1, 2)


@pytest.mark.parametrize("length", [1, PIECE - 1, PIECE, 3 * PIECE + 5])
@pytest.mark.parametrize("heads", [(2, 2), (4, 2), (3, 1)])
@pytest.mark.parametrize("document", [None, 7, 50])
def test_states_and_gradients_are_those_of_pytorch(length, heads, document):
    mask = None if document is None else masked(2, length, document)
    given = states(2, length, *heads)
    outer = torch.randn(2, length, heads[0], 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found, wanted = attend_in_pieces(*given, mask), by_pytorch(*given, mask)
    assert torch.allclose(found, wanted, atol=1e-12)
    for one, other in zip(
        torch.autograd.grad(found, given, outer), torch.autograd.grad(wanted, given, outer), strict=True
    ):
        assert torch.allclose(one, other, atol=1e-12)


def test_halves_are_computed_in_float32():
    given = [part.detach() for part in states(2, 70, 4, 2)]
    halves = [part.bfloat16() for part in given]
    found = attend_in_pieces(*halves, None)
    wanted = by_pytorch(*(part.float() for part in halves), None)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, wanted.bfloat16()) or (found.float() - wanted).abs().max() <= 2**-8 * wanted.abs().max()


def test_states_that_are_not_contiguous():
    query, key, value = (part.detach() for part in states(2, 40, 4, 2))
    turned = [part.transpose(1, 2).contiguous().transpose(1, 2) for part in (query, key, value)]
    assert torch.equal(attend_in_pieces(*turned, None), attend_in_pieces(query, key, value, None))


def test_a_compiler_and_autograd_can_trust_the_operation():
    given = states(1, 40, 2, 1, dtype=torch.float32)
    torch.library.opcheck(torch.ops.curate.attention_in_pieces.default, (*given, None))


@pytest.mark.slow
def test_it_is_compiled_as_one_operation():
    given = states(1, 40, 2, 1, dtype=torch.float32)
    compiled = torch.compile(attend_in_pieces, fullgraph=True)
    assert torch.allclose(compiled(*given, None), by_pytorch(*given, None), atol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "length", "documents", "pays"),
    [
        (torch.bfloat16, WIDTHS * 8, False, True),
        (torch.bfloat16, WIDTHS * 8 + 1, False, False),
        (torch.bfloat16, WIDTHS * 8 + 1, True, True),
        (torch.float32, LONG, True, True),
        (torch.float32, LONG, False, False),
        (torch.float32, LONG - 1, True, False),
    ],
)
def test_it_is_taken_where_it_is_faster(dtype, length, documents, pays):
    mask = torch.ones(1, 1, length, length, dtype=torch.bool) if documents else None
    assert pieces_pay(torch.zeros(1, length, 2, 8, dtype=dtype), mask) == pays
