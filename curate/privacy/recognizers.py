"""What finds personal data in a text: Presidio's pattern recognizers, on windows, and curate's own for what these miss.

Presidio's own engine runs spaCy and every recognizer over every document, about 390 a second. Here a recognizer sees only
what stands around its anchors (curate/privacy/windows.py). Differences that are meant: letters of other scripts than Latin
end numbers and addresses, and full-width forms are read as what they are (curate/privacy/scripts.py); phone numbers are also
found by their form and the words beside them, and are no dates, decimals or ISBNs (curate/privacy/phones.py); more kinds of
cards are known, and cards may be written with dots; IBANs may be lower case; an address that is longer than 320 characters
is found by its last 320. Secrets are curate's own (curate/privacy/secrets.py).

Context words (`ssn`, `card`) raise a score as in Presidio: 0.35 more, at least 0.4, where one of the five words
before the match holds one. E-mail domains are checked against the public suffix list that tldextract ships: no
network, ever.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from curate.privacy.limits import bound
from curate.privacy.phones import find_phones, is_phone
from curate.privacy.plans import check_regions, find_by_plans
from curate.privacy.scripts import FOREIGN, apart, narrow
from curate.privacy.secrets import SECRET_TRIGGER, find_secrets
from curate.privacy.windows import MARGIN, TRIGGERS, addresses_around, margins_around, pieces, words_around
from curate.stages.contract import Span
from curate.stages.lean import without

if TYPE_CHECKING:
    from presidio_analyzer import PatternRecognizer, RecognizerResult

__all__ = [
    "TYPES",
    "AllScripts",
    "Entity",
    "Recognizer",
    "load_recognizers",
    "rule_of",
    "with_context",
]

Entity = Literal["email", "phone", "ip", "card", "iban", "ssn", "crypto", "mac", "secret"]

TYPES: dict[Entity, str] = {
    "email": "EMAIL_ADDRESS",
    "phone": "PHONE_NUMBER",
    "ip": "IP_ADDRESS",
    "card": "CREDIT_CARD",
    "iban": "IBAN_CODE",
    "ssn": "US_SSN",
    "crypto": "CRYPTO",
    "mac": "MAC_ADDRESS",
    "secret": "SECRET",
}
"""What spans are called: Presidio's names, where it has one."""

_DIGIT_RUN = r"\d(?:[ .-]?\d){8,}"
_ANCHORS: dict[str, re.Pattern[str]] = {
    "email": re.compile(r"@"),
    "phone": re.compile(r"\d(?:(?:[^\w\n]|[x\u30fc]){0,4}\d){6,}"),
    "ip": re.compile(
        r"\d\.\d{1,3}\.\d{1,3}\.\d|(?<![0-9A-Za-z_:])(?:::|(?:[0-9A-Fa-f]{1,4}:){1,7}:|(?:[0-9A-Fa-f]{1,4}:){4})"
    ),
    "card": re.compile(_DIGIT_RUN),
    "iban": re.compile(r"(?<![A-Z0-9])[A-Z]{2}[0-9]{2}[ -]?[A-Z0-9]{4}"),
    "ssn": re.compile(_DIGIT_RUN),
    "crypto": re.compile(TRIGGERS["crypto"]),
    "mac": re.compile(TRIGGERS["mac"]),
}
_SIX_DIGITS = re.compile(TRIGGERS["phone"])
_WORDS = re.compile(r"[<\[][^\s<>\[\]]+[>\]]|[^\W\d_]+")
_CONTEXT_WORDS, _CONTEXT_BOOST, _CONTEXT_LEAST = 5, 0.35, 0.4
_OTHERWISE = {
    "card": re.compile(r"\d\.$"),
    "ip": re.compile(
        r"(?i:\b(?:v|ver|vers|version|release|rel|build|firmware|revision|rev|section|sec|chapter|clause)[.:=]?[ ]?"
        r"|\b(?!(?:\w*(?:ip|host|addr|address|server)==))[\w.\]-]{1,24}(?:==|>=|<=|~=))$"
    ),
}
"""What stands before a number that is something else: a decimal; the version of a program, a section of a text."""
_EMPHASIS = re.compile(r"(?<!\w)_+(?=\w)|(?<=\w)_+(?!\w)")
_DOTS_IN_CARD = re.compile(r"(?<=\d{4})\.(?=\d{4}(?:\D|$))|(?<=\d{4})\.(?=\d{4}\.\d)")


