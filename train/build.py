"""From settings and token shards to the parts of a run: the objective, sharded and filled, and its data.

    weights/origin.py -> sizes -> trunk (models/) + adapters -> objective (objectives/) -> shards (parallel/) -> first weights

One function for each kind of objective says what it is made of and which source it reads; several tasks are several of
them on one trunk.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from curate.errors import CurateError
from curate.tokenize.pack import Pack
from curate.tokenize.roles import FILL, fill_roles
from curate.tokenize.tokenizer import load_tokenizer, token_bytes, tokenizer_hash
from curate.train.data.batch import TASK, Batch
from curate.train.data.feed import Feed, examples_in, open_feed, sources_of
from curate.train.data.middle import FillTokens
from curate.train.data.source import Source
from curate.train.data.tasks import Task, label_scale, positive_of, tasks_of
from curate.train.models.lora import add_lora
from curate.train.models.trunk import build_trunk
from curate.train.objectives.contract import Objective
from curate.train.objectives.distillation import Distillation
from curate.train.objectives.judging import Scorer
from curate.train.objectives.kto import Kto
from curate.train.objectives.labels import Classification, TokenClassification
from curate.train.objectives.language import Causal, Masked, MultiToken
from curate.train.objectives.multi_task import MultiTask
from curate.train.objectives.preference import Preference
from curate.train.objectives.reference import Reference
from curate.train.objectives.reinforcement import Reinforcement
from curate.train.objectives.reward import OutcomeReward, PairReward
from curate.train.objectives.seq2seq import Seq2Seq
from curate.train.objectives.sft import Sft
from curate.train.parallel.shard import shard_model
from curate.train.parallel.world import World
from curate.train.settings.architecture import Architecture
from curate.train.settings.config import TrainConfig
from curate.train.settings.methods import (
    CausalSettings,
    ClassificationSettings,
    DistillationSettings,
    MaskedSettings,
    MultiTokenSettings,
    ObjectiveSettings,
    PreferenceSettings,
    ReinforcementSettings,
    RewardModelSettings,
    Seq2SeqSettings,
    SftSettings,
    TokenClassificationSettings,
)
from curate.train.settings.rewards import ModelReward
from curate.train.weights.origin import Origin, fill_first, find_model, find_origin
from curate.train.weights.reward_model import open_reward_model

__all__ = ["Parts", "build_parts", "with_steps"]


@dataclass(frozen=True, slots=True)
class Parts:
    """What a run is made of, in one process.

    Attributes:
        objective: The root module, sharded, with its first weights.
        objectives: The objective of each task; the only one is called "".
        feed: This process's batch of each step.
        validation: Validation examples of each task, or dataset of a mixture, that has some.
        cut: Examples that are longer than they may be, and so are cut.
        test: Examples of the test split, where it is asked for.
    """

    objective: Objective
    objectives: dict[str, Objective]
    feed: Feed
    validation: dict[str, Source]
    cut: int
    test: dict[str, Source] = field(default_factory=dict)

    def objective_of(self, name: str) -> Objective:
        """The objective of a task, or of a dataset of a mixture."""
        return self.objectives[name if name in self.objectives else ""]

    def task_key(self, task: str, rows: int) -> Batch:
        """What tells a batch's task; nothing where there is one."""
        if not isinstance(self.objective, MultiTask):
            return {}
        return {TASK: torch.full((rows,), list(self.objectives).index(task))}

    def watched(self, validation: dict[str, Any]) -> tuple[Objective, dict[str, Any]]:
        """The objective whose metric tells better from worse (the first task's), and its metrics."""
        name = next(iter(self.validation))
        return self.objective_of(name), validation[name] if name else validation


@contextmanager
def build_parts(
    config: TrainConfig, packs: dict[str, Pack], world: World, *, folder: Path | None = None
) -> Iterator[Parts]:
    """The parts of a run; reading ahead ends with the context.

    Args:
        config: The run's settings.
        packs: Token shards, by the names of tasks or datasets.
        world: The processes.
        folder: Of the run, for what an objective keeps.

    Raises:
        CurateError: Model, tokenizer, data and objective do not fit together.
    """
    tasks = tasks_of(config)
    plan = _Plan(config, packs, world, folder)
    trunk = plan.trunk()
    made = {task.name: plan.objective(task, trunk) for task in tasks}
    root = plan.ready(MultiTask(trunk, made) if len(tasks) > 1 else made[tasks[0].name])
    alone = not getattr(trunk, "keeps_apart", True)
    validation, test = (
        sources_of(split, tasks, config, packs, alone=alone) if wanted else {}
        for split, wanted in (("validation", True), ("test", config.validation.test))
    )
    with closing(root), open_feed(tasks, config, packs, world, alone=alone) as (feed, cut):
        yield Parts(root, made, feed, validation, cut, test)


