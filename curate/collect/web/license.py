"""The licence of a page, by what it says of itself: an SPDX id, and where that stands.

What is told in several places counts in this order: `meta`, JSON-LD, `<link rel=license>`, `<a rel=license>` (or an anchor in
the foot of a page to a Creative Commons licence). Where places differ, the first one counts, and the evidence says `differ`.
Licences that have no SPDX id here (ports of Creative Commons to a country that SPDX does not list) are none, with evidence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

__all__ = ["Claim", "decided", "spdx"]

ORDER = ("meta", "json-ld", "link", "a")
SHOWN = 200
KINDS = "by|by-sa|by-nd|by-nc|by-nc-sa|by-nc-nd|by-nd-nc"
CC_URL = re.compile(
    rf"(?i)(?:https?:)?//(?:www\.)?creativecommons\.org/licenses/({KINDS})/(1\.0|2\.0|2\.1|2\.5|3\.0|4\.0)"
    r"(?:/([a-z]+))?(?:[/?#]|$)"
)
CC_WORDS = re.compile(rf"(?i)\bcc[ -]({KINDS})[ -](1\.0|2\.0|2\.5|3\.0|4\.0)\b")
CC_NAMES = re.compile(
    r"(?i)creative commons attribution((?:[ -]{0,3}(?:share ?alike|no ?derivatives|no ?derivs|non-?commercial)){0,3}) "
    r"(1\.0|2\.0|2\.5|3\.0|4\.0)"
)
PUBLIC = {"zero": "CC0-1.0", "mark": "CC-PDM-1.0"}
PUBLIC_URL = re.compile(r"(?i)(?:https?:)?//(?:www\.)?creativecommons\.org/publicdomain/(zero|mark)/1\.0(?:[/?#]|$)")
PORTS = {
    "CC-BY-3.0": "AT AU DE IGO NL US", "CC-BY-SA-3.0": "AT DE IGO", "CC-BY-NC-3.0": "DE", "CC-BY-ND-3.0": "DE",
    "CC-BY-NC-SA-3.0": "DE IGO", "CC-BY-NC-ND-3.0": "DE IGO", "CC-BY-2.5": "AU", "CC-BY-SA-2.0": "UK", "CC-BY-SA-2.1": "JP",
}  # fmt: skip
"""Ports that the SPDX list has; of 4.0 there are none."""
OTHERS = (
    (
        re.compile(r"(?i)//(?:www\.)?apache\.org/licenses/LICENSE-2\.0|^apache(?:-| license,? (?:version )?)2\.0$"),
        "Apache-2.0",
    ),
    (re.compile(r"(?i)//(?:www\.)?opensource\.org/licen[sc]es?/MIT(?:[/?#]|$)|^MIT(?: license)?$"), "MIT"),
    (re.compile(r"(?i)^CC0(?:[- ]1\.0)?$"), "CC0-1.0"),
    (re.compile(r"(?i)//(?:www\.)?opendatacommons\.org/licenses/odbl/1[.-]0|^ODbL-1\.0$"), "ODbL-1.0"),
)


class Claim(NamedTuple):
    """A place where a page speaks of its licence: `meta`, `json-ld`, `link` or `a`, and what stands there."""

    place: str
    value: str


def spdx(value: str) -> str | None:
    """The SPDX id of a licence that is told by an address or by words; None for one that is not known here."""
    if found := PUBLIC_URL.search(value):
        return PUBLIC[found[1].lower()]
    if found := CC_URL.search(value):
        name = f"CC-{found[1].upper().replace('ND-NC', 'NC-ND')}-{found[2]}"
        port = (found[3] or "").upper()
        if not port or found[3].lower() in ("deed", "legalcode"):
            return name if found[2] != "2.1" else None
        return f"{name}-{port}" if port in PORTS.get(name, "").split() else None
    if found := CC_WORDS.search(value):
        return f"CC-{found[1].upper().replace('ND-NC', 'NC-ND')}-{found[2]}"
    if found := CC_NAMES.search(value):
        said = re.sub(r"[^a-z]", "", found[1].lower())
        parts = ["NC"] * ("noncommercial" in said) + ["ND"] * ("noder" in said) + ["SA"] * ("sharealike" in said)
        return "-".join(["CC", "BY", *parts, found[2]])
    return next((name for pattern, name in OTHERS if pattern.search(value.strip())), None)


def decided(claims: Iterable[Claim]) -> tuple[str | None, str | None]:
    """The licence of a page and the evidence; None for both where nothing is said."""
    ordered: Sequence[Claim] = sorted(dict.fromkeys(claims), key=lambda one: (ORDER.index(one.place), one.value))
    if not ordered:
        return None, None
    known = [(claim, name) for claim in ordered if (name := spdx(claim.value))]
    places = list(dict.fromkeys(f"{claim.place}: {' '.join(claim.value.split())[:SHOWN]}" for claim in ordered))[:8]
    differ = "differ: " if len({name for _, name in known}) > 1 else ""
    return (known[0][1] if known else None), differ + "; ".join(places)
