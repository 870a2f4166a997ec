"""Adversarial training: the worst small change of the embedded tokens, found by its gradient, is trained against.

How the gradients of the parameters combine, for a step's loss L, embedded tokens x and noise r:

    fgm      grad L(x) + grad L(x + r), r = epsilon g / |g| (Miyato et al. 2017: both losses are added)
    pgd      the same, r found in `steps` steps of `step_size`, each brought back into the ball of radius epsilon (Madry
             et al. 2018, who train on the second term alone; the first is kept here as in fgm)
    freelb   the mean of grad L(x + r_t) over t = 1 .. steps: r_1 is random, uniform within epsilon / root of its numbers,
             and each r_t+1 is a step of pgd from r_t; there is no pass without noise (Zhu et al. 2020, algorithm 1)

g is the gradient of the loss by the noise, and |.| the Euclidean norm over all tokens of a row. r is held fixed when the
parameters' gradients are taken. Padding gets no noise. All passes of a step draw the same dropout (Zhu et al. 2020,
section 3.3). Against plain training a step costs 2 passes (fgm), steps + 1 (pgd) or steps (freelb).

Nothing of a search is left in the parameters' gradients: the first pass of fgm and pgd and all of freelb are wanted,
and pgd's others ask for the gradient of the noise alone. FSDP allows that (tested, with one process and two).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from curate.train.data.batch import Batch
from curate.train.data.order import uniforms
from curate.train.objectives.contract import Loss, Objective
from curate.train.settings.methods import AdversarialSettings

__all__ = ["Perturbation", "build_perturbation"]


def build_perturbation(settings: AdversarialSettings, *, seed: int) -> Perturbation:
    """What takes the place of a plain backward pass.

    Args:
        settings: The method, the size of the noise, the steps.
        seed: Of freelb's first noise, which is a function of it and the sample.
    """
    return Perturbation(settings, seed=seed)


class Perturbation:
    """Backward passes on noisy tokens.

    Args:
        settings: The method, the size of the noise, the steps.
        seed: Of freelb's first noise.
    """

    def __init__(self, settings: AdversarialSettings, *, seed: int) -> None:
        self.settings, self.seed = settings, seed
        self.radius = settings.epsilon
        single = settings.kind == "fgm"
        self.steps, self.size = (1, settings.epsilon) if single else (settings.steps, settings.step_size)

    def backward(self, objective: Objective, batch: Batch, scale: float) -> Loss:
        """Add the gradients of a batch to those of the parameters.

        Args:
            objective: Its trunk reads `noise`.
            batch: Its examples; `tokens` of any shape (rows, ...).
            scale: The loss is multiplied by it.

        Returns:
            The loss without noise (fgm, pgd), or the mean over the steps (freelb); without gradient.
        """
        passes = _Passes(objective, batch)
        return self._freelb(passes, scale) if self.settings.kind == "freelb" else self._pgd(passes, scale)

    def _pgd(self, passes: _Passes, scale: float) -> Loss:
        """Also fgm: one step as large as the ball."""
        noise = passes.zeros().requires_grad_()
        clean = passes.loss(noise)
        (clean.total * scale).backward()
        gradient = noise.grad
        for left in reversed(range(self.steps)):
            noise = self._moved(noise, gradient).requires_grad_(left > 0)
            loss = passes.loss(noise)
            if left:
                (gradient,) = torch.autograd.grad(loss.total, noise)
            else:
                (loss.total * scale).backward()
        return _detached([clean])

    def _freelb(self, passes: _Passes, scale: float) -> Loss:
        noise = passes.random(self.radius, seed=self.seed)
        losses: list[Loss] = []
        for left in reversed(range(self.steps)):
            noise.requires_grad_(left > 0)
            loss = passes.loss(noise)
            (loss.total * (scale / self.steps)).backward()
            losses.append(loss)
            if left:
                noise = self._moved(noise, noise.grad)
        return _detached(losses)

    def _moved(self, noise: Tensor, gradient: Tensor | None) -> Tensor:
        """A step uphill, and back into the ball; a row without gradient (without targets) stays."""
        assert gradient is not None
        moved = noise.detach() + self.size * gradient / _norms(gradient)
        return moved * (self.radius / _norms(moved)).clamp(max=1.0)


class _Passes:
    """Forward passes of one batch with different noise and the same dropout."""

    def __init__(self, objective: Objective, batch: Batch) -> None:
        self.objective, self.batch = objective, batch
        self.shape = (*batch["tokens"].shape, objective.model.embedding.embedding_dim)  # pyright: ignore
        self.device = batch["tokens"].device
        documents = batch["documents"] if "documents" in batch else torch.zeros_like(batch["tokens"])
        self.text = (documents >= 0).float()[..., None]
        self.states = _random_states(self.device)

    def loss(self, noise: Tensor) -> Loss:
        """The loss with this noise at every token that is no padding."""
        _set_random_states(self.device, self.states)
        return self.objective({**self.batch, "noise": noise * self.text})

    def zeros(self) -> Tensor:
        """No noise."""
        return torch.zeros(self.shape, device=self.device)

    def random(self, radius: float, *, seed: int) -> Tensor:
        """Uniform within the radius over the root of how many numbers a row's noise has, so that its norm is within it."""
        samples = self.batch["samples"].clamp(min=0).cpu().numpy()
        drawn = torch.from_numpy(uniforms(seed, "adversarial noise", samples, math.prod(self.shape[1:])))
        numbers = self.text.sum(tuple(range(1, self.text.ndim)), keepdim=True) * self.shape[-1]
        noise = (2 * drawn.view(self.shape) - 1).to(self.device, torch.float32)
        return noise * self.text * radius / numbers.clamp(min=1).sqrt()


def _norms(values: Tensor) -> Tensor:
    """Of each row, of the same number of dimensions; never zero."""
    norms = torch.linalg.vector_norm(values, dim=tuple(range(1, values.ndim)), keepdim=True)
    return norms.clamp(min=torch.finfo(values.dtype).tiny)


def _detached(losses: list[Loss]) -> Loss:
    """The mean, without gradient."""
    count = len(losses)
    names = losses[0].sums
    total = torch.stack([loss.total.detach() for loss in losses]).sum(0) / count
    return Loss(total, {name: torch.stack([loss.sums[name] for loss in losses]).sum(0) / count for name in names})


def _random_states(device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Of the generators on the CPU and on the device."""
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_random_states(device: torch.device, states: tuple[Tensor, Tensor | None]) -> None:
    torch.set_rng_state(states[0])
    if states[1] is not None:
        torch.cuda.set_rng_state(states[1], device)
