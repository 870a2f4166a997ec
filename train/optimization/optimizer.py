"""Optimizers, their state for checkpoints, the average of the parameters, and the learning rate as a function of the step.

AdamW (Loshchilov and Hutter 2019), SGD with momentum, and Muon (Jordan et al. 2024) for the matrices of the blocks. The
rates are set before every step from its number alone, so that there is no scheduler whose state could be lost.

Everything here works on parameters that are whole and on those of which each process holds a shard (DTensors).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor

from curate.train.settings.blocks import OptimizerSettings, ScheduleSettings

__all__ = [
    "Average",
    "Muon",
    "Together",
    "allocate_state",
    "build_optimizer",
    "clip_gradients",
    "learning_rate",
    "set_learning_rates",
    "state_tensors",
]

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the iteration, chosen by Jordan et al. to grow small singular values fast."""
ITERATIONS = 5


# ---- which parameter is moved how


class Together:
    """Several optimizers of one model, used as one.

    Args:
        parts: The optimizers; no parameter is in two of them.
    """

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Those of all parts; setting a rate in them takes effect."""
        return [group for part in self.parts for group in part.param_groups]

    @property
    def state(self) -> dict[Tensor, dict[str, Any]]:
        """Those of all parts, by parameter."""
        return {parameter: state for part in self.parts for parameter, state in part.state.items()}

    def step(self) -> None:
        """Move all parameters."""
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=set_to_none)


def build_optimizer(model: nn.Module, settings: OptimizerSettings) -> torch.optim.Optimizer | Together:
    """The optimizer of all parameters that are trained; its decay leaves vectors (norms, biases) alone.

    Each of its groups holds its own highest rate, `highest`. Muon takes the matrices inside `blocks`; embeddings, heads
    and vectors are left to AdamW. SGD's decay is part of the gradient, the others' is not.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if settings.kind == "sgd":
        return torch.optim.SGD(_groups(trained, settings), lr=settings.learning_rate, momentum=settings.momentum)
    inside = _block_matrices(model) if settings.kind == "muon" else set[nn.Parameter]()
    matrices = [parameter for parameter in trained if parameter in inside]
    others = [parameter for parameter in trained if parameter not in inside]
    parts: list[torch.optim.Optimizer] = []
    if matrices:
        parts.append(Muon(matrices, settings))
    if others:
        betas = (settings.beta1, settings.beta2)
        # fused: one pass over the memory, a quarter of the time of PyTorch's loop on a CPU
        parts.append(
            torch.optim.AdamW(
                _groups(others, settings), lr=settings.learning_rate, betas=betas, eps=settings.epsilon, fused=True
            )
        )
    return parts[0] if len(parts) == 1 else Together(*parts)


def _block_matrices(model: nn.Module) -> set[nn.Parameter]:
    """What maps states to states, inside the blocks of trunks."""
    return {
        parameter
        for trunk in model.modules()
        if isinstance(getattr(trunk, "blocks", None), nn.ModuleList)
        for layer in trunk.blocks.modules()  # pyright: ignore
        if not isinstance(layer, nn.Embedding)
        for parameter in layer.parameters(recurse=False)
        if parameter.ndim == 2
    }


def _groups(parameters: Iterable[nn.Parameter], settings: OptimizerSettings) -> list[dict[str, Any]]:
    """One for each mesh (a fused step takes tensors of one only), with decay or without."""
    found: dict[tuple[bool, Any], list[nn.Parameter]] = {}
    for parameter in parameters:
        found.setdefault((parameter.ndim >= 2, _mesh(parameter)), []).append(parameter)
    return [
        {
            "params": some,
            "weight_decay": settings.weight_decay if decays else 0.0,
            "highest": settings.learning_rate,
        }
        for (decays, _), some in found.items()
    ]


