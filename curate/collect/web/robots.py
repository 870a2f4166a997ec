"""What a host lets robots have: robots.txt (RFC 9309), `Content-Signal` in it, and TDMRep's file.

Protego decides about paths: the longest match, `*` and `$`. Who matches a `Content-Signal` is decided by Protego, too, in a
copy of the file where `ai-train=no` is written as `Disallow`; before the first `User-agent` it is for everyone. A robots.txt
that is a web page is none (one that is only called so, and speaks to a `User-agent:`, counts), and a byte order mark before the
first line is no part of it. Without an answer, or with one of 5xx, nothing is allowed; with 4xx, everything.
TDMRep (W3C community report, 2024, section 5): the first rule of `/.well-known/tdmrep.json` that fits a path counts. One that
cannot be had or read reserves everything; what does not look like JSON (a web page for whatever is asked for) is none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from curate import jsontext
from curate.collect.web.addresses import spelled

if TYPE_CHECKING:
    from protego import Protego

__all__ = ["ROBOTS_BYTES", "Rules", "product", "reserved", "signal_forbids"]

ROBOTS_BYTES = 500 << 10
"""So much of a robots.txt is read, as the RFC has it at least."""
LINE = re.compile(r"^\s*([A-Za-z-]+)\s*:\s*([^#]*)")
SPEAKS = re.compile(r"(?im)^\s*user-agent\s*:")
FORBIDDEN = re.compile(r"(?i)(?:^|[\s,;])ai-train\s*=\s*no(?=$|[\s,;])")
ALLOWED = re.compile(r"(?i)(?:^|[\s,;])ai-train\s*=\s*yes(?=$|[\s,;])")


def product(agent: str) -> str:
    """The name under which robots.txt speaks of an agent: `reader` of `Reader/1.0 (+https://reader.example)`."""
    found = re.match(r"[A-Za-z_-]+", agent)
    return found[0].lower() if found else ""


def signal_forbids(value: str) -> bool:
    """Whether a `Content-Signal` says that nobody may train on what it is about."""
    return bool(FORBIDDEN.search(value))


class Rules:
    """What a host allows.

    Args:
        agent: Who asks.
        status: Of the answer for robots.txt; None where there was none.
        body: Of that answer.
        media_type: Of that answer, as its header says.
        reservations: The content of TDMRep's file; None where there is none.
        why: Why there was no answer.

    Attributes:
        closed: Why nothing is allowed, where that is so.
        unreadable: Whether there are reservations that cannot be read.
    """

    def __init__(
        self,
        agent: str,
        status: int | None,
        body: bytes = b"",
        media_type: str = "",
        reservations: bytes | None = None,
        why: str | None = None,
    ) -> None:
        self.name = product(agent)
        self.closed = None if status is not None and status < 500 else (
            f"robots.txt is answered with {status}" if status else why or "robots.txt cannot be had"
        )  # fmt: skip
        text = body[:ROBOTS_BYTES].decode("utf-8-sig", "replace") if status is not None and 200 <= status < 300 else ""
        is_page = re.match(r"\s*<(?:!doctype|html|head|body|\?xml)", text, re.IGNORECASE)
        is_page = is_page or ("html" in media_type and not SPEAKS.search(text))
        self._text = "" if is_page else text
        self._rules, self._signals = _parsed(self._text), _parsed(_signals(self._text))
        before_groups = map(LINE.match, SPEAKS.split(self._text, 1)[0].splitlines())
        self._forbidden = any(
            one[1].lower() == "content-signal" and signal_forbids(one[2]) for one in before_groups if one
        )
        read = _reservations(reservations)
        self.unreadable = read is None
        self._reservations = read or []

    def allows(self, url: str) -> bool:
        """Whether robots.txt allows an address."""
        return self.closed is None and self._rules.can_fetch(url, self.name)

    @property
    def delay(self) -> float | None:
        """The seconds between two requests that it asks for."""
        return self._rules.crawl_delay(self.name)

    def signal(self, url: str) -> str | None:
        """What says that nobody may train on a page, in robots.txt."""
        free = not self._forbidden and self._signals.can_fetch(url, self.name)
        return None if free else "robots.txt: Content-Signal: ai-train=no"

    def reservation(self, url: str) -> str | None:
        """What reserves the rights of text and data mining of a page, in TDMRep's file."""
        parts = urlsplit(url)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        for location, kept, policy in self._reservations:
            if _fits(location, path):
                return f"tdmrep.json: tdm-reservation: 1{policy}" if kept else None
        return None


def _parsed(text: str) -> Protego:
    from protego import Protego

    return Protego.parse(text)


def _signals(text: str) -> str:
    """A robots.txt that disallows what nobody may train on, for the same agents."""
    lines: list[str] = []
    for line in text.splitlines():
        found = LINE.match(line)
        name, value = (found[1].lower(), found[2].strip()) if found else ("", "")
        if name == "user-agent":
            lines.append(line)
        elif name == "content-signal" and (FORBIDDEN.search(value) or ALLOWED.search(value)):
            path = value.split()[0] if value.startswith("/") else "/"
            lines.append(f"{'Disallow' if FORBIDDEN.search(value) else 'Allow'}: {path}")
        elif name in ("allow", "disallow", "crawl-delay", "content-signal"):
            lines.append("Crawl-delay: 0")  # a rule ends the list of agents, whatever it says
    return "\n".join(lines)


def _reservations(content: bytes | None) -> list[tuple[str, bool, str]] | None:
    """The rules; None for what is meant to be some, and cannot be read."""
    text = (content or b"").removeprefix(b"\xef\xbb\xbf").strip()
    if not text.startswith((b"[", b"{")):
        return []
    try:
        told: Any = jsontext.loads(text)
    except (ValueError, RecursionError):
        return None
    rules: list[Any] = told if isinstance(told, list) else [told]
    return [
        (spelled(one["location"]), reserved(one.get("tdm-reservation")), _policy(one))
        for one in rules
        if isinstance(one, dict) and isinstance(one.get("location"), str)
    ]


def reserved(value: Any) -> bool:
    """Whether a `tdm-reservation` is one."""
    return str(value).strip() in ("1", "true", "True")


def _policy(rule: Mapping[str, Any]) -> str:
    policy = rule.get("tdm-policy")
    return f", policy {policy[:500].encode('utf-8', 'replace').decode()}" if isinstance(policy, str) else ""


def _fits(location: str, path: str) -> bool:
    """Whether a path begins as a location says; `*` is anything, `$` at the end is the end. In time linear in the path."""
    first, *others = location.removesuffix("$").split("*")
    place = len(first) if path.startswith(first) else -1
    for one in others:
        if place < 0:
            return False
        found = path.find(one, place)
        place = found + len(one) if found >= 0 else -1
    if place < 0 or not location.endswith("$"):
        return place >= 0
    last = others[-1] if others else first
    return path.endswith(last) and (bool(others) or path == first)
