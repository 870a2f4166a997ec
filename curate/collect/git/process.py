"""Git as a process: told everything, believed to hang, and killed with all that it started.

A hostile folder can make git wait for ever (a named pipe in place of a file of its own), so what it says is waited for, for
5 minutes at most, and what is run against an address is a session of its own, which ends as a whole.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Sequence
from typing import IO

from curate.errors import CurateError

__all__ = ["SAFE", "environment", "run_limited", "said", "some_of", "started"]

SECONDS = 300.0
"""For which git may say nothing."""
SAFE = (
    "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0",
    "-c", "maintenance.auto=false", "-c", "credential.helper=",
)  # fmt: skip


def environment(home: str, protocols: str) -> dict[str, str]:
    """All that git is told: variables of the user's may lead it elsewhere."""
    return {
        "PATH": os.environ.get("PATH", os.defpath), "HOME": home, "LC_ALL": "C", "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "", "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_LAZY_FETCH": "1", "GIT_NO_REPLACE_OBJECTS": "1", "GIT_ALLOW_PROTOCOL": protocols,
    }  # fmt: skip


def started(arguments: Sequence[str], wrong: IO[bytes], *, asked: bool = False) -> subprocess.Popen[bytes]:
    """Git, with what it says of errors in a file: a pipe that nobody empties would stop it."""
    stdin = subprocess.PIPE if asked else subprocess.DEVNULL
    told = environment(os.devnull, "none")
    try:
        return subprocess.Popen(
            ["git", *SAFE, *arguments], bufsize=0, env=told, stdin=stdin, stdout=subprocess.PIPE, stderr=wrong
        )
    except FileNotFoundError:
        raise CurateError("git is not installed, or not on PATH", hint="install it: `apt-get install git`") from None


def some_of(git: subprocess.Popen[bytes]) -> bytes:
    """The next bytes that it says, at most 1 MiB; none at the end.

    Raises:
        CurateError: It says nothing for too long; it is killed.
    """
    assert git.stdout
    waiting = select.poll()
    waiting.register(git.stdout, select.POLLIN)
    if not waiting.poll(SECONDS * 1000):
        git.kill()
        raise CurateError(
            f"git says nothing for {SECONDS:g} seconds, and was ended",
            hint="`git fsck` there says what is damaged; is one of its files a named pipe?",
        )
    return os.read(git.stdout.fileno(), 1 << 20)


def run_limited(command: Sequence[str], home: str, wrong: IO[bytes], *, seconds: float, most: int) -> int | None:
    """Run git against addresses of the web; its exit code, or None where it took longer than `seconds`.

    Args:
        command: What git is told.
        home: A folder of its own.
        wrong: Takes what it says of errors.
        seconds: Most that it may take; then it ends, with every process that it started.
        most: Bytes of the largest file that it may write; its memory may be 4 GiB more.
    """
    limits = f'ulimit -f {max(1, most // 512)}; ulimit -v {(most + (4 << 30)) // 1024}; exec git "$@"'
    git = subprocess.Popen(
        ["/bin/sh", "-c", limits, "git", *SAFE, *command], env=environment(home, "http:https"),
        stdin=subprocess.DEVNULL, stderr=wrong, start_new_session=True,
    )  # fmt: skip
    try:
        return git.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if git.returncode is None:
            os.killpg(git.pid, signal.SIGKILL)
            git.wait()


def said(wrong: IO[bytes]) -> str:
    """The last line that git says of an error."""
    wrong.seek(0)
    lines = wrong.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1].removeprefix("fatal: ").removeprefix("error: ") if lines else ""
