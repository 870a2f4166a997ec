"""What sources of web pages have in common: who asks, what is obeyed, how gently, and how much is taken."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from curate.collect.extract import Extract
from curate.collect.fetch.client import Limits, public_url
from curate.collect.fetch.credentials import credentials_in
from curate.collect.web.addresses import canonical
from curate.collect.web.answers import page_row
from curate.collect.web.hosts import Came, Host
from curate.collect.web.records import Row, documents
from curate.collect.web.robots import product
from curate.collect.web.walk import Lead, Met, Walk
from curate.errors import CurateError
from curate.stages.contract import Part, Passed, Rejected
from curate.stages.fetched import Desk, Fetched
from curate.stages.missing import needing

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.dataset.store import Store

__all__ = ["Obeyed", "Web", "web_address"]

Obeyed = Literal["robots", "noai", "tdm", "content_signal"]
CONTACT = re.compile(r"https?://\S+|[^\s@]+@[^\s@]+\.[^\s@]+")
PACE = frozenset({"headers_from", "delay", "hosts", "retries", "seconds", "allow"})
WEB = frozenset({
    "agent", "obey", "longest_delay", "max_pages", "host_pages", "host_bytes", "page_bytes", "media_types", *PACE,
})  # fmt: skip


def web_address(value: str) -> str:
    """An address in its one spelling.

    Raises:
        ValueError: It is none of the web, or has a credential in it (its type is `credential`, and no message shows it).
    """
    try:
        secret = credentials_in(value) or (["user"] if "@" in urlsplit(value).netloc else [])
    except ValueError:
        secret = []
    if secret:
        told = "`{url}` has a credential in it (`{name}`); let an environment variable hold it, and name that in `headers_from`"
        raise PydanticCustomError("credential", told, {"url": public_url(value), "name": secret[0]})
    found = canonical(value)
    if found is None:
        raise ValueError(f"`{value}` is no address of the web: it begins with http:// or https://")
    return found


class Web(Fetched):
    """Pages of the web, fetched once, with the rules of their hosts obeyed."""

    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("pyarrow",)
    pace: ClassVar[frozenset[str]] = PACE
    planning: ClassVar[frozenset[str]] = WEB

    keeps_old: ClassVar[bool] = False
    """Whether documents stay that a refresh does not meet any more."""

    agent: str = Field(
        description="What servers are told who asks, with a contact: `example-reader/1.0 (+https://example.org/reader)`. Its "
        "first word is the name that robots.txt goes by."
    )
    obey: list[Obeyed] = Field(
        ["robots", "noai", "tdm", "content_signal"],
        description="Whose wishes count: robots.txt with `noindex` and `nofollow`; `noai` and `noimageai`; TDMRep; "
        "`Content-Signal: ai-train=no`. Those of the last three that are left out here are in the column `opt_out` "
        "of pages that are kept.",
    )
    delay: float = Field(
        1.0, ge=0, description="Least seconds between two requests to a host; its Crawl-delay, where that is more."
    )
    longest_delay: float = Field(
        60.0,
        gt=0,
        description="Hosts with a longer Crawl-delay, in seconds, are not asked, and counted as `crawl_delay`.",
    )
    hosts: int = Field(16, ge=1, le=256, description="Most hosts that are asked at once, each over one connection.")
    retries: int = Field(
        2, ge=0, description="How often a page that fails is asked for again, later each time, as Retry-After says."
    )
    seconds: float = Field(60.0, gt=0, description="Most seconds for an answer.")
    max_pages: int = Field(
        10_000, ge=1, description="Most pages that are asked for; of lists of pages, and of new hosts at once, as many."
    )
    host_pages: int | None = Field(None, ge=1, description="Most pages that a host is asked for, and most lists.")
    host_bytes: int | None = Field(None, ge=1, description="Bytes of a host after which it is asked for no more.")
    page_bytes: int = Field(20 << 20, ge=1, description="Most bytes of a page, as it comes and unpacked.")
    media_types: list[str] | None = Field(
        None,
        description="What is taken, by `Content-Type`, by default all that `extract` reads; of other answers, nothing is read.",
    )
    headers_from: dict[str, str] = Field(
        {},
        description="Headers with credentials, for the servers that the settings name alone: by header, the environment "
        "variable (`Authorization: WIKI_TOKEN`).",
    )
    allow: list[str] = Field(
        [], description="`host:port` that may be reached though they are not public (an intranet)."
    )

    @field_validator("agent")
    @classmethod
    def _has_contact(cls, value: str) -> str:
        if not product(value) or not CONTACT.search(value) or not value.isascii() or not value.isprintable():
            raise ValueError(
                f"`{value}` does not say who asks: a name of ASCII letters, and an address or e-mail where you can be reached, "
                "as in `example-reader/1.0 (+https://example.org/reader)`"
            )
        return value

    def secrets(self) -> Sequence[str]:
        """The values of the variables, the longest first."""
        values = [os.environ.get(name, "") for name in self.headers_from.values()]
        words = {word for value in values for word in (value, *value.split()) if len(word) > 6}
        return sorted(words, key=lambda word: (-len(word), word))

    def credentials(self) -> dict[str, str]:
        """Headers for the servers that the settings name."""
        for name in self.headers_from.values():
            if not os.environ.get(name):
                raise CurateError(f"the environment variable {name} is not set", hint=f"export {name}=...")
        return {key: os.environ[name] for key, name in self.headers_from.items()}

    def limits(self) -> Limits:
        """What servers may do."""
        return Limits(self.page_bytes, self.seconds, self.retries, self.delay)

    def takes(self, kind: str) -> bool:
        """Whether answers of a media type are taken; one that says nothing is."""
        taken = Extract.media_types if self.media_types is None else self.media_types
        return not kind or kind in taken or f"{kind.partition('/')[0]}/*" in taken

    def read_from(self, store: Store, part: Part) -> Iterator[pa.Table | Rejected | Passed]:
        """The pages of a piece."""
        yield from documents(store, part)

    @property
    def deepest(self) -> int | None:
        """Most links from a seed; None is no limit."""
        return None

    @property
    def most_alike(self) -> int:
        """Most addresses in a row that differ in digits alone."""
        return 1

    def covers(self, url: str) -> bool:
        """Whether an address is one of those that this is about."""
        raise NotImplementedError

    def rows(self, url: str, came: Came, host: Host, kind: str, values: Mapping[str, Any]) -> list[Row]:
        """What an answer becomes: a row of the address that was asked for, and of what stands in it.

        Args:
            url: What was asked for.
            came: The answer.
            host: Its host.
            kind: What was expected there (`Met.kind`).
            values: Columns that say how it was met.
        """
        return [page_row(url, came, self, host, **values)]

    def leads(self, url: str, met: Met, reason: str | None, links: Sequence[Any]) -> Iterator[Lead]:
        """Where a row leads.

        Args:
            url: Its address.
            met: How that was met.
            reason: Why it is no document.
            links: What `rows` has written into the column of this name.
        """
        yield from ()

    def walked(
        self, desk: Desk, stage: str, seeds: Mapping[str, Met], packages: Sequence[str] = ("protego",)
    ) -> Mapping[str, Any]:
        """Go from the seeds on; what the snapshot says of itself: addresses by what became of them, most first.

        Raises:
            MachineError: A package is missing.
            ResumableError: No page could be had.
        """
        with needing(stage):
            for package in packages:
                import_module(package)
        counts = Walk(self, desk, seeds).run()
        ordered = dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))
        return {"address": next(iter(seeds)), "addresses": ordered}
