"""Rewards by the words of a completion: its answer, its form, its length.

exact, contains     the answer, or a text that has it
number              the last number, as GSM8K is scored (Cobbe et al. 2021)
format              a regular expression, or parts in tags
length, overlong    a length, or a penalty for too much of it (Yu et al. 2025, DAPO)
"""

from __future__ import annotations

import re
from decimal import Decimal

from curate.errors import CurateError
from curate.train.rewards.completion import Completion
from curate.train.settings.rewards import FormatReward, LengthReward, OverlongReward

__all__ = ["contains", "exact", "formatted", "last_number", "length", "number", "overlong"]

# A sign belongs to a number unless something that could be subtracted from stands before it: 7-3 ends in 3.
_NUMBER = re.compile(
    r"(?<![\w.)\]])(?:[-+](?=[0-9.]))?"
    r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
)


def exact(given: Completion) -> float:
    """1 if the completion is the answer, spaces around them aside; else 0."""
    return float(given.completion.strip() == given.answer.strip())


def contains(given: Completion) -> float:
    """1 if the answer stands in the completion; else 0, and 0 for an empty answer."""
    answer = given.answer.strip()
    return float(bool(answer) and answer in given.completion)


def number(given: Completion) -> float:
    """1 if the last number of the completion equals the last number of the answer; else 0.

    Thousands may be parted by commas, and 3 equals 3.0.

    Raises:
        CurateError: The answer holds no number.
    """
    wanted = last_number(given.answer)
    if wanted is None:
        raise CurateError("the answer holds no number", hint="`reward: number` needs one in each answer")
    return float(last_number(given.completion) == wanted)


def last_number(text: str) -> Decimal | None:
    """The last number of a text; None where it has none."""
    found = _NUMBER.findall(text.replace("\u2212", "-"))
    return Decimal(found[-1].replace(",", "")) if found else None


def formatted(given: Completion, settings: FormatReward) -> float:
    """1 if the completion has the form that the settings say; else 0."""
    if settings.pattern is not None:
        return float(re.fullmatch(settings.pattern, given.completion, re.DOTALL) is not None)
    marks = [mark for tag in settings.tags for mark in (f"<{tag}>", f"</{tag}>")]
    parts = r"\s*".join(
        f"{re.escape(first)}.*{re.escape(last)}" for first, last in zip(*[iter(marks)] * 2, strict=True)
    )
    once = all(given.completion.count(mark) == 1 for mark in marks)
    return float(once and re.fullmatch(parts, given.completion.strip(), re.DOTALL) is not None)


def length(given: Completion, settings: LengthReward) -> float:
    """1 within the tolerance of the target, 0 from twice the tolerance on, between them in a line."""
    counts = {"words": len(given.completion.split()), "characters": len(given.completion), "tokens": given.tokens}
    away = abs(counts[settings.unit] - settings.target)
    return min(max(2.0 - away / settings.tolerance, 0.0), 1.0)


def overlong(given: Completion, settings: OverlongReward) -> float:
    """0 up to `most` - `margin` tokens, -1 from `most` on, between them in a line."""
    above = given.tokens - (settings.most - settings.margin)
    return -min(max(above / settings.margin, 0.0), 1.0)
