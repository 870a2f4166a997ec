from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from curate.train import loss
from curate.train.loss import IGNORED, linear_cross_entropy


@pytest.fixture
def problem():
    """Hidden states, weight and targets of 600 positions (more than two chunks), a tenth of them ignored."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(600, 16, generator=generator, requires_grad=True)
    weight = torch.randn(50, 16, generator=generator, requires_grad=True)
    targets = torch.randint(0, 50, (600,), generator=generator)
    targets[::10] = IGNORED
    return hidden, weight, targets


def reference(hidden, weight, targets):
    return functional.cross_entropy(hidden @ weight.T, targets, reduction="sum", ignore_index=IGNORED)


def test_it_is_the_sum_that_cross_entropy_gives(problem):
    assert linear_cross_entropy(*problem).item() == pytest.approx(reference(*problem).item(), rel=1e-6)


def test_its_gradients_are_those_of_cross_entropy(problem):
    hidden, weight, _ = problem
    wanted = torch.autograd.grad(reference(*problem) * 0.25, (hidden, weight))
    found = torch.autograd.grad(linear_cross_entropy(*problem) * 0.25, (hidden, weight))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_the_size_of_the_chunks_changes_nothing_but_rounding(problem, monkeypatch):
    whole = linear_cross_entropy(*problem).item()
    monkeypatch.setattr(loss, "CHUNK", 7)
    assert linear_cross_entropy(*problem).item() == pytest.approx(whole, rel=1e-6)


def test_targets_that_are_all_ignored_sum_to_zero(problem):
    hidden, weight, targets = problem
    total = linear_cross_entropy(hidden, weight, torch.full_like(targets, IGNORED))
    total.backward()
    assert total.item() == 0
    assert not hidden.grad.any()


def test_without_gradients_none_are_made(problem):
    with torch.no_grad():
        assert linear_cross_entropy(*problem).grad_fn is None


def test_bfloat16_is_summed_in_float32(problem):
    hidden, weight, targets = problem
    total = linear_cross_entropy(hidden.bfloat16(), weight.bfloat16(), targets)
    assert total.dtype == torch.float32
    assert total.item() == pytest.approx(reference(*problem).item(), rel=1e-2)
