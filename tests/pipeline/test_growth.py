"""What a shard costs stays what it is as shards become many: files of the store, bytes of the version's record, memory,
and what workers and driver say to each other.

200 and 800 shards of one short document each go through a filter, a global stage and a split. Where a cost a shard grows
with their number, something is quadratic; where it is large, a million shards are out of reach (with a
million, 400 bytes of record are 400 MB, and 20 kB of memory 20 GB).
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

FEW, MANY = 200, 800
MOST_FILES = 9
MOST_RECORD_BYTES = 400
MOST_MEMORY_BYTES = 20_000
MOST_GROWTH_OF_MESSAGES = 1.2
"""The longest line of a task or of its result, with many shards and with few: calls name some more objects."""
PIPELINE = """\
dataset: growth
shard_megabytes: 0.0001
sources: [{stage: files, paths: [in.jsonl]}]
stages:
  - {stage: sample, fraction: 0.9}
  - {stage: exact_duplicates}
  - {stage: split, train: 0.8, validation: 0.1, test: 0.1}
"""
DRIVER = """\
import json, resource, sys, curate
from types import SimpleNamespace
from curate.pipeline.backends import local

longest = 0

def watched(line):
    global longest
    longest = max(longest, len(line))
    return line

local.json = SimpleNamespace(loads=lambda line: json.loads(watched(line)), dumps=lambda spec: watched(json.dumps(spec)))
curate.run(sys.argv[1], workers=2)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, longest)
"""


class Cost(NamedTuple):
    """What a run over some shards took: files in the store, bytes of the version's record, the driver's peak of memory,
    and the longest line between it and a worker."""

    files: int
    record_bytes: int
    memory: int
    message: int


@pytest.fixture(scope="module")
def cost(tmp_path_factory):
    """Runs over so many shards, each number once."""

    @cache
    def run(shards):
        root = tmp_path_factory.mktemp(f"growth{shards}")
        (root / "in.jsonl").write_text("".join(_line(number) for number in range(shards)))
        (root / "pipeline.yaml").write_text(PIPELINE)
        environment = {**os.environ, "PYTHONPATH": _project()}
        environment.pop("CURATE_STORE", None)
        command = [sys.executable, "-c", DRIVER, str(root / "pipeline.yaml")]
        told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return _cost(root / ".curate", *map(int, told.stdout.split()))

    return run


def _project():
    import curate

    return str(Path(curate.__file__).parent.parent)


def _line(number):
    return json.dumps({"id": f"d{number:04}", "text": f"document {number:04} " + 56 * "x"}).ljust(99) + "\n"


def _cost(store, memory, message):
    files = {path.stem: path for path in store.rglob("*") if path.is_file()}
    count = sum(path.is_file() for path in store.rglob("*"))
    (record,) = (store / "versions").glob("*.json")
    tables = {files[name] for name in _named(json.loads(record.read_bytes())) if name in files}
    return Cost(count, record.stat().st_size + sum(path.stat().st_size for path in tables), memory, message)


def _named(record):
    """Strings of a version's record that do not stand in a list: names of its tables are among them, not of its shards."""
    for value in record.values():
        if isinstance(value, dict):
            yield from _named(value)
        elif isinstance(value, str):
            yield value


LIMITS = {"files": MOST_FILES, "record_bytes": MOST_RECORD_BYTES, "memory": MOST_MEMORY_BYTES}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("what", LIMITS)
def test_a_shard_costs_as_much_among_many_as_among_few(what, cost):
    few, many = getattr(cost(FEW), what), getattr(cost(MANY), what)
    a_shard = (many - few) / (MANY - FEW)
    assert a_shard <= LIMITS[what], f"{what}: {few:,} with {FEW} shards, {many:,} with {MANY}: {a_shard:,.1f} a shard"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_cost_of_a_shard_does_not_grow_with_their_number(cost):
    few, many = cost(FEW), cost(MANY)
    grows = [name for name in ("files", "record_bytes") if getattr(many, name) / MANY > 1.05 * getattr(few, name) / FEW]
    assert grows == [], f"{few} with {FEW} shards, {many} with {MANY}"


DUPLICATES = """\
dataset: toy
shard_megabytes: 0.000001
max_quarantined: 1000
sources: [{stage: files, paths: ["*.jsonl"]}]
stages: [{stage: near_duplicates, ngram: 2, similarity: 0.6}]
"""


def _likes(draw):
    """Lines of documents that are like some of other files, some with an id that others have."""
    lines = []
    for _ in range(draw.randint(1, 6)):
        words = [f"w{draw.randint(0, 6)}-{place}" for place in range(12)] if draw.random() < 0.5 else ["same"] * 12
        words[draw.randrange(12)] = f"n{draw.randrange(100)}"
        lines.append(json.dumps({"id": f"d{draw.randrange(60)}", "text": " ".join(words)}))
    return lines


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_store_that_grew_makes_the_versions_that_a_fresh_one_makes(project, monkeypatch):
    from curate.stages.work import buckets_for

    monkeypatch.setattr("curate.pipeline.shuffle.GROUP_SHARDS", 2)
    for module in ("curate.dedup.near", "curate.pipeline.ids"):
        monkeypatch.setattr(f"{module}.buckets_for", lambda records: buckets_for(records, 64))
    draw = random.Random(3)
    project.pipeline(DUPLICATES)
    names = [f"{number:02}.jsonl" for number in range(14)]
    for name in names[:7]:
        project.write(name, *_likes(draw))
    project.run()
    changes = [
        lambda: project.write(names[7], *_likes(draw)),
        lambda: project.write(names[2], *_likes(draw)),
        lambda: [project.write(name, *_likes(draw)) for name in names[8:]],
        lambda: (project.root / names[5]).unlink(),
    ]
    dropped = set()
    for number, change in enumerate(changes):
        change()
        grown, fresh = project.run(), project.run(store=project.root / f"fresh{number}")
        assert grown.version == fresh.version
        assert grown.tasks["run"] < fresh.tasks["run"]
        dropped.add((grown.documents["dropped"] > 0, grown.documents["quarantined"] > 0))
    assert dropped == {(True, True)}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_message_between_driver_and_worker_grows_with_the_shards(cost):
    few, many = cost(FEW).message, cost(MANY).message
    assert 0 < many <= MOST_GROWTH_OF_MESSAGES * few, f"{few:,} bytes with {FEW} shards, {many:,} with {MANY}"
