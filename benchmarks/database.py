"""Fetching 100,000 rows of a PostgreSQL on this machine: CPU seconds and peak memory of the client.

    python benchmarks/database.py [--rows 100000] [--runs 3]

`snapshot` is all of `fetch`: one transaction, ranges of the key, types, Parquet (zstd 3), hashes, fsync. `fetchall` is what a
script does: SQLAlchemy's `fetchall` with the same driver (pg8000), one Arrow table of it, written as Parquet (zstd 3). The two
alternate, each in a process of its own; the server's time is not counted. Texts are 1,088 characters, beside a number, a time.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROWS = "SELECT id, text, score, changed FROM articles ORDER BY id"


def snapshot(folder: Path) -> int:
    """The rows of a snapshot."""
    from curate.collect.fetch.database import Database
    from curate.dataset.snapshots import Fetch
    from curate.dataset.store import Store

    desk = Fetch(Store.open(folder / "store", create=True), "k" * 64, folder, None, lambda text: None)
    facts = Database(url_from="BENCHMARK_DATABASE", table="articles").fetch(desk)
    return desk.finish("database", {}, facts).rows


def fetchall(folder: Path) -> int:
    """The rows of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as parquet
    from sqlalchemy import create_engine, text

    with create_engine(os.environ["BENCHMARK_DATABASE"].replace("://", "+pg8000://")).connect() as connection:
        rows = connection.execute(text(ROWS)).fetchall()
    columns = dict(zip(("id", "text", "score", "changed"), zip(*rows, strict=True), strict=True))
    parquet.write_table(pa.table({name: list(one) for name, one in columns.items()}), folder / "a.parquet", compression="zstd",
                        compression_level=3)  # fmt: skip
    return len(rows)


def measured(side: str) -> dict[str, float]:
    """CPU seconds and MB of a process that does one of them."""
    done = subprocess.run([sys.executable, __file__, "--side", side], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def main() -> None:
    """Measure both, in turn."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--side")
    given = parser.parse_args()
    if given.side:
        with tempfile.TemporaryDirectory() as name:
            rows = {"snapshot": snapshot, "fetchall": fetchall}[given.side](Path(name))
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(json.dumps({"rows": rows, "cpu": used.ru_utime + used.ru_stime, "mb": used.ru_maxrss / 1024}))
        return
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from sqlalchemy import create_engine, text

    from tests.collect.database_servers import postgresql

    with postgresql() as url:
        os.environ["BENCHMARK_DATABASE"] = url
        with create_engine(url.replace("://", "+pg8000://")).begin() as connection:
            connection.execute(
                text("CREATE TABLE articles (id INT PRIMARY KEY, text TEXT, score FLOAT8, changed TIMESTAMP)")
            )
            words = "SELECT string_agg(md5((n % 97 + k)::text), ' ') FROM generate_series(1, 33) k"
            rows = f"SELECT n, ({words}), n / 3.0, now() FROM generate_series(1, {given.rows}) n"
            connection.exec_driver_sql(f"INSERT INTO articles {rows}")
        found = [(measured("snapshot"), measured("fetchall")) for _ in range(given.runs)]
    for number, side in enumerate(("snapshot", "fetchall")):
        for what in ("cpu", "mb"):
            print(side, what, round(statistics.median(one[number][what] for one in found), 2))
    ratios = sorted(one["cpu"] / two["cpu"] for one, two in found)
    print("ratio of CPU", [round(one, 2) for one in ratios])


if __name__ == "__main__":
    main()
