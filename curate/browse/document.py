"""Documents as people may see them: their texts as read and as they became, nothing personal in them, beside their story.

What a stage replaced and gave spans for (personal data) is blocked out in every text, and what looks personal (`mask` of
curate/reports/text.py): a document that was dropped early never came to the stage that would have hidden it. Only row groups
that hold a document are read.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from curate.browse.columns import KEPT, Columns, Place
from curate.browse.masks import blocked, hidden, masked_facts
from curate.dataset import refs
from curate.dataset.annotations import said_of
from curate.dataset.erased import erasures
from curate.dataset.index import Address
from curate.dataset.ledger import Shard
from curate.dataset.reader import Dataset
from curate.dataset.runs import ids_of, records
from curate.dataset.state import SIZE
from curate.dataset.store import Store
from curate.dataset.why import rows_of, why_at
from curate.reports.text import BLOCK, mask
from curate.stages.selectors import EVERYTHING, edit_columns, joined, root, select

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Texts", "document", "listed", "read_rows", "texts_of"]

NEIGHBOURS = 20
EXCERPT, SEARCHED = 300, 200_000
"""Characters that a list shows of a text, and of how many the place of what is looked for is told."""
WITHHELD = f"{BLOCK} (the text as read: what a stage replaced in it stands there in another form)"
MOST_COUNTED = 1 << 28
"""Characters that are compared to tell whether what was replaced stands in the text as read."""


@dataclass(slots=True)
class Texts:
    """A document, read again.

    Attributes:
        id: Its id; None of one that was erased.
        source: Where it was read.
        raw: Its text as it was read; the strings of one that has no column `text`, a blank line between.
        final: Its text when it left the last stage that saw it.
        secrets: What stages replaced and gave spans for.
        spans: Where in the text as read the first stage that edited it said something stands: start, end, type.
        withheld: Whether what a stage replaced stands in the text as read in another form, as an earlier stage edited it.
    """

    id: str | None
    source: str | None
    raw: str
    final: str
    secrets: set[str] = field(default_factory=set)
    spans: list[tuple[int, int, str]] = field(default_factory=list)
    withheld: bool = False

    def shown(self, text: str, start: int = 0, end: int | None = None) -> str:
        """A text of it, or some characters of one, with what is personal blocked out."""
        end = len(text) if end is None else min(end, len(text))
        if self.withheld and text is self.raw and text != self.final:
            return WITHHELD
        return blocked(text, start, end, hidden(text, start, end, self.secrets))


def read_rows(store: Store, name: str, rows: Sequence[int], columns: Sequence[str] | None = None) -> pa.Table:
    """Some rows of an object of documents, in the order that they are asked for; columns that it lacks are not there."""
    import numpy as np
    import pyarrow as pa

    wanted = np.array(rows, dtype=np.int64)
    with store.parquet(name) as file:
        names = [one for one in file.schema_arrow.names if one != SIZE and (columns is None or one in columns)]
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        groups = np.searchsorted(starts, wanted, side="right") - 1
        read, place, before = list[pa.Table](), np.zeros(len(wanted), np.int64), 0
        for group in np.unique(groups).tolist():
            table = file.read_row_group(group, names, use_threads=False)
            mine = groups == group
            place[mine] = before + np.arange(int(mine.sum()))
            read.append(table.take(pa.array(wanted[mine] - starts[group])))
            before += int(mine.sum())
    return pa.concat_tables(read).take(pa.array(place))


def texts_of(store: Store, shard: Shard, rows: Sequence[int]) -> list[Texts]:
    """Documents of a shard, with what its stages made of their texts."""
    import pyarrow as pa

    table = read_rows(store, shard.object, rows)
    raw = _joined(table)
    ids, sources = (table.column(name).to_pylist() for name in ("id", "source_uri"))
    found = [Texts(*one, "") for one in zip(ids, sources, raw, strict=True)]
    places = {row: number for number, row in enumerate(rows)}
    touched = set[int]()
    for step in shard.steps:
        if not step.verdicts or not step.number("edited"):
            continue
        said = rows_of(store, step.verdicts, rows, ["verdict", "text", "path", "spans"])
        edits = [
            {**one, "row": places[one["row"]]} for one in said.to_pylist()
            if one["verdict"] == "edited" and root(one["path"] or "text", table.column_names) in (*table.column_names, "text")
        ]  # fmt: skip
        if not edits:
            continue
        if "text" not in table.column_names and any((one["path"] or "text") == "text" for one in edits):
            table = table.append_column("text", pa.nulls(table.num_rows, pa.string()))  # an extractor made it
        for one in edits:
            _note(found[one["row"]], one, table, first=one["row"] not in touched)
        touched |= {one["row"] for one in edits}
        table = _edited(table, edits)
    for one, final in zip(found, _joined(table) if touched else raw, strict=True):
        one.final = final
    return found


def _joined(table: pa.Table) -> list[str]:
    on = ("text",) if "text" in table.column_names else (EVERYTHING,)
    return joined(table, on).to_pylist()


def _note(document: Texts, edit: dict[str, Any], table: pa.Table, *, first: bool) -> None:
    """Keep what an edit with spans is about to replace."""
    path = edit["path"] or "text"
    if not edit["spans"]:
        return
    one = table.slice(edit["row"], 1)
    column = root(path, table.column_names)
    found = select(one, (column,)) if column in table.column_names else None
    strings = dict(zip(found.paths.to_pylist(), found.texts.to_pylist(), strict=True)) if found else {}
    text = strings.get(path, "")
    replaced = Counter(text[span["start"] : span["end"]] for span in edit["spans"])
    document.secrets |= replaced.keys()
    if not first:  # an earlier stage may have changed what stands there: then the text as read has it in another form
        costs = len(document.raw) * len(replaced)
        document.withheld |= costs > MOST_COUNTED or any(document.raw.count(one) < n for one, n in replaced.items())
    elif path == "text":
        document.spans = [(span["start"], span["end"], span["type"]) for span in edit["spans"]]


def _edited(table: pa.Table, edits: Sequence[dict[str, Any]]) -> pa.Table:
    """The documents after some edits."""
    import pyarrow as pa

    names = ("row", "path", "text")
    given = pa.table({name: pa.array([one[name] for one in edits]) for name in names})
    for column, (rows, values) in edit_columns(table, given).items():
        held = table.column(column).to_pylist()
        for row, value in zip(rows, values, strict=True):
            held[row] = value
        place = table.schema.get_field_index(column)
        table = table.set_column(place, table.schema.field(column), pa.array(held, table.schema.field(column).type))
    return table


# ---- lists


def listed(
    columns: Columns, dataset: Dataset, rows: Sequence[int], find: Callable[[str], list[tuple[int, int]]] | None = None
) -> list[dict[str, Any]]:
    """Rows as a list shows them: `place, id, source, verdict, stage, reason, value, threshold, bytes, text` and `marks`.

    `text` is the beginning of the text as read, without what is personal; where something is looked for (`find` says where it
    stands in a text), the surroundings of its first place in the text that was searched, and `marks` its places there.
    """
    by_shard: dict[int, list[Place]] = defaultdict(list)
    for row in rows:
        place = columns.place(row)
        by_shard[place.shard].append(place)
    found: dict[Place, tuple[str | None, str | None, str, list[tuple[int, int]]]] = {}
    for number, places in by_shard.items():
        shard = columns.shards[number]
        read = [place for place in places if place.row >= 0]
        texts = texts_of(dataset.store, shard, [place.row for place in read]) if read else []
        for place, one in zip(read, texts, strict=True):
            kept = columns.verdict[columns.row(place)] == KEPT
            found[place] = (one.id, one.source, *_excerpt(one, one.final if find and kept else one.raw, find))
        for place in places:
            if place.row < 0 and shard.rejected:
                row = dataset.store.read_table(shard.rejected).slice(-1 - place.row, 1).to_pylist()[0]
                found[place] = (row["id"], row["source_uri"], mask(row["detail"] or ""), [])
    return [_row(columns, row, *found[columns.place(row)]) for row in rows]


def _excerpt(
    one: Texts, text: str, find: Callable[[str], list[tuple[int, int]]] | None
) -> tuple[str, list[tuple[int, int]]]:
    """Some characters of a text, and where what is looked for stands in them."""
    at = next(iter(find(text[:SEARCHED])), (0, 0))[0] if find else 0
    start = max(0, at - EXCERPT // 3) if at > EXCERPT // 2 else 0
    shown = ("\u2026" if start else "") + one.shown(text, start, start + EXCERPT)
    return shown + ("\u2026" if start + EXCERPT < len(text) else ""), find(shown) if find else []


def _row(
    columns: Columns, row: int, identity: str | None, source: str | None, text: str, marks: list[tuple[int, int]]
) -> dict[str, Any]:
    told: dict[str, Any] = {"place": str(columns.place(row)), "id": identity, "source": source}
    for name in ("verdict", "stage", "reason"):
        facet = columns.facet(name)
        code = int(facet.codes[row])
        told[name] = facet.names[code] if code >= 0 else None
    for name, values in (("value", columns.value), ("threshold", columns.threshold)):
        number = float(values[row])
        told[name] = None if number != number else number
    return {**told, "bytes": int(columns.length[row]), "text": text, "marks": marks}


# ---- one


def document(columns: Columns, dataset: Dataset, place: Place) -> tuple[dict[str, Any], Texts | None]:
    """All that is known of a document, and its texts (None of what was rejected).

    Returns:
        `place`; `story`: what `curate why` tells, labels included; `columns`: its other columns, of those that are shown by
        their values; `erasures` that may have removed it, where it was erased; `neighbours`: by how they are alike, how many
        `documents` and the first of them; `trainings`: runs of the store that were given its split.

    Raises:
        CurateError: There is none at the place.
    """
    row = columns.row(place)
    story = why_at(dataset, Address(place.shard, place.row))
    story["labels"] = said_of(dataset, story["id"]) if story["id"] is not None else []
    neighbours: list[dict[str, Any]] = []
    for how, rows in columns.like(row):
        if len(rows):
            shown = listed(columns, dataset, rows[:NEIGHBOURS].tolist())
            neighbours.append({"how": how, "documents": len(rows), "first": shown})
    kept = int(columns.verdict[row]) == KEPT
    texts = texts_of(dataset.store, columns.shards[place.shard], [place.row])[0] if place.row >= 0 else None
    named = ("id", "source", "duplicate_of")  # what leads elsewhere
    secrets = texts.secrets if texts else set[str]()
    shown = {**masked_facts(story, secrets), **{key: story[key] for key in named}}
    if story["parent"]:
        shown["parent"] |= {key: story["parent"][key] for key in named}
    told = {"place": str(place), "story": shown, "neighbours": neighbours}
    erased = story["id"] is None and place.row >= 0
    told |= {"columns": columns.cells(place), "erasures": _erasures(dataset) if erased else []}
    told["trainings"] = _trainings(dataset, story["split"]) if kept else []
    return told, None if erased else texts


def _erasures(dataset: Dataset) -> list[dict[str, Any]]:
    """The erasures that removed documents of the version, and when they were: `id, began`."""
    began = {one["id"]: one["began"] for one in erasures(dataset.store)}
    done = dataset.manifest["lineage"].get("erasures", ())
    return [{"id": one["id"], "began": began.get(one["id"])} for one in done if one["removed"]]


def _trainings(dataset: Dataset, split: str | None) -> list[dict[str, Any]]:
    """Runs that trained on the version, or on what an erasure made it of; of other splits than `train` they only measured."""
    if split not in (None, "train"):
        return []
    names = ids_of(dataset.version, dataset.manifest)
    for entry in refs.log(dataset.store, dataset.name):
        if entry["version"] == dataset.version and "upgraded_from" in entry:
            names.add(entry["upgraded_from"])
    found = records(dataset.store, "training", version=names)
    return [{"run": one["name"], "state": one["state"], "began": one["began"]} for one in found]
