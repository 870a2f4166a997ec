"""What is learned, and how: the settings of the objectives and of the methods that go with any of them.

Each objective is a class here (its settings) and one in `train/objectives/` (its computation). Nothing here imports torch.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "AdversarialSettings",
    "CausalSettings",
    "ClassificationSettings",
    "CurriculumSettings",
    "DistillationSettings",
    "EarlyStoppingSettings",
    "LoraSettings",
    "MaskedSettings",
    "MultiTokenSettings",
    "ObjectiveSettings",
    "PreferenceSettings",
    "ReinforcementSettings",
    "Seq2SeqSettings",
    "Settings",
    "SftSettings",
    "TokenClassificationSettings",
]


class Settings(BaseModel):
    """Frozen; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# ---- objectives


class CausalSettings(Settings):
    """The next token from those before it."""

    kind: Literal["causal"] = "causal"
    z_loss: float = Field(default=0.0, ge=0, description="weight of the squared log-normalizer (Chowdhery et al. 2022)")


class MaskedSettings(Settings):
    """Tokens that were hidden (Devlin et al. 2019): of those chosen, 80% are masked, 10% replaced, 10% left."""

    kind: Literal["masked"] = "masked"
    share: float = Field(default=0.15, gt=0, lt=1, description="share of the tokens that are predicted")


class MultiTokenSettings(Settings):
    """The next n tokens at once, a layer for each (Gloeckle et al. 2024); the trunk gives up as many layers."""

    kind: Literal["multi_token"] = "multi_token"
    heads: int = Field(default=4, ge=2, le=16, description="tokens predicted at each position")


class Seq2SeqSettings(Settings):
    """A text from a text: translation, summarization, answers to questions."""

    kind: Literal["seq2seq"] = "seq2seq"
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="share of the target spread over all tokens")
    target_length: int = Field(default=64, ge=2, description="most tokens of a target")


class ClassificationSettings(Settings):
    """A label of a text, or of a pair of texts as in GLUE; or a number (regression)."""

    kind: Literal["classification"] = "classification"
    regression: bool = Field(default=False, description="labels are numbers, the loss is their squared error")
    pooling: Literal["first", "last", "mean"] | None = Field(
        default=None,
        description="what stands for the text; by default first (encoder), last (decoder), as built (else)",
    )
    dropout: float = Field(default=0.1, ge=0, lt=1, description="share of the pooled features set to zero in training")


class TokenClassificationSettings(Settings):
    """A label of each word; only the first token of a word counts."""

    kind: Literal["token_classification"] = "token_classification"
    dropout: float = Field(default=0.1, ge=0, lt=1, description="share of the features set to zero in training")


class SftSettings(Settings):
    """Supervised fine-tuning on conversations: only what the assistant says is a target."""

    kind: Literal["sft"] = "sft"


class PreferenceSettings(Settings):
    """Direct preference optimization (Rafailov et al. 2023): chosen over rejected, against the model as it began."""

    kind: Literal["preference"] = "preference"
    beta: float = Field(default=0.1, gt=0, description="how much a step away from the reference costs")
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5, description="share of preferences that may be wrong")


class ReinforcementSettings(Settings):
    """Texts sampled in the loop and rewarded by a rule: REINFORCE (Williams 1992) or GRPO (Shao et al. 2024)."""

    kind: Literal["reinforcement"] = "reinforcement"
    method: Literal["reinforce", "grpo"] = Field(
        default="grpo", description="reinforce: reward less the group's mean; grpo: divided by its deviation too"
    )
    reward: str = Field(
        default="exact",
        description="`exact`, `contains`, `number`, or `package.module:function`, given (prompt, completion, answer)",
    )
    group: int = Field(default=8, ge=2, description="completions of each prompt")
    new_tokens: int = Field(default=32, ge=1, description="most tokens of a completion")
    temperature: float = Field(default=1.0, gt=0, description="of the sampling")
    kl: float = Field(default=0.0, ge=0, description="weight of the divergence from the model as it began")


