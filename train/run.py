"""`curate train`: from a training file to a trained model.

Nothing here imports torch when it is imported: what OpenMP reads is set first, and where torch is missing it is said.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.dataset.models import require_unnamed
from curate.dataset.reader import open_dataset
from curate.dataset.tables import check_label
from curate.errors import CurateError
from curate.table.contract import FEATURES
from curate.table.recipe import RECIPE, Recipe, made_elsewhere, recipe_of
from curate.tokenize.chat import ChatTemplate
from curate.tokenize.pack import Pack
from curate.tokenize.tokenizer import load_tokenizer
from curate.train.data.tasks import label_scale, pack_all, references, tasks_of
from curate.train.runs.checks import check_machine, check_metrics, require_torch, with_precision
from curate.train.runs.earlier import has_checkpoint
from curate.train.runs.folder import RunFolder, held, prepare
from curate.train.runs.launch import is_first, launch, torchrun_place
from curate.train.runs.logs import check_logs
from curate.train.runs.record import recorded
from curate.train.runs.watch import OpenWatch
from curate.train.settings.config import TrainConfig
from curate.train.settings.file import load_config, store_of
from curate.train.settings.methods import DistillationSettings, ReinforcementSettings
from curate.train.settings.rewards import ModelReward

if TYPE_CHECKING:
    from curate.dataset.reader import Dataset
    from curate.train.weights.origin import Origin

__all__ = ["train_run"]


def train_run(
    path: Path,
    *,
    overrides: list[str],
    processes: int | None = None,
    runs: Path | None = None,
    store: str | None = None,
    fresh: bool = False,
    allow: Sequence[str] = (),
    watch: OpenWatch | None = None,
) -> dict[str, Any]:
    """Train as a file says; returns what `--json` prints.

    Args:
        path: The file.
        overrides: Changed settings, `key=value`.
        processes: Instead of those of the file.
        runs: Folder of run folders; by default `runs` beside the file.
        store: The store; by default the nearest to the file.
        fresh: Begin anew; an earlier run of this name is kept until the first checkpoint.
        allow: Settings and facts of the data that may have changed.
        watch: Opens what else measures the model on the way.

    Raises:
        CurateError: The file, the dataset, or an earlier run of this name stands in the way; or training diverged.
        ResumableError: It was interrupted; the same call goes on.
    """
    place, first = torchrun_place(), is_first()
    config = load_config(path, overrides, processes=processes or (place.size if place else None))
    require_torch()
    if watch and (place or config.processes > 1 or config.restarts):
        raise CurateError(
            "evaluation during training is of a run in one process that is not started again",
            "--eval", "one process and `restarts: 0`; or `curate eval` of its checkpoints",
        )  # fmt: skip
    # Threads that wait must sleep: by default they spin, which costs five times the CPU time where anything else runs.
    # OpenMP reads this once, when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    sys.path.append(str(path.parent.resolve()))  # rewards of one's own stand beside the file; they hide no package
    named = (runs or path.parent / "runs") / config.run
    again = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0  # torchrun's, after a process has died
    # of torchrun's processes the first holds the folder and writes; the others wait for it when they join
    with held(named) if first else nullcontext(RunFolder(named)) as folder:
        result = _trained(
            config, store_of(path, store), folder, allow=allow, first=first, alone=place is None, watch=watch,
            fresh=fresh and not (again and has_checkpoint(named)),
        )  # fmt: skip
        return {**result, "checkpoint": str(folder.path / result["checkpoint"])}


def _trained(
    config: TrainConfig,
    root: str,
    folder: RunFolder,
    *,
    allow: Sequence[str],
    first: bool,
    alone: bool,
    watch: OpenWatch | None,
    fresh: bool,
) -> dict[str, Any]:
    """The result of the run, done now or before."""
    datasets = {name: open_dataset(name, root) for name in references(config)}
    table = _table(config, datasets, tell=first)
    # loads torch, which takes seconds: what is not there is said first
    from curate.train.build import with_steps

    config, models = with_precision(config), _models(config)
    check_logs(config)
    check_metrics(config)
    check_machine(config, models.get("path"))
    watching = watch(config, root) if watch else None
    for dataset in datasets.values() if first else ():
        _say(f"train {config.run}: tokens of {dataset.name}@{dataset.version[:12]}")
    template = models["path"].chat_template if "path" in models else None
    packs = pack_all(config, datasets.__getitem__, tokenizer=_tokenizer(config, models), template=template)
    epochs, config = config.epochs, with_steps(config, packs)
    if first and epochs:
        _say(f"train {config.run}: {epochs:g} epochs are {config.steps:,} steps")
    if watch and epochs:
        watching = watch(config, root)  # it may look at the last step, which is known now
    if first:
        _tell_turns(config, template, packs)
        if fresh or allow:
            require_unnamed(next(iter(datasets.values())).store, folder.path)
        prepare(folder, config, packs, models=_hashes(config, models), allow=allow, fresh=fresh)
        if config.data.features:
            _keep_table(folder, config, table, packs[""])
        _tell_splits(config.run, packs)
    complete = first and folder.result()
    if complete:
        _say(f"train {config.run}: complete already")
    with recorded(datasets, packs, folder) if first else nullcontext():
        if not (alone and complete):
            launch(config, folder, packs, watch=watching)
    result = folder.result()
    assert result is not None
    return result


def _table(config: TrainConfig, datasets: dict[str, Dataset], *, tell: bool) -> Recipe:
    """What the stages of the table that is read have learned; the label must not be among what it is predicted from."""
    if not config.data.features:
        return []
    dataset = datasets[config.dataset]
    if config.data.features == FEATURES:
        check_label(dataset, config.data.label, "data.label")
    stages = recipe_of(dataset)
    if tell and config.data.features == FEATURES and (elsewhere := made_elsewhere(dataset, stages)):
        told = ", ".join(f"`{column}` (`{stage}`)" for column, stage in elsewhere.items())
        _say(
            f"train {config.run}: warning: `features` are made of columns that other stages made or edited, "
            f"and `curate predict` makes new rows without these: {told}"
        )
    return stages


def _keep_table(folder: RunFolder, config: TrainConfig, stages: Recipe, pack: Pack) -> None:
    """Write what makes the numbers of new rows, and numbers of what is predicted from them, into the run's folder."""
    centre, scale = label_scale(config.data, config.objective, pack)
    folder.write(RECIPE, {"schema": 1, "stages": stages, "centre": centre, "scale": scale})


