from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from curate.train.data.batch import IGNORED
from curate.train.objectives import loss
from curate.train.objectives.loss import linear_cross_entropy, linear_distillation, linear_log_probabilities
from tests.oracles import missing


@pytest.fixture
def problem():
    """Hidden states, weight and targets of 600 positions (more than two chunks), a tenth of them ignored."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(600, 16, generator=generator, requires_grad=True)
    weight = torch.randn(50, 16, generator=generator, requires_grad=True)
    targets = torch.randint(0, 50, (600,), generator=generator)
    targets[::10] = IGNORED
    return hidden, weight, targets


@pytest.fixture
def exact(problem):
    """The same in float64, and a bias and weights of the targets."""
    hidden, weight, targets = problem
    generator = torch.Generator().manual_seed(1)
    bias = torch.randn(50, generator=generator, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(600, generator=generator, dtype=torch.float64)
    leaves = [part.detach().double().requires_grad_() for part in (hidden, weight)]
    return *leaves, targets, bias, weights


def reference(hidden, weight, targets):
    return functional.cross_entropy(hidden @ weight.T, targets, reduction="sum", ignore_index=IGNORED)


def assert_same_gradients(found, wanted, leaves, *, scale=0.25, **tolerances):
    """Two results have equal values and equal gradients at the leaves."""
    torch.testing.assert_close(found, wanted, **tolerances)
    pairs = (torch.autograd.grad((value * scale).sum(), leaves) for value in (found, wanted))
    torch.testing.assert_close(*pairs, **tolerances)


# ---- cross entropy


def test_it_is_the_sum_that_cross_entropy_gives(problem):
    assert linear_cross_entropy(*problem).item() == pytest.approx(reference(*problem).item(), rel=1e-6)


def test_its_gradients_are_those_of_cross_entropy(problem):
    hidden, weight, _ = problem
    found, wanted = linear_cross_entropy(*problem), reference(*problem)
    assert_same_gradients(found, wanted, (hidden, weight), rtol=1e-5, atol=1e-5)


def test_it_equals_pytorchs_own_linear_cross_entropy(problem):
    own = getattr(functional, "linear_cross_entropy", None)
    if own is None:
        missing("this version of PyTorch has none")
    hidden, weight, targets = problem
    wanted = own(hidden, weight, targets, reduction="sum", ignore_index=IGNORED)
    assert_same_gradients(linear_cross_entropy(*problem), wanted, (hidden, weight), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_all_its_options_equal_those_of_cross_entropy_to_the_last_digits(exact, label_smoothing, biased, weighted):
    hidden, weight, targets, bias, weights = exact
    leaves = (hidden, weight, bias) if biased else (hidden, weight)
    found = linear_cross_entropy(
        hidden,
        weight,
        targets,
        bias=bias if biased else None,
        weights=weights if weighted else None,
        label_smoothing=label_smoothing,
    )
    logits = functional.linear(hidden, weight, bias if biased else None)
    losses = functional.cross_entropy(
        logits, targets, reduction="none", ignore_index=IGNORED, label_smoothing=label_smoothing
    )
    assert_same_gradients(found, (losses * (weights if weighted else 1)).sum(), leaves, rtol=1e-10, atol=1e-12)


def test_the_z_loss_is_the_squared_log_normalizer_at_valid_targets(exact):
    hidden, weight, targets, bias, weights = exact
    found = linear_cross_entropy(hidden, weight, targets, bias=bias, weights=weights, z_loss=0.01, label_smoothing=0.1)
    logits = functional.linear(hidden, weight, bias)
    losses = functional.cross_entropy(logits, targets, reduction="none", ignore_index=IGNORED, label_smoothing=0.1)
    normalizers = logits.logsumexp(-1).square() * (targets != IGNORED)
    wanted = ((losses + 0.01 * normalizers) * weights).sum()
    assert_same_gradients(found, wanted, (hidden, weight, bias), rtol=1e-10, atol=1e-12)


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


def test_no_positions_at_all_sum_to_zero(problem):
    hidden, weight, targets = problem
    total = linear_cross_entropy(hidden[:0], weight, targets[:0])
    total.backward()
    assert total.item() == 0
    assert not weight.grad.any()


def test_without_gradients_none_are_made(problem, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "scatter_add_", lambda *_: pytest.fail("a gradient was made"))
    with torch.no_grad():
        assert linear_cross_entropy(*problem).grad_fn is None


def test_a_frozen_weight_gets_no_gradient(problem, monkeypatch):
    hidden, weight, targets = problem
    monkeypatch.setattr(loss, "_add_product_", lambda *_: pytest.fail("a gradient of the weight was made"))
    linear_cross_entropy(hidden, weight.detach(), targets).backward()
    assert hidden.grad.any()
    (by_targets,) = torch.autograd.grad(linear_log_probabilities(hidden, weight.detach(), targets).sum(), hidden)
    torch.testing.assert_close(by_targets, -hidden.grad)


def test_bfloat16_is_summed_in_float32(problem):
    hidden, weight, targets = problem
    total = linear_cross_entropy(hidden.bfloat16(), weight.bfloat16(), targets)
    total.backward()
    assert total.dtype == torch.float32
    assert total.item() == pytest.approx(reference(*problem).item(), rel=1e-2)


# ---- memory


def peak(compute):
    """Bytes that are held at most while `compute` runs, above what was there before; the allocator's own count."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        compute()
    held = most = 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


def large(positions, vocabulary, width=8):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(positions, width, generator=generator, requires_grad=True)
    weight = torch.randn(vocabulary, width, generator=generator, requires_grad=True)
    return hidden, weight, torch.randint(0, vocabulary, (positions,), generator=generator)


