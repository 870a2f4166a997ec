"""Where the threads of processes stand: each writes it when its watchdog expires, and who does not is asked by a signal.

    0.stack   what process 0 wrote
    0.hung    it noticed the hang by itself
    0.told    a byte for each time that it was asked and has answered, however busy or stuck it is: the handler is in C

Nothing is read before it is whole. PATIENCE is for processes that do not run at all; a busy machine does not come near it.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

__all__ = ["PATIENCE", "answering", "collect_stacks", "wait_for", "write_stack"]

PATIENCE = 15.0
"""Seconds for a process to notice that the run hangs, and to answer when it is asked."""


def write_stack(path: Path) -> None:
    """Write where all threads of this process stand; the file is there when all of it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".writing")
    with aside.open("w") as stream:
        faulthandler.dump_traceback(stream, all_threads=True)
    aside.rename(path)


def answering(reports: Path, rank: int) -> Callable[[], None]:
    """Let this process answer where its threads stand; gives what it calls when it notices a hang itself."""
    stack = (reports / f"{rank}.stack").open("w")
    # faulthandler writes the stacks and then goes on to Python's handler, which writes the byte before anything else
    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.set_wakeup_fd(os.open(reports / f"{rank}.told", os.O_CREAT | os.O_WRONLY | os.O_NONBLOCK))
    faulthandler.register(signal.SIGUSR1, stack, all_threads=True, chain=True)

    def noticed() -> None:
        faulthandler.dump_traceback(stack, all_threads=True)
        (reports / f"{rank}.hung").touch()

    return noticed


def collect_stacks(processes: Sequence[BaseProcess], reports: Path, folder: Path) -> list[int]:
    """Move the stacks into a folder, as `0.txt`; who has not written one is asked, woken if it is stopped, and named."""
    ranks = range(len(processes))

    def noticed(rank: int) -> bool:
        return (reports / f"{rank}.hung").is_file()

    def answered(rank: int) -> bool:
        told = reports / f"{rank}.told"
        return noticed(rank) or not processes[rank].is_alive() or (told.is_file() and told.stat().st_size > 0)

    wait_for(lambda: all(noticed(rank) or not _runs(processes[rank]) for rank in ranks))
    silent = [rank for rank in ranks if not noticed(rank)]
    for process in (processes[rank] for rank in silent):
        if process.is_alive() and process.pid:
            os.kill(process.pid, signal.SIGUSR1)
            os.kill(process.pid, signal.SIGCONT)
    wait_for(lambda: all(answered(rank) for rank in ranks))
    folder.mkdir(exist_ok=True)
    for rank in ranks:
        stack = reports / f"{rank}.stack"
        if stack.is_file():
            (folder / f"{rank}.txt").write_text(stack.read_text())
    return silent


def _runs(process: BaseProcess) -> bool:
    """It may come to notice by itself: it is there, and not stopped."""
    import psutil

    try:
        return psutil.Process(process.pid).status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def wait_for(reached: Callable[[], bool]) -> None:
    """Until it is so, or for PATIENCE."""
    deadline = time.monotonic() + PATIENCE
    while not reached() and time.monotonic() < deadline:
        time.sleep(0.02)