class Recognizer(NamedTuple):
    """One kind of personal data.

    Attributes:
        types: What its spans are called.
        find: Finds it in a text.
        trigger: What a text must hold for that, for RE2.
    """

    types: tuple[str, ...]
    find: Callable[[str], list[Span]]
    trigger: str


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
        if entity == "secret":
            made.append(Recognizer((TYPES[entity],), _secrets, SECRET_TRIGGER))
            continue
        if entity == "phone":
            made.append(Recognizer((TYPES[entity],), _phones(phone_regions), TRIGGERS[entity]))
            continue
        with without("torch", "transformers"):
            recognizer = _presidio(entity)
        accept = _is_public if entity == "ip" and public_ips_only else None
        find = _finder(entity, recognizer, accept)
        made.append(Recognizer((TYPES[entity],), find, TRIGGERS[entity]))
    return made


def _finder(entity: Entity, recognizer: Any, accept: Callable[[str], bool] | None) -> Callable[[str], list[Span]]:
    windows = {"email": addresses_around, "ip": words_around, "mac": words_around, "crypto": words_around}
    around, kind = windows.get(entity, margins_around), TYPES[entity]
    context = tuple(word.lower() for word in recognizer.context or ())

    def find(text: str) -> list[Span]:
        plain = narrow(text)
        seen = plain if entity == "email" else apart(plain)  # an address may be of another script
        spans: list[Span] = []
        for way in _ways(entity, seen):
            for start, end in around(way, _ANCHORS[entity]):
                for found in recognizer.analyze(way[start:end], [kind], None):
                    first, last = start + found.start, start + found.end
                    if (other := _OTHERWISE.get(entity)) and other.search(plain, max(0, first - 32), first):
                        continue
                    if accept is None or accept(plain[first:last]):
                        score = found.score if found.score >= 1 else with_context(plain, first, found.score, context)
                        spans.append(Span(first, last, kind, score, rule_of(found)))
        return list(dict.fromkeys(spans))

    return find


def rule_of(found: RecognizerResult, name: str | None = None) -> str:
    """Which pattern of which recognizer of Presidio it was, by the name it is to have or its own."""
    told = found.analysis_explanation
    name = name or told.recognizer
    return f"{name}: {told.pattern_name}" if told and told.pattern_name else str(name)


def _phones(regions: Sequence[str]) -> Callable[[str], list[Span]]:
    """By numbering plans, which know the digits and dashes of all scripts; and by form and words.

    In pieces: phonenumbers gives up without a word after 65,535 numbers that are none, and what stood behind them would stay.
    """
    check_regions(regions)
    with without("torch", "transformers"):
        from presidio_analyzer.predefined_recognizers import PhoneRecognizer
    kind, context = TYPES["phone"], tuple(word.lower() for word in PhoneRecognizer.CONTEXT)
    least = PhoneRecognizer.SCORE

    def find(text: str) -> list[Span]:
        plain = narrow(text)
        spans: list[Span] = []
        windows = margins_around(text, _ANCHORS["phone"])
        for start, end, begins, ends in (piece for window in windows for piece in pieces(*window)):
            for first, last, region in find_by_plans(text, start, end, regions):
                if begins <= first < ends and is_phone(plain, first, last):
                    score = with_context(plain, first, least, context)
                    spans.append(Span(first, last, kind, score, f"phonenumbers: {region}"))
        if _SIX_DIGITS.search(plain):
            found = find_phones(_plainly(apart(plain)))
            spans += [Span(start, end, kind, score, f"phone: {rule}") for start, end, score, rule in found]
        return list(dict.fromkeys(spans))

    return find


def _secrets(text: str) -> list[Span]:
    return [
        Span(start, end, TYPES["secret"], score, f"secret: {name}") for start, end, name, score in find_secrets(text)
    ]


def _ways(entity: Entity, text: str) -> list[str]:
    """The text, and as Presidio's patterns want it, letter for letter.

    IBANs in capitals, cards with dashes for dots, and nothing between the `_` that Markdown emphasizes with.
    """
    if entity == "iban":
        raised = text.upper()
        other = raised if len(raised) == len(text) else "".join(one.upper() if one.isascii() else one for one in text)
    else:
        other = _DOTS_IN_CARD.sub("-", text) if entity == "card" else text
    return list(dict.fromkeys([text, other, _plainly(text), _plainly(other)]))


def _plainly(text: str) -> str:
    return _EMPHASIS.sub(lambda found: " " * len(found[0]), text) if "_" in text else text


