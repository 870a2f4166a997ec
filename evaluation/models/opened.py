"""From what somebody named to a model that can be asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from curate.errors import CurateError
from curate.evaluation.models.contract import LanguageModel
from curate.jsontext import loads

if TYPE_CHECKING:
    from curate.evaluation.models.headed import HeadedModel

__all__ = ["Backend", "natural_kind", "open_model"]

Backend = Literal["auto"]


def open_model(model: str, *, length: int | None = None) -> LanguageModel | HeadedModel:
    """The model that a folder has.

    Args:
        model: A run folder, one of its checkpoints, or a Hugging Face folder.
        length: Most tokens read at once; by default what it takes.

    Raises:
        CurateError: There is none, or it cannot be asked.
    """
    from curate.train.runs.checks import require_torch

    require_torch()
    if not Path(model).is_dir():
        raise CurateError(
            f"there is no folder `{model}`", hint="name a run folder, a checkpoint or a Hugging Face model"
        )
    from curate.evaluation.models.headed import open_headed
    from curate.evaluation.models.ours import open_trunk

    return open_headed(model, length=length) or open_trunk(model, length=length)


Kind = Literal["perplexity", "labels", "conversations", "preferences"]
_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("classification", "token_classification", "seq2seq"), "labels"),
    "sft": "conversations",
    "preference": "preferences",
}
_CLASSES = ("ForSequenceClassification", "ForTokenClassification", "ForConditionalGeneration")


def natural_kind(model: str) -> Kind:
    """The kind of task that measures what a model was trained for, by its config.json; nothing of it is loaded."""
    for place in (Path(model), Path(model).parent.parent):
        try:
            config = loads((place / "config.json").read_bytes())
        except (OSError, ValueError):
            continue
        if "config" in config:
            return _KINDS.get(config["config"]["objective"]["kind"], "perplexity")
        if any(str(name).endswith(_CLASSES) for name in config.get("architectures") or ()):
            return "labels"
    return "perplexity"
