"""Adversarial training."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.utils.checkpoint import checkpoint

from curate.train.data.batch import IGNORED
from curate.train.data.order import uniforms
from curate.train.models.trunk import build_trunk
from curate.train.objectives.language import Causal
from curate.train.optimization.perturbation import build_perturbation
from curate.train.parallel.world import joined
from curate.train.settings.architecture import ModelSettings
from curate.train.settings.methods import AdversarialSettings, CausalSettings
from tests.train.forked import call_each

KINDS = ("fgm", "pgd", "freelb")
SCALE, SEED, WIDTH = 0.25, 7, 16


def objective_of(*, dropout=0.0):
    settings = ModelSettings(
        layers=2, width=WIDTH, heads=2, key_value_heads=1, feed_forward=24, dropout=dropout
    ).architecture
    objective = Causal(
        build_trunk(settings, vocabulary=20, length=8), CausalSettings(), token_bytes=None, end_of_text=0
    )
    generator = torch.Generator().manual_seed(0)
    for parameter in objective.parameters():
        parameter.data.normal_(0, 0.3, generator=generator)
    return objective


def batch_of(rows=slice(None)):
    """Four rows of 8 tokens: two documents, padding at the end, no targets at all, and one document."""
    generator = torch.Generator().manual_seed(1)
    documents = torch.zeros(4, 8, dtype=torch.int64)
    documents[0, 4:] = 1
    documents[1, 5:] = -1
    targets = torch.randint(0, 20, (4, 8), generator=generator)
    targets[documents < 0] = IGNORED
    targets[2] = IGNORED
    batch = {
        "tokens": torch.randint(0, 20, (4, 8), generator=generator),
        "targets": targets,
        "documents": documents,
        "samples": torch.arange(100, 104),
    }
    return {name: values[rows] for name, values in batch.items()}


def settings_of(kind, **given):
    """The third step of pgd and freelb leaves the ball."""
    return AdversarialSettings(**{"kind": kind, "epsilon": 0.5, "steps": 3, "step_size": 0.3, **given})


def gradients_of(objective):
    return {name: p.grad.clone() for name, p in objective.named_parameters() if p.grad is not None}


def perturbed(settings, objective, batch=None):
    """The loss and the gradients that adversarial training comes to."""
    batch = batch_of() if batch is None else batch
    loss = build_perturbation(settings, seed=SEED).backward(objective, batch, SCALE)
    return loss, gradients_of(objective)


# ---- written out


def loss_at(objective, noise):
    return objective({**batch_of(), "noise": noise}).total


def by_parameters(objective, noise):
    names, parameters = zip(*objective.named_parameters(), strict=True)
    found = torch.autograd.grad(SCALE * loss_at(objective, noise), parameters)
    return dict(zip(names, found, strict=True))


def by_noise(objective, noise):
    noise = noise.detach().requires_grad_()
    return torch.autograd.grad(loss_at(objective, noise), noise)[0]


def scaled_rows(values, length):
    """Each row at this length; a row of zeros stays."""
    return torch.stack([row * (length / row.norm()) if row.norm() > 0 else row for row in values])


def within_ball(noise, radius):
    return torch.stack([row * (radius / row.norm()) if row.norm() > radius else row for row in noise])


def added(*several):
    return {name: sum(one[name] for one in several) for name in several[0]}


def wanted_fgm(objective):
    nothing = torch.zeros(4, 8, WIDTH)
    noise = scaled_rows(by_noise(objective, nothing), 0.5)
    return added(by_parameters(objective, nothing), by_parameters(objective, noise))


def wanted_pgd(objective):
    nothing = noise = torch.zeros(4, 8, WIDTH)
    for _ in range(3):
        noise = within_ball(noise + scaled_rows(by_noise(objective, noise), 0.3), 0.5)
    return added(by_parameters(objective, nothing), by_parameters(objective, noise))


def wanted_freelb(objective):
    noise = torch.zeros(4, 8, WIDTH)
    for row, length in enumerate((8, 5, 8, 8)):
        drawn = torch.from_numpy(uniforms(SEED, "adversarial noise", batch_of()["samples"].numpy(), 8 * WIDTH))
        start = (2 * drawn[row] - 1).view(8, WIDTH)[:length].float()
        noise[row, :length] = start * 0.5 / (length * WIDTH) ** 0.5
    found = []
    for _ in range(3):
        found.append(by_parameters(objective, noise))
        noise = within_ball(noise + scaled_rows(by_noise(objective, noise), 0.3), 0.5)
    return {name: value / 3 for name, value in added(*found).items()}


WANTED = {"fgm": wanted_fgm, "pgd": wanted_pgd, "freelb": wanted_freelb}


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradients_are_those_of_the_method_written_out(kind):
    _, found = perturbed(settings_of(kind), objective_of())
    torch.testing.assert_close(found, WANTED[kind](objective_of()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_added_to_those_that_are_there(kind):
    objective = objective_of()
    _, once = perturbed(settings_of(kind), objective)
    _, twice = perturbed(settings_of(kind), objective)
    torch.testing.assert_close(twice, {name: 2 * value for name, value in once.items()})


# ---- what is told, and what is not touched


@pytest.mark.parametrize("kind", ["fgm", "pgd"])
def test_the_loss_that_is_told_is_that_without_noise(kind):
    objective = objective_of()
    loss, _ = perturbed(settings_of(kind), objective)
    assert loss.total == objective(batch_of()).total
    assert not loss.total.requires_grad


def test_the_loss_of_freelb_is_the_mean_over_its_steps():
    class Counting(Causal):
        seen = []

        def forward(self, batch):
            loss = super().forward(batch)
            self.seen.append(loss.total.item())
            return loss._replace(sums={"last": loss.total.detach()})

    objective = objective_of()
    objective.__class__ = Counting
    loss, _ = perturbed(settings_of("freelb"), objective)
    assert len(Counting.seen) == 3
    assert loss.total.item() == pytest.approx(sum(Counting.seen) / 3)
    assert loss.sums["last"].item() == pytest.approx(sum(Counting.seen) / 3)


class Listening:
    """An objective that keeps the noise of each pass."""

    def __init__(self, objective):
        self.objective, self.model, self.noises = objective, objective.model, []

    def __call__(self, batch):
        self.noises.append(batch["noise"].detach().clone())
        return self.objective(batch)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_gets_no_noise_and_no_row_leaves_the_ball(kind):
    listening = Listening(objective_of())
    build_perturbation(settings_of(kind, steps=5), seed=SEED).backward(listening, batch_of(), SCALE)
    for noise in listening.noises:
        assert not noise[1, 5:].any()
        assert (noise.flatten(1).norm(dim=1) <= 0.5 + 1e-6).all()


def test_a_row_without_targets_gets_no_noise_from_fgm():
    listening = Listening(objective_of())
    build_perturbation(settings_of("fgm"), seed=SEED).backward(listening, batch_of(), SCALE)
    assert listening.noises[1].flatten(1).norm(dim=1).tolist() == pytest.approx([0.5, 0.5, 0.0, 0.5])


@pytest.mark.parametrize("kind", KINDS)
def test_the_noise_makes_the_loss_worse(kind):
    listening = Listening(objective_of())
    build_perturbation(settings_of(kind), seed=SEED).backward(listening, batch_of(), SCALE)
    losses = [loss_at(listening.objective, noise).item() for noise in listening.noises]
    assert losses == sorted(losses)


def test_the_first_noise_of_freelb_is_a_function_of_seed_and_sample():
    starts = []
    for rows in (slice(None), slice(2, 4)):
        listening = Listening(objective_of())
        build_perturbation(settings_of("freelb"), seed=SEED).backward(listening, batch_of(rows), SCALE)
        starts.append(listening.noises[0])
    assert torch.equal(starts[0][2:], starts[1])
    assert not torch.equal(starts[0][0], starts[0][2])


@pytest.mark.parametrize("kind", KINDS)
def test_all_passes_of_a_step_draw_the_same_dropout(kind):
    """Noise so small that it does not matter: what is left between the passes is dropout."""
    listening, plain = Listening(objective_of(dropout=0.5)), objective_of(dropout=0.5)
    torch.manual_seed(3)
    build_perturbation(settings_of(kind, epsilon=1e-9, step_size=1e-9), seed=SEED).backward(
        listening, batch_of(), SCALE
    )
    torch.manual_seed(3)
    (SCALE * plain(batch_of()).total).backward()
    losses = 1 if kind == "freelb" else 2
    wanted = {name: losses * value for name, value in gradients_of(plain).items()}
    torch.testing.assert_close(gradients_of(listening.objective), wanted, rtol=1e-4, atol=1e-5)


# ---- in shards


def sharded(objective, *, recompute=False, half=False):
    for block in objective.model.blocks:
        if recompute:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
        fully_shard(block, mp_policy=MixedPrecisionPolicy(torch.bfloat16 if half else None, torch.float32))
    fully_shard(
        objective,
        mp_policy=MixedPrecisionPolicy(torch.bfloat16 if half else None, torch.float32, cast_forward_inputs=False),
    )
    return objective


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("recompute", [False, True])
def test_shards_get_the_gradients_of_the_whole(kind, recompute):
    with joined(0, 1, device="cpu"):
        objective = sharded(objective_of(), recompute=recompute)
        for _ in range(2):  # a second step finds nothing left over from the first
            objective.zero_grad()
            _, found = perturbed(settings_of(kind), objective)
        found = {name: value.full_tensor() for name, value in found.items()}
    torch.testing.assert_close(found, perturbed(settings_of(kind), objective_of())[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_computing_in_bfloat16_comes_near(kind):
    with joined(0, 1, device="cpu"):
        _, found = perturbed(settings_of(kind), sharded(objective_of(), half=True))
        found = {name: value.full_tensor() for name, value in found.items()}
    wanted = perturbed(settings_of(kind), objective_of())[1]
    for name, value in found.items():
        assert (value - wanted[name]).norm() < 0.1 * wanted[name].norm() + 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_get_the_gradients_of_one(kind, tmp_path):
    results = [tmp_path / f"{rank}.pt" for rank in range(2)]
    call_each(process, [(rank, tmp_path / "meeting", kind, results[rank]) for rank in range(2)])
    first, second = (torch.load(path, weights_only=True) for path in results)
    loss, wanted = perturbed(settings_of(kind), objective_of())
    torch.testing.assert_close(first["gradients"], wanted, rtol=1e-5, atol=1e-6)
    assert first["loss"] + second["loss"] == pytest.approx(loss.total.item(), rel=1e-6)


def process(rank, meeting, kind, result):
    """Every second row; the mean over processes, which FSDP takes, is half of the sum."""
    torch.set_num_threads(1)
    with joined(rank, 2, device="cpu", meeting=meeting):
        objective = sharded(objective_of())
        loss = build_perturbation(settings_of(kind), seed=SEED).backward(
            objective, batch_of(slice(rank, None, 2)), 2 * SCALE
        )
        gradients = {name: value.full_tensor() for name, value in gradients_of(objective).items()}
        torch.save({"gradients": gradients, "loss": loss.total.item()}, result)