class Muon(torch.optim.Optimizer):
    """Momentum whose matrices are made orthogonal before they are used (Jordan et al. 2024).

    The numbers are torch.optim.Muon's, but each process makes the whole of a matrix orthogonal, of which it holds a
    shard, and on a CPU in float32: so one, two and four processes come to the same losses within 1e-6 (tested), where
    torch.optim.Muon on shards differed by 2e-4 at the fourth step. It costs about 30 x rows^2 x columns operations for
    each matrix (rows <= columns) in each process, in a step of n tokens a process 5 x rows / n of the rest.

    Args:
        matrices: Parameters of two dimensions.
        settings: Highest rate of matrices, momentum, decay.
    """

    def __init__(self, matrices: list[nn.Parameter], settings: OptimizerSettings) -> None:
        group = {"params": matrices, "highest": settings.matrix_learning_rate}
        defaults = {
            "lr": settings.matrix_learning_rate,
            "momentum": settings.momentum,
            "weight_decay": settings.weight_decay,
        }
        super().__init__([group], defaults)

    @torch.no_grad()
    def step(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Move all matrices that have a gradient; called by all processes."""
        for group in self.param_groups:
            rate, momentum = group["lr"], group["momentum"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                average = state["momentum_buffer"].lerp_(parameter.grad, 1 - momentum)
                direction = _whole(parameter.grad.lerp(average, momentum))
                update = _cut_as(parameter, orthogonal(direction).to(parameter.dtype))
                rows, columns = parameter.shape
                parameter.mul_(1 - rate * group["weight_decay"])
                parameter.add_(update, alpha=-rate * math.sqrt(max(1, rows / columns)))


def orthogonal(matrix: Tensor) -> Tensor:
    """Nearly U V' of the matrix U S V': its singular values come to lie between about 0.7 and 1.2.

    Args:
        matrix: (rows, columns).

    Returns:
        (rows, columns), float32 on a CPU and bfloat16 elsewhere.
    """
    values = matrix.float() if matrix.device.type == "cpu" else matrix.bfloat16()
    tall = values.shape[0] > values.shape[1]
    values = values.T if tall else values
    values = values / values.norm().clamp(min=1e-7)
    first, third, fifth = NEWTON_SCHULZ
    for _ in range(ITERATIONS):
        product = values @ values.T
        correction = torch.addmm(product, product, product, beta=third, alpha=fifth)
        values = torch.addmm(values, correction, values, beta=first)
    return values.T if tall else values


def _whole(value: Tensor) -> Tensor:
    return value.full_tensor() if isinstance(value, DTensor) else value


def _cut_as(parameter: Tensor, whole: Tensor) -> Tensor:
    """Of a tensor that is the same in all processes, what this one holds of the parameter."""
    if not isinstance(parameter, DTensor):
        return whole
    return distribute_tensor(whole, parameter.device_mesh, parameter.placements, src_data_rank=None)


# ---- rates and clipping


def learning_rate(step: int, steps: int, highest: float, settings: ScheduleSettings) -> float:
    """The rate of step `step` (from 1) of `steps`: a linear rise, then a fall to `floor` of the highest.

    The fall begins at once after the warm-up (cosine, linear), or for the last share `decay` of the steps (wsd: warm-up,
    stable, decay; Hu et al. 2024), or never (constant).
    """
    if step <= settings.warmup:
        return highest * step / (settings.warmup + 1)
    first = settings.warmup + 1
    if settings.kind == "wsd":
        first = max(first, steps - round(settings.decay * steps))
    if settings.kind == "constant" or step <= first or steps <= first:
        return highest
    done = (step - first) / (steps - first)
    left = 0.5 * (1 + math.cos(math.pi * done)) if settings.kind == "cosine" else 1 - done
    return highest * (settings.floor + (1 - settings.floor) * left)


def set_learning_rates(
    optimizer: torch.optim.Optimizer | Together,
    step: int,
    steps: int,
    settings: OptimizerSettings,
    schedule: ScheduleSettings,
) -> float:
    """Set the rate of every group for step `step` (from 1) of `steps`; returns that of `settings.learning_rate`."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(step, steps, group["highest"], schedule)
    return learning_rate(step, steps, settings.learning_rate, schedule)


@torch.no_grad()
def clip_gradients(parameters: Iterable[nn.Parameter], most: float | None) -> float:
    """Scale all gradients down to a norm of `most` together (None: leave them); returns the norm that they had."""
    meshes: dict[Any, list[nn.Parameter]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            meshes.setdefault(_mesh(parameter), []).append(parameter)
    # PyTorch's functions take tensors of one mesh only
    norms = [
        _whole(nn.utils.get_total_norm([parameter.grad for parameter in some if parameter.grad is not None]))
        for some in meshes.values()
    ]
    if not norms:
        return 0.0
    norm = norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))
    for some in meshes.values() if most is not None else ():
        nn.utils.clip_grads_with_norm_(some, most, norm)  # pyright: ignore[reportArgumentType]
    return float(norm)


