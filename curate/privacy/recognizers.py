"""Presidio's pattern recognizers for structured personal data: offline, no language model, on windows of the text.

Presidio's own engine runs spaCy and every recognizer over every document, about 390 a second. Here cheap patterns find
anchors (an `@`, a run of digits) and a recognizer sees only windows around its anchors. A window ends where no
match can cross: where no address goes on, 60 characters beyond the digits elsewhere, so the spans are those of the
whole text (a differential test). Differences that are meant: letters of other scripts than Latin end numbers and
addresses, and full-width forms are read as what they are (`curate.privacy.scripts`); phone numbers have at least 7
digits (shorter ones are years and page numbers) and are no dates, IP addresses or rows of decimals; more kinds of cards
are known; and an address that is longer than 320 characters is found by its last 320.

Context words (`ssn`, `card`) raise a score as in Presidio: 0.35 more, at least 0.4, where one of the five words
before the match holds one. E-mail domains are checked against the public suffix list that tldextract ships: no
network, ever.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from curate.errors import CurateError, did_you_mean
from curate.privacy.scripts import FOREIGN, apart, narrow
from curate.stages.contract import Span
from curate.stages.lean import without

if TYPE_CHECKING:
    from presidio_analyzer import PatternRecognizer, RecognizerResult
    from presidio_analyzer.predefined_recognizers import PhoneRecognizer

__all__ = ["CHECKED", "TYPES", "Entity", "Recognizer", "load_recognizers", "resolve"]

Entity = Literal["email", "phone", "ip", "card", "iban", "ssn"]

TYPES: dict[Entity, str] = {
    "email": "EMAIL_ADDRESS",
    "phone": "PHONE_NUMBER",
    "ip": "IP_ADDRESS",
    "card": "CREDIT_CARD",
    "iban": "IBAN_CODE",
    "ssn": "US_SSN",
}
"""Presidio's names, which spans carry."""

CHECKED: frozenset[str] = frozenset({"EMAIL_ADDRESS", "IP_ADDRESS", "CREDIT_CARD", "IBAN_CODE"})
"""Types proven by more than their shape: a checksum, a parser, a list of domains."""

_MARGIN = 60
_LONGEST_ADDRESS = 320
_DIGIT_RUN = r"\d(?:[ .-]?\d){8,}"
_ANCHORS: dict[Entity, re.Pattern[str]] = {
    "email": re.compile(r"@"),
    "phone": re.compile(r"\d(?:(?:[^\w\n]|[x\u30fc]){0,4}\d){6,}"),
    "ip": re.compile(
        r"\d\.\d{1,3}\.\d{1,3}\.\d|(?<![0-9A-Za-z_:])(?:::|(?:[0-9A-Fa-f]{1,4}:){1,7}:|(?:[0-9A-Fa-f]{1,4}:){4})"
    ),
    "card": re.compile(_DIGIT_RUN),
    "iban": re.compile(r"(?<![A-Z0-9])[A-Z]{2}[0-9]{2}[ -]?[A-Z0-9]{4}"),
    "ssn": re.compile(_DIGIT_RUN),
}
_WORDS = re.compile(r"[<\[][^\s<>\[\]]+[>\]]|[^\W\d_]+")
_FEWEST_DIGITS = 7
_DATE, _IPV4 = re.compile(r"(?:19|20)\d\d-[01]\d-[0-3]\d"), re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
_DECIMAL, _LOOSE = re.compile(r"\d\.\d"), re.compile(r"\d\s+[-\d]")
_CONTEXT_WORDS, _CONTEXT_BOOST, _CONTEXT_LEAST = 5, 0.35, 0.4


class Recognizer(NamedTuple):
    """One kind of personal data: what it is called, and the function that finds it in a text."""

    entity: Entity
    find: Callable[[str], list[Span]]


def load_recognizers(
    entities: Sequence[Entity], *, phone_regions: Sequence[str], public_ips_only: bool
) -> list[Recognizer]:
    """Presidio's recognizers, ready to use; loading them takes seconds, once in a process.

    Args:
        entities: What to look for.
        phone_regions: Countries (ISO 3166, two letters) whose national numbers are phone numbers.
        public_ips_only: Leave out addresses that name nobody: private, local, reserved.
    """
    made = []
    for entity in entities:
        with without("torch", "transformers"):
            recognizer = _presidio(entity, phone_regions)
        accept = _is_public if entity == "ip" and public_ips_only else _is_phone if entity == "phone" else None
        made.append(Recognizer(entity, _finder(entity, recognizer, accept)))
    return made


