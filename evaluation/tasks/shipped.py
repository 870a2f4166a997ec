"""Tasks of lm-evaluation-harness by name: which local file each needs, and what of it the harness calls what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from curate.config.yamlfile import load_yaml
from curate.errors import CurateError, did_you_mean
from curate.evaluation.tasks.settings import HarnessTask

__all__ = ["named_task", "task_list"]


class _Found(NamedTuple):
    source: dict[str, Any]
    files: list[str]
    train: list[str]


@cache
def _shipped() -> dict[str, dict[str, Any]]:
    return {
        name: task
        for path in sorted(Path(__file__).parent.glob("shipped/*.yaml"))
        for name, task in load_yaml(path).value.items()
    }


def named_task(name: str, folder: Path | None, **settings: Any) -> HarnessTask:
    """A task of `shipped/*.yaml` on the files of a folder.

    Args:
        name: Of the task.
        folder: With the data.
        settings: Of the task.

    Raises:
        CurateError: There is no such task, or its data is not there.
    """
    task = _shipped().get(name)
    if task is None:
        near = did_you_mean(name, _shipped()) or "`curate eval --list-tasks` lists them"
        raise CurateError(f"there is no task `{name}`", "--tasks", f"{near}; a file of tasks ends in .yaml")
    if folder is None:
        raise CurateError(f"the task `{name}` needs the folder with its data", "--tasks", "--data-dir DIR")
    found = _find(task, folder)
    if found is None:
        wanted = " or ".join(f"`{one}`" for one in _wanted(task))
        raise CurateError(f"the data of `{name}` is not there", f"--data-dir {folder}", f"expected is {wanted}")
    source = found.source
    settings["by"] = (*task.get("by", ()), *settings.get("by", ()))
    return HarnessTask(
        name=name, harness=task["harness"], files=tuple(found.files), examples_from=tuple(found.train),
        columns=tuple(source.get("columns", ())), fields=source.get("fields", {}), settings=source.get("settings", {}),
        **settings,
    )  # fmt: skip


def task_list(folder: Path | None) -> list[dict[str, Any]]:
    """What each task needs (`files`, of which one line is enough), and what of that was found in the folder."""
    listed: list[dict[str, Any]] = []
    for name, task in _shipped().items():
        found = _find(task, folder) if folder else None
        listed.append({"task": name, "files": _wanted(task), "found": found.files if found else None})
    return listed


def _wanted(task: dict[str, Any]) -> list[str]:
    return [" and ".join(source["files"]) for source in task["sources"]]


def _find(task: dict[str, Any], folder: Path) -> _Found | None:
    """The first source all of whose files are there, in the folder or one of those in it."""
    for source in task["sources"]:
        for place in (folder, *_folders(folder)):
            files = _there(place, source["files"])
            if files:
                return _Found(source, files, _there(place, source.get("train", ())))
    return None


def _folders(folder: Path) -> Iterator[Path]:
    return (one for one in sorted(folder.iterdir()) if one.is_dir()) if folder.is_dir() else iter(())


def _there(place: Path, patterns: Sequence[str]) -> list[str]:
    return [str(place / one) for one in patterns] if all(any(place.glob(one)) for one in patterns) else []
