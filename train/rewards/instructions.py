"""Instructions that a program can check, as in IFEval (Zhou et al. 2023), from a column of the dataset.

The column holds an object for each prompt, as a struct or its JSON text; every key is an instruction:

    words, sentences, paragraphs, characters, bullets    how many: 5, or {least: 3, most: 8}
    keywords       words that are there, or {word: times}: so often at least; without case, as whole words
    forbidden      words that are not
    starts, ends   how the completion begins and ends, spaces around it aside
    case           lower or upper: no letter of the other
    json           true: it is JSON, alone or in a fenced block
    commas         false: it has none

A sentence ends with . ! or ? before a space or the end, a paragraph with an empty line, a bullet is a line that begins
with -, * or +. The reward is the share of the instructions that are followed, or 1 only for all of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from curate.errors import CurateError, did_you_mean
from curate.train.rewards.completion import Completion
from curate.train.settings.rewards import InstructionsReward

__all__ = ["INSTRUCTIONS", "instructions"]

_FENCED = re.compile(r"```(?:json)?[^\S\n]*\n(.*)```", re.DOTALL)
_SENTENCE = re.compile(r"(?<![.!?])[.!?]+[\"')\]]*(?=\s|$)")
_BULLET = re.compile(r"^[^\S\n]*[-*+]\s", re.MULTILINE)
"""None looks at a character more than a few times, whatever a completion holds."""


def instructions(given: Completion, settings: InstructionsReward) -> float:
    """The share of the instructions that the completion follows.

    Raises:
        CurateError: The column holds no instructions, or one that is unknown.
    """
    followed = [INSTRUCTIONS[name](given.completion, value) for name, value in _told(given.columns[settings.column])]
    return float(all(followed)) if settings.all else sum(followed) / len(followed)


def _told(text: str) -> list[tuple[str, Any]]:
    try:
        told: Any = json.loads(text)
    except ValueError:
        told = None
    told = {name: value for name, value in told.items() if value is not None} if isinstance(told, dict) else {}
    if not told:
        raise CurateError("there are no instructions for this prompt", hint='an object like {"words": {"most": 50}}')
    for name in told:
        if name not in INSTRUCTIONS:
            hint = did_you_mean(name, INSTRUCTIONS) or f"there are: {', '.join(INSTRUCTIONS)}"
            raise CurateError(f"there is no instruction `{name}`", hint=hint)
    return list(told.items())


def _wrong(name: str, wanted: str) -> CurateError:
    return CurateError(f"the instruction `{name}` is not what it should be", hint=wanted)


# ---- one for each key


def _counted(name: str, count: Callable[[str], int]) -> Callable[[str, Any], bool]:
    def follows(text: str, wanted: Any) -> bool:
        bounds = {"least": wanted, "most": wanted} if _is_count(wanted) else wanted
        if not isinstance(bounds, dict) or not bounds or not bounds.keys() <= {"least", "most"}:
            raise _wrong(name, "a number, or `least` and `most`")
        bounds = {bound: value for bound, value in bounds.items() if value is not None}
        if not all(_is_count(value) for value in bounds.values()):
            raise _wrong(name, "a number, or `least` and `most`")
        found = count(text)
        return bounds.get("least", found) <= found <= bounds.get("most", found)

    return follows


def _is_count(value: Any) -> bool:
    """Whether it is a whole number; columns with gaps make 2.0 of 2, and true is none."""
    return not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))


def _are_words(words: Any) -> bool:
    return isinstance(words, list) and all(isinstance(word, str) for word in words)


def _times(text: str, word: str) -> int:
    """How often a word, or several in a row, stands in a text."""
    return len(re.findall(rf"(?<!\w){re.escape(word.casefold())}(?!\w)", text.casefold()))


def _keywords(text: str, wanted: Any) -> bool:
    wanted = dict.fromkeys(wanted, 1) if _are_words(wanted) else wanted
    if not isinstance(wanted, dict) or not all(times is None or _is_count(times) for times in wanted.values()):
        raise _wrong("keywords", "a list of words, or how often each")
    return all(_times(text, word) >= (times or 0) for word, times in wanted.items())


def _forbidden(text: str, words: Any) -> bool:
    if not _are_words(words):
        raise _wrong("forbidden", "a list of words")
    return not any(_times(text, word) for word in words)


def _case(text: str, case: Any) -> bool:
    if case not in ("lower", "upper"):
        raise _wrong("case", "lower or upper")
    return text == (text.lower() if case == "lower" else text.upper())


def _json(text: str, wanted: Any) -> bool:
    if not isinstance(wanted, bool):
        raise _wrong("json", "true or false")
    fenced = _FENCED.fullmatch(text.strip())
    try:
        json.loads(fenced[1] if fenced else text, parse_int=str, parse_constant=_no_json)
    except (ValueError, RecursionError):
        return not wanted
    return wanted


def _no_json(constant: str) -> None:
    """NaN and the infinities, which Python reads (RFC 8259, section 6, has none); integers may have any length.

    Raises:
        ValueError: Always.
    """
    raise ValueError(constant)


def _commas(text: str, wanted: Any) -> bool:
    if not isinstance(wanted, bool):
        raise _wrong("commas", "true or false")
    return ("," in text) == wanted


INSTRUCTIONS: dict[str, Callable[[str, Any], bool]] = {
    "words": _counted("words", lambda text: len(text.split())),
    "sentences": _counted("sentences", lambda text: len(_SENTENCE.findall(text))),
    "paragraphs": _counted(
        "paragraphs", lambda text: len([part for part in re.split(r"\n\s*\n", text) if part.strip()])
    ),
    "characters": _counted("characters", len),
    "bullets": _counted("bullets", lambda text: len(_BULLET.findall(text))),
    "keywords": _keywords,
    "forbidden": _forbidden,
    "starts": lambda text, wanted: text.strip().startswith(str(wanted)),
    "ends": lambda text, wanted: text.strip().endswith(str(wanted)),
    "case": _case,
    "json": _json,
    "commas": _commas,
}
