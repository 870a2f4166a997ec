"""What a run will do, and why: fingerprints of stages, content of inputs, and what has changed since the last run.

A stage's fingerprint is a hash of its class, its `version`, its settings, the versions of the libraries that it names and
the content of its model files. A stage runs again on a shard if its fingerprint or the shard's state is new; nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from curate.dataset.ledger import Shard
from curate.dataset.store import Store, canonical_json
from curate.pipeline.config import ConfiguredStage, Pipeline
from curate.pipeline.task import StageSpec, cached_step, engine_key
from curate.stages.contract import Filter, Global, Part, Source, SourceContext

__all__ = ["content_hashes", "describe", "explain", "sections", "specification", "plan_parts"]

RACY_SECONDS = 2.0


def describe(entry: ConfiguredStage) -> dict[str, Any]:
    """All that a stage's results depend on beside its input, as JSON; values from the environment only as a hash."""
    stage = entry.stage
    settings = stage.model_dump(mode="json")
    for key, written in entry.written.items():
        if "${env:" in str(written) and key in settings:
            settings[key] = hashlib.sha256(canonical_json([written, settings[key]])).hexdigest()
    return {
        "class": f"{type(stage).__module__}:{type(stage).__qualname__}",
        "version": stage.version,
        "settings": settings,
        "libraries": {name: _library_version(name) for name in stage.libraries},
        "models": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in stage.model_files()},
    }


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
        parts.extend((entry, part) for part in entry.stage.plan(context))
    return parts


class content_hashes:  # noqa: N801  a context manager, used like a function
    """Hashes of files' content, remembered in the store by path, size, inode and modification time.

    A file that was modified within the last two seconds is hashed every time: it could change again unseen.
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
        facts = path.stat()
        identity = [facts.st_size, facts.st_ino, facts.st_mtime_ns]
        remembered = self.known.get(str(path))
        if remembered and remembered[:3] == identity:
            return remembered[3]
        content = hash_file(path)
        if time.time() - facts.st_mtime > RACY_SECONDS:
            self.known[str(path)], self.changed = [*identity, content], True
        return content


def hash_file(path: Path) -> str:
    """`xxh3-128:...` of a file's bytes, at the speed of the disk."""
    from xxhash import xxh3_128

    digest = xxh3_128()
    with path.open("rb") as stream:
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while block := stream.read(8 << 20):
            digest.update(block)
    return f"xxh3-128:{digest.hexdigest()}"


def collect_key(entry: ConfiguredStage, spec: StageSpec, part: Part, shard_bytes: int, limit: int | None) -> str:
    """Key of the receipt of a part that was read."""
    facts = [part.name, part.content, part.start, part.stop, part.extra]
    return engine_key("collect", spec.fingerprint, entry.id, facts, shard_bytes, limit)


# ---- what will run, and why


def explain(pipeline: Pipeline, store: Store | None) -> list[dict[str, Any]]:
    """For every stage: how many of its tasks are cached and how many will run, and why.

    A shard's way is followed through the receipts as far as they reach; what lies behind a task that will run is counted
    as running, though it may turn out that nothing has changed for it.
    """
    if store is None:
        return [_row(entry, 0, None, "there is no store yet") for entry in (*pipeline.sources, *pipeline.stages)]
    last = last_run(store, pipeline.settings.dataset)
    with content_hashes(store) as content_hash:
        parts = plan_parts(pipeline, content_hash)
    shards, rows = _plan_sources(pipeline, store, parts, last)
    whole = all(row["run"] == 0 for row in rows)
    upstream = next((row["id"] for row in rows if row["run"]), None)
    for fused, final in sections(pipeline.stages):
        for entry in fused:
            spec = specification(entry)
            found = [
                cached_step(store, engine_key("step", shard.state, spec.fingerprint), entry.id) for shard in shards
            ]
            known = [shard.after([step]) for shard, step in zip(shards, found, strict=True) if step]
            missing = len(shards) - len(known)
            row = _row(
                entry,
                len(known),
                missing if whole else None,
                _why(entry, last, missing, upstream if not whole else None),
            )
            rows.append(row)
            shards, whole = known, whole and missing == 0
            upstream = upstream or (entry.id if missing else None)
        if final is not None:
            row, shards, whole = _plan_global(store, final, shards, whole, upstream, last)
            rows.append(row)
            upstream = upstream or (None if whole else final.id)
    return rows


