"""`curate browse` over a large version: the first look, a page, facets, a slider, a document, a search; memory.

    python benchmarks/browse.py --data FOLDER [--documents 1000000] [--requests 100] [--keep FOLDER]

FOLDER has books_sample/books.tar.xz. Documents are windows of the books of about 1,600 characters, begun at drawn places and
each with a word of its own; a real run reads them, and two filters (written beside the pipeline file) measure eight drawn
numbers each, since measuring the texts would take hours and browsing does not care. `curate browse` is then a process of its
own and asked over HTTP: wall milliseconds (median, 95th percentile) and CPU milliseconds of the server per request. Facets
and sliders are also called in this process, without HTTP and texts. The second start finds the columns of the first one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
from machine import cpu_seconds, machine
from minhash import read_books

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
CURATE = str(Path(sys.executable).parent / "curate")
PER_FILE, LENGTH = 50_000, 1600
STAGES = '''
"""Filters whose features are drawn."""

import numpy as np
import pyarrow as pa
from pydantic import Field
from xxhash import xxh3_64_intdigest

from curate.stages.contract import Filter, Rule


class Drawn(Filter):
    """Eight numbers of each document, drawn by its id."""

    thresholds = frozenset(f"least_{n}" for n in range(8))
    seed: int = 0
    least_0: float = 0.02
    least_1: float = 0.02
    least_2: float = 0.02
    least_3: float = 0.02
    least_4: float = 0.02
    least_5: float = 0.02
    least_6: float = 0.02
    least_7: float = 0.02

    def open(self):
        def measure(batch):
            seeds = [xxh3_64_intdigest(one, self.seed) for one in batch.column("id").to_pylist()]
            drawn = np.array([np.random.default_rng(one).random(8) for one in seeds]).reshape(-1, 8)
            return pa.table({f"number_{n}": drawn[:, n].copy() for n in range(8)})

        return measure

    def rules(self):
        return [Rule(f"number_{n}", f"number_{n}", minimum=getattr(self, f"least_{n}")) for n in range(8)]
'''
PIPELINE = """\
dataset: large
min_documents: 0
sources: [{stage: files, paths: ["in/*.jsonl"]}]
stages:
  - {stage: "drawn:Drawn", id: first}
  - {stage: "drawn:Drawn", id: second, seed: 1}
  - {stage: split, train: 0.98, validation: 0.01, test: 0.01}
