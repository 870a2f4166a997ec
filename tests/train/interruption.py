"""Runs that end after a step, as if they were interrupted there.

Importing this module makes a run whose folder has a file `until` fail before the step after the one that the file names.
It is imported for that by the process that `quick_processes` forks the processes of a run from.
"""

from __future__ import annotations

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
    _real(self)


if _Run._next.__module__ != __name__:
    _real, _Run._next = _Run._next, _next
