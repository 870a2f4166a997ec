"""What clients had done: `.curate/mcp.jsonl` in the project's folder, two lines for each call of a verb, never changed.

    {"schema": 1, "call": "5f2c...", "event": "began", "time": ..., "client": "...", "tool": "run", "arguments": {...}}
    {"schema": 1, "call": "5f2c...", "event": "ended", "time": ..., "outcome": "done" | "failed" | "interrupted", ...}

A call that has no second line was going on when the server was killed. Servers beside each other add to one file: a
line is one write at its end, and on the disk before the work begins. No document's text is in it; what a client
said is blocked out where it looks personal.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from curate.dataset.runs import now
from curate.errors import MachineError
from curate.reports.text import mask
from curate.terminal import escaped, json_ready

__all__ = ["LOG", "Log"]

LOG = Path(".curate") / "mcp.jsonl"


class Log:
    """The log of a project.

    Attributes:
        path: Its file.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOG

    def begin(self, call: str, tool: str, arguments: dict[str, Any], client: str) -> None:
        """A call begins.

        Raises:
            MachineError: It cannot be written, so nothing may be done.
        """
        said = {"client": _masked(client), "tool": tool, "arguments": _masked(arguments)}
        self._add({"call": call, "event": "began", "time": now(), **said})

    def end(self, call: str, outcome: str, problem: str | None = None, result: dict[str, Any] | None = None) -> None:
        """A call ended: `done`, `failed` or `interrupted`."""
        more = {"result": result} if result else {}
        self._add(
            {"call": call, "event": "ended", "time": now(), "outcome": outcome, "problem": _masked(problem), **more}
        )

    def _add(self, line: dict[str, Any]) -> None:
        content = escaped(json.dumps(json_ready({"schema": 1, **line}))).encode("utf-8", "replace") + b"\n"
        try:
            self.path.parent.mkdir(exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise MachineError(f"the log cannot be written: {error.strerror}", str(self.path)) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            size = os.fstat(descriptor).st_size
            cut = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"  # of a server that was killed while it wrote
            if os.write(descriptor, b"\n" + content if cut else content) < len(content):
                raise MachineError("the log cannot be written: no space is left", str(self.path))
            os.fsync(descriptor)
        except OSError as error:
            raise MachineError(f"the log cannot be written: {error.strerror}", str(self.path)) from None
        finally:
            os.close(descriptor)


def _masked(value: Any) -> Any:
    """What a client said, or an error that repeats it."""
    if isinstance(value, dict):
        return {key: _masked(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_masked(one) for one in value]
    return mask(value[:2000]) if isinstance(value, str) else value
