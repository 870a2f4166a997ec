"""Addresses of pages: one spelling for each, which of them a crawl may ask for, and which lead nowhere.

One spelling (RFC 3986, section 6.2.2): scheme and host in small letters, no default port, no fragment, dots resolved, percent
codes only where they are needed, parameters in order. Session ids and marks of campaigns are taken out: the page is the same
without. Traps are told by the address alone, and by how it was found, so what is one does not depend on when it was met.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Literal
from urllib.parse import quote, unquote, urljoin, urlsplit

from curate.collect.fetch.credentials import names_credential

__all__ = ["Scope", "alike", "canonical", "has_credential", "host_of", "in_scope", "spelled", "trap"]

Scope = Literal["host", "prefix", "domain"]
LONGEST = 2000
REPEATS = 3
"""So often may a part of a path stand in it."""
PARTS = 20
"""So many parts may a path have."""
PORTS = {"http": 80, "https": 443}
KEPT = "%!$&'()*+,;=:@/~"
SESSIONS = re.compile(r"(?i)phpsessid|jsessionid|aspsessionid\w*|asp\.net_sessionid|cfid|cftoken|oscsid|zenid")
MAYBE_SESSIONS = re.compile(r"(?i)s|sid|session|session_?id|sess")
SESSION_VALUE = re.compile(r"[0-9A-Za-z,-]{20,}")
CAMPAIGNS = re.compile(r"(?i)utm_\w+|gclid|fbclid|msclkid|dclid|mc_[ce]id|igshid|yclid")
PATH_SESSION = re.compile(r"(?i);(?:jsessionid|phpsessid)=[^/;]*")
CODE = re.compile(r"%([0-9A-Fa-f]{2})")
UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")


def canonical(url: str, base: str = "") -> str | None:
    """An address in its one spelling, without user and fragment; None for what is none of a web page.

    Values of parameters that are credentials by their name are `***`: what is written down shows none.

    Args:
        url: As it is written in a page.
        base: The page.
    """
    try:
        joined = urljoin(base, re.sub(r"[\t\r\n]", "", url.strip(" \x00\t\r\n\f")))
        parts = urlsplit(joined)
        host = _host(parts.hostname or "")
        port = parts.port
        if parts.scheme not in PORTS or not host or port == 0:
            return None
        text = f"{parts.scheme}://{host}{f':{port}' if port not in (None, PORTS[parts.scheme]) else ''}"
        text += _without_dots(PATH_SESSION.sub("", _plain(parts.path, KEPT))) or "/"  # `%2e%2e` is `..`
        pieces: list[str] = [_plain(one, KEPT + "?") for one in parts.query.split("&")]
        query = "&".join(sorted(_without_value(piece) for piece in pieces if piece and _says(piece)))
        return f"{text}?{query}" if query else text
    except (ValueError, UnicodeError):
        return None


def spelled(pattern: str) -> str:
    """What paths of addresses begin with, as it is written in a file of rules, in their one spelling."""
    return _plain(pattern.encode("utf-8", "replace").decode(), KEPT + "?")


def _host(name: str) -> str:
    if ":" in name:
        return f"[{name}]"
    plain = name.rstrip(".") if name.isascii() else name.rstrip(".").encode("idna").decode()
    return plain.lower() if re.fullmatch(r"[A-Za-z0-9._-]*", plain) else ""


def _plain(text: str, kept: str) -> str:
    def one(match: re.Match[str]) -> str:
        letter = chr(int(match[1], 16))
        return letter if UNRESERVED.fullmatch(letter) else match[0].upper()

    return quote(CODE.sub(one, re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", text)), safe=kept)


def _without_dots(path: str) -> str:
    kept: list[str] = []
    parts = path.split("/")
    for part in parts:
        if part == "..":
            if len(kept) > 1:
                kept.pop()
        elif part != ".":
            kept.append(part)
    if parts[-1] in (".", ".."):
        kept.append("")
    return "/".join(kept)


def _says(piece: str) -> bool:
    """Whether a parameter says which page is meant."""
    name, _, value = piece.partition("=")
    name = unquote(name)
    if SESSIONS.fullmatch(name) or CAMPAIGNS.fullmatch(name):
        return False
    return not (MAYBE_SESSIONS.fullmatch(name) and SESSION_VALUE.fullmatch(value))


def _without_value(piece: str) -> str:
    name, equals, _ = piece.partition("=")
    return f"{name}=***" if equals and names_credential(unquote(name)) else piece


def host_of(url: str) -> str:
    """Host and port of an address in its one spelling; the port only where it is another than the scheme's."""
    return urlsplit(url).netloc


def in_scope(url: str, seeds: Sequence[str], scope: Scope) -> bool:
    """Whether an address is one of those that a crawl is about.

    Args:
        url: In its one spelling.
        seeds: Where the crawl begins, in theirs.
        scope: `host`: on the host of a seed; `prefix`: below the folder of one; `domain`: on any host of its registered domain.
    """
    if scope == "domain":
        return _domain(url) in {_domain(seed) for seed in seeds}
    if scope == "host":
        return host_of(url) in {host_of(seed) for seed in seeds}
    return any(
        host_of(url) == host_of(seed) and urlsplit(url).path.startswith(urlsplit(seed).path.rpartition("/")[0] + "/")
        for seed in seeds
    )


@cache
def _registered(host: str) -> str:
    from tldextract import TLDExtract

    found = TLDExtract(suffix_list_urls=(), cache_dir=None, include_psl_private_domains=True)(host)  # `me.github.io`
    return f"{found.domain}.{found.suffix}" if found.suffix and found.domain else host


def _domain(url: str) -> str:
    return _registered(urlsplit(url).hostname or "")


def has_credential(url: str) -> bool:
    """Whether a parameter is a credential by its name: what such an address leads to is for one person."""
    return any(names_credential(unquote(one.partition("=")[0])) for one in urlsplit(url).query.split("&"))


def trap(url: str) -> str | None:
    """Why an address leads to no end of pages, in words; None where it does not look like that."""
    if len(url) > LONGEST:
        return f"longer than {LONGEST:,} characters"
    parts = [part for part in urlsplit(url).path.split("/") if part]
    if len(parts) > PARTS:
        return f"more than {PARTS} parts of a path"
    part, count = max(Counter(parts).items(), key=lambda one: one[1], default=("", 0))
    return f"`{part[:40]}` stands {count} times in the path" if count > REPEATS else None


def alike(url: str) -> str:
    """What addresses have in common that differ in digits alone: the months of a calendar."""
    return re.sub(r"\d+", "0", url)
