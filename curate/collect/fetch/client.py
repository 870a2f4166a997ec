"""The one HTTP client of sources that fetch: GET, guarded, gentle, and with limits on all that a server may do.

    connections    to public addresses only (curate/collect/fetch/guard.py); no proxies of the environment
    redirections   up to 10, each guarded; credentials stay with the origin that they are for
    again          after 429, 5xx, broken or cut answers, with Retry-After where the server says it, else 1, 2, 4, ... seconds
    limits         bytes on the wire and undone, seconds for a whole answer (a drip of bytes resets no clock)
    pace           least seconds between two requests to a host

One client is for one thread at a time.

What a body's codings are undone by is that of archives (curate/collect/http.py). Addresses are told without what may be
a credential.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from string import punctuation
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import parse_qsl, quote, urlencode, urljoin, urlsplit, urlunsplit

import httpcore

from curate.collect.fetch.credentials import names_credential
from curate.collect.fetch.guard import Guarded, Timed
from curate.collect.http import undo_codings
from curate.errors import CurateError, ResumableError

__all__ = ["Answer", "Client", "Limits", "TooLarge", "origin", "public_url"]

Wanted = Callable[[int, Mapping[str, str]], bool]
REDIRECTIONS = 10
AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
LONGEST_WAIT = 600.0
SECRET_NAMES = ("key", "token", "secret", "password", "passwd", "signature", "sig", "auth", "session", "credential")


class Limits(NamedTuple):
    """What a server may do.

    Attributes:
        bytes: Most of a body, as it comes and with its codings undone.
        seconds: Most for an answer, from the request to the last byte.
        retries: How often a request is made again.
        pause: Least seconds between two requests to a host.
    """

    bytes: int = 20 << 20
    seconds: float = 120.0
    retries: int = 4
    pause: float = 0.0


class Answer(NamedTuple):
    """What came.

    Attributes:
        url: Where it came from, after redirections, without credentials.
        status: The status code.
        headers: By name in lower case.
        body: Its content, with codings undone.
        fetched: When (UTC, ISO 8601).
    """

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    fetched: str


class TooLarge(CurateError):
    """An answer of more bytes than are allowed, as it comes or unpacked."""


class _Again(Exception):
    """An attempt failed in a way that another one may not; after how many seconds the server asks for it."""

    def __init__(self, problem: str, after: float | None = None) -> None:
        super().__init__(problem)
        self.after = after


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port.

    Raises:
        CurateError: It is no http or https address, or has credentials in it.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise CurateError(f"`{public_url(url)}` is no address of a web server", hint="such as https://host/path")
    if parts.username or parts.password:
        raise CurateError(f"`{public_url(url)}` has credentials in it", hint="let a header hold them")
    return parts.scheme, parts.hostname.lower(), port or (443 if parts.scheme == "https" else 80)


def public_url(url: str, secrets: Collection[str] = ()) -> str:
    """An address without user, password, fragment, and without parameters that are credentials by name or value."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.partition(":")[0] + "://..."
    kept = [
        (name, value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
        if value not in secrets and not any(word in name.lower().replace("-", "_").split("_") for word in SECRET_NAMES)
        and not names_credential(name)
    ]  # fmt: skip
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, urlencode(kept), ""))


