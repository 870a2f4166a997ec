"""The ledger: what every stage did to every shard.

A shard is the object of its documents as they were read, and a list of steps. A document keeps its row number in that
object for ever: verdicts, edits, features and columns are objects with explicit rows, so whatever leaves, nothing else
moves. A step names the verdicts (documents edited, dropped, quarantined; with the new texts) and the features (one row for
every document the stage saw). Nothing else is stored between stages: what the documents have become follows from it
(curate/dataset/state.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from curate.dataset.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["DUPLICATE_ID", "PROVISIONAL", "REMOVED", "Shard", "Step", "removed_documents"]

REMOVED = ("dropped", "quarantined", "expanded")
DUPLICATE_ID = "duplicate_id"
"""Why a document is quarantined whose id another one, read before it, has."""
PROVISIONAL = ("time_limit", "worker_died", "memory_limit", "system_failed")
"""Reasons that may be the machine's fault and not the document's: tried again by the next run."""
_LISTED = ("source_uri", "verdict", "reason", "value", "threshold", "duplicate_of", "detail")


@dataclass(frozen=True, slots=True)
class Step:
    """One stage's work on one shard.

    Attributes:
        stage: The stage's id in the pipeline.
        count: Documents before the step.
        bytes: UTF-8 bytes of their texts.
        verdicts: Object of `verdict_schema()` and `id`, or None where every document was kept as it was.
        features: Object with a row for every document that the stage saw (`row` and `#ident` beside the features).
        attached: Which of the features the documents carry on as columns.
        consumed: Columns that documents do not carry on.
        reasons: Number of documents by verdict and reason.
        made: Documents that an expander made.
    """

    stage: str
    count: int
    bytes: int
    verdicts: str | None = None
    features: str | None = None
    attached: tuple[str, ...] = ()
    consumed: tuple[str, ...] = ()
    reasons: dict[str, dict[str, int]] = field(default_factory=dict)
    made: int = 0

    def number(self, verdict: str) -> int:
        """How many documents got this verdict."""
        return sum(self.reasons.get(verdict, {}).values())

    @property
    def kept(self) -> int:
        """Documents of this shard after the step."""
        return self.count - sum(self.number(verdict) for verdict in REMOVED)

    @property
    def provisional(self) -> int:
        """Documents that the next run tries again."""
        return sum(self.reasons.get("quarantined", {}).get(reason, 0) for reason in PROVISIONAL)

    @property
    def objects(self) -> list[str]:
        """Objects that the step needs."""
        return [name for name in (self.verdicts, self.features) if name]

    def to_json(self) -> dict[str, Any]:
        """The step as a JSON object."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        return {**plain, "attached": list(self.attached), "consumed": list(self.consumed)}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Step:
        """The step that `to_json` made."""
        return cls(**{**record, "attached": tuple(record["attached"]), "consumed": tuple(record["consumed"])})


@dataclass(frozen=True, slots=True)
class Shard:
    """Some documents of one part of a source, and what has become of them.

    Attributes:
        part: Name of the file or part they came from.
        source: Id of the source stage, or of the expander that made them.
        object: The documents as read; rows are counted in it.
        documents: How many they were.
        bytes: UTF-8 bytes of their texts.
        schema: Object without rows that has the columns of the documents as read.
        rejected: Object of what could not be read (id, source_uri, reason, detail), or None.
        rejects: Number of the rejected by reason.
        passed: Number of things by kind that were no documents and not meant to be.
        parent: The object of the shard that they were made of, or None.
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
    passed: dict[str, int] = field(default_factory=dict)
    parent: str | None = None
    steps: tuple[Step, ...] = ()

    @property
    def kept(self) -> int:
        """How many documents are left."""
        return self.steps[-1].kept if self.steps else self.documents

    @property
    def objects(self) -> list[str]:
        """Objects that the shard and its steps need."""
        own = [name for name in (self.object, self.schema, self.rejected) if name]
        return own + [name for step in self.steps for name in step.objects]

    def after(self, steps: Sequence[Step]) -> Shard:
        """The shard with more steps done."""
        return replace(self, steps=(*self.steps, *steps))

    def to_json(self) -> dict[str, Any]:
        """The shard as a JSON object."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        return {**plain, "steps": [step.to_json() for step in self.steps]}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Shard:
        """The shard that `to_json` made."""
        return cls(**{**record, "steps": tuple(Step.from_json(step) for step in record["steps"])})


def removed_documents(
    store: Store,
    shards: Sequence[Shard],
    verdicts: Sequence[str],
    *,
    stage: str | None = None,
    reason: str | None = None,
) -> Iterator[dict[str, Any]]:
    """Documents that left: `id`, `stage`, `source_uri`, `verdict`, `reason`, `value`, ...; by shard, then by stage.

    Args:
        store: Where the shards are.
        shards: The ledger.
        verdicts: Which of `REMOVED`.
        stage: Only those of this stage.
        reason: Only those for this reason.

    Reads no texts; of shards where nothing fits, nothing.
    """
    for shard in shards:
        if shard.rejected and "quarantined" in verdicts and stage in (None, shard.source):
            for row in store.read_table(shard.rejected).to_pylist():
                if reason in (None, row["reason"]):
                    yield {
                        "id": row["id"],
                        "stage": shard.source,
                        **dict.fromkeys(_LISTED),
                        "verdict": "quarantined",
                    } | row
        places: pa.Table | None = None
        for step in shard.steps:
            counted = [name for one in verdicts for name in step.reasons.get(one, {})]
            if (
                not step.verdicts
                or stage not in (None, step.stage)
                or not (counted if reason is None else reason in counted)
            ):
                continue
            if places is None:
                places = store.read_table(shard.object, ["source_uri"])
            yield from _removed_by(store, step, places, verdicts, reason)


def _removed_by(
    store: Store, step: Step, places: pa.Table, verdicts: Sequence[str], reason: str | None
) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.compute as compute

    assert step.verdicts
    columns = ["row", "id", "verdict", "reason", "value", "threshold", "duplicate_of", "detail"]
    table = store.read_table(step.verdicts, columns)
    table = table.filter(compute.is_in(table["verdict"], pa.array(list(verdicts))))
    table = table if reason is None else table.filter(compute.equal(table["reason"], reason))
    uris = places.column("source_uri").take(table["row"]).to_pylist()
    for row, uri in zip(table.drop_columns(["row"]).to_pylist(), uris, strict=True):
        yield {"id": row["id"], "stage": step.stage, "source_uri": uri, **row}
