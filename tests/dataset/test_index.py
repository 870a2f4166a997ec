"""The index of a version finds every document by its id and by its place, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from curate.dataset.index import Address, find, hash_names
from curate.stages.work import SHARD_BITS, bucket_of

pytestmark = pytest.mark.anywhere


@pytest.fixture
def version(project):
    """Several shards, with two copies of an id, a place of its own for each document."""
    project.write("a.txt", *(f"a{i}|text {i}" for i in range(40)), "same|one")
    project.write("b.txt", *(f"b{i}|text {i}" for i in range(30)), "same|two", "!broken")
    project.write("c.txt", "same|three", "\u00e9 \u2603|odd id")
    project.stages("Long, minimum: 6", shard_megabytes=0.00001)
    project.run("max_quarantined=10")
    return project.open()


def test_every_document_is_found_by_its_id_and_its_place(version):
    store, indexes, documents = version.store, version.manifest["indexes"], 0
    by_id: dict[str, list[Address]] = {}
    for number, shard in enumerate(version.ledger()):
        for row, document in enumerate(store.read_table(shard.object, ["id", "source_uri"]).to_pylist()):
            address = Address(number, row)
            by_id.setdefault(document["id"], []).append(address)
            assert find(store, indexes, document["source_uri"], place=True) == [address]
            assert find(store, indexes, document["source_uri"]) == []
            documents += 1
    assert documents == 74
    assert len(by_id["same"]) == 3
    for name, addresses in by_id.items():
        assert find(store, indexes, name) == addresses
        assert find(store, indexes, name, place=True) == []


def test_what_is_not_there_is_not_found(version):
    for name in ("", "a", "a40", "SAME", "b.txt#31"):
        assert find(version.store, version.manifest["indexes"], name) == [], name


def test_an_index_of_several_buckets_is_read_one_bucket_at_a_time(version, monkeypatch):
    store = version.store
    names = [f"n{i}" for i in range(100)]
    high, low = hash_names(names)
    import pyarrow as pa

    buckets = []
    for bucket in range(8):
        mine = np.flatnonzero(bucket_of(high, 8) == bucket)
        documents = (mine.astype(np.uint64) << np.uint64(SHARD_BITS)) | np.uint64(7)
        table = pa.table({"high": high[mine], "low": low[mine], "document": documents, "place": [False] * len(mine)})
        buckets.append(store.write_table(table))
    opened = []
    whole = store.parquet
    monkeypatch.setattr(store, "parquet", lambda name: (opened.append(name), whole(name))[1])
    for number, name in enumerate(names):
        assert find(store, [buckets], name) == [Address(number, 7)]
    assert len(opened) == 100
    assert find(store, [buckets, buckets], "n5") == [Address(5, 7)] * 2


def test_of_a_large_bucket_only_the_rows_that_can_hold_a_name_are_read(version, monkeypatch):
    import pyarrow as pa
    import pyarrow.parquet as parquet

    from curate.dataset import store as storing

    monkeypatch.setattr(storing, "ROWS_PER_GROUP", 10)
    names = [f"n{i}" for i in range(200)]
    high, low = hash_names(names)
    high[7] = high[8]  # equal upper halves, which may stand on both sides of a border
    order = np.lexsort((low, high))
    table = pa.table(
        {"high": high[order], "low": low[order], "document": order.astype(np.uint64), "place": [False] * 200}
    )
    indexes = [[version.store.write_table(table)]]
    read = []
    groups = parquet.ParquetFile.read_row_groups

    def noted(file, wanted, *args, **more):
        read.append(len(wanted))
        return groups(file, wanted, *args, **more)

    monkeypatch.setattr(parquet.ParquetFile, "read_row_groups", noted)
    for number, name in enumerate(names):
        expected = [] if number == 7 else [Address(0, number)]
        assert find(version.store, indexes, name) == expected
    assert find(version.store, indexes, "nobody") == []
    assert len(read) == 201 and max(read) <= 2 and sum(read) < 210


def test_hashes_of_names_are_128_bits_and_hold_for_odd_strings():
    high, low = hash_names(["", "\ud800", "a", "a"])
    assert (high.dtype, len(set(high.tolist())), len(set(low.tolist()))) == (np.uint64, 3, 3)
    assert hash_names([])[0].tolist() == []
