"""The ledger: what every stage did to every shard, and the shard's state that follows from it.

A shard is the object of its documents as they were read, and a list of steps. A step names the verdicts (documents
edited, dropped, quarantined; with the new texts) and the features (one row for every document the stage saw) as objects.
Nothing else is stored between stages: a state is replayed from the documents as read, which costs a pass over the
Parquet and no computation. So a changed stage reruns from where it stands, and `why` can tell a document's whole story.

`state` is the identity of what a shard's documents have become: a step that touches nothing leaves it as it is, and
what follows need not run again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from curate.dataset.schema import unpack_schema
from curate.dataset.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "DUPLICATE_ID",
    "REMOVED",
    "Shard",
    "Step",
    "apply_step",
    "came_from",
    "next_state",
    "quarantined",
    "replay",
    "state_schema",
    "story",
]

REMOVED = ("dropped", "quarantined")
QUARANTINED = ("source_uri", "reason", "detail")
DUPLICATE_ID = "duplicate_id"
"""Why a document is quarantined whose id another one, read before it, has."""


@dataclass(frozen=True, slots=True)
class Step:
    """One stage's work on one shard.

    Attributes:
        stage: The stage's id in the pipeline.
        count: Documents before the step.
        bytes: UTF-8 bytes of their texts.
        state: Identity of the documents after it.
        verdicts: Object of `verdict_schema()` and `id`, or None where every document was kept as it was.
        features: Object with one row for every document before the step, or None.
        attached: Which of the features the documents carry on as columns.
        reasons: Number of documents by verdict and reason.
    """

    stage: str
    count: int
    bytes: int
    state: str
    verdicts: str | None = None
    features: str | None = None
    attached: tuple[str, ...] = ()
    reasons: dict[str, dict[str, int]] = field(default_factory=dict)

    def number(self, verdict: str) -> int:
        """How many documents got this verdict."""
        return sum(self.reasons.get(verdict, {}).values())

    @property
    def kept(self) -> int:
        """Documents after the step."""
        return self.count - self.number("dropped") - self.number("quarantined")

    @property
    def objects(self) -> list[str]:
        """Objects that the step needs."""
        return [name for name in (self.verdicts, self.features) if name]

    def to_json(self) -> dict[str, Any]:
        """The step as a JSON object."""
        return {**asdict(self), "attached": list(self.attached)}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Step:
        """The step that `to_json` made."""
        return cls(**{**record, "attached": tuple(record["attached"])})


@dataclass(frozen=True, slots=True)
class Shard:
    """Some documents of one part of a source, and what has become of them.

    Attributes:
        part: Name of the file or part they came from.
        source: Id of the source stage.
        object: The documents as read; None where the part gave no readable document.
        documents: How many they were.
        bytes: UTF-8 bytes of their texts.
        rejected: Object of what could not be read (id, source_uri, reason, detail), or None.
        rejects: Number of the rejected by reason.
        schema: Packed schema of the documents as read.
        steps: What was done to them.
    """

    part: str
    source: str
    object: str
    documents: int
    bytes: int
    schema: str
    rejected: str | None = None
    rejects: dict[str, int] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()

    @property
    def state(self) -> str:
        """Identity of what the documents have become."""
        return self.steps[-1].state if self.steps else self.object

    @property
    def kept(self) -> int:
        """How many documents are left."""
        return self.steps[-1].kept if self.steps else self.documents

    def after(self, steps: Sequence[Step]) -> Shard:
        """The shard with more steps done."""
        return replace(self, steps=(*self.steps, *steps))

    def to_json(self) -> dict[str, Any]:
        """The shard as a JSON object."""
        return {**asdict(self), "steps": [step.to_json() for step in self.steps]}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Shard:
        """The shard that `to_json` made."""
        return cls(**{**record, "steps": tuple(Step.from_json(step) for step in record["steps"])})


def next_state(state: str, verdicts: pa.Table | None, features: str | None, attached: Sequence[str]) -> str:
    """Identity of the documents after a step: a hash of what it removed, edited and attached, not of its reasons."""
    import pyarrow.compute as compute

    if verdicts is None and not attached:
        return state
    digest = hashlib.sha256(state.encode())
    if verdicts is not None:
        removed = verdicts.filter(compute.is_in(verdicts["verdict"], _removed_set())).column("row")
        edited = verdicts.filter(compute.equal(verdicts["verdict"], "edited"))
        digest.update(len(removed).to_bytes(8, "little") + removed.to_numpy().tobytes())
        digest.update(edited.num_rows.to_bytes(8, "little") + edited.column("row").to_numpy().tobytes())
        for text in edited.column("text").to_pylist():
            encoded = text.encode()
            digest.update(len(encoded).to_bytes(8, "little") + encoded)
    if attached:
        digest.update("|".join((features or "", *attached)).encode())
    return digest.hexdigest()


def _removed_set() -> pa.Array:
    import pyarrow as pa

    return pa.array(REMOVED)


def apply_step(
    table: pa.Table, verdicts: pa.Table | None, features: pa.Table | None, attached: Sequence[str]
) -> pa.Table:
    """The documents after a step: columns attached, texts edited, documents removed."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as compute

    for name in attached:
        assert features is not None
        column = features.column(name)
        where = table.schema.get_field_index(name)
        table = table.append_column(name, column) if where < 0 else table.set_column(where, name, column)
    if verdicts is None or verdicts.num_rows == 0:
        return table
    removed = compute.is_in(verdicts["verdict"], _removed_set())
    edited = verdicts.filter(compute.invert(removed))
    if edited.num_rows:
        mask = np.zeros(table.num_rows, dtype=bool)
        mask[edited.column("row").to_numpy()] = True
        before = table.column("text").combine_chunks()
        texts = compute.replace_with_mask(
            before, pa.array(mask), edited.column("text").combine_chunks().cast(before.type)
        )
        table = table.set_column(table.schema.get_field_index("text"), "text", texts)
    keep = np.ones(table.num_rows, dtype=bool)
    keep[verdicts.filter(removed).column("row").to_numpy()] = False
    return table if keep.all() else table.filter(pa.array(keep))


