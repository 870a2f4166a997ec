"""What it costs to read one bucket of a run, by the number of buckets: where work over all documents stops being linear.

    python benchmarks/buckets.py

A run of one group (131,072 documents, 16 bands: 2,097,152 records of 16 bytes) is cut into more and more buckets, as it is
where there are more documents; CPU seconds to write it, milliseconds to read one bucket of it, and both for all its buckets.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from curate.dataset.store import Store
from curate.pipeline.buckets import read_run, write_run
from curate.pipeline.shuffle import GROUP_DOCUMENTS
from curate.stages.work import bucket_of, buckets_for

BANDS = 16
READ = 20


def main() -> None:
    """Print a row for each number of documents."""
    records = GROUP_DOCUMENTS * BANDS
    hashes = np.random.default_rng(0).integers(0, 2**64, records, dtype=np.uint64)
    table = pa.table({"hash": hashes, "document": np.arange(records) % GROUP_DOCUMENTS})
    print("documents  buckets  write, CPU s  read one, ms  read all, CPU s")
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder) / "store", create=True)
        for documents in (10**7, 10**8, 10**9):
            buckets = buckets_for(documents * BANDS)
            began = time.process_time()
            name = write_run(store, table, bucket_of(hashes, buckets), buckets)
            wrote, began = time.process_time() - began, time.process_time()
            for number in range(READ):
                read_run(store, [name], number * (buckets // READ))
            one = (time.process_time() - began) / READ
            print(f"{documents:>13,}  {buckets:>7,}  {wrote:.2f}  {1000 * one:.2f}  {one * buckets:.1f}")


if __name__ == "__main__":
    main()
