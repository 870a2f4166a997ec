"""What a page says of itself: where it leads, what robots may do with it, its licence, its title, its address.

Tags are read one after the other, and no tree is made: a page of a million anchors that are not closed takes a tree parser
minutes, and this is done where nobody watches. What stands in comments and scripts is no link.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import unescape
from itertools import islice
from typing import Any, NamedTuple

from curate import jsontext
from curate.collect.web.addresses import canonical
from curate.collect.web.license import Claim, decided
from curate.collect.web.robots import reserved, signal_forbids

__all__ = ["CUT", "OptOut", "Page", "opt_out", "parse_page", "robots_words"]

LINKS = 5000
"""Links of a page; what stands behind them is told in its `detail`."""
CUT = "not followed: "
TAGS = 30_000
"""Tags of a page that are looked at, of those that matter here."""
FOOT = "footer"
LICENSE_KEY = '"license"'
VALUE = r"""(?>"[^"<]*+(?:"|<[^"]{0,300}+")|'[^'<]*+(?:'|<[^']{0,300}+')|[^<>"'])"""
TAG = re.compile(rf"(?i)<(?:!--|(/?)(a|area|base|link|meta|script|style|title|textarea|footer)(?=[\s/>])({VALUE}*+)>)")
ATTRIBUTE = re.compile(r"""([^\s"'>/=]++)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'>]++)))?+""")
CLOSED = {name: re.compile(rf"(?i)</{name}(?=[\s/>])") for name in ("script", "style", "title", "textarea")}
LICENSE_NAMES = frozenset(
    {
        "license",
        "licence",
        "dc.license",
        "dc.rights",
        "dc.rights.license",
        "dcterms.license",
        "dcterms.rights",
        "rights",
    }
)
AI = ("noai", "noimageai")
VALUED = ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview")
"""Words of an `X-Robots-Tag` that have a value; what else stands before a colon is an agent."""
OptOut = tuple[str, str]
"""Which of the settings of `obey` it is, and what says so."""


class Page(NamedTuple):
    """What a page says.

    Attributes:
        links: Addresses that it leads to, in their one spelling, in the order of the page.
        unfollowed: Addresses that nobody is to follow from here.
        cut: What of it is not followed, in words.
        robots: The words of its `meta` for robots.
        reservation: Its `tdm-reservation`.
        license: SPDX id.
        evidence: What says that.
        title: Of the page.
        canonical: The address that it calls its own.
    """

    links: list[str]
    unfollowed: list[str]
    cut: str | None
    robots: frozenset[str]
    reservation: str | None
    license: str | None
    evidence: str | None
    title: str | None
    canonical: str | None


def parse_page(text: str, url: str, agent: str) -> Page:
    """Read a page.

    Args:
        text: Its markup.
        url: Where it was found.
        agent: The name under which pages speak of who asks.
    """
    all_tags = _tags(text)
    tags, more = list(islice(all_tags, TAGS)), next(all_tags, None) is not None
    home = next(
        (found for tag, one, _ in tags if tag == "base" and (found := canonical(one.get("href", ""), url))), url
    )
    metas = [
        (one.get("name") or one.get("property") or "", one.get("content", "")) for tag, one, _ in tags if tag == "meta"
    ]
    metas = [(name.strip().lower(), content) for name, content in metas]
    robots = frozenset(word for name, content in metas if name in ("robots", agent) for word in _words(content))
    claims = [Claim("meta", content) for name, content in metas if name in LICENSE_NAMES and content.strip()]
    links, unfollowed, own = dict[str, None](), dict[str, None](), None
    for tag, one, inside in tags:
        if tag == "script":
            claims += [Claim("json-ld", value) for value in _linked_data(inside)]
        if tag not in ("a", "area", "link"):
            continue
        target, rel = one.get("href", ""), one.get("rel", "").lower().split()
        if target and ("license" in rel or (tag == "a" and inside == FOOT and "creativecommons.org/" in target)):
            claims.append(Claim("link" if tag == "link" else "a", target))
        if tag == "link" and "canonical" in rel:
            own = own or canonical(target, home)
        if target and (tag != "link" or {"next", "prev"} & {*rel}) and (found := canonical(target, home)):
            (unfollowed if "nofollow" in rel or {"nofollow", "none"} & robots else links)[found] = None
    license, evidence = decided(claims)
    title = next((" ".join(unescape(inside).split())[:500] for tag, _, inside in tags if tag == "title"), "")
    others = [one for one in unfollowed if one not in links]
    return Page(
        list(links)[:LINKS], others[:LINKS], _cut(max(0, len(links) - LINKS) + max(0, len(others) - LINKS), more), robots,
        next((content for name, content in metas if name == "tdm-reservation"), None), license, evidence, title or None, own,
    )  # fmt: skip


