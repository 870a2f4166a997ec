"""Programs that a model wrote, run where they can do little harm: the jail of `reward: code` (Linux, x86-64 and ARM64).

    network      no socket can be made but a pair of its own (seccomp)
    processes    none can be started, none signalled, slowed, limited or looked into (seccomp, by a list of what is allowed:
                 calls.py); threads can, within the memory. As root, it has no capabilities
    files        nothing is written outside its own folder, which is removed afterwards, and no owner, mode, time or attribute
                 changed anywhere (seccomp); nothing read but there, in /usr, /lib, what the C library reads in /etc, and the
                 libraries of Python (Landlock)
    resources    CPU seconds, addresses, size of a file, open files (rlimits); five times these seconds asleep, and sixty
                 times on the clock
    looked at    four times a second: it is ended where its folder holds more than MOST_DISK or MOST_FILES, or it has more
                 than MOST_THREADS. What it does between two looks is not bounded by this, nor are files that it has removed
                 and keeps open (OPEN_FILES of FILE_BYTES, 1 GiB)
    secrets      an empty environment; nothing of the standard input but the test's

What it does not keep a program from: asking which files there are, and their sizes; filling the disk up to what is said above;
using up processor time until its limit; and faults of the kernel. What the kernel lacks is refused by name, unless
`isolation: best` asks for less.

This file is also the launcher: started by itself with the limits as JSON, it puts them on, and becomes the program. It
imports nothing of ours, so that a program costs two starts of Python.
"""

from __future__ import annotations

import ctypes
import json
import os
import pwd
import resource
import shutil
import signal
import struct
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

__all__ = ["GUARDS", "Outcome", "lacking", "readable", "remove", "run_python"]

GUARDS = {"no_network": "the network", "own_files": "files outside their folder"}
"""What programs are kept from, by the names in which the launcher speaks of them."""
FILE_BYTES, OPEN_FILES, MOST_OUTPUT = 16 << 20, 64, 1 << 20
MOST_DISK, MOST_FILES, MOST_THREADS = 64 << 20, 1000, 256
SLEPT, LASTED, LOOK = 5, 60, 0.25
"""Seconds asleep and in all, for each second of the processor; between two looks."""
_SYSTEM = (
    "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/etc/passwd", "/etc/group", "/etc/nsswitch.conf",
    "/etc/mime.types",
)  # fmt: skip
LACKING = 97
"""Exit code of the launcher where a guard cannot be put up."""


class Outcome(NamedTuple):
    """How a program ended.

    Attributes:
        code: Its exit code; below 0 the signal that ended it; None where it slept, lasted or kept too much.
        output: The first mebibyte of what it printed.
    """

    code: int | None
    output: str


def run_python(
    source: str, *, given: str = "", seconds: int, memory: int, needs: Sequence[str] = tuple(GUARDS)
) -> Outcome:
    """Run a program of Python in the jail.

    Args:
        source: The program.
        given: Its standard input.
        seconds: Of the processor.
        memory: MiB of addresses.
        needs: Guards without which it is not run.
    """
    from curate.train.rewards.calls import call_filter  # not by the launcher, which knows this file alone

    allowed = call_filter()
    folder = tempfile.mkdtemp(prefix="jail-")
    try:
        inside = Path(folder, "inside")
        inside.mkdir()
        (inside / "program.py").write_text(source, encoding="utf-8", errors="replace")
        limits = {
            "folder": str(inside), "seconds": seconds, "memory": memory, "needs": list(needs), "judge": os.getpid(),
            "readable": readable(), "calls": allowed.hex() if allowed else "",
        }  # fmt: skip
        words = Path(folder, "input")
        words.write_text(given, encoding="utf-8", errors="replace")
        with words.open("rb") as read, Path(folder, "output").open("w+b") as written:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__, json.dumps(limits)],
                stdin=read, stdout=written, stderr=subprocess.DEVNULL, cwd=inside,
                env={"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": str(inside), "TMPDIR": str(inside)},
            )  # fmt: skip
            try:
                code = _ended(process, seconds, folder)
            finally:
                process.kill()  # it has no children
                process.wait()
            written.seek(0)
            return Outcome(code, written.read(MOST_OUTPUT).decode(errors="replace"))
    finally:
        remove(folder)


def _ended(process: subprocess.Popen[bytes], seconds: int, folder: str) -> int | None:
    """Its exit code; None where it slept, lasted or kept too much. Waiting for a processor that others use is no sleep."""
    from curate.pipeline.clock import Clock

    clock, last = Clock(process.pid), time.monotonic() + LASTED * seconds
    while True:
        try:
            return process.wait(LOOK)
        except subprocess.TimeoutExpired:
            if clock.look() > SLEPT * seconds or time.monotonic() > last or clock.threads() > MOST_THREADS:
                return None
            if _keeps_too_much(folder):
                return None


