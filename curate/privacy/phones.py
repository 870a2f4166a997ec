"""Phone numbers: what numbering plans do not know is found by its form and by the words beside it.

Presidio asks `phonenumbers` whether a number can be called in one of a few countries. Numbers of other countries,
invented ones and short local ones are not found so (four of ten in presidio-research's texts), while dates, decimals,
ISBNs and resolutions that happen to fit a plan are. Here a number is what is written like one, groups of digits with the
separators of phone numbers, and is either international (`+` and the code of a country), or has a form that little else
has (`(32) 484-557`, `212-555-0199`), or stands beside words that announce it (`call`, `Mobile:`, `... is my number`). What
is written like a date, a decimal, a range or a sum, or is announced as something else (`ISBN`, `order`, `SSN`), is none,
whoever finds it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

__all__ = ["find_phones", "is_phone"]

FEWEST, MOST, FEWEST_LABELLED, FEWEST_BARE = 7, 15, 6, 8
"""Digits: at least and at most (ITU-T E.164); at least behind a label; more than of one that nothing announces or divides."""
AROUND, WORDS = 48, 6
"""Characters and words before a number that are looked at."""
_CANDIDATE = re.compile(
    r"(?<![\w.,/@#$%+-])(?<![(\[]\d)"
    r"(?:(?:\+|\b00)[ ]?)?(?:\(\+?\d{1,5}\)|\d{1,15}+)"
    r"(?:(?:[ ]?[-./][ ]?|[ ]{1,2}|(?=\()|(?<=\)))(?:\(\d{1,5}\)|\d{1,12}+)){0,7}"
    r"(?:[ ]?(?:x|ext\.?|#)[ ]?\d{1,6})?"
    r"(?![\w@%$]|[.,:/-]\d)"
)
_EXTENSION = re.compile(r"[ ]?(?:x|ext\.?|#)[ ]?\d{1,6}$")
_FORMS = re.compile(
    r"\(\d{2,5}\)[ -]?\d{2,4}(?:[ -]\d{2,4}){1,3}"  # an area code in brackets
    r"|1?[-. ]?[2-9]\d\d([-.])\d{3}\1\d{4}"  # North America
    r"|0\d{1,4}[ /-]\d{2,8}(?:[ -]\d{2,5}){1,4}"  # the trunk prefix
    r"|\d\d([-.])\d\d\2\d\d\2\d\d(?:\2\d\d)?"  # pairs
)
"""Forms that little else is written in."""
_YEAR = r"(?:1[5-9]|20)\d\d"
_ANOTHER_FORM = re.compile(
    rf"[0-3]?\d([-./ ])[01]?\d\1(?:{_YEAR}|\d\d)(?:[ ]\d\d?)?|[01]?\d([-./ ])[0-3]?\d\2{_YEAR}"  # dates
    rf"|{_YEAR}([-./ ])[01]?\d\3[0-3]?\d(?:[ T]\d\d?)?|(?:19|20)\d\d[01]\d[0-3]\d"
    rf"|{_YEAR}[ ]?[-/.\u2013 ][ ]?{_YEAR}(?:\D.*)?"  # years
    r"|\d+\.\d+(?:-\d+\.\d+)?|\d{1,3}(?:\.\d{1,3}){3}|\d{1,3}(?:[ ,.]000)+"  # decimals, addresses, thousands
    r"|\d{3,}-\d{3}x\d{3,4}|\d{1,3}\.\d\.\d{3,5}\.\d{1,4}"  # resolutions, versions of browsers
)
_OPENED = re.compile(r"^(?:\[|\((?![^()]*\)))[ ]?-?")
"""What opens before a number and does not close in it."""
_ISO_DATE = re.compile(r"(?:19|20)\d\d-[01]\d-[0-3]\d")
_DECIMAL, _LOOSE = re.compile(r"\d\.\d"), re.compile(r"\d\s+[-\d]")
_NO_BEGINNING = re.compile(r"(?:\d[.,]|[=<>$]|\d[ ]?[*]|\d [-+*/] ?|\b\w{0,16}\d\w{0,16}-)$")
_ASSIGNED = re.compile(r"(?:[\w\])][ ]?[-+*/%|&<>!:]?==?|[\"']\s?:)[ ]?$")
"""Before a number of a program: `id = 2125550199`, `"id": 2125550199`."""
_SUM = re.compile(r"[ ]?[=\u00d7<>]|[*]\d|[ ][-+/][ ]|[ ]?(?:%|USD|EUR|dollars|kg|km)\b")
_LABEL = re.compile(
    r"\b(?:(?:tele|cell|i)?phones?|telefon\w*|t[e\u00e9]l(?:[e\u00e9](?:fonos?|phone|fone))?|ph|fon[eo]?|puh|"
    r"mob(?:ile?|il)?|cell(?:ular)?|handy|(?:tele)?fax|desk|landline|hotline|helpline|whatsapp|viber|voicemail|toll[- ]free|"
    r"registered)\b[ .:]*|(?<![a-z])[TMPF]:",
    re.IGNORECASE,
)
"""A phone number comes."""
_VERB = re.compile(
    r"\b(?:(?:call(?:s|ed|ing)?|dial(?:s|ed|ing)?|ring|rang|contact(?:s|ed)?|sms|text(?:ed|ing)?)(?: \w+){0,3}|"
    r"(?:reach(?:ed|able)?|answer(?:s|ed|ing)?)(?: \w+){0,2} (?:at|on|by))[ :]*$",
    re.IGNORECASE,
)
"""A phone number comes next, or nearly."""
_NUMBER = re.compile(
    r"\b(?:(?:phone|my|our|his|her|their|new|contact) numbers?.{0,12}|numbers?(?: (?:is|was|are))?|(?:nr|no)[.:]|"
    r"(?:office|home|work|direct|main))[ :]*$",
    re.IGNORECASE,
)
"""A number comes; a phone's, where nothing says another."""
_BEHIND = re.compile(
    r"[ ,(/|-]{1,3}(?:office|fax|home|work|mobile|cell|direct|main|phone|tel)\b"
    r"|[\s.,;)]{1,3}(?:(?:is|was) (?:my|our|his|her|the|their) (?:\w+ )?number|"
    r"to (?:call|reach|contact|text|ring|dial|speak)\b)",
    re.IGNORECASE,
)
_ANOTHER = re.compile(
    r"\b(?!(?-i:CARD|IBAN|SSN)[>\]])"  # what stands instead of such data announces none
    r"(?:isbn|issn|doi|pmid|arxiv|ssn|social security|iban|swift|bic|vat|ein|itin|tax|passport|licen[cs]e|"
    r"(?:credit|debit)? ?card|account|acct|order|invoice|ticket|tracking|parcel|serial|patent|sku|zip|postcode|"
    r"version|build|commit|pages?|pp|vol(?:ume)?|chapter|article|isrc|ean|upc|imei|lat|lon|lng|usd|eur|law|legea|decret\w*)\b",
    re.IGNORECASE,
)


