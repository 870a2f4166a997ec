"""Connections to public addresses only: the address that was checked is the one that is connected to.

A name is looked up once for each connection, every address that it has must be public, and the connection goes to one of
these very addresses; so neither redirections, nor odd ways to write an address (`0x7f000001`, `2130706433`, `127.1`), nor
a name server that says something else a moment later lead to this machine, its network, or a cloud's metadata. Hosts of
an intranet are allowed one by one, as `host:port`.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from typing import Any

import httpcore

from curate.errors import CurateError

__all__ = ["Guarded", "NotPublic", "Timed", "is_public", "look_up"]


class NotPublic(CurateError):
    """A host that is not of the open internet, and is not allowed."""


Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], list[str]]
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def look_up(host: str, port: int) -> list[str]:
    """The addresses of a host; of one that is a number in any of the ways in which C reads them, that one."""
    with suppress(OSError, UnicodeError):
        return [str(ipaddress.IPv4Address(socket.inet_aton(host)))]
    with suppress(ValueError):
        return [str(ipaddress.ip_address(host.strip("[]")))]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(f"the name {host} is not known") from error
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def is_public(address: str) -> bool:
    """Whether an address is one of the open internet, also where it is wrapped into another kind."""
    one: Address = ipaddress.ip_address(address.partition("%")[0])
    return all(
        each.is_global and not (each.is_multicast or each.is_reserved or each.is_unspecified or _is_of_a_site(each))
        for each in _all(one)
    )


def _is_of_a_site(address: Address) -> bool:
    """Whether it is one of `fec0::/10`, which some networks still use as private ones."""
    return isinstance(address, ipaddress.IPv6Address) and address.is_site_local


def _all(one: Address) -> Iterable[Address]:
    """The address that packets go to, and the ones that a gateway would make of it."""
    if isinstance(one, ipaddress.IPv4Address):
        return [one]
    if one.ipv4_mapped:
        return [one.ipv4_mapped]
    inner: list[Address] = [one.sixtofour] if one.sixtofour else []
    inner += list(one.teredo) if one.teredo else []
    if one in NAT64:
        return [ipaddress.IPv4Address(int(one) & 0xFFFFFFFF)]
    return [one, *inner]


class Guarded(httpcore.NetworkBackend):
    """What opens connections.

    Args:
        allow: `host:port` that may be reached whatever addresses they have.
        resolve: Looks names up.
        inner: Connects to an address.
    """

    def __init__(
        self, allow: Collection[str] = (), resolve: Resolve = look_up, inner: httpcore.NetworkBackend | None = None
    ) -> None:
        self.allow, self.resolve = frozenset(allow), resolve
        self.inner = inner or httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.NetworkStream:
        """Connect to one of the addresses of a host.

        Raises:
            NotPublic: One of them is not public, and the host is not allowed.
            ConnectError: None of them answers.
        """
        addresses = self.resolve(host, port)
        if f"{host}:{port}" not in self.allow and not all(map(is_public, addresses)):
            raise NotPublic(
                f"`{host}` is no public address, and nothing was sent to it",
                hint=f"if it is meant, allow it: `allow: [{host}:{port}]`",
            )
        failed: Exception | None = None
        for address in addresses:
            try:
                return self.inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed or httpcore.ConnectError(f"{host} has no address")

    def connect_unix_socket(self, path: str, timeout: float | None = None, socket_options: Any = None) -> Any:
        """No file is connected to."""
        raise CurateError("nothing is fetched from a socket file")

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self.inner.sleep(seconds)


class Timed(httpcore.NetworkBackend):
    """Connections whose every wait ends with the time that is left: a drip of bytes, headers among them, resets no clock.

    Args:
        inner: Opens connections.
        left: Seconds that are left; raises where there are none.
    """

    def __init__(self, inner: httpcore.NetworkBackend, left: Callable[[], float]) -> None:
        self.inner, self.left = inner, left

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.NetworkStream:
        """Connect to a host."""
        within = min(timeout or self.left(), self.left())
        return _TimedStream(self.inner.connect_tcp(host, port, within, local_address, socket_options), self.left)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self.inner.sleep(seconds)


class _TimedStream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, left: Callable[[], float]) -> None:
        self.stream, self.left = stream, left

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self.stream.read(max_bytes, min(timeout or self.left(), self.left()))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.stream.write(buffer, min(timeout or self.left(), self.left()))

    def close(self) -> None:
        self.stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        within = min(timeout or self.left(), self.left())
        return _TimedStream(self.stream.start_tls(ssl_context, server_hostname, within), self.left)

    def get_extra_info(self, info: str) -> Any:
        return self.stream.get_extra_info(info)
