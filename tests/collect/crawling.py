"""A crawl in a folder: what is fetched of it, and a server that knows ranges and is busy at times."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from contextlib import contextmanager

import curate.collect.fetch.client as client
from curate.collect.fetch.common_crawl import CommonCrawl
from curate.dataset.snapshots import Fetch
from curate.dataset.store import Store
from curate.stages.parts import Passed, Rejected, SourceContext
from tests.collect.web_server import serving

NAME = "CC-MAIN-2024-10"
FILE = f"crawl-data/{NAME}/segments/1/warc/a.warc.gz"


def record(number, kind="response", mime="text/html", **headers):
    """A record of a crawl as its gzip member."""
    url = f"https://www.example.org/{number}"
    page = f"<p>page {number}</p>".encode()
    http = f"HTTP/1.1 200 OK\r\nContent-Type: {mime}\r\nContent-Length: {len(page)}\r\n\r\n".encode()
    body, declared = (http + page, "application/http; msgtype=response") if kind == "response" else (page, "text/plain")
    said = {"WARC-Type": kind, "WARC-Target-URI": url, "WARC-Date": "2024-02-21T05:06:07Z", "Content-Type": declared}
    said |= {"WARC-Record-ID": f"<urn:uuid:0-{number}>", "Content-Length": str(len(body))}
    said |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in said.items())
    return gzip.compress(f"WARC/1.0\r\n{head}\r\n".encode() + body + b"\r\n\r\n", mtime=0)


def file_of(records):
    """A file, and the lines of its index."""
    lines, offset = [], 0
    for number, one in enumerate(records):
        said = {
            "url": f"https://www.example.org/{number}",
            "mime": "text/html",
            "mime-detected": "text/html",
            "status": "200",
        }
        said |= {
            "offset": str(offset),
            "length": str(len(one)),
            "filename": FILE,
            "languages": "eng,deu" if number % 2 else "fra",
        }
        lines.append(said)
        offset += len(one)
    return b"".join(records), lines


class Crawling:
    """A folder with a crawl of ten pages and what else is in such a file, and what is fetched of it."""

    def __init__(self, root):
        self.root, self.said = root, []
        self.store = Store.open(root / "store", create=True)
        self.records = [record(number) for number in range(9)] + [record(9, WARC_Truncated="length")]
        between = [record("x", "request"), record("y", "metadata")]
        self.data, self.lines = file_of(self.records)
        self.whole = b"".join(
            [record("i", "warcinfo"), *(part for one in self.records for part in (between[0], one, between[1]))]
        )
        self.write(self.whole)

    def write(self, data):
        place = self.root / "crawl" / FILE
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        (self.root / f"crawl/crawl-data/{NAME}/warc.paths.gz").write_bytes(gzip.compress(f"{FILE}\n".encode()))

    def index(self, lines=None):
        self.write(self.data)
        (self.root / "index.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines or self.lines))
        return {"index": "index.jsonl"}

    def fetch(self, **settings):
        stage = CommonCrawl(**{"base": "crawl", "rate": 1e6, "chunk_bytes": 1024} | settings)
        desk = Fetch(self.store, "k" * 64, self.root, None, self.said.append)
        self.snapshot = desk.finish("common_crawl", {}, stage.fetch(desk))
        desk.forget()
        self.rejected, self.passed, rows = [], Counter(), []
        for part in stage.plan(SourceContext(self.root, 1 << 20, str, snapshot=self.snapshot)):
            for item in stage.read_from(self.store, part):
                if isinstance(item, Rejected):
                    self.rejected.append((item.reason, item.detail))
                elif isinstance(item, Passed):
                    self.passed[item.kind] += item.count
                else:
                    rows += item.to_pylist()
        return rows


@contextmanager
def serving_crawl(at, monkeypatch):
    """The folder by HTTP, with ranges; every third request is answered with 503."""
    waits = []
    monkeypatch.setattr(
        client.Client.__init__, "__kwdefaults__", {**client.Client.__init__.__kwdefaults__, "sleep": waits.append}
    )

    def answer(asked):
        place = at.root / "crawl" / asked.path[1:]
        if asked.number % 3 == 2:
            return 503, {"Retry-After": "7"} if asked.number == 2 else {}, b"busy"
        if not place.is_file():
            return 404, {}, b"no"
        data, span = place.read_bytes(), re.fullmatch(r"bytes=(\d+)-(\d+)", asked.headers.get("range", ""))
        if not span:
            return 200, {}, data
        first, last = int(span[1]), min(int(span[2]), len(data) - 1)
        if first >= len(data):
            return 416, {"Content-Range": f"bytes */{len(data)}"}, b""
        return 206, {"Content-Range": f"bytes {first}-{last}/{len(data)}"}, data[first : last + 1]

    with serving() as server:
        server.answer, server.waits = answer, waits
        yield server


def numbers(rows):
    return [int(row["text"].split()[1].partition("<")[0]) for row in rows]
