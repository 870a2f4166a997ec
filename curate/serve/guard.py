"""Who may ask a model, beside what every server asks (curate/guard.py).

a key          `Authorization: Bearer KEY`, compared in constant time; then `Host` may be any name, of a proxy for instance
no key         on this machine alone: `Host` of a fixed list, and no `Origin` of somebody else's page
probes         /health and /ready answer everybody

It stands outermost, so it counts what was answered, its own refusals too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from secrets import compare_digest

from curate.guard import App, Guard, Message, Receive, Refusal, Send
from curate.serve.answers import error_body
from curate.serve.requests import Refused

__all__ = ["FAILED", "KeyGuard"]

FAILED = "curate.failed"
"""Where an application leaves in the scope of a request the status of an error that it told when its answer had begun."""

PROBES = frozenset({"/health", "/ready"})
CODES = {401: "invalid_api_key"}


class KeyGuard(Guard):
    """Stands before a model.

    Args:
        app: What it guards.
        hosts: What `Host` may say, ports included; where there is a key it is not asked.
        key: What a request has to know; None: nothing.
        count: Told the path and the status of each answer, when its last part is sent or nobody is there any more.
    """

    headers = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))

    def __init__(self, app: App, hosts: Collection[str], key: str | None, count: Callable[[str, int], None]) -> None:
        super().__init__(app, None if key else hosts)
        self._count = count
        self._key = None if key is None else key.encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """See `Guard`."""
        if scope["type"] != "http":
            return await super().__call__(scope, receive, send)
        status: int | None = 500

        def ended() -> None:
            nonlocal status
            if status is not None:
                self._count(scope["path"], scope.get(FAILED, status))
            status = None

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body" and not message.get("more_body"):
                ended()
            await send(message)

        try:
            await super().__call__(scope, receive, sending)
        finally:
            ended()

    def refusal(self, scope: Message, headers: dict[bytes, str]) -> Refusal | None:
        """See `Guard.refusal`."""
        if scope["path"] in PROBES:
            return None
        if self._key is not None:
            kind, _, given = headers.get(b"authorization", "").partition(" ")
            if kind.lower() != "bearer" or not compare_digest(given.strip().encode("latin-1"), self._key):
                return Refusal(401, "this server asks for its key", ((b"www-authenticate", b"Bearer"),))
        elif headers.get(b"origin", "") not in {"", *self.origins}:
            return Refusal(403, "pages of other sites may not ask this server")
        return None

    def body(self, refusal: Refusal) -> tuple[bytes, bytes]:
        """In OpenAI's form."""
        told = Refused(refusal.told, status=refusal.status, code=CODES.get(refusal.status))
        return b"application/json", json.dumps(error_body(told)).encode()
