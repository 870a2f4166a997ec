"""`NAME.lock` beside `NAME.yaml`: which snapshot each source that fetches is read from.

    {"schema": 1, "dataset": "support",
     "sources": {"tickets": {"snapshot": ..., "key": ..., "fetched": ..., "rows": ..., "bytes": ..., "from": ...}}}

`key` is the hash of what was asked for: where the pipeline asks for something else now, the pin is not for it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curate.config.pipeline import ConfiguredStage, Pipeline
from curate.dataset.erased import dataset_of
from curate.dataset.store import canonical_json, friendly_os_errors
from curate.errors import CurateError
from curate.files import write_durably
from curate.stages.fetched import Fetched, Snapshot

__all__ = ["fetch_key", "fetched_sources", "lock_path", "pins_of", "read_lock", "said_of", "write_lock"]

SCHEMA = 1


def fetched_sources(pipeline: Pipeline) -> list[ConfiguredStage]:
    """The sources that fetch."""
    return [entry for entry in pipeline.sources if isinstance(entry.stage, Fetched)]


def fetch_settings(entry: ConfiguredStage) -> dict[str, Any]:
    """What says what is fetched; values from the environment by the variable's name."""
    stage = entry.stage
    assert isinstance(stage, Fetched)
    return {key: value for key, value in entry.shown_settings().items() if key in stage.planning - stage.pace}


def fetch_key(entry: ConfiguredStage) -> str:
    """Hash of what is fetched."""
    kind = f"{type(entry.stage).__module__}:{type(entry.stage).__qualname__}"
    return hashlib.sha256(canonical_json([kind, fetch_settings(entry)])).hexdigest()


def lock_path(pipeline: Pipeline) -> Path:
    """The lock file of a pipeline."""
    return pipeline.path.with_suffix(".lock")


def read_lock(pipeline: Pipeline) -> dict[str, Any]:
    """What the lock file says; empty where there is none.

    Raises:
        CurateError: It cannot be read, or a newer curate wrote it.
    """
    path = lock_path(pipeline)
    hint = "restore it from version control; or remove it, and `curate collect` fetches and writes it"
    try:
        lock = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CurateError(f"the lock file cannot be read: {type(error).__name__}", str(path), hint) from None
    if not isinstance(lock, dict) or lock.get("schema") != SCHEMA or not _is_whole(lock):
        raise CurateError(f"this is no lock file of format {SCHEMA}", str(path), hint)
    return lock


def _is_whole(lock: Mapping[str, Any]) -> bool:
    """Whether it says of a dataset, by source, which snapshot is pinned for what."""
    sources = lock.get("sources")
    return isinstance(lock.get("dataset"), str) and isinstance(sources, dict) and all(
        isinstance(one, dict) and re.fullmatch("[0-9a-f]+", str(one.get("snapshot"))) and isinstance(one.get("key"), str)
        for one in sources.values()
    )  # fmt: skip


def pins_of(pipeline: Pipeline) -> dict[str, str]:
    """The snapshot that is pinned for each source that fetches, where one is.

    Raises:
        CurateError: The lock is of another pipeline, or of what the source fetched before its settings changed.
    """
    entries = fetched_sources(pipeline)
    if not entries:
        return {}
    lock, where = read_lock(pipeline), str(lock_path(pipeline))
    found: dict[str, str] = {}
    for entry in entries:
        said = lock.get("sources", {}).get(entry.id)
        if said is not None and said.get("key") == fetch_key(entry):
            found[entry.id] = said["snapshot"]
        elif said is not None and lock["dataset"] == dataset_of(pipeline.settings.dataset):
            raise CurateError(
                f"what is pinned for `{entry.id}` was fetched with other settings",
                where,
                f"`curate collect {pipeline.path} --refresh {entry.id}` fetches with those of now",
            )
        elif said is not None:
            raise _another(pipeline, lock, where)
    if lock and lock["sources"] and not found and lock["dataset"] != dataset_of(pipeline.settings.dataset):
        raise _another(pipeline, lock, where)
    return found


def _another(pipeline: Pipeline, lock: Mapping[str, Any], where: str) -> CurateError:
    return CurateError(
        f"this is the lock file of another pipeline: of the dataset `{lock['dataset']}`, not "
        f"`{pipeline.settings.dataset}`",
        where,
        "put that of this pipeline there; or remove it, and `curate collect` fetches and writes it",
    )


def said_of(pipeline: Pipeline, found: Mapping[str, Snapshot]) -> dict[str, Any]:
    """What a lock file says of each source; of one with no new snapshot, what it says now: a fetch that fails moves no pin."""
    before = read_lock(pipeline).get("sources", {})
    new = {
        entry.id: {
            "snapshot": one.id, "key": fetch_key(entry), "fetched": one.ended, "rows": one.rows, "bytes": one.bytes,
            "from": one.facts["address"],
        }
        for entry in fetched_sources(pipeline) if (one := found.get(entry.id))
    }  # fmt: skip
    entries = [entry.id for entry in fetched_sources(pipeline)]
    return {name: new.get(name) or before[name] for name in entries if name in new or name in before}


def write_lock(pipeline: Pipeline, sources: Mapping[str, Any]) -> None:
    """Write what `said_of` says."""
    lock = {"schema": SCHEMA, "dataset": dataset_of(pipeline.settings.dataset), "sources": sources}
    content = json.dumps(lock, indent=2, ensure_ascii=False).encode() + b"\n"
    path = lock_path(pipeline)
    if path.is_file() and path.read_bytes() == content:
        return
    with friendly_os_errors(str(path)):
        write_durably(path, content)
