"""Fragments: what a version is made of. One row a shard, in a Parquet object; and the ledger, one row a step.

    fragment    an object of documents, which of its rows are in the version, columns that lie beside it
    sidecar     an object with `row` and columns: of the rows that have a value; aligned by row, so nothing moves
    ledger      the steps of every shard

A version's own columns are those of its documents' objects, overlaid by the sidecars. Reading a version reads its small
JSON manifest; fragments are read when documents are wanted, the ledger when somebody asks why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from curate.dataset.ledger import Shard, Step
from curate.dataset.store import Store

__all__ = ["Fragment", "Sidecar", "read_fragments", "read_ledger", "write_fragments", "write_ledger"]


class Sidecar(NamedTuple):
    """Columns that lie beside the documents.

    Attributes:
        object: Object with `row` and the columns; rows that it does not have are null.
        columns: Which of its columns belong to the version.
    """

    object: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fragment:
    """Some documents of a version.

    Attributes:
        object: Their object. Rows are those of the shard as read; rows that left may be blank in it.
        rows: How many rows it has.
        kept: Object with a column `kept` (bool, one for each row); None where all rows are in the version.
        documents: How many are in the version.
        text_bytes: UTF-8 bytes of their texts.
        bytes: Size of the object.
        schema: Object without rows that has the columns of the documents, those beside them included.
        sidecars: Columns beside it; later ones hide earlier ones of the same name.
        splits: Documents and bytes of text by split.
    """

    object: str
    rows: int
    kept: str | None
    documents: int
    text_bytes: int
    bytes: int
    schema: str
    sidecars: tuple[Sidecar, ...] = ()
    splits: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def objects(self) -> list[str]:
        """All objects that it needs."""
        return [name for name in (self.object, self.schema, self.kept) if name] + [one.object for one in self.sidecars]

    def to_json(self) -> dict[str, Any]:
        """The fragment as a JSON object."""
        sidecars = [{"object": one.object, "columns": list(one.columns)} for one in self.sidecars]
        plain = {name: getattr(self, name) for name in _PLAIN}
        return {**plain, "sidecars": sidecars, "splits": self.splits}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Fragment:
        """The fragment that `to_json` made."""
        sidecars = tuple(Sidecar(one["object"], tuple(one["columns"])) for one in record["sidecars"])
        return cls(**{**record, "sidecars": sidecars})


_PLAIN = ("object", "rows", "kept", "documents", "text_bytes", "bytes", "schema")


def write_fragments(store: Store, fragments: Sequence[Fragment]) -> str:
    """Store the fragments of a version, in their order."""
    import pyarrow as pa

    records = []
    for one in fragments:
        splits = [{"split": name, **counts} for name, counts in sorted(one.splits.items())]
        records.append({**one.to_json(), "splits": splits})
    split = pa.struct([("split", pa.string()), ("documents", pa.int64()), ("text_bytes", pa.int64())])
    schema = pa.schema([
        ("object", pa.string()), ("rows", pa.int64()), ("kept", pa.string()), ("documents", pa.int64()),
        ("text_bytes", pa.int64()), ("bytes", pa.int64()), ("schema", pa.string()),
        ("sidecars", pa.list_(pa.struct([("object", pa.string()), ("columns", pa.list_(pa.string()))]))),
        ("splits", pa.list_(split)),
    ])  # fmt: skip
    return store.write_table(pa.Table.from_pylist(records, schema=schema))


def read_fragments(store: Store, name: str) -> list[Fragment]:
    """The fragments of a version."""
    found = []
    for record in store.read_table(name).to_pylist():
        splits = {one.pop("split"): one for one in record["splits"]}
        found.append(Fragment.from_json({**record, "splits": splits}))
    return found


# ---- the ledger


def _counts(counts: dict[str, int]) -> list[dict[str, Any]]:
    return [{"name": name, "count": count} for name, count in sorted(counts.items())]


def write_ledger(store: Store, shards: Sequence[Shard]) -> dict[str, str]:
    """Store the ledger of a version: the objects of its `shards` and of their `steps`."""
    import pyarrow as pa

    count = pa.list_(pa.struct([("name", pa.string()), ("count", pa.int64())]))
    text, number = pa.string(), pa.int64()
    shard_schema = pa.schema([
        ("part", text), ("source", text), ("object", text), ("documents", number), ("bytes", number), ("schema", text),
        ("rejected", text), ("rejects", count), ("passed", count), ("parent", text),
    ])  # fmt: skip
    step_schema = pa.schema([
        ("shard", number), ("stage", text), ("count", number), ("bytes", number), ("verdicts", text), ("features", text),
        ("attached", pa.list_(text)), ("consumed", pa.list_(text)),
        ("reasons", pa.list_(pa.struct([("verdict", text), ("name", text), ("count", number)]))), ("made", number),
    ])  # fmt: skip
    rows = [{**shard.to_json(), "rejects": _counts(shard.rejects), "passed": _counts(shard.passed)} for shard in shards]
    steps = [
        {**step.to_json(), "shard": number, "reasons": _reasons(step)}
        for number, shard in enumerate(shards)
        for step in shard.steps
    ]
    return {
        "shards": store.write_table(pa.Table.from_pylist(rows, schema=shard_schema)),
        "steps": store.write_table(pa.Table.from_pylist(steps, schema=step_schema)),
    }


def _reasons(step: Step) -> list[dict[str, Any]]:
    return [
        {"verdict": verdict, "name": reason, "count": count}
        for verdict, reasons in sorted(step.reasons.items())
        for reason, count in sorted(reasons.items())
    ]


def read_ledger(store: Store, ledger: dict[str, str], numbers: Sequence[int] | None = None) -> list[Shard]:
    """The shards of a version with their steps; of some shards alone where their `numbers` are given, in that order."""
    import pyarrow as pa
    import pyarrow.compute as compute

    shards, steps = store.read_table(ledger["shards"]), store.read_table(ledger["steps"])
    wanted = list(range(shards.num_rows)) if numbers is None else list(numbers)
    if numbers is not None:
        steps = steps.filter(compute.is_in(steps.column("shard"), pa.array(wanted, pa.int64())))
        shards = shards.take(pa.array(wanted, pa.int64()))
    by_shard: dict[int, list[Step]] = {number: [] for number in wanted}
    for record in steps.to_pylist():
        reasons: dict[str, dict[str, int]] = {}
        for one in record["reasons"]:
            reasons.setdefault(one["verdict"], {})[one["name"]] = one["count"]
        by_shard[record.pop("shard")].append(Step.from_json({**record, "reasons": reasons}))
    found = []
    for number, record in zip(wanted, shards.to_pylist(), strict=True):
        counts = {key: {one["name"]: one["count"] for one in record[key]} for key in ("rejects", "passed")}
        found.append(Shard(**{**record, **counts, "steps": tuple(by_shard[number])}))
    return found
