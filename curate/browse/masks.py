"""What of a text is blocked out where it is shown: what stages found to be personal, and what looks so or like a secret.

Only the piece that is shown is looked at, and what is so near to it that it may reach into it: a page of a text of 50 MB costs
what one of a short text costs.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from curate.privacy.secrets import find_secrets
from curate.reports.text import BLOCK, personal

__all__ = ["across", "blocked", "hidden", "masked_facts"]

ANCHOR = 24
"""Characters that a passage is found again by."""
BEFORE, MARGIN = 25_000, 8_000
"""Characters before and behind a piece that are looked at, more where something longer was found: a private key is known by
its first line, a token by its end."""


def hidden(text: str, start: int, end: int, secrets: Collection[str] = ()) -> list[tuple[int, int]]:
    """Where between two characters of a text something is to be blocked out: in order, none over or beside another."""
    longest = 2 * max(map(len, secrets), default=0)
    first = max(0, start - max(BEFORE, longest))
    piece = text[first : end + max(MARGIN, longest)]
    spans = [*personal(piece), *(one[:2] for one in find_secrets(piece))]
    for secret in secrets:
        at = piece.find(secret) if secret else -1
        while at >= 0:
            spans.append((at, at + len(secret)))
            at = piece.find(secret, at + len(secret))
    found: list[tuple[int, int]] = []
    for one in sorted(spans):
        low, high = max(one[0] + first, start), min(one[1] + first, end)
        if found and low <= found[-1][1]:
            found[-1] = (found[-1][0], max(high, found[-1][1]))
        elif low < high:
            found.append((low, high))
    return found


def blocked(text: str, start: int, end: int, spans: Collection[tuple[int, int]]) -> str:
    """A piece of a text with some places of it blocked out."""
    parts, at = list[str](), start
    for low, high in spans:
        parts += [text[at:low], BLOCK]
        at = high
    return "".join([*parts, text[at:end]])


def masked_facts(value: Any, secrets: Collection[str]) -> Any:
    """Facts with what is personal blocked out in all of their strings; names of their keys stay.

    Each string is looked at once, however often it is told: a document may have as many spans as secrets.
    """
    known: dict[str, str] = {}

    def masked(one: Any) -> Any:
        if isinstance(one, str):
            if one not in known:
                known[one] = blocked(one, 0, len(one), hidden(one, 0, len(one), secrets))
            return known[one]
        if isinstance(one, dict):
            return {key: masked(inside) for key, inside in one.items()}
        return [masked(inside) for inside in one] if isinstance(one, list) else one

    return masked(value)


def across(raw: str, final: str, at: int) -> int:
    """The character of the text as it became at which the passage stands that begins at a character of the text as read.

    A few words from there on are looked for in the other text, near where they should be; where none of them is found, it is
    told by the share of the text that lies before.
    """
    if raw == final or at == 0:
        return min(at, len(final))
    if at >= len(raw):
        return len(final)
    near = abs(len(raw) - len(final)) + MARGIN
    for begin in range(at, min(at + MARGIN, len(raw)), ANCHOR):
        words = raw[begin : begin + ANCHOR]
        expected = begin * len(final) // len(raw)
        places = [
            final.find(words, expected, begin + near + ANCHOR),
            final.rfind(words, max(0, begin - near), expected + ANCHOR),
        ]
        found = min((one for one in places if one >= 0), key=lambda one: abs(one - expected), default=None)
        if found is not None and len(words) == ANCHOR:
            return max(0, found - (begin - at))
    return at * len(final) // len(raw)