def _models(config: TrainConfig) -> dict[str, Origin]:
    """The models that the run begins with (`path`), or learns from (`teacher`, rewards)."""
    from curate.train.weights.origin import find_model, find_origin

    origin = find_origin(config.model)
    found = {"path": origin} if origin else {}
    if isinstance(config.objective, DistillationSettings):
        found["teacher"] = find_model(config.objective.teacher, setting="objective.teacher")
    if isinstance(config.objective, ReinforcementSettings):
        for entry in config.objective.entries:
            if isinstance(entry, ModelReward):
                name = f"reward {entry.called}"
                found[name] = find_model(entry.path, foreign=True, setting="objective.rewards")
    return found


def _hashes(config: TrainConfig, models: dict[str, Origin]) -> dict[str, str]:
    """The hashes of those models, and of adapters to begin with."""
    from curate.train.weights.origin import folder_hash, model_hash

    found = {name: model_hash(model) for name, model in models.items()}
    if config.lora and config.lora.path:
        found["lora"] = folder_hash(Path(config.lora.path))
    return found


def _tokenizer(config: TrainConfig, models: dict[str, Origin]) -> Path | None:
    """That of the model to begin with, else of the teacher; None where the file names one, or one is to be trained.

    Raises:
        CurateError: The model has none: with another it would be worth nothing.
    """
    model = models.get("path") or models.get("teacher")
    if config.tokenizer.path or model is None:
        return None
    if model.tokenizer is None:
        raise CurateError(
            f"the model in `{model.path}` has no tokenizer.json beside it",
            "tokenizer.path",
            "name the tokenizer that it was trained with; `AutoTokenizer` of transformers saves the file",
        )
    return model.tokenizer


def _tell_turns(config: TrainConfig, template: str | None, packs: dict[str, Pack]) -> None:
    """Say how prompts are read, where the model was trained on conversations and no setting says it."""
    task, pack = tasks_of(config)[0], next(iter(packs.values()))
    if task.objective.kind == "sft" and _never_ends(pack):
        _say(
            f"train {config.run}: warning: the template of conversations ends a turn with no special token of the "
            "tokenizer: the model will not stop where its answers end; name the markers of the template in "
            "`tokenizer.special_tokens` of the model that it begins with, or leave `data.chat_template` out"
        )
    if task.objective.kind not in ("preference", "reward", "reinforcement"):
        return
    if pack.has_turns and pack.manifest["turn_end"] is None:
        _say(
            f"train {config.run}: warning: the template of conversations ends a turn with no special token of the "
            "tokenizer: texts that are sampled end with the end of text only"
        )
    if template is not None and not task.has_turns(template):
        _say(
            f"train {config.run}: warning: the model was trained on conversations, and reads plain prompts here "
            "(`data.chat: false`): it may not answer, nor come to an end"
        )
    elif template is not None and config.data.chat is None:
        _say(
            f"train {config.run}: prompts and answers are turns of the model's conversations "
            "(`data.chat: false` leaves them plain)"
        )


def _never_ends(pack: Pack) -> bool:
    """The template of its conversations has no special token that ends a turn."""
    template = pack.chat_template
    assert template is not None
    return ChatTemplate.of(load_tokenizer(pack.tokenizer_path), pack.roles, template).turn_end is None


def _tell_splits(run: str, packs: dict[str, Pack]) -> None:
    for name, pack in packs.items():
        if not pack.manifest["splits"].get("validation", {}).get("documents"):
            dataset = name or pack.manifest["dataset"]
            _say(f"train {run}: {dataset} has no validation split; `{{stage: split}}` makes one")


def _say(words: str) -> None:
    sys.stderr.write(f"{words}\n")
