"""From the settings of a reward to the function that judges; and what comes of one that fails.

Errors name the reward, and the line where one's own failed, and never hold a text that was judged.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from traceback import extract_tb, print_exc
from typing import Any, NamedTuple

from curate.errors import CurateError, did_you_mean
from curate.train.rewards import texts
from curate.train.rewards.completion import Completion, Judge
from curate.train.settings.rewards import FunctionReward, ModelReward, RewardSettings

__all__ = ["WHERE", "Verdict", "judged", "load_reward"]

WHERE = "objective.reward"


class Verdict(NamedTuple):
    """What became of a completion and a reward.

    Attributes:
        value: What it is worth; None where the reward failed.
        problem: What went wrong, in words without any text that was judged.
        hint: Where, or what to do.
    """

    value: float | None
    problem: str | None = None
    hint: str | None = None


def load_reward(settings: RewardSettings, folder: Path | None = None) -> Judge:
    """The function that judges as the settings say.

    Args:
        settings: Which reward, and how.
        folder: Of the run; None: nothing is kept.

    Raises:
        CurateError: One's own module does not import, or the function cannot be called.
    """
    if isinstance(settings, FunctionReward):
        return _own(settings)
    if settings.reward == "mathematics":
        from curate.train.rewards.mathematics import (
            mathematics,  # only where it is asked for: the process starts sooner
        )

        return partial(mathematics, settings=settings)
    if settings.reward == "instructions":
        from curate.train.rewards.instructions import instructions

        return partial(instructions, settings=settings)
    if settings.reward == "code":
        from curate.train.rewards.code import load_code

        return load_code(settings)
    if settings.reward == "rubric":
        from curate.train.rewards.rubric import load_rubric

        return load_rubric(settings, folder)
    assert not isinstance(settings, ModelReward), "models score in the process of the training"
    plain: dict[str, Judge] = {"exact": texts.exact, "contains": texts.contains, "number": texts.number}
    formed: dict[str, Callable[..., float]] = {
        "format": texts.formatted, "length": texts.length, "overlong": texts.overlong,
    }  # fmt: skip
    name = settings.reward
    return plain[name] if name in plain else partial(formed[name], settings=settings)


def judged(judge: Judge, given: Completion, *, name: str) -> Verdict:
    """What a completion is worth, or why that is not known.

    Args:
        judge: The reward.
        given: What it judges.
        name: Of the reward, for messages.
    """
    try:
        found = judge(given)
    except CurateError as error:
        return Verdict(None, error.problem, error.hint)
    except MemoryError:
        return Verdict(None, f"the reward `{name}` needs more memory than `reward_limits.memory`")
    except (Exception, SystemExit) as error:  # a plugin's edge; its message may hold the text, which is not for logs
        print_exc()
        where = "; ".join(filter(None, (_line(error), "CURATE_DEBUG=1 shows its message")))
        return Verdict(None, f"the reward `{name}` failed with {type(error).__name__}", where)
    try:
        value = float(found)
    except (TypeError, ValueError, OverflowError):
        problem = f"the reward `{name}` gave a {type(found).__name__}"
        return Verdict(None, problem, "a reward is a finite number")
    if not math.isfinite(value):
        return Verdict(None, f"the reward `{name}` gave {value}", "a reward is a finite number")
    return Verdict(value)


def _own(settings: FunctionReward) -> Judge:
    """The function that a `package.module:function` stands for."""
    name = settings.function
    module_name, colon, function_name = name.partition(":")
    if not (colon and module_name and function_name):
        raise CurateError(f"there is no reward named `{name}`", WHERE, "your own is `package.module:function`")
    try:
        module = import_module(module_name)
    except (Exception, SystemExit) as error:  # a plugin's edge: a module of the user's own may fail in any way
        hint = _line(error) or f"is `{module_name}` on PYTHONPATH?"
        raise CurateError(
            f"reward `{name}` cannot be imported: {type(error).__name__}: {error}", WHERE, hint
        ) from error
    found = getattr(module, function_name, None)
    if not callable(found):
        known = [key for key, value in vars(module).items() if callable(value)]
        raise CurateError(
            f"reward `{name}` cannot be imported: `{module_name}` has no function `{function_name}`",
            WHERE,
            did_you_mean(function_name, known),
        )
    takes_columns = _takes_columns(found, name)

    def judge(given: Completion) -> Any:
        more = {"columns": dict(given.columns)} if takes_columns else {}
        return found(given.prompt, given.completion, given.answer, **more)

    return judge


def _takes_columns(function: Callable[..., Any], name: str) -> bool:
    """Whether it wants the columns of the prompt's row, too.

    Raises:
        CurateError: It cannot be called as rewards are.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # one that is written in C may not tell
        return False
    more = {"columns": {}} if "columns" in signature.parameters else {}
    try:
        signature.bind("", "", None, **more)
    except TypeError as error:
        raise CurateError(
            f"reward `{name}` takes `{signature}`, which does not fit: {error}",
            WHERE,
            "it is called as `reward(prompt, completion, answer)`, with `columns=` if it has a parameter of this name",
        ) from error
    return bool(more)


def _line(error: BaseException) -> str | None:
    """The line that failed, unless it is one of ours or of the import system."""
    frames = [
        frame
        for frame in extract_tb(error.__traceback__)[1:]
        if "importlib" not in frame.filename and frame.filename != __file__
    ]
    return f"it fails at {frames[-1].filename}:{frames[-1].lineno}" if frames else None
