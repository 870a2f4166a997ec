"""Names of versions: `NAME` (the newest), `NAME@TAG`, `NAME@ID-PREFIX`; heads, tags and the log of a dataset.

Everything about one dataset's names stands in one small file that is replaced as a whole, if nobody else has replaced it
meanwhile. Every new version gets the next free number `v1`, `v2`, ... by itself; committing what is the head already
changes nothing. Numbers stand in the log; tags are what somebody gave, and what they name garbage collection keeps. A
version that failed a gate gets no number and is not the head; the log has it, so its id finds it. Where a store was brought
to another format, `upgraded_from` in the log is the id that a version had before, which finds it too; where a person was
erased, `succeeds` are the ids that it had.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from curate.dataset.store import DATASET_NAME, Store, canonical_json, friendly_os_errors
from curate.errors import CurateError, did_you_mean

__all__ = [
    "Reference",
    "became",
    "check_tag",
    "collected",
    "commit",
    "datasets",
    "forget",
    "known_ids",
    "log",
    "pinned",
    "read",
    "refuse",
    "remove_tag",
    "resolve",
    "set_tag",
    "succeed",
    "succeeded",
    "tags_of",
]

SHORTEST_PREFIX = 4


class Reference(NamedTuple):
    """A version that somebody named."""

    dataset: str
    version: str
    tag: str | None


def _name(dataset: str) -> str:
    return f"refs/{dataset}.json"


def read(store: Store, dataset: str) -> tuple[dict[str, Any], bytes | None]:
    """The names of a dataset, and the bytes that they were read from."""
    if not DATASET_NAME.fullmatch(dataset):
        raise CurateError(
            f"`{dataset}` is not a dataset name",
            hint="letters, digits, `.`, `_` and `-`, e.g. `support-chat`",
        )
    empty = {"schema": 2, "dataset": dataset, "head": None, "tags": {}, "log": []}
    try:
        content = store.blobs.read(_name(dataset))
        found = json.loads(content)
        if not (isinstance(found, dict) and found.keys() >= empty.keys()):
            raise ValueError("it has not what a file of names has")
        return found, content
    except FileNotFoundError:
        return empty, None
    except (ValueError, OSError):
        raise CurateError(
            f"the names of dataset `{dataset}` cannot be read",
            f"{store.location}/{_name(dataset)}",
            "restore it from a backup",
        ) from None


def _change(store: Store, dataset: str, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> dict[str, Any]:
    """Change the names of a dataset: `change` edits them and gives the log's entry, or None to leave them as they are."""
    while True:
        refs, seen = read(store, dataset)
        entry = change(refs)
        if entry is None:
            return refs
        refs["log"].append({**entry, "time": datetime.now(UTC).isoformat(timespec="seconds")})
        with friendly_os_errors(store.location):
            if store.blobs.swap(_name(dataset), seen, canonical_json(refs)):
                return refs


def datasets(store: Store) -> list[str]:
    """Names of the datasets in the store, sorted."""
    return sorted(blob.name.removeprefix("refs/").removesuffix(".json") for blob in store.blobs.list("refs"))


def log(store: Store, dataset: str) -> list[dict[str, Any]]:
    """The dataset's history, newest first: version, number or tag, time, and what happened."""
    refs, _ = read(store, dataset)
    if not refs["log"]:
        resolve(store, dataset)
    return list(reversed(refs["log"]))


def tags_of(store: Store, dataset: str) -> dict[str, str]:
    """The dataset's numbers and tags, and the versions they name."""
    return _names(read(store, dataset)[0])


def head(store: Store, dataset: str) -> str | None:
    """The newest version; None where there is none yet."""
    return read(store, dataset)[0]["head"]


def known_ids(refs: dict[str, Any]) -> set[str]:
    """Every version that a dataset's names have ever known, by all ids that it had."""
    ids = {entry[key] for entry in refs["log"] for key in ("version", "upgraded_from") if key in entry}
    return ids | succeeded(refs).keys()


def succeeded(refs: dict[str, Any]) -> dict[str, str]:
    """Versions that erasures have replaced, and what came after them."""
    return {before: entry["version"] for entry in refs["log"] for before in entry.get("succeeds", ())}


