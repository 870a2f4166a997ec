"""The server: bound to this machine alone, behind the guard."""

from __future__ import annotations

import os
import socket
import sys
from importlib.util import find_spec
from typing import Any
from urllib.parse import quote

from curate.dataset.refs import resolve
from curate.dataset.store import Store
from curate.errors import CurateError, MachineError
from curate.workbench.desk import Desk
from curate.workbench.guard import Guard

__all__ = ["Server", "open_server"]

ADDRESS = "127.0.0.1"


class Server:
    """A server that listens, and answers once it is told to `serve`.

    Attributes:
        url: The address that lets one browser in.
        store: Where the store is.
        port: Its port.
        app: The application behind its guard.
    """

    def __init__(self, desk: Desk, listening: socket.socket, path: str) -> None:
        from curate.workbench.app import make_app

        self.port: int = listening.getsockname()[1]
        self.store, self._socket, self._desk = desk.store.location, listening, desk
        hosts = [f"{name}:{self.port}" for name in (ADDRESS, "localhost")]
        self.app = Guard(make_app(desk), hosts, self.port, read_only=desk.read_only)
        self.url = f"http://{ADDRESS}:{self.port}{path}?token={self.app.token}"

    def close(self) -> None:
        """Let go of the port, where nothing is served."""
        self._socket.close()

    def serve(self) -> None:
        """Answer until a signal ends it."""
        import uvicorn

        # what breaks is told with its text, which may be of a document
        level = "error" if os.environ.get("CURATE_DEBUG") else "critical"
        options: dict[str, Any] = {"log_level": level, "access_log": False, "server_header": False}
        sys.stdout.flush()
        try:
            with self._desk.looking():
                uvicorn.Server(uvicorn.Config(self.app, **options)).run(sockets=[self._socket])  # type: ignore[arg-type]
        finally:
            self._desk.close()


def open_server(
    store: Store, version: str | None = None, *, port: int = 0, read_only: bool = False, indexing: bool = False
) -> Server:
    """A server over a store, which listens on a port of this machine.

    Args:
        store: The store.
        version: What the address leads to; None: the first page.
        port: 0 takes a free one.
        read_only: Whether nothing may be written by a page.
        indexing: Whether texts are indexed, by another process.

    Raises:
        MachineError: A package is missing.
        CurateError: There is no such version, or the port is taken.
    """
    missing = [name for name in ("starlette", "uvicorn", "tantivy") if find_spec(name) is None]
    if missing:
        raise MachineError(f"`curate browse` needs {', '.join(missing)}", hint="pip install 'curate-lm[browse]'")
    path = "/"
    if version is not None:
        found = resolve(store, version)
        path = f"/v/{quote(f'{found.dataset}@{found.version[:12]}', safe='')}"
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((ADDRESS, port))
        listening.listen(100)  # who asks before we serve waits
    except OSError as error:
        listening.close()
        raise CurateError(
            f"port {port} cannot be used: {error.strerror}", hint="without --port a free one is taken"
        ) from None
    return Server(Desk(store, read_only=read_only, indexing=indexing), listening, path)
