"""Object stores: what a library costs, and what a pipeline asks of a store there.

    python benchmarks/object_stores.py libraries      each that is installed: obstore, s3fs, boto3, pyarrow
    python benchmarks/object_stores.py pipeline       a folder against an object store: CPU seconds, requests

The server is moto's, on this machine (tests/object_store.py): its own 3 ms are in every latency, and CPU seconds are the
client's alone. `libraries` takes the median of 100 calls. `pipeline` runs 16 shards of 200 documents cold, again with nothing
changed, and with a changed threshold; RUNS times in turn, medians.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.object_store import ENVIRONMENT, Server, serving  # noqa: E402

RUNS, CALLS, SHARDS = 3, 100, 16
LIBRARIES = ("obstore", "s3fs", "boto3", "pyarrow")
PIPELINE = """\
dataset: small
shard_megabytes: 1
sources: [{stage: files, paths: ["in/*.jsonl"]}]
stages:
  - {stage: unicode}
  - {stage: text_statistics}
  - {stage: gopher_quality, min_words: 20, min_stop_words: 0}
  - {stage: exact_duplicates}
  - {stage: split, train: 0.8, validation: 0.1, test: 0.1}
"""


class Obstore:
    """The calls, with obstore."""

    def __init__(self, url: str) -> None:
        import obstore
        from obstore.store import S3Store

        self.library, self.bucket = obstore, S3Store("bucket", prefix="obstore")

    def put(self, name: str, content: bytes) -> object:
        """Write."""
        return self.library.put(self.bucket, name, content)

    def put_if_absent(self, name: str, content: bytes) -> object:
        """Write, unless it is there."""
        return self.library.put(self.bucket, name, content, mode="create")

    def get(self, name: str) -> bytes:
        """All of it."""
        return bytes(self.library.get(self.bucket, name).bytes())

    def get_range(self, name: str, start: int, stop: int) -> bytes:
        """Some of it."""
        return bytes(self.library.get_range(self.bucket, name, start=start, end=stop))

    def list(self, prefix: str) -> int:
        """How many there are."""
        return sum(len(some) for some in self.library.list(self.bucket, prefix, chunk_size=1000))


class S3fs:
    """The calls, with s3fs."""

    def __init__(self, url: str) -> None:
        from s3fs import S3FileSystem

        self.files = S3FileSystem(endpoint_url=url, use_listings_cache=False)

    def put(self, name: str, content: bytes) -> object:
        """Write."""
        return self.files.pipe_file(f"bucket/s3fs/{name}", content)

    def put_if_absent(self, name: str, content: bytes) -> object:
        """Write, unless it is there."""
        return self.files.pipe_file(f"bucket/s3fs/{name}", content, mode="create")

    def get(self, name: str) -> bytes:
        """All of it."""
        return self.files.cat_file(f"bucket/s3fs/{name}")

    def get_range(self, name: str, start: int, stop: int) -> bytes:
        """Some of it."""
        return self.files.cat_file(f"bucket/s3fs/{name}", start=start, end=stop)

    def list(self, prefix: str) -> int:
        """How many there are."""
        return len(self.files.find(f"bucket/s3fs/{prefix}"))


class Boto3:
    """The calls, with boto3."""

    def __init__(self, url: str) -> None:
        import boto3

        self.client = boto3.client("s3", endpoint_url=url)

    def put(self, name: str, content: bytes, **more: str) -> object:
        """Write."""
        return self.client.put_object(Bucket="bucket", Key=f"boto3/{name}", Body=content, **more)

    def put_if_absent(self, name: str, content: bytes) -> object:
        """Write, unless it is there."""
        return self.put(name, content, IfNoneMatch="*")

    def get(self, name: str, **more: str) -> bytes:
        """All of it."""
        return self.client.get_object(Bucket="bucket", Key=f"boto3/{name}", **more)["Body"].read()

    def get_range(self, name: str, start: int, stop: int) -> bytes:
        """Some of it."""
        return self.get(name, Range=f"bytes={start}-{stop - 1}")

    def list(self, prefix: str) -> int:
        """How many there are."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket="bucket", Prefix=f"boto3/{prefix}")
        return sum(page["KeyCount"] for page in pages)


class Pyarrow:
    """The calls, with pyarrow's own S3, which knows no conditions."""

    put_if_absent = None

    def __init__(self, url: str) -> None:
        from pyarrow import fs

        self.library, self.files = fs, fs.S3FileSystem(endpoint_override=url, region="us-east-1")

    def put(self, name: str, content: bytes) -> object:
        """Write."""
        with self.files.open_output_stream(f"bucket/pyarrow/{name}") as stream:
            return stream.write(content)

    def get(self, name: str) -> bytes:
        """All of it."""
        with self.files.open_input_stream(f"bucket/pyarrow/{name}") as stream:
            return stream.read()

    def get_range(self, name: str, start: int, stop: int) -> bytes:
        """Some of it."""
        with self.files.open_input_file(f"bucket/pyarrow/{name}") as stream:
            return stream.read_at(stop - start, start)

    def list(self, prefix: str) -> int:
        """How many there are."""
        return len(self.files.get_file_info(self.library.FileSelector(f"bucket/pyarrow/{prefix}", recursive=True)))