def _keeps_too_much(folder: str) -> bool:
    """Whether a folder holds more bytes or files than one of a program may, or paths too long to be followed."""
    waiting, files, held = [folder], 0, 0
    while waiting:
        try:
            with os.scandir(waiting.pop()) as found:
                for one in found:
                    files, held = files + 1, held + one.stat(follow_symlinks=False).st_blocks * 512
                    if files > MOST_FILES or held > MOST_DISK:
                        return True
                    waiting += [one.path] if one.is_dir(follow_symlinks=False) else []
        except (FileNotFoundError, NotADirectoryError):  # it has just been removed
            continue
        except OSError:
            return True
    return False


def remove(folder: str) -> None:
    """A folder with all that programs left in it, folders in folders too deep for Python's own way included."""
    with suppress(OSError, RecursionError):
        shutil.rmtree(folder)
    if os.path.lexists(folder):
        subprocess.run(["rm", "-rf", "--", folder], check=True)


def readable() -> list[str]:
    """Folders and files of the system and of Python, which a program needs to run; never / or a folder with our home."""
    installed = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    installed |= {
        str(Path(prefix, part))
        for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix)
        for part in ("lib", "lib64", "pyvenv.cfg")
    }
    installed |= {sys.executable}
    homes = [Path.home().resolve(), Path(pwd.getpwuid(os.getuid()).pw_dir).resolve()]
    kept = {Path("/"), *homes, *(above for home in homes for above in home.parents)}
    return [*_SYSTEM, *sorted(path for path in installed if Path(path).resolve() not in kept)]


def lacking() -> list[str]:
    """The guards that this machine does not have."""
    return [guard for guard in GUARDS if run_python("", seconds=10, memory=1024, needs=[guard]).code == LACKING]


# ---- the launcher


def main() -> None:
    """Put up the guards, and become the program."""
    told = json.loads(sys.argv[1])
    libc = ctypes.CDLL(None, use_errno=True)
    _limit(told["seconds"], told["memory"])
    up = []
    if sys.platform == "linux":
        _drop_capabilities(libc)
        libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
        libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG: it ends when the process that judges does
        if os.getppid() != told["judge"]:
            os._exit(LACKING)  # it has ended already
        up += ["own_files"] if _keep_to(libc, told["folder"], told["readable"]) else []
        up += ["no_network"] if _allow_calls(libc, bytes.fromhex(told["calls"])) else []
    if not set(told["needs"]) <= set(up):
        os._exit(LACKING)
    os.execv(sys.executable, [sys.executable, "-I", "program.py"])  # noqa: S606


def _limit(seconds: int, memory: int) -> None:
    for kind, most in (
        (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_AS, memory << 20), (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_NOFILE, OPEN_FILES), (resource.RLIMIT_CORE, 0),
    ):  # fmt: skip
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """All of them, for good: else root raises its limits again, and renames the machine."""
    for one in range(64):
        libc.prctl(24, one, 0, 0, 0)  # PR_CAPBSET_DROP
    libc.prctl(28, 0b11, 0, 0, 0)  # PR_SET_SECUREBITS: NOROOT, locked
    libc.capset(struct.pack("<Ii", 0x20080522, 0), bytes(24))  # _LINUX_CAPABILITY_VERSION_3


def _keep_to(libc: ctypes.CDLL, folder: str, readable: Sequence[str]) -> bool:
    """Landlock: write in the folder only, read there and what is of the system; whether the kernel has it.

    It does from 5.13 on; cutting files of others short is refused from 6.2 on.
    """
    create, add, restrict = 444, 445, 446
    version = libc.syscall(create, None, 0, 1)
    if version < 1:
        return False
    read = 1 << 2 | 1 << 3
    to_files = 1 << 1 | (1 << 14 if version >= 3 else 0)  # write, truncate
    to_folders = sum(1 << bit for bit in range(4, 13)) | (1 << 13 if version >= 2 else 0)  # remove, make, move
    handled = ctypes.create_string_buffer(struct.pack("<Q", read | to_files | to_folders), 8)
    rules = libc.syscall(create, handled, 8, 0)
    allowed = {path: read if Path(path).is_dir() else 1 << 2 for path in readable if Path(path).exists()}
    allowed |= {folder: read | to_files | to_folders, "/dev/null": 1 << 2 | to_files, "/dev/urandom": 1 << 2}
    for path, deeds in allowed.items():
        opened = os.open(path, os.O_PATH)
        rule = ctypes.create_string_buffer(struct.pack("<Qi", deeds, opened), 12)
        if libc.syscall(add, rules, 1, rule, 0):
            return False
        os.close(opened)
    return libc.syscall(restrict, rules, 0) == 0


def _allow_calls(libc: ctypes.CDLL, code: bytes) -> bool:
    """Seccomp: whether the kernel has it, and we know the machine."""
    filters = ctypes.create_string_buffer(code, len(code))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, ctypes.addressof(filters)))
    return bool(code) and libc.prctl(22, 2, program, 0, 0) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


if __name__ == "__main__":
    main()
