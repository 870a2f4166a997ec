"""Lists of documents with their facets, search by words, and one document."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from curate.browse.columns import Place
from curate.browse.document import Texts, document, listed, texts_of
from curate.browse.query import PAGE, Selection, check_keys, read_query
from curate.browse.search import search, words_of
from curate.dataset.reader import Dataset
from curate.dataset.why import address_of
from curate.errors import CurateError
from curate.reports.charts import Small, multiples
from curate.reports.numbers import measure
from curate.reports.text import BLOCK
from curate.terminal import echo
from curate.workbench.desk import Desk

__all__ = ["documents", "drawn", "found", "one", "place_of", "revealed"]

WINDOW = 20_000
"""Characters of a text that are shown at once."""


def documents(desk: Desk, path: Mapping[str, str], query: list[tuple[str, str]]) -> dict[str, Any]:
    """A page of documents, and the facets: every name with its count under the other filters."""
    with desk.version(path["version"]) as dataset:
        check_keys(query, ("range", "names", "was"))
        columns, asked = desk.columns(dataset), read_query(query)
        chosen = Selection(columns, asked)
        if asked.page > max(1, -(-len(chosen) // PAGE)):
            raise CurateError(f"there is no page {asked.page}", hint=f"{len(chosen)} documents are shown {PAGE} a page")
        rows = chosen.page()
        whole = [value for key, value in query if key == "names"]
        looked = [value for key, value in query if key == "range" and value]
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
    """Documents under the filters that have all words of `q`; `from` is the row at which to go on."""
    given = dict(query)
    with desk.version(path["version"]) as dataset:
        columns, asked = desk.columns(dataset), read_query(query)
        told = {**_named(dataset), "q": given.get("q", ""), "query": asked.pairs(), "rows": columns.rows}
        if not given.get("q"):
            return {**told, "words": [], "listed": [], "looked_at": 0, "of": 0, "next": None}
        words = words_of(given["q"])
        chosen, start = Selection(columns, asked), given.get("from", "0")
        if not (start.isascii() and start.isdigit() and len(start) < 19):
            raise CurateError(
                f"`from` is no row: `{start[:20]}`", hint="the link below a page of hits has the next one"
            )
        hits = search(columns, dataset, chosen.rows, words, start=int(start))
        return {
            **told, "words": words, "listed": listed(columns, dataset, hits.rows), "looked_at": hits.looked_at,
            "of": hits.of, "next": hits.next,
        }  # fmt: skip


def one(desk: Desk, path: Mapping[str, str], query: list[tuple[str, str]]) -> dict[str, Any]:
    """A document: what `curate why` tells, its texts without what is personal, neighbours, labels, trainings."""
    with desk.version(path["version"]) as dataset:
        columns, place = desk.columns(dataset), Place.read(path["place"])
        told, texts = document(columns, dataset, place)
        given = dict(query).get("at", "0")
        start = int(given) if given.isascii() and given.isdigit() and len(given) < 12 else 0
        row = columns.row(place)
        asked = read_query(query)
        beside = dict(zip(("previous", "next"), Selection(columns, asked).beside(row), strict=True))
        return {
            **_named(dataset), **told, "rows": columns.rows, "query": asked.pairs(),
            "beside": {name: None if at is None else str(columns.place(at)) for name, at in beside.items()},
            "texts": _windows(texts, start, hidden=True) if texts else None,
        }  # fmt: skip


def _windows(texts: Texts, start: int, *, hidden: bool) -> dict[str, Any]:
    """Both texts from a character on, cut where they are long; `spans` of the text as read only where nothing is hidden."""
    both = [texts.shown(text) if hidden else text for text in (texts.raw, texts.final)]
    longest = max(map(len, both))
    start = min(start, max(0, longest - 1)) // WINDOW * WINDOW
    raw, final = (text[start : start + WINDOW] for text in both)
    return {
        "raw": raw, "final": final, "same": both[0] == both[1], "characters": [len(texts.raw), len(texts.final)],
        "start": start, "next": start + WINDOW if start + WINDOW < longest else None,
        "hidden": sum(text.count(BLOCK) for text in (raw, final)) if hidden else 0,
    }  # fmt: skip


def revealed(desk: Desk, path: Mapping[str, str]) -> dict[str, Any]:
    """The texts as they are, what is personal included; that somebody asked for them is told on stderr."""
    with desk.version(path["version"]) as dataset:
        columns, place = desk.columns(dataset), Place.read(path["place"])
        columns.row(place)
        if place.row < 0:
            raise CurateError("there is no text of what could not be read")
        (texts,) = texts_of(dataset.store, columns.shards[place.shard], [place.row])
        when = datetime.now(UTC).isoformat(timespec="seconds")
        echo(f"{when} shown unmasked: document {place} of {dataset.name}@{dataset.version[:12]}", err=True)
        return {**_named(dataset), "place": str(place), "texts": _windows(texts, 0, hidden=False), "spans": texts.spans}
