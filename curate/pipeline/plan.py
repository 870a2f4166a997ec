"""What a run depends on: fingerprints of stages, parts of sources, content of inputs.

A stage's fingerprint is a hash of its class, its `version`, its settings, the versions of the libraries that it names and
the content of its model files; of a stage that is not curate's own, also of the file that it stands in. A stage runs
again on a shard if its fingerprint or the shard's state is new; nothing else.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from curate.dataset.store import Store, canonical_json
from curate.errors import ConfigurationErrors, CurateError
from curate.pipeline.config import ConfiguredStage, Pipeline
from curate.pipeline.task import StageSpec, engine_key
from curate.pipeline.validation import mask, masked
from curate.stages.contract import Filter, Global, Part, Source, SourceContext, Stage

__all__ = [
    "bundle",
    "collect_key",
    "content_hashes",
    "describe",
    "last_run",
    "plan_parts",
    "record_run",
    "sections",
    "specification",
]

RACY_SECONDS = 2.0
SMALL_FILES = 64
FROM_ENVIRONMENT = "from the environment: "


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
        "source": _source_code(type(stage)),
        "models": {f"{number}:{path.name}": _content(path) for number, path in enumerate(stage.model_files())},
    }


def _source_code(stage: type[Stage]) -> str | None:
    """Hash of the file that a stage from elsewhere stands in: its author may not think of raising `version`."""
    if stage.__module__.startswith("curate."):
        return None
    file = getattr(sys.modules[stage.__module__], "__file__", None)
    return _content(Path(file)) if file else None


def _content(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise CurateError(f"the file `{path}` cannot be read: {error.strerror}", hint="`curate doctor`") from None


def _library_version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"


def specification(entry: ConfiguredStage) -> StageSpec:
    """The stage as it is sent to workers, with its fingerprints."""
    facts = describe(entry)
    thresholds = entry.stage.thresholds if isinstance(entry.stage, Filter) else frozenset[str]()
    measured = {key: value for key, value in facts["settings"].items() if key not in thresholds}
    return StageSpec(
        id=entry.id,
        target=facts["class"],
        settings=entry.stage.model_dump(mode="json"),
        fingerprint=hashlib.sha256(canonical_json(facts)).hexdigest(),
        measure=hashlib.sha256(canonical_json({**facts, "settings": measured})).hexdigest(),
    )


def sections(stages: Sequence[ConfiguredStage]) -> list[tuple[list[ConfiguredStage], ConfiguredStage | None]]:
    """The stages cut behind every global one: per-shard stages that run fused, and the global stage that ends them."""
    cut: list[tuple[list[ConfiguredStage], ConfiguredStage | None]] = []
    fused: list[ConfiguredStage] = []
    for entry in stages:
        if isinstance(entry.stage, Global):
            cut.append((fused, entry))
            fused = []
        else:
            fused.append(entry)
    return [*cut, (fused, None)] if fused else cut


# ---- inputs


def plan_parts(pipeline: Pipeline, content_hash: Callable[[Path], str]) -> list[tuple[ConfiguredStage, Part]]:
    """Every part of every source, in order.

    Raises:
        CurateError: A source matches nothing.
    """
    shard_bytes = int(pipeline.settings.shard_megabytes * 1_000_000)
    context = SourceContext(pipeline.root, shard_bytes, content_hash)
    parts = []
    for entry in pipeline.sources:
        assert isinstance(entry.stage, Source)
        try:
            found = entry.stage.plan(context)
        except ConfigurationErrors as error:
            raise ConfigurationErrors([_placed(one, entry) for one in error.errors]) from None
        except CurateError as error:
            raise _placed(error, entry) from error
        parts.extend((entry, replace(part, name=mask(part.name, entry.written))) for part in found)
    return parts


def _placed(error: CurateError, entry: ConfiguredStage) -> CurateError:
    return masked(CurateError(error.problem, error.where or entry.where, error.hint), entry.written)


def bundle(
    parts: Sequence[tuple[ConfiguredStage, Part]], shard_bytes: int
) -> list[tuple[ConfiguredStage, tuple[Part, ...]]]:
    """The parts that are read by one task: small files together where a source has many of them.

    A source of up to 127 small files reads each by itself; of more, about 64 to 128 bundles are made. A bundle ends at
    names that are chosen by their hash, so one more file changes the bundle that it falls into and no other.
    """
    from xxhash import xxh3_64_intdigest

    small = [_is_small(part, shard_bytes) for _, part in parts]
    counts = Counter(entry.id for (entry, _), one in zip(parts, small, strict=True) if one)
    bundles: list[tuple[ConfiguredStage, tuple[Part, ...]]] = []
    is_open, size = False, 0
    for (entry, part), one in zip(parts, small, strict=True):
        if one and is_open and bundles[-1][0] is entry:
            bundles[-1] = (entry, (*bundles[-1][1], part))
        else:
            bundles.append((entry, (part,)))
            size = 0
        size += Path(part.location).stat().st_size if one else 0
        files = 1 << max(0, (counts[entry.id] // SMALL_FILES).bit_length() - 1)
        is_open = one and size < shard_bytes and xxh3_64_intdigest(part.name.encode()) % files != 0
    return bundles


def _is_small(part: Part, shard_bytes: int) -> bool:
    path = Path(part.location)
    return part.start == 0 and part.stop is None and path.is_file() and path.stat().st_size < shard_bytes / 8


class content_hashes:
    """Hashes of files' content, remembered in the store by path, size, inode and times; a context manager.

    The time of the last change of the inode is one of them: nobody can set it back. A file that was changed within the
    last two seconds is hashed every time: it could change again unseen.
    """

    def __init__(self, store: Store) -> None:
        self.store, self.path, self.changed = store, store.root / "inputs.json", False
        try:
            self.known: dict[str, list[Any]] = json.loads(self.path.read_bytes())
        except (FileNotFoundError, ValueError):
            self.known = {}

    def __enter__(self) -> Callable[[Path], str]:
        return self._hash

    def __exit__(self, *_: object) -> None:
        if self.changed:
            self.store.write_file(self.path, canonical_json(self.known))

    def _hash(self, path: Path) -> str:
        try:
            return self._known(path)
        except OSError as error:
            raise CurateError(
                f"`{path}` cannot be read: {error.strerror}", hint="check that it is there, and its permissions"
            ) from None

    def _known(self, path: Path) -> str:
        facts = path.stat()
        identity = [facts.st_size, facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns]
        name = hashlib.sha256(str(path).encode()).hexdigest()[:32]  # a path may hold a value from the environment
        remembered = self.known.get(name)
        if remembered and remembered[:-1] == identity:
            return remembered[-1]
        content = hash_file(path)
        if time.time() - facts.st_ctime > RACY_SECONDS:
            self.known[name], self.changed = [*identity, content], True
        return content


def hash_file(path: Path) -> str:
    """`xxh3-128:...` of a file's bytes, at the speed of the disk."""
    from xxhash import xxh3_128

    digest = xxh3_128()
    with path.open("rb") as stream:
        while block := stream.read(8 << 20):
            digest.update(block)
    return f"xxh3-128:{digest.hexdigest()}"


def collect_key(
    entry: ConfiguredStage, spec: StageSpec, parts: Sequence[Part], shard_bytes: int, limit: int | None
) -> str:
    """Key of the receipt of parts that were read."""
    facts = [[part.name, part.content, part.start, part.stop, part.extra] for part in parts]
    return engine_key("collect", spec.fingerprint, entry.id, facts, shard_bytes, limit)


def last_run(store: Store, dataset: str) -> dict[str, Any]:
    """What the last run of a dataset's pipeline depended on ({} where there was none)."""
    try:
        return json.loads((store.root / "runs" / f"{dataset}.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return {}


def record_run(store: Store, pipeline: Pipeline) -> None:
    """Remember what this run depends on, so that the next plan can say what changed."""
    stages = {entry.id: describe(entry) for entry in (*pipeline.sources, *pipeline.stages)}
    store.write_file(store.root / "runs" / f"{pipeline.settings.dataset}.json", canonical_json({"stages": stages}))
