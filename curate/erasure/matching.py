r"""Finding a person's identifiers in any writing: a quick expression for the scan (RE2), a thorough one for the places.

Each character stands for all that Unicode takes for it: upper and lower case, full-width and mathematical letters,
composed and decomposed accents (`unicodedata`, NFKC and case folding), the escapes of JSON (`\u00e9`) and HTML
(`&eacute;`, `&#106;`), and for `@` that of URLs. Invisible characters may stand between any two. An e-mail address may not
go on to the left or right, nor a number; it may have a tag (`jane+news@`), and `[at]` or blanks at its `@`. A name is a whole
word (or several, whatever white space, dot or hyphen stands between them, also as `Doe, Jane`, with initials in the middle,
and with the s of a genitive), but in scripts without spaces; in a double name (`Mary-Jane Doe`, `Jane Doe-Smith`) it is
somebody else's. The quick expression knows plain writing, and which texts have characters that may be others
(full-width, combining, invisible, escaped); these are brought to plain writing and tried again, and the thorough one is for
what is left. With the thorough one alone RE2 takes some 300 times as long (benchmarks/RESULTS.md).
"""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from html.entities import html5
from typing import NamedTuple

from curate.dataset.cells import Edit, replaced
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
    "|[^\\P{Nd}0-9]|\\\\u[0-9a-fA-F]{4}|%40|&#[0-9xX]|&[A-Za-z]{2,8};"
)
"""Characters and escapes that may stand for others."""
_ESCAPED = r"(?<=\\[nrtbf])"
_NO_WORD_BEFORE = rf"(?:(?<![^\W_{_UNSPACED}])|{_ESCAPED})"
_NO_WORD_AFTER = rf"(?![^\W_{_UNSPACED}])"
_NO_ADDRESS_BEFORE = rf"(?:(?<![A-Za-z0-9.%+-])(?<![A-Za-z0-9]_)|(?<=%3[aA])|{_ESCAPED})"
_NO_ADDRESS_AFTER = r"(?![A-Za-z0-9-]|\.[A-Za-z0-9])"
_NO_DIGIT_BEFORE, _NO_DIGIT_AFTER = r"(?<!\d)(?<!\d[.,-])", r"(?![.,-]?\d)"


_DOUBLE_BEFORE = re.compile("([^\\W\\d_])[^\\W\\d_]*[\u2010\u2011-]$")
_DOUBLE_AFTER = re.compile("[\u2010\u2011-]([^\\W\\d_])")
_INITIALS = r"(?:[^\W\d_]\.?{between}){{0,2}}"
_TAG = r"(?:\+[A-Za-z0-9._%-]{1,64})?"


class Mention(NamedTuple):
    """Characters [start, stop) of a text that are an identifier: its kind, and its number among those of that kind (from 1)."""

    start: int
    stop: int
    kind: str
    number: int


class _Forms(NamedTuple):
    """An identifier as an expression: a quick one for RE2, and a thorough one with borders."""

    kind: str
    quick: str
    exact: str
    number: int = 1
    genitive: bool = False


class Matcher:
    """Finds the identifiers of a subject.

    Args:
        subject: The identifiers.
        files: Names of files that tell of nobody else, each with what stands for it afterwards.
    """

    def __init__(self, subject: Subject, files: Mapping[str, str] | None = None) -> None:
        self.files = dict(files or {})
        self.numbers = frozenset(digits for one in subject.phones for digits in _digit_forms(one))
        forms = [
            *(_email(one)._replace(number=number) for number, one in enumerate(subject.emails, 1)),
            *(_phone(one)._replace(number=number) for number, one in enumerate(subject.phones, 1)),
            *(one._replace(number=number) for number, name in enumerate(subject.names, 1) for one in _name(name)),
            *(_file(name)._replace(number=number) for number, name in enumerate(self.files, 1)),
        ]
        self._marks = list(self.files.values())
        self.forms = forms
        self.pattern = "|".join([*dict.fromkeys(f"(?i:{one.quick})" for one in forms), _UNUSUAL])
        """For RE2: matches every text in which something can be found."""
        self._quick = re.compile("|".join(dict.fromkeys(one.quick for one in forms)), re.IGNORECASE)
        self._exact = re.compile("|".join(f"({one.exact})" for one in forms)) if forms else None

    def find(self, text: str) -> list[Mention]:
        """What is in a text, in order, disjoint."""
        if self._exact is None or not self._quick.search(_usual(text)):
            return []
        found = []
        for one in self._exact.finditer(text):
            form = self.forms[(one.lastindex or 1) - 1]
            if form.kind != "name" or _is_whole(text, one.start(), one.end(), genitive=form.genitive):
                found.append(Mention(one.start(), one.end(), form.kind, form.number))
        return found

    def edits(self, text: str, *, is_json: bool = False) -> list[tuple[Edit, Mention]]:
        """How to replace what is in a text, and what it is; a number in JSON becomes null."""
        found = []
        for one in self.find(text):
            bare = is_json and one.kind == "phone" and _is_bare(text, one.start, one.stop)
            found.append((Edit(one.start, one.stop, "null" if bare else self._instead(one)), one))
        if found and is_json and not _is_json(replaced(text, [edit for edit, _ in found])):
            return [(Edit(0, len(text), "null"), one) for _, one in found[:1]]
        return found

    def redacted(self, text: str) -> str:
        """The text with placeholders."""
        return replaced(text, [Edit(one.start, one.stop, self._instead(one)) for one in self.find(text)])

    def _instead(self, one: Mention) -> str:
        return self._marks[one.number - 1] if one.kind == "file" else PLACEHOLDERS[one.kind]


