"""Ranges of bytes of files below a base: a folder on this machine, or an address."""

from __future__ import annotations

import re
from pathlib import Path

from curate.collect.fetch.client import Answer, Client, public_url
from curate.errors import CurateError, ResumableError

__all__ = ["Ranges", "is_address"]

NAME = re.compile(r"[\w.+=@-]+(?:/[\w.+=@-]+)*")
SPAN = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


def is_address(place: str) -> bool:
    """Whether a place is on a web server."""
    return place.startswith(("http://", "https://"))


class Ranges:
    """Reads ranges.

    Args:
        base: Folder or address.
        root: Where a relative folder starts.
        client: Asks servers.
    """

    def __init__(self, base: str, root: Path, client: Client) -> None:
        self.base, self.root, self.client = base, root, client

    def place(self, name: str) -> str:
        """Where a file is.

        Raises:
            CurateError: The name leads out of the base.
        """
        if not NAME.fullmatch(name) or ".." in name.split("/"):
            raise CurateError(f"`{name[:100]}` is no path of a file of a crawl")
        return f"{self.base.rstrip('/')}/{name}" if is_address(self.base) else str(self.root / self.base / name)

    def whole(self, place: str) -> bytes:
        """All of a small file, a folder's or an address's.

        Raises:
            CurateError: There is none.
            ResumableError: The server does not give it.
        """
        if is_address(place):
            return _found(self.client.get(place, {"Accept-Encoding": "identity"}), place).body
        try:
            return (self.root / place).read_bytes()
        except OSError as error:
            raise CurateError(f"`{place}` cannot be read: {error.strerror}") from None

    def read(self, name: str, start: int, size: int) -> bytes:
        """At most `size` bytes from `start` on; fewer where the file ends, none behind it.

        Raises:
            CurateError: There is no such file, or the server gives no ranges.
            ResumableError: The server does not give it now.
        """
        place = self.place(name)
        if not is_address(place):
            try:
                with Path(place).open("rb") as file:
                    file.seek(start)
                    return file.read(size)
            except OSError as error:
                raise CurateError(f"`{name}` cannot be read in `{self.base}`: {error.strerror}") from None
        asked = {"Range": f"bytes={start}-{start + size - 1}", "Accept-Encoding": "identity"}
        answer = self.client.get(place, asked, usable=lambda one: _cut_short(one, start))
        if answer.status == 416:
            return b""
        if answer.status == 200:
            raise CurateError(
                f"`{public_url(place)}` is given as a whole: its server knows no ranges", hint="get the file"
            )
        return _found(answer, place).body[:size]


def _cut_short(answer: Answer, start: int) -> str | None:
    """What is wrong with a range that came."""
    span = SPAN.fullmatch(answer.headers.get("content-range", ""))
    if answer.status != 206:
        return None
    if span is None or int(span[1]) != start:
        return "the answer is of another range"
    return None if len(answer.body) == int(span[2]) + 1 - start else "the answer is cut short"


def _found(answer: Answer, place: str) -> Answer:
    if answer.status == 404:
        raise CurateError(f"`{public_url(place)}` is not there (404)", hint="is the name of the crawl right?")
    if answer.status >= 400:
        raise ResumableError(f"`{public_url(place)}` is answered with {answer.status}")
    return answer