def with_context(text: str, start: int, score: float, context: Sequence[str]) -> float:
    """The score, raised where one of the five words before the match holds a context word.

    Numbers and placeholders are no words.
    """
    low = max(0, start - MARGIN)
    before = text[low:start]
    if low and not text[low - 1].isspace():
        before = before.partition(" ")[2]  # the first word may be cut
    words = [word for word in _WORDS.findall(before) if word[0] not in "<["][-_CONTEXT_WORDS:]
    around = " ".join(words).lower()
    if any(word in around for word in context):
        return min(1.0, max(score + _CONTEXT_BOOST, _CONTEXT_LEAST))
    return score


# ---- the recognizers


def _presidio(entity: Entity) -> Any:
    """Presidio's recognizer, for texts of all scripts."""
    from presidio_analyzer.predefined_recognizers import (
        CreditCardRecognizer,
        CryptoRecognizer,
        IbanRecognizer,
        IpRecognizer,
        MacAddressRecognizer,
        UsSsnRecognizer,
    )

    if entity == "email":
        return AllScripts(bound(_offline_email()), foreign=True)
    if entity == "card":
        return AllScripts(bound(CreditCardRecognizer(patterns=[*CreditCardRecognizer.PATTERNS, *_more_cards()])))
    if entity == "crypto":
        return AllScripts(_Wallets(bound(CryptoRecognizer())))
    others = {"ip": IpRecognizer, "iban": IbanRecognizer, "ssn": UsSsnRecognizer, "mac": MacAddressRecognizer}
    return AllScripts(bound(others[entity]()))


class _Wallets:
    """Bitcoin's addresses, whose checksums are right; and Ethereum's, which have their form (checksums are optional)."""

    def __init__(self, recognizer: PatternRecognizer) -> None:
        self.recognizer, self.context = recognizer, recognizer.context

    def analyze(self, text: str, kinds: list[str], artifacts: Any = None) -> list[RecognizerResult]:
        """As Presidio's."""
        from presidio_analyzer import AnalysisExplanation, RecognizerResult

        found = self.recognizer.analyze(text, kinds, artifacts)
        told = AnalysisExplanation("Ethereum", 0.6, "0x and 40 digits")
        others = re.finditer(r"\b0x[0-9a-fA-F]{40}\b", text)
        return found + [RecognizerResult(kinds[0], one.start(), one.end(), 0.6, told) for one in others]


class AllScripts:
    """A recognizer whose word boundaries know one script, for texts of all.

    Args:
        recognizer: What it finds is written in Latin letters.
        foreign: It may be written in another script, too, but does not change its script from one letter to the next.
    """

    def __init__(self, recognizer: PatternRecognizer | _Wallets, *, foreign: bool = False) -> None:
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


def _offline_email() -> PatternRecognizer:
    """Presidio's e-mail recognizer, with the list of domains that tldextract ships instead of one from the network."""
    import tldextract
    from presidio_analyzer.predefined_recognizers import EmailRecognizer

    extract = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)

    class OfflineEmailRecognizer(EmailRecognizer):
        def validate_result(self, pattern_text: str) -> bool:
            return extract(pattern_text).fqdn != ""

    return OfflineEmailRecognizer(name="EmailRecognizer")


def _more_cards() -> list:
    """Card numbers that Presidio's pattern leaves out; like its own they count only with a valid Luhn digit."""
    from presidio_analyzer import Pattern

    return [
        Pattern("Mastercard, 2-series", r"\b2[2-7]\d{2}[- ]?\d{4}[- ]?\d{4}[- ]?\d{4}\b", 0.3),
        Pattern("Maestro, 12 to 19 digits", r"\b(?:5[06-9]|6\d)\d{10,17}\b", 0.3),
        Pattern("Visa, 13 or 19 digits", r"\b4\d{12}(?:\d{6})?\b", 0.3),
        Pattern("JCB, 15 digits", r"\b(?:2131|1800)\d{11}\b", 0.3),
    ]


def _is_public(text: str) -> bool:
    """Whether it is an address that may name somebody.

    Of IPv6 those are 2000::/3 (RFC 4291) and what holds one of IPv4: `::2`, `9::` and `ab::cd` stand in programs.
    """
    import ipaddress

    address = ipaddress.ip_interface(text).ip
    if address.version == 6 and "." not in text and address not in ipaddress.ip_network("64:ff9b::/96"):
        return address.is_global and address in ipaddress.ip_network("2000::/3")
    return address.is_global
