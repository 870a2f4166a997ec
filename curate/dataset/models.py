"""Names of models: which trained model is the candidate, which the champion, which was it before; and a log that only grows.

    models/NAME.json    {"schema": 1, "model": NAME, "aliases": {"champion": ID, ...}, "models": {ID: {...}}, "log": [...]}

The id of a model is that of its checkpoint in the record of its training (curate/train/runs/record.py), by which evaluations
and later trainings name it, too. All of a name is one small file that is swapped as a whole: of two changes at once the
second sees the first. Garbage collection keeps the versions that named models were trained on; weights lie in run folders.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from curate.dataset import refs
from curate.dataset.erased import erasures
from curate.dataset.leases import lease
from curate.dataset.runs import now
from curate.dataset.store import DATASET_NAME, Store, canonical_json, friendly_os_errors
from curate.errors import CurateError, did_you_mean

__all__ = [
    "ALIASES",
    "Alias",
    "change_names",
    "model_names",
    "named_by",
    "pinned_by_models",
    "read_names",
    "require_names",
]

Alias = Literal["candidate", "champion", "previous"]
ALIASES: tuple[Alias, ...] = ("candidate", "champion", "previous")
FOLDER = "models"


def _blob(name: str) -> str:
    return f"{FOLDER}/{name}.json"


def model_names(store: Store) -> list[str]:
    """The names that models have, sorted."""
    return sorted(blob.name.removeprefix(f"{FOLDER}/").removesuffix(".json") for blob in store.blobs.list(FOLDER))


def read_names(store: Store, name: str) -> tuple[dict[str, Any], bytes | None]:
    """What a name stands for, and the bytes that it was read from (None: nothing was ever called so).

    Raises:
        CurateError: It is no name, or its file is damaged.
    """
    if not DATASET_NAME.fullmatch(name):
        raise CurateError(
            f"`{name}` is no name of a model", hint="letters, digits, `.`, `_` and `-`, e.g. `support-chat`"
        )
    place = f"{store.location}/{_blob(name)}"
    empty: dict[str, Any] = {"schema": 1, "model": name, "aliases": {}, "models": {}, "log": []}
    try:
        content = store.blobs.read(_blob(name))
        found = json.loads(content)
        if not _is_whole(found, empty):
            raise ValueError("it has not what a file of names has")
        return found, content
    except FileNotFoundError:
        return empty, None
    except ValueError:
        raise CurateError(
            f"the names of model `{name}` cannot be read: the file is damaged", place, "restore it from a backup"
        ) from None
    except OSError as error:
        raise CurateError(
            f"the names of model `{name}` cannot be read: {error.strerror or error}", place,
            "look whether the store can be reached and read, and run it again",
        ) from error  # fmt: skip


def _is_whole(found: Any, empty: dict[str, Any]) -> bool:
    """Whether a file of names has all that one has: every alias a model, and a log of how it came."""
    if not (isinstance(found, dict) and all(type(found.get(key)) is type(one) for key, one in empty.items())):
        return False
    named = all(
        isinstance(one, str) and isinstance(found["models"].get(one), dict) for one in found["aliases"].values()
    )
    return named and bool(found["log"]) and all(isinstance(one, dict) and "time" in one for one in found["log"])


def require_names(store: Store, name: str) -> dict[str, Any]:
    """What a name stands for.

    Raises:
        CurateError: Nothing is called so.
    """
    found, content = read_names(store, name)
    if content is None:
        known = model_names(store)
        there = (
            f"there are: {', '.join(known)}"
            if known
            else f"`curate model promote {name} RUN` gives a trained model a name"
        )
        raise CurateError(f"no model is named `{name}`", store.location, did_you_mean(name, known) or there)
    return found


def change_names(store: Store, name: str, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> dict[str, Any]:
    """Change what a name stands for.

    Args:
        store: The store.
        name: The name.
        change: Edits what `read_names` gives and returns the log's entry, or None to leave all as it is; called again where
            somebody else was faster.

    Returns:
        What the name stands for now.

    Raises:
        CurateError: Garbage is being collected, or an erasure is not at its end.
    """
    with lease(store, "run"):
        for one in erasures(store):
            if one["state"] == "applying":
                raise CurateError(
                    "an erasure was begun and is not at its end, and may have names of models to write anew",
                    f"{store.location}/erasures/{one['id']}.json", "`curate data erase` with the same subject ends it",
                )  # fmt: skip
        while True:
            names, seen = read_names(store, name)
            entry = change(names)
            if entry is None:
                return names
            names["log"].append({**entry, "time": now()})
            with friendly_os_errors(store.location):
                if store.blobs.swap(_blob(name), seen, canonical_json(names)):
                    return names


def named_by(store: Store) -> Iterator[tuple[str, Alias, dict[str, Any]]]:
    """Every model that has an alias: name, alias, and what is known of it."""
    for name in model_names(store):
        names, _ = read_names(store, name)
        for alias in ALIASES:
            if alias in names["aliases"]:
                yield name, alias, names["models"][names["aliases"][alias]]


def require_unnamed(store: Store, run: Path) -> None:
    """Refuse to change the run in a folder, where its model has an alias.

    Raises:
        CurateError: It is a champion, a candidate, or the champion before.
    """
    for name, alias, one in named_by(store):
        if one["folder"] == str(run.resolve()):
            called = "earlier champion" if alias == "previous" else alias
            raise CurateError(
                f"run `{run.name}` is the {called} of model `{name}`: its weights must stay what they are", str(run),
                "train under another name: --set run=NAME",
            )  # fmt: skip


def pinned_by_models(store: Store) -> set[str]:
    """The versions that models with an alias were trained on; of one that an erasure has replaced, what came after it."""
    versions = {
        (thing["id"], thing["name"].partition("@")[0]) for _, _, one in named_by(store) for thing in one["versions"]
    }
    return {one for one, _ in versions} | {refs.became(refs.read(store, dataset)[0], one) for one, dataset in versions}
