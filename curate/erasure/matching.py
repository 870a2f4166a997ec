r"""Finding a person's identifiers in any writing: a quick expression for the scan (RE2), a thorough one for the places.

Each character stands for all that Unicode takes for it: upper and lower case, full-width and mathematical letters,
composed and decomposed accents (`unicodedata`, NFKC and case folding), the escapes of JSON (`\u00e9`), and for `@` those of
URLs and HTML. Invisible characters may stand between any two. An e-mail address may not go on to the left or right, nor a
number; a name is a whole word (or several, whatever white space, dot or hyphen stands between them, also as `Doe, Jane`),
but in scripts without spaces. The quick expression knows plain writing, and which texts have characters that may be others
(full-width, combining, invisible, escaped); these are brought to plain writing and tried again, and the thorough one is for
what is left. With the thorough one alone RE2 takes some 300 times as long (benchmarks/RESULTS.md).
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

from curate.dataset.erased import Edit, replaced
from curate.erasure.subject import FEWEST_DIGITS, Subject

__all__ = ["PLACEHOLDERS", "Matcher"]

PLACEHOLDERS = {"email": "<EMAIL>", "phone": "<PHONE>", "name": "<PERSON>"}
"""What stands for a mention afterwards; `pii` writes the same."""
_INVISIBLE = "(?:[\u00ad\u200b-\u200d\u2060\ufeff]|\\\\u(?:00[aA][dD]|200[b-dB-D]|2060|[fF][eE][fF][fF]))"
_SPACE = "[ \t\r\n\u00a0\u2000-\u200a\u202f\u3000]"
_BETWEEN_WORDS = f"(?:{_SPACE}|\\\\[nrt]|\\\\u(?:00[aA]0|3000|201[01])|&nbsp;|%20|[+._\u2010\u2011-])"
_APOSTROPHES = "'\u2019\u2018\u02bc`"
_QUICK_GAP = "(?:[^0-9a-z]|&nbsp;)*"
_SEPARATOR = (
    "(?:[ \t\u00a0\u2000-\u200a\u202f\u3000()\\[\\]./\u00b7\u2010-\u2015\u2212\uff08\uff09\uff0d\uff0e-]"
    "|\\\\u00[aA]0|&nbsp;)"
)
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3040-\u30ff"
    "\u3130-\u318f\u3400-\u9fff\uac00-\ud7ff\uf900-\ufaff"
)
"""Scripts that write no spaces between words, or particles without one (Thai, Khmer, Chinese, Japanese, Korean)."""
_UNUSUAL = (
    "[\u00ad\u0300-\u036f\u200b-\u200d\u2060\ufeff\ufb00-\ufb06\uff0b\uff0d\uff0e\uff10-\uff19\uff20-\uff3a\uff41-\uff5a"
    "\u2070-\u2099\u2100-\u214f\u2460-\u24ff\U0001d400-\U0001d7ff\U0001f100-\U0001f1ff]"
    "|[^\\P{Nd}0-9]|\\\\u[0-9a-fA-F]{4}|%40|&#64;|&commat;"
)
"""Characters and escapes that may stand for others."""
_ESCAPED = r"(?<=\\[nrtbf])"
_NO_WORD_BEFORE = rf"(?:(?<![^\W_{_UNSPACED}])|{_ESCAPED})"
_NO_WORD_AFTER = rf"(?![^\W_{_UNSPACED}])"
_NO_ADDRESS_BEFORE = rf"(?:(?<![A-Za-z0-9.%+-])(?<![A-Za-z0-9]_)|(?<=%3[aA])|{_ESCAPED})"
_NO_ADDRESS_AFTER = r"(?![A-Za-z0-9-]|\.[A-Za-z0-9])"
_NO_DIGIT_BEFORE, _NO_DIGIT_AFTER = r"(?<!\d)(?<!\d[.,-])", r"(?![.,-]?\d)"


class _Forms(NamedTuple):
    """An identifier as an expression: a quick one for RE2, and a thorough one with borders."""

    kind: str
    quick: str
    exact: str


class Matcher:
    """Finds the identifiers of a subject."""

    def __init__(self, subject: Subject) -> None:
        self.numbers = frozenset(digits for one in subject.phones for digits in _digit_forms(one))
        forms = [
            *(_email(one) for one in subject.emails),
            *(_phone(one) for one in subject.phones),
            *(one for name in subject.names for one in _name(name)),
        ]
        self.forms = forms
        self.pattern = "|".join([*dict.fromkeys(f"(?i:{one.quick})" for one in forms), _UNUSUAL])
        """For RE2: matches every text in which something can be found."""
        self._quick = re.compile("|".join(dict.fromkeys(one.quick for one in forms)), re.IGNORECASE)
        self._exact = re.compile("|".join(f"({one.exact})" for one in forms)) if forms else None

    def find(self, text: str) -> list[tuple[int, int, str]]:
        """Start, stop and kind of what is in a text, in order, disjoint."""
        if self._exact is None or not self._quick.search(_usual(text)):
            return []
        return [
            (one.start(), one.end(), self.forms[(one.lastindex or 1) - 1].kind) for one in self._exact.finditer(text)
        ]

    def edits(self, text: str, *, is_json: bool = False) -> list[tuple[Edit, str]]:
        """How to replace what is in a text, and the kind of each; a number in JSON becomes null."""
        found = []
        for start, stop, kind in self.find(text):
            bare = is_json and kind == "phone" and _is_bare(text, start, stop)
            found.append((Edit(start, stop, "null" if bare else PLACEHOLDERS[kind]), kind))
        if found and is_json and not _is_json(replaced(text, [edit for edit, _ in found])):
            return [(Edit(0, len(text), "null"), kind) for _, kind in found[:1]]
        return found

    def redacted(self, text: str) -> str:
        """The text with placeholders."""
        return replaced(text, [Edit(start, stop, PLACEHOLDERS[kind]) for start, stop, kind in self.find(text)])


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _is_bare(text: str, start: int, stop: int) -> bool:
    """Whether a match in JSON text is a number, not in a string."""
    before, after = text[:start].rstrip()[-1:], text[stop:].lstrip()[:1]
    return before in (":", ",", "[", "") and after in (",", "}", "]", "")


def _usual(text: str) -> str:
    """The text in the writing that the quick expression knows."""
    text = re.sub(r"%40|&#64;|&commat;", "@", text)
    if "\\u" in text:
        text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), text)
    if text.isascii():
        return text
    text = re.sub("[\u00ad\u200b-\u200d\u2060\ufeff]", "", text)
    return re.sub(r"[^\D0-9]", lambda found: str(unicodedata.decimal(found[0])), _folded(text))


# ---- characters


@cache
def _same() -> dict[str, list[str]]:
    """For each character, and each sequence that one character stands for (`ss`), those that Unicode takes for it."""
    found: dict[str, list[str]] = defaultdict(list)
    for code in (*range(0x20, 0xD800), *range(0xE000, 0x20000)):
        one = chr(code)
        plain = str(unicodedata.decimal(one, "")) or unicodedata.normalize("NFKC", one).casefold()
        found[plain].append(one)
    for one in _APOSTROPHES:
        found[one] = list(_APOSTROPHES)
    return found


def _character(one: str) -> str:
    """A regular expression for a character (after NFKC and case folding) and all that is taken for it."""
    same = sorted({one, *_same().get(one, [])})
    forms = [_class(same)]
    for alike in same:
        apart = unicodedata.normalize("NFD", alike)
        if len(apart) > 1 and unicodedata.combining(apart[1]):
            forms.append(
                "".join([_class(sorted({apart[0], *_same().get(apart[0].casefold(), [])})), *map(_plain, apart[1:])])
            )
    forms += [_escape(alike) for alike in same if ord(alike) < 0x10000]
    if one == "@":
        forms += ["%40", "&#64;", "&commat;"]
    return "(?:" + "|".join(dict.fromkeys(forms)) + ")"


def _class(characters: Sequence[str]) -> str:
    return "[" + "".join(map(_plain, characters)) + "]"


def _plain(one: str) -> str:
    return re.escape(one) if one != "&" else one


def _escape(one: str) -> str:
    """The character as JSON may write it."""
    digits = "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in f"{ord(one):04x}")
    return rf"\\u{digits}"


def _word(text: str) -> str:
    return f"{_INVISIBLE}*".join(_thorough(one) for one in _pieces(_folded(text)))


def _thorough(piece: str) -> str:
    apart = f"{_INVISIBLE}*".join(map(_character, piece))
    return f"(?:{apart}|{'|'.join(map(_character, _same()[piece]))})" if len(piece) > 1 else apart


def _quick(text: str) -> str:
    """A regular expression for RE2, in which case means nothing."""
    return "".join(
        f"(?:{'|'.join(map(re.escape, dict.fromkeys([one, *_same()[one]])))})"
        if len(one) > 1 or one in _APOSTROPHES
        else re.escape(one)
        for one in _pieces(_folded(text))
    )


def _pieces(text: str) -> Iterator[str]:
    """The characters of a folded text; those that one character may stand for (`ss`) together."""
    start = 0
    while start < len(text):
        length = next(
            (size for size in (3, 2) if len(text[start:]) >= size and text[start : start + size] in _same()), 1
        )
        yield text[start : start + length]
        start += length


# ---- identifiers


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKC", text).casefold())


def _email(address: str) -> _Forms:
    return _forms("email", _quick(address), _word(address), _NO_ADDRESS_BEFORE, _NO_ADDRESS_AFTER)


def _forms(kind: str, quick: str, exact: str, before: str, after: str) -> _Forms:
    return _Forms(kind, quick, f"{before}(?:{exact}){after}")


def _name(name: str) -> list[_Forms]:
    parts = [one for one in re.split(r"[\s._\u2010\u2011-]+", name.strip()) if one]
    words, quick = [_word(one) for one in parts], _quick(max(parts, key=len))
    between = f"{_INVISIBLE}*(?:{_BETWEEN_WORDS}{{1,4}}|{_SPACE}{{5,80}}){_INVISIBLE}*"
    orders = [between.join(words)]
    for first in range(1, len(words)):  # wherever the surname begins
        behind = f"(?:,{_BETWEEN_WORDS}{{0,4}}|{between})"
        orders.append(f"{between.join(words[first:])}{behind}{between.join(words[:first])}")
    edges = re.compile(f"[{_UNSPACED}]")
    before = "" if edges.match(name.strip()[0]) else _NO_WORD_BEFORE
    after = "" if edges.match(name.strip()[-1]) else _NO_WORD_AFTER
    return [_forms("name", quick, one, before, after) for one in orders]


def _digit_forms(number: str) -> list[str]:
    """The digits of a number as it may be written: with the country's code, and as it is dialled at home."""
    import phonenumbers

    plain = unicodedata.normalize("NFKC", number)
    digits = re.sub(r"\D", "", plain)
    if not plain.strip().startswith(("+", "00")):
        return [digits]
    international = digits.removeprefix("00")
    try:
        parsed = phonenumbers.parse(f"+{international}")
    except phonenumbers.NumberParseException:
        return [international]
    home = re.sub(r"\D", "", phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.NATIONAL))
    return [international, *([home] if len(home) >= 7 else [])]


def _phone(number: str) -> _Forms:
    international, *home = _digit_forms(number)
    gap = f"(?:{_SEPARATOR}|{_INVISIBLE}){{0,4}}"
    start = f"(?:(?:{_character('+')}|{_character('0')}{_character('0')}){gap})?"
    whole = f"{start}{gap.join(map(_character, international))}"
    forms = [whole]
    if home:
        code = international[: len(international) - len(home[0].lstrip("0"))]
        rest = gap.join(map(_character, home[0].lstrip("0")))
        trunk = f"(?:\\({_character('0')}\\){gap})?"
        forms = [f"{start}{gap.join(map(_character, code))}{gap}{trunk}{rest}", gap.join(map(_character, home[0]))]
    lead = f"(?:{_character('(')})?"
    quick = _QUICK_GAP.join((home[0] if home else international)[-FEWEST_DIGITS:])
    return _forms("phone", quick, f"{lead}(?:{'|'.join(forms)})", _NO_DIGIT_BEFORE, _NO_DIGIT_AFTER)
