"""The documents that two versions differ by, a page at a time: who left, with the reason, and who changed, with the words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from curate.browse.cache import hash_of
from curate.browse.columns import KEPT, VERDICTS, Columns
from curate.browse.document import Texts, listed, texts_of
from curate.browse.query import PAGE
from curate.dataset.diff import diff
from curate.dataset.reader import Dataset
from curate.errors import CurateError
from curate.reports.text import excerpt, first_difference
from curate.workbench.desk import Desk

__all__ = ["WAYS", "differing"]

WAYS = ("added", "removed", "changed")
COMPARED = 200_000
"""Characters of a text in which the first difference is looked for."""
EXCERPT = 600


def differing(desk: Desk, before: Dataset, after: Dataset, query: Mapping[str, str]) -> dict[str, Any]:
    """A page of the documents of one way (`list`), of a stage and reason where these are named.

    Returns:
        `way`, `page`, `pages`, `documents`, and `listed`: as `curate.browse.document.listed` tells them, of the version in
        which they can be looked at (`version`): what left with the reason why it is not in the version after, what came with
        the reason why it was not in the one before. Of what changed `texts`: how both say it, around the first difference.

    Raises:
        CurateError: There is no such way or page.
    """
    way = query.get("list", "")
    if way not in WAYS:
        raise CurateError(f"there is no list `{way[:20]}`", hint=f"there is: {', '.join(WAYS)}")
    ids: Sequence[str] = diff(before, after, examples=None)["examples"][way]
    sides = (after, before) if way != "added" else (before, after)
    columns = [desk.columns(one) for one in sides]
    found = _rows(columns[0], ids, kept=way == "changed")
    chosen = [(name, 0, found[name]) for name in ids if name in found and _fits(columns[0], found[name], query)]
    if not query.get("reason") or query["reason"] == "not read":
        there = _rows(columns[1], [name for name in ids if name not in found], kept=True)
        chosen += [(name, 1, row) for name, row in there.items()]
    page, pages = int(query["page"]) if query.get("page", "").isdecimal() else 1, max(1, -(-len(chosen) // PAGE))
    if not 1 <= page <= pages:
        raise CurateError(f"there is no page {page}", hint=f"{len(chosen)} documents are shown {PAGE} a page")
    mine = chosen[(page - 1) * PAGE : page * PAGE]
    rows = []
    for side, (one, known) in enumerate(zip(sides, columns, strict=True)):
        told = listed(known, one, [row for _, number, row in mine if number == side])
        rows += [{**document, "version": f"{one.name}@{one.version[:12]}"} for document in told]
    if way == "changed":
        _say(rows, (before, after), [desk.columns(one) for one in (before, after)])
    return {"way": way, "page": page, "pages": pages, "documents": len(chosen), "listed": rows}


def _rows(columns: Columns, ids: Sequence[str], *, kept: bool) -> dict[str, int]:
    """By id its row: that which is kept, or the first that is not, in the order of the ids."""
    import numpy as np

    hashes = np.array([hash_of(name) for name in ids], np.uint64)
    there = np.flatnonzero(np.isin(columns.identity, hashes) & (columns.verdict != VERDICTS.index("expanded")))
    if kept:
        there = there[columns.verdict[there] == KEPT]
    rows = {int(columns.identity[row]): row for row in there[::-1].tolist()}  # the first of equal ids
    return {name: rows[hash_of(name)] for name in ids if hash_of(name) in rows}


def _fits(columns: Columns, row: int, query: Mapping[str, str]) -> bool:
    """Whether a row was removed by the stage and for the reason that are asked for."""
    for name in ("stage", "reason"):
        facet = columns.facet(name)
        code = int(facet.codes[row])
        if query.get(name) and (code < 0 or facet.names[code] != query[name]):
            return False
    return True


def _say(rows: list[dict[str, Any]], versions: Sequence[Dataset], columns: Sequence[Columns]) -> None:
    """Give documents what both versions say, around the first difference."""
    ids = [row["id"] for row in rows if row["id"] is not None]
    places = [_rows(known, ids, kept=True) for known in columns]
    for row in rows:
        sides = zip(versions, columns, places, strict=True)
        texts = [_final(version, known, found.get(row["id"])) for version, known, found in sides]
        secrets = {secret for one in texts if one for secret in one.secrets}  # what one found the other has, too
        for one in texts:
            if one:
                one.secrets |= secrets
        said = [one.shown(one.final[:COMPARED]) if one else "" for one in texts]
        at = first_difference(*said)
        row["texts"] = [excerpt(one, around=at, length=EXCERPT) for one in said] if said[0] != said[1] else None


def _final(dataset: Dataset, columns: Columns, row: int | None) -> Texts | None:
    place = None if row is None else columns.place(row)
    return texts_of(dataset.store, columns.shards[place.shard], [place.row])[0] if place and place.row >= 0 else None
