"""Who may ask this server anything: a page of a store with personal data on a machine where browsers run foreign scripts.

    Host           one of a list that is made at the start: a name of somebody else's that leads here (rebinding) is refused
    token          256 random bits in the address that is printed; good once, for a cookie that no script and no other site gets
                   but servers on other ports of this machine that the browser visits, which could read with it: the
                   documentation says so
    writing        POST alone, with the cookie, an own header (a form of another site has none), and an Origin of the list
    pages          ask nobody else for anything and run this server's scripts alone (Content-Security-Policy)

Comparing Origin with Host would prove nothing: under rebinding both are the attacker's name. Cookies ignore ports, so the
cookie's name has the port. Nothing of a request is logged.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, MutableMapping
from secrets import compare_digest, token_urlsafe
from typing import Any
from urllib.parse import parse_qsl, urlencode

__all__ = ["HEADER", "Guard"]

HEADER = "x-curate"
"""What a request that writes has, with any value: a page of another site cannot send it without being allowed to."""
HEADERS = (
    (b"content-security-policy",
     b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; "
     b"base-uri 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)  # fmt: skip
CLOSED = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Closed: curate browse</title><link rel="icon" href="data:,"></head><body><main>
<h1>This page is for whoever started it</h1>
<p>Open the address that <code>curate browse</code> printed in the terminal. It is good for one browser, once.</p>
<p>Started again it prints a new one; with the same <code>--port</code> all addresses of before, bookmarks too, work again
in the browser that has opened it. For another browser of your own, start a second <code>curate browse</code>.</p>
<p>Somebody else who may read the store starts <code>curate browse</code> as well: what stands behind the port in an
address is the same for everybody.</p>
</main></body></html>
"""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Guard:
    """Stands before an application.

    Args:
        app: What it guards.
        hosts: What `Host` may say, ports included.
        port: Of the server; in the name of the cookie.
        read_only: Whether nothing may be written.
    """

    def __init__(self, app: App, hosts: Collection[str], port: int, *, read_only: bool = False) -> None:
        self.app, self.hosts, self.read_only = app, frozenset(hosts), read_only
        self.origins = frozenset(f"http://{host}" for host in hosts)
        self.token: str | None = token_urlsafe(32)
        self.cookie, self._session = f"curate_{port}", token_urlsafe(32)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer, or let the application."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            status, told, more = self._refusal(scope)
            if status:
                await _answer(send, status, told, more)
            else:
                await self.app(scope, receive, _with_headers(send))

    def _refusal(self, scope: Message) -> tuple[int, str, list[tuple[bytes, bytes]]]:
        """Status, text and headers of an answer; the status is 0 where the application is to give it."""
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if [name.lower() for name, _ in scope["headers"]].count(b"host") != 1 or headers[b"host"] not in self.hosts:
            return 400, "This server is not called so.", []
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return 405, "GET, HEAD or POST.", [(b"allow", b"GET, HEAD, POST")]
        known = self._knows(headers.get(b"cookie", ""))
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        token = next((value for key, value in query if key == "token"), None)
        if token is not None and scope["method"] == "GET":
            fresh = self.token is not None and compare_digest(token.encode(), self.token.encode())
            if fresh or known:
                return 303, "", self._let_in(scope, [pair for pair in query if pair[0] != "token"], fresh=fresh)
        if not known:
            return 401, CLOSED, []
        return self._write_refusal(headers) if scope["method"] == "POST" else (0, "", [])

    def _let_in(self, scope: Message, query: list[tuple[str, str]], *, fresh: bool) -> list[tuple[bytes, bytes]]:
        """The headers that lead to the address without the token, with the cookie where the token is good."""
        path = scope.get("raw_path", b"/").decode("latin-1").partition("?")[0]
        path = "/" + path.lstrip("/\\")  # else `//elsewhere` leads there
        to = path + ("?" + urlencode(query) if query else "")
        found = [(b"location", to.encode("latin-1"))]
        if fresh:
            self.token = None
            cookie = f"{self.cookie}={self._session}; Path=/; HttpOnly; SameSite=Strict"
            found.append((b"set-cookie", cookie.encode()))
        return found

    def _knows(self, cookies: str) -> bool:
        for one in cookies.split(";"):
            name, _, value = one.strip().partition("=")
            if name == self.cookie and compare_digest(value.encode("latin-1"), self._session.encode()):
                return True
        return False

    def _write_refusal(self, headers: dict[bytes, str]) -> tuple[int, str, list[tuple[bytes, bytes]]]:
        if self.read_only:
            return 403, "This server was started with --read-only.", []
        same_site = headers.get(b"sec-fetch-site", "same-origin") == "same-origin"
        if not same_site or headers.get(b"origin") not in self.origins or HEADER.encode() not in headers:
            return 403, "This may only be asked by the pages of this server.", []
        return 0, "", []


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = {name for name, _ in HEADERS}
            there = [one for one in message.get("headers", []) if one[0].lower() not in own]
            message["headers"] = [*there, *HEADERS]
        await send(message)

    return sending


async def _answer(send: Send, status: int, told: str, more: list[tuple[bytes, bytes]]) -> None:
    body = told.encode()
    kind = b"text/html; charset=utf-8" if told == CLOSED else b"text/plain; charset=utf-8"
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *more]
    sending = _with_headers(send)
    await sending({"type": "http.response.start", "status": status, "headers": headers})
    await sending({"type": "http.response.body", "body": body})
