"""Run records: what made something, of what, when: one JSON file for every run, training, export and whatever follows.

    {"schema": 1, "id": ..., "kind": "run", "name": "small", "state": "done", "began": ..., "ended": ...,
     "inputs": [{"kind": "version", "id": ..., "name": "books@v3"}], "outputs": [...], "facts": {...}}

`state` is `running`, `done`, `failed` or `interrupted`. Inputs and outputs are named by hash: versions by their id,
checkpoints by the hash of their weights, files by that of their bytes. This is what `data log`, lineage, erasure and a
registry of models read. Two runs never share a record: its id is drawn at random.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TypedDict

from curate.dataset.store import Store, canonical_json
from curate.errors import ResumableError

__all__ = ["Kind", "State", "Thing", "ids_of", "now", "record", "records", "run_id", "state_after"]

Kind = Literal[
    "run", "training", "export", "model_export", "report", "evaluation", "comparison", "ablation", "sweep", "labeling", "audit",
    "erasure", "push",
]  # fmt: skip
State = Literal["running", "done", "failed", "interrupted"]


class Thing(TypedDict, total=False):
    """What a run was given or made: its kind (`version`, `checkpoint`, `files`, ...), id and name."""

    kind: str
    id: str
    name: str


def now() -> str:
    """The time, in UTC, to the microsecond: records are put in order by it."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def run_id() -> str:
    """The id of a new record."""
    return secrets.token_hex(16)


def state_after(error: BaseException) -> State:
    """How that ended which this error ended: `interrupted` where the same command goes on, by Ctrl-C or for another reason."""
    return "failed" if isinstance(error, Exception) and not isinstance(error, ResumableError) else "interrupted"


def record(
    store: Store,
    kind: Kind,
    identity: str,
    *,
    name: str,
    state: State,
    began: str,
    inputs: list[Thing],
    outputs: list[Thing],
    facts: dict[str, Any],
    ended: str | None = None,
) -> None:
    """Write a record, or write it anew: a run that begins, and later ends (now, unless it is told), is one record."""
    whole = {
        "schema": 1, "id": identity, "kind": kind, "name": name, "state": state, "began": began,
        "ended": None if state == "running" else ended or now(), "inputs": inputs, "outputs": outputs, "facts": facts,
    }  # fmt: skip
    store.write(f"runs/{identity}.json", canonical_json(whole))


def ids_of(version: str, manifest: Mapping[str, Any]) -> set[str]:
    """The ids that a version has and had: an erasure gives it another one, and the records of runs name the old one."""
    return {version, *(one["of"] for one in manifest["lineage"].get("erasures", ()))}


def records(
    store: Store, kind: Kind | None = None, *, version: str | Collection[str] | None = None
) -> list[dict[str, Any]]:
    """The records, oldest first: all, or of one kind, or those that used or made a version (or one of several).

    Damaged ones are left out.
    """
    ids = {version} if isinstance(version, str) else set(version or ())
    found = []
    for blob in store.blobs.list("runs"):
        one = store.read_json(blob.name)
        if not one or "kind" not in one or (kind and one["kind"] != kind):
            continue
        if ids and not any(thing.get("id") in ids for thing in (*one["inputs"], *one["outputs"])):
            continue
        found.append(one)
    return sorted(found, key=lambda one: (one["began"], one["id"]))
