"""A server on a port of this machine: Starlette's application under uvicorn, which logs nothing of what is asked."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from curate.errors import CurateError, MachineError

if TYPE_CHECKING:
    from uvicorn import Server

__all__ = ["LOOPBACK", "is_loopback", "listen", "made_server", "own_hosts", "require_server", "run_server"]

LOOPBACK = "127.0.0.1"
PACKAGES = ("starlette", "uvicorn")
WAITING = 128
"""Connections that are not taken yet: who asks before we serve waits."""


def require_server(command: str, extra: str, *more: str) -> None:
    """Check that the packages of a server are there, and `more`.

    Raises:
        MachineError: One is missing.
    """
    missing = [name for name in (*PACKAGES, *more) if find_spec(name) is None]
    if missing:
        raise MachineError(f"`{command}` needs {', '.join(missing)}", hint=f"pip install 'curate-lm[{extra}]'")


def is_loopback(address: str) -> bool:
    """Only this machine reaches it."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def listen(address: str, port: int, *, hint: str) -> socket.socket:
    """A socket that listens; port 0 takes a free one.

    Raises:
        CurateError: The address or the port cannot be used.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((address, port))
        listening.listen(WAITING)
    except OSError as error:
        listening.close()
        place = f"port {port}" if is_loopback(address) else f"{address}:{port}"
        raise CurateError(f"{place} cannot be used: {error.strerror or error}", hint=hint) from None
    return listening


def own_hosts(address: str, port: int) -> list[str]:
    """What `Host` may say of a server on an address of this machine; clients leave out HTTP's own port."""
    own = f"[{address}]" if ":" in address else address
    names = (own, "localhost", LOOPBACK) if is_loopback(address) else (own,)
    ports = (f":{port}", "") if port == 80 else (f":{port}",)
    return [f"{name}{end}" for name in dict.fromkeys(names) for end in ports]


def run_server(app: Any, listening: Sequence[socket.socket], **options: Any) -> None:
    """Answer until a signal ends it.

    Args:
        app: ASGI's.
        listening: Where.
        options: More of uvicorn's.
    """
    made_server(app, **options).run(sockets=list(listening))


def made_server(app: Any, ending: Callable[[], None] | None = None, **options: Any) -> Server:
    """A server that is still to run.

    Args:
        app: ASGI's.
        ending: Called when it is told to end, before answers that have begun come to their end.
        options: More of uvicorn's.
    """
    import uvicorn

    class Made(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            if ending is not None:
                ending()
            await super().shutdown(sockets)

    # what breaks is told with its text, which may be of a document
    level = "error" if os.environ.get("CURATE_DEBUG") else "critical"
    chosen: dict[str, Any] = {"log_level": level, "access_log": False, "server_header": False, **options}
    sys.stdout.flush()
    return Made(uvicorn.Config(app, **chosen))
