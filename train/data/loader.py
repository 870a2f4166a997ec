"""Batches by step: read, made tensors, and the next one read ahead in a thread.

There is no state: any step can be asked for, and the one after it is then under way. Reading 64 windows of 1024 tokens
takes 2 to 4 ms on a busy machine; read ahead, a step waits 0.1 ms for them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray

from curate.train.data.batch import Batch
from curate.train.data.curriculum import shortened
from curate.train.data.source import Source

__all__ = ["Loader", "Ordered"]

Integers = NDArray[np.int64]
PAUSE = 0.002
"""Seconds that the thread lets its caller go on to computing; else it holds Python's lock and nothing is gained."""


class Ordered(Protocol):
    """Which examples a step trains on: a pure function of the step."""

    def step(self, number: int, *, rank: int = 0, size: int = 1) -> tuple[Integers, Integers]:
        """Numbers of the samples of step `number` (from 0) for one process of `size`, and of their examples."""
        ...


class Loader:
    """One process's batches.

    Args:
        source: The examples.
        order: Which of them a step takes.
        rank: Of the process.
        size: Number of processes.
        device_prepare: Done to every batch in the thread (pinning its memory, say).
        length: From a step to the length that its windows are cut into, or None.
        ahead: Read the next step in a thread.

    Closing it, or leaving it as a context, waits for the thread.
    """

    def __init__(
        self,
        source: Source,
        order: Ordered,
        *,
        rank: int = 0,
        size: int = 1,
        device_prepare: Callable[[Batch], Batch] | None = None,
        length: Callable[[int], int] | None = None,
        ahead: bool = True,
    ) -> None:
        self.source, self.order, self.rank, self.size = source, order, rank, size
        self.device_prepare, self.length = device_prepare, length
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="loader") if ahead else None
        self._next: tuple[int, Future[Batch]] | None = None

    def step(self, number: int) -> Batch:
        """The batch of step `number` (from 0), with `samples`; an error of the thread is raised here."""
        pending, self._next = self._next, None
        batch = pending[1].result() if pending and pending[0] == number else self._read(number)
        if self._thread:
            self._next = (number + 1, self._thread.submit(self._read_ahead, number + 1))
        return batch

    def close(self) -> None:
        """End the thread; what it has read is dropped."""
        if self._thread:
            self._thread.shutdown(wait=True, cancel_futures=True)
        self._thread = self._next = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_ahead(self, number: int) -> Batch:
        time.sleep(PAUSE)
        return self._read(number)

    def _read(self, number: int) -> Batch:
        samples, numbers = self.order.step(number, rank=self.rank, size=self.size)
        arrays = {**self.source.read(numbers), "samples": samples}
        if self.length and (length := self.length(number)) != arrays["tokens"].shape[1]:
            arrays = shortened(arrays, length)
        batch = {name: torch.from_numpy(values) for name, values in arrays.items()}
        return self.device_prepare(batch) if self.device_prepare else batch
