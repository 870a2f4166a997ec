"""Where token shards lie: in the store's folder; of a store in an object store, also in this machine's cache folder.

Training maps the files into memory, so they must be here. A pack is fetched once for each machine; one that is made here
is sent to the store, its manifest last. The cache is `$XDG_CACHE_HOME/curate/tokens`, by default `~/.cache/curate/tokens`:
what has not been used for CACHE_DAYS is removed when another pack is looked for, and may be removed by hand.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from curate.files import replacing_folder

if TYPE_CHECKING:
    from curate.dataset.store import Store

__all__ = ["packs_folder", "put_pack"]

MANIFEST = "manifest.json"
CACHE_DAYS = 30
BLOCK = 8 << 20


def packs_folder(store: Store) -> Path:
    """The folder on this machine for a store's packs; it is made where it is missing."""
    folder = store.blobs.local_path("tokens")
    if folder is None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "curate" / "tokens"
        folder = cache / hashlib.sha256(store.location.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def put_pack(store: Store, folder: Path, make: Callable[[Path], None]) -> None:
    """See that a pack is in its folder: it is there, or is fetched, or `make` writes it and the store gets it."""
    here = store.blobs.local_path("tokens") is not None
    if not here:
        _clear(folder.parent)
    if folder.exists():
        if not here:
            os.utime(folder)
        return
    name = f"tokens/{folder.name}"
    with replacing_folder(folder) as aside:
        if not here and store.blobs.exists(f"{name}/{MANIFEST}"):
            _fetch(store, name, aside)
            return
        make(aside)
    if not here:
        _send(store, name, folder)


def _fetch(store: Store, name: str, folder: Path) -> None:
    for blob in store.blobs.list(name):
        with store.blobs.open(blob.name) as source, (folder / blob.name.removeprefix(f"{name}/")).open("wb") as stream:
            while block := source.read(BLOCK):
                stream.write(block)


def _send(store: Store, name: str, folder: Path) -> None:
    import pyarrow as pa

    paths = sorted((path for path in folder.iterdir()), key=lambda path: path.name == MANIFEST)
    for path in paths:
        with pa.memory_map(str(path)) as stream:
            store.write(f"{name}/{path.name}", stream.read_buffer())


def _clear(cache: Path) -> None:
    """Remove the packs of the cache that nobody has used for long."""
    for folder in cache.iterdir():
        if folder.is_dir() and time.time() - folder.stat().st_mtime > CACHE_DAYS * 86_400:
            shutil.rmtree(folder, ignore_errors=True)
