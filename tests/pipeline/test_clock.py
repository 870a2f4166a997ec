"""Time that a process computes or sleeps."""

from __future__ import annotations

import subprocess
import sys

import psutil

from curate.pipeline.clock import Clock

SPINS = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
STARTS = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SPINS!r}])"


def started(code):
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_what_a_process_computes_counts():
    with started(SPINS) as process:
        clock = Clock(process.pid)
        process.stdout.readline()
        assert clock.look() >= 0.3
        process.communicate(b"\n")


def test_what_a_process_has_started_counts_where_it_is_asked_for():
    with started(STARTS) as process:
        clock = Clock(process.pid, family=True)
        process.stdout.readline()
        (child,) = psutil.Process(process.pid).children()
        assert clock.computed == 0
        clock.look()
        assert clock.computed >= sum(child.cpu_times()[:2]) - 0.02
        process.communicate(b"\n")


def test_a_process_that_is_gone_counts_no_more():
    with started("") as process:
        clock = Clock(process.pid)
    assert clock.look() == 0
