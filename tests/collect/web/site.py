"""A site on this machine, a store, and sources that fetch the one into the other."""

from __future__ import annotations

from curate.collect.web.crawl import Crawl
from curate.dataset.snapshots import Fetch
from curate.dataset.store import Store
from curate.stages.parts import Passed, SourceContext

AGENT = "test-reader/1.0 (+https://reader.example)"
FILES = ("/robots.txt", "/.well-known/tdmrep.json")


def page(*links, title="", head="", text="some text"):
    anchors = "".join(f'<a href="{link}">to</a> ' for link in links)
    return f"<!doctype html><html><head><title>{title}</title>{head}</head><body>{text} {anchors}</body></html>"


class Site:
    """What a test has: a server that answers by path (a page, a tuple of status, headers and body, or a function)."""

    def __init__(self, root, web):
        self.root, self.web, self.said, self.pages = root, web, [], {}
        self.store = Store.open(root / "store", create=True)
        self.snapshot = None
        web.answer = self._answer

    def _answer(self, asked):
        other = None if asked.path in FILES else self.pages.get("*")
        told = self.pages.get(asked.target, self.pages.get(asked.path, other))
        told = told(asked) if callable(told) else told or (404, {}, b"")
        if isinstance(told, str):
            return 200, {"Content-Type": "text/html"}, told.encode()
        return told

    def source(self, kind=Crawl, **settings):
        own = {"seeds": [self.web.url]} if kind is Crawl else {}
        return kind(**{"agent": AGENT, "allow": [self.web.host], "delay": 0, "retries": 0, **own, **settings})

    def fetch(self, kind=Crawl, *, refresh=False, **settings):
        """The documents of a fetch, by path."""
        source = self.source(kind, **settings)
        desk = Fetch(self.store, "k" * 64, self.root, self.snapshot if refresh else None, self.said.append)
        facts = source.fetch(desk)
        self.snapshot = desk.finish("crawl", {}, facts)
        desk.forget()
        return self.documents(source)

    def documents(self, source):
        found = {}
        for part in source.plan(SourceContext(self.root, 1 << 20, str, snapshot=self.snapshot)):
            for item in source.read_from(self.store, part):
                if not isinstance(item, Passed):
                    found |= {row["url"].removeprefix(self.web.url): row for row in item.to_pylist()}
        return found

    def rows(self):
        """All rows of the snapshot, by path or address."""
        tables = [self.store.read_table(piece.object).to_pylist() for piece in self.snapshot.pieces]
        return {row["@key"].removeprefix(self.web.url): row for table in tables for row in table}

    def reasons(self):
        """Why addresses are no documents, by path or address, without the files of the host."""
        return {url: row["reason"] for url, row in self.rows().items() if row["reason"] and url not in FILES}

    @property
    def asked(self):
        """What the server was asked for, without the files of the host."""
        return [one.target for one in self.web.asked if one.path not in FILES]
