"""JSON text to values and back, and no number changed on the way.

orjson does the work where it gives a text back as it was. Where it would not (an integer beyond 64 bits becomes a float,
`3.10` becomes `3.1`), the standard library reads the text: integers become `int` of any length, and a float that JSON
would write otherwise is a `Written`, a float that knows how it was written. So a text can be parsed, a string in it
edited, and written again, and all else stays: only white space, the form of escapes and the first of two equal keys go.

Cost: about that of parsing and writing with orjson (0.4 CPU seconds for 300 MB of conversations); ten times that for texts
with numbers that it does not give back.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

__all__ = ["Written", "dumps", "holds", "loads", "loads_as_written", "may_differ", "number_text"]

DEPTH = 254
"""Levels of nesting that orjson writes."""
FLOAT = re.compile(rb"(?:^|[\[,:])-?\d+[.eE]")
"""In what orjson writes: where a float may stand. Strings may look so too, which costs time alone."""
MINUS_ZERO = re.compile(rb"-0\s*(?:[,\]}]|$)")
ZERO = re.compile(rb"(?:^|[\[,:])0(?:[,\]}]|$)")


class Written(float):
    """A float, and the literal that it was written as."""

    __slots__ = ("literal",)
    literal: str

    def __new__(cls, literal: str) -> Written:
        """The float that the literal means."""
        number = super().__new__(cls, literal)
        number.literal = literal
        return number

    def __reduce__(self) -> tuple[type[Written], tuple[str]]:
        return Written, (self.literal,)


def loads(text: bytes | str) -> Any:
    """The value of a JSON text; `dumps` gives all its numbers back as they are written here.

    Raises:
        ValueError: The text is not JSON, or it is nested deeper than 254 levels.
    """
    import orjson

    data = text.encode() if isinstance(text, str) else text
    try:
        value = orjson.loads(data)
        written = orjson.dumps(value)
        if written == data or not may_differ(data, written):
            return value
    except orjson.JSONDecodeError:
        pass  # a number beyond the largest double; what is not JSON fails again
    except TypeError as error:
        raise ValueError(f"JSON nested deeper than {DEPTH} levels") from error
    return loads_as_written(data)


def may_differ(text: bytes, written: bytes) -> bool:
    """Whether a text may have numbers that orjson, which wrote `written` of its value or a part of it, has changed."""
    return bool(FLOAT.search(written) or (ZERO.search(written) and MINUS_ZERO.search(text)))


def loads_as_written(text: bytes | str) -> Any:
    """The value of a JSON text, by the standard library: slower, every number as it is written.

    Raises:
        ValueError: The text is not JSON, or it is nested too deep. NaN and infinities are taken, as other writers
            have them.
    """
    import json

    try:
        return json.loads(text, parse_float=_float, parse_int=_integer)
    except RecursionError as error:
        raise ValueError("JSON nested too deep") from error


def dumps(value: Any, *, default: Callable[[Any], Any] | None = None) -> str:
    """The value as JSON text without white space; NaN and infinities are null.

    Args:
        value: What `loads` gives, or anything that `default` makes that of.
        default: What becomes of values that JSON does not have.

    Raises:
        TypeError: There is no JSON for it, or it is nested deeper than 254 levels.
    """
    import orjson

    def foreign(other: Any) -> Any:
        if isinstance(other, Written):
            return orjson.Fragment(other.literal)
        if default is None:
            raise TypeError(f"no JSON for {type(other).__name__}")
        return default(other)

    try:
        return orjson.dumps(value, default=foreign, option=orjson.OPT_NON_STR_KEYS).decode()
    except orjson.JSONEncodeError as error:
        if "64-bit" not in str(error):
            raise
    return orjson.dumps(_with_fragments(value), default=foreign, option=orjson.OPT_NON_STR_KEYS).decode()


def number_text(number: float) -> str:
    """A float as JSON has it, as it was written where it knows that; `nan`, `inf` and `-inf` as Python has them."""
    from math import isfinite

    known = isinstance(number, Written) or isfinite(number)
    return dumps(number) if known else str(number)


def holds(number: float) -> bool:
    """Whether the float is what its literal says: written with as many digits, it is that number again."""
    from decimal import Decimal
    from math import isinf

    if not isinstance(number, Written):
        return True
    if isinf(number) or number == 0:
        return number == 0 and not re.search("[1-9]", re.split("[eE]", number.literal)[0])
    exact = Decimal(number.literal)
    return exact == Decimal(f"{float(number):.{len(exact.as_tuple().digits) - 1}e}")


def _float(literal: str) -> float:
    import orjson

    number = float(literal)
    return number if orjson.dumps(number) == literal.encode() else Written(literal)


def _integer(literal: str) -> int | float:
    if literal == "-0":
        return Written(literal)
    try:
        return int(literal)
    except ValueError:  # Python takes no more than 4,300 digits, to be safe from slow ones
        return Written(literal)


def _with_fragments(value: Any) -> Any:
    """The value with its integers beyond 64 bits as pieces of finished JSON, which orjson does not have."""
    import orjson

    if isinstance(value, dict):
        return {key: _with_fragments(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_fragments(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**64:
        return orjson.Fragment(str(value))
    return value
