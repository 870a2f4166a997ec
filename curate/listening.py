"""A server on a port of this machine: Starlette's application under uvicorn, which logs nothing of what is asked."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from ipaddress import ip_address
from typing import Any

from curate.errors import CurateError, MachineError

__all__ = ["LOOPBACK", "is_loopback", "listen", "own_hosts", "require_server", "run_server"]

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
    """What `Host` may say of a server on an address of this machine."""
    own = f"[{address}]" if ":" in address else address
    names = (own, "localhost", LOOPBACK) if is_loopback(address) else (own,)
    return [f"{name}:{port}" for name in dict.fromkeys(names)]


def run_server(app: Any, listening: Sequence[socket.socket], **options: Any) -> None:
    """Answer until a signal ends it.

    Args:
        app: ASGI's.
        listening: Where.
        options: More of uvicorn's.
    """
    import uvicorn

    # what breaks is told with its text, which may be of a document
    level = "error" if os.environ.get("CURATE_DEBUG") else "critical"
    chosen: dict[str, Any] = {"log_level": level, "access_log": False, "server_header": False, **options}
    sys.stdout.flush()
    uvicorn.Server(uvicorn.Config(app, **chosen)).run(sockets=list(listening))
