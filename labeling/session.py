"""Answers that are given on this machine, kept one by one as they are given, then brought into the store.

A session is a file beside task.yaml, `.answers-<random>.jsonl`: each answer a line, on the disk before the next question. It is
locked while it is open. `collect` brings what ended sessions (also killed ones) hold into the log, in one entry, and removes
them; killed in between it does so again, and what is in the log by its `source` is not written twice.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING

from curate.dataset.store import Store
from curate.jsontext import dumps, loads
from curate.labeling.log import Answer, answers, append
from curate.labeling.task import Task

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Session", "collect"]

PREFIX = ".answers-"


class Session:
    """A file that answers are added to; a context manager."""

    def __init__(self, folder: Path) -> None:
        self.name = secrets.token_hex(8)
        self.path = folder / f"{PREFIX}{self.name}.jsonl"
        self.given = 0
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Session:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self._file = os.fdopen(descriptor, "ab", buffering=0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, answer: Answer) -> Answer:
        """Keep an answer; it is on the disk when this returns. Its `source` and time are made here."""
        assert self._file is not None, "the session is not open"
        now = datetime.now(UTC)
        whole = answer._replace(created=now, source=f"terminal/{self.name}/{self.given}")
        self.given += 1
        self._file.write((dumps({**whole._asdict(), "created": now.isoformat()}) + "\n").encode())
        os.fsync(self._file.fileno())
        return whole


def collect(store: Store, task: Task, folder: Path) -> int:
    """Bring the answers of ended sessions into the log; how many came."""
    with ExitStack() as held:
        files = [(path, held.enter_context(_locked(path))) for path in sorted(folder.glob(f"{PREFIX}*.jsonl"))]
        ended = [(path, file) for path, file in files if file is not None]
        if not ended:
            return 0
        known = {one.source for one in answers(store, task, every=True)}
        new = [one for _, file in ended for one in _answers(file.read()) if one.source not in known]
        append(store, task, "answers", new, {"from": "terminal"})
        for path, _ in ended:
            path.unlink(missing_ok=True)
        return len(new)


@contextmanager
def _locked(path: Path) -> Iterator[IO[bytes] | None]:
    """The file, locked; None while its session goes on."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        yield None
        return
    with file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield file


def _answers(content: bytes) -> list[Answer]:
    """The whole lines of a session; the last one of a killed session may be cut."""
    whole = content[: content.rfind(b"\n") + 1].splitlines()
    return [Answer(**{**row, "created": datetime.fromisoformat(row["created"])}) for row in map(loads, whole)]
