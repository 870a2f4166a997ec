"""metrics.jsonl: a line a step."""

from __future__ import annotations

import json
from math import isfinite
from pathlib import Path
from typing import Any, Self

from curate.errors import CurateError
from curate.files import write_durably

__all__ = ["Metrics", "read_metrics"]


class Metrics:
    """The lines of metrics.jsonl, up to the step from which the run goes on.

    Lines after it were written by a process that died before its next checkpoint: those steps are done again.
    """

    def __init__(self, path: Path, *, after: int) -> None:
        kept = [record for record in read_metrics(path) if record["step"] <= after]
        self.path = path
        write_durably(path, b"".join(json.dumps(record).encode() + b"\n" for record in kept))
        self.stream = path.open("a")
        self.seconds = sum(record["seconds"] for record in kept)
        self.last = kept[-1] if kept else {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()

    def records(self) -> list[dict[str, Any]]:
        """All lines so far."""
        return read_metrics(self.path)

    @property
    def tokens(self) -> int:
        """Targets seen so far."""
        return self.last.get("tokens", 0)

    def add(self, record: dict[str, Any]) -> None:
        """Write a line; numbers that are not finite, which JSON does not have, become null."""
        self.stream.write(json.dumps(_finite(record), allow_nan=False) + "\n")
        self.stream.flush()
        self.seconds += record["seconds"]
        self.last = record


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(some) for name, some in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(some) for some in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file; a last one that was cut short is left out.

    Raises:
        CurateError: Another one is damaged.
    """
    lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
    records: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        try:
            records += [json.loads(line)] if line.endswith("\n") else []
        except ValueError:
            raise CurateError(f"line {number} is damaged", str(path), "remove that line") from None
    return records
