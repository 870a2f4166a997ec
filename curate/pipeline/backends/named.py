"""Backends by their names."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
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


def open_backend(
    placement: Placement, store: str, root: Path, note: Callable[[str], None]
) -> AbstractContextManager[Backend]:
    """A backend, not begun yet.

    Args:
        placement: Which, and how.
        store: Place of the store.
        root: Folder of the pipeline file.
        note: Told what people should know while it works.

    Raises:
        CurateError: The placement makes no sense.
    """
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
