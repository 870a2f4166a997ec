"""What fetches of a pipeline may cost, told by a process of its own: stages are code, which stays where it is loaded.

    python -m curate.agents.spend FILE [STORE] [SOURCE...]

prints `asked`: of each source that asks a model and is not pinned (or is one of SOURCE, fetched again) its `source`; `money`,
the most by its budget; whether that is `bounded`; and a `key`, the same for what asks the same prompts: those are paid once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from curate.errors import CurateError

if TYPE_CHECKING:
    from curate.dataset.store import Store

__all__ = ["asked_by", "is_here"]

HERE = ("127.0.0.1", "localhost", "::1")


def is_here(endpoint: str) -> bool:
    """Whether an endpoint is on this machine."""
    return urlsplit(endpoint).hostname in HERE


def asked_by(file: Path, store: str | None, again: Sequence[str]) -> list[dict[str, Any]]:
    """What sources of a pipeline would ask models.

    Raises:
        CurateError: The file is wrong.
    """
    from curate.config.pipeline import load_pipeline
    from curate.dataset.store import Store, blobs_at
    from curate.pipeline.fetch import known_snapshots
    from curate.pipeline.lock import fetch_key, fetched_sources
    from curate.pipeline.run import default_store
    from curate.synthesize.source import Synthesize

    loaded = load_pipeline(file, [])
    place = default_store(loaded, store)
    opened = Store.open(place) if blobs_at(place).exists("store.json") else None
    known: dict[str, Any] | None = None
    found: list[dict[str, Any]] = []
    for entry in fetched_sources(loaded):
        if not isinstance(entry.stage, Synthesize):
            continue
        known = known_snapshots(loaded, opened) if known is None else known
        if entry.id in known and entry.id not in again:
            continue
        budget = entry.stage.budget
        priced = budget.read_price or budget.write_price
        bounded = budget.money is not None or (not priced and is_here(entry.stage.endpoint))
        key = f"{place}:{fetch_key(entry)}:{_version(entry.stage.dataset, opened)}"
        found.append({"source": entry.id, "money": budget.money or 0.0, "bounded": bounded, "key": key})
    return found


def _version(named: str, store: Store | None) -> str:
    from curate.dataset.reader import open_dataset

    try:
        return open_dataset(named, store).version if store else ""
    except CurateError:  # the fetch tells it
        return ""


if __name__ == "__main__":
    try:
        sys.stdout.write(json.dumps({"asked": asked_by(Path(sys.argv[1]), sys.argv[2] or None, sys.argv[3:])}))
    except CurateError as wrong:
        sys.stdout.write(json.dumps({"errors": wrong.records()}))
        sys.exit(2)