def with_steps(config: TrainConfig, packs: dict[str, Pack]) -> TrainConfig:
    """The settings with the `steps` that their `epochs` come to.

    Raises:
        CurateError: They end before the first validation, and `early_stopping` waits for it.
    """
    if config.epochs is None:
        return config
    origin, alone = find_origin(config.model), False
    if origin and origin.kind == "foreign":
        from curate.train.models.backbone import Backbone

        alone = not Backbone(origin.path, length=_length(config, origin)).keeps_apart
    (pack,) = packs.values()
    examples = examples_in(tasks_of(config)[0], config, pack, alone=alone)
    steps = math.ceil(config.epochs * examples / config.batch.sequences)
    if config.early_stopping and config.validation.every > steps:
        raise CurateError(
            f"`early_stopping` needs validations: `validation.every` is more than the {steps:,} steps of the epochs",
            "validation.every",
        )
    return config.model_copy(update={"steps": steps, "epochs": None})


class _Plan:
    """What the objectives of a run are made from."""

    def __init__(self, config: TrainConfig, packs: dict[str, Pack], world: World, folder: Path | None) -> None:
        self.config, self.packs, self.world, self.folder = config, packs, world, folder
        self.pack = next(iter(packs.values()))
        self.origin = origin = find_origin(config.model)
        _check_vocabulary(self.pack, origin)
        self.vocabulary = origin.vocabulary if origin else self.pack.vocabulary
        if config.model.kind == "mlp":
            self.vocabulary = self.pack.width("features")  # a row of the embedding for each number
        self.length = _length(config, origin)

    def trunk(self) -> nn.Module:
        """The trunk, with adapters where they are asked for."""
        config, origin = self.config, self.origin
        if origin and origin.kind == "foreign":
            from curate.train.models.backbone import Backbone

            trunk: nn.Module = Backbone(origin.path, length=self.length)
        else:
            sizes = replace(origin.sizes, dropout=config.model.dropout) if origin and origin.sizes else None
            sizes = sizes or config.model.architecture
            objective = config.objective
            if isinstance(objective, MultiTokenSettings) and origin is None:
                sizes = replace(sizes, layers=_trunk_layers(sizes.layers, objective.heads))
            with torch.device("meta"):
                trunk = build_trunk(sizes, vocabulary=self.vocabulary, length=self.length, pooler=self._pooler(sizes))
        if config.lora:
            with torch.device("meta"):
                add_lora(trunk, config.lora)
        return trunk

    def _pooler(self, sizes: Architecture) -> bool:
        """An encoder that classifies by its first token has BERT's layer behind it."""
        tasks = [task.objective for task in tasks_of(self.config)]
        first = any(isinstance(one, ClassificationSettings) and one.pooling in (None, "first") for one in tasks)
        return sizes.kind == "encoder" and first

    def ready(self, objective: Objective) -> Objective:
        """The objective, sharded and with its first weights."""
        shard_model(objective, self.world, self.config)
        config, labels = self.config, self.pack.labels
        fill_first(objective, self.origin, seed=config.seed, world=self.world, labels=labels, lora=config.lora)
        return objective

    def objective(self, task: Task, trunk: nn.Module) -> Objective:
        """The task's objective on a trunk; its heads are on the meta device."""
        pack = self.packs.get(task.name) or self.packs[task.datasets[0]]
        outside = self._outside(task.objective)
        with torch.device("meta"):
            return self._objective(task, pack, trunk, outside)

    def _outside(self, settings: ObjectiveSettings) -> nn.Module | None:
        """Another model that the objective looks at: its teacher, or the model as it began."""
        if isinstance(settings, DistillationSettings):
            return self._teacher(settings)
        if self.config.lora and self.config.lora.path is None:
            return None  # without its adapters the model is as it began
        if isinstance(settings, PreferenceSettings) and settings.compares:
            return self._reference()
        if isinstance(settings, ReinforcementSettings) and settings.kl > 0:
            return self._reference(settings.temperature)
        return None

    def _objective(self, task: Task, pack: Pack, trunk: nn.Module, outside: Any) -> Objective:
        settings = task.objective
        text: dict[str, Any] = {"token_bytes": token_bytes(pack.tokenizer_path), "end_of_text": pack.end_of_text}
        match settings:
            case CausalSettings():
                return Causal(trunk, settings, **text, fill=self._fill(settings, pack), seed=self.config.seed)
            case MultiTokenSettings():
                return MultiToken(trunk, settings, **text)
            case MaskedSettings():
                return self._masked(settings, pack, trunk)
            case Seq2SeqSettings():
                tokenizer = load_tokenizer(pack.tokenizer_path) if settings.metrics else None
                return Seq2Seq(trunk, settings, tokenizer=tokenizer, start=pack.roles["padding"], end=pack.end_of_text)
            case ClassificationSettings():
                return Classification(
                    trunk, settings, labels=len(pack.labels), positive=positive_of(task.positive, pack.labels),
                    columns=0 if task.alone else pack.width("features"),
                    scale=label_scale(task.data, settings, pack),
                )  # fmt: skip
            case TokenClassificationSettings():
                return TokenClassification(trunk, settings, labels=len(pack.labels), names=pack.labels)
            case SftSettings():
                return Sft(trunk, settings)
            case PreferenceSettings() if settings.paired:
                return Preference(trunk, settings, reference=outside)
            case PreferenceSettings():
                return Kto(trunk, settings, reference=outside, total=self.world.total)
            case RewardModelSettings():
                return PairReward(trunk, settings) if settings.paired else OutcomeReward(trunk)
            case ReinforcementSettings():
                return self._reinforcement(settings, pack, trunk, outside)
            case DistillationSettings():
                return Distillation(trunk, settings, teacher=outside, **text)

    def _fill(self, settings: CausalSettings, pack: Pack) -> FillTokens | None:
        if not settings.fill_in_the_middle:
            return None
        found = fill_roles(load_tokenizer(pack.tokenizer_path))
        return FillTokens(*(found[role] for role in FILL), start=pack.roles["start"], end=pack.end_of_text)

    def _masked(self, settings: MaskedSettings, pack: Pack, trunk: nn.Module) -> Objective:
        special = [*pack.special_tokens, *range(pack.vocabulary, self.vocabulary)]
        return Masked(
            trunk,
            settings,
            vocabulary=self.vocabulary,
            mask_token=pack.roles["mask"],
            special_tokens=special,
            seed=self.config.seed,
        )

    def _reinforcement(
        self, settings: ReinforcementSettings, pack: Pack, trunk: nn.Module, reference: Reference | None
    ) -> Objective:
        return Reinforcement(
            trunk,
            settings,
            tokenizer=load_tokenizer(pack.tokenizer_path),
            ends=pack.ends,
            seed=self.config.seed,
            reference=reference,
            folder=self.folder,
            models=self._reward_models(settings),
        )

    def _reward_models(self, settings: ReinforcementSettings) -> dict[int, Scorer]:
        """The models among the rewards, by their places; whole in each process."""
        device = str(self.world.device)
        with torch.device(device):
            return {
                place: open_reward_model(entry.path, device=device).judge
                for place, entry in enumerate(settings.entries)
                if isinstance(entry, ModelReward)
            }

    def _reference(self, temperature: float = 1.0) -> Reference:
        """The model as it begins, once more."""
        reference = Reference(self.trunk(), temperature=temperature)
        self.ready(reference)
        return reference

    def _teacher(self, settings: DistillationSettings) -> nn.Module:
        """The teacher's trunk with its weights, whole in every process."""
        origin = find_model(settings.teacher, setting="objective.teacher")
        assert origin.sizes
        if not origin.predicts:
            raise CurateError(
                f"the model in `{settings.teacher}` has not learned to predict the next token", "objective.teacher"
            )
        if origin.vocabulary == self.vocabulary:
            _check_tokenizer(self.pack, origin)
        length = origin.length or self.length
        with torch.device("meta"):
            trunk = build_trunk(origin.sizes, vocabulary=origin.vocabulary, length=max(length, self.length))
        teacher = Reference(trunk)
        fill_first(teacher, origin, seed=self.config.seed, world=self.world)
        return teacher.model


