"""Verifiers: what a completion is worth, decided by a rule and not by a model.

    exact       1 if the completion is the answer, spaces around them aside
    contains    1 if the answer stands somewhere in the completion
    number      1 if the last number of the completion equals the last of the answer, as GSM8K is scored (Cobbe et al. 2021)
    package.module:function    your own: given (prompt, completion, answer), three texts, it returns a number

All are pure functions of the texts, so a run that goes on gives the same rewards. Errors name the prompt by its number
and never hold its text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Decimal
from importlib import import_module
from traceback import extract_tb
from typing import cast

from curate.errors import CurateError, did_you_mean

__all__ = ["REWARDS", "Reward", "contains", "exact", "judge", "load_reward", "number"]

Reward = Callable[[str, str, str], float]
"""From prompt, completion and answer to a finite number."""

# A sign belongs to a number unless something that could be subtracted from stands before it: 7-3 ends in 3.
_NUMBER = re.compile(
    r"(?<![\w.)\]])(?:[-+](?=[0-9.]))?"
    r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
)


def exact(prompt: str, completion: str, answer: str) -> float:
    """1 if the completion is the answer, spaces around them aside; else 0."""
    return float(completion.strip() == answer.strip())


def contains(prompt: str, completion: str, answer: str) -> float:
    """1 if the answer stands in the completion; else 0, and 0 for an empty answer."""
    return float(bool(answer.strip()) and answer.strip() in completion)


def number(prompt: str, completion: str, answer: str) -> float:
    """1 if the last number of the completion equals the last number of the answer; else 0.

    Thousands may be parted by commas, and 3 equals 3.0.

    Raises:
        CurateError: The answer holds no number.
    """
    wanted = _last_number(answer)
    if wanted is None:
        raise CurateError("the answer holds no number", hint="`reward: number` needs one in each answer")
    return float(_last_number(completion) == wanted)


def _last_number(text: str) -> Decimal | None:
    found = _NUMBER.findall(text.replace("\u2212", "-"))
    return Decimal(found[-1].replace(",", "")) if found else None


REWARDS: dict[str, Reward] = {"exact": exact, "contains": contains, "number": number}


def load_reward(name: str) -> Reward:
    """The reward of that name, or the function that a `package.module:function` stands for.

    Raises:
        CurateError: There is none, its module does not import, or it cannot be called.
    """
    if name in REWARDS:
        return REWARDS[name]
    where = "objective.reward"
    module_name, colon, function_name = name.partition(":")
    if not (colon and module_name and function_name):
        hint = did_you_mean(name, REWARDS) or f"{', '.join(REWARDS)}, or your own as `package.module:function`"
        raise CurateError(f"there is no reward named `{name}`", where, hint)
    try:
        module = import_module(module_name)
    except Exception as error:  # a plugin's edge: a module of the user's own may fail in any way
        hint = _line(error) or f"is `{module_name}` on PYTHONPATH?"
        raise CurateError(
            f"reward `{name}` cannot be imported: {type(error).__name__}: {error}", where, hint
        ) from error
    found = getattr(module, function_name, None)
    if not callable(found):
        known = [key for key, value in vars(module).items() if callable(value)]
        raise CurateError(
            f"reward `{name}` cannot be imported: `{module_name}` has no function `{function_name}`",
            where,
            did_you_mean(function_name, known),
        )
    return cast(Reward, found)


def judge(reward: Reward, prompt: str, completion: str, answer: str, *, place: str) -> float:
    """What a completion is worth.

    Args:
        reward: Judges it.
        prompt: What was asked.
        completion: What was sampled.
        answer: What it is compared with.
        place: Names the prompt in errors, `prompt 17`.

    Raises:
        CurateError: The reward failed, or gave something else than a finite number.
    """
    try:
        given = reward(prompt, completion, answer)
    except CurateError as error:
        raise CurateError(error.problem, place, error.hint) from error
    except Exception as error:  # a plugin's edge; its message may hold the text, which does not belong in a log
        raise CurateError(f"the reward failed with {type(error).__name__}", place, _line(error)) from None
    try:
        value = float(given)
    except (TypeError, ValueError):
        raise CurateError(f"the reward is a {type(given).__name__}", place, "a reward is a finite number") from None
    if not math.isfinite(value):
        raise CurateError(f"the reward is {value}", place, "a reward is a finite number")
    return value


def _line(error: Exception) -> str | None:
    """The line that failed, unless it is one of ours or of the import system."""
    frames = [frame for frame in extract_tb(error.__traceback__)[1:] if "importlib" not in frame.filename]
    return f"it fails at {frames[-1].filename}:{frames[-1].lineno}" if frames else None
