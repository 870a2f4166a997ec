"""Names of versions: `NAME` (the newest), `NAME@TAG`, `NAME@ID-PREFIX`; heads, tags and the log of a dataset.

Everything about one dataset's names stands in one small file that is replaced as a whole, under a lock. Every new
version gets the next free tag `v1`, `v2`, ... by itself; committing what is the head already changes nothing.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from curate.dataset.store import DATASET_NAME, Store, canonical_json
from curate.errors import CurateError, did_you_mean

__all__ = ["Reference", "commit", "datasets", "log", "remove_tag", "resolve", "set_tag", "tags_of"]

SHORTEST_PREFIX = 4


class Reference(NamedTuple):
    """A version that somebody named."""

    dataset: str
    version: str
    tag: str | None


def _path(store: Store, dataset: str) -> Path:
    return store.root / "refs" / f"{dataset}.json"


def _read(store: Store, dataset: str) -> dict[str, Any]:
    if not DATASET_NAME.fullmatch(dataset):
        raise CurateError(
            f"`{dataset}` is not a dataset name",
            hint="letters, digits, `.`, `_` and `-`, e.g. `support-chat`",
        )
    empty = {"schema": 1, "dataset": dataset, "head": None, "tags": {}, "log": []}
    try:
        found = json.loads(_path(store, dataset).read_bytes())
        if not (isinstance(found, dict) and found.keys() >= empty.keys()):
            raise ValueError("it has not what a file of names has")
        return found
    except FileNotFoundError:
        return empty
    except (ValueError, OSError):
        raise CurateError(
            f"the names of dataset `{dataset}` cannot be read", str(_path(store, dataset)), "restore it from a backup"
        ) from None


def datasets(store: Store) -> list[str]:
    """Names of the datasets in the store, sorted."""
    return sorted(path.stem for path in (store.root / "refs").glob("*.json"))


def log(store: Store, dataset: str) -> list[dict[str, Any]]:
    """The dataset's history, newest first: version, tag, time, and what happened."""
    resolve(store, dataset)
    return list(reversed(_read(store, dataset)["log"]))


def tags_of(store: Store, dataset: str) -> dict[str, str]:
    """The dataset's tags and the versions they name."""
    return dict(_read(store, dataset)["tags"])


def commit(store: Store, dataset: str, version: str) -> str:
    """Make `version` the head of the dataset; returns its tag (a new one, or the one it has)."""
    with store.refs_lock():
        refs = _read(store, dataset)
        tag = _tag_of(refs, version)
        if refs["head"] == version and tag:
            return tag
        if tag is None:
            used = {*refs["tags"], *(entry["tag"] for entry in refs["log"])}
            tag = f"v{max(map(_number, used), default=0) + 1}"
            refs["tags"][tag] = version
        refs["head"] = version
        _write(store, refs, {"action": "commit", "version": version, "tag": tag})
    return tag


def set_tag(store: Store, reference: Reference, tag: str) -> None:
    """Give a version one more name.

    Raises:
        CurateError: The tag names another version already, or is not a name.
    """
    if not DATASET_NAME.fullmatch(tag):
        raise CurateError(f"`{tag}` is not a tag name", hint="letters, digits, `.`, `_` and `-`, e.g. `release-1`")
    with store.refs_lock():
        refs = _read(store, reference.dataset)
        if refs["tags"].get(tag, reference.version) != reference.version:
            raise CurateError(
                f"tag `{tag}` names version {refs['tags'][tag][:12]} already",
                hint="remove it first: `curate data tag ... --delete`",
            )
        refs["tags"][tag] = reference.version
        _write(store, refs, {"action": "tag", "version": reference.version, "tag": tag})


def remove_tag(store: Store, dataset: str, tag: str) -> None:
    """Take a tag away; the version stays until `curate data gc`, unless it is the head or has another tag."""
    with store.refs_lock():
        refs = _read(store, dataset)
        if tag not in refs["tags"]:
            listed = f"it has: {', '.join(refs['tags'])}" if refs["tags"] else None
            raise CurateError(f"dataset `{dataset}` has no tag `{tag}`", hint=did_you_mean(tag, refs["tags"]) or listed)
        version = refs["tags"].pop(tag)
        _write(store, refs, {"action": "untag", "version": version, "tag": tag})


def _write(store: Store, refs: dict[str, Any], entry: dict[str, Any]) -> None:
    refs["log"].append({**entry, "time": datetime.now(UTC).isoformat(timespec="seconds")})
    store.write_file(_path(store, refs["dataset"]), canonical_json(refs))


def resolve(store: Store, name: str) -> Reference:
    """What `NAME`, `NAME@TAG` or `NAME@ID-PREFIX` means.

    Raises:
        CurateError: Nothing, or more than one version, is called so.
    """
    dataset, at, wanted = name.partition("@")
    refs = _read(store, dataset)
    if refs["head"] is None:
        known = datasets(store)
        raise CurateError(
            f"there is no dataset named `{dataset}` in the store",
            str(store.root),
            did_you_mean(dataset, known) or (f"there are: {', '.join(known)}" if known else "the store is empty"),
        )
    if not at:
        return _reference(refs, refs["head"])
    if wanted in refs["tags"]:
        return Reference(dataset, refs["tags"][wanted], wanted)
    versions = {entry["version"] for entry in refs["log"]}
    matches = {version for version in versions if len(wanted) >= SHORTEST_PREFIX and version.startswith(wanted)}
    if len(matches) != 1:
        problem = (
            f"`{wanted}` begins {len(matches)} versions"
            if matches
            else f"dataset `{dataset}` has no tag or version `{wanted}`"
        )
        listed = f"`curate data log {dataset}` lists them; an id can be cut to {SHORTEST_PREFIX} characters"
        raise CurateError(problem, hint=did_you_mean(wanted, refs["tags"]) or listed)
    return _reference(refs, matches.pop())


def _reference(refs: dict[str, Any], version: str) -> Reference:
    return Reference(refs["dataset"], version, _tag_of(refs, version))


def _tag_of(refs: dict[str, Any], version: str) -> str | None:
    """The tag that a version got when it was committed; if that is gone, another one."""
    tags = [tag for tag, tagged in refs["tags"].items() if tagged == version]
    return max(tags, key=lambda tag: (_number(tag), tag), default=None)


def _number(tag: str) -> int:
    """5 of `v5`; 0 of a tag that somebody gave."""
    return int(tag[1:]) if tag[:1] == "v" and tag[1:].isascii() and tag[1:].isdigit() else 0
