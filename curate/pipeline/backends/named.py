"""Backends by their names."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from curate.errors import CurateError, did_you_mean
from curate.pipeline.backends.contract import Backend

__all__ = ["BACKENDS", "Placement", "open_backend"]

BACKENDS = ("local", "ray", "slurm")


class Placement(NamedTuple):
    """Where tasks run.

    Attributes:
        backend: One of BACKENDS.
        workers: Most tasks at once; None: as many as the machine or the cluster has processors (slurm: 100).
        address: Of a Ray cluster.
        sbatch: Options for `sbatch`.
    """

    backend: str = "local"
    workers: int | None = None
    address: str | None = None
    sbatch: tuple[str, ...] = ()

    def check(self) -> None:
        """See whether it makes sense.

        Raises:
            CurateError: There is no such backend, or an option is not for it.
        """
        if self.backend not in BACKENDS:
            hint = did_you_mean(self.backend, BACKENDS) or f"there are: {', '.join(BACKENDS)}"
            raise CurateError(f"there is no backend `{self.backend}`", "--backend", hint)
        for option, given, backend in (("--address", self.address, "ray"), ("--sbatch", self.sbatch, "slurm")):
            if given and self.backend != backend:
                raise CurateError(f"`{option}` is for `--backend {backend}`", option)


@contextmanager
def open_backend(placement: Placement, store: str, root: Path, note: Callable[[str], None]) -> Iterator[Backend]:
    """A backend; in the block SIGTERM ends the process as Ctrl-C does, so nothing that was begun elsewhere stays.

    Args:
        placement: Which, and how.
        store: Place of the store.
        root: Folder of the pipeline file.
        note: Told what people should know while it works.

    Raises:
        CurateError: The placement makes no sense.
    """
    told: list[int] = []
    try:
        with _made(placement, store, root, note) as backend, _noting_the_end(told):
            yield backend
    except SystemExit as error:
        raise SystemExit(told[0] if told else error.code) from None  # Ray makes another one of it


@contextmanager
def _noting_the_end(told: list[int]) -> Iterator[None]:
    """In the block SIGTERM raises SystemExit, and its exit code is put into `told`."""

    def terminated(number: int, frame: FrameType | None) -> None:
        told.append(128 + number)
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, terminated)  # not before Ray has put its own in place, which prints stacks
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _made(placement: Placement, store: str, root: Path, note: Callable[[str], None]) -> AbstractContextManager[Backend]:
    placement.check()
    if placement.backend == "ray":
        from curate.pipeline.backends.ray import RayBackend

        return RayBackend(_absolute(store), root, placement.workers, placement.address, note)
    if placement.backend == "slurm":
        from curate.pipeline.backends.slurm import SlurmBackend

        return SlurmBackend(_absolute(store), root, placement.workers, placement.sbatch, note)
    from curate.pipeline.backends.local import LocalBackend

    return LocalBackend(store, root, placement.workers or len(os.sched_getaffinity(0)))


def _absolute(store: str) -> str:
    return store if "://" in store else str(Path(store).resolve())
