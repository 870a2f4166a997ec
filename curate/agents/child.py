"""A command of curate as a process of its own: what it prints with `--json` is what comes back.

So a tool does what the command does, loads a stage's code as it stands now, has its own memory, and can be ended. At
the end of its time, when the call is cancelled, or when the client goes away, the process is told to end (SIGTERM), and
ends as after Ctrl-C: what is finished is kept. `GRACE` seconds later it is killed with all that it started. If this
process is killed, the kernel tells it to end.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from curate.agents.project import Project
from curate.agents.tool import Say
from curate.errors import CurateError, ResumableError
from curate.terminal import visible

if TYPE_CHECKING:
    from anyio.abc import ByteReceiveStream, Process

__all__ = ["GRACE", "aside", "command"]

Result = TypeVar("Result")
GRACE = 8.0
REST = 2.0
"""Seconds for what it printed last, once it has ended."""
MOST_PRINTED = 64 << 20
"""Bytes of JSON that a command may print."""
MOST_LINE = 500
_ENDS_WITH_US = (
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGTERM) if sys.platform == 'linux' else None; "
    "os.getppid() == int(sys.argv[1]) or sys.exit(143); os.execv(sys.argv[2], sys.argv[2:])"
)
"""PR_SET_PDEATHSIG, kept by exec; and not started where who asked is gone already."""


async def aside(function: Callable[..., Result], *arguments: Any, **named: Any) -> Result:
    """What a function gives that reads files and loads stages: in a thread, so the client is answered meanwhile."""
    import anyio

    return await anyio.to_thread.run_sync(partial(function, *arguments, **named), abandon_on_cancel=True)


async def command(
    project: Project, words: Sequence[str], *, minutes: float, say: Say, module: str = "curate.cli"
) -> dict[str, Any]:
    """What `curate WORDS --json` prints.

    Args:
        project: In whose folder it runs.
        words: The command and its arguments, without `--store` and `--json`.
        minutes: After how many it is ended.
        say: Told each line that it says on the way.
        module: What is called instead of the command line, and prints as it does.

    Raises:
        CurateError: The command failed, with its errors; `result` is what it had made.
        ResumableError: It took longer than it may.
    """
    import anyio

    start = [sys.executable, "-c", _ENDS_WITH_US, str(os.getpid())]
    process = await anyio.open_process(
        [*start, sys.executable, "-P", "-m", module, *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=project.folder,
        start_new_session=True,
    )  # fmt: skip
    printed, last = bytearray(), [""]
    try:
        with anyio.move_on_after(60 * minutes) as time:
            async with anyio.create_task_group() as reading:
                assert process.stdout and process.stderr
                reading.start_soon(_keep, process.stdout, printed)
                reading.start_soon(_repeat, process.stderr, say, last)
                await _ended(process)
                reading.cancel_scope.deadline = anyio.current_time() + REST  # a child of it may hold the pipes
    finally:
        with anyio.CancelScope(shield=True):
            await _end(process)
    if time.cancelled_caught:
        raise ResumableError(
            f"it took longer than {minutes:g} minutes, and was ended",
            hint="what is finished is kept: the same call goes on from there",
        )
    return _outcome(process.returncode, bytes(printed), last[0])


async def _keep(stream: ByteReceiveStream, printed: bytearray) -> None:
    async for some in stream:
        if len(printed) + len(some) <= MOST_PRINTED:
            printed += some


async def _repeat(stream: ByteReceiveStream, say: Say, last: list[str]) -> None:
    """Say whole lines as they come."""
    rest = b""
    async for some in stream:
        *lines, rest = (rest + some).split(b"\n")
        rest = rest[-MOST_LINE:]
        for line in lines:
            words = visible(line[:MOST_LINE].decode("utf-8", "replace"), in_one_line=True).strip()
            if words and not words.startswith(("error:", "at:", "hint:")):  # the JSON has these
                last[0] = words
                await say(words)


async def _end(process: Process) -> None:
    """See to it that nothing of it is left, nor of what it started."""
    import anyio

    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.terminate()
        with anyio.move_on_after(GRACE):
            await _ended(process)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await _ended(process)
    await process.aclose()


async def _ended(process: Process) -> None:
    """Wait for its end alone: `wait` is for the end of its pipes, too, which what it started may hold."""
    import anyio

    while process.returncode is None:
        await anyio.sleep(0.02)


def _outcome(code: int | None, printed: bytes, last: str) -> dict[str, Any]:
    try:
        told = json.loads(printed)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with {code}"
        raise CurateError(f"the command {how}, and told nothing", hint=last or "is there memory and disk enough?")
    told.pop("schema", None)
    errors = told.pop("errors", None)
    if code == 0 and errors is None:
        return told
    raise _Failed(errors or [{"problem": f"the command ended with {code}", "where": None, "hint": None}], told)


class _Failed(CurateError):
    """The errors of a command, as it told them."""

    def __init__(self, errors: list[dict[str, str | None]], result: dict[str, Any]) -> None:
        super().__init__("; ".join(str(one["problem"]) for one in errors))
        self._errors, self.result = errors, result

    def records(self) -> list[dict[str, str | None]]:
        """One record for each problem."""
        return self._errors
