"""Runs that end after a step, as if they were interrupted there.

Importing this module makes a run whose folder has a file `until` fail before the step after the one that the file names,
and one beside whose folder stands a file of its name and `.waits` wait there until it is killed.
It is imported for that by the process that others are forked from (forked.py).
"""

from __future__ import annotations

import time
from contextlib import contextmanager

from curate.train.runs.process import _Run

UNTIL = "until"


class Interrupted(Exception):
    """The run has come to the step at which it is interrupted."""


@contextmanager
def interrupted(path, step):
    """A run in the folder is interrupted after the step; None: it is not."""
    file = path / UNTIL
    if step is None:
        yield
        return
    file.write_text(str(step))
    ended = False
    try:
        yield
    except (Interrupted, RuntimeError) as error:
        if "Interrupted" not in f"{type(error).__name__} {error}":
            raise
        ended = True
    finally:
        file.unlink()
    assert ended, f"the run was not interrupted after step {step}"


def _next(self):
    file = self.folder.path / UNTIL
    if file.is_file() and self.state.step >= int(file.read_text()):
        raise Interrupted
    waits = self.folder.path.with_suffix(".waits")
    if waits.is_file() and self.state.step == int(waits.read_text()):
        time.sleep(1000)  # until it is killed, however late that is
    _real(self)


if _Run._next.__module__ != __name__:
    _real, _Run._next = _Run._next, _next
