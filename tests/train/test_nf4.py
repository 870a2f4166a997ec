"""Matrices in 4 bits: the levels of a normal distribution, codes of bitsandbytes, products and their gradients."""

from __future__ import annotations

from statistics import NormalDist

import pytest
import torch
from torch import nn
from torch.nn import functional

from curate.errors import CurateError
from curate.train.models.lora import add_lora
from curate.train.models.nf4 import LEVELS, Nf4, Nf4Linear, unpacked
from curate.train.models.trunk import build_trunk
from curate.train.settings.architecture import ModelSettings
from curate.train.settings.methods import LoraSettings

BITSANDBYTES = (
    "039e16c039e16c039e16c039e16c03ae16d03ae16d04ae27d04ae27d04ae27d04bf27d14bf27d14bf28d15bf28d15bf28e15bf28e15c"
    "f28e15cf39e15cf39e15c039e16c039e16c039e16c039e16c03a"
)


def packed(matrix):
    found = Nf4(*matrix.shape)
    found.pack(matrix)
    return found


def random_matrix(outputs=48, inputs=160):
    return torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(0))


def test_the_levels_are_quantiles_of_a_normal_distribution_with_zero_among_them():
    """Dettmers et al. 2023, section 3: 8 on one side and 9 on the other, from the middle of the outermost shares."""
    quantile = NormalDist().inv_cdf
    outermost = 1 - (1 / 32 + 1 / 30) / 2
    above = [quantile(0.5 + (outermost - 0.5) * step / 8) for step in range(9)]
    below = [-quantile(0.5 + (outermost - 0.5) * step / 7) for step in range(1, 8)]
    wanted = sorted(value / above[-1] for value in (*above, *below))
    assert pytest.approx(wanted, abs=1e-6) == LEVELS


def test_codes_are_those_of_bitsandbytes():
    """Of 0.50.2, `quantize_4bit(values, quant_type="nf4", blocksize=64)`; it is not among the packages of the tests."""
    values = torch.tensor([((number * 37) % 129 - 64) / 64 * (1 + number // 64) for number in range(160)])
    found = packed(values.view(2, 80)).codes
    assert bytes(found.flatten().tolist()).hex() == BITSANDBYTES


def test_every_number_becomes_the_nearest_level_of_its_block():
    matrix = random_matrix()
    blocks = matrix.view(-1, 64)
    largest = blocks.abs().amax(1, keepdim=True)
    levels = torch.tensor(LEVELS)
    wanted = levels[(blocks[..., None] / largest[..., None] - levels).abs().argmin(-1)] * largest
    found = packed(matrix).matrix().view(-1, 64)
    within = 0.5 * (largest.max() - largest.min()) / 127  # of the 8 bits of the largest values
    assert ((found - wanted).abs() <= within + 1e-6).all()


def test_a_normal_matrix_is_held_within_a_tenth():
    matrix = random_matrix(256, 512)
    error = (packed(matrix).matrix() - matrix).square().mean().sqrt()
    assert 0.08 < error < 0.1


def test_4_bits_and_an_eighth_are_all_that_is_held():
    bits = 8 * sum(buffer.numel() * buffer.element_size() for buffer in packed(random_matrix(256, 512)).buffers())
    assert bits / (256 * 512) == pytest.approx(4.127, abs=0.001)


@pytest.mark.parametrize("matrix", [torch.zeros(4, 6), torch.full((4, 6), 3.0), torch.ones(1, 2)])
def test_matrices_of_one_number_are_held_exactly(matrix):
    torch.testing.assert_close(packed(matrix).matrix(), matrix)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_and_gradients_are_those_of_the_matrix_that_is_held(dtype):
    held = packed(random_matrix())
    values = torch.randn(2, 3, 160, generator=torch.Generator().manual_seed(1)).to(dtype)
    one, two = (values.clone().requires_grad_() for _ in range(2))
    found, wanted = held(one), functional.linear(two, held.matrix(dtype))
    assert torch.equal(found, wanted)
    found.square().sum().backward()
    wanted.square().sum().backward()
    torch.testing.assert_close(one.grad, two.grad)


def test_no_matrix_is_kept_for_the_backward_pass():
    kept = []
    held = packed(random_matrix())
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        held(torch.randn(1, 160, requires_grad=True))
    assert kept == []


def test_a_state_is_put_together_by_the_names_of_weights():
    layer = Nf4Linear(nn.Linear(160, 48))
    layer.packed.pack(random_matrix())
    tensors = {f"model.up.{name}": value for name, value in layer.state_dict().items()}
    found = unpacked(tensors)
    assert set(found) == {"model.up.weight", "model.up.bias"}
    assert torch.equal(found["model.up.weight"], layer.packed.matrix())


def test_layers_without_an_adapter_are_in_4_bits_too_and_norms_are_not():
    sizes = ModelSettings(layers=1, width=16, heads=2, key_value_heads=2, feed_forward=24).architecture
    trunk = build_trunk(sizes, vocabulary=8, length=8)
    add_lora(trunk, LoraSettings(base="nf4"))
    assert isinstance(trunk.blocks[0].feed_forward.up, Nf4Linear)
    assert trunk.blocks[0].attention.query.packed.shape == (16, 16)
    frozen = {name: p.dtype for name, p in trunk.named_parameters() if not p.requires_grad}
    assert set(frozen) == {
        "embedding.weight", "norm.weight", "blocks.0.attention_norm.weight", "blocks.0.feed_forward_norm.weight",
    }  # fmt: skip
    assert set(frozen.values()) == {torch.bfloat16}


def test_a_layer_with_an_odd_number_of_inputs_is_refused():
    sizes = ModelSettings(layers=1, width=16, heads=2, key_value_heads=2, feed_forward=25).architecture
    trunk = build_trunk(sizes, vocabulary=8, length=8)
    with pytest.raises(CurateError, match=r"`blocks\.0\.feed_forward\.down` has 25 inputs: 4 bits take an even number"):
        add_lora(trunk, LoraSettings(base="nf4"))
