"""What was made of documents and only saves time: receipts, measurements, token shards. What names something touched goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from curate.dataset.store import Store

__all__ = ["stale", "strings", "token_folders"]

_WORK = frozenset({"result", "signed", "step"})
"""What receipts of calls, of sections and of what follows a call have (curate/pipeline/shuffle.py, steps.py)."""


def stale(store: Store, touched: set[str], found: set[str]) -> tuple[list[str], set[str]]:
    """Measurements of what is touched, receipts that name it or are of what stages did; and what they name.

    What stages did to a shard names what was measured and signed of its documents, but not the shard; done again, all that was
    measured of documents that are not touched is found.
    """
    from curate.pipeline.task import engine_key

    measured = {engine_key("measured", name) for name in touched}
    files, objects = [], set[str]()
    for folder in ("receipts", "measured"):
        for blob in store.blobs.list(folder):
            said = store.read_json(blob.name)
            names = set(strings(said))
            stem = blob.name.rpartition("/")[2].removesuffix(".json")
            if said is None or names & touched or blob.name in found or stem in measured or _is_work(said):
                files.append(blob.name)
                objects |= {name for name in names if len(name) == 64}
    files += [name for name in found if name.startswith("plans/")]
    return sorted(files), objects


def strings(value: Any) -> Iterator[str]:
    """All strings in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from strings(one)
    elif isinstance(value, dict):
        for one in value.values():
            yield from strings(one)


def _is_work(said: Any) -> bool:
    """Whether it is what a call about all documents gave (runs of hashes, of ids too), a section, or what is behind a gate."""
    if isinstance(said, list):
        return any(map(_is_work, said))
    return isinstance(said, dict) and (not said.keys().isdisjoint(_WORK) or any(map(_is_work, said.values())))


def token_folders(store: Store, old: set[str]) -> Iterator[str]:
    """Folders of token shards of versions that go, and of writers that are dead."""
    folders: dict[str, bool] = {}
    for blob in store.blobs.list("tokens"):
        folder, _, name = blob.name.rpartition("/")
        if folder != "tokens":
            stays = name == "manifest.json" and (store.read_json(blob.name) or {}).get("version") not in old
            folders[folder] = folders.get(folder, False) or stays
    yield from (folder for folder, stays in folders.items() if not stays)
