"""From a model that somebody named to a server that listens."""

from __future__ import annotations

import signal
import socket
from asyncio import TimerHandle, Transport, get_running_loop
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.errors import CurateError
from curate.evaluation.models.headed import HeadedModel
from curate.evaluation.models.opened import Backend, is_endpoint, open_model
from curate.evaluation.models.tokens import TokenModel
from curate.evaluation.request import model_place
from curate.evaluation.tasks.chat import chat_template
from curate.listening import is_loopback, listen, made_server, own_hosts, require_server
from curate.serve.app import make_app
from curate.serve.guard import KeyGuard
from curate.serve.service import Limits, Service

if TYPE_CHECKING:
    from uvicorn import Server

__all__ = ["KEY", "ModelServer", "open_model_server", "open_served"]

KEY = "CURATE_SERVE_KEY"
SHORTEST = 16
"""Characters of a key."""
UNREAD_SECONDS = 30.0
"""How long a client may leave what it was sent unread, and how long a request may take to come where none is answered."""
SENDING = 2.0
"""Seconds for the last step and for sending what there is, when the time for draining is over."""
CONNECTIONS = 1000
"""Most at a time; more are answered 503. Each may hold a request of `app.BODY` bytes."""


class ModelServer:
    """A server that listens, and answers once it is told to `serve`.

    Attributes:
        url: What clients call the base URL.
        service: The model.
        app: The application behind its guard.
        host: Its address.
        port: Its port.
    """

    def __init__(self, service: Service, listening: socket.socket, host: str, key: str | None) -> None:
        self.service, self.host, self._socket = service, host, listening
        self.port: int = listening.getsockname()[1]
        named = f"[{host}]" if ":" in host else host
        self.url = f"http://{named}:{self.port}/v1"
        self.app = KeyGuard(make_app(service), own_hosts(host, self.port), key, service.answered)  # type: ignore[arg-type]

    def close(self) -> None:
        """Let go of the port, where nothing is served."""
        self._socket.close()

    def serve(self, *, drain: float = 30.0) -> None:
        """Answer until a signal ends it: then nothing new is taken, and what is being written is written to its end.

        Args:
            drain: Seconds for that.
        """
        # uvicorn gives the signal on when all is drained: that is no failure
        before = signal.signal(signal.SIGTERM, lambda *_: None)
        try:
            self.made(drain=drain).run(sockets=[self._socket])
        finally:
            signal.signal(signal.SIGTERM, before)

    def made(self, *, drain: float) -> Server:
        """The server itself, still to run; the argument is that of `serve`."""
        return made_server(
            self.app, lambda: self.service.work.drain(drain), http=protocol(),
            timeout_graceful_shutdown=drain + SENDING, limit_concurrency=CONNECTIONS,
        )  # fmt: skip


class _Clock:
    """Cuts a connection when its time is over."""

    _handle: TimerHandle | None = None

    def start(self, transport: Transport) -> None:
        """From now on, unless it goes already."""
        if self._handle is None:
            self._handle = get_running_loop().call_later(UNREAD_SECONDS, transport.abort)

    def stop(self) -> None:
        """In time."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


@cache
def protocol() -> type:
    """HTTP of uvicorn, that cuts a client which does not read, does not ask, or sends a body that nobody reads for ever."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Cutting(H11Protocol):
        transport: Transport

        def connection_made(self, transport: Any) -> None:
            """Somebody came."""
            super().connection_made(transport)
            self.unread, self.silent = _Clock(), _Clock()
            self._listen()

        def data_received(self, data: bytes) -> None:
            """Something came, maybe a request."""
            super().data_received(data)
            self._listen()

        def on_response_complete(self) -> None:
            """It was answered, and may send the rest of its body, read the answer, and ask again."""
            super().on_response_complete()
            self._listen()

        def _listen(self) -> None:
            """Whoever is not being answered has so long, whatever it sends, until a request is there."""
            cycle: Any = self.cycle
            if cycle is not None and not cycle.response_complete:
                self.silent.stop()
            else:
                self.silent.start(self.transport)

        def pause_writing(self) -> None:
            """More was sent than is read: it has so long."""
            super().pause_writing()
            self.unread.start(self.transport)

        def resume_writing(self) -> None:
            """It was read."""
            self.unread.stop()
            super().resume_writing()

        def connection_lost(self, exc: Exception | None) -> None:
            """It is over."""
            super().connection_lost(exc)
            self.unread.stop()
            self.silent.stop()

    return Cutting


def open_model_server(
    model: str,
    *,
    host: str,
    port: int,
    limits: Limits,
    key: str | None = None,
    name: str | None = None,
    length: int | None = None,
    backend: Backend = "auto",
) -> ModelServer:
    """A server of a model.

    Args:
        model: A run, its folder, a checkpoint, or a Hugging Face folder.
        host: Address that it is bound to.
        port: 0 takes a free one.
        limits: What it gives.
        key: What requests have to know; needed unless this machine alone reaches the address.
        name: What requests call the model; by default the name of its folder.
        length: Most tokens read at once; by default the model's.
        backend: Who computes a Hugging Face folder.

    Raises:
        MachineError: A package is missing.
        CurateError: There is no such model, it cannot be served, or the address cannot be used.
    """
    require_server("curate serve", "serve")
    if key is not None and (len(key) < SHORTEST or not key.isascii() or not key.isprintable() or " " in key):
        raise CurateError(
            f"the key has to have {SHORTEST} characters at least, all of ASCII and none a space", f"${KEY} or --key-file",
            "e.g. openssl rand -hex 32",
        )  # fmt: skip
    if key is None and not is_loopback(host):
        raise CurateError(
            f"{host} can be reached from other machines, and there is no key", "--host",
            f"set {KEY}, or --key-file FILE; or leave --host out: then this machine alone reaches the server",
        )  # fmt: skip
    listening = listen(host, port, hint="--port 0 takes a free one")
    try:
        opened, template = open_served(model, length, backend)
        service = Service(name or Path(model_place(model)).resolve().name, opened, template, limits)
        return ModelServer(service, listening, host, key)
    except BaseException:
        listening.close()
        raise


def open_served(model: str, length: int | None = None, backend: Backend = "auto") -> tuple[Any, Any]:
    """A language model, a model with a classification head, or an encoder; and the template of its conversations.

    Raises:
        CurateError: There is no such model, or one that is not served.
    """
    if is_endpoint(model):
        raise CurateError(f"`{model}` is a server already", "MODEL", "name a run or a folder")
    place = model_place(model)
    found: Any = open_model(place, length=length, backend=backend, encoders=True)
    if isinstance(found, HeadedModel) and (found.kind not in ("classification", "masked") or found.columns.features):
        what = "reads the numbers of a table" if found.columns.features else f"was trained for `{found.kind}`"
        raise CurateError(
            f"the model in `{place}` {what}, which is not served",
            "MODEL",
            "`curate predict` writes what it says of rows",
        )
    return found, chat_template(found) if isinstance(found, TokenModel) else None
