"""What a file of the project says, as it is written: nothing that it names is loaded.

A server that may not `run` has files read by `validate`, `plan` and what-if alone, and whoever writes documents, not only the
owner, can write text that is such a file. So there a file must be the owner's by its place (a YAML file, neither below
what sources of the pipelines in the project's folder read, nor in a store), and may not name code to import.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.config.overrides import default_id
from curate.config.pipeline import BESIDE
from curate.config.yamlfile import load_yaml
from curate.errors import CurateError

if TYPE_CHECKING:
    from curate.agents.project import Project

__all__ = ["check_file", "stage_ids", "values_of"]

ENDINGS = (".yaml", ".yml")
MOST_PIPELINES = 100
"""Files of the project's folder whose sources are looked at."""
_CODE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_NAMES_CODE = ("stage", "stages", "sources", "use", "verifier", "function")
"""Settings in which `module:Name` is imported, however it is called."""
_WILD = re.compile(r"[*?\[{]")
_OWNER = "whoever starts the server allows it: `curate mcp --allow run`"


def values_of(project: Project, path: Path) -> list[tuple[Path, Any]]:
    """The file and those that it includes, each with what it says; one that is not there is for the command to tell.

    Raises:
        CurateError: One cannot be read, or is no YAML.
    """
    found: dict[Path, Any] = {}
    left = [path]
    while left:
        try:
            one = left.pop().resolve()
            if one in found or not one.is_file():
                continue
        except (OSError, ValueError, RuntimeError):  # no path at all
            continue
        shown = one.relative_to(project.folder) if one.is_relative_to(project.folder) else one
        found[one] = said = load_yaml(shown).value
        names = said.get("include") if isinstance(said, dict) else None
        some = names if isinstance(names, list) else [names]
        left += [one.parent / name for name in some if isinstance(name, str)]
    return list(found.items())


def stage_ids(values: Sequence[tuple[Path, Any]]) -> list[str]:
    """Ids of a pipeline's stages that no source has."""
    ids = {key: [default_id(one) for _, said in values for one in _entries(said, key)] for key in ("sources", "stages")}
    return [one for one in ids["stages"] if one not in ids["sources"]]


def check_file(project: Project, path: Path, values: Sequence[tuple[Path, Any]], *, code: bool) -> None:
    """Refuse, where clients may not run pipelines, a file that may be a stranger's.

    Args:
        project: Whose file it is.
        path: The file.
        values: What it and its included files say.
        code: Whether it may name code nevertheless.

    Raises:
        CurateError: It stands where documents are, has another ending, or names code.
    """
    for one, said in [(path, None), *values]:
        found = project.place(str(one))
        shown = str(found.relative_to(project.folder))
        if found.suffix not in ENDINGS:
            raise CurateError(f"`{shown}` is not read as a file of settings: it is no .yaml", hint=_OWNER)
        if ".curate" in found.relative_to(project.folder).parts or _is_read(project, found):
            problem = f"`{shown}` is not read as a file of settings: it stands among documents, or in a store"
            raise CurateError(problem, hint=_OWNER)
        named = None if code else next(_code(said), None)
        if named is not None:
            problem = f"`{named[:100]}` is code, which is not loaded where clients may not run pipelines"
            raise CurateError(problem, shown, _OWNER)


def _entries(said: Any, key: str) -> list[dict[str, Any]]:
    """The sources or stages of a file; a bare name is a stage without settings."""
    some = said.get(key) if isinstance(said, dict) else None
    named = [{"stage": one} if isinstance(one, str) else one for one in (some if isinstance(some, list) else [])]
    return [one for one in named if isinstance(one, dict)]


def _code(said: Any, key: str = "") -> Iterator[str]:
    """What is imported by its name: all of `module:Name`, and blocks (`use: package.module.Class`) not of datatrove."""
    if isinstance(said, dict):
        for name, value in said.items():
            yield from _code(value, str(name))
    elif isinstance(said, list):
        for one in said:
            yield from _code(one, key)
    elif isinstance(said, str):
        block = key == "use" and "." in said and not said.startswith("datatrove.")
        if block or (":" in said if key in _NAMES_CODE else _CODE.fullmatch(said)):
            yield said


def _is_read(project: Project, file: Path) -> bool:
    """Whether it is, or stands below, what a source of a pipeline in the project's folder reads."""
    pipelines = sorted(one for ending in ENDINGS for one in project.folder.glob(f"*{ending}") if one.is_file())
    for one in pipelines[:MOST_PIPELINES]:
        try:
            values = values_of(project, one)
        except CurateError:
            continue
        for _, said in values:
            for entry in _entries(said, "sources"):
                settings = [value for key, value in entry.items() if key not in BESIDE]
                if any(_covers(project.folder, pattern, file) for pattern in _texts(settings)):
                    return True
    return False


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)


def _covers(folder: Path, pattern: str, file: Path) -> bool:
    """Whether a path or pattern of a source takes in the file; not only as the folder of the project itself."""
    if "://" in pattern or "\0" in pattern or len(pattern) > 1000:
        return False
    parts = (folder / pattern).parts
    wild = next((place for place, part in enumerate(parts) if _WILD.search(part)), len(parts))
    try:
        fixed = Path(*parts[:wild]).resolve()
    except (OSError, RuntimeError):
        return False
    if fixed != folder and not folder.is_relative_to(fixed):
        return file.is_relative_to(fixed)
    if wild == len(parts):
        return pattern.startswith(".") and file.parent != folder
    deep = len(parts) - wild > 1 or parts[wild] == "**"
    return file.parent != folder if deep else file.parent == fixed and fnmatch(file.name, parts[wild])
