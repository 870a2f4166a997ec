"""The run that stood in a folder before --fresh: kept aside until the new one has a checkpoint.

    runs/NAME/earlier/          all that the earlier run left
    runs/NAME/earlier.moving/   while it is moved there: a move that was cut short is undone

A new run that ends before its first checkpoint has come to nothing: whoever starts the run again without --fresh finds
the earlier one where it was. Files that are not of the run stay where they are.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

__all__ = ["forget_earlier", "has_checkpoint", "put_back", "set_aside"]

_OF_A_RUN = (
    "config.json",
    "environment.json",
    "tokenizer.json",
    "table.json",
    "chat_template.jinja",
    "changes.jsonl",
    "metrics.jsonl",
    "completions.jsonl",
    "scores.jsonl",
    "result.json",
    "wandb.json",
    "README.md",
    "checkpoints",
    "tensorboard",
    "wandb",
    "stacks",
)


def set_aside(folder: Path) -> None:
    """Make room for a new run; what has no checkpoint is not kept where there is an earlier run already."""
    _undo_moving(folder)
    earlier = folder / "earlier"
    if not has_checkpoint(folder):
        _remove(folder)
        return
    if earlier.is_dir():  # its successor has a checkpoint
        shutil.rmtree(earlier)
    moving = folder / "earlier.moving"
    moving.mkdir()
    for path in _parts(folder):
        path.rename(moving / path.name)
    moving.rename(earlier)


def put_back(folder: Path) -> bool:
    """Put the earlier run back, if the one that began with --fresh has no checkpoint; says whether it did."""
    _undo_moving(folder)
    earlier = folder / "earlier"
    if not earlier.is_dir() or has_checkpoint(folder):
        return False
    _remove(folder)
    earlier.rename(folder / "earlier.moving")
    _undo_moving(folder)
    return True


def _undo_moving(folder: Path) -> None:
    """Undo a move that was cut short."""
    moving = folder / "earlier.moving"
    if not moving.is_dir():
        return
    for path in _parts(moving):
        path.rename(folder / path.name)
    moving.rmdir()


def forget_earlier(folder: Path) -> None:
    """Remove the earlier run, if the new one has a checkpoint."""
    if (folder / "earlier").is_dir() and has_checkpoint(folder):
        shutil.rmtree(folder / "earlier")


def has_checkpoint(folder: Path) -> bool:
    """The run in the folder has a checkpoint that is whole."""
    return any(folder.glob("checkpoints/step-*/checkpoint.json"))


def _remove(folder: Path) -> None:
    for path in _parts(folder):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _parts(folder: Path) -> Iterator[Path]:
    return (path for path in (folder / name for name in _OF_A_RUN) if path.exists())
