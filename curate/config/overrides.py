"""`--set ID.key=value` and `--set key=value`, written into the file's values before they are checked."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from curate.config.yamlfile import Located, parse_scalar
from curate.errors import CurateError, did_you_mean

__all__ = ["apply_overrides", "default_id"]

_Path = tuple[str | int, ...]


def apply_overrides(located: Located, overrides: Sequence[str], general: Collection[str]) -> list[CurateError]:
    """Change `located` as the overrides say; returns what is wrong with them.

    Args:
        located: A pipeline file.
        overrides: In the order of the command line; their places are called `--set #1`, `--set #2`, ...
        general: Settings of the pipeline as a whole.
    """
    problems: list[CurateError] = []
    for number, override in enumerate(overrides, 1):
        try:
            _apply(located, override, f"--set #{number}", general)
        except CurateError as error:
            problems.append(error)
    return problems


def _apply(located: Located, override: str, where: str, general: Collection[str]) -> None:
    name, equals, text = override.partition("=")
    names = name.split(".")
    if not equals or not all(names):
        raise CurateError(f"`{override}` is not KEY=VALUE", where, "e.g. --set gopher_quality.min_words=80")
    target, path, keys = _target(located, names, where, general)
    for key in keys[:-1]:
        target, path = target.setdefault(key, {}), (*path, key)
        if not isinstance(target, dict):
            raise CurateError(
                f"`{name}`: `{key}` is not a map", where, f"set it as a whole: --set {names[0]}.{key}=..."
            )
    target[keys[-1]] = parse_scalar(text, where)
    located.replaced((*path, keys[-1]), where)


def _target(
    located: Located, names: list[str], where: str, general: Collection[str]
) -> tuple[dict[str, Any], _Path, list[str]]:
    """The map that an override changes, its place, and the keys inside."""
    for identity, entry, path in _identified(located):
        if identity == names[0]:
            if len(names) == 1:
                raise CurateError(f"`{names[0]}` is a stage", where, f"name its setting: --set {names[0]}.KEY=VALUE")
            return entry, path, names[1:]
    if names[0] in general:
        return located.value, (), names
    known = [identity for identity, _, _ in _identified(located)]
    listed = f"ids: {', '.join(known)}; settings: {', '.join(general)}"
    raise CurateError(
        f"no stage has the id `{names[0]}`" if len(names) > 1 else f"a pipeline has no setting `{names[0]}`",
        where,
        did_you_mean(names[0], [*known, *general]) or listed,
    )


def _identified(located: Located) -> Iterable[tuple[str, dict[str, Any], _Path]]:
    for key in ("sources", "stages"):
        entries = located.value.get(key)
        for index, entry in enumerate(entries if isinstance(entries, list) else []):
            if isinstance(entry, dict):
                yield default_id(entry), entry, (key, index)


def default_id(entry: dict[str, Any]) -> str:
    """The entry's `id:`, or the last word of its stage's name."""
    name = str(entry.get("id") or entry.get("stage") or entry.get("use") or "")
    return name if entry.get("id") else re.split(r"[.:]", name)[-1]