def _is_whole(text: str, start: int, stop: int, *, genitive: bool) -> bool:
    """Whether a name is no part of a double one, and what looks like a genitive is none of a word like it (`does`)."""
    name = text[start:stop]
    last = re.split(r"[^\w'\u2019]+", name.rstrip())[-1]
    if genitive and last[:1].islower():
        return False
    if not re.search(r"\s", name):  # joined by hyphens itself: a file's name, an address of a page
        return True
    before, after = _DOUBLE_BEFORE.search(text[max(0, start - 60) : start]), _DOUBLE_AFTER.match(text, stop)
    return not ((before and before[1].isupper()) or (after and after[1].isupper()))


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
    text = text.replace("%40", "@")
    text = html.unescape(text) if "&" in text else text
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
    forms += [entity for alike in same if ord(alike) < 0x250 for entity in _entities(alike)]
    forms += ["%40"] if one == "@" else []
    return "(?:" + "|".join(dict.fromkeys(forms)) + ")"


def _class(characters: Sequence[str]) -> str:
    return "[" + "".join(map(_plain, characters)) + "]"


def _plain(one: str) -> str:
    return re.escape(one) if one != "&" else one


def _escape(one: str) -> str:
    """The character as JSON may write it."""
    digits = "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in f"{ord(one):04x}")
    return rf"\\u{digits}"


def _entities(one: str) -> list[str]:
    """The character as HTML may write it."""
    digits = "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in f"{ord(one):x}")
    names = _entity_names().get(one, []) if not one.isascii() or not one.isalnum() else []
    return [f"&#0*{ord(one)};", f"&#[xX]0*{digits};", *(f"&{name}" for name in names)]


@cache
def _entity_names() -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name, one in html5.items():
        if name.endswith(";"):
            found[one].append(name)
    return found


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
    name, _, domain = address.rpartition("@")
    name, labels = name.partition("+")[0] or name, domain.split(".")
    at, dot = (_spoken(word, sign) for word, sign in (("at", _character("@")), ("dot", _character("."))))
    exact = f"{_word(name)}{_TAG}{_INVISIBLE}*{at}{_INVISIBLE}*{dot.join(map(_word, labels))}"
    gaps = [f"[^0-9a-z]{{0,8}}(?:{word}[^0-9a-z]{{1,8}})?" for word in ("at", "dot")]
    quick = f"{_quick(name)}(?:\\+[^ @]{{1,64}})?{gaps[0]}{gaps[1].join(map(_quick, labels))}"
    return _forms("email", quick, exact, _NO_ADDRESS_BEFORE, _NO_ADDRESS_AFTER)


def _spoken(word: str, sign: str) -> str:
    """A sign of an address as it is written, apart, or said: `@`, ` @ `, `[at]`, ` at `."""
    said = "".join(f"[{one}{one.upper()}]" for one in word)
    gap = f"{_SPACE}{{0,3}}"
    apart = f"{gap}{sign}{gap}" if word == "at" else sign
    return f"(?:{_INVISIBLE}*{apart}|{gap}[\\[({{<]{gap}{said}{gap}[\\])}}>]{gap}|{_SPACE}{said}{_SPACE})"


def _forms(kind: str, quick: str, exact: str, before: str, after: str) -> _Forms:
    return _Forms(kind, quick, f"{before}(?:{exact}){after}")


def _file(name: str) -> _Forms:
    """The name of a file as it stands in places, and in JSON."""
    forms = dict.fromkeys([name, json.dumps(name)[1:-1], json.dumps(name, ensure_ascii=False)[1:-1]])
    exact = "|".join(map(re.escape, forms))
    return _forms("file", exact, exact, r"(?<![\w/.-])", r"(?![\w/.-])")


def _name(name: str) -> list[_Forms]:
    parts = [one for one in re.split(r"[\s._\u2010\u2011-]+", name.strip()) if one]
    words, quick = [_word(one) for one in parts], _quick(max(parts, key=len))
    between = f"{_INVISIBLE}*(?:{_BETWEEN_WORDS}{{1,4}}|{_SPACE}{{5,80}}){_INVISIBLE}*"
    between += _INITIALS.format(between=between)
    orders = [between.join(words)]
    for first in range(1, len(words)):  # wherever the surname begins
        behind = f"(?:,{_BETWEEN_WORDS}{{0,4}}|{between})"
        orders.append(f"{between.join(words[first:])}{behind}{between.join(words[:first])}")
    edges = re.compile(f"[{_UNSPACED}]")
    before = "" if edges.match(name.strip()[0]) else _NO_WORD_BEFORE
    after = "" if edges.match(name.strip()[-1]) else _NO_WORD_AFTER
    forms = [_forms("name", quick, one, before, after) for one in orders]
    own = f"{orders[0]}{_INVISIBLE}*{_character('s')}"
    return forms + ([_forms("name", quick, own, before, after)._replace(genitive=True)] if after else [])


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
