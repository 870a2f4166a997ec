"""Start the processes of a run, and watch them.

    one process          trains in the caller itself
    several              are spawned on this machine and meet through a file
    torchrun's           are started by it, on any number of machines; each is one of them, and joins the others

When a spawned process fails, is killed or hangs, the others are ended and the reason is told; with `restarts` all are
started again from the last checkpoint, unless the reason is the user's to solve. When the caller is killed, they end by
themselves. What torchrun started it also watches and starts again (`--max-restarts`).
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from multiprocessing import connection, get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.errors import CurateError, ResumableError
from curate.tokenize.pack import Pack, open_pack
from curate.train.runs.folder import RunFolder
from curate.train.runs.stacks import PATIENCE, answering, collect_stacks, wait_for, write_stack
from curate.train.runs.watch import Watch
from curate.train.runs.watchdog import ProcessDied, Watchdog, hang_error
from curate.train.settings.config import TrainConfig

if TYPE_CHECKING:
    from curate.train.parallel.world import World

__all__ = ["Place", "is_first", "launch", "torchrun_place"]

GRACE = 2.0
"""Seconds for the other processes to tell their side, after one has failed."""
_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, slots=True)
class Place:
    """This process among those that torchrun has started.

    Attributes:
        rank: Its number.
        size: How many there are, on all machines.
        local: Its number on this machine.
    """

    rank: int
    size: int
    local: int


def torchrun_place() -> Place | None:
    """This process's place among those of torchrun; None where torchrun did not start it."""
    if any(name not in os.environ for name in _TORCHRUN):
        return None
    return Place(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))


def is_first() -> bool:
    """This process is the only one, or the first of those that torchrun started."""
    place = torchrun_place()
    return place is None or place.rank == 0


def launch(
    config: TrainConfig, folder: RunFolder, packs: Mapping[str, Pack] | Pack, *, watch: Watch | None = None
) -> None:
    """Train to the end, in `config.processes` processes.

    Of torchrun's processes each calls this; the first of them holds the run's folder.

    Args:
        config: The run's settings.
        folder: Its folder, prepared.
        packs: Its token shards, by the name of their task or dataset.
        watch: What else is measured on the way; in a single process only.

    Raises:
        CurateError: What stopped the training, if the user can solve it.
        ResumableError: A process was killed or hung.
        RuntimeError: A process failed in another way; the message holds its traceback.
    """
    packs = {"": packs} if isinstance(packs, Pack) else packs
    place = torchrun_place()
    if place:
        _train_with_torchrun(config, folder, packs, place)
    elif config.processes == 1 and not config.restarts:
        _train_here(config, folder, packs, watch)
    else:
        _train_spawned(config, folder, packs)


def _train(
    config: TrainConfig,
    folder: RunFolder,
    packs: Mapping[str, Pack],
    world: World,
    heartbeat: Callable[[], None],
    watch: Watch | None = None,
) -> None:
    from curate.train.runs.process import train_process

    world = replace(world, tensor=config.parallel.tensor)
    with _reporting(config, folder) if world.rank == 0 else nullcontext(lambda record: None) as report:
        try:
            train_process(config, folder, dict(packs), world, report=report, heartbeat=heartbeat, watch=watch)
        except OSError as error:
            raise ResumableError(
                f"the run folder cannot be written: {error.strerror or error}",
                str(folder.path),
                "checkpoints are intact; make room, and run the same command again",
            ) from error