class Client:
    """Asks servers, one request after the other.

    Args:
        agent: What it calls itself.
        limits: What servers may do.
        allow: `host:port` that may be reached though their addresses are not public.
        secrets: Values that no message shows.
        guard: What opens connections, for tests.
        sleep: Waits, for tests.
    """

    def __init__(
        self,
        *,
        agent: str = "curate",
        limits: Limits | None = None,
        allow: Collection[str] = (),
        secrets: Collection[str] = (),
        guard: Guarded | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.agent, self.limits, self.secrets, self._sleep = agent, limits or Limits(), list(secrets), sleep
        self._ends = float("inf")
        timed = Timed(guard or Guarded(allow), self._left)
        self._pool = httpcore.ConnectionPool(network_backend=timed, max_connections=4)
        self._asked: dict[str, float] = {}

    def _left(self) -> float:
        """Seconds that the answer may still take.

        Raises:
            ReadTimeout: None.
        """
        left = self._ends - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout(self._too_late())
        return left

    def _too_late(self) -> str:
        return f"the answer took longer than {self.limits.seconds:g} seconds"

    def __enter__(self) -> Self:
        return self

    def answered(self, url: str) -> None:
        """Count the pace of a host from now on, where it counts from the end of an answer, and not from the request."""
        self._asked[origin(url)[1]] = time.monotonic()

    def rest(self) -> None:
        """Close what is open; what is asked next opens it again, at the same pace."""
        self._pool.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()

    def get(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        credentials: Mapping[str, str] | None = None,
        usable: Callable[[Answer], str | None] = lambda answer: None,
        follow: bool = True,
        wanted: Wanted = lambda status, headers: True,
    ) -> Answer:
        """The answer of a server, whatever its status is but one that asks to come again.

        Args:
            url: What to ask for.
            headers: Sent to every server on the way.
            credentials: Headers that are sent to the origin of `url` alone.
            usable: Says what is wrong with an answer, so that it is asked for again.
            follow: Whether to go where a redirection leads; else it is the answer.
            wanted: Says by status and headers whether a body is to be read; one that is not is empty.

        Raises:
            CurateError: The address is none, or leads nowhere.
            NotPublic: It is of a host that is not public.
            TooLarge: There is more than `limits.bytes`.
            ResumableError: It was asked for `retries` times more, and there is no answer to be had.
        """
        problem = ""
        for attempt in range(self.limits.retries + 1):
            try:
                given = dict(headers or {}), dict(credentials or {})
                answer = (
                    self._followed(url, *given, wanted)
                    if follow
                    else self._once(url, {**given[0], **given[1]}, wanted)[0]
                )
                wrong = usable(answer)
                if wrong is None:
                    return answer
                raise _Again(wrong)
            except _Again as error:
                problem = str(error)
                if attempt < self.limits.retries:
                    self._sleep(min(2.0**attempt if error.after is None else error.after, LONGEST_WAIT))
        raise ResumableError(
            f"`{public_url(url, self.secrets)}` failed {self.limits.retries + 1} times: {problem}",
            hint="what was fetched before is kept; the same command goes on from there",
        )

    def _followed(self, url: str, headers: dict[str, str], credentials: dict[str, str], wanted: Wanted) -> Answer:
        home, asked = origin(url), set[str]()
        for _ in range(REDIRECTIONS + 1):
            here = origin(url)
            answer, target = self._once(url, {**headers, **(credentials if here == home else {})}, wanted)
            asked.add(url)
            if target is None:
                return answer
            try:
                url = urljoin(url, target)
            except ValueError:
                raise CurateError(f"`{answer.url}` leads to what is no address") from None
            if url in asked:
                break
        raise CurateError(
            f"`{public_url(url, self.secrets)}` is redirected in a circle, or more than {REDIRECTIONS} times"
        )

    def _once(self, url: str, headers: dict[str, str], wanted: Wanted) -> tuple[Answer, str | None]:
        """The answer to one request, and where it leads to."""
        self._wait(origin(url)[1])
        parts = urlsplit(url)
        target = urlunsplit((parts.scheme, parts.netloc, parts.path or "/", parts.query, ""))
        sent = {"User-Agent": self.agent, "Accept-Encoding": "gzip, deflate", **headers}
        limit = min(30.0, self.limits.seconds)
        timeouts = {"connect": limit, "read": limit, "write": limit, "pool": limit}
        self._ends = time.monotonic() + self.limits.seconds
        try:
            given = [(name.encode(), value.encode()) for name, value in sent.items()]
            asked = quote(target, safe=punctuation).encode()
            with self._pool.stream("GET", asked, headers=given, extensions={"timeout": timeouts}) as got:
                found = _headers(got.headers)
                if got.status in AGAIN:
                    raise _Again(f"the server says {got.status}", _retry_after(found))
                body = self._body(got, public_url(url, self.secrets)) if wanted(got.status, found) else b""
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, UnicodeError) as error:
            late = isinstance(error, httpcore.TimeoutException) and time.monotonic() >= self._ends
            raise _Again(self._too_late() if late else str(error) or type(error).__name__) from error
        when = datetime.now(UTC).isoformat(timespec="milliseconds")
        answer = Answer(public_url(url, self.secrets), got.status, found, self._undone(body, found, url), when)
        return answer, found.get("location") if got.status in (301, 302, 303, 307, 308) else None

    def _wait(self, host: str) -> None:
        """Keep the pace."""
        left = self._asked.get(host, 0.0) + self.limits.pause - time.monotonic()
        if self.limits.pause and left > 0:
            self._sleep(left)
        self._asked[host] = time.monotonic()

    def _body(self, got: httpcore.Response, url: str) -> bytes:
        pieces, size = list[bytes](), 0
        for piece in got.iter_stream():
            pieces.append(piece)
            size += len(piece)
            if size > self.limits.bytes:
                raise self._too_large(url)
        return b"".join(pieces)

    def _undone(self, body: bytes, headers: Mapping[str, str], url: str) -> bytes:
        try:
            coded = {key: value for key, value in headers.items() if key == "content-encoding"}
            content = undo_codings(body, coded, self.limits.bytes) if coded else body
        except ValueError as error:
            raise _Again(str(error)) from error
        if len(content) > self.limits.bytes:
            raise self._too_large(public_url(url, self.secrets))
        return content

    def _too_large(self, url: str) -> TooLarge:
        return TooLarge(f"the answer of `{url}` is larger than {self.limits.bytes:,} bytes, as it comes or unpacked")


def _headers(given: list[tuple[bytes, bytes]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in given:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        if key == "location":  # many servers write it as UTF-8, and so do browsers read it
            with suppress(UnicodeDecodeError):
                text = value.decode()
        between = "\n" if key == "x-robots-tag" else ", "  # whom a word is for counts to the end of its header
        found[key] = f"{found[key]}{between}{text}" if key in found else text
    return found


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that a server asks to wait: a number, or a date."""
    told = headers.get("retry-after", "").strip()
    if told.isdecimal():
        return float(told)
    try:
        when = parsedate_to_datetime(told)
    except (TypeError, ValueError):
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())
