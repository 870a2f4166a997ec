"""What is learned, and how: the settings of the objectives and of the methods that go with any of them.

Each objective is a class here (its settings) and one in `train/objectives/` (its computation). Nothing here imports torch.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from curate.train.settings.rewards import RewardLimits, RewardSettings, as_entry, single

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
    "RewardModelSettings",
    "Seq2SeqSettings",
    "Settings",
    "SftSettings",
    "TextMetric",
    "TokenClassificationSettings",
]


class Settings(BaseModel):
    """Frozen; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# ---- objectives

TextMetric = Literal["exact_match", "token_f1", "bleu", "chrf", "rouge1", "rouge2", "rougeL"]
"""How a text that a model writes is compared with what is right (train/objectives/texts.py)."""


class CausalSettings(Settings):
    """The next token from those before it."""

    kind: Literal["causal"] = "causal"
    z_loss: float = Field(default=0.0, ge=0, description="weight of the squared log-normalizer (Chowdhery et al. 2022)")
    fill_in_the_middle: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of the documents that are learned with their middle last, after prefix and suffix, so that the "
        "model can fill in between (Bavarian et al. 2022: half of them cost next to nothing elsewhere); validation reads "
        "texts as they are",
    )
    suffix_first: float = Field(
        default=0.5, ge=0, le=1, description="share of these in which the suffix stands before the prefix"
    )


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
    metrics: tuple[TextMetric, ...] = Field(
        default=(),
        description="also measured in validation, of targets that are written with the likeliest token each time",
    )


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
    """Better answers over worse ones, from pairs or, with kto, from answers that are each called good or bad."""

    kind: Literal["preference"] = "preference"
    method: Literal["dpo", "ipo", "simpo", "orpo", "kto"] = Field(
        default="dpo",
        description="dpo (Rafailov et al. 2023), ipo (Azar et al. 2024) and kto (Ethayarajh et al. 2024) measure the "
        "distance from the model as it began; simpo (Meng et al. 2024) and orpo (Hong et al. 2024) need no such reference",
    )
    beta: float = Field(
        default=0.1, gt=0, description="scale of the rewards (dpo, kto: 0.1; simpo: 2): a step away costs as much"
    )
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=0.5, description="share of preferences that may be wrong (dpo; Mitchell 2023)"
    )
    tau: float = Field(default=0.1, gt=0, description="ipo: the lead of the chosen answer is drawn to 1 / (2 tau)")
    gamma_beta_ratio: float = Field(
        default=0.5, ge=0, description="simpo: lead in nats a token that the chosen answer must have, gamma / beta"
    )
    odds_weight: float = Field(
        default=0.1, gt=0, description="orpo: weight of the odds ratio beside the chosen answer's own loss, lambda"
    )
    desirable_weight: float = Field(default=1.0, ge=0, description="kto: how much a good answer counts")
    undesirable_weight: float = Field(default=1.0, ge=0, description="kto: how much a bad answer counts")

    @property
    def paired(self) -> bool:
        """It reads a chosen and a rejected answer, not a single one and its label."""
        return self.method != "kto"

    @property
    def compares(self) -> bool:
        """It needs the model as it began."""
        return self.method in ("dpo", "ipo", "kto")

    @model_validator(mode="before")
    @classmethod
    def _beta_of_the_method(cls, given: Any) -> Any:
        """SimPO's rewards are means over tokens, which need a larger scale than sums."""
        if isinstance(given, dict) and given.get("method") == "simpo" and "beta" not in given:
            return {**given, "beta": 2.0}
        return given

    @model_validator(mode="after")
    def _settings_of_the_method(self) -> Self:
        for name, methods in _OF_METHODS.items():
            if self.method not in methods and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"`{name}` is a setting of {' and '.join(methods)}, not of {self.method}")
        if not self.paired and self.desirable_weight == self.undesirable_weight == 0:
            raise ValueError("`desirable_weight` and `undesirable_weight` are both 0: nothing would be learned")
        return self


_OF_METHODS = {
    "beta": ("dpo", "simpo", "kto"),
    "label_smoothing": ("dpo",),
    "tau": ("ipo",),
    "gamma_beta_ratio": ("simpo",),
    "odds_weight": ("orpo",),
    "desirable_weight": ("kto",),
    "undesirable_weight": ("kto",),
}
"""Settings of preferences, and the methods that read them."""


