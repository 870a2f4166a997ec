"""What all processes must decide alike, because each forward pass of a model in shards is a collective of them all."""

from __future__ import annotations

import torch
from torch import Tensor, distributed

__all__ = ["any_of_all"]


def any_of_all(flags: Tensor) -> bool:
    """One of the flags is set in one of the processes; costs a collective where there are several.

    Args:
        flags: Of any shape, bool, on the device of the model.
    """
    some = flags.any().to(torch.int32)
    if distributed.is_initialized() and distributed.get_world_size() > 1:
        distributed.all_reduce(some, op=distributed.ReduceOp.MAX)
    return bool(some.item())