def _mesh(parameter: Tensor) -> DeviceMesh | None:
    return parameter.device_mesh if isinstance(parameter, DTensor) else None


# ---- what a checkpoint holds


def allocate_state(optimizer: torch.optim.Optimizer | Together) -> None:
    """Make the optimizer's tensors as they are before its first step, all zero; parameters stay as they are.

    A checkpoint then holds the same names from the first step to the last, whichever parameters had gradients.
    """
    for part in _parts(optimizer):
        for group in part.param_groups:
            for parameter in group["params"]:
                part.state[parameter].update(_first_state(part, group, parameter))


def _first_state(part: torch.optim.Optimizer, group: dict[str, Any], parameter: Tensor) -> dict[str, Tensor]:
    if isinstance(part, torch.optim.AdamW):
        step = torch.zeros((), dtype=torch.float32, device=parameter.device)
        return {"step": step, **{key: _zeros(parameter) for key in ("exp_avg", "exp_avg_sq")}}
    return {"momentum_buffer": _zeros(parameter)} if group["momentum"] else {}


def _zeros(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter, requires_grad=False)


def state_tensors(model: nn.Module, optimizer: torch.optim.Optimizer | Together) -> dict[str, Tensor]:
    """The optimizer's tensors, as `optimizer.{name of the parameter}.{key}`; loading into them in place takes effect."""
    _reshard(model)
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    return {
        f"optimizer.{names[parameter]}.{key}": value
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
        if isinstance(value, Tensor)
    }


def _parts(optimizer: torch.optim.Optimizer | Together) -> tuple[torch.optim.Optimizer, ...]:
    return optimizer.parts if isinstance(optimizer, Together) else (optimizer,)


def _reshard(model: nn.Module) -> None:
    """Let go of parameters that were made whole: after a forward pass without a backward one the root still has its own."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


class Average:
    """Exponential moving average of the parameters that are trained, after each step.

    Its weights are decay^k for the parameters k steps ago, divided by their sum (as Adam's means are), so that the
    random first weights do not count and the average of a short run is not held back by them.

    Args:
        model: Its parameters, float32, are on their devices.
        decay: How much the average of one step counts in the next.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay = model, decay
        _reshard(model)
        self.parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
        self.averages = {name: value.detach().clone() for name, value in self.parameters.items()}
        self.steps = torch.zeros((), dtype=torch.float32)

    @torch.no_grad()
    def update(self) -> None:
        """Take in the parameters after a step."""
        self.steps += 1
        share = (1 - self.decay) / (1 - self.decay ** self.steps.item())
        for name, average in self.averages.items():
            _local(average).lerp_(_local(self.parameters[name]), share)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """The model has the averages for a while, and afterwards its own parameters again."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        _reshard(self.model)
        for name, average in self.averages.items():
            held, parameter = _local(average), _local(self.parameters[name])
            before = parameter.clone()
            parameter.copy_(held)
            held.copy_(before)

    def tensors(self) -> dict[str, Tensor]:
        """For a checkpoint, `average.{name of the parameter}` and `average.steps`; loading in place takes effect."""
        return {"average.steps": self.steps, **{f"average.{name}": value for name, value in self.averages.items()}}


def _local(value: Tensor) -> Tensor:
    """The values that this process holds, sharing their memory."""
    value = value.detach()
    return value.to_local() if isinstance(value, DTensor) else value
