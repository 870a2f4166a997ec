"""Run a global stage on texts as the engine does: signatures in batches, calls over buckets, then shard by shard."""

from __future__ import annotations

import hashlib
from collections import Counter
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from curate.dataset.store import Store
from curate.pipeline.buckets import read_group, read_joined, read_run, write_cut, write_run
from curate.pipeline.shuffle import call_key
from curate.pipeline.task import StageSpec
from curate.stages.work import SHARD_BITS, of_group


class Outcome(NamedTuple):
    verdicts: dict[str, dict]
    columns: dict[str, list]
    pairs: list[tuple[str, str, float]]
    fetched: list[list[int]]
    called: dict[str, int]


class Table:
    """Work and desk over one table: every shard is a group of its own. With receipts, no call is done twice."""

    def __init__(self, stage, store, table, cuts, receipts=None):
        self.spec, self.receipts, self.called = StageSpec("stage", "", {}, repr(stage), ""), receipts, Counter()
        self.stage, self.store, self.table = stage, store, table
        self.edges = [0, *sorted(cuts), table.num_rows]
        self.shards = [table.slice(start, stop - start) for start, stop in pairwise(self.edges)]
        sign = stage.open()
        self.signed = [sign(shard).append_column("id", shard["id"]) for shard in self.shards]
        self.documents = table.num_rows
        self.bounds = list(range(len(self.shards)))
        self.group, self.fetched = 0, []

    # work

    def call(self, method, call, group):
        given = self.shards[group].to_pydict() if group is not None else None
        key = call_key(self.spec, hashlib.sha256(repr((group, given)).encode()).hexdigest(), method, call)
        if self.receipts is None or key not in self.receipts:
            self.group = group
            self.called[method] += 1
            done = getattr(self.stage, method)(self, **call)
            if self.receipts is None:
                return done
            self.receipts[key] = done
        return self.receipts[key]

    def each(self, method, calls):
        return [self.call(method, call, None) for call in calls]

    def each_group(self, method, calls, groups=None):
        chosen = range(len(self.bounds)) if groups is None else groups
        return [self.call(method, call, group) for group, call in zip(chosen, calls, strict=True)]

    # desk

    def signatures(self, columns=None):
        signed = self.signed[self.group]
        addresses = np.arange(signed.num_rows, dtype=np.uint64) | np.uint64(self.group << SHARD_BITS)
        return signed.append_column("document", pa.array(addresses))

    def signatures_by_shard(self, columns=None):
        yield self.signatures(columns)

    def texts(self, documents):
        rows = (documents & np.uint64((1 << SHARD_BITS) - 1)).astype(np.int64)
        self.fetched.append((rows + self.edges[self.group]).tolist())
        return self.shards[self.group]["text"].combine_chunks().take(pa.array(rows))

    def write_run(self, table, bucket, buckets):
        return write_run(self.store, table, bucket, buckets)

    def read_run(self, names, bucket):
        return read_run(self.store, names, bucket)

    def read_joined(self, *what):
        return read_joined(self.store, *what)

    def write_cut(self, table, documents, bounds):
        return write_cut(self.store, table, documents, bounds)

    def read_group(self, one):
        return read_group(self.store, one)

    def write(self, table):
        return self.store.write_table(table)

    def read(self, name):
        return self.store.read_table(name)


def decide_stage(stage, table: pa.Table, store, cuts=(), receipts=None) -> Outcome:
    work = Table(stage, store, table, cuts, receipts)
    decision = stage.decide(work)
    verdicts, columns = {}, {}
    for number, signed in enumerate(work.signed):
        found = read_group(store, of_group(decision.found, number))
        if found.num_rows:
            found = found.drop_columns(["shard"]).sort_by("row")
        given = signed.append_column("row", pa.array(np.arange(signed.num_rows), pa.int32()))
        effect = stage.apply(given, found)
        ids = signed["id"].to_pylist()
        for row in effect.verdicts.to_pylist():
            verdicts[ids[row["row"]]] = {**row, "row": row["row"] + work.edges[number]}
        for name, column in effect.columns.items():
            columns.setdefault(name, []).extend(column.to_pylist())
    held = [store.read_table(name).to_pylist() for name, _ in decision.artifacts.get("pairs", ())]
    pairs = sorted(tuple(row.values()) for rows in held for row in rows)
    return Outcome(verdicts, columns, pairs, work.fetched, dict(work.called))


@pytest.fixture(scope="module")
def deduplication_store(tmp_path_factory):
    return Store.open(tmp_path_factory.mktemp("store"), create=True)


@pytest.fixture
def deduplicate(documents, deduplication_store):
    """Apply a global stage to texts; gives verdicts by id, new columns as lists, pairs, the texts it fetched and the calls."""

    def apply(stage, texts, cuts=(), receipts=None, **columns) -> Outcome:
        return decide_stage(stage, documents(texts, **columns), deduplication_store, cuts, receipts)

    return apply


@pytest.fixture(scope="session")
def colliding():
    """Two texts of one line, 400 characters each, whose XXH3-128 is the same."""
    import xxhash

    text = ("The quick brown fox jumps over the lazy dog and runs away, " * 8)[:400]
    texts = [f"{text[:256]}aaaa{one}{text[261:320]}(BWR{two}{text[325:]}" for one, two in ("bc", "cb")]
    assert len({xxhash.xxh3_128_digest(one) for one in texts}) == 1
    return texts
