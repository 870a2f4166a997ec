"""Time that a process computes or sleeps."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import psutil
import pytest

from curate.pipeline.clock import Clock, _runs

SPINS = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
STARTS = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SPINS!r}])"

ENDS = """
import ctypes, platform, threading, time
threading.Thread(target=time.sleep, args=(40,)).start()
print(flush=True)
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[platform.machine()], 0)
"""
JOINS = """
import threading
def spin():
    while True: pass
threading.Thread(target=spin).start()
print(flush=True)
"""


def started(code):
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_what_a_process_computes_counts():
    with started(SPINS) as process:
        clock = Clock(process.pid)
        process.stdout.readline()
        assert clock.look() >= 0.3 - 0.02  # the kernel counts hundredths
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


@pytest.mark.skipif(sys.platform != "linux", reason="children are listed there")
def test_what_a_process_has_started_is_found_without_a_look_at_all_processes(monkeypatch):
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {STARTS!r}])"
    with started(code) as process:
        process.stdout.readline()
        family = {one.pid for one in psutil.Process(process.pid).children(recursive=True)}
        monkeypatch.setattr(psutil, "pids", lambda: pytest.fail("asked for all processes"))
        assert {one.pid for one in Clock(process.pid, family=True)._processes()} == {process.pid, *family}
        assert len(family) == 2
        process.communicate(b"\n")


@pytest.mark.skipif(sys.platform != "linux", reason="only there a process outlives its first thread")
@pytest.mark.parametrize("family", [False, True])
def test_a_process_whose_first_thread_has_ended_sleeps_while_the_others_do(family):
    with started(ENDS) as process:
        process.stdout.readline()
        time.sleep(0.1)
        clock = Clock(process.pid, family=family)
        time.sleep(0.3)
        assert clock.look() >= 0.3
        process.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="states of threads are told there")
def test_a_process_whose_first_thread_waits_for_one_that_computes_is_not_asleep():
    with started(JOINS) as process:
        process.stdout.readline()
        clock = Clock(process.pid)
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.3)
        assert clock.look() >= 0.3
        process.send_signal(signal.SIGCONT)
        time.sleep(0.1)
        assert _runs(psutil.Process(process.pid))
        assert clock.threads() == 2
        process.kill()


def test_a_process_that_is_gone_counts_no_more():
    with started("") as process:
        clock = Clock(process.pid)
    assert clock.look() == 0