def _finder(entity: Entity, recognizer: Any, accept: Callable[[str], bool] | None) -> Callable[[str], list[Span]]:
    windows = {"email": _addresses_around, "ip": _words_around}.get(entity, _margins_around)
    kind, context = TYPES[entity], tuple(word.lower() for word in recognizer.context or ())

    def find(text: str) -> list[Span]:
        plain = narrow(text)
        # phonenumbers knows the scripts' own dashes, and an address may be of another script
        seen = {"phone": text, "email": plain}.get(entity) or apart(plain)
        spans: list[Span] = []
        for start, end in windows(seen, _ANCHORS[entity]):
            for found in recognizer.analyze(seen[start:end], [kind], None):
                first, last = start + found.start, start + found.end
                if accept is None or accept(plain[first:last]):
                    score = found.score if found.score >= 1 else _with_context(plain, first, found.score, context)
                    spans.append(Span(first, last, kind, score))
        return list(dict.fromkeys(spans))

    return find


def _with_context(text: str, start: int, score: float, context: Sequence[str]) -> float:
    """The score, raised where one of the five words before the match holds a context word.

    Numbers and placeholders are no words.
    """
    low = max(0, start - _MARGIN)
    before = text[low:start]
    if low and not text[low - 1].isspace():
        before = before.partition(" ")[2]  # the first word may be cut
    words = [word for word in _WORDS.findall(before) if word[0] not in "<["][-_CONTEXT_WORDS:]
    around = " ".join(words).lower()
    if any(word in around for word in context):
        return min(1.0, max(score + _CONTEXT_BOOST, _CONTEXT_LEAST))
    return score


# ---- windows: ascending, and disjoint but for addresses


