from __future__ import annotations

import pytest
import torch
from torch import nn

from curate.errors import CurateError
from curate.train.parallel.fp8 import fp8_linear, use_fp8


def both(rows):
    torch.manual_seed(0)
    values, weight = torch.randn(2, rows, 64), torch.randn(48, 64)
    outer = torch.randn(2, rows, 48)
    found = []
    for product in (fp8_linear, lambda v, w: v @ w.T):
        leaves = values.clone().requires_grad_(), weight.clone().requires_grad_()
        result = product(*leaves)
        result.backward(outer)
        found.append([result.detach(), *(leaf.grad for leaf in leaves)])
    return zip(*found, strict=True)


@pytest.mark.parametrize("rows", [16, 13])
def test_results_and_gradients_are_those_of_float32_to_a_few_percent(rows):
    for eight, whole in both(rows):
        assert (eight - whole).norm() / whole.norm() < 0.08


def test_it_is_not_computed_in_float32():
    eight, whole = next(iter(both(16)))
    assert (eight - whole).norm() / whole.norm() > 0.005


def test_a_machine_without_8_bit_units_is_refused():
    with pytest.raises(CurateError, match="cannot compute in fp8") as error:
        use_fp8(nn.Linear(16, 16), torch.device("cpu"))
    assert "bf16" in error.value.hint