def became(refs: dict[str, Any], version: str) -> str:
    """What a version is called now: an upgrade of the store or an erasure may have given it another id."""
    older = {entry["upgraded_from"]: entry["version"] for entry in refs["log"] if "upgraded_from" in entry}
    return {**older, **succeeded(refs)}.get(version, version)


def pinned(store: Store, dataset: str) -> set[str]:
    """The versions that the head and tags name."""
    refs, _ = read(store, dataset)
    return {*refs["tags"].values(), *([refs["head"]] if refs["head"] else [])}


def _names(refs: dict[str, Any]) -> dict[str, str]:
    numbers = {entry["tag"]: entry["version"] for entry in refs["log"] if entry["action"] == "commit" and entry["tag"]}
    gone = {entry["tag"] for entry in refs["log"] if entry["action"] == "collect"}
    return {**{name: version for name, version in numbers.items() if name not in gone}, **refs["tags"]}


def commit(
    store: Store, dataset: str, version: str, *, onto: Callable[[dict[str, Any]], None] | None = None
) -> str:  # fmt: skip
    """Make `version` the head of the dataset; returns its number (a new one, or the one it has).

    Args:
        store: Where the names are.
        dataset: The dataset.
        version: The version.
        onto: Is given the names as they are at that moment, and raises where it may not become their head.
    """

    def change(refs: dict[str, Any]) -> dict[str, Any] | None:
        if onto:
            onto(refs)
        number = _number_of(refs, version)
        if refs["head"] == version and number:
            return None
        if number is None:
            used = {*refs["tags"], *(entry["tag"] for entry in refs["log"] if entry["tag"])}
            number = f"v{max(map(_number, used), default=0) + 1}"
        refs["head"] = version
        return {"action": "commit", "version": version, "tag": number}

    return _number_of(_change(store, dataset, change), version) or ""


def refuse(store: Store, dataset: str, version: str, gate: str) -> None:
    """Remember a version that failed a gate: its id finds it, but it is not the head and has no number."""

    def change(refs: dict[str, Any]) -> dict[str, Any] | None:
        last = refs["log"][-1] if refs["log"] else {}
        again = last.get("action") == "refuse" and last.get("version") == version
        return None if again else {"action": "refuse", "version": version, "tag": None, "gate": gate}

    _change(store, dataset, change)


def forget(store: Store, dataset: str, versions: Collection[str]) -> None:
    """Take numbers away from versions that garbage collection removes."""

    def change(refs: dict[str, Any]) -> dict[str, Any] | None:
        gone = [entry for entry in refs["log"] if entry["version"] in versions]
        if not gone:
            return None
        refs["log"] = [entry for entry in refs["log"] if entry["version"] not in versions]
        return collected(gone)

    _change(store, dataset, change)


