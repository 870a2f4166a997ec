"""What feeds (RSS, Atom) tell: their entries as documents, or the pages that these lead to.

A feed lists its newest entries alone: those that a snapshot has stay in the next one. An entry is known by its id (`guid`),
a page by the time that its entry has, so a refresh asks only for what is new. Feedparser reads feeds as they are found, broken
ones too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from html import escape
from io import BytesIO
from typing import Annotated, Any, ClassVar
from urllib.parse import quote

from pydantic import AfterValidator, Field

from curate import jsontext
from curate.collect.fetch.rows import KEY
from curate.collect.web.addresses import canonical
from curate.collect.web.answers import page_row, plain_row
from curate.collect.web.hosts import Came, Host
from curate.collect.web.license import Claim, decided
from curate.collect.web.page import opt_out
from curate.collect.web.records import Row
from curate.collect.web.robots import product
from curate.collect.web.source import WEB, Web, web_address
from curate.collect.web.walk import Lead, Met
from curate.stages.fetched import Desk

__all__ = ["Feed"]

FEED_BYTES = 10 << 20
TEXT = "text/plain"
NAME = 500
"""So much of an id is in the name of an entry as it is written."""


class Feed(Web):
    """Reads the entries of feeds (RSS, Atom), for an extractor (`extract`), or with `follow` the pages that they lead to.

    Fetched once, and pinned; `--refresh` adds what is new. Obeys what `crawl` obeys.
    """

    libraries: ClassVar[tuple[str, ...]] = ("pyarrow", "feedparser")
    planning: ClassVar[frozenset[str]] = WEB | {"urls", "follow"}
    keeps_old: ClassVar[bool] = True

    urls: list[Annotated[str, AfterValidator(web_address)]] = Field(min_length=1, description="Addresses of feeds.")
    follow: bool = Field(
        False,
        description="Documents are the pages that entries lead to, on whatever host, and not what the feed has of them.",
    )

    def covers(self, url: str) -> bool:
        """Entries lead wherever their feed says."""
        return True

    def rows(self, url: str, came: Came, host: Host, kind: str, values: Mapping[str, Any]) -> list[Row]:
        """What an answer becomes: a page, or a feed and its entries."""
        if kind != "feed" or came.reason or came.status != 200:
            return [page_row(url, came, self, host, **values)]
        if len(came.body) > FEED_BYTES:
            return [plain_row(url, came, "too_large", **{**values, "detail": f"more than {FEED_BYTES:,} bytes"})]
        said = opt_out(came.headers, None, product(self.agent))
        refused = "; ".join(text for name, text in said if name in self.obey)
        if refused:
            return [plain_row(url, came, "opt_out", **{**values, "detail": refused, "opt_out": refused})]
        evidence = "; ".join([*(text for _, text in said), *host.noted(url)]) or None
        parsed, links, rows = self._parsed(came), list[list[str | None]](), list[Row]()
        for entry in parsed.entries:
            target = canonical(entry["link"], url) if entry.get("link") else None
            if self.follow and target:
                links.append([target, _time(entry) or entry.get("id")])
                continue
            row = _entry_row(url, entry, target, came, parsed.feed) | {"opt_out": evidence, "depth": 1, "found_on": url}
            none = {"reason": "no_link", "detail": "the entry leads to no page", "body": None}
            rows.append(row | none if self.follow else row)
        links, rows = [[_whole(one) for one in pair] for pair in links], _apart(rows)
        detail = None if parsed.entries else "it has no entries, or is no feed"
        values = {**values, "detail": detail, "body": came.body, "links": jsontext.dumps(links)}
        return [plain_row(url, came, "feed", **values), *rows]

    def _parsed(self, came: Came) -> Any:
        import feedparser

        told = {"content-type": came.headers.get("content-type", "application/xml")}
        return feedparser.parse(BytesIO(came.body), response_headers=told)  # of a stream nothing is looked up

    def leads(self, url: str, met: Met, reason: str | None, links: Sequence[Any]) -> Iterator[Lead]:
        """The pages of the entries."""
        for target, modified in links if reason == "feed" else ():
            yield Lead(target, Met(met.depth + 1, found_on=url, modified=modified))

    def fetch(self, desk: Desk) -> Mapping[str, Any]:
        """Ask for the feeds, then for what their entries lead to."""
        return self.walked(desk, "feed", {url: Met(kind="feed") for url in self.urls}, ("protego", "feedparser"))


def _licenses(of: Any) -> list[str]:
    return [one["href"] for one in of.get("links", ()) if one.get("rel") == "license" and one.get("href")]


def _time(entry: Any) -> str | None:
    return entry.get("updated") or entry.get("published")


def _whole(text: str | None) -> str | None:
    """A text without halves of characters, which no JSON may hold."""
    return text and text.encode("utf-8", "replace").decode()


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def _apart(rows: Sequence[Row]) -> list[Row]:
    """Entries by names of their own: those that share an id go by what they say, and what is there again is a `duplicate`."""
    names, told, found = Counter(row[KEY] for row in rows), Counter[str](), list[Row]()
    for row in rows:
        name = row[KEY]
        if names[name] > 1:
            name += "," + _digest(repr((row["url"], row["title"], row["body"])))  # a comma is in no name
        told[name] += 1
        if told[name] > 1:
            row |= {"reason": "duplicate", "detail": name, "body": None}
        found.append(row | {KEY: name if told[name] == 1 else f"{name},{told[name]}"})
    return found


def _entry_row(feed: str, entry: Any, target: str | None, came: Came, about: Any) -> Row:
    """An entry as a page: its longest content, with its title; one without content has its summary."""
    contents = [(one.get("value", ""), one.get("type", TEXT)) for one in entry.get("content", ())]
    detail = entry.get("summary_detail", {})
    contents += [(detail.get("value", ""), detail.get("type", TEXT))]
    text, kind = max(contents, key=lambda one: len(one[0]))
    title, name = entry.get("title", ""), _whole(entry.get("id") or target or text) or ""
    key = quote(name[:NAME], safe="") + (f",{_digest(name)}" if len(name) > NAME else "")
    if kind != TEXT and text:
        head = f"<title>{escape(title)}</title>" if title else ""
        text, kind = f"<!doctype html><html><head>{head}</head><body>{text}</body></html>", "text/html"
    claims = [Claim("link", one) for one in (*_licenses(entry), *_licenses(about))][:1]
    claims += [Claim("meta", one) for one in (entry.get("rights"), about.get("rights")) if one][:1]
    license, evidence = decided(claims)
    body = text.encode("utf-8", "replace")
    return plain_row(
        f"{feed}#{key}", came, None if body.strip() else "empty", url=target or feed, media_type=kind,
        headers=jsontext.dumps({"content-type": f"{kind}; charset=utf-8"}), body=body if body.strip() else None,
        bytes=len(body), title=title[:500] or None, license=license, license_evidence=evidence, modified=_time(entry),
    )  # fmt: skip
