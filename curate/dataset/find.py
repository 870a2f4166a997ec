"""Which store a command means: the option, then CURATE_STORE, then `.curate` where one stands, above it, or one folder below.

So `curate run project/pipeline.yaml`, which has its store beside the pipeline file, and `curate data list` after it find
the same one, from the project's folder, from inside it, and from the folder that holds it.
"""

from __future__ import annotations

import os
from pathlib import Path

from curate.dataset.store import Store
from curate.errors import CurateError

__all__ = ["find_or_make_store", "find_store", "store_place"]

NAME = ".curate"


def find_store(store: str | Path | None = None, *, anywhere: Path | None = None) -> Store:
    """The existing store that a command means.

    Args:
        store: What `--store` says.
        anywhere: Where one stands; by default the current folder.

    Raises:
        CurateError: There is none, or several could be meant.
    """
    return Store.open(store_place(store, anywhere or Path.cwd()))


def find_or_make_store(store: str | Path | None = None) -> Store:
    """The store that a command means, which is made where it is named, or where none stands near: `.curate` here.

    Raises:
        CurateError: Several could be meant, or it cannot be written.
    """
    here, named = Path.cwd(), str(store) if store is not None else os.environ.get("CURATE_STORE")
    near = any((folder / NAME / "store.json").is_file() for folder in (here, *here.parents))
    if not named and (near or any(here.glob(f"*/{NAME}/store.json"))):
        named = store_place(None, here)
    return Store.open(named or NAME, create=True)


def store_place(store: str | Path | None, here: Path) -> str:
    """Path or URL of the store.

    Raises:
        CurateError: There is none, or several could be meant.
    """
    named = str(store) if store is not None else os.environ.get("CURATE_STORE")
    if named:
        if "://" not in named and not (Path(named) / "store.json").is_file():
            raise CurateError(
                f"there is no store at `{named}`",
                hint="name it with --store DIR or CURATE_STORE; `curate run` makes one",
            )
        return named
    for folder in (here, *here.parents):
        if (folder / NAME / "store.json").is_file():
            return os.path.relpath(folder / NAME) if folder == here else str(folder / NAME)
    below = sorted(path.parent.parent for path in here.glob(f"*/{NAME}/store.json"))
    if len(below) == 1:
        return os.path.relpath(below[0] / NAME)
    if below:
        listed = ", ".join(f"`{os.path.relpath(folder / NAME)}`" for folder in below[:5])
        raise CurateError(f"there are {len(below)} stores below this folder", hint=f"name one with --store: {listed}")
    raise CurateError(
        f"there is no store at `{NAME}`, above it or one folder below",
        hint="name it with --store DIR or CURATE_STORE; `curate run` makes one beside the pipeline file",
    )
