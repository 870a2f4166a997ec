"""What stands beside the files of an export: its dataset card and its Croissant metadata.

In a folder these are README.md and croissant.json; beside a single file `letters.csv` they are `letters.csv.README.md` and
`letters.csv.croissant.json`. One that is there and is not as an export wrote it is somebody's own: it stays, and that is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from curate.dataset.card import DataFile, dataset_card
from curate.dataset.croissant import croissant
from curate.dataset.runs import records
from curate.files import file_hash, write_durably

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.dataset.facts import Facts
    from curate.dataset.store import Store

__all__ = ["card_paths", "own_files", "write_cards"]


def card_paths(out: Path, *, single: bool) -> tuple[Path, Path]:
    """Where the card and the metadata of an export to a folder (or to a `single` file) stand."""
    if single:
        return out.with_name(f"{out.name}.README.md"), out.with_name(f"{out.name}.croissant.json")
    return out / "README.md", out / "croissant.json"


def own_files(store: Store, paths: tuple[Path, Path]) -> dict[Path, bytes]:
    """Those that are there and are not as an export wrote them, with their bytes."""
    there = [path for path in paths if path.is_file()]
    if not there:
        return {}
    written = {(name, hash) for one in records(store, "export") for name, hash in one["facts"].get("cards", {}).items()}
    return {path: path.read_bytes() for path in there if (str(path.resolve()), file_hash(path)) not in written}


def write_cards(
    facts: Facts, schema: pa.Schema, format: str, paths: tuple[Path, Path], files: Mapping[Path, tuple[str | None, str]],
    own: Mapping[Path, bytes],
) -> list[Path]:  # fmt: skip
    """Write card and metadata, but for those that are somebody's own; returns what was written.

    Args:
        facts: What is known of the version.
        schema: The columns that were written.
        format: The format of the files.
        paths: Where they go.
        files: The files with their splits and hashes.
        own: What is not to be touched.
    """
    card, metadata = paths
    listed = [
        DataFile(path.relative_to(card.parent).as_posix(), split, path.stat().st_size, hash)
        for path, (split, hash) in files.items()
    ]
    contents = {card: dataset_card(facts, format, listed).encode(), metadata: croissant(facts, schema, listed)}
    made = [path for path in paths if path not in own]
    for path in made:
        write_durably(path, contents[path])
    return made
