"""Records cut by bucket and read again, with more buckets than a run has row groups, and with fewer."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from curate.dataset.store import Store
from curate.pipeline.buckets import MOST_PARTS, read_group, read_joined, read_run, write_cut, write_run
from curate.stages.work import SHARD_BITS, bucket_of, of_group


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "store", create=True)


def records(count, seed=0):
    drawn = np.random.default_rng(seed)
    hashes = drawn.integers(0, 2**64, count, dtype=np.uint64)
    return pa.table({"hash": hashes, "text": [f"{seed}-{number}" for number in range(count)]})


@pytest.mark.parametrize("buckets", [1, 4, MOST_PARTS, 2 * MOST_PARTS, 64 * MOST_PARTS])
@pytest.mark.parametrize("count", [0, 1, 700])
def test_a_bucket_has_its_records_of_every_run_in_their_order(store, buckets, count):
    tables = [records(count, seed) for seed in range(3)]
    placed = [bucket_of(table.column("hash").to_numpy(), buckets) for table in tables]
    runs = [write_run(store, table, bucket, buckets) for table, bucket in zip(tables, placed, strict=True)]
    whole, bucket = pa.concat_tables(tables), np.concatenate(placed)
    for number in {0, buckets - 1, *bucket[:40].tolist()}:
        assert read_run(store, runs, number).equals(whole.filter(pa.array(bucket == number)).combine_chunks())


@pytest.mark.parametrize("buckets", [2, 8 * MOST_PARTS])
def test_records_that_were_there_before_come_where_they_share_the_key(store, buckets):
    old, new = records(3000), records(300, seed=1)
    new = pa.concat_tables([new, old.slice(0, 100)])
    runs = [write_run(store, one, bucket_of(one.column("hash").to_numpy(), buckets), buckets) for one in (old, new)]
    shared = 0
    for number in range(buckets):
        table, earlier = read_joined(store, runs[:1], runs[1:], number, "hash", ["text", "hash"])
        shared += earlier
        assert table.slice(earlier).select(["hash", "text"]).equals(read_run(store, runs[1:], number))
        assert set(table.column("text").to_pylist()[:earlier]) <= set(table.column("text").to_pylist()[earlier:])
    assert shared == 100


def test_what_is_cut_by_group_has_a_row_group_and_a_digest_for_each(store):
    table = records(2000)
    documents = np.arange(2000, dtype=np.uint64) << np.uint64(SHARD_BITS)
    bounds = list(range(0, 2000, 5))
    cut = write_cut(store, table, documents, bounds)
    assert len(set(cut["groups"].values())) == len(bounds) > MOST_PARTS
    for group in (0, 1, 399):
        assert read_group(store, of_group([cut], group)).equals(table.slice(5 * group, 5))
