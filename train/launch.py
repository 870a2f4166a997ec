"""Start the processes of a run, and watch them.

One process trains in the caller itself. More are spawned on this machine and meet through a file; when one of them
fails or is killed, the others are ended and the reason is told; when the caller is killed, they end by themselves.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import connection, get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path

from curate.errors import CurateError, ResumableError
from curate.tokenize.pack import Pack, open_pack
from curate.train.config import TrainConfig
from curate.train.folder import RunFolder

__all__ = ["launch"]

GRACE = 2.0
"""Seconds for the other processes to tell their side, after one has failed."""


def launch(config: TrainConfig, folder: RunFolder, pack: Pack) -> None:
    """Train to the end, in `config.processes` processes.

    Raises:
        CurateError: What stopped the training, if the user can solve it.
        ResumableError: A process was killed.
        RuntimeError: A process failed in another way; the message holds its traceback.
    """
    if config.processes == 1:
        _train(config, folder, pack, rank=0, meeting=None)
        return
    context = get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="curate-train-") as name:
        reports = Path(name)
        processes = [
            context.Process(
                target=_process, args=(config, folder.path, pack.folder, rank, reports), name=f"train-{rank}"
            )
            for rank in range(config.processes)
        ]
        try:
            for process in processes:
                process.start()
            _watch(processes, reports, folder)
        finally:
            _end(processes)


def _train(config: TrainConfig, folder: RunFolder, pack: Pack, *, rank: int, meeting: Path | None) -> None:
    from curate.train.progress import Progress
    from curate.train.shard import joined
    from curate.train.trainer import train_process

    with joined(rank, config.processes, device=config.device, meeting=meeting) as world:
        progress = Progress(config.run, config.steps) if rank == 0 else None
        try:
            train_process(config, folder, pack, world, report=progress or (lambda record: None))
        except OSError as error:
            raise ResumableError(
                f"the run folder cannot be written: {error.strerror or error}",
                str(folder.path),
                "checkpoints are intact; make room, and run the same command again",
            ) from error
        finally:
            if progress:
                progress.close()


# ---- inside a process


def _process(config: TrainConfig, folder: Path, pack: Path, rank: int, reports: Path) -> None:
    """What a spawned process runs; how it failed is left in a file for the caller."""
    import torch

    threading.Thread(target=_end_with_caller, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller gets it too, and ends us
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // config.processes))
    with _quiet(rank, reports):
        try:
            _train(config, RunFolder(folder), open_pack(pack), rank=rank, meeting=reports / "meeting")
        except CurateError as error:
            record = {"kind": type(error).__name__, **error.records()[0]}
            (reports / f"{rank}.json").write_text(json.dumps(record))
            os._exit(1)
        except BaseException:  # the edge of the process: whatever it is, the caller must learn of it
            (reports / f"{rank}.txt").write_text(traceback.format_exc())
            os._exit(1)  # without waiting for peers, as an orderly exit of the process group would


def _end_with_caller() -> None:
    caller = parent_process()
    assert caller is not None
    connection.wait([caller.sentinel])
    os._exit(1)


@contextmanager
def _quiet(rank: int, reports: Path) -> Iterator[None]:
    """Only process 0 writes to the terminal."""
    if rank:
        with (reports / f"{rank}.log").open("w") as stream:
            os.dup2(stream.fileno(), sys.stderr.fileno())
    yield


# ---- in the caller


def _watch(processes: Sequence[BaseProcess], reports: Path, folder: RunFolder) -> None:
    running = list(processes)
    while running:
        connection.wait([process.sentinel for process in running])
        running = [process for process in running if process.is_alive()]
        if any(process.exitcode for process in processes):
            _await(running)
            raise _failure(processes, reports, folder)


def _await(running: Sequence[BaseProcess]) -> None:
    deadline = time.monotonic() + GRACE
    for process in running:
        process.join(max(0.0, deadline - time.monotonic()))


def _failure(processes: Sequence[BaseProcess], reports: Path, folder: RunFolder) -> Exception:
    """The reason: the user's errors first, then killed processes, then our own mistakes; one brings on others."""
    for path in sorted(reports.glob("*.json")):
        record = json.loads(path.read_text())
        kind = ResumableError if record.pop("kind") == "ResumableError" else CurateError
        return kind(**record)
    for rank, process in enumerate(processes):
        if process.exitcode is not None and process.exitcode < 0:
            name = signal.Signals(-process.exitcode).name
            return ResumableError(
                f"process {rank} of {len(processes)} was killed ({name})",
                str(folder.path),
                "run the same command again: it goes on from the last checkpoint",
            )
    told = [*sorted(reports.glob("*.txt")), *sorted(reports.glob("*.log"))]
    return RuntimeError("a training process failed:\n" + (told[0].read_text() if told else "it left no traceback"))


def _end(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        if process.is_alive():
            process.kill()
    for process in processes:
        if process.pid is not None:
            process.join()
