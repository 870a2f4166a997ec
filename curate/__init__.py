"""Build training data for language models, with every document accounted for, and train on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curate.dataset.reader import Dataset, open_dataset
    from curate.errors import CurateError
    from curate.pipeline.run import run

__all__ = ["CurateError", "Dataset", "open_dataset", "run"]

_HOMES = {
    "CurateError": "curate.errors",
    "Dataset": "curate.dataset.reader",
    "open_dataset": "curate.dataset.reader",
    "run": "curate.pipeline.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'curate' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
