"""What feeds (RSS, Atom) tell: their entries as documents, or the pages that these lead to.

A feed lists its newest entries alone: those that a snapshot has stay in the next one. An entry is known by its id (`guid`),
a page by the time that its entry has, so a refresh asks only for what is new. Feedparser reads feeds as they are found, broken
ones too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from io import BytesIO
from typing import Annotated, Any, ClassVar
from urllib.parse import quote

from pydantic import AfterValidator, Field

from curate import jsontext
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
        parsed, links, rows = self._parsed(came), list[list[str | None]](), dict[str, Row]()
        for entry in parsed.entries:
            target = canonical(entry.get("link", ""), url)
            if self.follow:
                links += [[target, _time(entry) or entry.get("id")]] if target else []
                continue
            row = _entry_row(url, entry, target, came, parsed.feed)
            row |= {"opt_out": evidence, "depth": 1, "found_on": url}
            rows.setdefault(row["@key"], row)
        detail = None if parsed.entries else "it has no entries, or is no feed"
        values = {**values, "detail": detail, "body": came.body, "links": jsontext.dumps(links)}
        return [plain_row(url, came, "feed", **values), *rows.values()]

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


def _entry_row(feed: str, entry: Any, target: str | None, came: Came, about: Any) -> Row:
    """An entry as a page: its longest content, with its title; one without content has its summary."""
    contents = [(one.get("value", ""), one.get("type", TEXT)) for one in entry.get("content", ())]
    detail = entry.get("summary_detail", {})
    contents += [(detail.get("value", ""), detail.get("type", TEXT))]
    text, kind = max(contents, key=lambda one: len(one[0]))
    title, name = entry.get("title", ""), entry.get("id") or target or text
    if kind != TEXT and text:
        head = f"<title>{escape(title)}</title>" if title else ""
        text, kind = f"<!doctype html><html><head>{head}</head><body>{text}</body></html>", "text/html"
    claims = [Claim("link", one) for one in (*_licenses(entry), *_licenses(about))][:1]
    claims += [Claim("meta", one) for one in (entry.get("rights"), about.get("rights")) if one][:1]
    license, evidence = decided(claims)
    body = text.encode("utf-8", "replace")
    return plain_row(
        f"{feed}#{quote(name[:500], safe='')}", came, None if body.strip() else "empty", url=target, media_type=kind,
        headers=jsontext.dumps({"content-type": f"{kind}; charset=utf-8"}), body=body if body.strip() else None,
        bytes=len(body), title=title[:500] or None, license=license, license_evidence=evidence, modified=_time(entry),
    )  # fmt: skip
