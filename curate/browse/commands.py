"""The command that does, or tells, what other thresholds would do: with all that the file says otherwise than the version."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

from curate.browse.columns import Columns
from curate.config.yamlfile import load_yaml
from curate.dataset.store import Store
from curate.errors import CurateError
from curate.jsontext import dumps
from curate.stages.registry import stage_of

__all__ = ["Commands", "commands"]

FILE = "pipeline.yaml"
MOST_FILES = 50


class Commands(NamedTuple):
    """What is to be typed.

    Attributes:
        run: The command that makes a version of it.
        tell: The command that tells more; None where the version is not the newest, of which that command tells.
        file: The pipeline file that it was compared with; None where none is beside the store that has the version's stages.
    """

    run: str
    tell: str | None
    file: str | None


def commands(store: Store, columns: Columns, changes: Mapping[str, Mapping[str, Any]], *, newest: bool) -> Commands:
    """The commands for some thresholds of a version, by stage.

    A setting that the file beside the store has otherwise than the version is given, too: else the command would make
    something else than what was told of.
    """
    path, differing = next(
        ((path, found) for path in _files(store) if (found := _differing(path, columns)) is not None), (None, None)
    )
    whole = {name: dict(settings) for name, settings in (differing or {}).items()}
    for name, settings in changes.items():
        whole[name] = {**whole.get(name, {}), **settings}
    given = "".join(
        f" --set {quote(f'{name}.{key}={_written(value)}')}"
        for name, settings in whole.items() for key, value in settings.items()
    )  # fmt: skip
    name = FILE if path is None else quote(path.name)
    return Commands(
        f"curate run {name}{given}",
        f"curate what-if {name}{given}" if newest else None,
        None if path is None else str(path),
    )


def _written(value: Any) -> str:
    return value if isinstance(value, str) else dumps(value)


def _files(store: Store) -> list[Path]:
    """The files beside a store that is a folder which may be the version's pipeline."""
    root = store.blobs.local_path("store.json")
    found = [] if root is None else sorted(root.parent.parent.glob("*.y*ml"))
    return sorted((path for path in found if path.is_file()), key=lambda path: path.name != FILE)[:MOST_FILES]


def _differing(path: Path, columns: Columns) -> dict[str, dict[str, Any]] | None:
    """By stage what a file has otherwise.

    None where it is of another dataset or other stages, or not to be read without code beside it.
    """
    try:
        loaded = load_yaml(path).value
        if loaded["dataset"] not in (columns.dataset, columns.dataset.removesuffix("-sample")):
            return None
        entries = loaded["stages"]
        entries = [{"stage": one} if isinstance(one, str) else one for one in entries]
        rows = [row for row in columns.manifest["stages"] if row["kind"] != "source" and row["stage"] != "erased"]
        if [(one.get("id", one["stage"]), one["stage"]) for one in entries] != [
            (row["id"], row["stage"]) for row in rows
        ]:
            return None
        found: dict[str, dict[str, Any]] = {}
        for entry, row in zip(entries, rows, strict=True):
            own = {key: value for key, value in entry.items() if key in row["settings"]}
            said = stage_of(row["stage"], own).model_dump(mode="json")
            other = {key: value for key, value in row["settings"].items() if said.get(key, value) != value}
            found |= {row["id"]: other} if other else {}
        return found
    except (CurateError, ValueError, TypeError, KeyError, AttributeError):
        return None
