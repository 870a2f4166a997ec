"""The server: bound to this machine alone, behind the guard."""

from __future__ import annotations

import socket
from urllib.parse import quote

from curate.dataset.refs import resolve
from curate.dataset.store import Store
from curate.listening import LOOPBACK, listen, own_hosts, require_server, run_server
from curate.workbench.desk import Desk
from curate.workbench.guard import PageGuard

__all__ = ["Server", "open_server"]


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
        self.app = PageGuard(make_app(desk), own_hosts(LOOPBACK, self.port), self.port, read_only=desk.read_only)  # type: ignore[arg-type]
        self.url = f"http://{LOOPBACK}:{self.port}{path}?token={self.app.token}"

    def close(self) -> None:
        """Let go of the port, where nothing is served."""
        self._socket.close()

    def serve(self) -> None:
        """Answer until a signal ends it."""
        try:
            with self._desk.looking():
                run_server(self.app, [self._socket])
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
    require_server("curate browse", "browse", "tantivy")
    path = "/"
    if version is not None:
        found = resolve(store, version)
        path = f"/v/{quote(f'{found.dataset}@{found.version[:12]}', safe='')}"
    listening = listen(LOOPBACK, port, hint="without --port a free one is taken")
    return Server(Desk(store, read_only=read_only, indexing=indexing), listening, path)