def _trunk_layers(layers: int, heads: int) -> int:
    """Blocks before the heads, which are blocks themselves: as many parameters as without them."""
    if layers <= heads:
        raise CurateError(
            f"{heads} heads of a layer each leave nothing of {layers} layers",
            "objective.heads",
            "fewer heads, or more `model.layers`",
        )
    return layers - heads


def _length(config: TrainConfig, origin: Origin | None) -> int:
    """Most tokens that a sequence of the run has.

    Raises:
        CurateError: They are more than the model to begin with has positions for.
    """
    longest = config.batch.length
    for task in tasks_of(config):
        if isinstance(task.objective, ReinforcementSettings):
            longest = max(longest, config.batch.length + task.objective.new_tokens)
        if isinstance(task.objective, Seq2SeqSettings):
            longest = max(longest, task.objective.target_length)
    if origin and origin.length and longest > origin.length:
        raise CurateError(
            f"sequences of {longest} tokens are longer than the {origin.length} positions of the model",
            "batch.length",
            f"at most {origin.length}",
        )
    if origin is None:
        return longest
    return origin.length or max(longest, origin.context or 0)  # fine-tuning on short texts does not shorten a model


def _check_vocabulary(pack: Pack, origin: Origin | None) -> None:
    if origin is None:
        return
    if pack.vocabulary > origin.vocabulary:
        raise CurateError(
            f"the tokenizer has {pack.vocabulary} tokens and the model {origin.vocabulary}",
            "tokenizer",
            "use the tokenizer that the model was trained with (`tokenizer.path`)",
        )
    _check_tokenizer(pack, origin)


def _check_tokenizer(pack: Pack, origin: Origin) -> None:
    """A run of ours says which tokenizer it was trained with."""
    if origin.kind != "run" or origin.tokenizer is None:
        return
    if tokenizer_hash(origin.tokenizer) != pack.tokenizer:
        raise CurateError(
            f"the tokens were made by the tokenizer {pack.tokenizer[:12]}, and the model in `{origin.path}` was trained "
            f"with {tokenizer_hash(origin.tokenizer)[:12]}",
            "tokenizer",
            f"set `tokenizer.path: {origin.tokenizer}`",
        )
