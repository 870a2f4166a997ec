"""Who may ask for pages of a store with personal data, beside what every server asks (curate/guard.py).

    token          256 random bits in the address that is printed; good once, for a cookie that no script and no other site gets
                   but servers on other ports of this machine that the browser visits, which could read with it: the
                   documentation says so
    writing        POST alone, with the cookie, an own header (a form of another site has none), and an Origin of the list
    pages          ask nobody else for anything and run this server's scripts alone (Content-Security-Policy)

Cookies ignore ports, so the cookie's name has the port.
"""

from __future__ import annotations

from collections.abc import Collection
from secrets import compare_digest, token_urlsafe
from urllib.parse import parse_qsl, urlencode

from curate.guard import App, Guard, Message, Refusal

__all__ = ["HEADER", "PageGuard"]

HEADER = "x-curate"
"""What a request that writes has, with any value: a page of another site cannot send it without being allowed to."""
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


class PageGuard(Guard):
    """Stands before the pages.

    Args:
        app: What it guards.
        hosts: What `Host` may say, ports included.
        port: Of the server; in the name of the cookie.
        read_only: Whether nothing may be written.
    """

    headers = (
        (b"content-security-policy",
         b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
         b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"cache-control", b"no-store"),
    )  # fmt: skip

    def __init__(self, app: App, hosts: Collection[str], port: int, *, read_only: bool = False) -> None:
        super().__init__(app, hosts)
        self.read_only = read_only
        self.token: str | None = token_urlsafe(32)
        self.cookie, self._session = f"curate_{port}", token_urlsafe(32)

    def refusal(self, scope: Message, headers: dict[bytes, str]) -> Refusal | None:
        """See `Guard.refusal`."""
        known = self._knows(headers.get(b"cookie", ""))
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        token = next((value for key, value in query if key == "token"), None)
        if token is not None and scope["method"] == "GET":
            fresh = self.token is not None and compare_digest(token.encode(), self.token.encode())
            if fresh or known:
                return self._let_in(scope, [pair for pair in query if pair[0] != "token"], fresh=fresh)
        if not known:
            return Refusal(401, CLOSED)
        return self._write_refusal(headers) if scope["method"] == "POST" else None

    def body(self, refusal: Refusal) -> tuple[bytes, bytes]:
        """A page, where somebody is to be told what to do."""
        return (b"text/html; charset=utf-8", CLOSED.encode()) if refusal.told == CLOSED else super().body(refusal)

    def _let_in(self, scope: Message, query: list[tuple[str, str]], *, fresh: bool) -> Refusal:
        """What leads to the address without the token, with the cookie where the token is good."""
        path = scope.get("raw_path", b"/").decode("latin-1").partition("?")[0]
        path = "/" + path.lstrip("/\\")  # else `//elsewhere` leads there
        to = path + ("?" + urlencode(query) if query else "")
        found = [(b"location", to.encode("latin-1"))]
        if fresh:
            self.token = None
            cookie = f"{self.cookie}={self._session}; Path=/; HttpOnly; SameSite=Strict"
            found.append((b"set-cookie", cookie.encode()))
        return Refusal(303, "", tuple(found))

    def _knows(self, cookies: str) -> bool:
        for one in cookies.split(";"):
            name, _, value = one.strip().partition("=")
            if name == self.cookie and compare_digest(value.encode("latin-1"), self._session.encode()):
                return True
        return False

    def _write_refusal(self, headers: dict[bytes, str]) -> Refusal | None:
        if self.read_only:
            return Refusal(403, "This server was started with --read-only.")
        same_site = headers.get(b"sec-fetch-site", "same-origin") == "same-origin"
        if not same_site or headers.get(b"origin") not in self.origins or HEADER.encode() not in headers:
            return Refusal(403, "This may only be asked by the pages of this server.")
        return None
