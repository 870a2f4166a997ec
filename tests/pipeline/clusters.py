"""Clusters on this machine for tests: a Ray of two nodes, a Slurm of two nodes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

START_SECONDS = 180.0
REPOSITORY = Path(__file__).resolve().parents[2]
RAY = """
import sys
from ray.cluster_utils import Cluster
small = {"object_store_memory": 80_000_000}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **small})
nodes = [cluster.add_node(num_cpus=1, **small) for _ in range(2)]
cluster.wait_for_nodes()
print(cluster.address, flush=True)
for line in sys.stdin:
    cluster.remove_node(nodes.pop(), allow_graceful=False)
    nodes.append(cluster.add_node(num_cpus=1, **small))
    print("lost one, got another", flush=True)
cluster.shutdown()
"""
SLURM = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SchedulerType=sched/builtin
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=1
AuthInfo=cred_expire=30
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE
"""


class RayCluster:
    """A head without processors, and two nodes of one each."""

    def __init__(self) -> None:
        # Ray's own daemons ask where they are (clouds' metadata): they are no processes of ours, and not watched.
        watched = {"PYTHONPATH", "CURATE_TEST_CONNECTIONS"}
        there = {name: value for name, value in os.environ.items() if name not in watched}
        there |= {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(REPOSITORY)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", RAY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, env=there,
        )  # fmt: skip
        self.address = self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def lose_a_node(self) -> None:
        """End a node, whatever it is doing, and start another."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self._line()


@contextmanager
def ray_cluster() -> Iterator[RayCluster]:
    """A Ray cluster of two nodes."""
    cluster = RayCluster()
    try:
        yield cluster
    finally:
        cluster.process.communicate()  # its input ends, and it with it


def lacking_for_slurm() -> str:
    """Why there can be no Slurm here; empty where there can."""
    if os.geteuid():
        return "a Slurm of one's own needs root"
    missing = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if not _program(name)]
    return f"not installed: {', '.join(missing)}" if missing else ""


@contextmanager
def slurm_cluster(folder: Path) -> Iterator[dict[str, str]]:
    """The environment for programs of a Slurm of two nodes with a processor each.

    A job that is put back waits there until its credential has expired: 30 seconds, not two minutes.
    """
    _munge()
    (folder / "state").mkdir()
    host = socket.gethostname().partition(".")[0]
    configuration = folder / "slurm.conf"
    configuration.write_text(SLURM.format(folder=folder, host=host, ports=_free_ports(3)))
    environment = {**os.environ, "SLURM_CONF": str(configuration)}
    commands = [["slurmctld", "-D"], ["slurmd", "-D", "-N", "n1"], ["slurmd", "-D", "-N", "n2"]]
    running = [
        subprocess.Popen(
            [_program(name) or name, *rest, "-f", str(configuration)], env=environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for name, *rest in commands
    ]  # fmt: skip
    try:
        begun = time.monotonic()
        while _nodes(environment).count("idle") < 2:
            time.sleep(0.25)
            if time.monotonic() - begun > START_SECONDS:
                logs = [path.read_text(errors="replace")[-1000:] for path in folder.glob("*.log")]
                raise RuntimeError("Slurm does not come up:\n" + "\n".join(logs))
        yield environment
    finally:
        subprocess.run(["scancel", "--user=root"], env=environment, check=False)
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)
            process.kill()
            process.wait()


def _nodes(environment: dict[str, str]) -> list[str]:
    asked = ["sinfo", "--noheader", "--Node", "--format", "%t"]
    return subprocess.run(asked, env=environment, capture_output=True, text=True, check=False).stdout.split()


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def _munge() -> None:
    """The daemon that Slurm's programs know each other by, one a machine."""
    if subprocess.run(["munge", "--no-input"], capture_output=True, check=False).returncode == 0:
        return
    for place in ("/run/munge", "/var/log/munge", "/var/lib/munge", "/etc/munge"):
        Path(place).mkdir(parents=True, exist_ok=True)
        shutil.chown(place, "munge", "munge")
        Path(place).chmod(0o755 if place == "/run/munge" else 0o700)
    key = Path("/etc/munge/munge.key")
    if not key.exists():
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        shutil.chown(key, "munge", "munge")
    subprocess.run([_program("munged") or "munged"], user="munge", group="munge", check=True)
    with suppress(subprocess.TimeoutExpired):
        subprocess.run(["munge", "--no-input"], capture_output=True, check=True, timeout=10)


def _free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports
