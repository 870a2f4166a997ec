"""`curate why`: the whole story of one document, from the ledger of a version.

Where the document is, one bucket of the version's index says; then one row group of its shard is read, and what the
stages said of its row. A document that an expander made has a story of its own, and its parent's beside it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from curate.dataset.erased import REASON, Erased, dataset_of
from curate.dataset.index import Address, find
from curate.dataset.ledger import DUPLICATE_ID, REMOVED, Shard
from curate.dataset.reader import Dataset, open_dataset
from curate.dataset.state import IDENT, State
from curate.dataset.store import Store
from curate.errors import CurateError
from curate.plain import python_rows
from curate.stages.fetched import VERSION

__all__ = ["address_of", "has", "ids_beginning", "rows_of", "why", "why_at"]

if TYPE_CHECKING:
    import pyarrow as pa

REASONS = ("reason", "value", "threshold", "duplicate_of", "detail", "path")
SHORTEST_PREFIX = 4
CHILDREN = 5
"""How many of the documents made of one are named."""
_ERASURE = "erasure {id}, begun {began}"
_COPY = "another document with this id, from {}"


class _Document(NamedTuple):
    """A document of the ledger: where it is, the row as it was read, or what was rejected."""

    address: Address
    shard: Shard
    row: dict[str, Any]
    rejected: bool = False


def why(dataset: Dataset, document: str) -> dict[str, Any]:
    """What became of a document, given by its id, the beginning of one, or where it came from (its `source_uri`).

    Returns:
        `id, source, verdict, stage, reason, value, threshold, duplicate_of, detail, split, edits, history`: whether it was
        kept, dropped, quarantined or expanded, the stage that removed it and why, or the split it is in, and everything
        that happened to it in order. Edits tell what, how much and where (spans in characters), and the lengths; not the
        text; of a cell of a table that a stage gave another value, what stood there `before` and `after`. `parent`:
        the same of the document that it was made of; `children`: of one that was expanded, how many `documents` were made
        of it and the `ids` of the first. `measured`: by stage that measured something of it, kept or
        not, the numbers (`features`; None where there was nothing to measure) and the numbers set (`settings`, of filters).
        `origin`: of one that was read from another version of this store, its story there, with `dataset` and `version`.

    Raises:
        CurateError: No document of that id or from that place went into the version, or several came from there.
    """
    erased = Erased.of(dataset.store)
    found = _by_id(dataset, document) or _by_place(dataset, document)
    if not found and erased and (record := erased.gone(document, dataset_of(dataset.name))):
        return _erased_story(document, record)
    if not found:
        document = _only_beginning(dataset, document)
        found = _by_id(dataset, document)
    return _whole(dataset, found, document)


def _whole(dataset: Dataset, found: Sequence[_Document], document: str) -> dict[str, Any]:
    """What `why` tells of the first of the documents that are called so."""
    erased, first = Erased.of(dataset.store), found[0]
    copy_of = None
    if not first.rejected:
        same = found if document == first.row["id"] else _by_id(dataset, first.row["id"])
        copy_of = same[0].row["source_uri"] if same and same[0].address != first.address else None
    told = _story(dataset, first, copy_of)
    if document == first.row["id"]:  # the later ones of equal ids are no documents, and are told of at the end
        told["history"] += [_copy(other) for other in found[1:]]
    if erased and (record := erased.noted(first.row["id"], dataset_of(dataset.name))):
        told["history"].append({"stage": REASON, "event": "redacted", "detail": _ERASURE.format(**record)})
    children = _children(dataset, first) if told["verdict"] == "expanded" else None
    return {**told, "children": children, "origin": None if first.rejected else _origin(dataset, first)}


def address_of(dataset: Dataset, document: str) -> Address:
    """Where the document is that `why` tells of under this name, for `why_at`.

    Raises:
        CurateError: There is none, it was erased, or several came from this place.
    """
    found = _by_id(dataset, document) or _by_place(dataset, document)
    erased = None if found else Erased.of(dataset.store)
    if erased and (record := erased.gone(document, dataset_of(dataset.name))):
        problem = f"there is no document `{document[:80]}` any more: {_ERASURE.format(**record)}"
        raise CurateError(problem, hint=f"`curate why {dataset.name} {document[:80]}` tells as much")
    return (found or _by_id(dataset, _only_beginning(dataset, document)))[0].address


def why_at(dataset: Dataset, address: Address) -> dict[str, Any]:
    """What became of the document at a place of the ledger: what `why` tells of it, or of a later one with the same id.

    Args:
        dataset: The version.
        address: Its shard and row; a row below zero is one of the shard's rejected (-1 is the first).

    Raises:
        CurateError: There is no such shard or row.
    """
    (shard,) = dataset.ledger([address.shard])
    rejected = sum(shard.rejects.values())
    if not -rejected <= address.row < shard.documents:
        raise CurateError(f"there is no document {address.row} in shard {address.shard}")
    if address.row < 0:
        assert shard.rejected
        row = dataset.store.read_table(shard.rejected).slice(-1 - address.row, 1).to_pylist()[0]
        one = _Document(Address(address.shard, -1), shard, row, rejected=True)
    else:
        one = _Document(address, shard, _row(dataset.store, shard.object, address.row))
    identity = one.row["id"]
    same = find(dataset.store, dataset.manifest["indexes"], identity) if identity is not None else []
    if not one.rejected and same and same[0] == address:
        return _whole(dataset, [one, *(_open(dataset, other) for other in same[1:])], one.row["id"])
    copy_of = None if one.rejected or not same else _open(dataset, same[0]).row["source_uri"]
    return {**_story(dataset, one, copy_of), "children": None, "origin": None}


def rows_of(store: Store, name: str, rows: Collection[int], columns: Sequence[str] | None = None) -> pa.Table:
    """Of an object with a column `row` what it holds of some rows; only row groups that may hold them are read."""
    import pyarrow as pa
    import pyarrow.compute as compute

    wanted = pa.array(sorted(rows), pa.int64())
    names = None if columns is None else list(dict.fromkeys(["row", *columns]))
    with store.parquet(name) as file:
        place = next(i for i in range(file.metadata.num_columns) if file.schema.column(i).path == "row")
        groups = [
            group for group in range(file.num_row_groups)
            if _may_hold(file.metadata.row_group(group).column(place).statistics, rows)
        ]  # fmt: skip
        table = file.read_row_groups(groups, names, use_threads=False)
    return table.filter(compute.is_in(table.column("row").cast(pa.int64()), wanted))


def _may_hold(statistics: Any, rows: Collection[int]) -> bool:
    if statistics is None or not statistics.has_min_max:
        return True
    return any(statistics.min <= row <= statistics.max for row in rows)


def _origin(dataset: Dataset, one: _Document) -> dict[str, Any] | None:
    """The story of a document that was read from another version, in that version; None where it is of no other, or gone."""
    while parent := _parent(dataset, one):
        one = parent
    read = [row for row in dataset.inputs() if row["source"] == one.shard.source and row["content"].startswith(VERSION)]
    for row in read:
        name = f"{row['name'].rpartition('@')[0]}@{row['content'].removeprefix(VERSION)}"
        with suppress(CurateError):  # it, or its store, is not here
            before = open_dataset(name, dataset.store)
            return {"dataset": before.name, "version": before.version, **why(before, one.row["id"])}
    return None


def _erased_story(document: str, record: dict[str, Any]) -> dict[str, Any]:
    """What is told of a document that was erased: no more than that."""
    event = {"stage": REASON, "event": "erased", "reason": REASON, "detail": _ERASURE.format(**record)}
    told: dict[str, Any] = {"measured": []}
    told |= dict.fromkeys(("source", "stage", *REASONS, "split", "parent", "children", "origin"))
    told.pop("path")
    facts = {"stage": REASON, "reason": REASON, "detail": event["detail"]}
    return {"id": document, **told, "verdict": "erased", **facts, "edits": [], "history": [event]}


def has(dataset: Dataset, document: str) -> bool:
    """Whether a document of this id, of an id that begins so, or from this place went into a version."""
    if _by_id(dataset, document) or _by_place(dataset, document):
        return True
    return len(document) >= SHORTEST_PREFIX and any(True for _ in ids_beginning(dataset, document))


def _story(dataset: Dataset, one: _Document, copy_of: str | None) -> dict[str, Any]:
    history, edits = _history(dataset, one, copy_of)
    removed = [event for event in history if event["event"] in REMOVED]
    decisive = removed[-1] if removed else {}
    facts = {key: decisive.get(key) for key in ("stage", *REASONS) if key != "path"}
    verdict, parent = decisive.get("event", "kept"), _parent(dataset, one)
    return {
        "id": one.row["id"], "source": one.row["source_uri"], "verdict": verdict, **facts,
        "split": _split(dataset, one) if verdict == "kept" else None, "edits": edits, "history": history,
        "measured": _measured(dataset, one), "parent": _story(dataset, parent, None) if parent else None,
    }  # fmt: skip


def _parent(dataset: Dataset, one: _Document) -> _Document | None:
    """The document that this one was made of."""
    if one.rejected or not one.shard.parent:
        return None
    same = _by_id(dataset, one.row["parent"])
    return next((other for other in same if other.shard.object == one.shard.parent), None)


def _children(dataset: Dataset, parent: _Document) -> dict[str, Any]:
    """How many documents were made of one, and the ids of the first."""
    import pyarrow.compute as compute

    ids: list[str] = []
    for shard in dataset.ledger():
        if shard.parent == parent.shard.object:
            made = dataset.store.read_table(shard.object, ["id", "parent"])
            ids += made.filter(compute.equal(made["parent"], parent.row["id"])).column("id").to_pylist()
    return {"documents": len(ids), "ids": ids[:CHILDREN]}


def _split(dataset: Dataset, one: _Document) -> str | None:
    """The split of a document that was kept; None where no stage gave it one."""
    steps = [step for step in one.shard.steps if "split" in step.attached]
    if not steps:
        return None
    assert steps[-1].features
    return rows_of(dataset.store, steps[-1].features, [one.address.row], ["split"]).column("split")[0].as_py()


def _by_id(dataset: Dataset, name: str) -> list[_Document]:
    """Documents, and pieces that could not be read, with this id; in the order of the ledger."""
    found = [_open(dataset, address) for address in find(dataset.store, dataset.manifest["indexes"], name)]
    return found or _rejected(dataset, "id", name)


def _by_place(dataset: Dataset, place: str) -> list[_Document]:
    found = [_open(dataset, one) for one in find(dataset.store, dataset.manifest["indexes"], place, place=True)]
    found = found or _rejected(dataset, "source_uri", place)
    if len(found) > 1:
        names = [one.row["id"] for one in found]
        listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        raise CurateError(f"{len(names)} documents came from `{place}`", hint=f"ask for one by its id: {listed}")
    return found


def _open(dataset: Dataset, address: Address) -> _Document:
    (shard,) = dataset.ledger([address.shard])
    return _Document(address, shard, _row(dataset.store, shard.object, address.row))


def _row(store: Store, name: str, row: int) -> dict[str, Any]:
    """One row of an object; one row group is read."""
    with store.parquet(name) as file:
        start = 0
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if row < start + rows:
                return python_rows(file.read_row_group(group, use_threads=False).slice(row - start, 1))[0]
            start += rows
    raise AssertionError(f"object {name[:12]} has no row {row}")


def _rejected(dataset: Dataset, column: str, value: str) -> list[_Document]:
    """Pieces of a source that were no readable documents; there are few, and they stand in no index."""
    import pyarrow.compute as compute

    found = []
    for number, shard in enumerate(dataset.ledger()):
        if shard.rejected:
            table = dataset.store.read_table(shard.rejected)
            for row in compute.indices_nonzero(compute.equal(table[column], value)).to_pylist():
                one = table.slice(row, 1).to_pylist()[0]
                found.append(_Document(Address(number, -1 - row), shard, one, rejected=True))
    return found


def _only_beginning(dataset: Dataset, prefix: str) -> str:
    """The one id that begins so."""
    names = list(dict.fromkeys(ids_beginning(dataset, prefix))) if len(prefix) >= SHORTEST_PREFIX else []
    if not names:
        told = f"`curate data sample {dataset.name}` prints some documents with their ids"
        if rejected := sum(sum(shard.rejects.values()) for shard in dataset.ledger()):
            told += (
                f"; {rejected:,} that could not be read are called by their places (`FILE#OFFSET`), not by ids: "
                f"`curate data show {dataset.name} --quarantined` lists them"
            )
        short = f"the beginning of an id needs {SHORTEST_PREFIX} characters; " if len(prefix) < SHORTEST_PREFIX else ""
        raise CurateError(
            f"no document `{prefix}` went into {dataset.name}@{dataset.version[:12]}", hint=f"{short}{told}"
        )
    if len(names) > 1:
        listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        raise CurateError(f"`{prefix}` begins {len(names)} ids", hint=f"ask for one of them: {listed}")
    return names[0]


def ids_beginning(dataset: Dataset, prefix: str) -> Iterator[str]:
    """Ids that begin so, of documents and of what was rejected; costs the column of every shard."""
    import pyarrow.compute as compute

    for shard in dataset.ledger():
        for name in (shard.object, shard.rejected):
            if name:
                ids = dataset.store.read_table(name, ["id"]).column("id")
                yield from ids.filter(compute.starts_with(ids, pattern=prefix)).to_pylist()


def _copy(other: _Document) -> dict[str, Any]:
    told = {"stage": other.shard.source, "event": "quarantined", "reason": DUPLICATE_ID}
    return told | {"detail": _COPY.format(other.row["source_uri"])}


def _history(
    dataset: Dataset, one: _Document, copy_of: str | None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Everything that happened, in order, and the edits apart."""
    if one.rejected:
        told = {key: one.row.get(key) for key in ("reason", "detail")}
        return [{"stage": one.shard.source, "event": "quarantined", **told}], []
    history, edits = [], []
    text = one.row.get("text")
    lengths: dict[str, int] = {} if text is None else {"text": len(text)}
    made_of = {"event": "made", "parent": one.row["parent"]} if one.shard.parent else {"event": "read"}
    history.append({"stage": one.shard.source, **made_of, "characters": lengths.get("text")})
    for event in _said(dataset.store, one):
        told = {key: event[key] for key in ("stage", "event", *REASONS) if event.get(key) is not None}
        if event["event"] == "edited" and event["text"] is None:
            told |= _cell(dataset.store, one, event["path"], event["place"])
            edits.append({key: value for key, value in told.items() if key != "event"})
        elif event["event"] == "edited":
            path = event["path"] or "text"
            told |= {"spans": event["spans"] or [], "characters_before": lengths.get(path)}
            lengths[path] = told["characters_after"] = len(event["text"])
            edits.append({key: value for key, value in told.items() if key != "event"})
        elif event["reason"] == DUPLICATE_ID and copy_of:
            told["detail"] = _COPY.format(copy_of)
        history.append(told)
    return history, edits