def _plan_sources(
    pipeline: Pipeline, store: Store, parts: list[tuple[ConfiguredStage, Part]], last: dict[str, Any]
) -> tuple[list[Shard], list[dict[str, Any]]]:
    shard_bytes = int(pipeline.settings.shard_megabytes * 1_000_000)
    shards, rows = [], []
    for entry in pipeline.sources:
        spec, cached, missing, news = specification(entry), 0, 0, []
        for owner, part in parts:
            if owner is not entry:
                continue
            receipt = store.read_receipt(collect_key(entry, spec, part, shard_bytes, None))
            if receipt:
                cached += 1
                shards.extend(Shard.from_json(record) for record in receipt["shards"])
            else:
                missing += 1
                news.append(part.name)
        why = _why(entry, last, missing, None)
        if missing and why.startswith("its input"):
            why = f"new or changed: {', '.join(sorted(set(news))[:3])}" + (" ..." if len(set(news)) > 3 else "")
        rows.append(_row(entry, cached, missing, why))
    return shards, rows


def _plan_global(
    store: Store, entry: ConfiguredStage, shards: list[Shard], whole: bool, upstream: str | None, last: dict[str, Any]
) -> tuple[dict[str, Any], list[Shard], bool]:
    spec = specification(entry)
    shards = [shard for shard in shards if shard.documents]
    maps = [store.read_receipt(engine_key("map", shard.state, spec.fingerprint)) for shard in shards]
    known = sum(made is not None for made in maps)
    if whole and known == len(shards):
        made = [[receipt["signatures"], receipt["failed"]] for receipt in maps if receipt]
        receipt = store.read_receipt(engine_key("reduce", [shard.state for shard in shards], made, spec.fingerprint))
        if receipt:
            from curate.dataset.ledger import Step

            after = [shard.after([Step.from_json(step)]) for shard, step in zip(shards, receipt["steps"], strict=True)]
            return _row(entry, known + 1, 0, "nothing changed"), after, True
    missing = len(shards) - known + 1
    why = _why(entry, last, missing, None if whole else upstream)
    return _row(entry, known, missing if whole else None, why), [], False


def _row(entry: ConfiguredStage, cached: int, run: int | None, why: str) -> dict[str, Any]:
    """A row of the plan; `run` is None where the number is not known before the stages ahead have run."""
    action = "cached" if run == 0 else "will run"
    return {"id": entry.id, "stage": entry.name, "action": action, "cached": cached, "run": run, "why": why}


def _why(entry: ConfiguredStage, last: dict[str, Any], missing: int, upstream: str | None) -> str:
    if missing == 0 and upstream is None:
        return "nothing changed"
    before = last.get("stages", {}).get(entry.id)
    if before is None:
        return "new in this pipeline" if last else "never run"
    now = describe(entry)
    changes = [
        f"setting `{key}` changed: {before['settings'].get(key)!r} -> {value!r}"
        for key, value in now["settings"].items()
        if before["settings"].get(key) != value
    ]
    if before["version"] != now["version"]:
        changes.append(f"the stage's code changed: version {before['version']} -> {now['version']}")
    if before["class"] != now["class"]:
        changes.append("it is another stage now")
    for kind in ("libraries", "models"):
        changes.extend(f"{name} changed" for name, value in now[kind].items() if before[kind].get(name) != value)
    if changes:
        return "; ".join(changes)
    return f"depends on `{upstream}`, which runs" if upstream else "its input changed"


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
