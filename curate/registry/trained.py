"""From a run to what a registry keeps of its model, and what is to be known of that model today.

All of it is in the record of the training (curate/train/runs/record.py): hashes of checkpoint, weights and tokenizer, the
versions that it was trained on, the models that it began with. Nothing here loads torch.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from curate.dataset import refs
from curate.dataset.erased import erasures
from curate.dataset.runs import records
from curate.dataset.store import Store
from curate.errors import CurateError
from curate.files import file_hash

__all__ = ["checkpoint_place", "data_notes", "find_trained", "lineage_notes", "weights_problem"]


def find_trained(store: Store, model: str) -> dict[str, Any]:
    """What a registry keeps of a run's model.

    Args:
        store: Where the run is on record.
        model: The run, or its folder.

    Returns:
        `id` (hash of the checkpoint), `weights`, `training` (id of the record), `run`, `folder`, `checkpoint`, `tokenizer`,
        `versions` and `begins_with` (things with `id` and `name`), `sizes` (bytes of each file).

    Raises:
        CurateError: There is no such run, it is not on record or not complete, or its weights are not those on record.
    """
    from curate.evaluation.request import is_endpoint, model_place  # whoever only asks for names does without

    if is_endpoint(model):
        raise CurateError(
            f"`{model}` is a server, and only trained models have names", hint="name a run of `curate train`"
        )
    folder = Path(model_place(model)).resolve()
    here = [one for one in records(store, "training") if one["facts"]["folder"] == str(folder)]
    again = "`curate train` puts a run on record in the store of its data"
    if not here:
        run = (folder.parent.parent / "checkpoints").is_dir()
        hint = f"name the run: {folder.parent.parent.name}" if run else f"{again}; --store names another one"
        raise CurateError(f"the store knows no training in `{folder}`", store.location, hint)
    one = here[-1]
    things = {thing["kind"]: thing for thing in one["outputs"]}
    if one["state"] != "done" or "weights" not in things:
        raise CurateError(
            f"run `{one['name']}` is not complete ({one['state']})", str(folder), "`curate train` goes on with it"
        )
    entry = {
        "id": things["checkpoint"]["id"], "weights": things["weights"]["id"], "training": one["id"], "run": one["name"],
        "folder": str(folder), "checkpoint": things["checkpoint"]["name"], "tokenizer": one["facts"]["tokenizer"],
        "versions": _things(one, "version"), "begins_with": _things(one, "model"),
    }  # fmt: skip
    if problem := weights_problem(entry, whole=False):
        raise CurateError(f"the model of run `{one['name']}` cannot be named: {problem}", str(folder), again)
    place = checkpoint_place(entry)
    files = json.loads((place / "checkpoint.json").read_bytes())["files"]
    return entry | {"sizes": {name: (place / name).stat().st_size for name in files}}


def _things(one: dict[str, Any], kind: str) -> list[dict[str, str]]:
    return [{"id": thing["id"], "name": thing["name"]} for thing in one["inputs"] if thing["kind"] == kind]


def checkpoint_place(entry: dict[str, Any]) -> Path:
    """The folder with a model's weights."""
    return Path(entry["folder"], entry["checkpoint"])


def weights_problem(entry: dict[str, Any], *, whole: bool = True) -> str | None:
    """What is wrong with a model's weights, by what its checkpoint says of itself; None where they are what they were.

    Args:
        entry: See `find_trained`.
        whole: Read every byte, at about 1 GB/s; else only see that the files are there and as long as they were.
    """
    place = checkpoint_place(entry) / "checkpoint.json"
    try:
        described = hashlib.sha256(bytes.fromhex(file_hash(place))).hexdigest()
        files = json.loads(place.read_bytes())["files"]
    except OSError:
        return f"its weights are not there any more ({place.parent})"
    except (ValueError, KeyError):
        return f"its checkpoint is damaged ({place})"
    if described != entry["id"]:
        return f"other weights stand in their place ({place.parent})"
    for name, digest in files.items():
        one = place.parent / name
        if not one.is_file():
            return f"its weights are not whole any more: {name} is missing ({place.parent})"
        size = one.stat().st_size
        if (before := entry.get("sizes", {}).get(name, size)) != size:
            return f"its weights are not what they were: {name} has {size:,} bytes, not {before:,} ({place.parent})"
        if whole and file_hash(one) != digest:
            return f"its weights are not what they were: {name} has other bytes ({place.parent})"
    return None


def lineage_notes(store: Store, entry: dict[str, Any]) -> list[str]:
    """What people should know of a model before they use it: lost weights, and see `data_notes`."""
    problem = weights_problem(entry)
    return [*([problem] if problem else []), *data_notes(store, entry)]


def data_notes(store: Store, entry: dict[str, Any]) -> list[str]:
    """What people should know of a model's data: what was erased, and versions that are gone."""
    found = [
        f"it saw data that erasure {one['id']} has taken out of the store since: train it again without"
        for one in erasures(store)
        if any(thing.get("id") == entry["id"] for training in one["trainings"] for thing in training["outputs"])
    ]
    for thing in entry["versions"]:
        if store.blobs.exists(f"versions/{thing['id']}.json"):
            continue
        after = refs.became(refs.read(store, thing["name"].partition("@")[0])[0], thing["id"])
        if after != thing["id"]:
            found.append(f"{thing['name']}, which it was trained on, is {after[:12]} since an erasure")
        else:
            found.append(f"{thing['name']}, which it was trained on, is not in the store any more")
    return found
