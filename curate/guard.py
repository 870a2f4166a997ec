"""What stands before an application of a server on this machine, where browsers run foreign scripts.

`Host` must be one of a list that is made at the start: a name of somebody else's that leads here (DNS rebinding) is refused.
Comparing Origin with Host would prove nothing: under rebinding both are the attacker's name. Who else is let in is for the
kind of server to say: `curate browse` asks for a cookie, `curate serve` for a key. Nothing of a request is logged.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any, ClassVar, NamedTuple

__all__ = ["App", "Guard", "Message", "Receive", "Refusal", "Send"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]


class Refusal(NamedTuple):
    """An answer that the application is not asked for.

    Attributes:
        status: Of HTTP.
        told: What is said.
        headers: Further ones.
    """

    status: int
    told: str
    headers: Headers = ()


class Guard(ABC):
    """Stands before an application.

    Args:
        app: What it guards.
        hosts: What `Host` may say, ports included; None: anything, where something else says who may ask.
    """

    headers: ClassVar[Headers]
    """Of every answer, the application's too."""
    methods: ClassVar[tuple[str, ...]] = ("GET", "HEAD", "POST")

    def __init__(self, app: App, hosts: Collection[str] | None) -> None:
        self.app, self.hosts = app, None if hosts is None else frozenset(host.lower() for host in hosts)
        self.origins = frozenset(f"http://{host}" for host in self.hosts or ())

    @abstractmethod
    def refusal(self, scope: Message, headers: dict[bytes, str]) -> Refusal | None:
        """Why a request with a good `Host` is not let in; None: it is.

        Args:
            scope: ASGI's.
            headers: By name in small letters, the last of each.
        """

    def body(self, refusal: Refusal) -> tuple[bytes, bytes]:
        """The media type and the body of a refusal."""
        return b"text/plain; charset=utf-8", refusal.told.encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer, or let the application."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            refusal = self._refusal(scope)
            if refusal is None:
                await self.app(scope, receive, self._with_headers(send))
            else:
                await self._refuse(send, refusal)

    def _refusal(self, scope: Message) -> Refusal | None:
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if self.hosts is not None:
            once = [name.lower() for name, _ in scope["headers"]].count(b"host") == 1
            if not once or headers[b"host"].lower() not in self.hosts:
                return Refusal(400, "This server is not called so.")
        if scope["method"] not in self.methods:
            allowed = ", ".join(self.methods)
            return Refusal(
                405, f"{', '.join(self.methods[:-1])} or {self.methods[-1]}.", ((b"allow", allowed.encode()),)
            )
        return self.refusal(scope, headers)

    def _with_headers(self, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name for name, _ in self.headers}
                there = [one for one in message.get("headers", []) if one[0].lower() not in own]
                message["headers"] = [*there, *self.headers]
            await send(message)

        return sending

    async def _refuse(self, send: Send, refusal: Refusal) -> None:
        media, body = self.body(refusal)
        headers = [(b"content-type", media), (b"content-length", str(len(body)).encode()), *refusal.headers]
        sending = self._with_headers(send)
        await sending({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await sending({"type": "http.response.body", "body": body})
