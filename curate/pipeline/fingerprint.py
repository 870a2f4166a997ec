"""Fingerprints: all that a stage's results depend on beside its input.

A hash of its class, its `version`, its settings, the versions of the libraries that it names, the content of its model
files, and of a stage that is not curate's own, all files of code that it reaches and that are in no installed package.
What a fingerprint cannot know: environment variables, the network, and files that code opens by itself.

A run describes its stages once, before anything is done. Which files were hashed goes with the stage to the workers, which
look whether they are still the same when they load them (`StageSpec.check_files`).
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from curate.config.pipeline import ConfiguredStage
from curate.dataset.store import canonical_json
from curate.errors import ConfigurationErrors, CurateError
from curate.files import file_hash
from curate.pipeline.identity import file_identity
from curate.pipeline.task import StageSpec
from curate.stages.contract import Filter, Source, Stage

__all__ = ["FROM_ENVIRONMENT", "Described", "code_files", "describe"]

FROM_ENVIRONMENT = "from the environment: "
ATTEMPTS = 3
_INSTALLED = ("site-packages", "dist-packages")
_known: dict[Path, tuple[list[int], str]] = {}


class Described(NamedTuple):
    """What a stage depends on.

    Attributes:
        facts: All of it beside the input, as JSON; values from the environment only as a hash.
        spec: The stage as it is sent to workers.
        planning: Fingerprint without the settings of a source that only say which parts there are.
    """

    facts: dict[str, Any]
    spec: StageSpec
    planning: str


def describe(entry: ConfiguredStage) -> Described:
    """What a stage depends on, now.

    Raises:
        CurateError: A file of code or a model cannot be read, or does not stay the same while it is.
    """
    try:
        return _described(entry)
    except ConfigurationErrors:
        raise
    except CurateError as error:
        raise entry.placed(error) from None


def _described(entry: ConfiguredStage) -> Described:
    stage = entry.stage
    code, models = (
        _code_files(stage),
        [(f"{number}:{path.name}", path) for number, path in enumerate(stage.model_files())],
    )
    known = {path: _content(path) for _, path in (*code, *models)}
    facts = {
        "class": f"{type(stage).__module__}:{type(stage).__qualname__}",
        "version": stage.version,
        "settings": _settings(entry),
        "libraries": {name: _library_version(name) for name in stage.libraries},
        "code": {name: known[path][1] for name, path in code},
        "models": {name: known[path][1] for name, path in models},
    }
    if others := stage.facts():
        facts["others"] = dict(others)
    thresholds = stage.thresholds if isinstance(stage, Filter) else frozenset[str]()
    chosen = {name: list(values) for name, values in entry.documents.items()}
    whole = {**facts, "where": chosen} if chosen else facts
    spec = StageSpec(
        id=entry.id,
        target=facts["class"],
        settings=stage.model_dump(mode="json"),
        fingerprint=_hash(whole),
        measure=_hash(facts, thresholds),
        files={str(path): [identity, digest] for path, (identity, digest) in known.items()},
        root=str(stage.beside("")),
        where=chosen,
    )
    return Described(whole, spec, _hash(facts, stage.planning if isinstance(stage, Source) else frozenset()))


def _settings(entry: ConfiguredStage) -> dict[str, Any]:
    settings = entry.stage.model_dump(mode="json")
    for key, written in entry.written.items():
        if "${env:" in str(written) and key in settings:
            settings[key] = FROM_ENVIRONMENT + hashlib.sha256(canonical_json([written, settings[key]])).hexdigest()
    return settings


def _hash(facts: dict[str, Any], without: frozenset[str] = frozenset()) -> str:
    settings = {key: value for key, value in facts["settings"].items() if key not in without}
    return hashlib.sha256(canonical_json({**facts, "settings": settings})).hexdigest()


# ---- code


def _code_files(stage: Stage) -> list[tuple[str, Path]]:
    """Files of code that stand in no package, by name: their author may not think of raising `version`."""
    found: dict[str, Path] = {}
    for module in (type(stage).__module__, *stage.code_modules()):
        if not module.startswith("curate."):
            found |= code_files(module)
    return sorted(found.items())


def code_files(module: str) -> dict[str, Path]:
    """The files of a module and of all that it imports, as far as they are in no installed package.

    Named by their paths from where Python finds them (`helpers/words.py`), which are the same on every machine.
    """
    found: dict[str, Path] = {}
    waiting = list(_files_of(module))
    while waiting:
        base, path = waiting.pop()
        name = path.relative_to(base).as_posix()
        if name not in found:
            found[name] = path
            waiting += [one for imported in _imports(path) for one in _files_of(imported, (base, path))]
    return found


def _imports(path: Path) -> Iterator[str]:
    """Dotted names that a file imports, anywhere in it; those of `from . import x` begin with dots."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield base
            joint = "" if base.endswith(".") else "."
            yield from (f"{base}{joint}{alias.name}" for alias in node.names)


def _files_of(name: str, importer: tuple[Path, Path] | None = None) -> Iterator[tuple[Path, Path]]:
    """The files that importing a name runs: its module's and its packages', each with the folder that Python finds it from.

    None of what is in an installed package, in Python itself, or no module.
    """
    if name.startswith("."):
        assert importer
        level = len(name) - len(name.lstrip("."))
        yield from _below(importer[0], importer[1].parents[level - 1], [part for part in name.split(".") if part])
        return
    top, *rest = name.split(".")
    if top in sys.stdlib_module_names or top == "curate":
        return
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return
    folders = [Path(place).absolute() for place in (spec and spec.submodule_search_locations) or ()]
    places = folders or ([Path(spec.origin).absolute()] if spec and spec.origin else [])
    if any(part in _INSTALLED for place in places for part in place.parts):
        return
    if not folders:
        yield from ((place.parent, place) for place in places if place.is_file())
    for folder in folders:  # a package without an __init__.py may stand in several
        yield from _below(folder.parent, folder, rest)


def _below(base: Path, folder: Path, parts: list[str]) -> Iterator[tuple[Path, Path]]:
    """The files that are run on the way from a package down."""
    for part in (*parts, None):
        if (folder / "__init__.py").is_file():
            yield base, folder / "__init__.py"
        if part and (folder / f"{part}.py").is_file():
            yield base, folder / f"{part}.py"
            return
        if part is None or not (folder / part).is_dir():
            return
        folder = folder / part


def _content(path: Path) -> tuple[list[int], str]:
    """What a file is like (`file_identity`) and its sha256, read once for as long as it does not change."""
    try:
        for _ in range(ATTEMPTS):
            before = file_identity(str(path))
            if before and path in _known and _known[path][0] == before:
                return _known[path]
            digest = file_hash(path)
            if before and file_identity(str(path)) == before:
                _known[path] = before, digest
                return _known[path]
    except OSError as error:
        raise CurateError(f"the file `{path}` cannot be read: {error.strerror}", hint="`curate doctor`") from None
    raise CurateError(f"the file `{path}` changes while it is read", hint="run it again when it is not written to")


@cache
def _library_version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"
