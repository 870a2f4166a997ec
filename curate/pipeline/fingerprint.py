"""Fingerprints: all that a stage's results depend on beside its input.

A hash of its class, its `version`, its settings, the versions of the libraries that it names, the content of its model
files, and of a stage that is not curate's own, all files of code that it reaches and that are in no installed package.
What a fingerprint cannot know: environment variables, the network, and files that code opens by itself.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from curate.config.pipeline import ConfiguredStage
from curate.dataset.store import canonical_json
from curate.errors import CurateError
from curate.files import file_hash
from curate.pipeline.task import StageSpec
from curate.stages.contract import Filter, Source, Stage

__all__ = ["FROM_ENVIRONMENT", "code_files", "describe", "planning_fingerprint", "specification"]

FROM_ENVIRONMENT = "from the environment: "
_INSTALLED = ("site-packages", "dist-packages")
_known: dict[tuple[str, int, int, int], str] = {}


def describe(entry: ConfiguredStage) -> dict[str, Any]:
    """All that a stage's results depend on beside its input, as JSON; values from the environment only as a hash."""
    stage = entry.stage
    settings = stage.model_dump(mode="json")
    for key, written in entry.written.items():
        if "${env:" in str(written) and key in settings:
            settings[key] = FROM_ENVIRONMENT + hashlib.sha256(canonical_json([written, settings[key]])).hexdigest()
    return {
        "class": f"{type(stage).__module__}:{type(stage).__qualname__}",
        "version": stage.version,
        "settings": settings,
        "libraries": {name: _library_version(name) for name in stage.libraries},
        "code": _code(stage),
        "models": {f"{number}:{path.name}": _content(path) for number, path in enumerate(stage.model_files())},
    }


def _code(stage: Stage) -> dict[str, str]:
    """Hashes of the files of code that stand in no package: their author may not think of raising `version`."""
    found: dict[str, str] = {}
    for module in (type(stage).__module__, *stage.code_modules()):
        if not module.startswith("curate."):
            found |= {path.name: _content(path) for path in code_files(module)}
    return dict(sorted(found.items()))


@cache
def code_files(module: str) -> list[Path]:
    """The file of a module, and those of all that it imports, as far as they are in no installed package."""
    found: dict[Path, None] = {}
    waiting = [_file_of(module)]
    while waiting:
        path = waiting.pop()
        if path is None or path in found:
            continue
        found[path] = None
        waiting += [_file_of(name, path) for name in _imports(path)]
    return sorted(found)


def _imports(path: Path) -> Iterator[str]:
    """Dotted names that a file imports, anywhere in it; those of `from . import x` begin with dots."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield base
            joint = "" if base.endswith(".") else "."
            yield from (f"{base}{joint}{alias.name}" for alias in node.names)


def _file_of(name: str, beside: Path | None = None) -> Path | None:
    """The file of a module that is in no installed package; None for all others, and for what is no module."""
    if name.startswith("."):
        assert beside
        level = len(name) - len(name.lstrip("."))
        folder, parts = beside.parents[level - 1], name.lstrip(".").split(".")
    else:
        top, *rest = name.split(".")
        if top in sys.stdlib_module_names or top == "curate":
            return None
        spec = PathFinder.find_spec(top)
        if spec is None or spec.origin is None or any(part in _INSTALLED for part in Path(spec.origin).parts):
            return None
        origin = Path(spec.origin)
        if not rest:
            return origin
        folder, parts = origin.parent, rest
    whole = folder.joinpath(*[part for part in parts if part])
    for candidate in (whole.with_suffix(".py"), whole / "__init__.py"):
        if candidate.is_file():
            return candidate.resolve()
    return None


def _content(path: Path) -> str:
    """sha256 of a file, read once for as long as it does not change."""
    try:
        facts = path.stat()
        key = (str(path), facts.st_size, facts.st_mtime_ns, facts.st_ino)
        if key not in _known:
            _known[key] = file_hash(path)
        return _known[key]
    except OSError as error:
        raise CurateError(f"the file `{path}` cannot be read: {error.strerror}", hint="`curate doctor`") from None


@cache
def _library_version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"


def _hash(facts: dict[str, Any], without: frozenset[str] = frozenset()) -> str:
    settings = {key: value for key, value in facts["settings"].items() if key not in without}
    return hashlib.sha256(canonical_json({**facts, "settings": settings})).hexdigest()


def specification(entry: ConfiguredStage) -> StageSpec:
    """The stage as it is sent to workers, with its fingerprints."""
    facts = describe(entry)
    thresholds = entry.stage.thresholds if isinstance(entry.stage, Filter) else frozenset[str]()
    return StageSpec(
        id=entry.id,
        target=facts["class"],
        settings=entry.stage.model_dump(mode="json"),
        fingerprint=_hash(facts),
        measure=_hash(facts, thresholds),
    )


def planning_fingerprint(entry: ConfiguredStage) -> str:
    """A source's fingerprint without the settings that only say which parts there are."""
    assert isinstance(entry.stage, Source)
    return _hash(describe(entry), entry.stage.planning)
