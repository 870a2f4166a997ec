r"""Formulas of school mathematics, plain or in LaTeX, and what they come to: read by code of our own, not by Python.

sum      product, with + and -
product  signed, with * and /, or one beside the other
power    atom, with ^
atom     number, letter, \pi, \infty, (sum), {sum}, |sum|, \frac{sum}{sum}, \sqrt[sum]{sum}, \sin and its kin
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction

__all__ = ["Number", "evaluated", "tokens_of"]

Number = Fraction | float
MOST_BITS, MOST_POWER = 4096, 1000
_TOKEN = re.compile(
    r"\s*(?:([0-9]+\.?[0-9]*|\.[0-9]+)|(\\[A-Za-z]+|sqrt|pi|sin|cos|tan|ln|log|exp|[A-Za-z])|(\*\*|[-+*/^(){}\[\]|]))"
)
_MIXED = re.compile(r"([0-9]+)\s+([0-9]+)\s*/\s*([0-9]+)$")
_FUNCTIONS = {"sin": math.sin, "cos": math.cos, "tan": math.tan, "ln": math.log, "exp": math.exp, "log": math.log10}
_CONSTANTS = {"pi": math.pi, "infty": math.inf}


def tokens_of(text: str) -> list[str]:
    """Numbers, names and signs; commands of LaTeX without their backslash.

    Raises:
        ValueError: There is something else.
    """
    text = _MIXED.sub(r"(\1+\2/\3)", text.strip())
    tokens, place = [], 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            raise ValueError("no formula")
        tokens.append(found[0].strip().removeprefix("\\").replace("**", "^"))
        place = found.end()
    return tokens


def evaluated(tokens: Sequence[str], letters: Mapping[str, float]) -> Number:
    """What a formula comes to; a Fraction where it is rational.

    Args:
        tokens: Of `tokens_of`.
        letters: What each letter stands for.

    Raises:
        ValueError: It is none, or not a real number.
        ArithmeticError: It is too large, or divided by nothing.
    """
    reader = _Reader(tokens, letters)
    found = reader.sum()
    if reader.place != len(reader.tokens):
        raise ValueError("no formula")
    return found


class _Reader:
    """Computes while it reads."""

    def __init__(self, tokens: Sequence[str], letters: Mapping[str, float]) -> None:
        self.tokens, self.letters, self.place = tokens, letters, 0
        self.fractions: dict[int, tuple[Number, Number, int]] = {}

    def next(self) -> str:
        """What comes next; nothing at the end."""
        return self.tokens[self.place] if self.place < len(self.tokens) else ""

    def take(self, *wanted: str) -> str:
        """The next token if it is one of these; nothing if it is not."""
        found = self.next()
        if found and found in wanted:
            self.place += 1
            return found
        return ""

    def must(self, wanted: str) -> None:
        """The next token, which has to be this one."""
        if not self.take(wanted):
            raise ValueError("no formula")

    def sum(self) -> Number:
        """Products with + and - between them."""
        found = self.product()
        while sign := self.take("+", "-"):
            other = self.product()
            found = found + other if sign == "+" else found - other
        return found

    def product(self) -> Number:
        """Factors with * and / between them, or nothing."""
        found = self.signed()
        while True:
            if sign := self.take("*", "/"):
                other = self.signed()
            elif self._begins_factor():
                sign, other = "*", self.power()
            else:
                return found
            found = found * other if sign == "*" else found / other

    def signed(self) -> Number:
        """A power with its signs."""
        sign = self.take("+", "-")
        if not sign:
            return self.power()
        found = self.signed()
        return -found if sign == "-" else found

    def power(self) -> Number:
        """An atom, and what it is raised to."""
        base = self.atom()
        return _raised(base, self.signed()) if self.take("^") else base

    def _begins_factor(self) -> bool:
        token = self.next()
        return token not in ("", "+", "-", "*", "/", "^", ")", "}", "]", "[", "|")

    def atom(self) -> Number:
        """What cannot be taken apart by signs."""
        part = self.next()
        self.place += 1
        if part[:1].isdigit() or part[:1] == ".":
            return self._with_fraction(Fraction(part if part != "." else "0"))
        if part in ("(", "{", "|"):
            found = self.sum()
            self.must({"(": ")", "{": "}", "|": "|"}[part])
            return abs(found) if part == "|" else found
        if part == "frac":
            above, below = self.fraction()
            return above / below
        if part == "sqrt":
            return self._root()
        if part in _FUNCTIONS:
            return _FUNCTIONS[part](float(self.power()))
        if part in _CONSTANTS:
            return _CONSTANTS[part]
        if part in self.letters:
            return self.letters[part]
        raise ValueError("no formula")

    def fraction(self) -> tuple[Number, Number]:
        """What stands above and below; read once, for a mixed number may turn out to be none, at each level of a nest."""
        start = self.place
        if start not in self.fractions:
            above, below = self.argument(), self.argument()
            self.fractions[start] = above, below, self.place
        above, below, self.place = self.fractions[start]
        return above, below

    def argument(self) -> Number:
        """Of a command: a sum in braces, or one token, of a number its first digit."""
        token = self.next()
        if len(token) > 1 and token.isdigit():
            self.tokens = [*self.tokens[: self.place], token[0], token[1:], *self.tokens[self.place + 1 :]]
        return self.atom_alone()

    def atom_alone(self) -> Number:
        """An atom behind which no fraction belongs to it."""
        if self.next().isdigit():
            self.place += 1
            return Fraction(self.tokens[self.place - 1])
        return self.atom()

    def _with_fraction(self, whole: Fraction) -> Number:
        """A mixed number: what stands before a fraction of whole numbers is added to it."""
        rest = self.tokens[self.place : self.place + 2]
        if whole.denominator != 1 or rest[:1] != ["frac"] or not (rest[1:] == ["{"] or rest[-1].isdigit()):
            return whole
        start = self.place
        self.place += 1
        above, below = self.fraction()
        if isinstance(above, Fraction) and isinstance(below, Fraction) and 0 < above < below:
            return whole + above / below
        self.place = start
        return whole

    def _root(self) -> Number:
        degree: Number = Fraction(2)
        if self.take("["):
            degree = self.sum()
            self.must("]")
        return _raised(self.argument(), 1 / degree)


def _raised(base: Number, power: Number) -> Number:
    """The power, exact where it can be; roots of squares are.

    Raises:
        ValueError: It is not real.
        ArithmeticError: It is too large.
    """
    if isinstance(base, Fraction) and isinstance(power, Fraction):
        if power.denominator == 1:
            bits = max(base.numerator.bit_length(), base.denominator.bit_length())
            if abs(power) > MOST_POWER or bits * abs(power) > MOST_BITS:
                raise OverflowError("a power that is too large")
            return base ** int(power)
        if power == Fraction(1, 2) and base >= 0:
            above, below = math.isqrt(base.numerator), math.isqrt(base.denominator)
            if (above * above, below * below) == (base.numerator, base.denominator):
                return Fraction(above, below)
        if base < 0 and power.numerator == 1 and power.denominator % 2:
            return -math.pow(float(-base), float(power))
    return math.pow(float(base), float(power))