def _measured(dataset: Dataset, one: _Document) -> list[dict[str, Any]]:
    """Numbers alone: what else a stage attaches may be of the text."""
    import pyarrow.types as types

    settings = {
        row["id"]: {
            key: value
            for key, value in row["settings"].items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        for row in dataset.manifest["stages"]
        if row["kind"] == "filter"
    }
    told: list[dict[str, Any]] = []
    for step in one.shard.steps if not one.rejected else ():
        if not step.features:
            continue
        with dataset.store.parquet(step.features) as file:
            names = [
                field.name
                for field in file.schema_arrow
                if field.name not in ("row", IDENT) and (types.is_integer(field.type) or types.is_floating(field.type))
            ]
        rows = rows_of(dataset.store, step.features, [one.address.row], names).to_pylist() if names else []
        for row in rows:
            features = {name: None if row[name] != row[name] else row[name] for name in names}
            told.append({"stage": step.stage, "features": features, "settings": settings.get(step.stage, {})})
    return told


def _cell(store: Store, one: _Document, column: str, place: int) -> dict[str, Any]:
    """What stood in a cell of a table before a step, and what stands there after it."""
    import numpy as np

    row, steps = np.array([one.address.row]), one.shard.steps
    sides = (State(store, replace(one.shard, steps=steps[:stop])) for stop in (place, place + 1))
    before, after = (state.column(column, row)[0].as_py() for state in sides)
    return {"before": before, "after": after}


def _said(store: Store, one: _Document) -> Iterator[dict[str, Any]]:
    """What each stage said of a row; `place` is the stage's among the steps."""
    for place, step in enumerate(one.shard.steps):
        if step.verdicts:
            for verdict in rows_of(store, step.verdicts, [one.address.row]).to_pylist():
                yield {**verdict, "event": verdict["verdict"], "stage": step.stage, "place": place}
