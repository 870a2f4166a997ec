"""Programs that a model wrote, run where they can do little harm: the jail of `reward: code` (Linux, x86-64 and ARM64).

    network      no socket can be made (seccomp)
    processes    none can be started, none signalled or looked into (seccomp); threads can, within the memory
    files        nothing is written outside its own folder, which is removed afterwards, and nothing read but there, in /usr,
                 /lib and /etc, and where Python is installed (Landlock)
    resources    CPU seconds, addresses, size of a file, open files (rlimits); five times these seconds asleep
    secrets      an empty environment; nothing of the standard input but the test's

What it does not keep a program from: asking which files there are, and using up processor time until its limit. What the
kernel lacks is refused by name, unless `isolation: best` asks for less.

This file is also the launcher: started by itself with the limits as JSON, it puts them on, and becomes the program. It
imports nothing of ours, so that a program costs two starts of Python.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import resource
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["GUARDS", "Outcome", "lacking", "run_python"]

GUARDS = {"no_network": "the network", "own_files": "files outside their folder"}
"""What programs are kept from, by the names in which the launcher speaks of them."""
FILE_BYTES, OPEN_FILES, MOST_OUTPUT = 16 << 20, 64, 1 << 20
SLEPT, LOOK = 5, 0.25
LACKING = 97
"""Exit code of the launcher where a guard cannot be put up."""

# Numbers of system calls that are refused, by machine; those of clone and clone3 are told apart by their flags.
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE3, _CLONE_THREAD, _X32 = 435, 0x10000, 0x40000000
_REFUSED = {
    # socket, fork, vfork, kill, tkill, tgkill, ptrace, process_vm_readv and writev, setsid, setpgid, mount, unshare, setns,
    # bpf, add_key, keyctl, perf_event_open, userfaultfd, shmget, msgget, semget, mq_open
    "x86_64": (
        41,
        57,
        58,
        62,
        200,
        234,
        101,
        310,
        311,
        112,
        109,
        165,
        272,
        308,
        321,
        248,
        250,
        298,
        323,
        29,
        68,
        64,
        240,
    ),
    "aarch64": (198, 129, 130, 131, 117, 270, 271, 157, 154, 40, 97, 268, 280, 217, 219, 241, 282, 194, 186, 190, 180),
}
_REFUSED_EVERYWHERE = (425, 434, 424)  # io_uring_setup, pidfd_open, pidfd_send_signal


class Outcome(NamedTuple):
    """How a program ended.

    Attributes:
        code: Its exit code; below 0 the signal that ended it; None where it slept too long.
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
    with tempfile.TemporaryDirectory(prefix="jail-") as folder:
        inside = Path(folder, "inside")
        inside.mkdir()
        (inside / "program.py").write_text(source, encoding="utf-8", errors="replace")
        limits = {"folder": str(inside), "seconds": seconds, "memory": memory, "needs": list(needs)}
        words = Path(folder, "input")
        words.write_text(given, encoding="utf-8", errors="replace")
        with words.open("rb") as read, Path(folder, "output").open("w+b") as written:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__, json.dumps(limits)],
                stdin=read, stdout=written, stderr=subprocess.DEVNULL, cwd=inside,
                env={"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": str(inside), "TMPDIR": str(inside)},
            )  # fmt: skip
            try:
                code = _ended(process, seconds)
            finally:
                process.kill()  # it has no children
                process.wait()
            written.seek(0)
            return Outcome(code, written.read(MOST_OUTPUT).decode(errors="replace"))


def _ended(process: subprocess.Popen[bytes], seconds: int) -> int | None:
    """Its exit code; None where it slept too long. What it waits for a processor that others use does not count."""
    from curate.pipeline.clock import Clock  # not by the launcher, which knows this file alone

    clock = Clock(process.pid)
    while True:
        try:
            return process.wait(LOOK)
        except subprocess.TimeoutExpired:
            if clock.look() > SLEPT * seconds:
                return None


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
        libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG: it ends when the process that judges does
        libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
        up += ["own_files"] if _keep_to(libc, told["folder"]) else []
        up += ["no_network"] if _refuse_calls(libc) else []
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


def _keep_to(libc: ctypes.CDLL, folder: str) -> bool:
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
    allowed = {path: read for path in _readable()}
    allowed |= {folder: read | to_files | to_folders, "/dev/null": 1 << 2 | to_files, "/dev/urandom": 1 << 2}
    for path, deeds in allowed.items():
        opened = os.open(path, os.O_PATH)
        rule = ctypes.create_string_buffer(struct.pack("<Qi", deeds, opened), 12)
        if libc.syscall(add, rules, 1, rule, 0):
            return False
        os.close(opened)
    return libc.syscall(restrict, rules, 0) == 0


def _readable() -> set[str]:
    """Folders of the system and of Python, which a program needs to run."""
    python = Path(sys.executable)
    installed = (sys.prefix, sys.base_prefix, str(python.parent.parent), str(python.resolve().parent.parent))
    return {path for path in ("/usr", "/lib", "/lib64", "/etc", *installed) if Path(path).is_dir()}


def _refuse_calls(libc: ctypes.CDLL) -> bool:
    """Seccomp: no sockets, processes, or what reaches into others; whether the kernel has it, and we know the machine."""
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        return False
    load, jump_equal, jump_least, jump_bits, give = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, end, refuse, unknown = 0x7FFF0000, 0x80000000, 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
    steps = [(load, 0, 0, 4), (jump_equal, 1, 0, _ARCHITECTURES[machine]), (give, 0, 0, end), (load, 0, 0, 0)]
    steps += [(jump_least, 0, 1, _X32), (give, 0, 0, refuse)]
    for number in (*_REFUSED[machine], *_REFUSED_EVERYWHERE):
        steps += [(jump_equal, 0, 1, number), (give, 0, 0, refuse)]
    steps += [(jump_equal, 0, 1, _CLONE3), (give, 0, 0, unknown)]  # libraries then take clone, whose flags can be seen
    steps += [
        (jump_equal, 0, 3, _CLONE[machine]),
        (load, 0, 0, 16),
        (jump_bits, 1, 0, _CLONE_THREAD),
        (give, 0, 0, refuse),
    ]
    steps += [(give, 0, 0, allow)]
    code = b"".join(struct.pack("<HBBI", *step) for step in steps)
    filters = ctypes.create_string_buffer(code, len(code))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(filters)))
    return libc.prctl(22, 2, program, 0, 0) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


if __name__ == "__main__":
    main()
