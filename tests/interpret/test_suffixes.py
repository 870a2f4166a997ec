"""The index of tokens: whole or not there, made by one, gone with its pack."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pydivsufsort
import pytest

from curate.dataset.care import collect_garbage
from curate.erasure.erase import erase
from curate.erasure.subject import read_subject
from curate.errors import MachineError, ResumableError
from curate.files import WRITING
from curate.interpret import suffixes
from curate.interpret.trace import trace
from tests.interpret.conftest import WHALE, rows

BUILDING = """
import os, sys
from pathlib import Path
from curate.dataset.store import Store
from curate.interpret import suffixes, trace
if sys.argv[2] == "killed":
    whole = suffixes._sorted
    def stop(*given):
        for block in whole(*given):
            yield block
            os.kill(os.getpid(), 9)
    suffixes._sorted = stop
found = trace.trace(sys.argv[3], Path(sys.argv[1]) / "runs/small", Store.open(sys.argv[1] + "/.curate"), say=print)
print(len(found["spans"]))
"""


def told(project):
    """Spans, and what was said."""
    said = []
    found = trace(f"Once {WHALE}", project.folder / "runs/small", project.store, say=said.append)
    return found["spans"], said


def index(project) -> Path:
    """The index file."""
    (found,) = (project.folder / ".curate/tokens").glob("*/*.suffixes")
    return found


def left(project) -> list[str]:
    """What was left half written."""
    return [path.name for path in (project.folder / ".curate").rglob(f"{WRITING}*")]


def started(project, how):
    command = [sys.executable, "-c", BUILDING, str(project.folder), how, f"Once {WHALE}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_it_is_made_once_and_found(project):
    spans, said = told(project)
    assert len(said) == 1 and said[0].startswith("sorting ")
    assert told(project) == (spans, [])


@pytest.mark.parametrize("place", [3, 520, -1])
def test_one_that_is_damaged_or_of_other_tokens_is_made_anew(project, place):
    spans, _ = told(project)
    content = bytearray(index(project).read_bytes())
    content[place] ^= 1
    index(project).write_bytes(content)
    again, said = told(project)
    assert (again, len(said)) == (spans, 1)
    index(project).write_bytes(index(project).read_bytes()[:-4])
    assert told(project)[0] == spans


@pytest.mark.slow
def test_a_killed_builder_leaves_nothing_wrong(project):
    wanted = told(project)[0]
    index(project).unlink()
    with started(project, "killed") as process:
        assert process.wait() == -signal.SIGKILL
    (name,) = left(project)
    assert not list((project.folder / ".curate/tokens").glob("*/*.suffixes"))
    old = time.time() - 600
    os.utime(project.folder / ".curate/tokens" / name, (old, old))
    assert told(project)[0] == wanted
    assert left(project) == []


@pytest.mark.slow
def test_of_two_that_need_it_at_once_one_makes_it(project):
    processes = [started(project, "whole") for _ in range(2)]
    said = [process.communicate()[0].splitlines() for process in processes]
    assert [lines[-1] for lines in said] == ["1", "1"]
    assert sum(len(lines) - 1 for lines in said) == 1
    assert left(project) == []


def test_of_two_threads_one_makes_it(project):
    found = []
    threads = [threading.Thread(target=lambda: found.append(told(project))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0][0] == found[1][0]
    assert sum(len(said) for _, said in found) == 1


def test_a_full_disk_is_told_and_leaves_nothing(project, monkeypatch):
    def full(*given):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(ResumableError) as error:
        patch.setattr(suffixes, "_counts", full)
        told(project)
    assert error.value.problem == "the index of the tokens cannot be written: No space left on device"
    assert error.value.hint == "make room for 4 bytes a token, and run the same command again"
    assert left(project) == []
    assert told(project)[0]


def test_a_store_that_cannot_be_written_is_told(project, monkeypatch):
    def refused(path):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(suffixes, "alone", refused)
    with pytest.raises(ResumableError, match="the index of the tokens cannot be written: Permission denied"):
        told(project)


def test_a_missing_package_is_named(project, monkeypatch):
    monkeypatch.setattr(suffixes, "find_spec", lambda name: None)
    with pytest.raises(MachineError, match="tracing needs pydivsufsort") as error:
        told(project)
    assert error.value.hint == "pip install 'curate-lm[trace]'"


def test_garbage_collection_removes_it_with_the_tokens_of_a_version_that_goes(project):
    told(project)
    assert index(project).exists()
    kept = index(project)
    collect_garbage(project.store, keep_days=0, keep_last=1, dry_run=False)
    assert kept.exists()
    project.make([{**one, "text": one["text"] + "!"} for one in rows()])
    collect_garbage(project.store, keep_days=0, keep_last=1, dry_run=False)
    assert not kept.exists()


def test_an_erasure_removes_it_and_the_trace_says_so(project):
    told(project)
    assert index(project).exists()
    (project.folder / "subject.yaml").write_text("emails: [ann@example.org]\n")
    erase(project.store, read_subject(project.folder / "subject.yaml"), say=lambda words: None)
    assert not list((project.folder / ".curate").rglob("*.suffixes"))
    with pytest.raises(Exception, match="that run `small` was given are gone from the store"):
        told(project)


def test_the_order_of_bytes_is_that_of_tokens_of_any_width():
    import numpy as np

    tokens = np.array([70_000, 3, 255, 256, 65_536], np.uint32)
    for width in (3, 4):
        order = pydivsufsort.divsufsort(suffixes._big_endian(tokens, width))
        order = order[order % width == 0] // width
        assert order.tolist() == sorted(range(5), key=lambda place: tokens[place:].tolist())