@contextmanager
def _reporting(config: TrainConfig, folder: RunFolder) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Show records to people, and give them to the logs."""
    from curate.train.runs.logs import Logs
    from curate.train.runs.progress import Progress

    with Logs(config, folder) as logs:
        progress = Progress(config.run, config.steps)

        def report(record: dict[str, Any]) -> None:
            progress(record)
            logs(record)

        try:
            yield report
        finally:
            progress.close()


def _patience(config: TrainConfig) -> float:
    """Seconds that processes wait for each other: our own limit on a step comes first, and tells more."""
    return max(600.0, 2 * config.timeout)


# ---- one process


def _train_here(config: TrainConfig, folder: RunFolder, packs: Mapping[str, Pack], watch: Watch | None = None) -> None:
    from curate.train.parallel.world import joined

    caller, hung = threading.current_thread(), threading.Event()

    def expired() -> None:
        write_stack(folder.stacks / "0.txt")
        hung.set()
        if caller is threading.main_thread():
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)  # wakes it where it waits in Python
            if watchdog.stopped.wait(PATIENCE):
                return
        _leave(hang_error(folder.stacks, 1, config.timeout))

    watchdog = Watchdog(config.timeout, expired)
    try:
        with watchdog, joined(0, 1, device=config.device) as world:
            _train(config, folder, packs, world, watchdog.beat, watch)
    except KeyboardInterrupt:
        if not hung.is_set():
            raise
        raise hang_error(folder.stacks, 1, config.timeout) from None


def _leave(error: CurateError) -> None:
    """End a process whose main thread does not answer."""
    sys.stderr.write(f"{error}\n")
    sys.stderr.flush()
    os._exit(error.exit_code)


# ---- one of torchrun's processes


def _train_with_torchrun(config: TrainConfig, folder: RunFolder, packs: Mapping[str, Pack], place: Place) -> None:
    from curate.train.parallel.world import joined

    if config.processes != place.size:
        raise CurateError(
            f"torchrun has started {place.size} processes, and the settings say {config.processes}",
            hint=f"set `processes: {place.size}`, or --processes {place.size}",
        )

    def expired() -> None:
        write_stack(folder.stacks / f"{place.rank}.txt")
        written = [folder.stacks / f"{rank}.txt" for rank in range(place.size)]
        wait_for(lambda: all(path.is_file() for path in written))
        if any(path.is_file() for path in written[: place.rank]):
            time.sleep(PATIENCE)  # the first of us tells, and torchrun ends the others
            os._exit(ProcessDied.exit_code)
        _leave(hang_error(folder.stacks, place.size, config.timeout))

    with joined(
        place.rank,
        place.size,
        device=config.device,
        meeting="environment",
        local=place.local,
        patience=_patience(config),
    ) as world:
        if world.rank == 0:
            _remove_stacks(folder)
        complete, seen = world.total(world.rank == 0 and folder.result() is not None, folder.path.is_dir())
        if seen < place.size:
            raise CurateError(
                f"{place.size - int(seen)} of the {place.size} processes do not see the run folder",
                str(folder.path),
                "put it on a disk that all machines share (--runs DIR)",
            )
        if not complete:
            with Watchdog(config.timeout, expired) as watchdog:
                _train(config, folder, packs, world, watchdog.beat)
        world.wait()  # result.json is there for all


def _remove_stacks(folder: RunFolder) -> None:
    for path in folder.stacks.glob("*.txt"):
        path.unlink()


# ---- spawned processes


def _train_spawned(config: TrainConfig, folder: RunFolder, packs: Mapping[str, Pack]) -> None:
    for left in range(config.restarts, -1, -1):
        try:
            _spawn(config, folder, packs)
            return
        except (ProcessDied, _ProcessFailed) as error:
            if not left:
                raise
            reason = error.problem if isinstance(error, ProcessDied) else str(error).strip()
            sys.stderr.write(
                f"train {config.run}: {reason}\n"
                f"train {config.run}: starting again from the last checkpoint; {left - 1} more restarts after this\n"
            )
            sys.stderr.flush()


class _ProcessFailed(RuntimeError):
    """A process failed for a reason that is not the user's: the machine's, or our own mistake."""


def _spawn(config: TrainConfig, folder: RunFolder, packs: Mapping[str, Pack]) -> None:
    context = get_context("spawn")
    folders = {name: pack.folder for name, pack in packs.items()}
    _remove_stacks(folder)
    with tempfile.TemporaryDirectory(prefix="curate-train-") as name:
        reports = Path(name)
        processes = [
            context.Process(target=_process, args=(config, folder.path, folders, rank, reports), name=f"train-{rank}")
            for rank in range(config.processes)
        ]
        try:
            for process in processes:
                process.start()
            _watch(processes, reports, folder, config.timeout)
        finally:
            _end(processes)


# ---- inside a process


def _process(config: TrainConfig, folder: Path, packs: dict[str, Path], rank: int, reports: Path) -> None:
    """What a spawned process runs; how it failed is left in a file for the caller."""
    import torch

    from curate.train.parallel.world import joined

    threading.Thread(target=_end_with_caller, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller gets it too, and ends us
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // config.processes))
    expired = answering(reports, rank)  # the caller will end us
    meeting = reports / "meeting" if config.processes > 1 else None
    with _quiet(rank, reports), Watchdog(config.timeout, expired) as watchdog:
        try:
            opened = {name: open_pack(path) for name, path in packs.items()}
            with joined(
                rank, config.processes, device=config.device, meeting=meeting, patience=_patience(config)
            ) as world:
                _train(config, RunFolder(folder), opened, world, watchdog.beat)
        except CurateError as error:
            record = {"kind": type(error).__name__, **error.records()[0]}
            _leave_word(reports / f"{rank}.json", json.dumps(record))
            os._exit(1)
        except BaseException:  # the edge of the process: whatever it is, the caller must learn of it
            _leave_word(reports / f"{rank}.txt", traceback.format_exc())
            os._exit(1)  # without waiting for peers, as an orderly exit of the process group would


def _leave_word(path: Path, text: str) -> None:
    """For the caller, who may read while others still write: it is there when all of it is."""
    aside = path.with_suffix(".writing")
    aside.write_text(text)
    aside.rename(path)


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


def _watch(processes: Sequence[BaseProcess], reports: Path, folder: RunFolder, timeout: float) -> None:
    running = list(processes)
    while running:
        connection.wait([process.sentinel for process in running], timeout=min(1.0, timeout / 10))
        running = [process for process in running if process.is_alive()]
        if any(process.exitcode for process in processes):
            _await(running)
            raise _failure(processes, reports, folder)
        if any(reports.glob("*.hung")):
            silent = collect_stacks(processes, reports, folder.stacks)
            raise hang_error(folder.stacks, len(processes), timeout, silent=silent)


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
            return ProcessDied(
                f"process {rank} of {len(processes)} was killed ({name})",
                str(folder.path),
                "run the same command again: it goes on from the last checkpoint",
            )
    # whoever failed first made the others lose their connections
    told = sorted(reports.glob("*.txt"), key=lambda path: path.stat().st_mtime_ns)
    if told:
        return _ProcessFailed(f"process {told[0].stem} of {len(processes)} failed:\n{told[0].read_text()}")
    logs = "".join(path.read_text() for path in sorted(reports.glob("*.log")))
    return _ProcessFailed(f"a process failed, and left no traceback\n{logs}")


def _end(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        if process.is_alive():
            process.kill()
    for process in processes:
        if process.pid is not None:
            process.join()