class DistillationSettings(Settings):
    """The next token as a teacher predicts it (Hinton et al. 2015), mixed with the text itself."""

    kind: Literal["distillation"] = "distillation"
    teacher: str = Field(description="folder of the teacher: a run of ours, or a Hugging Face model; same tokenizer")
    temperature: float = Field(default=2.0, gt=0, description="both distributions are softened by it")
    weight: float = Field(default=0.5, ge=0, le=1, description="share of the teacher in the loss")


ObjectiveSettings = Annotated[
    CausalSettings
    | MaskedSettings
    | MultiTokenSettings
    | Seq2SeqSettings
    | ClassificationSettings
    | TokenClassificationSettings
    | SftSettings
    | PreferenceSettings
    | ReinforcementSettings
    | DistillationSettings,
    Field(discriminator="kind"),
]


# ---- methods that go with any objective


class LoraSettings(Settings):
    """Low-rank adapters (Hu et al. 2022) on linear layers; the model itself stays as it is."""

    rank: int = Field(default=8, ge=1, description="rank of the update")
    alpha: float = Field(default=16.0, gt=0, description="the update is scaled by alpha / rank, or as `scaling` says")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="share of the adapter's inputs set to zero in training")
    targets: Literal["all-linear"] | tuple[str, ...] = Field(
        default=("query", "value"),
        min_length=1,
        description="last names of the linear layers that get one, or all-linear: all those of the blocks",
    )
    scaling: Literal["standard", "rank_stabilized"] = Field(
        default="standard",
        description="alpha / rank, or alpha / root of the rank, which lets high ranks learn as fast (Kalajdzievski 2023)",
    )
    dora: bool = Field(
        default=False,
        description="learn the length of each output's weights apart from their direction (Liu et al. 2024)",
    )
    base: Literal["full", "bf16", "nf4"] = Field(
        default="full",
        description="numbers that the model's own parameters are held in: full is float32; by default bf16 on CUDA devices "
        "where `precision` is, which changes no step; nf4 is 4 bits for the linear layers (QLoRA, Dettmers et al. 2023)",
    )
    path: str | None = Field(
        default=None,
        description="begin with the adapters in this folder of PEFT's files, which `model.path` was made for",
    )

    @property
    def scale(self) -> float:
        """What the update is multiplied with."""
        return self.alpha / (self.rank if self.scaling == "standard" else math.sqrt(self.rank))


class AdversarialSettings(Settings):
    """Training on the worst small change of the embedded tokens."""

    kind: Literal["fgm", "pgd", "freelb"] = Field(
        default="fgm",
        description="one step (Miyato et al. 2017), projected steps (Madry et al. 2018), or free ones (Zhu et al. 2020)",
    )
    epsilon: float = Field(
        default=0.1,
        gt=0,
        description="most that the change of a row may be, as a norm; a new row of 20 tokens of width 128 has one of 1",
    )
    steps: int = Field(default=3, ge=1, description="steps of pgd and freelb")
    step_size: float = Field(default=0.03, gt=0, description="norm of a step of pgd and freelb")


class CurriculumSettings(Settings):
    """Easy first: by a column of difficulty (Platanios et al. 2019), by length, or both."""

    difficulty: bool = Field(
        default=False, description="sample from the easiest share, by the column `data.difficulty`"
    )
    pacing: Literal["sqrt", "linear"] = Field(default="sqrt", description="how the share grows")
    start: float = Field(default=0.1, gt=0, le=1, description="share of the examples at the first step")
    share: float = Field(default=0.5, gt=0, le=1, description="share of the steps after which all examples are used")
    lengths: tuple[int, ...] = Field(
        default=(), description="lengths of sequences, one after the other, before the whole one; each divides it"
    )


class EarlyStoppingSettings(Settings):
    """End when validation has not improved for a while, and keep the best checkpoint."""

    patience: int = Field(default=3, ge=1, description="validations without improvement after which training ends")
    least: float = Field(
        default=0.0, ge=0, description="smallest change that is an improvement, and makes a checkpoint the best one"
    )
