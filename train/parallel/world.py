"""The processes of a run: who am I, how many are we, and sums over all of us.

Processes of one machine find each other through a file, and a single one through its own memory: no port is opened by
name. Those that torchrun started meet where it says, in the environment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, distributed
from torch.distributed import FileStore, HashStore  # pyright: ignore[reportPrivateImportUsage]

from curate.errors import CurateError

__all__ = ["World", "joined"]

PATIENCE = 600.0


@dataclass(frozen=True, slots=True)
class World:
    """This process among its peers.

    Attributes:
        rank: Its number.
        size: How many there are.
        device: Where it computes.
        control: A process group on the CPU for checkpoints and counts, apart from the one that training uses.
        tensor: Neighbouring processes that share each matrix, and so read the same batch.
    """

    rank: int
    size: int
    device: torch.device
    control: distributed.ProcessGroup
    tensor: int = 1

    @property
    def reader(self) -> int:
        """Number of this process's share of a batch."""
        return self.rank // self.tensor

    @property
    def readers(self) -> int:
        """Shares of a batch."""
        return self.size // self.tensor

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all shares of a batch, float64 on the CPU."""
        summed = values.detach().to("cpu", torch.float64).clone()
        distributed.all_reduce(summed, group=self.control)
        return summed / self.tensor

    def joined(self, rows: Tensor) -> Tensor:
        """The rows of all shares of a batch one behind another, float64 on the CPU; each may have another number."""
        counts = torch.zeros(self.readers, dtype=torch.float64)
        counts[self.reader] = len(rows)
        ends = self.sum(counts).cumsum(0).long().tolist()
        whole = torch.zeros(ends[-1], *rows.shape[1:], dtype=torch.float64)
        whole[ends[self.reader] - len(rows) : ends[self.reader]] = rows.to("cpu", torch.float64)
        return self.sum(whole)

    def total(self, *values: float) -> list[float]:
        """The sums of the values over all shares of a batch."""
        return self.sum(torch.tensor(values, dtype=torch.float64)).tolist()

    def wait(self) -> None:
        """Until all processes are here."""
        distributed.barrier(group=self.control)


@contextmanager
def joined(
    rank: int,
    size: int,
    *,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    meeting: Path | Literal["environment"] | None = None,
    local: int | None = None,
    patience: float = PATIENCE,
) -> Iterator[World]:
    """Be process `rank` of `size` for a while.

    Args:
        rank: This process.
        size: All processes.
        device: Where to compute.
        meeting: A new file's path, the same in all processes; "environment" for processes that torchrun started;
            None for a single process.
        local: Number of this process among those of its machine; by default its rank.
        patience: Seconds that a process waits for its peers.

    Raises:
        CurateError: There is no CUDA device, or there are fewer than processes.
    """
    place = _device(rank if local is None else local, device)
    backend = "gloo"
    if place.type == "cuda":
        backend = "cpu:gloo,cuda:nccl"
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else cuBLAS may add up in another order each time
        torch.use_deterministic_algorithms(True, warn_only=True)  # the backward pass of attention asks for this
        torch.cuda.set_device(place)
    timeout = timedelta(seconds=patience)
    hook = sys.excepthook  # torch puts one around it that tells the rank, and leaves it there
    if meeting == "environment":
        distributed.init_process_group(backend, init_method="env://", rank=rank, world_size=size, timeout=timeout)
    else:
        store = HashStore() if meeting is None else FileStore(str(meeting), size)
        distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)
    try:
        control = distributed.new_group(backend="gloo", timeout=timeout)
        assert isinstance(control, distributed.ProcessGroup)
        yield World(rank, size, place, control)
    finally:
        distributed.destroy_process_group()
        sys.excepthook = hook


def _device(local: int, device: Literal["auto", "cpu", "cuda"]) -> torch.device:
    devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "cpu" or (device == "auto" and devices == 0):
        return torch.device("cpu")
    if local >= devices:
        raise CurateError(
            f"process {local} of this machine needs a CUDA device of its own; there are {devices}",
            hint="fewer `processes`, or `device: cpu`",
        )
    return torch.device("cuda", local)
