"""Processes that are forked from one that has imported torch: they begin after 0.1 s, not after 6 s of importing."""

from __future__ import annotations

from multiprocessing import get_context

__all__ = ["call_each", "context"]

PRELOADED = [
    "torch._dynamo",
    "curate.train.runs.process",
    "curate.train.runs.logs",
    "curate.train.runs.progress",
    "curate.tokenize.rows",
    "tests.train.interruption",
]


def context():
    """Whose processes are forks; all contexts of this process fork from the same one."""
    made = get_context("forkserver")
    made.set_forkserver_preload(PRELOADED)
    return made


def call_each(function, arguments):
    """Call a function of a module of tests with each of the tuples of arguments, at the same time, a process each."""
    processes = [context().Process(target=function, args=given) for given in arguments]
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0] * len(processes)
    finally:
        for process in processes:
            process.kill()
            process.join()
