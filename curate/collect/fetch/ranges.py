"""Ranges of bytes of files below a base: a folder on this machine, or an address.

What a server gives is a range only where it says so (206), and a file ends where the server says how long it is: any
other answer is no end, but an error from which a fetch goes on.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

from curate.collect.fetch.client import Answer, Client, public_url
from curate.errors import CurateError, ResumableError

__all__ = ["Ranges", "is_address"]

NAME = re.compile(r"[\w.+=@-]+(?:/[\w.+=@-]+)*")
SPAN = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
TOTAL = re.compile(r"bytes [^/]*/(\d{1,18})")

MISSING = "bring it there, or take it out of the list"
GOES_ON = "what was fetched before is kept; the same command goes on from there"


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
        self._totals: dict[str, int] = {}

    def place(self, name: str) -> str:
        """Where a file is.

        Raises:
            CurateError: The name leads out of the base.
        """
        if not NAME.fullmatch(name) or ".." in name.split("/"):
            raise CurateError(f"`{name[:100]}` is no path of a file of a crawl")
        if is_address(self.base):
            return f"{self.base.rstrip('/')}/{quote(name, safe='/+=@')}"
        return str(self.root / self.base / name)

    def whole(self, place: str) -> bytes:
        """All of a small file, a folder's or an address's.

        Raises:
            CurateError: There is none.
            ResumableError: The server does not give it.
        """
        if is_address(place):
            return _given(
                self.client.get(place, {"Accept-Encoding": "identity"}), place, 200, "is the name of the crawl right?"
            ).body
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
                raise CurateError(
                    f"`{name}` cannot be read in `{self.base}`: {error.strerror}",
                    hint=MISSING,
                ) from None
        if start >= self._totals.get(place, start + 1):
            return b""
        answer = self._asked(place, start, size)
        if answer.status == 416:
            return self._end(place, start, answer)
        return _given(answer, place, 206).body[:size]

    def span(self, name: str, start: int, size: int) -> bytes:
        """As `read`, but fewer bytes only where the file ends, however few the server gives at a time."""
        found = b""
        while len(found) < size and (more := self.read(name, start + len(found), size - len(found))):
            found += more
        return found

    def _asked(self, place: str, start: int, size: int) -> Answer:
        """The answer to a request for a range; what comes instead of one is not read.

        Raises:
            CurateError: The server gives no ranges.
        """
        asked = {"Range": f"bytes={start}-{start + size - 1}", "Accept-Encoding": "identity"}
        answer = self.client.get(
            place, asked, usable=lambda one: self._wrong(place, one, start), wanted=lambda status, _: status == 206
        )
        if answer.status == 200:
            raise CurateError(
                f"`{public_url(place)}` is given as a whole: its server knows no ranges", hint="get the file"
            )
        return answer

    def _wrong(self, place: str, answer: Answer, start: int) -> str | None:
        """What is wrong with a range that came; how long the file is, is remembered."""
        if answer.status != 206:
            return None
        said = SPAN.fullmatch(answer.headers.get("content-range", ""))
        if said is None or int(said[1]) != start:
            return "the answer is of another range"
        if not answer.body or len(answer.body) != int(said[2]) + 1 - start:
            return "the answer is cut short"
        if said[3] != "*" and self._totals.setdefault(place, int(said[3])) != int(said[3]):
            return "the file is of another length than before"
        return None

    def _end(self, place: str, start: int, answer: Answer) -> bytes:
        """Nothing, where a file ends before a range that the server has not got.

        Raises:
            ResumableError: It does not.
        """
        said = TOTAL.fullmatch(answer.headers.get("content-range", ""))
        if said is None and place not in self._totals:
            _given(self._asked(place, 0, 1), place, 206)
        total = self._totals.get(place, int(said[1]) if said else None)
        if total is not None and start < total:
            raise ResumableError(
                f"`{public_url(place)}` has {total:,} bytes, and none is given from {start:,} on (416)",
                hint=GOES_ON,
            )
        return b""


def _given(answer: Answer, place: str, status: int, missing: str = MISSING) -> Answer:
    """An answer of the status that is asked for.

    Raises:
        CurateError: There is no such file.
        ResumableError: It is of another one.
    """
    if answer.status == 404:
        raise CurateError(f"`{public_url(place)}` is not there (404)", hint=missing)
    if answer.status != status:
        raise ResumableError(
            f"`{public_url(place)}` is answered with {answer.status}",
            hint=GOES_ON,
        )
    return answer