def replay(store: Store, shard: Shard, steps: int | None = None) -> pa.Table:
    """The documents of a shard after its first `steps` steps (None: all of them)."""
    table = store.read_table(shard.object)
    for step in shard.steps[:steps]:
        verdicts = store.read_table(step.verdicts, ["row", "verdict", "text"]) if step.verdicts else None
        features = store.read_table(step.features, list(step.attached)) if step.features and step.attached else None
        table = apply_step(table, verdicts, features, step.attached)
    return table


def state_schema(store: Store, shard: Shard) -> pa.Schema:
    """The columns that a shard's documents have after all its steps."""
    schema = unpack_schema(shard.schema)
    for step in shard.steps:
        if not (step.features and step.attached):
            continue
        kinds = store.read_schema(step.features)
        for name in step.attached:
            where = schema.get_field_index(name)
            column = kinds.field(name)
            schema = schema.append(column) if where < 0 else schema.set(where, column)
    return schema.remove_metadata()


def story(store: Store, shards: Sequence[Shard], document: str) -> Iterator[dict[str, Any]]:
    """What the ledger tells of a document: how it was read, then every verdict on it in order.

    Where several documents have the id, the story is that of the first, the only one that stages saw; the others come last,
    quarantined as `duplicate_id`. Costs the id column of every shard, and a row group where the document is.
    """
    found: Shard | None = None
    copies: list[dict[str, Any]] = []
    for shard in shards:
        for name, event in ((shard.object, "read"), (shard.rejected, "rejected")):
            for row in store.find_rows(name, document) if name else ():
                told = {"stage": shard.source, "source": row.get("source_uri"), "document": row}
                if found is None:
                    found = shard
                    yield {"event": event, **told}
                    yield from _verdicts(store, shard, document) if event == "read" else ()
                else:
                    copies.append({"event": "quarantined", "reason": DUPLICATE_ID, **told})
    yield from copies


def _verdicts(store: Store, shard: Shard, document: str) -> Iterator[dict[str, Any]]:
    for step in shard.steps:
        for verdict in store.find_rows(step.verdicts, document) if step.verdicts else ():
            if verdict["reason"] != DUPLICATE_ID:
                yield {"event": verdict.pop("verdict"), "stage": step.stage, **verdict}


def came_from(store: Store, shards: Sequence[Shard], source_uri: str) -> list[str]:
    """Ids of the documents and rejected pieces that came from this place. Costs the column of every shard."""
    objects = [name for shard in shards for name in (shard.object, shard.rejected) if name]
    return [row["id"] for name in objects for row in store.find_rows(name, source_uri, "source_uri")]


def quarantined(store: Store, shards: Sequence[Shard]) -> Iterator[dict[str, Any]]:
    """Every quarantined document: `id`, `stage`, `source_uri`, `reason`, `detail`; by shard, then in the order of the stages.

    Reads no texts; of shards where nothing was quarantined, nothing.
    """
    for shard in shards:
        if shard.rejected:
            for row in store.read_table(shard.rejected).to_pylist():
                yield {"id": row["id"], "stage": shard.source, **{key: row[key] for key in QUARANTINED}}
        if any(step.number("quarantined") for step in shard.steps):
            yield from _quarantined(store, shard)


def _quarantined(store: Store, shard: Shard) -> Iterator[dict[str, Any]]:
    import pyarrow.compute as compute

    table = store.read_table(shard.object, ["id", "source_uri"])
    for step in shard.steps:
        if step.verdicts is None:
            continue
        verdicts = store.read_table(step.verdicts, ["row", "verdict", "reason", "detail"])
        verdicts = verdicts.filter(compute.is_in(verdicts["verdict"], _removed_set()))
        found = verdicts.filter(compute.equal(verdicts["verdict"], "quarantined"))
        documents = table.take(found["row"])
        for document, verdict in zip(documents.to_pylist(), found.to_pylist(), strict=True):
            row = {**document, **verdict}
            yield {"id": row["id"], "stage": step.stage, **{key: row[key] for key in QUARANTINED}}
        table = apply_step(table, verdicts, None, ())
