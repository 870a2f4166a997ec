"""What a completion is worth, and how it is found out: the settings of the rewards of reinforcement.

A reward is a class here (its settings) and a function in `train/rewards/` (its computation). Nothing here imports torch.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, field_validator, model_validator

from curate.errors import CurateError, did_you_mean

__all__ = [
    "COLUMN",
    "MODEL",
    "CodeReward",
    "ContainsReward",
    "ExactReward",
    "FormatReward",
    "FunctionReward",
    "InstructionsReward",
    "LengthReward",
    "MathematicsReward",
    "ModelReward",
    "NumberReward",
    "OverlongReward",
    "RewardLimits",
    "RewardSettings",
    "RubricReward",
    "as_entry",
    "single",
]

MODEL = "model:"
"""What a reward that is a model begins with, where it is one word: `model:runs/scores`."""
COLUMN = "column"
"""What the roles of columns that rewards read begin with, in a pack; a number of two digits comes after it."""


class _Reward(BaseModel):
    """One of the rewards of a run; their sum by weight is what a completion gets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: FiniteFloat = Field(default=1.0, description="how much it counts in the sum; below 0 it is a penalty")
    name: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$",
        description="what it is called in logs; by default as `reward` says",
    )

    @property
    def called(self) -> str:
        """Its name in logs and messages."""
        return self.name or str(getattr(self, "reward"))  # noqa: B009 the field of each kind

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns of the dataset that it reads besides prompt and answer."""
        return ()


class FunctionReward(_Reward):
    """A function of one's own."""

    reward: Literal["function"] = "function"
    function: str = Field(
        description="`package.module:function`, given the texts (prompt, completion, answer), and where it has a parameter "
        "`columns`, a dictionary of texts; it returns a finite number"
    )
    columns: tuple[str, ...] = Field(
        default=(), description="further columns of the dataset that it is given; what is no text comes as JSON"
    )

    @property
    def called(self) -> str:
        """Its name in logs and messages."""
        return self.name or self.function

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns of the dataset that it reads besides prompt and answer."""
        return self.columns


class ExactReward(_Reward):
    """1 if the completion is the answer, spaces around them aside."""

    reward: Literal["exact"] = "exact"


class ContainsReward(_Reward):
    """1 if the answer stands somewhere in the completion."""

    reward: Literal["contains"] = "contains"


class NumberReward(_Reward):
    """1 if the last number of the completion equals the last of the answer, as GSM8K is scored (Cobbe et al. 2021)."""

    reward: Literal["number"] = "number"


class MathematicsReward(_Reward):
    """1 if completion and answer come to the same value, however it is written (`train/rewards/mathematics.py`)."""

    reward: Literal["mathematics"] = "mathematics"
    boxed: bool = Field(
        default=False, description="only what stands in `\\boxed{}` is taken for the completion's result"
    )
    tolerance: float = Field(
        default=0.0, ge=0, lt=1, description="share of the answer by which a number may be wrong; 0: it must be exact"
    )


class FormatReward(_Reward):
    """1 if the completion has a form: a regular expression, or parts in tags, one after the other."""

    reward: Literal["format"] = "format"
    pattern: str | None = Field(
        default=None, description="regular expression that the whole completion matches; a dot is any character"
    )
    tags: tuple[str, ...] = Field(
        default=(),
        description="names of tags, each there once, in this order, with nothing but spaces outside: [think, answer] is "
        "`<think>...</think> <answer>...</answer>`",
    )

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from None
        return pattern

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.pattern is None) == (not self.tags):
            raise ValueError("give one of `pattern` and `tags`")
        return self


class LengthReward(_Reward):
    """1 within `tolerance` of a length, and from there in a line down to 0 at twice the tolerance."""

    reward: Literal["length"] = "length"
    target: int = Field(ge=0, description="the length that is wanted")
    tolerance: int = Field(ge=1, description="how far from it is as good")
    unit: Literal["words", "characters", "tokens"] = Field(default="words", description="what is counted")


class OverlongReward(_Reward):
    """0 up to `most` less `margin` tokens, then in a line down to -1 at `most` (DAPO's soft punishment, Yu et al. 2025)."""

    reward: Literal["overlong"] = "overlong"
    most: int = Field(ge=1, description="tokens at which a completion gets -1")
    margin: int = Field(ge=1, description="tokens before it at which the penalty begins")

    @model_validator(mode="after")
    def _begins_above_nothing(self) -> Self:
        if self.margin > self.most:
            raise ValueError("`margin` is more than `most`")
        return self


class InstructionsReward(_Reward):
    """Share of the instructions of a column that the completion follows (`train/rewards/instructions.py`)."""

    reward: Literal["instructions"] = "instructions"
    column: str = Field(default="instructions", description="column of the instructions, as an object or its JSON text")
    all: bool = Field(default=False, description="1 if all are followed, else 0")

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns of the dataset that it reads besides prompt and answer."""
        return (self.column,)


class CodeReward(_Reward):
    """1 if the program in the completion passes the tests of a column (`train/rewards/code.py`); on Linux."""

    reward: Literal["code"] = "code"
    column: str = Field(
        default="tests", description="column of the tests: code of Python, a list of it, or a list of {input, output}"
    )
    share: bool = Field(default=False, description="the share of the tests that it passes, instead of 1 for all")
    seconds: int = Field(
        default=5, ge=1, description="of the processor, for each test; it may sleep five times as long"
    )
    memory: int = Field(default=512, ge=64, description="MiB, for each test")
    isolation: Literal["required", "best"] = Field(
        default="required",
        description="required: refused where programs cannot be kept from the network and from files; best: where the "
        "machine cannot, they are run all the same",
    )

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns of the dataset that it reads besides prompt and answer."""
        return (self.column,)


class RubricReward(_Reward):
    """The grade of a model behind an endpoint, from 0 to 1 (`train/rewards/rubric.py`)."""

    reward: Literal["rubric"] = "rubric"
    endpoint: str = Field(description="of OpenAI's kind, `http://127.0.0.1:8000/v1`; its token is CURATE_LLM_TOKEN")
    model: str = Field(description="name of the model there")
    rubric: str = Field(min_length=1, description="what is to be graded, in words")
    highest: int = Field(default=10, ge=1, le=100, description="best grade that is asked for; it becomes 1")
    seconds: float = Field(
        default=20.0, gt=0, description="that a try may take; `reward_limits.seconds` is for all tries"
    )


class ModelReward(_Reward):
    """The score of a reward model."""

    reward: Literal["model"] = "model"
    path: str = Field(
        description="folder of a run of `objective: reward`, of its export, or of a Hugging Face model with one label"
    )
    prompt: str = Field(default="prompt", description="column that it reads the prompt from, as `data.prompt`")

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns of the dataset that it reads besides prompt and answer: the prompt as it was, and not as tokens."""
        return (self.prompt,)


RewardSettings = Annotated[
    ExactReward
    | ContainsReward
    | NumberReward
    | MathematicsReward
    | FormatReward
    | LengthReward
    | OverlongReward
    | InstructionsReward
    | CodeReward
    | RubricReward
    | ModelReward
    | FunctionReward,
    Field(discriminator="reward"),
]


class RewardLimits(BaseModel):
    """What a reward may take for one completion, and what happens where it takes more, raises, or gives no number."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float = Field(default=30.0, gt=0, description="that it may compute or wait; then its process is ended")
    memory: int = Field(
        default=4096, ge=16, description="MiB that it may take above what it has loaded (on Linux; elsewhere no limit)"
    )
    workers: int = Field(
        default=1, ge=1, le=256, description="processes that judge at once, for each process of training"
    )
    failed: Literal["error"] | FiniteFloat = Field(
        default="error",
        description="error: training ends, naming the prompt; or what the completion gets: it is counted as `failed`",
    )


_BY_NAME = {
    "exact": ExactReward, "contains": ContainsReward, "number": NumberReward, "mathematics": MathematicsReward,
    "instructions": InstructionsReward, "code": CodeReward,
}  # fmt: skip


def single(name: str) -> RewardSettings:
    """The reward that `reward: NAME` stands for, without settings of its own.

    Raises:
        CurateError: There is none.
    """
    if name.startswith(MODEL):
        return ModelReward(path=name.removeprefix(MODEL))
    if ":" in name:
        return FunctionReward(function=name)
    if name not in _BY_NAME:
        hint = (
            did_you_mean(name, _BY_NAME)
            or f"{', '.join(_BY_NAME)}, `model:FOLDER`, or your own as `package.module:function`"
        )
        raise CurateError(f"there is no reward named `{name}`", "objective.reward", hint)
    return _BY_NAME[name]()


def as_entry(given: Any) -> Any:
    """An entry of `rewards` as it may be written: `my_rewards:short` is a function of one's own, `model:FOLDER` a model's."""
    if isinstance(given, str):
        given = {"reward": given}
    name = given.get("reward") if isinstance(given, dict) else None
    if not isinstance(name, str) or ":" not in name:
        return given
    if name.startswith(MODEL):
        return {**given, "reward": "model", "path": name.removeprefix(MODEL)}
    return {**given, "reward": "function", "function": name}
