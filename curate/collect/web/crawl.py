"""Pages of sites, from where a crawl begins as far as its links lead and its scope reaches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from curate.collect.web.addresses import Scope, in_scope
from curate.collect.web.source import WEB, Web, web_address
from curate.collect.web.walk import Lead, Met
from curate.stages.fetched import Desk

__all__ = ["Crawl"]


class Crawl(Web):
    """Reads the pages of sites, link by link, for an extractor (`extract`); fetched once, and pinned.

    robots.txt, `noai`, TDMRep and Content-Signal are obeyed. Every address that was met is in the snapshot: fetched, or
    why not. Needs the extra `web`.
    """

    planning: ClassVar[frozenset[str]] = WEB | {"seeds", "scope", "depth", "alike"}

    seeds: list[Annotated[str, AfterValidator(web_address)]] = Field(
        min_length=1, description="Addresses to begin with."
    )
    scope: Scope = Field(
        "host",
        description="Which links are followed: to the `host` of a seed, below its folder (`prefix`), or to any host of its "
        "registered `domain`.",
    )
    depth: int | None = Field(10, ge=0, description="Most links from a seed; null is no limit.")
    alike: int = Field(
        25,
        ge=1,
        description="Most addresses in a row, each found on the one before, that differ in digits alone; further ones are a "
        "`trap`, as calendars without end are.",
    )

    @property
    def deepest(self) -> int | None:
        """Most links from a seed."""
        return self.depth

    @property
    def most_alike(self) -> int:
        """Most addresses in a row that differ in digits alone."""
        return self.alike

    def covers(self, url: str) -> bool:
        """Whether an address is in scope."""
        return in_scope(url, self.seeds, self.scope)

    def leads(self, url: str, met: Met, reason: str | None, links: Sequence[Any]) -> Iterator[Lead]:
        """Where a page leads."""
        for refusal, targets in zip((None, "nofollow"), links, strict=False):
            for target in targets:
                yield Lead(target, Met(met.depth + 1, found_on=url), refusal)

    def fetch(self, desk: Desk) -> Mapping[str, Any]:
        """Go from the seeds on, wave by wave."""
        return self.walked(desk, "crawl", {url: Met() for url in self.seeds})
