"""Keeps tests off the network: whoever asks for an address beyond this machine gets an error, and is written down.

Python imports this module in every process whose PYTHONPATH has this folder; the tests import it, too. CURATE_TEST_CONNECTIONS
names the file that attempts are written to: a library that falls back in silence fails its test all the same. Only Python's
own sockets are seen.
"""

from __future__ import annotations

import os
import socket
import sys
from functools import cache
from ipaddress import ip_address
from pathlib import Path


def is_local(host: object) -> bool:
    """Whether a host is this machine, or none."""
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost", socket.gethostname()):
        return True
    try:
        address = ip_address(str(name).partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified or str(address) in own_addresses()


@cache
def own_addresses() -> frozenset[str]:
    """Addresses of this machine in its networks: nodes of a cluster on it know each other by them."""
    from psutil import net_if_addrs  # only where something asks for such an address

    return frozenset(one.address.partition("%")[0] for held in net_if_addrs().values() for one in held)


def guard(event: str, arguments: tuple[object, ...]) -> None:
    """Refuse connections, and questions for names, beyond this machine."""
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None  # else it is of this machine: a path
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    else:
        return
    if not is_local(host):
        with Path(os.environ["CURATE_TEST_CONNECTIONS"]).open("a") as file:
            file.write(f"{event} {host!r}\n")
        raise ConnectionRefusedError(f"tests are offline: {event} {host!r}")


if __name__ == "sitecustomize":
    sys.addaudithook(guard)