def collected(gone: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The entry that stands in the log for those of versions that are no more: their highest number is not given again."""
    highest = max((entry["tag"] for entry in gone if entry["tag"]), key=_number, default=None)
    versions = len({entry["version"] for entry in gone})
    return {"action": "collect", "version": gone[-1]["version"], "tag": highest, "versions": versions}


def succeed(store: Store, dataset: str, becomes: Mapping[str, str], erasure: str) -> None:
    """Let all names of versions lead to what comes after them: head, tags, numbers, and ids, which stand in the log."""

    def change(refs: dict[str, Any]) -> dict[str, Any] | None:
        named = {refs["head"], *refs["tags"].values(), *(entry["version"] for entry in refs["log"])} & becomes.keys()
        if not named:
            return None
        for entry in refs["log"]:
            if entry["version"] in becomes:
                entry["succeeds"] = [*entry.get("succeeds", []), entry["version"]]
                entry["version"] = becomes[entry["version"]]
        last = refs["log"][-1]["version"]
        refs["head"] = becomes.get(refs["head"], refs["head"])
        refs["tags"] = {tag: becomes.get(version, version) for tag, version in refs["tags"].items()}
        version = refs["head"] or last
        return {"action": "erase", "version": version, "tag": None, "erasure": erasure, "versions": len(named)}

    _change(store, dataset, change)


def set_tag(store: Store, reference: Reference, tag: str) -> None:
    """Give a version one more name.

    Raises:
        CurateError: The tag names another version already, or is not a name.
    """
    if not DATASET_NAME.fullmatch(tag):
        raise CurateError(f"`{tag}` is not a tag name", hint="letters, digits, `.`, `_` and `-`, e.g. `release-1`")

    def change(refs: dict[str, Any]) -> dict[str, Any]:
        check_tag(refs, reference.version, tag)
        refs["tags"][tag] = reference.version
        return {"action": "tag", "version": reference.version, "tag": tag}

    _change(store, reference.dataset, change)


def check_tag(refs: dict[str, Any], version: str, tag: str) -> None:
    """Raise a `CurateError` where the tag names another version already."""
    named = _names(refs).get(tag, version)
    if named != version:
        raise CurateError(
            f"tag `{tag}` names version {named[:12]} already", hint="remove it first: `curate data tag ... --delete`"
        )


def remove_tag(store: Store, dataset: str, tag: str) -> None:
    """Take a tag away; the version stays until `curate data gc` removes what nothing names."""

    def change(refs: dict[str, Any]) -> dict[str, Any]:
        if tag not in refs["tags"]:
            listed = f"it has: {', '.join(refs['tags'])}" if refs["tags"] else None
            raise CurateError(f"dataset `{dataset}` has no tag `{tag}`", hint=did_you_mean(tag, refs["tags"]) or listed)
        return {"action": "untag", "version": refs["tags"].pop(tag), "tag": tag}

    _change(store, dataset, change)


def resolve(store: Store, name: str) -> Reference:
    """What `NAME`, `NAME@TAG` or `NAME@ID-PREFIX` means.

    Raises:
        CurateError: Nothing, or more than one version, is called so.
    """
    dataset, at, wanted = name.partition("@")
    refs, _ = read(store, dataset)
    if refs["head"] is None and not (at and refs["log"]):
        if refs["log"]:
            raise CurateError(
                f"no version of `{dataset}` has passed its gates",
                store.location,
                f"`curate data log {dataset}` lists what was refused; `{dataset}@ID` names one",
            )
        known = datasets(store)
        raise CurateError(
            f"there is no dataset named `{dataset}` in the store",
            store.location,
            did_you_mean(dataset, known) or (f"there are: {', '.join(known)}" if known else "the store is empty"),
        )
    if not at:
        return _reference(refs, str(refs["head"]))
    names = _names(refs)
    if wanted in names:
        return Reference(dataset, names[wanted], wanted)
    ids = {
        (entry[key], entry["version"]) for entry in refs["log"] for key in ("version", "upgraded_from") if key in entry
    } | {(before, entry["version"]) for entry in refs["log"] for before in entry.get("succeeds", ())}
    matches = {version for name, version in ids if len(wanted) >= SHORTEST_PREFIX and name.startswith(wanted)}
    if len(matches) != 1:
        problem = (
            f"`{wanted}` begins {len(matches)} versions"
            if matches
            else f"dataset `{dataset}` has no tag or version `{wanted}`"
        )
        listed = f"`curate data log {dataset}` lists them; an id can be cut to {SHORTEST_PREFIX} characters"
        raise CurateError(problem, hint=did_you_mean(wanted, names) or listed)
    return _reference(refs, matches.pop())


def _reference(refs: dict[str, Any], version: str) -> Reference:
    return Reference(refs["dataset"], version, _number_of(refs, version) or _tag_of(refs, version))


def _number_of(refs: dict[str, Any], version: str) -> str | None:
    """The number that a version got when it was committed."""
    return next((name for name, named in _names(refs).items() if named == version and _number(name)), None)


def _tag_of(refs: dict[str, Any], version: str) -> str | None:
    """A tag that somebody gave a version."""
    return max((tag for tag, tagged in refs["tags"].items() if tagged == version), default=None)


def _number(tag: str) -> int:
    """5 of `v5`; 0 of a tag that somebody gave."""
    return int(tag[1:]) if tag[:1] == "v" and tag[1:].isascii() and tag[1:].isdigit() else 0
