"""What programs in the jail do to the processes, files and machine around them: they try it, for real."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from curate.train.rewards.calls import MACHINES, call_filter
from curate.train.rewards.jail import lacking, readable, remove, run_python

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the jail is of Linux")
CALL = "import ctypes, os, signal\nlibc = ctypes.CDLL(None, use_errno=True)\n"
REFUSED = {
    "fork": (57, None), "vfork": (58, None), "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119), "sched_setparam": (142, 118), "sched_setattr": (314, 274), "setpriority": (141, 140),
    "ioprio_set": (251, 30), "setpgid": (109, 154), "setsid": (112, 157), "ptrace": (101, 117),
    "process_vm_writev": (311, 271), "process_madvise": (440, 440), "move_pages": (279, 239), "migrate_pages": (256, 238),
    "kcmp": (312, 272), "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438),
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "sendmsg": (46, 211), "io_uring_setup": (425, 425),
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None),
    "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None),
    "futimesat": (261, None), "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "setxattrat": (463, 463),
    "mknod": (133, None), "mknodat": (259, 33), "mount": (165, 40), "unshare": (272, 97), "setns": (308, 268),
    "sethostname": (170, 161), "setdomainname": (171, 162), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "reboot": (169, 142), "setuid": (105, 146), "chroot": (161, 51), "capset": (126, 91), "swapon": (167, 224),
    "bpf": (321, 280), "keyctl": (250, 219), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "msgget": (68, 186), "mq_open": (240, 180),
    "flock": (73, 32), "clone3": (435, 435), "one that is yet to come": (999, 999), "x32 write": (0x40000001, 0x40000001),
}  # fmt: skip
BY_ARGUMENT = [
    # name, numbers, arguments that pass, arguments that do not
    ("clone", (56, 220), (0x3D0F00,), (17,)),
    ("fcntl F_SETOWN", (72, 25), (3, 4), (3, 8)),
    ("fcntl F_SETOWN_EX", (72, 25), (3, 1030), (3, 15)),
    ("fcntl F_SETSIG", (72, 25), (3, 7), (3, 10)),
    ("ioctl FIOSETOWN", (16, 29), (3, 0x5401), (3, 0x8901)),
    ("ioctl FS_IOC_SETFLAGS", (16, 29), (3, 0x5421), (3, 0x40086602)),
    ("prctl PR_SET_PDEATHSIG", (157, 167), (15,), (1,)),
    ("prlimit64 of another", (302, 261), (0,), (1,)),
    ("socketpair of another family", (53, 199), (1, 0x80001), (2, 0x80001)),
    ("socketpair of datagrams", (53, 199), (1, 1), (1, 2)),
    ("sendto an address", (44, 206), (3, 0, 0, 0, 0), (3, 0, 0, 0, 0x100)),
    ("sendto an address far up", (44, 206), (3, 0, 0, 0, 0), (3, 0, 0, 0, 1 << 40)),
]


def verdict(machine, number, arguments=()):
    """What the filter says of a call: classic BPF, computed here."""
    data = [number, MACHINES[machine], 0, 0]
    for one in (*arguments, *[0] * 6)[:6]:
        data += [one & 0xFFFFFFFF, one >> 32]
    code, place, held = call_filter(machine), 0, 0
    while True:
        kind, yes, no, value = struct.unpack_from("<HBBI", code, place * 8)
        place += 1
        if kind == 0x06:
            return value
        if kind == 0x20:
            held = data[value // 4]
        else:
            place += yes if {0x15: held == value, 0x35: held >= value, 0x45: held & value}[kind] else no


@pytest.fixture(scope="module")
def guards():
    assert lacking() == [], "this machine lacks what the jail is made of"


@pytest.fixture
def victim():
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def run(source, **limits):
    return run_python(source, **{"seconds": 2, "memory": 256, **limits})


# ---- the list of calls


@pytest.mark.parametrize("machine", MACHINES)
def test_what_reaches_beyond_the_program_is_not_on_the_list(machine):
    which = list(MACHINES).index(machine)
    numbers = {name: both[which] for name, both in REFUSED.items() if both[which] is not None}
    assert {name for name, number in numbers.items() if verdict(machine, number) not in (0x50001, 0x50026)} == set()
    assert verdict(machine, {"x86_64": 1, "aarch64": 64}[machine]) == 0x7FFF0000


@pytest.mark.parametrize(("name", "numbers", "passes", "does_not"), BY_ARGUMENT, ids=[row[0] for row in BY_ARGUMENT])
@pytest.mark.parametrize("machine", MACHINES)
def test_arguments_decide_where_a_call_has_both_uses(machine, name, numbers, passes, does_not):
    number = numbers[list(MACHINES).index(machine)]
    assert (verdict(machine, number, passes), verdict(machine, number, does_not)) == (0x7FFF0000, 0x50001)


def test_a_machine_whose_numbers_are_not_known_has_no_filter():
    assert call_filter("riscv64") is None


# ---- other processes


@pytest.mark.slow
@pytest.mark.parametrize(
    "deed",
    [
        "import resource; resource.prlimit({pid}, resource.RLIMIT_CPU, (0, 0))",
        "import os; os.sched_setaffinity({pid}, [0])",
        "import os; os.setpriority(os.PRIO_PROCESS, {pid}, 19)",
        "import os; os.sched_setscheduler({pid}, os.SCHED_IDLE, os.sched_param(0))",
        "import fcntl, socket; fcntl.fcntl(socket.socketpair()[0], fcntl.F_SETOWN, {pid})",
        "import fcntl, socket; fcntl.fcntl(socket.socketpair()[0], fcntl.F_SETSIG, 9)",
        "import socket; socket.sethostname(socket.gethostname())",
        "import resource; resource.setrlimit(resource.RLIMIT_CPU, (99, 99))",
        "import os; os.memfd_create('memory')",
        "import socket; socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)",
    ],
)
def test_other_processes_and_the_machine_are_out_of_reach(guards, victim, deed):
    before = os.sched_getaffinity(victim.pid), os.getpriority(os.PRIO_PROCESS, victim.pid)
    deed = deed.format(pid=victim.pid)
    assert run(f"try:\n    {deed}\nexcept (OSError, ValueError):\n    print('refused')") == (0, "refused\n")
    assert victim.poll() is None
    assert (os.sched_getaffinity(victim.pid), os.getpriority(os.PRIO_PROCESS, victim.pid)) == before


@pytest.mark.slow
def test_a_program_has_its_limits(guards):
    asks = "import resource as r\n"
    asks += "print(*(r.getrlimit(one)[1] for one in (r.RLIMIT_CPU, r.RLIMIT_AS, r.RLIMIT_NOFILE, r.RLIMIT_CORE)))"
    assert run(asks) == (0, f"2 {256 << 20} 64 0\n")


@pytest.mark.slow
def test_a_program_that_waits_by_an_event_loop_runs(guards):
    assert run("import asyncio; print(asyncio.run(asyncio.sleep(0.01, 'done')))") == (0, "done\n")


@pytest.mark.slow
@pytest.mark.parametrize("first", ["", CALL + "libc.prctl(1, 0, 0, 0, 0)\n"], ids=["plain", "unwilling"])
def test_a_program_ends_with_the_process_that_judges_it(guards, first):
    program = f"{first}import time; time.sleep(60)"
    source = f"from curate.train.rewards.jail import run_python\nrun_python({program!r}, seconds=60, memory=256)"
    with subprocess.Popen([sys.executable, "-c", source]) as judge:
        last, found = time.monotonic() + 20, []
        while time.monotonic() < last and not any("program.py" in one.cmdline() for one in found):
            time.sleep(0.05)
            found = psutil.Process(judge.pid).children()
        time.sleep(0.5)
        judge.send_signal(signal.SIGKILL)
    assert found
    assert psutil.wait_procs(found, timeout=5)[1] == []


# ---- files


@pytest.mark.slow
@pytest.mark.parametrize(
    "deed",
    [
        "os.chmod(f, 0)",
        "os.chown(f, 1, 1)",
        "os.utime(f, (1, 1))",
        "os.setxattr(f, 'user.a', b'1')",
        "os.truncate(f, 0)",
    ],
)
def test_owner_mode_times_and_attributes_of_files_stay(guards, tmp_path, deed):
    (tmp_path / "kept").write_text("kept")
    before = (tmp_path / "kept").stat()
    source = f"import os; f = {str(tmp_path / 'kept')!r}\ntry:\n    {deed}\nexcept OSError:\n    print('refused')"
    assert run(source) == (0, "refused\n")
    after = (tmp_path / "kept").stat()
    assert (after.st_mode, after.st_uid, after.st_mtime, after.st_size) == (
        before.st_mode,
        before.st_uid,
        before.st_mtime,
        4,
    )


@pytest.mark.parametrize("prefix", ["/", "home", "above home", "/usr"])
def test_neither_the_whole_disk_nor_a_home_is_readable_wherever_python_is(monkeypatch, tmp_path, prefix):
    home = tmp_path / "people" / "me"
    (home / "bin").mkdir(parents=True)
    prefix = {"home": str(home), "above home": str(home.parent)}.get(prefix, prefix)
    monkeypatch.setenv("HOME", str(home))
    for name in ("prefix", "base_prefix", "exec_prefix", "base_exec_prefix"):
        monkeypatch.setattr(sys, name, prefix)
    for executable in ("/bin/python3", str(home / "bin" / "python")):
        monkeypatch.setattr(sys, "executable", executable)
        allowed = {Path(path).resolve() for path in readable()}
        assert not allowed & {Path("/"), Path("/etc"), Path("/root"), home, *home.parents}


@pytest.mark.slow
def test_passwords_of_the_machine_are_not_read(guards):
    assert run("open('/etc/shadow')").code == 1


# ---- resources


@pytest.mark.slow
def test_a_program_whose_first_thread_has_ended_is_ended(guards):
    exits = {"x86_64": 60, "aarch64": 93}[os.uname().machine]
    source = f"import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()\n{CALL}libc.syscall({exits}, 0)"
    began = time.monotonic()
    assert run(source, seconds=1).code is None
    assert time.monotonic() - began < 30


@pytest.mark.slow
@pytest.mark.parametrize(
    "deed",
    [
        "for i in range(8): open(str(i), 'wb').write(bytes(15 << 20))",
        "for i in range(2000): open(str(i), 'wb')",
        "for i in range(3000): os.mkdir('a'); os.chdir('a')",
        "threading.stack_size(32768)\nfor i in range(1000): threading.Thread(target=time.sleep, args=(600,)).start()",
    ],
    ids=["bytes", "files", "depth", "threads"],
)
def test_a_program_that_keeps_too_much_is_ended_and_nothing_is_left(guards, tmp_path, monkeypatch, deed):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    began = time.monotonic()
    assert run(f"import os, time, threading\n{deed}\ntime.sleep(600)", seconds=4).code is None
    assert time.monotonic() - began < 15
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_folders_too_deep_for_python_are_removed(tmp_path):
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("a", dir_fd=here)
        below = os.open("a", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    remove(str(tmp_path / "a"))
    assert list(tmp_path.iterdir()) == []