def timed(call: Callable[[int], object], calls: int = CALLS) -> str:
    """Median of the wall time, mean of the CPU time, in milliseconds."""
    walls, cpu = [], time.process_time()
    for number in range(calls):
        began = time.perf_counter()
        call(number)
        walls.append(time.perf_counter() - began)
    return f"{median(walls) * 1e3:.1f} ({(time.process_time() - cpu) / calls * 1e3:.1f} CPU)"


def measure_library(name: str) -> None:
    """One library in this process, which has not imported another: a row."""
    cpu, memory = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    library = {"obstore": Obstore, "s3fs": S3fs, "boto3": Boto3, "pyarrow": Pyarrow}[name](
        os.environ["AWS_ENDPOINT_URL"]
    )
    ready, small, large = time.process_time() - cpu, os.urandom(1000), os.urandom(32 << 20)
    row = {"import and open, CPU s": f"{ready:.2f}", "modules": str(len(sys.modules))}
    row["put 1 kB"] = timed(lambda number: library.put(f"small/{number}", small))
    row["get 1 kB"] = timed(lambda number: library.get(f"small/{number}"))
    absent = library.put_if_absent
    row["put if absent"] = timed(lambda number: absent(f"absent/{number}", small)) if absent else "no"
    library.put("large", large)
    row["range 64 kB"] = timed(lambda number: library.get_range("large", number * 1000, number * 1000 + 65_536))
    row["list 100"] = timed(lambda _: library.list("small"), 10)
    row["put 32 MB"] = timed(lambda _: library.put("large", large), 3)
    row["get 32 MB"] = timed(lambda _: library.get("large"), 3)
    row["memory, MB"] = str((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) // 1024)
    print(json.dumps(row))


def libraries(server: Server) -> None:
    """A process for each library."""
    for name in LIBRARIES:
        done = subprocess.run([sys.executable, __file__, "library", name], capture_output=True, text=True)
        print(f"{name}: {done.stdout.strip() or done.stderr.strip().splitlines()[-1]}")


def write_inputs(folder: Path) -> None:
    """A shard's documents in each file."""
    draw = random.Random(0)
    words = [f"word{number}" for number in range(500)]
    (folder / "in").mkdir(parents=True)
    (folder / "pipeline.yaml").write_text(PIPELINE)
    for number in range(SHARDS):
        lines = [json.dumps({"text": " ".join(draw.choices(words, k=100))}) for _ in range(200)]
        (folder / "in" / f"{number:02}.jsonl").write_text("\n".join(lines))


def pipeline(server: Server) -> None:
    """The same pipeline in both places."""
    steps = {"cold": (), "again": (), "changed threshold": ("--set", "gopher_quality.min_words=30")}
    found: dict[tuple[str, str], list[tuple[float, Counter[str]]]] = {}
    for number in range(RUNS):
        for place in ("folder", "s3"):
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name, "project")
                write_inputs(folder)
                store = f"s3://bucket/{number}" if place == "s3" else str(folder / "store")
                for step, options in steps.items():
                    server.requests()
                    before = resource.getrusage(resource.RUSAGE_CHILDREN)
                    command = [sys.executable, "-m", "curate", "run", "pipeline.yaml", "--store", store, *options]
                    subprocess.run([*command, "--workers", "1"], cwd=folder, check=True, capture_output=True)
                    after = resource.getrusage(resource.RUSAGE_CHILDREN)
                    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                    found.setdefault((step, place), []).append((cpu, Counter(one for one, _ in server.requests())))
                shutil.rmtree(folder)
    for (step, place), runs in found.items():
        cpu, (_, asked) = median(cpu for cpu, _ in runs), runs[0]
        print(f"{step}, {place}: {cpu:.2f} CPU s, {sum(asked.values()) / SHARDS:.1f} requests a shard {dict(asked)}")


def main() -> None:
    """What is asked for."""
    if sys.argv[1] == "library":
        measure_library(sys.argv[2])
        return
    with serving() as server:
        os.environ.update(ENVIRONMENT, AWS_ENDPOINT_URL=server.url, PYTHONPATH=str(ROOT))
        {"libraries": libraries, "pipeline": pipeline}[sys.argv[1]](server)


if __name__ == "__main__":
    main()
