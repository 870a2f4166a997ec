"""Answers that are given on this machine, kept one by one as they are given, then brought into the store.

A session is a file beside task.yaml, `.answers-<who>-<random>.jsonl`: which store and task it is about, then each answer a
line, on the disk before the next question. It is locked while it is open. `collect` brings what ended sessions (also killed
ones) hold into the log, in one entry, and removes them; killed in between it does so again, and what is in the log by its
`source` is not written twice.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from curate.dataset.erased import Erased
from curate.dataset.store import Store
from curate.errors import CurateError
from curate.jsontext import dumps, loads
from curate.labeling.crowd import Key
from curate.labeling.log import Answer, append_answers
from curate.labeling.task import Task

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Session", "collect"]

PREFIX, LOCK = ".answers-", ".asking"


class Session:
    """A file that answers are added to; a context manager.

    What one person is asked, or has answered since, another one is not asked at the same time, unless as many people as are
    needed are not there yet: sessions of one task beside each other share its questions.

    Raises:
        CurateError: Another session of the same person is open.
    """

    def __init__(self, folder: Path, store: Store, task: Task, who: str) -> None:
        mine = f"{PREFIX}{hashlib.sha256(who.encode()).hexdigest()[:8]}-"
        for path in folder.glob(f"{mine}*.jsonl"):
            with _locked(path) as file:
                if file is None:
                    hint = "end it, or answer as somebody else (--as NAME)"
                    raise CurateError(f"another session of `{who}` is open", str(path), hint)
        self.name = secrets.token_hex(8)
        self.path = folder / f"{mine}{self.name}.jsonl"
        self.given = 0
        self._others: set[Path] = set()
        self._head = _head(store, task)
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Session:
        while self._file is None:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_at(descriptor, self.path):
                self._file = os.fdopen(descriptor, "ab", buffering=0)
            else:  # somebody collected it before it was locked
                os.close(descriptor)
        self._write(self._head)
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
        self._write({**whole._asdict(), "created": now.isoformat()})
        return whole

    def claim(self, key: Key, missing: int) -> bool:
        """Have a question for oneself; whether other people leave one of its `missing` answers to us."""
        with (self.path.parent / LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._others = set(self._beside())
            taken = Counter(held for path in self._others for held in _held(path, self._head))
            if taken[key] < missing:
                self._write({"asked": [*key]})
            return taken[key] < missing

    def others_ended(self) -> bool:
        """Whether a session that was there when a question was last claimed has been brought into the log since."""
        return bool(self._others - set(self._beside()))

    def _beside(self) -> list[Path]:
        return [path for path in self.path.parent.glob(f"{PREFIX}*.jsonl") if path != self.path]

    def _write(self, row: dict[str, Any]) -> None:
        assert self._file is not None, "the session is not open"
        left = memoryview((dumps(row) + "\n").encode())
        while left:
            left = left[self._file.write(left) :]
        os.fsync(self._file.fileno())


def _head(store: Store, task: Task) -> dict[str, Any]:
    place = store.location
    return {"store": place if "://" in place else str(Path(place).resolve()), "task": task.name}


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


def collect(store: Store, task: Task, folder: Path) -> int:
    """Bring the answers of ended sessions of this task and store into the log; how many came.

    What was erased meanwhile does not come.
    """
    head = _head(store, task)
    with ExitStack() as held:
        files = [(path, held.enter_context(_locked(path))) for path in sorted(folder.glob(f"{PREFIX}*.jsonl"))]
        ended = [(path, _rows(file.read())) for path, file in files if file is not None]
        ours = [(path, rows[1:]) for path, rows in ended if not rows or rows[0] == head]
        if not ours:
            return 0
        erased = Erased.of(store)
        given = [
            Answer(**{**row, "created": datetime.fromisoformat(row["created"])})
            for _, rows in ours
            for row in rows
            if "asked" not in row
        ]
        name = task.dataset.partition("@")[0]
        there = [one for one in given if not (erased and erased.gone(one.id, name))]
        count = append_answers(store, task, there, {"from": "terminal"})
        for path, _ in ours:
            path.unlink(missing_ok=True)
        return count


def _held(path: Path, head: dict[str, Any]) -> set[Key]:
    """The questions that a session has answered, and, while it goes on, the one that it asks."""
    with suppress(FileNotFoundError), _locked(path) as ended:
        first, *rows = _rows(path.read_bytes()) or [{}]
        held: dict[Key, bool] = {}
        for row in rows if first == head else []:
            asked = "asked" in row
            held[tuple(row["asked"]) if asked else (row["id"], row["hash"])] = asked or row["value"] is not None
        if ended is not None and rows and "asked" in rows[-1]:
            held.pop(tuple(rows[-1]["asked"]), None)
        return {key for key, is_held in held.items() if is_held}
    return set()


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


def _rows(content: bytes) -> list[dict[str, Any]]:
    """The whole lines of a session: its head, then answers; a line of a killed one may be cut."""
    rows: list[dict[str, Any]] = []
    for line in content.split(b"\n")[:-1]:
        with suppress(ValueError):
            rows.append(loads(line))
    return rows
