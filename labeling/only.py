"""A version of those documents alone that have a label: the others leave in one more step of the ledger, `unlabelled`.

So a labelled subset is trained on as it is, and every document stays accounted for; texts are read for their sizes alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from curate.dataset.fragments import Fragment, write_fragments, write_ledger
from curate.dataset.ledger import Shard, Step
from curate.dataset.manifest import splits_of
from curate.dataset.reader import Dataset
from curate.dataset.store import Store
from curate.pipeline.task import document_bytes
from curate.stages.decide import verdict_table

if TYPE_CHECKING:
    import numpy as np

__all__ = ["REASON", "labelled_only"]

REASON = "unlabelled"


def labelled_only(dataset: Dataset, column: str) -> str:
    """Derive the version of the documents that have a value in a column that lies beside them; its id."""
    store, before = dataset.store, dataset.manifest
    fragments, shards, left = iter(dataset.fragments), list[Shard](), list[Fragment]()
    for shard in dataset.ledger():
        if not shard.kept:
            shards.append(shard)
            continue
        fragment = next(fragments)
        mask = _mask(store, fragment)
        stay = mask & _has_value(store, fragment, column)
        gone = (mask & ~stay).nonzero()[0]
        shards.append(shard.after([_step(store, shard, fragment, gone)]) if len(gone) else shard)
        if stay.any():
            left.append(_narrowed(store, fragment, mask, stay))
    kept = sum(fragment.documents for fragment in left)
    removed = before["documents"]["kept"] - kept
    documents = {**before["documents"], "kept": kept, "dropped": before["documents"]["dropped"] + removed}
    manifest = {
        **before, "documents": documents, "splits": splits_of(left), "stages": [*before["stages"], _row(before, removed)],
        "bytes": sum(one.bytes for one in left), "text_bytes": sum(one.text_bytes for one in left),
        "fragments": write_fragments(store, left), "ledger": write_ledger(store, shards),
    }  # fmt: skip
    return store.write_manifest(manifest)


def _mask(store: Store, fragment: Fragment) -> np.ndarray:
    import numpy as np

    if fragment.kept is None:
        return np.ones(fragment.rows, dtype=bool)
    return store.read_table(fragment.kept).column("kept").to_numpy()


def _has_value(store: Store, fragment: Fragment, column: str) -> np.ndarray:
    import numpy as np

    has = np.zeros(fragment.rows, dtype=bool)
    holder = next((one.object for one in reversed(fragment.sidecars) if column in one.columns), None)
    if holder:
        given = store.read_table(holder, ["row", column])
        has[given.column("row").to_numpy()[given.column(column).is_valid().to_numpy()]] = True
    return has


def _step(store: Store, shard: Shard, fragment: Fragment, gone: np.ndarray) -> Step:
    import pyarrow as pa

    said = verdict_table(gone, "dropped", REASON)
    ids = store.read_table(shard.object, ["id"]).column("id").combine_chunks().take(pa.array(gone))
    name = store.write_table(said.append_column("id", ids))
    return Step(REASON, shard.kept, fragment.text_bytes, verdicts=name, reasons={"dropped": {REASON: len(gone)}})


def _narrowed(store: Store, before: Fragment, mask: np.ndarray, stay: np.ndarray) -> Fragment:
    import numpy as np
    import pyarrow as pa

    sizes = document_bytes(store.read_table(before.object)).to_numpy()
    names = np.full(before.rows, next(iter(before.splits), "train"), dtype=object)
    holder = next((one.object for one in reversed(before.sidecars) if "split" in one.columns), None)
    if holder:
        given = store.read_table(holder, ["row", "split"])
        names[given.column("row").to_numpy()] = given.column("split").to_pylist()
    splits: dict[str, dict[str, int]] = {}
    for split, counts in before.splits.items():
        mine = names == split
        if (stay & mine).any():
            less = int(sizes[mask & ~stay & mine].sum())
            splits[split] = {"documents": int((stay & mine).sum()), "text_bytes": counts["text_bytes"] - less}
    kept = store.write_table(pa.table({"kept": pa.array(stay)}))
    size = before.text_bytes - int(sizes[mask & ~stay].sum())
    return replace(before, kept=kept, documents=int(stay.sum()), text_bytes=size, splits=splits)


def _row(before: dict[str, Any], removed: int) -> dict[str, Any]:
    """The row of the manifest's stages."""
    count: int = before["documents"]["kept"]
    return {
        "id": REASON, "stage": REASON, "kind": "labels", "in": count, "made": 0, "kept": count - removed,
        "dropped": removed, "edited": 0, "quarantined": 0, "expanded": 0, "bytes": before["text_bytes"],
        "reasons": {"dropped": {REASON: removed}}, "settings": {}, "artifacts": {}, "passed": {},
    }  # fmt: skip
