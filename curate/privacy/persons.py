"""Names of people: what a language model found in a text, corrected by rules of form and context.

The model finds six in ten names in presidio-research's texts. The rules add what is called a name (`Dr. X`, `my name is x`),
known given names (given_names.txt, 1,000 of them, without those that are also words or places) and what goes on from them
(`Ryan P Costa`), who is listed beside a person (`Kovalev, Lee and Phillips`) or speaks beside one (`Vinka: ...`), and the same
names elsewhere in the text. They take out streets, ships and what has digits in it. Written for English.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import NamedTuple

__all__ = ["Entity", "Person", "find_persons", "is_address"]

Entity = tuple[int, int, str]
"""Start, end, label (`PERSON`, `GPE`, `ORG`, ...)."""


class Person(NamedTuple):
    """A name, and the rule that found it."""

    start: int
    end: int
    rule: str


_WORD = r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*"
_CAPITAL = r"(?=[^\W\d_])(?![a-z\u00df-\u00f6\u00f8-\u00ff])" + _WORD
_LETTER = r"[A-Z]\.?"
_FULL = rf"{_CAPITAL}(?:[ ]\ufeff?{_LETTER}(?=[ ]))?(?:[ ]\ufeff?{_CAPITAL}){{0,2}}"
_TITLED = re.compile(
    rf"\b(?:Mrs?|Ms|Miss|Dr|Prof|Professor|Doctor|Sir|Madam|Rev|Capt|Captain|Sgt|Sergeant|Judge|Senator|Mister)\b"
    rf"\.?[ ]({_FULL})"
)
_WHOSE = "my|his|her|whose|partner's|wife's|husband's|child's|son's|daughter's|friend's|full|first|last"
_CALLED = re.compile(
    rf"\b(?i:(?:{_WHOSE}) name(?:'s| is|)|name's|calls? (?:me|him|her)|called me|name of|signed,?|sincerely,?|regards,?)[ \n]"
    rf"((?i:{_WORD})(?:[ ]\ufeff?(?i:{_WORD})){{0,2}})"
)
_MORE = re.compile(rf"(?:[ ]\ufeff?{_LETTER}(?=[ ]))?(?:[ ]\ufeff?{_CAPITAL}){{1,2}}")
_GIVEN = re.compile(rf"(?<![\w-])({_CAPITAL})")
_SMALL = re.compile(
    r"(?<![\w@.-])([^\W\d_]{3,})\b(?!@)(?:[ ]([^\W\d_]{3,})(?=[ ]?$|[\n,.!?]|[ ](?:as|is|was|has|and|or|but)\b))?",
    re.MULTILINE,
)
"""In texts without capitals: a given name, and the word behind it where nothing but a name fits."""
_SPEAKER = re.compile(rf"^({_CAPITAL}(?:[ ]{_CAPITAL})?):[ ]", re.MULTILINE)
_LIST = re.compile(rf"(?<!\w)(?<!The )(?<!the ){_FULL}(?:,[ ]{_FULL}){{1,12}},?[ ](?:and|or|&)[ ]{_FULL}")
_ONE, _ALONE = re.compile(_FULL), re.compile(rf"(?<![\w@.-]){_WORD}(?![\w@-])")
_ADDRESS_BEHIND = re.compile(
    r"(?:[ ]\w+)?[ ](?i:street|str|st|road|rd|avenue|ave|lane|ln|drive|blvd|boulevard|strasse|gade|gatan|vej|court|square|hill|"
    r"bridge|park|university|college|school|hospital|airport|island|river|lake|county|church|inc|ltd|llc|corp|gmbh|"
    r"group|company)\b"
    r"|[ ]\d{1,5}\b(?!,? ?(?:years|am|pm))"
)
_ADDRESS_BEFORE = re.compile(
    r"(?:\b(?i:rue|via|rua|calle|avenue|avenida|piazza|plaza|ulica|ul\.?|uss|uscgc|usnv|hms|fort|mount|lake|saint|st\.?|cite|port)|\d)"
    r"(?:[ ](?:de|da|do|di|des|du|la|le|el))?[ ]$"
)
_ADDRESS_WORD = re.compile(
    r"\d|\n|\b(?i:street|road|avenue|lane|strasse|stra\u00dfe|via|rua|rue|calle|piazza|suite|apt|box|uss|uscgc|usnv|saint|st|"
    r"inc|ltd|llc|university|company|album|band)\b"
)
_NO_NAME = frozenset(
    """
    a an and or but the this that it he she we they i you is are was were be been not to of in on at by for with
    from as so if what who why how when where there here my your his her our their its do does did have has had
    will would can could may should must very also just all no yes ok okay please thanks thank dear hello hi hey
    sorry everyone me him them us called spelled name changed
    """.split()  # noqa: SIM905
)
"""Words that are no part of a name behind `my name is`."""
_SHORTEST = 3


def find_persons(text: str, entities: Sequence[Entity]) -> list[Person]:
    """The names of people in a text, disjoint, in its order.

    Args:
        text: The text.
        entities: What the model found in it.
    """
    found: list[Person] = []

    def add(start: int, end: int, rule: str) -> None:
        start, end = _trimmed(text, start, end)
        if end - start >= 2 and not _ADDRESS_WORD.search(text, start, end):
            found.append(Person(start, end, rule))

    for match in _TITLED.finditer(text):
        add(*match.span(1), "title")
    for match in _CALLED.finditer(text):
        words = list(re.finditer(_WORD, match[1]))
        last = next((number for number, word in enumerate(words) if word[0].lower() in _NO_NAME), len(words))
        if last:
            add(match.start(1), match.start(1) + words[last - 1].end(), "called")
    for start, end, label in entities:
        if label == "PERSON" and not is_address(text, start, end):
            more = _MORE.match(text, end)
            add(start, more.end() if more and not is_address(text, start, more.end()) else end, "model")
    for match in _GIVEN.finditer(text):
        if match[1].lower() in _given_names():
            more = _MORE.match(text, match.end())
            end = more.end() if more else match.end()
            if not is_address(text, match.start(), end):
                add(match.start(), end, "given name")
    if text.islower():
        for match in _SMALL.finditer(text):
            if match[1] in _given_names():
                add(*match.span(1 if match[2] is None or match[2] in _NO_NAME else 0), "given name")
    found += list(_beside(text, found))
    found += list(_again(text, found))
    return _disjoint(text, found)


def _beside(text: str, found: Sequence[Person]) -> Iterator[Person]:
    """Who is listed or speaks beside a person."""
    known = _taken(text, found)
    for run in _LIST.finditer(text):
        members = [(run.start() + one.start(), run.start() + one.end()) for one in _ONE.finditer(run[0])]
        if known.find(1, *run.span()) >= 0:
            yield from (
                Person(*one, "listed") for one in members if known.find(1, *one) < 0 and not is_address(text, *one)
            )
    speakers = [match.span(1) for match in _SPEAKER.finditer(text)]
    if len(speakers) > 1 and any(known.find(1, *one) >= 0 for one in speakers):
        yield from (Person(*one, "speaks") for one in speakers if known.find(1, *one) < 0)


def _again(text: str, found: Sequence[Person]) -> Iterator[Person]:
    """Parts of the same names elsewhere."""
    known = _taken(text, found)
    names = {text[one.start : one.end] for one in found}
    parts = {part for name in names for part in name.split() if len(part) >= _SHORTEST and part.lower() not in _NO_NAME}
    for match in _ALONE.finditer(text) if parts else ():
        end = match.end() - (2 if match[0][-2:] in ("'s", "\u2019s") else 0)
        new = text[match.start() : end] in parts and known.find(1, match.start(), end) < 0
        if new and not is_address(text, match.start(), end):
            yield Person(match.start(), end, "again")


def _taken(text: str, found: Sequence[Person]) -> bytearray:
    """A byte a character, 1 where it is of a name."""
    taken = bytearray(len(text))
    for one in found:
        taken[one.start : one.end] = bytes([1]) * (one.end - one.start)
    return taken


def is_address(text: str, start: int, end: int) -> bool:
    """Whether what the model takes for a person is a street, a ship or a house, by the words in and around it."""
    return bool(
        _ADDRESS_WORD.search(text, start, end)
        or _ADDRESS_BEHIND.match(text, end)
        or _ADDRESS_BEFORE.search(text[max(0, start - 24) : start])
    )


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Without a title before, and `'s` behind."""
    title = re.compile(r"(?:(?:Mrs?|Ms|Miss|Dr|Prof|Sir)\.?[ ])+").match(text, start, end)
    start = title.end() if title else start
    for tail in ("'s", "\u2019s"):
        if text.endswith(tail, start, end):
            end -= 2
    return start, end


def _disjoint(text: str, found: Sequence[Person]) -> list[Person]:
    """The longer of those that overlap, then the first."""
    taken, kept = bytearray(len(text)), []
    for one in sorted(found, key=lambda one: (one.start - one.end, one.start)):
        if taken.find(1, one.start, one.end) < 0:
            taken[one.start : one.end] = bytes([1]) * (one.end - one.start)
            kept.append(one)
    return sorted(kept)


@cache
def _given_names() -> frozenset[str]:
    return frozenset(files("curate.privacy").joinpath("given_names.txt").read_text("utf-8").split())
