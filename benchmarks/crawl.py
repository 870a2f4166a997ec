"""Pages a second of a crawl of a server on this machine, and CPU seconds of the crawler; the server's are not counted.

    python benchmarks/crawl.py [--pages 500] [--runs 3]

The pages are those of the article extraction benchmark, as often as needed, under names of their own: their links are
disabled, and each has some to the next ones, so that all are found. No delay, one host, one connection: what a host is asked
for in a second is the crawl's own cost (a request, its links, its licence, a durable row). `get` asks for the same pages over
one connection with the same client, and keeps nothing.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

AGENT = "benchmark-reader/1.0 (+https://reader.example)"


def crawl(folder: Path, url: str, count: int) -> int:
    """Pages of a snapshot."""
    from curate.collect.web.crawl import Crawl
    from curate.dataset.snapshots import Fetch
    from curate.dataset.store import Store

    desk = Fetch(Store.open(folder / "store", create=True), "k" * 64, folder, None, lambda text: None)
    source = Crawl(
        seeds=[f"{url}/0"], agent=AGENT, allow=[url.removeprefix("http://")], delay=0, depth=None, alike=count
    )
    facts = source.fetch(desk)
    desk.finish("crawl", {}, facts)
    return facts["addresses"]["documents"]


def get(folder: Path, url: str, count: int) -> int:
    """Pages that were asked for."""
    from curate.collect.fetch.client import Client

    with Client(agent=AGENT, allow=[url.removeprefix("http://")]) as client:
        return sum(client.get(f"{url}/{number}").status == 200 for number in range(count))


def served(pages: list[bytes], count: int) -> None:
    """Serve until the end of standard input; the address is written first."""
    from tests.collect.web_server import serving

    def answer(asked):
        if not asked.path[1:].isdigit() or int(asked.path[1:]) >= count:
            return 404, {}, b""
        number = int(asked.path[1:])
        links = "".join(f'<a href="/{one}">next</a>' for one in range(number * 10 + 1, min(count, number * 10 + 11)))
        return 200, {"Content-Type": "text/html"}, pages[number % len(pages)] + links.encode()

    with serving() as server:
        server.answer = answer
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        sys.stdin.read()


def main() -> None:
    """Run both in turns, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=500)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--one", choices=("crawl", "get", "serve"))
    parser.add_argument("--url")
    options = parser.parse_args()
    root = Path(__file__).resolve().parent.parent
    data = Path(os.environ.get("CURATE_DATA", root.parent / "shared" / "data")) / "zyte_article_extraction" / "html"
    if options.one == "serve":
        served(
            [gzip.decompress(path.read_bytes()).replace(b"href=", b"data-href=") for path in sorted(data.iterdir())],
            options.pages,
        )
        return
    if options.one:
        import curate.collect.web.crawl
        import curate.dataset.snapshots  # noqa: F401

        with tempfile.TemporaryDirectory() as folder:
            before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
            done = (crawl if options.one == "crawl" else get)(Path(folder), options.url, options.pages)
            used, wall = resource.getrusage(resource.RUSAGE_SELF), time.monotonic() - began
        cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
        print(json.dumps({"pages": done, "cpu": cpu, "wall": wall, "rss": used.ru_maxrss / 1024}))
        return
    command = [sys.executable, __file__, "--pages", str(options.pages)]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    with subprocess.Popen([*command, "--one", "serve"], **pipes) as server:
        url = server.stdout.readline().strip()
        found: dict[str, list[dict[str, float]]] = {"crawl": [], "get": []}
        for _ in range(options.runs):
            for name, runs in found.items():
                told = subprocess.run(
                    [*command, "--one", name, "--url", url], capture_output=True, text=True, env=environment, check=True
                )
                runs.append(json.loads(told.stdout))
        server.stdin.close()
    for name, runs in found.items():
        cpu, wall, rss = (statistics.median(run[key] for run in runs) for key in ("cpu", "wall", "rss"))
        pages = runs[0]["pages"]
        print(
            f"{name}: {pages} pages, {pages / wall:.0f} a second, {1000 * cpu / pages:.1f} CPU-ms a page, {rss:.0f} MB"
        )


if __name__ == "__main__":
    main()