def _addresses_around(text: str, anchor: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """Each anchor with what can be of an address around it, at most 320 characters to either side.

    First of Latin letters, then of all: scripts that are written without spaces are long runs of letters, in which the
    limit of 320 would cut addresses. An address comes twice then.
    """
    latin = apart(text)
    for seen in (latin,) if latin == text else (latin, text):
        yield from _runs_around(seen, anchor)


def _runs_around(text: str, anchor: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    last, first = _no_address()
    end = 0
    for match in anchor.finditer(text):
        if match.start() < end:
            continue
        low, high = max(end, match.start() - _LONGEST_ADDRESS), min(len(text), match.end() + _LONGEST_ADDRESS)
        before, after = last.search(text, low, match.start()), first.search(text, match.end(), high)
        end = after.start() if after else high
        yield before.end() if before else low, end


@cache
def _no_address() -> tuple[Any, Any]:
    """What cannot be of an address: patterns for the last and the first place of it."""
    import regex

    border = r"[^!#$%&'*+\-/=?^_`{|}~.@\w]"
    return regex.compile(f"(?r){border}"), regex.compile(border)


def _words_around(text: str, anchor: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """Each anchor with what stands around it up to whitespace, at most 320 characters to either side."""
    end = 0
    for match in anchor.finditer(text):
        if match.start() < end:
            continue
        low = max(end, match.start() - _LONGEST_ADDRESS)
        head = text[low : match.start()].rsplit(None, 1)
        start = match.start() - (len(head[-1]) if head and not text[match.start() - 1].isspace() else 0)
        high = min(len(text), match.end() + _LONGEST_ADDRESS)
        tail = text[match.end() : high].split(None, 1)
        end = match.end() + (len(tail[0]) if tail and not text[match.end()].isspace() else 0)
        yield start, end


def _margins_around(text: str, anchor: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """Each anchor with 60 characters to either side; windows that meet are one."""
    start = end = -1
    for match in anchor.finditer(text):
        low, high = max(0, match.start() - _MARGIN), min(len(text), match.end() + _MARGIN)
        if low <= end:
            end = high
            continue
        if end >= 0:
            yield start, end
        start, end = low, high
    if end >= 0:
        yield start, end


# ---- what overlaps


def resolve(spans: Sequence[Span]) -> list[Span]:
    """Disjoint spans in the order of the text: a checked type goes before a shape, then the score, then the length."""
    taken: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.type not in CHECKED, -s.score, s.start - s.end, s.start)):
        place = bisect_left(taken, span)
        before_ends = taken[place - 1].end if place else 0
        after_starts = taken[place].start if place < len(taken) else span.end
        if before_ends <= span.start and span.end <= after_starts:
            taken.insert(place, span)
    return taken


# ---- the recognizers


def _presidio(entity: Entity, phone_regions: Sequence[str]) -> PhoneRecognizer | _AllScripts:
    """Presidio's recognizer, for texts of all scripts."""
    from presidio_analyzer.predefined_recognizers import (
        CreditCardRecognizer,
        IbanRecognizer,
        IpRecognizer,
        PhoneRecognizer,
        UsSsnRecognizer,
    )

    if entity == "phone":  # phonenumbers knows all scripts
        _check_regions(phone_regions)
        return PhoneRecognizer(supported_regions=tuple(phone_regions))
    if entity == "email":
        return _AllScripts(_offline_email(), foreign=True)
    if entity == "card":
        return _AllScripts(CreditCardRecognizer(patterns=[*CreditCardRecognizer.PATTERNS, *_more_cards()]))
    return _AllScripts({"ip": IpRecognizer, "iban": IbanRecognizer, "ssn": UsSsnRecognizer}[entity]())


class _AllScripts:
    """A recognizer whose word boundaries know one script, for texts of all.

    Args:
        recognizer: What it finds is written in Latin letters.
        foreign: It may be written in another script, too, but does not change its script from one letter to the next.
    """

    def __init__(self, recognizer: PatternRecognizer, *, foreign: bool = False) -> None:
        self.recognizer, self.foreign, self.context = recognizer, foreign, recognizer.context

    def analyze(self, text: str, kinds: list[str], artifacts: Any = None) -> list[RecognizerResult]:
        """As Presidio's."""
        plain = narrow(text)
        latin = apart(plain)
        found = self.recognizer.analyze(latin, kinds, artifacts)
        if not self.foreign or latin == plain:
            return found
        begun = [one.start for one in found if latin[one.start - 1 : one.start] == FOREIGN]
        whole = self.recognizer.analyze(plain, kinds, artifacts)
        return found + [
            one for one in whole if one not in found and not any(one.start < start < one.end for start in begun)
        ]


def _check_regions(regions: Sequence[str]) -> None:
    from phonenumbers import SUPPORTED_REGIONS

    for region in regions:
        if region not in SUPPORTED_REGIONS:
            hint = did_you_mean(region, SUPPORTED_REGIONS)
            raise CurateError(
                f"`{region}` in `phone_regions` is no country with phone numbers", hint=hint or "ISO 3166, like `US`"
            )


def _offline_email() -> PatternRecognizer:
    """Presidio's e-mail recognizer, with the list of domains that tldextract ships instead of one from the network."""
    import tldextract
    from presidio_analyzer.predefined_recognizers import EmailRecognizer

    extract = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)

    class OfflineEmailRecognizer(EmailRecognizer):
        def validate_result(self, pattern_text: str) -> bool:
            return extract(pattern_text).fqdn != ""

    return OfflineEmailRecognizer()


def _more_cards() -> list:
    """Card numbers that Presidio's pattern leaves out; like its own they count only with a valid Luhn digit."""
    from presidio_analyzer import Pattern

    return [
        Pattern("Mastercard, 2-series", r"\b2[2-7]\d{2}[- ]?\d{4}[- ]?\d{4}[- ]?\d{4}\b", 0.3),
        Pattern("Maestro, 12 to 19 digits", r"\b(?:5[06-9]|6\d)\d{10,17}\b", 0.3),
        Pattern("Visa, 13 or 19 digits", r"\b4\d{12}(?:\d{6})?\b", 0.3),
        Pattern("JCB, 15 digits", r"\b(?:2131|1800)\d{11}\b", 0.3),
    ]


def _is_phone(text: str) -> bool:
    """Whether a match has the digits of a number that can be called, and is no date, IP address or row of decimals."""
    if sum(map(str.isdigit, text)) < _FEWEST_DIGITS or _DATE.search(text) or _IPV4.fullmatch(text):
        return False
    return text.startswith("+") or not (_DECIMAL.search(text) and _LOOSE.search(text))


def _is_public(text: str) -> bool:
    import ipaddress

    return ipaddress.ip_interface(text).ip.is_global
