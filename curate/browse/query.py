"""Which documents of a version are meant, how many there are by every name, and in which order they are shown.

A query is what stands in the address of a page, so that every view is a permalink:

    is.COLUMN=NAME     one of these names (given several times: any of them)
    no.COLUMN=1        without a name there
    min.COLUMN=2.5     at least, and max.COLUMN at most; of a number that was not measured neither is true
    past=STAGE         what left that stage to go on
    edited=STAGE       what that stage edited
    sort=COLUMN        by a number, `order=down` from the greatest; without one in the order of the ledger
    page=2
    names=COLUMN       all names of it, not only the most frequent; range=COLUMN: its histogram

Names and numbers of one column are counted under the filters of all other columns. Cost: benchmarks/browse.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from math import isfinite
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from curate.browse.columns import Columns
from curate.errors import CurateError, did_you_mean
from curate.reports.features import feature_histogram

if TYPE_CHECKING:
    import numpy as np

__all__ = ["PAGE", "Query", "Selection", "read_query"]

KNOWN = ("past", "edited", "sort", "order", "page", "range", "names", "q", "mode", "from", "at", "was")
PAGE = 20
"""Documents of a page."""
SHOWN = 12
"""Names of a column that are shown at once, beside those that are chosen."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for.

    Attributes:
        names: By column the names of which a document has one.
        absent: Columns of names in which it has none.
        least: By column of numbers the least value.
        most: By column of numbers the greatest value.
        past: A stage that it passed.
        edited: A stage that edited it.
        sort: The column of numbers that it is sorted by.
        down: From the greatest.
        page: Which page, from 1.
    """

    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    least: Mapping[str, float] = field(default_factory=dict)
    most: Mapping[str, float] = field(default_factory=dict)
    past: str | None = None
    edited: str | None = None
    sort: str | None = None
    down: bool = False
    page: int = 1

    def pairs(self) -> list[tuple[str, str]]:
        """It as keys and values of an address, without the page."""
        found = [(f"is.{column}", name) for column, names in self.names.items() for name in names]
        found += [(f"no.{column}", "1") for column in self.absent]
        found += [(f"min.{column}", f"{value!r}") for column, value in self.least.items()]
        found += [(f"max.{column}", f"{value!r}") for column, value in self.most.items()]
        found += [("past", self.past)] if self.past else []
        found += [("edited", self.edited)] if self.edited else []
        found += [("sort", self.sort)] if self.sort else []
        return found + ([("order", "down")] if self.down else [])

    def address(self, *more: tuple[str, str]) -> str:
        """It as the end of an address, with more keys behind."""
        pairs = [*self.pairs(), *more]
        return "?" + urlencode(pairs, errors="surrogatepass") if pairs else ""


def read_query(pairs: Iterable[tuple[str, str]]) -> Query:
    """The query of an address; what its pages have beside it is left alone.

    Raises:
        CurateError: A number is none, or a key means nothing.
    """
    names: dict[str, tuple[str, ...]] = {}
    absent: list[str] = []
    bounds: dict[str, dict[str, float]] = {"min": {}, "max": {}}
    plain: dict[str, str] = {}
    for key, value in pairs:
        kind, dot, column = key.partition(".")
        if kind == "is" and dot:
            names[column] = tuple(dict.fromkeys((*names.get(column, ()), value)))
        elif kind == "no" and dot:
            absent.append(column)
        elif kind in bounds and dot:
            if value.strip():  # an empty field of a form
                bounds[kind][column] = _number(key, value)
        elif key not in KNOWN:
            hint = "columns by `is.`, `no.`, `min.` and `max.`; " + ", ".join(KNOWN)
            raise CurateError(f"`{key[:40]}` asks for nothing here", hint=did_you_mean(key, KNOWN) or hint)
        else:
            plain[key] = value
    if plain.get("order", "") not in ("", "up", "down"):
        raise CurateError(f"there is no order `{plain['order'][:20]}`", hint="order=up, or order=down")
    page = int(_number("page", plain.get("page") or "1"))
    return Query(
        names, tuple(dict.fromkeys(absent)), bounds["min"], bounds["max"],
        plain.get("past") or None, plain.get("edited") or None, plain.get("sort") or None,
        plain.get("order") == "down", max(1, min(page, 1 << 40)),
    )  # fmt: skip


def _number(key: str, value: str) -> float:
    try:
        found = float(value)
    except ValueError:
        found = float("nan")
    if not isfinite(found):
        raise CurateError(f"`{key}` is no number: `{value[:40]}`", hint="such as 0.25 or 100")
    return found


class Selection:
    """The documents of a query.

    Attributes:
        rows: Their rows, in the order of the ledger (int64).
    """

    def __init__(self, columns: Columns, query: Query) -> None:
        import numpy as np

        self.columns, self.query = columns, query
        self._kept = dict(_masks(columns, query))
        if not self._kept:
            self._fails = None
            self.rows = np.arange(columns.rows)
        else:
            self._fails = reduce(np.add, ((~one).astype(np.uint16) for one in self._kept.values()))
            self.rows = np.flatnonzero(self._fails == 0)

    def __len__(self) -> int:
        return len(self.rows)

    def under_others(self, kind: str, column: str) -> np.ndarray:
        """The rows that all filters but those of a column (of `names`, or of numbers: a `range`) let through."""
        import numpy as np

        mine = self._kept.get((kind, column))
        if mine is None or self._fails is None:
            return self.rows
        return np.flatnonzero((self._fails == 0) | ((self._fails == 1) & ~mine))

    def page(self) -> list[int]:
        """The rows of the page that is asked for."""
        start = (self.query.page - 1) * PAGE
        return self.first(start + PAGE)[start:]

    def first(self, count: int) -> list[int]:
        """The first rows in the order of the query; equal ones in that of the ledger, those without a number last."""
        import numpy as np

        if self.query.sort is None:
            return self.rows[:count].tolist()
        values = _sorted_by(self.columns, self.query.sort)[self.rows]
        values = -values if self.query.down else values
        if count < len(values):
            least = np.partition(values, count - 1)[count - 1]  # NaN is the greatest
            here = np.flatnonzero(values <= least) if least == least else np.arange(len(values))
        else:
            here = np.arange(len(values))
        order = np.argsort(values[here], kind="stable")[:count]
        return self.rows[here[order]].tolist()

    def beside(self, row: int) -> dict[str, int | None] | None:
        """The `previous` and the `next` row in the order of the query; None where it has not the row itself."""
        import numpy as np

        if self.query.sort is None:
            at, order = int(np.searchsorted(self.rows, row)), self.rows
        else:
            order = np.array(self.first(len(self.rows)), np.int64)
            at = int(np.flatnonzero(order == row)[0]) if row in order else len(order)
        if at == len(order) or order[at] != row:
            return None
        sides = {"previous": at - 1, "next": at + 1}
        return {name: int(order[one]) if 0 <= one < len(order) else None for name, one in sides.items()}

    def facets(self, whole: Collection[str] = ()) -> list[dict[str, Any]]:
        """For each column of names: `column`, `names` (with `documents` and `chosen`), `others` (names, documents), `none`.

        Of columns of `whole` all names are told, of others the most frequent.
        """
        import numpy as np

        found: list[dict[str, Any]] = []
        for column in self.columns.facets:
            facet = self.columns.facet(column)
            counts = np.bincount(facet.codes[self.under_others("names", column)] + 1, minlength=len(facet.names) + 1)
            chosen = self.query.names.get(column, ())
            order = np.argsort(-counts[1:], kind="stable")
            order = order[counts[1:][order] > 0]
            shown = [
                int(code)
                for number, code in enumerate(order)
                if number < SHOWN or column in whole or facet.names[code] in chosen
            ]
            rows = [
                {"name": facet.names[code], "documents": int(counts[code + 1]), "chosen": facet.names[code] in chosen}
                for code in shown
            ]
            there = {row["name"] for row in rows}
            rows += [{"name": name, "documents": 0, "chosen": True} for name in chosen if name not in there]
            left = int(counts[1:].sum()) - sum(row["documents"] for row in rows)
            others = {"names": len(order) - len(shown), "documents": left}
            none = {"documents": int(counts[0]), "chosen": column in self.query.absent}
            if len(order) > 0 or rows or none["chosen"]:
                found.append({"column": column, "names": rows, "others": others, "none": none})
        return found

    def range(self, column: str, limits: Sequence[float] = ()) -> dict[str, Any]:
        """Of a column of numbers, under the filters of the others: a histogram, of how many, and who is not in it."""
        import numpy as np

        values = self.columns.feature(column)[self.under_others("range", column)]
        known = values[np.isfinite(values)]
        histogram = feature_histogram(known, list(limits))
        return {
            "column": column, "least": self.query.least.get(column), "most": self.query.most.get(column),
            "edges": list(histogram.edges), "counts": list(histogram.counts["documents"]),
            "logarithmic": histogram.logarithmic, "measured": len(known), "infinite": int(np.isinf(values).sum()),
            "missing": int(np.isnan(values).sum()),
        }  # fmt: skip


def _sorted_by(columns: Columns, name: str) -> np.ndarray:
    kept = {"value": columns.value, "threshold": columns.threshold}
    return kept[name] if name in kept else columns.feature(name)


def _masks(columns: Columns, query: Query) -> Iterable[tuple[tuple[str, str], np.ndarray]]:
    """By kind and column, which rows its filters let through (bool)."""
    import numpy as np

    for column in dict.fromkeys((*query.names, *query.absent)):
        facet = columns.facet(column)
        known = {name: code for code, name in enumerate(facet.names)}
        wanted = [known[name] for name in query.names.get(column, ()) if name in known]
        wanted += [-1] if column in query.absent else []
        allowed = np.zeros(len(facet.names) + 1, bool)
        allowed[[code + 1 for code in wanted]] = True
        yield ("names", column), allowed[facet.codes + 1]
    for column in dict.fromkeys((*query.least, *query.most)):
        values = columns.feature(column)
        least, most = query.least.get(column, -np.inf), query.most.get(column, np.inf)
        yield ("range", column), (values >= least) & (values <= most)
    for kind, stage, of in (("past", query.past, columns.past), ("edited", query.edited, columns.edited_by)):
        if stage:
            if stage not in columns.stages:
                hint = did_you_mean(stage, columns.stages) or f"there is: {', '.join(columns.stages)}"
                raise CurateError(f"there is no stage `{stage}`", hint=hint)
            yield (kind, ""), of(stage)
