"""Snapshots for the sources that fetch: those that are pinned, and what is fetched because none is, or because somebody asks.

Only the driver fetches, one source after the other, and one process a source. Each is pinned as soon as it is complete.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from curate import jsontext
from curate.collect.fetch.credentials import forms_of
from curate.config.pipeline import ConfiguredStage, Pipeline
from curate.config.validation import mask, masked
from curate.dataset.erased import dataset_of, erasures
from curate.dataset.leases import lease
from curate.dataset.snapshots import Fetch, find_snapshot, pin
from curate.dataset.store import Store
from curate.errors import CurateError, ResumableError
from curate.pipeline.lock import (
    fetch_key,
    fetch_settings,
    fetched_sources,
    lock_path,
    pins_of,
    read_lock,
    said_of,
    write_lock,
)
from curate.stages.fetched import Fetched, Snapshot

__all__ = ["fetch", "known_snapshots", "lines", "met_addresses", "row"]

Say = Callable[[str], None]
HIDDEN = "***"
SHORTEST_SECRET = 3


def known_snapshots(pipeline: Pipeline, store: Store | None) -> dict[str, Snapshot]:
    """What is pinned and there, by source; nothing is fetched.

    Raises:
        CurateError: The lock file is not for this pipeline, or what it pins is not in the store.
    """
    pins = pins_of(pipeline)
    return {name: _pinned(pipeline, store, name, snapshot) for name, snapshot in pins.items()}


def _pinned(pipeline: Pipeline, store: Store | None, source: str, name: str) -> Snapshot:
    found = find_snapshot(store, name) if store else None
    if found is None:
        where = f", {store.location}" if store else ""
        raise CurateError(
            f"the snapshot {name[:12]} that is pinned for `{source}` is not in the store, or not whole",
            f"{lock_path(pipeline)}{where}",
            "name the store that has it with --store, or restore it from a backup; "
            f"`curate collect {pipeline.path} --refresh {source}` fetches anew, which may give other documents",
        )
    return found


def fetch(
    pipeline: Pipeline, store: Store, *, refresh: Collection[str] = (), offline: bool = False, say: Say
) -> dict[str, Snapshot]:
    """The snapshots of all sources that fetch, by source; what is not pinned, or is to be made anew, is fetched.

    Args:
        pipeline: The pipeline.
        store: Its store.
        refresh: Ids of sources whose snapshots are made anew.
        offline: Whether to refuse where something would have to be fetched.
        say: Told what is going on.

    Raises:
        CurateError: There is no such source, the lock is not for this pipeline, or something cannot be fetched.
    """
    entries = fetched_sources(pipeline)
    for name in refresh:
        if name not in {entry.id for entry in entries}:
            listed = ", ".join(f"`{entry.id}`" for entry in entries) or "no source of this pipeline does"
            raise CurateError(f"no source that fetches has the id `{name}`", "--refresh", f"these fetch: {listed}")
    kept = tuple(entry for entry in pipeline.sources if entry.id not in refresh)
    pins = pins_of(replace(pipeline, sources=kept))  # the pins of others need not fit any more
    missing = [entry for entry in entries if entry.id in refresh or entry.id not in pins]
    if missing and offline:
        listed = ", ".join(f"`{entry.id}`" for entry in missing)
        raise CurateError(
            f"nothing is pinned for {listed}, and --offline fetches nothing",
            missing[0].where,
            f"`curate collect {pipeline.path}` fetches, and writes `{lock_path(pipeline).name}`",
        )
    found = {name: _pinned(pipeline, store, name, snapshot) for name, snapshot in pins.items()}
    for entry in missing:
        _fetch_one(pipeline, store, entry, found, say)
    if entries:
        _keep_pins(pipeline, store, found)
    return {entry.id: found[entry.id] for entry in entries}


def _keep_pins(pipeline: Pipeline, store: Store, found: Mapping[str, Snapshot]) -> None:
    """Write down which snapshots the pipeline is read from: in the store for garbage collection, and in the lock file."""
    sources, path = said_of(pipeline, found), lock_path(pipeline).absolute()
    local = "://" not in store.location  # a project that is moved or copied with its store has the same pins
    lock = os.path.relpath(path, Path(store.location).absolute()) if local else path.name
    pin(store, dataset_of(pipeline.settings.dataset), {name: one["snapshot"] for name, one in sources.items()}, lock)
    write_lock(pipeline, sources)


def _previous(pipeline: Pipeline, store: Store, entry: ConfiguredStage) -> Snapshot | None:
    """The pinned snapshot, where it is of the same and still there: what an incremental fetch goes on from."""
    said = read_lock(pipeline).get("sources", {}).get(entry.id)
    return find_snapshot(store, said["snapshot"]) if said and said.get("key") == fetch_key(entry) else None


def _fetch_one(pipeline: Pipeline, store: Store, entry: ConfiguredStage, found: dict[str, Snapshot], say: Say) -> None:
    """Fetch a source and pin it; only then what a fetch goes on from is forgotten."""
    source, key = entry.stage, fetch_key(entry)
    assert isinstance(source, Fetched)
    with lease(store, "fetch", task=key), _clean(entry, source):
        desk = Fetch(
            store, key, pipeline.root, _previous(pipeline, store, entry), lambda text: say(f"{entry.id}: {text}")
        )
        if desk.pieces:
            desk.say(f"going on after {sum(piece.rows for piece in desk.pieces):,} rows")
        facts = source.fetch(desk)
        found[entry.id] = desk.finish(entry.name, fetch_settings(entry), facts)
        _keep_pins(pipeline, store, found)
        desk.forget()
    desk.say(f"fetched {_told(found[entry.id])}")
    before = desk.previous.pieces if desk.previous else ()
    if found[entry.id].pieces != before and erasures(store):
        desk.say("who was erased from this store may be in what was fetched now; runs leave them out; erase them again")


@contextmanager
def _clean(entry: ConfiguredStage, source: Fetched) -> Iterator[None]:
    """No message shows a credential; errors name the source's place in the pipeline file."""
    try:
        yield
    except CurateError as error:
        cleaned = masked(CurateError(error.problem, error.where or entry.where, error.hint), entry.written)
        error.problem, error.hint = _without(source, cleaned.problem), _without(source, cleaned.hint or "") or None
        error.where = _without(source, mask(cleaned.where or "", entry.written))
        error.args = (error.problem, error.where, error.hint)
        error.__cause__ = error.__context__ = None  # what a driver says has the address in it
        raise
    except OSError as error:
        problem = _without(source, f"`{entry.id}` cannot be fetched: {error.strerror or type(error).__name__}")
        raise ResumableError(problem, entry.where, "what was fetched is kept; the same command goes on") from None