"""


def write_documents(folder: Path, data: Path, count: int) -> None:
    """Windows of real text as JSON lines."""
    text, draw = "\n".join(read_books(data, 30)), random.Random(0)
    (folder / "in").mkdir()
    for first in range(0, count, PER_FILE):
        with (folder / "in" / f"{first:09}.jsonl").open("w") as stream:
            for number in range(first, min(first + PER_FILE, count)):
                start = draw.randrange(len(text) - LENGTH)
                row = {"id": f"w{number}", "site": f"site{number % 900}", "language": ["en", "de", "fr"][number % 3]}
                stream.write(json.dumps({**row, "text": f"{text[start : start + LENGTH]} word{number}"}) + "\n")


def make_store(folder: Path, data: Path, count: int) -> None:
    """A store with one version."""
    write_documents(folder, data, count)
    (folder / "drawn.py").write_text(STAGES)
    (folder / "pipeline.yaml").write_text(PIPELINE)
    taken = cpu_seconds([CURATE, "run", "pipeline.yaml", "--workers", "2"], folder)
    print(f"made: {taken:.0f} CPU s", file=sys.stderr)


@contextmanager
def server(folder: Path) -> Iterator[tuple[httpx.Client, psutil.Process, float]]:
    """A client that was let in, the server, and the seconds until it answered."""
    began = time.perf_counter()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")])),
    }
    command = [CURATE, "browse", "--json"]
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        lines: list[str] = []
        while not lines or lines[-1] != "}\n":
            lines.append(process.stdout.readline())
        url = json.loads("".join(lines))["url"]
        with httpx.Client(base_url=url.partition("/?")[0], timeout=600) as client:
            client.get("/?" + url.partition("/?")[2], follow_redirects=True)
            yield client, psutil.Process(process.pid), time.perf_counter() - began
    finally:
        process.terminate()
        process.wait()


def asked(client: httpx.Client, process: psutil.Process, paths: Sequence[str]) -> dict[str, float]:
    """Milliseconds of requests: wall, and CPU of the server."""
    walls, before = [], sum(process.cpu_times()[:2])
    for path in paths:
        began = time.perf_counter()
        answer = client.get(path)
        assert answer.status_code == 200, (path, answer.text[:500])
        walls.append(1000 * (time.perf_counter() - began))
    cpu = 1000 * (sum(process.cpu_times()[:2]) - before) / len(paths)
    return {**_spread(walls), "cpu": round(cpu, 1)}


def called(functions: Sequence[Callable[[], Any]]) -> dict[str, float]:
    """Milliseconds of calls in this process: wall, and CPU."""
    walls, cpus = [], []
    for function in functions:
        began, cpu = time.perf_counter(), time.process_time()
        function()
        walls.append(1000 * (time.perf_counter() - began))
        cpus.append(1000 * (time.process_time() - cpu))
    return {**_spread(walls), "cpu": round(statistics.mean(cpus), 1), "cpu p95": _spread(cpus)["p95"]}


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": round(statistics.median(values), 1), "p95": round(sorted(values)[int(0.95 * len(values))], 1)}


def queries(count: int) -> list[list[tuple[str, str]]]:
    """Filters by names and numbers, sorted by a number."""
    draw, found = random.Random(1), []
    for _ in range(count):
        pairs = [("is.language", draw.choice(["en", "de"])), ("sort", f"first.number_{draw.randrange(8)}")]
        pairs += [(f"min.second.number_{draw.randrange(8)}", f"{draw.random() * 0.5:.3f}")]
        found.append(pairs + draw.choice([[("is.verdict", "dropped")], [("is.stage", "first")], []]))
    return found


def measure(folder: Path, requests: int) -> dict[str, Any]:
    """All figures."""
    from urllib.parse import urlencode

    from curate.browse.cache import Cache
    from curate.browse.columns import Columns
    from curate.browse.query import Selection, read_query
    from curate.browse.whatif import WhatIf
    from curate.dataset.reader import open_dataset
    from curate.dataset.store import Store

    found: dict[str, Any] = {}
    shutil.rmtree(folder / ".curate" / "browse" / "1", ignore_errors=True)
    for start in ("first", "second"):
        with server(folder) as (client, process, seconds):
            version = client.get("/index.json").json()["datasets"][0]["versions"][0]["name"]
            before = sum(process.cpu_times()[:2])
            found[f"{start} start"] = {
                "seconds to the first page": round(seconds, 2),
                "documents page": asked(client, process, [f"/v/{version}/documents"]),
                "CPU s": round(sum(process.cpu_times()[:2]) - before, 2),
            }
            if start == "second":
                found |= _requests(client, process, version, requests, urlencode)
                status = Path(f"/proc/{process.pid}/status").read_text()
                found["peak MB"] = round(int(status.partition("VmHWM:")[2].split()[0]) / 1024)
    sys.path.append(str(folder))
    store = Store.open(folder / ".curate")
    dataset = open_dataset("large", store)
    columns = Columns(dataset, Cache(store))
    asking = WhatIf(columns)
    draw = random.Random(2)
    moves = [
        {"first": {f"least_{n}": draw.random() * 0.1 for n in range(8)}}
        if one % 2
        else {"second": {"least_3": draw.random()}}
        for one in range(requests)
    ]
    looks = [read_query(pairs) for pairs in queries(requests)]
    found["facets, in process"] = called([lambda one=one: Selection(columns, one).facets() for one in looks])
    found["slider, in process"] = called([lambda one=one: asking.tell(one) for one in moves])
    found |= index_texts(store, columns.rows)
    found["search, in process"] = searched(columns, dataset, store, requests)
    found["documents"] = columns.rows
    found["cache MB"] = round(sum(path.stat().st_size for path in (store.root / "browse").rglob("*.arrow")) / 1e6)
    return found


def _requests(
    client: httpx.Client, process: psutil.Process, version: str, count: int, urlencode: Any
) -> dict[str, Any]:
    here, draw = f"/v/{version}", random.Random(3)
    rows = client.get(f"{here}/documents.json").json()
    pages = [client.get(f"{here}/documents.json?page={draw.randint(1, rows['pages'])}").json() for _ in range(count)]
    places = [draw.choice(page["listed"])["place"] for page in pages]
    sliders = [
        f"{here}/what-if.json?counts=1&set.first.least_{draw.randrange(8)}={draw.random():.3f}" for _ in range(count)
    ]
    words = [f"{here}/search.json?{urlencode({'q': one})}" for one in asked_for(count, rows["rows"])]
    covered = client.get(words[0]).json()
    return {
        "documents page, filtered and sorted": asked(
            client, process, [f"{here}/documents?{urlencode(pairs)}" for pairs in queries(count)]
        ),
        "slider": asked(client, process, sliders),
        "document": asked(client, process, [f"{here}/d/{place}" for place in places]),
        "search": {**asked(client, process, words), "indexed": covered["indexed"]},
    }


def asked_for(count: int, documents: int) -> list[str]:
    """Words of every frequency, two at once, and phrases."""
    draw = random.Random(4)
    kinds = [
        lambda: f"word{draw.randrange(documents)}",
        lambda: draw.choice(["whale", "sea", "white", "captain", "river", "king", "money", "letter"]),
        lambda: draw.choice(["man woman", "house night", "sea ship", "old hand eyes", "never word"]),
        lambda: draw.choice(['"of the sea"', '"in the morning"', '"old man"', '"said the"']),
        lambda: draw.choice(["into", "upon", "would", "could"]),  # in a third of the documents
    ]
    return [kinds[one % len(kinds)]() for one in range(count)]


def searched(columns: Any, dataset: Any, store: Any, count: int) -> dict[str, float]:
    """Searches among all documents and among filtered ones; what was found before is kept, as in the server."""
    import numpy as np

    from curate.browse.query import Selection, read_query
    from curate.browse.search import Pattern, search
    from curate.browse.text import TextIndex

    index, everyone = TextIndex(store), np.arange(columns.rows)
    some = Selection(columns, read_query([("is.language", "en"), ("min.second.number_3", "0.4")])).rows
    return called(
        [
            lambda one=one, rows=rows: search(columns, dataset, rows, Pattern(one), index=index)
            for number, one in enumerate(asked_for(count, columns.rows))
            for rows in [some if number % 2 else everyone]
        ]
    )


def index_texts(store: Any, documents: int) -> dict[str, Any]:
    """Index what is not indexed; CPU seconds of all threads of this process."""
    from curate.browse.indexing import build, objects_in

    before = time.process_time()
    build(store, objects_in(store, "large"))
    taken = time.process_time() - before
    size = sum(path.stat().st_size for path in (store.root / "browse" / "text-1").rglob("*"))
    return {"index": {"CPU s": round(taken, 1), "documents a CPU s": round(documents / taken), "MB": round(size / 1e6)}}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--keep", type=Path, help="A folder for the store, which is used again where it is there.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.keep or Path(name)
        if not (folder / ".curate" / "store.json").is_file():
            folder.mkdir(exist_ok=True)
            make_store(folder, options.data, options.documents)
        found = measure(folder, options.requests)
    print(json.dumps({**found, "machine": machine("pyarrow", "numpy", "starlette", "uvicorn")}, indent=2))


if __name__ == "__main__":
    main()