class RewardModelSettings(Settings):
    """A score of an answer to a prompt: how good it is, learned from pairs, or from answers called right or wrong."""

    kind: Literal["reward"] = "reward"
    method: Literal["bradley_terry", "outcome"] = Field(
        default="bradley_terry",
        description="bradley_terry: the score of the chosen answer over that of the rejected one (Ouyang et al. 2022); "
        "outcome: the log-odds that a single answer is right (Cobbe et al. 2021)",
    )
    centering: float = Field(
        default=0.0,
        ge=0,
        description="bradley_terry: weight of the squared sum of a pair's scores, which keeps them around 0 (Eisenstein et "
        "al. 2023 take 0.01)",
    )

    @property
    def paired(self) -> bool:
        """It reads a chosen and a rejected answer, not a single one and its label."""
        return self.method == "bradley_terry"

    @model_validator(mode="after")
    def _settings_of_the_method(self) -> Self:
        if self.centering and not self.paired:
            raise ValueError("`centering` is a setting of bradley_terry, not of outcome")
        return self


class ReinforcementSettings(Settings):
    """Texts sampled in the loop and rewarded by rules: REINFORCE (Williams 1992), GRPO (Shao et al. 2024) and their kin."""

    kind: Literal["reinforcement"] = "reinforcement"
    method: Literal["reinforce", "grpo"] = Field(
        default="grpo", description="reinforce: reward less the group's mean; grpo: divided by its deviation too"
    )
    reward: str = Field(
        default="exact",
        description="`exact`, `contains`, `number`, `mathematics`, `instructions`, `code`, `model:FOLDER` (a reward model), or "
        "`package.module:function`, given (prompt, completion, answer)",
    )
    rewards: tuple[RewardSettings, ...] = Field(
        default=(), description="instead of `reward`: several, each with its settings and weight, logged by its name"
    )
    reward_limits: RewardLimits = RewardLimits()
    group: int = Field(default=8, ge=2, description="completions of each prompt")
    new_tokens: int = Field(default=32, ge=1, description="most tokens of a completion")
    temperature: float = Field(default=1.0, gt=0, description="of the sampling")
    kl: float = Field(default=0.0, ge=0, description="weight of the divergence from the model as it began")
    epochs: int = Field(default=1, ge=1, description="times that the completions of a step are learned from")
    minibatches: int = Field(default=1, ge=1, description="updates in each of these times, by the prompts of the step")
    clip: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="how far below 1 the ratio to the model that sampled may pay, of several updates",
    )
    clip_high: float | None = Field(default=None, gt=0, description="how far above 1; by default as far as below")
    ratio: Literal["token", "sequence"] = Field(
        default="token", description="of each token, or of each completion (GSPO): the geometric mean of its tokens'"
    )
    aggregate: Literal["token", "sequence", "constant"] = Field(
        default="token",
        description="the loss is the mean of all tokens (DAPO), of the means of completions (GRPO), or the sum over tokens "
        "by completions times `new_tokens` (Dr. GRPO)",
    )
    truncated: Literal["keep", "mask"] = Field(
        default="keep", description="mask: nothing is learned from completions that did not come to their end"
    )
    flat: Literal["keep", "skip"] = Field(
        default="keep",
        description="skip: groups whose rewards are all the same, which teach nothing, do not count in the mean of the loss; "
        "their share is logged as `flat`",
    )

    @field_validator("rewards", mode="before")
    @classmethod
    def _as_written(cls, given: Any) -> Any:
        return [as_entry(one) for one in given] if isinstance(given, (list, tuple)) else given

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        if self.rewards and self.reward != "exact":
            raise ValueError("give one of `reward` and `rewards`")
        names = [one.called for one in self.rewards]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two of the `rewards` are called `{name}`: give them a `name`")
        return self

    @property
    def entries(self) -> tuple[RewardSettings, ...]:
        """All rewards.

        Raises:
            CurateError: There is none of that name.
        """
        return self.rewards or (single(self.reward),)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the dataset that rewards read besides prompt and answer."""
        return tuple(dict.fromkeys(column for one in self.entries for column in one.reads))


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
    | RewardModelSettings
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