def _without(source: Fetched, text: str) -> str:
    for secret in source.secrets():
        for form in forms_of(secret):
            text = text.replace(form, HIDDEN) if len(secret) >= SHORTEST_SECRET else text
    return text


# ---- telling


def _age(snapshot: Snapshot, now: datetime | None = None) -> str:
    """How old a snapshot is, in words."""
    seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(snapshot.ended)).total_seconds()
    for name, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count:,} {name}{'s' if count > 1 else ''} ago"
    return "just now"


def _told(snapshot: Snapshot) -> str:
    """Rows, size and address of a snapshot."""
    return f"{snapshot.rows:,} rows, {snapshot.bytes / 1e6:,.1f} MB from {snapshot.facts['address']}"


def row(name: str, snapshot: Snapshot | None) -> dict[str, Any]:
    """A snapshot as `--json` tells it; None where nothing is pinned."""
    if snapshot is None:
        return {"source": name, "snapshot": None}
    return {
        "source": name, "snapshot": snapshot.id, "fetched": snapshot.ended, "age": _age(snapshot), "rows": snapshot.rows,
        "bytes": snapshot.bytes, "pieces": len(snapshot.pieces), "from": snapshot.facts["address"],
        "facts": {key: value for key, value in snapshot.facts.items() if key != "address"},
    }  # fmt: skip


def lines(pipeline: Pipeline, found: Mapping[str, Snapshot]) -> Sequence[str]:
    """What is said of the snapshots of a pipeline, for people."""
    told = [
        f"{entry.id}: snapshot of {_told(found[entry.id])}, fetched {_age(found[entry.id])} ({found[entry.id].ended[:19]}Z)"
        if entry.id in found
        else f"{entry.id}: nothing is fetched yet"
        for entry in fetched_sources(pipeline)
    ]
    for name, one in found.items():
        if addresses := one.facts.get("addresses"):
            counts = ", ".join(f"{reason} {count:,}" for reason, count in addresses.items())
            told.append(f"{name}: addresses that were met: {counts}")
    return told


def met_addresses(pipeline: Pipeline, store: Store, name: str) -> Iterator[str]:
    """Every address of a pinned snapshot of web pages, as JSON: what became of it, and what led there.

    Raises:
        CurateError: Nothing is pinned for a source of this id, or it is none of web pages.
    """
    found = known_snapshots(pipeline, store).get(name)
    if found is None or "addresses" not in found.facts:
        listed = [one for one, said in known_snapshots(pipeline, store).items() if "addresses" in said.facts]
        hint = f"these are: {', '.join(f'`{one}`' for one in listed)}" if listed else "`curate collect` fetches them"
        raise CurateError(f"`{name}` is no source of web pages that is fetched", "--addresses", hint)
    for piece in found.pieces:
        table = store.read_table(piece.object, ["@key", "reason", "detail", "status", "depth", "found_on", "opt_out"])
        for one in table.to_pylist():
            yield jsontext.dumps({"url": one.pop("@key"), **one})