def _cut(links: int, more: bool) -> str | None:
    told = [f"{links:,} links beyond {LINKS:,}"] if links else []
    told += [f"what stands behind {TAGS:,} tags"] if more else []
    return CUT + ", ".join(told) if told else None


def _tags(text: str) -> Iterator[tuple[str, dict[str, str], str]]:
    """The tags that matter, their attributes, and what is inside of scripts and titles; of an anchor in a foot, `FOOT`."""
    place, foot = 0, False
    while found := TAG.search(text, place):
        place, name = found.end(), (found[2] or "").lower()
        if found[0].startswith("<!--"):
            end = text.find("-->", found.start() + 2)
            place = end + 3 if end >= 0 else len(text)
            continue
        if name == "footer":
            foot = not found[1]
        if name == "footer" or found[1]:
            continue
        inside = FOOT if foot else ""
        if name in ("script", "style", "title", "textarea"):
            closed = CLOSED[name].search(text, place)
            end = closed.start() if closed else len(text)
            inside, place = text[place:end], end
        yield (
            name,
            {one[1].lower(): unescape(one[2] or one[3] or one[4] or "") for one in ATTRIBUTE.finditer(found[3])},
            inside,
        )


def _words(value: str) -> list[str]:
    return [word for word in re.split(r"[\s,;]+", value.lower()) if word]


def _linked_data(text: str) -> Iterator[str]:
    if LICENSE_KEY in text:
        try:
            yield from _licenses(jsontext.loads(text), 8)
        except (ValueError, RecursionError):
            return


def _licenses(value: Any, depth: int) -> Iterator[str]:
    """Licences of what a page describes, not of pictures in it."""
    if depth and isinstance(value, list):
        for one in value[:100]:
            yield from _licenses(one, depth - 1)
    elif depth and isinstance(value, dict) and "Image" not in str(value.get("@type")):
        told = value.get("license")
        for one in told if isinstance(told, list) else [told]:
            name = (one.get("@id") or one.get("url")) if isinstance(one, dict) else one
            if isinstance(name, str) and name.strip():
                yield name
        for key in ("@graph", "mainEntity"):
            yield from _licenses(value.get(key), depth - 1)


# ---- who said no


def robots_words(header: str, agent: str) -> frozenset[str]:
    """The words of an `X-Robots-Tag`, without those for other agents: `noai, otherbot: noindex`.

    Args:
        header: Its value; several headers as lines.
        agent: The name under which it may speak of who asks.
    """
    words: set[str] = set()
    for line in header.lower().splitlines():
        mine = True
        for piece in line.split(","):
            name, colon, rest = piece.partition(":")
            if colon and name.strip() not in VALUED:
                mine, piece = name.strip() == agent, rest
            if mine:
                words.update(piece.split())
    return frozenset(words)


def opt_out(headers: Mapping[str, str], page: Page | None, agent: str) -> list[OptOut]:
    """All that speaks against training on a page, in the answer and in the page."""
    found: list[OptOut] = []
    tagged = robots_words(headers.get("x-robots-tag", ""), agent)
    found += [("noai", f"X-Robots-Tag: {word}") for word in AI if word in tagged]
    found += [("noai", f"meta robots: {word}") for word in AI if page and word in page.robots]
    if signal_forbids(headers.get("content-signal", "")):
        found.append(("content_signal", "Content-Signal: ai-train=no"))
    if page and page.reservation is not None:
        found += [("tdm", "meta tdm-reservation: 1")] if reserved(page.reservation) else []
    elif reserved(headers.get("tdm-reservation")):
        found.append(("tdm", "tdm-reservation: 1"))
    return found
