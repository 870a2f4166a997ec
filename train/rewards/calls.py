"""What a program in the jail may ask of the kernel: system calls by a list of what is allowed, and the filter made of it.

A list of what is refused is never whole: the kernel gets new calls, and old ones reach further than they seem to (limits,
priorities and signals of other processes, owners and modes of files that cannot be written). So there stands what programs
need. Some have arguments that decide; numbers from 424 on, which libraries try first and can do without, are "not there",
others "not permitted". Numbers are those of asm/unistd_64.h and asm-generic/unistd.h of Linux 6.1; the filter is that
of seccomp(2), classic BPF. Costs a few microseconds for each start.
"""

from __future__ import annotations

import errno
import platform
import struct

__all__ = ["MACHINES", "call_filter"]

MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""How the kernel names the machines whose numbers are known."""
NEW = 424

_ALLOWED = {
    "x86_64": (
        # read, write, lseek, open, close, stat, access, readlink, getdents, getcwd, dup, pipe, sync, truncate, rename, mkdir,
        # link, unlink, symlink, and their kin
        *(
            0,
            1,
            19,
            20,
            17,
            18,
            295,
            296,
            8,
            40,
            326,
            2,
            257,
            437,
            3,
            436,
            4,
            5,
            6,
            262,
            332,
            137,
            138,
            21,
            269,
            439,
            89,
            267,
        ),
        *(
            78,
            217,
            79,
            80,
            81,
            95,
            32,
            33,
            292,
            22,
            293,
            74,
            75,
            76,
            77,
            285,
            221,
            82,
            264,
            316,
            83,
            258,
            84,
            86,
            265,
            87,
            263,
        ),
        *(88, 266),
        # poll, select, epoll, eventfd, nanosleep, pause, alarm, itimers
        *(7, 271, 23, 270, 213, 291, 233, 232, 281, 284, 290, 35, 230, 34, 37, 38, 36),
        # mmap, mprotect, munmap, mremap, brk, msync, mincore, madvise, mlock, munlock, membarrier, get_mempolicy
        *(9, 10, 11, 25, 12, 26, 27, 28, 149, 150, 324, 239),
        # futex, robust lists, rseq, set_tid_address, gettid, sched_yield, sched_get*, getcpu, arch_prctl, exit, execve
        *(202, 273, 274, 334, 218, 186, 24, 204, 143, 145, 146, 147, 309, 158, 60, 231, 59, 219),
        # rt_sigaction, procmask, return, pending, timedwait, suspend, sigaltstack: of its own signals
        *(13, 14, 15, 127, 128, 130, 131),
        # get: pid, ids, groups, priority, rlimit, rusage; sysinfo, uname, times, clocks, getrandom
        *(39, 110, 102, 107, 104, 108, 118, 120, 115, 111, 121, 124, 140, 97, 98, 99, 63, 201, 96, 100, 228, 229, 318),
        # getsockopt, getsockname, getpeername, recvfrom, shutdown: of a pair of sockets, which event loops wake themselves by
        *(55, 51, 52, 45, 48),
    ),
    "aarch64": (
        *(
            63,
            64,
            65,
            66,
            67,
            68,
            69,
            70,
            62,
            71,
            285,
            56,
            437,
            57,
            436,
            80,
            79,
            291,
            43,
            44,
            48,
            439,
            78,
            61,
            17,
            49,
            50,
            166,
        ),
        *(23, 24, 59, 82, 83, 45, 46, 47, 223, 38, 276, 34, 37, 35, 36),
        *(73, 72, 20, 21, 22, 19, 101, 115, 103, 102),
        *(222, 226, 215, 216, 214, 227, 232, 233, 228, 229, 283, 236),
        *(98, 99, 100, 293, 96, 178, 124, 123, 121, 120, 125, 126, 168, 93, 94, 221, 128),
        *(134, 135, 139, 136, 137, 133, 132),
        *(172, 173, 174, 175, 176, 177, 148, 150, 158, 155, 156, 141, 163, 165, 179, 160, 169, 153, 113, 114, 278),
        *(209, 204, 205, 207, 210),
    ),
}
_BY_ARGUMENT = {
    "x86_64": {"clone": 56, "ioctl": 16, "fcntl": 72, "prctl": 157, "prlimit64": 302, "socketpair": 53, "sendto": 44},
    "aarch64": {
        "clone": 220,
        "ioctl": 29,
        "fcntl": 25,
        "prctl": 167,
        "prlimit64": 261,
        "socketpair": 199,
        "sendto": 206,
    },
}
_ARGUMENTS: dict[str, tuple[tuple[float, tuple[int, ...]], ...]] = {
    # TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX
    "ioctl": ((1, (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)),),
    # duplicates, flags, locks, the size of a pipe; no owner or signal of what is ready (F_SETOWN, F_SETSIG), no leases
    "fcntl": ((1, (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1032)),),
    # names of threads and of memory; not the signal that it gets when the judge dies
    "prctl": ((0, (15, 16, 0x53564D41)),),
    # its own, which without capabilities only shrink
    "prlimit64": ((0, (0,)),),
    # AF_UNIX streams, closed on exec or non-blocking: they are connected, and nobody else can be written to
    "socketpair": ((0, (1,)), (1, (1, 0x801, 0x80001, 0x80801))),
    # no address
    "sendto": ((4, (0,)), (4.5, (0,))),
}
"""For a call: arguments, counted from 0 (and a half: their upper 32 bits), and the values that are allowed."""
_CLONE_THREAD = 0x10000
_LOAD, _EQUAL, _LEAST, _BITS, _GIVE = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _END, _ERROR = 0x7FFF0000, 0x80000000, 0x50000
Step = tuple[int, int, int, int]


def call_filter(machine: str = platform.machine()) -> bytes | None:
    """The filter, as an array of `struct sock_filter`; None for a machine whose numbers are not known."""
    if machine not in MACHINES:
        return None
    refuse = (_GIVE, 0, 0, _ERROR | errno.EPERM)
    allow = (_GIVE, 0, 0, _ALLOW)
    steps: list[Step] = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, MACHINES[machine]), (_GIVE, 0, 0, _END), (_LOAD, 0, 0, 0)]
    for number in _ALLOWED[machine]:
        steps += [(_EQUAL, 0, 1, number), allow]
    for name, number in _BY_ARGUMENT[machine].items():
        if name == "clone":
            block: list[Step] = [(_LOAD, 0, 0, 16), (_BITS, 1, 0, _CLONE_THREAD), refuse]
        else:
            block = []
            for argument, values in _ARGUMENTS[name]:
                block += [(_LOAD, 0, 0, int(16 + 8 * argument))]
                block += [(_EQUAL, len(values) - place, 0, value) for place, value in enumerate(values)]
                block += [refuse]
        steps += [(_EQUAL, 0, len(block) + 1, number), *block, allow]
    steps += [(_LEAST, 0, 1, NEW), (_GIVE, 0, 0, _ERROR | errno.ENOSYS), refuse]
    return b"".join(struct.pack("<HBBI", *step) for step in steps)
