r"""Answers to questions of mathematics, compared by what they come to and not by how they are written.

    result      of a text: what stands in its last \boxed{}; else behind its last `####`, or `answer is`; else in its last
                formula between dollars; else its last number. An answer without any of these is taken as a whole
    number      1/2, \frac{1}{2}, 0.5, 50%, 1,234.5, 5 thousand, 1\frac12, 2^{10}, \sqrt{8} = 2\sqrt2, \frac{\pi}{4}
    in letters  2(x+1) equals 2x + 2: both are computed at three points (Schwartz 1980, Zippel 1979); x = 5 is 5
    several     {1, 2} equals 2, 1 and "1 or 2"; (1, 2) and [1, 2) keep order and brackets; unions by \cup
    words       what is none of these is compared as a text, without case, spaces and LaTeX's commands for type

Rational numbers are exact, others equal to 1e-9. Units behind a number are left out, and so are its dollars and degrees; a
percentage equals the number, too, if only one of the two has the sign. `1,234` is one number, and not two. Nothing is
ever handed to `eval`, formulas have at most 400 characters, and powers at most 4096 bits; what is larger is only a text.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import permutations
from typing import NamedTuple

from curate.errors import CurateError
from curate.train.rewards.completion import Completion
from curate.train.rewards.formula import Number, evaluated, tokens_of
from curate.train.rewards.texts import last_number
from curate.train.settings.rewards import MathematicsReward

__all__ = ["Value", "mathematics", "result", "same", "value"]

LONGEST, POINTS, CLOSE = 400, 3, 1e-9
MOST = 6
"""Values of a set that may stand in any order; larger ones are sorted first."""
_FINAL = re.compile(r"####|answer\s*(?:is|are|:)\s*:?|final answer\b:?", re.IGNORECASE)
_OPENS = re.compile(r"\$\$?|\\[(\[]")
_CLOSES = {"$$": "$$", "$": "$", r"\(": r"\)", r"\[": r"\]"}
_TYPE = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox|operatorname)\s*\{([^{}]*)\}")
_SPACE = re.compile(r"\\(?:left|right|displaystyle|big|Big|bigg|Bigg|[,;:! ])|~|\\\$|\$")
_SAME = {
    "{,}": ",", r"\dfrac": r"\frac", r"\tfrac": r"\frac", r"\cfrac": r"\frac", r"\%": "%", r"^{\circ}": "", r"^\circ": "",
    r"\degree": "",
    "\u00b0": "", "\u2212": "-", "\u00d7": "*", "\u00b7": "*", "\u00f7": "/", r"\cdot": "*", r"\times": "*", r"\div": "/",
    "\u03c0": r"\pi ", "\u221e": r"\infty ", "\u221a": r"\sqrt ", "\u222a": r"\cup ", r"\{": "\x01", r"\}": "\x02",
}  # fmt: skip
_THOUSANDS = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")
_SCALES = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_SCALED = re.compile(rf"\s+({'|'.join(_SCALES)})\b.*", re.DOTALL)
_UNIT = re.compile(r"(?<=[0-9}%])\s+(?!and\b|or\b)[A-Za-z]{2,}[A-Za-z/ .^0-9]*$")
_WORDS = re.compile(r"[A-Za-z][A-Za-z ]{2,}")
"""No product of letters."""
_NAMED = re.compile(
    r"\s*\\?[A-Za-z]+(?:_\{?\w+\}?)?\s*(?:\([A-Za-z, ]*\))?\s*(?:=|\\in(?![a-z])|:)(?!=)(.*)", re.DOTALL
)


class Value(NamedTuple):
    """What a formula comes to.

    Attributes:
        kind: `number`, `set`, `list` or `text`.
        numbers: Of a number: at each point; one where it has no letters.
        percent: Of a number: it has the sign.
        parts: Of sets and lists.
        words: Brackets of a list, or the text.
    """

    kind: str
    numbers: tuple[Number, ...] = ()
    percent: bool = False
    parts: tuple[Value, ...] = ()
    words: str = ""


def mathematics(given: Completion, settings: MathematicsReward) -> float:
    """1 if the completion's result is that of the answer; else 0.

    Raises:
        CurateError: The answer has none.
    """
    wanted = result(given.answer)
    wanted = given.answer.strip() if wanted is None else wanted
    if not wanted:
        raise CurateError("the answer is empty", hint="`reward: mathematics` compares with it")
    found = result(given.completion, boxed=settings.boxed)
    if found is None and not settings.boxed:
        last = last_number(given.completion)
        found = None if last is None else f"{last:f}"
    return float(found is not None and same(value(found), value(wanted), tolerance=settings.tolerance))


def result(text: str, *, boxed: bool = False) -> str | None:
    """The part of a text that is its result; None where nothing says which.

    Args:
        text: The text.
        boxed: Only what stands in a box is one.
    """
    start = max(text.rfind("\\boxed{"), text.rfind("\\fbox{"))
    if start >= 0:
        return _braced(text, text.index("{", start))
    if boxed:
        return None
    if final := list(_FINAL.finditer(text)):
        rest = text[final[-1].end() :].strip()
        start, inside = next(_formulas(rest), (-1, ""))
        line = inside if start == 0 else rest.partition("\n")[0]
        return re.split(r"\.(?:\s|$)", line)[0].strip() or None
    formulas = list(_formulas(text))
    return formulas[-1][1].strip() if formulas else None


def _formulas(text: str) -> Iterator[tuple[int, str]]:
    """Where formulas begin, and what stands in them, from left to right; linear in the text, whatever is never closed."""
    place, never = 0, set[str]()
    while opened := _OPENS.search(text, place):
        mark, place = opened[0], opened.start() + 1
        end = -1 if mark in never else text.find(_CLOSES[mark], opened.end() + (mark != "$"))
        if end < 0:
            never.add(mark)
        elif end > opened.end():
            yield opened.start(), text[opened.end() : end]
            place = end + len(mark)


def _braced(text: str, start: int) -> str | None:
    """What stands in the braces that open at `start`; None where they do not close."""
    depth = 0
    for place in range(start, len(text)):
        escaped = text[place - 1] == "\\"
        depth += (text[place] == "{" and not escaped) - (text[place] == "}" and not escaped)
        if depth == 0:
            return text[start + 1 : place].strip()
    return None


# ---- values


def value(text: str) -> Value:
    """What a result comes to."""
    plain = _plain(text)
    if len(plain) <= LONGEST:
        found = _value(plain)
        if found is not None:
            return found
    words = re.sub(r"[\s{}\\$.]+", "", _TYPE.sub(r"\1", text)).casefold()
    return Value("text", words=words)


def _plain(text: str) -> str:
    """Without what only says how a formula looks."""
    only_type = _TYPE.sub("", text).strip(" $.")
    text = _TYPE.sub(lambda found: f" {found[1]} " if not only_type or found[1].strip() in ("and", "or") else " ", text)
    for written, meant in _SAME.items():
        text = text.replace(written, meant)
    return _THOUSANDS.sub("", _SPACE.sub(" ", text)).strip().rstrip(".").strip()


def _value(text: str) -> Value | None:
    """None where it is no formula."""
    named = _NAMED.fullmatch(text)
    text = (named[1] if named else text).strip()
    if len(parts := _split(text, r"\cup")) > 1:
        return _several("set", parts)
    if text in (r"\emptyset", r"\varnothing"):
        return Value("set")
    if text[:1] == "\x01" and text[-1:] == "\x02":
        return _several("set", _split(text[1:-1], ","))
    if text[:1] in ("(", "[") and text[-1:] in (")", "]") and len(parts := _split(text[1:-1], ",")) > 1:
        return _several("list", parts, brackets=text[0] + text[-1])
    parts = [part for one in _split(text, ",") for part in re.split(r"\s(?:and|or)\s", one)]
    if len(parts) > 1:
        return _several("set", [part for part in (one.strip() for one in parts) if part])
    return _number(text)


def _several(kind: str, parts: Sequence[str], *, brackets: str = "") -> Value | None:
    found = [_value(part.strip()) for part in parts] if any(part.strip() for part in parts) else []
    known = tuple(one for one in found if one is not None)
    return Value(kind, parts=known, words=brackets) if len(known) == len(found) else None


def _split(text: str, at: str) -> list[str]:
    """The parts between the marks that stand in no brackets; the whole where brackets do not match."""
    parts, depth, start, place = [], 0, 0, 0
    while place < len(text):
        depth += (text[place] in "([{\x01") - (text[place] in ")]}\x02")
        if depth == 0 and text.startswith(at, place):
            parts.append(text[start:place])
            place = start = place + len(at)
            continue
        place += 1
    return [*parts, text[start:]]


def _number(text: str) -> Value | None:
    if _WORDS.fullmatch(text):
        return None
    scale = _SCALED.search(text)
    text = _SCALED.sub("", text) if scale else _UNIT.sub("", text)
    percent = text.endswith("%") or text.endswith(" percent")
    text = text.removesuffix("percent").rstrip().removesuffix("%")
    try:
        tokens = tokens_of(text)
        letters = sorted({token for token in tokens if token.isalpha() and len(token) == 1})
        points = [{letter: _point(letter, number) for letter in letters} for number in range(POINTS if letters else 1)]
        found = [evaluated(tokens, point) for point in points]
    except (ValueError, ArithmeticError, RecursionError):
        return None
    factor = Fraction(10 ** _SCALES[scale[1]] if scale else 1)
    return Value("number", tuple(_times(one, factor) for one in found), percent)


def _times(number: Number, factor: Fraction) -> Number:
    return number * factor if isinstance(number, Fraction) else number * float(factor)


def _point(letter: str, number: int) -> float:
    """Where a letter is computed: between 1 and 2, the same in every run."""
    return 1 + int.from_bytes(hashlib.sha256(f"{letter}/{number}".encode()).digest()[:6], "big") / (1 << 48)


# ---- equality


def same(found: Value, wanted: Value, *, tolerance: float = 0.0) -> bool:
    """Whether two values are the same.

    Args:
        found: One.
        wanted: The other.
        tolerance: How far they may be apart, as a share of the second.
    """
    if found.kind != wanted.kind:
        return False
    if found.kind == "number":
        return _same_numbers(found, wanted, tolerance)
    if found.words != wanted.words or len(found.parts) != len(wanted.parts):
        return False
    orders = [found.parts]
    if found.kind == "set" and len(found.parts) <= MOST:
        orders = permutations(found.parts)
    elif found.kind == "set":
        orders, wanted = (
            [tuple(sorted(found.parts, key=_order))],
            wanted._replace(parts=tuple(sorted(wanted.parts, key=_order))),
        )
    return any(
        all(same(one, other, tolerance=tolerance) for one, other in zip(order, wanted.parts, strict=True))
        for order in orders
    )


def _order(one: Value) -> tuple[float, ...]:
    return tuple(float(number) for number in one.numbers)


def _same_numbers(found: Value, wanted: Value, tolerance: float) -> bool:
    if len(found.numbers) != len(wanted.numbers):
        return False
    factors = [Fraction(1)]
    if found.percent != wanted.percent:
        factors.append(Fraction(1, 100) if found.percent else Fraction(100))
    return any(
        all(
            _close(_times(one, factor), other, tolerance)
            for one, other in zip(found.numbers, wanted.numbers, strict=True)
        )
        for factor in factors
    )


def _close(one: Number, other: Number, tolerance: float) -> bool:
    if isinstance(one, Fraction) and isinstance(other, Fraction) and not tolerance:
        return one == other
    try:
        first, second = float(one), float(other)
    except OverflowError:
        return one == other
    if math.isinf(first) or math.isinf(second):
        return first == second
    return abs(first - second) <= max(CLOSE * max(1.0, abs(first)), tolerance * abs(second))
