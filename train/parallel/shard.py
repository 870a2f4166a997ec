"""The model cut into shards: FSDP2 (`fully_shard`) always, for one process too.

One path for any number of processes: at one process it costs nothing that could be measured, at two about 10 percent of
the CPU time. The order is torchtitan's: tensor parallel, recomputation, compilation of each block, then shards.
Parameters are made on the meta device and filled one by one, so that no process ever holds the whole model.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from functools import partial

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.utils.checkpoint import checkpoint

from curate.errors import CurateError
from curate.train.parallel.fp8 import use_fp8
from curate.train.parallel.world import World
from curate.train.settings.config import TrainConfig

__all__ = ["METHODS", "fill", "make_room", "place", "shard_model"]

METHODS = ("score", "respond", "continued")
"""Methods of an objective that may use its parameters, besides `forward`: inside them they are whole."""

# The first layer of each pair is cut by its outputs and the second by its inputs: one sum a pair (Shoeybi et al. 2019).
_TENSOR_PLAN = {
    "attention.query": ColwiseParallel,
    "attention.key": ColwiseParallel,
    "attention.value": ColwiseParallel,
    "attention.output": RowwiseParallel,
    "feed_forward.gate": ColwiseParallel,
    "feed_forward.up": ColwiseParallel,
    "feed_forward.down": RowwiseParallel,
}


def shard_model(objective: nn.Module, world: World, config: TrainConfig) -> None:
    """Cut an objective's parameters into shards, block by block, then the rest; it is changed in place.

    The trunk is its `model`, and the blocks are the trunk's `blocks`. Parameters that are trained and the sums of gradients
    stay float32; with bf16 each block computes in bfloat16.

    Raises:
        CurateError: Tensor parallel does not divide the heads of this model; or it has parts that a setting cannot serve.
    """
    blocks = objective.get_submodule("model.blocks")
    _check(blocks, config)
    mesh = _mesh(world, config)
    for block in blocks.children():
        if config.parallel.tensor > 1:
            _split(block, mesh["tensor"])
        if config.precision == "fp8":
            use_fp8(block, world.device)
        if config.recompute:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
        if config.compile:
            block.forward = torch.compile(block.forward)
    shards = mesh["replicate", "shard"] if config.parallel.replicate > 1 else mesh["shard"]
    for block in blocks.children():
        fully_shard(block, mesh=shards, mp_policy=_precision(config, cast=True))
    # weights and labels in a batch stay float32
    fully_shard(objective, mesh=shards, mp_policy=_precision(config, cast=False))
    for method in METHODS:
        register_fsdp_forward_method(objective, method)


def _check(blocks: nn.Module, config: TrainConfig) -> None:
    """Refuse settings that these blocks have no room for."""
    # of our own blocks; those of transformers have other names
    names = {name.partition(".")[2] for name, _ in blocks.named_modules()}
    experts, normed = "feed_forward.experts" in names, "attention.query_norm" in names
    unfit = {
        "parallel.tensor": config.parallel.tensor > 1 and (normed or experts),
        "compile": config.compile and experts,
        "precision": config.precision == "fp8" and experts,
    }
    for name, asked in unfit.items():
        if asked:
            what = "experts" if experts else "norms of queries and keys"
            raise CurateError(f"`{name}` is not there for models with {what}", name, "leave it out")
    _check_balance(blocks, config)


def _check_balance(blocks: nn.Module, config: TrainConfig) -> None:
    """Refuse a balance of experts where its gradient would be added with other weights than a token's.

    Noise has passes of its own, and its worst is that of the loss; the heads of `multi_token` go backward in `forward`.
    """
    unfit = {"objective.kind: multi_token": config.objective.kind == "multi_token", "adversarial": config.adversarial}
    balanced = any(getattr(module, "balance", 0) for module in blocks.modules())  # of `Experts`
    for name, asked in unfit.items():
        if balanced and asked:
            raise CurateError(
                f"`{name}` is not there for experts with a balance",
                name.partition(":")[0],
                "leave it out, or set `router_aux_loss_coef` to 0 in the model's config.json",
            )


def _precision(config: TrainConfig, *, cast: bool) -> MixedPrecisionPolicy:
    if config.precision != "fp32":
        return MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=cast)
    # what is held in bf16 is cast back
    mixed = config.lora is not None and config.lora.base != "full"
    return MixedPrecisionPolicy(param_dtype=torch.float32 if mixed else None, cast_forward_inputs=cast)


def _mesh(world: World, config: TrainConfig) -> DeviceMesh:
    """Neighbours share matrices, the next shard the model, and the farthest hold copies of it."""
    replicate, tensor = config.parallel.replicate, config.parallel.tensor
    sizes = (replicate, world.size // (replicate * tensor), tensor)
    return init_device_mesh(world.device.type, sizes, mesh_dim_names=("replicate", "shard", "tensor"))


def _split(block: nn.Module, mesh: DeviceMesh) -> None:
    found = {name: style() for name, style in _TENSOR_PLAN.items() if _has(block, name)}
    heads = {name: block.get_submodule(name) for name in found if name.endswith((".query", ".key"))}
    if not heads:
        raise CurateError("`parallel.tensor` splits decoders only", hint="leave it at 1")
    head_width = block.get_submodule("attention").head_width
    for layer in heads.values():
        assert isinstance(layer, nn.Linear) and isinstance(head_width, int)
        count = layer.out_features // head_width
        if count % mesh.size():
            raise CurateError(
                f"{count} heads cannot be shared by {mesh.size()} processes",
                hint="`parallel.tensor` must divide `model.heads` and `model.key_value_heads`",
            )
    parallelize_module(block, mesh, found)


def _has(module: nn.Module, name: str) -> bool:
    return name in dict(module.named_modules())


def make_room(objective: nn.Module, device: torch.device) -> None:
    """Move a sharded module from the meta device to where its parameters go; their values are anything."""
    if any(parameter.is_meta for parameter in objective.parameters()):
        objective.to_empty(device=device)


def fill(
    objective: nn.Module,
    device: torch.device,
    value: Callable[[str, torch.Size], Tensor],
    *,
    known: Container[str] = frozenset(),
) -> None:
    """Give every parameter its first value.

    Args:
        objective: The sharded module, changed in place; it may be on the meta device.
        device: Where its parameters go.
        value: From a parameter's name and whole shape to a whole tensor on the CPU, the same in all processes.
        known: Names of those that have theirs already.
    """
    make_room(objective, device)
    for name, parameter in objective.named_parameters():
        if name not in known:
            place(parameter, value(name, parameter.shape))


@torch.no_grad()
def place(parameter: Tensor, whole: Tensor) -> None:
    """Copy a whole tensor, the same in all processes, into a parameter, of which each may hold a shard."""
    whole = whole.to(parameter.device, parameter.dtype)
    if isinstance(parameter, DTensor):
        cut = distribute_tensor(whole, parameter.device_mesh, parameter.placements, src_data_rank=None)
        parameter.to_local().copy_(cut.to_local())
    else:
        parameter.copy_(whole)
