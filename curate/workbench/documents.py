"""Lists of documents with their facets, search by words, and one document."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from curate.browse.columns import Place
from curate.browse.document import Texts, document, listed, texts_of
from curate.browse.masks import across
from curate.browse.query import PAGE, Selection, read_query
from curate.browse.search import Pattern, search
from curate.dataset.reader import Dataset
from curate.dataset.why import address_of
from curate.errors import CurateError
from curate.reports.charts import Small, multiples
from curate.reports.numbers import measure
from curate.reports.text import BLOCK
from curate.terminal import echo
from curate.workbench.desk import Desk

__all__ = ["documents", "drawn", "found", "one", "place_of", "revealed"]

MODES = ("words", "regex")
WINDOW = 20_000
"""Characters of a text that are shown at once."""


def documents(desk: Desk, path: Mapping[str, str], query: list[tuple[str, str]]) -> dict[str, Any]:
    """A page of documents, and the facets: every name with its count under the other filters."""
    with desk.version(path["version"]) as dataset:
        columns, asked = desk.columns(dataset), read_query(query)
        chosen = Selection(columns, asked)
        if asked.page > max(1, -(-len(chosen) // PAGE)):
            raise CurateError(f"there is no page {asked.page}", hint=f"{len(chosen)} documents are shown {PAGE} a page")
        rows = chosen.page()
        looked = [value for key, value in query if key == "range" and value]
        whole = [value for key, value in query if key == "names" and value]
        ranges = dict.fromkeys((*asked.least, *asked.most, *looked))
        return {
            **_named(dataset), "rows": columns.rows, "documents": len(chosen), "page": asked.page,
            "pages": max(1, -(-len(chosen) // PAGE)), "first": (asked.page - 1) * PAGE + 1,
            "query": asked.pairs(), "looked": looked, "sort": asked.sort, "down": asked.down, "past": asked.past,
            "facets": chosen.facets(whole), "whole": whole, "ranges": [chosen.range(column) for column in ranges],
            "columns": columns.features, "not_counted": sorted(columns.left_out), "listed": listed(columns, dataset, rows),
        }  # fmt: skip


def drawn(facts: dict[str, Any]) -> dict[str, Any]:
    """The histograms of the ranges."""
    figures = []
    for number, one in enumerate(facts["ranges"]):
        small = Small("", one["edges"], one["counts"], _within(one), one["logarithmic"])
        pairs = zip(one["edges"], one["edges"][1:], one["counts"], strict=False)
        rows = [(f"{measure(low)} to {measure(high)}", str(count)) for low, high, count in pairs if count]
        header = ("values", "documents")
        figures.append(multiples(f"range-{number}", one["column"], "", [small], header=header, rows=rows, legend=()))
    return {"figures": figures}


def _within(one: Mapping[str, Any]) -> list[float]:
    low, high = one["edges"][0], one["edges"][-1]
    return [value for value in (one["least"], one["most"]) if value is not None and low <= value <= high]


def _named(dataset: Dataset) -> dict[str, Any]:
    return {"version": f"{dataset.name}@{dataset.version[:12]}", "dataset": dataset.name, "id": dataset.version}


def place_of(desk: Desk, version: str, asked: str) -> Place:
    """The place of the document of an id, of the beginning of one, or that was read from a place.

    Raises:
        CurateError: There is none.
    """
    with desk.version(version) as dataset:
        if not asked.strip():
            raise CurateError("there is no id to look for", hint="an id, the beginning of one, or where it was read")
        return Place(*address_of(dataset, asked.strip()))


def found(desk: Desk, path: Mapping[str, str], query: list[tuple[str, str]]) -> dict[str, Any]:
    """Documents under the filters that have all words of `q`, or where the expression `q` fits (`mode=regex`).

    `from` is the row at which to go on; `documents` how many there are (None where not all were looked at); `indexed` of how
    many documents the index knows the words.
    """
    given = dict(query)
    mode = given.get("mode") or "words"
    if mode not in MODES:
        raise CurateError(f"there is no mode `{mode[:20]}`", hint=f"there is: {', '.join(MODES)}")
    with desk.version(path["version"]) as dataset:
        columns, asked = desk.columns(dataset), read_query(query)
        told = {
            **_named(dataset), "q": given.get("q", ""), "mode": mode, "query": asked.pairs(), "rows": columns.rows,
            "indexed": desk.indexed(columns, dataset), "building": desk.building, "first": not given.get("from"),
        }  # fmt: skip
        told["to_index"] = sum(shard.documents for shard in columns.shards)
        if not given.get("q"):
            return {**told, "listed": [], "looked_at": 0, "of": 0, "next": None, "documents": None}
        pattern = Pattern(given["q"], regex=mode == "regex")
        chosen, start = Selection(columns, asked), given.get("from") or "0"
        if not (start.isascii() and start.isdigit() and len(start) < 19):
            raise CurateError(
                f"`from` is no row: `{start[:20]}`", hint="the link below a page of hits has the next one"
            )
        hits = search(columns, dataset, chosen.rows, pattern, index=desk.index, start=int(start))
        return {
            **told, "listed": listed(columns, dataset, hits.rows, pattern.places), "looked_at": hits.looked_at,
            "of": hits.of, "next": hits.next, "documents": hits.documents,
        }  # fmt: skip


def one(desk: Desk, path: Mapping[str, str], query: list[tuple[str, str]]) -> dict[str, Any]:
    """A document: what `curate why` tells, its texts without what is personal, neighbours, labels, trainings."""
    with desk.version(path["version"]) as dataset:
        columns, place = desk.columns(dataset), Place.read(path["place"])
        told, texts = document(columns, dataset, place)
        row, asked = columns.row(place), read_query(query)
        beside = (Selection(columns, asked).beside(row) if asked.pairs() else None) or {
            "previous": row - 1 if row else None, "next": row + 1 if row + 1 < columns.rows else None,
        }  # fmt: skip
        return {
            **_named(dataset), **told, "rows": columns.rows, "query": asked.pairs(),
            "beside": {name: None if at is None else str(columns.place(at)) for name, at in beside.items()},
            "texts": _windows(texts, _start(query), hidden=True) if texts else None,
        }  # fmt: skip


def _start(query: list[tuple[str, str]]) -> int:
    """The character at which a text is to be shown."""
    given = dict(query).get("at", "0")
    return int(given) if given.isascii() and given.isdigit() and len(given) < 12 else 0


def _windows(texts: Texts, start: int, *, hidden: bool) -> dict[str, Any]:
    """Both texts from a character on, cut where they are long: of the other one the same passage.

    Characters are counted in the text as read, or in that which it became where that is more than twice as long.
    """
    raw, final = texts.raw, texts.final
    base, other = (raw, final) if 2 * len(raw) >= len(final) else (final, raw)
    start = min(start, max(0, len(base) - 1)) // WINDOW * WINDOW
    begin, end = across(base, other, start), across(base, other, start + WINDOW)
    pieces = [(base, start, min(start + WINDOW, len(base))), (other, begin, max(begin, min(end, begin + 2 * WINDOW)))]
    shown = [texts.shown(*piece) if hidden else piece[0][piece[1] : piece[2]] for piece in pieces]
    if raw == final:
        shown[1] = shown[0]
    return {
        "raw": shown[base is not raw], "final": shown[base is raw], "same": raw == final,
        "characters": [len(raw), len(final)], "start": start,
        "next": start + WINDOW if start + WINDOW < len(base) else None,
        "previous": start - WINDOW if start else None, "last": max(0, len(base) - 1) // WINDOW * WINDOW,
        "hidden": sum(text.count(BLOCK) for text in shown[: 1 if raw == final else 2]) if hidden else 0,
    }  # fmt: skip


def revealed(desk: Desk, path: Mapping[str, str], query: list[tuple[str, str]]) -> dict[str, Any]:
    """The texts as they are, what is personal included; that somebody asked for them is told on stderr."""
    with desk.version(path["version"]) as dataset:
        columns, place = desk.columns(dataset), Place.read(path["place"])
        columns.row(place)
        if place.row < 0:
            raise CurateError("there is no text of what could not be read")
        (texts,) = texts_of(dataset.store, columns.shards[place.shard], [place.row])
        when = datetime.now(UTC).isoformat(timespec="seconds")
        echo(f"{when} shown unmasked: document {place} of {dataset.name}@{dataset.version[:12]}", err=True)
        shown = _windows(texts, _start(query), hidden=False)
        begin, end = shown["start"], shown["start"] + WINDOW
        spans = [
            (max(low, begin) - begin, min(high, end) - begin, kind)
            for low, high, kind in texts.spans if low < end and high > begin
        ]  # fmt: skip
        return {**_named(dataset), "place": str(place), "texts": shown, "spans": spans}
