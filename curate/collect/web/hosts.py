"""One host of a crawl: its connection, its pace, its rules; each request is made by whoever holds it, one at a time."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, NamedTuple

from curate.collect.fetch.client import Client, TooLarge, origin
from curate.collect.fetch.guard import NotPublic
from curate.collect.web.hidden import hidden
from curate.collect.web.robots import Rules
from curate.errors import CurateError, ResumableError

if TYPE_CHECKING:
    from curate.collect.web.source import Web

__all__ = ["Came", "Host", "Stopped"]

LIST_BYTES = 50 << 20
"""Most bytes of what is no page (robots.txt, sitemaps, feeds), as the protocol of sitemaps has it."""
PATIENCE = 5
"""After so many failures in a row, an address of a host is asked for once, and nothing is waited for."""
FAILURES = 50
"""After so many, a host is not asked any more."""


class Stopped(Exception):
    """Somebody asked to end while a host waited."""


class Came(NamedTuple):
    """What an address was answered with, or why it was not.

    Attributes:
        reason: `too_large`, `not_public`, `unreachable`; None where there is an answer.
        detail: That in words.
        status: The status code.
        headers: By name in lower case, without cookies.
        body: The content; empty where it was not wanted.
        fetched: When (UTC, ISO 8601).
    """

    reason: str | None
    detail: str | None = None
    status: int | None = None
    headers: Mapping[str, str] = {}
    body: bytes = b""
    fetched: str | None = None


class Host:
    """A host.

    Args:
        root: Scheme, host, and port where it is not the scheme's.
        source: Who asks, and how gently.
        credentials: Headers for some servers.
        own: The origins of these.
        stop: Set where nobody waits any more.
    """

    def __init__(
        self,
        root: str,
        source: Web,
        credentials: Mapping[str, str],
        own: Collection[tuple[str, str, int]],
        stop: threading.Event,
    ) -> None:
        self.root, self.source, self.credentials, self.own, self._stop = root, source, credentials, own, stop
        self.client = Client(
            agent=source.agent, limits=source.limits(), allow=source.allow, secrets=source.secrets(), sleep=self._sleep
        )
        self.rules: Rules | None = None
        self.reserved: str | None = None
        self.pages = Counter[str]()
        self.bytes = self.failed = 0

    def _sleep(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise Stopped

    def ask(
        self, url: str, headers: Mapping[str, str] | None = None, *, follow: bool = False, all_types: bool = False
    ) -> Came:
        """Ask for an address; redirections are answers, unless they are to be followed.

        Args:
            url: On this host.
            headers: Sent with it.
            follow: For files of rules, which count for this host wherever they are kept.
            all_types: Whether an answer of any media type is read, and as a list of addresses, which may be longer than a page.
        """

        def wanted(status: int, found: Mapping[str, str]) -> bool:
            kind = found.get("content-type", "").partition(";")[0].strip().lower()
            return 200 <= status < 300 and (all_types or self.source.takes(kind))

        if self._stop.is_set():
            raise Stopped
        if self.failed >= FAILURES:
            return Came("unreachable", f"{FAILURES} addresses of this host in a row could not be had")
        try:
            credentials = self.credentials if origin(url) in self.own else {}
        except CurateError as error:
            return Came("unreachable", error.problem)
        self.client.limits = self.client.limits._replace(
            bytes=LIST_BYTES if all_types else self.source.page_bytes,
            retries=0 if self.failed >= PATIENCE else self.source.retries,
        )
        try:
            answer = self.client.get(url, headers, credentials=credentials, follow=follow, wanted=wanted)
        except NotPublic as error:
            return Came("not_public", f"{error.problem}; {error.hint}")
        except TooLarge as error:
            return Came("too_large", error.problem)
        except (ResumableError, CurateError) as error:
            self.failed += isinstance(error, ResumableError)
            return Came("unreachable", error.problem)
        finally:
            self.client.answered(url)
        self.failed = 0
        kept = {name: value for name, value in answer.headers.items() if name not in ("set-cookie", "set-cookie2")}
        came = Came(None, None, answer.status, kept, answer.body, f"{answer.fetched[:19]}Z")
        return hidden(came, self.source.secrets())

    def obey(self, robots: Came, tdmrep: Came) -> None:
        """Take the rules of the host, and the pace that they ask for."""
        kind = robots.headers.get("content-type", "").partition(";")[0].strip().lower()
        reservations = tdmrep.body if tdmrep.status == 200 else None
        self.rules = Rules(self.source.agent, robots.status, robots.body, kind, reservations, robots.detail)
        if tdmrep.status is None or tdmrep.status >= 500:
            self.reserved = tdmrep.detail or f"tdmrep.json is answered with {tdmrep.status}"
        elif self.rules.unreadable:
            self.reserved = "tdmrep.json cannot be read"
        asked = self.rules.delay if "robots" in self.source.obey else None
        self.client.limits = self.client.limits._replace(pause=max(self.source.delay, asked or 0.0))

    def refuses(self, url: str) -> tuple[str, str | None] | None:
        """Why a page may not be asked for: reason and evidence."""
        assert self.rules is not None
        obeyed = self.source.obey
        if "robots" in obeyed:
            if self.rules.closed:
                return "no_robots_txt", self.rules.closed
            if not self.rules.allows(url):
                return "robots", "robots.txt"
            if (self.rules.delay or 0.0) > self.source.longest_delay:
                return "crawl_delay", f"Crawl-delay: {self.rules.delay:g}"
        if "content_signal" in obeyed and (said := self.rules.signal(url)):
            return "opt_out", said
        if "tdm" in obeyed and self.reserved:
            return "no_tdmrep", self.reserved
        return ("opt_out", said) if "tdm" in obeyed and (said := self.rules.reservation(url)) else None

    def noted(self, url: str) -> list[str]:
        """Opt-outs of its files that are not obeyed, for the column."""
        assert self.rules is not None
        return [said for said in (self.rules.signal(url), self.rules.reservation(url)) if said]
