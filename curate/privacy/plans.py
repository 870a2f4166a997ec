"""Phone numbers by numbering plans: what can be called in a country, as `phonenumbers` knows it.

Its matcher tries every way to cut a run of numbers into telephone numbers, in one country after the other, 45 microseconds a
try: 1 MB of nothing but numbers takes it one to two minutes for eight countries. So in a dense piece (more than 60 digits, and
more than one character in four a digit) a number is taken as it stands, from one word or other separator to the next, and
held against the same plans as patterns: under 10 seconds a MB. Where it is none, its parts between blanks are. What that does
not find there: a number of several parts that has nothing but blanks between it and the next one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache

from curate.errors import CurateError, did_you_mean

__all__ = ["check_regions", "find_by_plans"]

MOST_DIGITS, SHARE = 60, 4
"""A piece with more digits, and more than one in so many characters, is dense."""
_DIGIT = re.compile(r"\d")
_NUMBER = re.compile(
    r"(?<![\w.,+@#/-])(?:\(\d{1,5}\)|\d{1,15}+)(?:(?:[ ]?[-.][ ]?|[ ]|(?<=\)))\d{1,12}+){0,5}(?![\w@%$]|[.,:/-]\d)"
)
_WORD = re.compile(r"[^ ]{7,}")
_KINDS = (
    "fixed_line", "mobile", "toll_free", "premium_rate", "shared_cost", "personal_number", "voip", "pager", "uan", "voicemail",
)  # fmt: skip


def find_by_plans(text: str, start: int, end: int, regions: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """The numbers of a piece of a text, each with the country whose plan knows it (ISO 3166); they may overlap.

    Args:
        text: All of it.
        start: Where the piece begins.
        end: Where it ends.
        regions: Countries whose national numbers are looked for; international numbers are found for all.
    """
    piece = text[start:end]
    digits = len(_DIGIT.findall(piece))
    if digits > MOST_DIGITS and digits * SHARE > len(piece):
        yield from ((start + first, start + last, region) for first, last, region in _in_dense(piece, regions))
        return
    from phonenumbers import Leniency, PhoneNumberMatcher

    for region in regions:
        for found in PhoneNumberMatcher(piece, region, leniency=Leniency.VALID):
            yield start + found.start, start + found.end, region


def _in_dense(piece: str, regions: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    for run in _NUMBER.finditer(piece):
        whole = [run.span()]
        words = [(run.start() + word.start(), run.start() + word.end()) for word in _WORD.finditer(run[0])]
        for places in (whole, words):
            known = [(*place, region) for place in places if (region := _known(piece[slice(*place)], regions))]
            yield from known
            if known:
                break


def _known(number: str, regions: Sequence[str]) -> str | None:
    """The first country whose plan has a number."""
    digits = re.sub(r"\D", "", number)
    return next((region for region in regions if _plan(region).fullmatch(digits)), None)


def check_regions(regions: Sequence[str]) -> None:
    """Raise a `CurateError` where one is no country with phone numbers."""
    from phonenumbers import SUPPORTED_REGIONS

    for region in regions:
        if region not in SUPPORTED_REGIONS:
            hint = did_you_mean(region, SUPPORTED_REGIONS)
            raise CurateError(
                f"`{region}` in `phone_regions` is no country with phone numbers", hint=hint or "ISO 3166, like `US`"
            )


@cache
def _plan(region: str) -> re.Pattern[str]:
    """All national numbers of a country, with or without what is dialled before them."""
    from phonenumbers import PhoneMetadata

    known = PhoneMetadata.metadata_for_region(region)
    assert known is not None
    kinds = (getattr(known, kind) for kind in _KINDS)
    numbers = [kind.national_number_pattern for kind in kinds if kind is not None and kind.national_number_pattern]
    before = f"(?:{known.national_prefix_for_parsing})?" if known.national_prefix_for_parsing else ""
    return re.compile(rf"{before}(?:{'|'.join(numbers)})")
