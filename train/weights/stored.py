"""Tensors in safetensors files, mapped into memory: a process reads the part that it holds, and nothing is held twice.

A file's numbers are converted while they are copied into parameters, so that loading takes no memory beside these but the
file's pages, which the processes of a machine share and the system takes back when it needs them. What cannot be read so
is a tensor that tensor parallel cuts: it is whole in memory for a moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor
from torch.distributed.tensor import DTensor, Shard
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from curate.train.models.family import Source
from curate.train.parallel.shard import place

__all__ = ["StoredTensor", "place_stored", "stored_tensors"]


class StoredTensor(NamedTuple):
    """A tensor that is still in its file.

    Attributes:
        shape: Of the whole.
        read: Gives the part between the given bounds of each dimension, with the numbers as they are stored.
    """

    shape: tuple[int, ...]
    read: Callable[[tuple[slice, ...]], Tensor]

    def whole(self) -> Tensor:
        """All of it."""
        return self.read(tuple(slice(0, size) for size in self.shape)).contiguous()


def stored_tensors(places: Mapping[str, tuple[Path, Source]]) -> Iterator[tuple[str, StoredTensor]]:
    """Names of ours and their tensors, file by file; each must be read before the next is asked for.

    Args:
        places: For each name of ours, the file and where it is in it.
    """
    for path in sorted({path for path, _ in places.values()}):
        with safe_open(path, framework="pt") as file:
            for name, (place, source) in places.items():
                if place == path:
                    yield name, _stored(file, source)


def _stored(file: Any, source: Source) -> StoredTensor:
    found = file.get_slice(source.name)
    shape = tuple(found.get_shape())
    if not shape:
        return StoredTensor(shape, lambda _: file.get_tensor(source.name))
    outputs, *inputs = shape[::-1] if source.transposed else shape
    outputs //= source.parts

    def read(part: tuple[slice, ...]) -> Tensor:
        rows, *rest = part
        rows = slice(rows.start + source.part * outputs, rows.stop + source.part * outputs)
        return found[(*rest, rows)].T if source.transposed else found[(rows, *rest)]

    return StoredTensor((outputs, *inputs), read)


@torch.no_grad()
def place_stored(parameter: Tensor, stored: StoredTensor) -> None:
    """Copy into a parameter, of which each process may hold a shard, what it holds of a stored tensor of its shape."""
    if not isinstance(parameter, DTensor):
        parameter.copy_(stored.whole())
        return
    cuts = [placement for placement in parameter.placements if not placement.is_replicate()]
    if len(cuts) > 1 or any(type(cut) is not Shard for cut in cuts):
        place(parameter, stored.whole())
        return
    sizes, begins = compute_local_shape_and_global_offset(parameter.shape, parameter.device_mesh, parameter.placements)
    part = tuple(slice(begin, begin + size) for begin, size in zip(begins, sizes, strict=True))
    if parameter.to_local().numel():
        parameter.to_local().copy_(stored.read(part))
