"""From what somebody named to a model that can be asked."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from curate.errors import CurateError
from curate.evaluation.models.contract import LanguageModel

__all__ = ["Backend", "open_model"]

Backend = Literal["auto"]


def open_model(model: str, *, length: int | None = None) -> LanguageModel:
    """The language model that a folder has.

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
    from curate.evaluation.models.ours import open_trunk

    return open_trunk(model, length=length)
