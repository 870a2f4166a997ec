"""Pages that sites list themselves: sitemaps (sitemaps.org, protocol 0.9), and indexes of them.

What the protocol limits is held: 50,000 addresses and 50 MB (unpacked) a file. `lastmod` says which pages a refresh asks for;
those without are asked about, as a crawl does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from html import unescape
from itertools import chain, islice, pairwise
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from curate import jsontext
from curate.collect.charsets import decode_text
from curate.collect.http import undo_codings
from curate.collect.web.addresses import canonical, in_scope
from curate.collect.web.answers import page_row, plain_row
from curate.collect.web.hosts import Came, Host
from curate.collect.web.records import Row
from curate.collect.web.source import WEB, Web, web_address
from curate.collect.web.walk import Lead, Met
from curate.stages.fetched import Desk

__all__ = ["Sitemap", "entries"]

ADDRESSES = 50_000
LIST_BYTES = 50 << 20
NESTED = 3
"""Sitemaps in indexes in indexes."""
OPEN = re.compile(r"(?i)<(?:[\w.-]{1,40}:)?(url|sitemap)(?=[\s>])[^<>]{0,1000}>")
FIELD = r"(?is)<(?:[\w.-]{{1,40}}:)?{}(?=[\s>])[^<>]{{0,1000}}>\s*+(?:<!\[CDATA\[([^\]]{{0,5000}})|([^<]{{0,5000}}))"
LOCATION, MODIFIED = (re.compile(FIELD.format(name)) for name in ("loc", "lastmod"))
ENTRY_LENGTH = 20_000


def entries(text: str) -> Iterator[tuple[str, str, str | None]]:
    """What a sitemap lists: `sitemap` or `url`, the address as it is written, and when it was last changed.

    Read tag by tag: of files that are cut short, or no XML for a bare `&`, what stands in them. Without tags, a line is an
    address.
    """
    if "<" not in text:
        yield from (("url", line.strip(), None) for line in text.splitlines() if line.strip())
        return
    for one, following in pairwise(chain(OPEN.finditer(text), [None])):
        assert one is not None
        place = one.end(), min(one.end() + ENTRY_LENGTH, following.start() if following else len(text))
        location, modified = LOCATION.search(text, *place), MODIFIED.search(text, *place)
        if location:
            when = (modified[1] or modified[2]).strip()[:40] if modified else ""
            yield one[1].lower(), unescape(location[1] or location[2]).strip(), when or None


class Sitemap(Web):
    """Reads the pages that sitemaps list, for an extractor (`extract`); fetched once, and pinned. Obeys what `crawl` obeys."""

    planning: ClassVar[frozenset[str]] = WEB | {"urls", "scope"}

    urls: list[Annotated[str, AfterValidator(web_address)]] = Field(
        min_length=1,
        description="Addresses of sitemaps, or of indexes of them; also compressed (`.gz`), also as lines of text.",
    )
    scope: Literal["host", "domain"] = Field(
        "host",
        description="Which pages are asked for: those on the `host` of a sitemap, or on its registered `domain`.",
    )

    def covers(self, url: str) -> bool:
        """Whether an address is in scope."""
        return in_scope(url, self.urls, self.scope)

    def rows(self, url: str, came: Came, host: Host, kind: str, values: Mapping[str, Any]) -> list[Row]:
        """What an answer becomes: a page, or a list of addresses."""
        if kind != "sitemap" or came.reason or came.status != 200:
            return [page_row(url, came, self, host, **values)]
        try:
            content = decode_text(undo_codings(came.body, {}, LIST_BYTES)).encode()
            values = {**values, "bytes": len(came.body)}
            came = came._replace(body=content)  # an erasure looks into what is kept, and unpacks nothing
        except ValueError as error:
            return [plain_row(url, came, "damaged", **{**values, "detail": str(error)})]
        if len(content) > LIST_BYTES:
            return [
                plain_row(
                    url, came, "too_large", **{**values, "detail": f"it unpacks to more than {LIST_BYTES:,} bytes"}
                )
            ]
        listed = entries(content.decode("utf-8-sig", "replace"))
        first = list(islice(listed, ADDRESSES))
        links = [[one, found, modified] for one, written, modified in first if (found := canonical(written, url))]
        told = [f"{len(first) - len(links):,} are no addresses"] if len(links) < len(first) else []
        beyond = sum(1 for _ in listed)
        told += [f"{beyond:,} addresses beyond {ADDRESSES:,} are not asked for"] if beyond else []
        detail = "; ".join(told) or None if links else "it lists no address"
        return [
            plain_row(
                url,
                came,
                "sitemap",
                body=came.body,
                links=jsontext.dumps(links),
                **{**values, "detail": detail},
            )
        ]

    def leads(self, url: str, met: Met, reason: str | None, links: Sequence[Any]) -> Iterator[Lead]:
        """The addresses of a list."""
        if reason != "sitemap":
            return
        for one, target, modified in links:
            nested = one == "sitemap"
            way = Met(met.depth + 1, found_on=url, kind="sitemap" if nested else "page", modified=modified)
            yield Lead(target, way, "depth" if nested and met.depth + 1 >= NESTED else None)

    def fetch(self, desk: Desk) -> Mapping[str, Any]:
        """Ask for the lists, then for what they list."""
        return self.walked(desk, "sitemap", {url: Met(kind="sitemap") for url in self.urls})