@pytest.mark.slow
def test_its_peak_at_50_thousand_tokens_is_under_a_fifth_of_the_plain_ones():
    problem = large(1024, 50_304)
    plain = peak(lambda: torch.autograd.grad(reference(*problem), problem[:2]))
    assert peak(lambda: torch.autograd.grad(linear_cross_entropy(*problem), problem[:2])) < 0.2 * plain


@pytest.mark.parametrize("kind", ["cross_entropy", "log_probabilities", "distillation"])
def test_the_logits_of_more_positions_take_no_more_memory(kind):
    def compute(hidden, weight, targets):
        if kind == "distillation":
            return linear_distillation(hidden, weight, hidden, weight, targets, temperature=2.0)
        return getattr(loss, f"linear_{kind}")(hidden, weight, targets).sum()

    found = []
    for positions in (512, 2048):
        problem = large(positions, 2000)
        found.append(peak(lambda problem=problem: torch.autograd.grad(compute(*problem), problem[:2])))
    logits = 1536 * 2000 * 4
    assert found[1] - found[0] < 0.1 * logits


# ---- log-probabilities


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_are_those_of_log_softmax(exact, temperature):
    hidden, weight, targets, _, weights = exact
    found = linear_log_probabilities(hidden, weight, targets, temperature=temperature)
    every = (hidden @ weight.T / temperature).log_softmax(-1)
    wanted = every.gather(-1, targets.clamp(min=0)[:, None])[:, 0] * (targets != IGNORED)
    assert_same_gradients(found, wanted, (hidden, weight), scale=weights, rtol=1e-10, atol=1e-12)


def test_log_probabilities_of_bfloat16_are_float32(problem):
    hidden, weight, targets = problem
    found = linear_log_probabilities(hidden.bfloat16(), weight.bfloat16(), targets)
    found.sum().backward()
    assert found.dtype == torch.float32
    assert found[0] == 0
    assert hidden.grad.any()


# ---- distillation


@pytest.mark.parametrize("weighted", [False, True])
def test_distillation_is_the_divergence_of_the_softened_teacher(exact, weighted):
    hidden, weight, targets, _, weights = exact
    generator = torch.Generator().manual_seed(2)
    teacher_hidden = torch.randn(600, 24, generator=generator, dtype=torch.float64)
    teacher_weight = torch.randn(50, 24, generator=generator, dtype=torch.float64)
    found = linear_distillation(
        hidden,
        weight,
        teacher_hidden,
        teacher_weight,
        targets,
        temperature=2.0,
        weights=weights if weighted else None,
    )
    student = (hidden @ weight.T / 2).log_softmax(-1)
    teacher = (teacher_hidden @ teacher_weight.T / 2).log_softmax(-1)
    losses = functional.kl_div(student, teacher, reduction="none", log_target=True).sum(-1)
    wanted = (4 * losses * (targets != IGNORED) * (weights if weighted else 1)).sum()
    assert_same_gradients(found, wanted, (hidden, weight), rtol=1e-10, atol=1e-12)


def test_a_student_that_equals_its_teacher_has_no_loss_and_teaches_the_teacher_nothing(problem):
    hidden, weight, targets = problem
    teacher = [part.detach().clone().requires_grad_() for part in (hidden, weight)]
    total = linear_distillation(hidden, weight, *teacher, targets, temperature=3.0)
    total.backward()
    assert total.item() == pytest.approx(0, abs=1e-3)
    assert all(part.grad is None for part in teacher)


def capped(hidden, weight, cap):
    return cap * (hidden @ weight.T / cap).tanh()


def test_the_cross_entropy_of_capped_logits_and_its_gradients_are_those_of_autograd(exact):
    hidden, weight, targets, bias, weights = exact
    found = linear_cross_entropy(
        hidden, weight, targets, bias=bias, weights=weights, z_loss=0.1, label_smoothing=0.2, cap=2.0
    )
    logits = 2 * ((hidden @ weight.T + bias) / 2).tanh()
    valid = targets != IGNORED
    each = functional.cross_entropy(logits, targets, reduction="none", ignore_index=IGNORED, label_smoothing=0.2)
    wanted = ((each + 0.1 * logits.logsumexp(-1).square()) * weights)[valid].sum()
    assert_same_gradients(found, wanted, (hidden, weight, bias), rtol=1e-10, atol=1e-10)


def test_log_probabilities_of_capped_logits_and_their_gradients_are_those_of_autograd(exact):
    hidden, weight, targets, _, weights = exact
    found = linear_log_probabilities(hidden, weight, targets, temperature=0.7, cap=2.0)
    logs = (capped(hidden, weight, 2.0) / 0.7).log_softmax(-1)
    wanted = logs.gather(-1, targets.clamp(min=0)[:, None])[:, 0] * (targets != IGNORED)
    assert_same_gradients((found * weights).sum(), (wanted * weights).sum(), (hidden, weight), rtol=1e-10, atol=1e-10)


def test_distillation_caps_the_logits_of_student_and_teacher(exact):
    hidden, weight, targets, _, weights = exact
    taught, matrix = hidden.detach().flip(0), weight.detach().flip(1)
    found = linear_distillation(
        hidden, weight, taught, matrix, targets, temperature=1.5, weights=weights, cap=2.0, teacher_cap=3.0
    )
    student = (capped(hidden, weight, 2.0) / 1.5).log_softmax(-1)
    teacher = (capped(taught, matrix, 3.0) / 1.5).log_softmax(-1)
    each = 1.5**2 * (teacher.exp() * (teacher - student)).sum(-1) * weights
    assert_same_gradients(found, each[targets != IGNORED].sum(), (hidden, weight), rtol=1e-10, atol=1e-10)
