"""Versions without a person: each version that held the data gets a successor, with the same documents but for those that go.

What the stages did stays on record; documents that had been kept leave in a last step, `erased`, so that all of them stay
accounted for. A version that was derived from another one is a successor's, too, and is made of that.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from curate.dataset.erased import ERASED, REASON, dataset_of
from curate.dataset.fragments import Fragment, Sidecar, write_fragments, write_ledger
from curate.dataset.ledger import Shard, Step
from curate.dataset.manifest import splits_of
from curate.dataset.store import Store
from curate.erasure.found import Found, Version
from curate.erasure.learned import ARTIFACTS, Learned
from curate.erasure.rewrite import Rewriter
from curate.erasure.scan import redacted_json
from curate.pipeline.task import document_bytes
from curate.stages.decide import verdict_table

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Successor", "successors"]


class Successor(NamedTuple):
    """A version and what comes after it.

    Attributes:
        dataset: The dataset.
        of: The version that held the data.
        version: The one that does not.
        removed: Documents of the version that are gone.
        redacted: Documents of the version in which something was replaced.
        held: Documents that went into it, with data that is gone now, whether they were kept or not.
    """

    dataset: str
    of: str
    version: str
    removed: int
    redacted: int
    held: int


def successors(
    store: Store, there: list[Version], found: Found, rewriter: Rewriter, learned: Learned, erasure: str
) -> list[Successor]:
    """Write a successor for each version that needs one, parents first."""
    by_id, made = {one.id: one for one in there}, {}

    def make(one: Version) -> None:
        if one.id in made:
            return
        for parent in one.manifest["lineage"]["parents"]:
            if parent in by_id and parent != one.id:
                make(by_id[parent])
        becomes = {name: other.version for name, other in made.items() if other}
        made[one.id] = _Writer(store, one, found, rewriter, learned, erasure, becomes).write()

    for one in there:
        make(one)
    return [one for one in made.values() if one]


class _Writer:
    def __init__(
        self, store: Store, one: Version, found: Found, rewriter: Rewriter, learned: Learned, erasure: str,
        becomes: dict[str, str],
    ) -> None:  # fmt: skip
        self.store, self.one, self.found, self.rewriter = store, one, found, rewriter
        self.learned, self.erasure, self.becomes = learned, erasure, becomes
        self.dataset = dataset_of(one.manifest["dataset"])
        self.removed = self.redacted = self.held = 0

    def write(self) -> Successor | None:
        """The successor; None where nothing changes."""
        shards: list[Shard] = []
        fragments: list[Fragment] = []
        for shard, fragment in self.one.pairs():
            new, left = self._shard(shard, fragment)
            shards.append(new)
            fragments += [left] if left else []
        manifest = self._manifest(shards, fragments)
        if manifest is None:
            return None
        version = self.store.write_manifest(manifest)
        return Successor(manifest["dataset"], self.one.id, version, self.removed, self.redacted, self.held)

    def _shard(self, shard: Shard, fragment: Fragment | None) -> tuple[Shard, Fragment | None]:
        made, name = self.rewriter, shard.object
        gone, noted = self.found.gone.get(name, set()), self.found.mentions.get(name, set())
        self.held += len(gone | noted)
        new = replace(
            shard, object=made.documents(name, name), schema=str(made.plain(shard.schema, self.dataset)),
            part=made.matcher.redacted(shard.part), rejected=made.plain(shard.rejected, self.dataset),
            parent=shard.parent and made.documents(shard.parent, shard.parent),
            steps=tuple(self._step(step, name) for step in shard.steps),
        )  # fmt: skip
        if fragment is None:
            return new, None
        mask = self._mask(fragment)
        rows = [row for row in sorted(gone) if mask[row]]
        self.redacted += sum(bool(mask[row]) for row in noted - gone)
        self.removed += len(rows)
        if rows:
            new = new.after([self._last_step(shard, fragment, rows)])
        return new, self._fragment(fragment, name, mask, rows)

    def _step(self, step: Step, name: str) -> Step:
        made, redacted = self.rewriter, self.rewriter.matcher.redacted
        return replace(
            step, verdicts=made.verdicts(step.verdicts, name), features=made.beside(step.features, name),
            attached=tuple(map(redacted, step.attached)), consumed=tuple(map(redacted, step.consumed)),
        )  # fmt: skip

    def _last_step(self, shard: Shard, fragment: Fragment, rows: list[int]) -> Step:
        import numpy as np
        import pyarrow as pa

        said = verdict_table(np.array(rows, np.int64), "dropped", REASON)
        said = said.append_column("id", pa.array([ERASED] * len(rows), pa.string()))
        counts = {"dropped": {REASON: len(rows)}}
        name = self.store.write_table(said)
        return Step(REASON, shard.kept, fragment.text_bytes, verdicts=name, reasons=counts)

    def _mask(self, fragment: Fragment) -> np.ndarray:
        import numpy as np

        if fragment.kept is None:
            return np.ones(fragment.rows, dtype=bool)
        return self.store.read_table(fragment.kept).column("kept").to_numpy().copy()

    def _fragment(self, before: Fragment, shard: str, mask: np.ndarray, gone: list[int]) -> Fragment | None:
        made = self.rewriter
        name = made.documents(before.object, shard)
        sidecars = tuple(
            Sidecar(str(made.beside(one.object, shard)), tuple(map(made.matcher.redacted, one.columns)))
            for one in before.sidecars
        )
        new = replace(before, object=name, schema=str(made.plain(before.schema, self.dataset)), sidecars=sidecars)
        if name == before.object and not gone:
            return new
        left = mask.copy()
        left[gone] = False
        if not left.any():
            return None
        sizes = [document_bytes(self.store.read_table(one)).to_numpy() for one in (before.object, name)]
        splits = self._splits(before, mask, left, sizes)
        delta = int(sizes[1][left].sum()) - int(sizes[0][mask].sum())
        return replace(
            new, kept=made.kept(left), documents=int(left.sum()), text_bytes=before.text_bytes + delta,
            bytes=self.store.size(name), splits=splits,
        )  # fmt: skip

    def _splits(
        self, before: Fragment, mask: np.ndarray, left: np.ndarray, sizes: list[np.ndarray]
    ) -> dict[str, dict[str, int]]:
        import numpy as np

        holder = next((one.object for one in reversed(before.sidecars) if "split" in one.columns), None)
        names = np.full(before.rows, "train", dtype=object)
        if holder:
            given = self.store.read_table(holder, ["row", "split"])
            names[given.column("row").to_numpy()] = given.column("split").to_pylist()
        splits = {}
        for split, counts in before.splits.items():
            mine = names == split
            delta = int(sizes[1][left & mine].sum()) - int(sizes[0][mask & mine].sum())
            documents = int((left & mine).sum())
            if documents:
                splits[split] = {"documents": documents, "text_bytes": counts["text_bytes"] + delta}
        return splits

    def _manifest(self, shards: list[Shard], fragments: list[Fragment]) -> dict[str, Any] | None:
        """The successor's manifest; None where it would be the same."""
        made, before = self.rewriter, self.one.manifest
        lineage = redacted_json(before["lineage"], made.matcher)
        lineage["inputs"] = made.plain(before["lineage"]["inputs"], self.dataset)
        own = {
            one["of"] for one in before["lineage"].get("erasures", [])
        }  # an erasure that was killed may have written it
        lineage["parents"] = [one if one in own else self.becomes.get(one, one) for one in before["lineage"]["parents"]]
        stages = redacted_json(before["stages"], made.matcher)
        for stage in stages:
            for kind, held in stage["artifacts"].items():
                held["objects"] = [self._artifact(name, kind, stage) for name in held["objects"]]
        manifest = {
            **before,
            "columns": redacted_json(before["columns"], made.matcher),
            "schema_object": made.plain(before["schema_object"], self.dataset),
            "stages": stages,
            "fragments": write_fragments(self.store, fragments)
            if fragments != self.one.fragments
            else before["fragments"],
            "ledger": write_ledger(self.store, shards) if shards != self.one.shards else before["ledger"],
            "indexes": [[made.index(name, self.dataset) for name in buckets] for buckets in before["indexes"]],
            "lineage": lineage,
        }
        if manifest == before:
            return None
        self._count(manifest, fragments)
        lineage["parents"] = [self.one.id, *(one for one in lineage["parents"] if one != self.one.id)]
        told = {"id": self.erasure, "of": self.one.id, "removed": self.removed, "redacted": self.redacted}
        lineage["erasures"] = [*before["lineage"].get("erasures", []), told]
        return manifest

    def _artifact(self, name: str, kind: str, stage: dict[str, Any]) -> str:
        cells = self.learned.of(self.one)
        if not cells or kind not in ARTIFACTS:
            return str(self.rewriter.plain(name, self.dataset))
        return self.rewriter.learned(
            name, self.dataset, self.one.id, lambda table: self.learned.without(table, kind, cells, stage)
        )

    def _count(self, manifest: dict[str, Any], fragments: list[Fragment]) -> None:
        """Bring the numbers of a manifest to what is left."""
        documents, size = dict(manifest["documents"]), manifest["text_bytes"]
        kept = documents["kept"]
        documents["kept"] -= self.removed
        documents["dropped"] += self.removed
        sizes = {key: sum(getattr(one, key) for one in fragments) for key in ("bytes", "text_bytes")}
        manifest |= {"documents": documents, "splits": splits_of(fragments), **sizes}
        if self.removed:
            manifest["stages"] = _with_row(manifest["stages"], kept, self.removed, size)


def _with_row(stages: list[dict[str, Any]], count: int, removed: int, size: int) -> list[dict[str, Any]]:
    """The rows of a manifest's stages with one for what was erased; a second erasure adds to it."""
    earlier = next((one for one in stages if one["stage"] == REASON), None)
    dropped = removed + (earlier["dropped"] if earlier else 0)
    row = {
        "id": REASON, "stage": REASON, "kind": "erasure", "in": earlier["in"] if earlier else count, "made": 0,
        "kept": count - removed, "dropped": dropped, "edited": 0, "quarantined": 0, "expanded": 0,
        "bytes": earlier["bytes"] if earlier else size, "reasons": {"dropped": {REASON: dropped}}, "settings": {},
        "artifacts": {}, "passed": {},
    }  # fmt: skip
    return [*(one for one in stages if one is not earlier), row]
