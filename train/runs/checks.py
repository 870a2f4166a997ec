"""What a run is refused for before any work is done: what is not installed, and what this machine cannot do."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

from curate.errors import CurateError
from curate.train.settings.config import TrainConfig
from curate.train.settings.methods import Seq2SeqSettings

if TYPE_CHECKING:
    from curate.train.weights.origin import Origin

__all__ = ["check_machine", "check_metrics", "require_torch", "with_precision"]

_SCORERS = {
    "bleu": "sacrebleu",
    "chrf": "sacrebleu",
    "rouge1": "rouge_score",
    "rouge2": "rouge_score",
    "rougeL": "rouge_score",
}
"""Packages that measure texts."""


def require_torch() -> None:
    """Refuse where torch is missing.

    Raises:
        CurateError: It says how to install it.
    """
    if find_spec("torch") is None or find_spec("safetensors") is None:
        raise CurateError("training needs torch, which is not installed", hint="pip install 'curate-lm[train]'")


def check_metrics(config: TrainConfig) -> None:
    """Refuse metrics of texts whose package is missing.

    Raises:
        CurateError: It says how to install it.
    """
    for task in (config.tasks or {"": config}).values():
        for metric in task.objective.metrics if isinstance(task.objective, Seq2SeqSettings) else ():
            package = _SCORERS.get(metric)
            if package and find_spec(package) is None:
                raise CurateError(
                    f"`{metric}` is measured by {package}, which is not installed", "objective.metrics",
                    "pip install 'curate-lm[eval]'",
                )  # fmt: skip


def with_precision(config: TrainConfig) -> TrainConfig:
    """The settings with bf16, where none is given and the CUDA device that is used has it; for what adapters leave, too."""
    import torch

    if config.device == "cpu" or not torch.cuda.is_available():
        return config
    if "precision" not in config.model_fields_set and torch.cuda.is_bf16_supported():
        config = config.model_copy(update={"precision": "bf16"})
    if config.lora and config.precision == "bf16" and "base" not in config.lora.model_fields_set:
        config = config.model_copy(update={"lora": config.lora.model_copy(update={"base": "bf16"})})
    return config


def check_machine(config: TrainConfig, origin: Origin | None) -> None:
    """Refuse what cannot run here, before any work is done.

    Raises:
        CurateError: It cannot fit (it says by how much); or there is no CUDA device, or none for fp8, and one is asked for.
    """
    import torch

    from curate.train.parallel.fp8 import check_fp8
    from curate.train.planner.budget import given_vocabulary
    from curate.train.planner.memory import check_fits

    cuda = torch.cuda.is_available()
    if config.device == "cuda" and not cuda:
        raise CurateError("there is no CUDA device here", "device", "`device: cpu`, or auto")
    if config.precision == "fp8":
        check_fp8(torch.device("cuda" if cuda and config.device != "cpu" else "cpu"))
    sizes = origin.sizes if origin else config.model.architecture
    if sizes is None:
        return
    vocabulary = origin.vocabulary if origin else given_vocabulary(config) or config.tokenizer.vocabulary
    if cuda and config.device != "cpu":
        available = torch.cuda.get_device_properties(0).total_memory
        check_fits(config, sizes, vocabulary, available=available, device="cuda")
    else:
        from psutil import virtual_memory

        here = int(os.environ.get("LOCAL_WORLD_SIZE", config.processes))
        check_fits(config, sizes, vocabulary, available=virtual_memory().available // here, device="cpu")