def find_phones(text: str) -> Iterator[tuple[int, int, float, str]]:
    """Where a text has phone numbers by form and words, each with how certain that is (0 to 1), and by what."""
    for match in _CANDIDATE.finditer(text):
        start, end = match.span()
        number = _EXTENSION.sub("", match[0])
        digits = sum(map(str.isdigit, number))
        if FEWEST_LABELLED <= digits <= MOST and is_phone(text, start, end):
            score, rule = _certainty(text, start, end, number, digits)
            if score:
                yield start, end, score, rule


def is_phone(text: str, start: int, end: int) -> bool:
    """Whether what was found as a phone number is none by the way it is written, or by what it is announced as."""
    number = _OPENED.sub("", text[start:end])
    if sum(map(str.isdigit, number)) < FEWEST_LABELLED or _ANOTHER_FORM.fullmatch(number) or _ISO_DATE.search(number):
        return False
    if not number.startswith("+"):
        if _DECIMAL.search(number) and _LOOSE.search(number):
            return False
        if _SUM.match(text, end) or _NO_BEGINNING.search(text[max(0, start - 20) : start]):
            return False
        if "/" in number and number[0] not in "0(":
            return False
        if number.isdigit() and _ASSIGNED.search(text, max(0, start - 20), start) and not _announced(text, start):
            return False
        if number.isdigit() and len(number) <= FEWEST_BARE and number[0] != "0" and not _announced(text, start):
            return False
    before = text[max(0, start - AROUND) : start]
    another = _last(_ANOTHER, before)
    return another < 0 or _last(_LABEL, before) > another or _last(_VERB, before) > another


def _certainty(text: str, start: int, end: int, number: str, digits: int) -> tuple[float, str]:
    near = _words_before(text, start)
    if _is_labelled(near):
        return 0.75 if digits >= FEWEST else 0.5, "labelled"
    if digits < FEWEST:
        return 0.0, ""
    if number.startswith(("+", "00")) and digits > FEWEST and _has_country(number):
        return 0.6, "international"
    if _FORMS.fullmatch(number):
        return 0.5, "form"
    if _BEHIND.match(text, end) or _VERB.search(near):
        return 0.5, "announced"
    return 0.5 if _NUMBER.search(near) and not _ANOTHER.search(near) and "/" not in number else 0.0, "announced"


def _announced(text: str, start: int) -> bool:
    near = _words_before(text, start)
    return _is_labelled(near) or bool(_VERB.search(near)) or (bool(_NUMBER.search(near)) and not _ANOTHER.search(near))


def _words_before(text: str, start: int) -> str:
    """The last words of the line before a number, or of the line above where it begins one."""
    before = text[max(0, start - AROUND) : start].rstrip(" ")
    return " ".join(before.rstrip().rpartition("\n")[2].split()[-WORDS:]) + (" " if before else "")


def _is_labelled(near: str) -> bool:
    label = _last(_LABEL, near)
    return label > _last(_ANOTHER, near) and not re.search(r"\d{5,}", near[label:])


def _last(pattern: re.Pattern[str], text: str) -> int:
    place = -1
    for found in pattern.finditer(text):
        place = found.start()
    return place


def _has_country(number: str) -> bool:
    digits = re.sub(r"\D", "", number).removeprefix("00")
    return any(digits[:length] in _countries() for length in (1, 2, 3))


@cache
def _countries() -> frozenset[str]:
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

    return frozenset(map(str, COUNTRY_CODE_TO_REGION_CODE))
