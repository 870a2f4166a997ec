"""Who is named by two columns: the given name in one cell and the surname in another, each with nothing else in it.

Where both columns are called names (`first_name`, `Nachname`, `author`), the row is a record of the person and goes as a
whole. Where they are not, somebody has to look: a `city` called Jane and a `title` called Doe are nobody. Only columns of
their own are compared, not members inside JSON.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from curate.dataset.store import Store
from curate.erasure.going import Row

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["named_apart"]

LONGEST = 200
"""Bytes of a cell that may be a name."""
_CALLED = re.compile(
    r"name|author|person|given|vor|nach|first|last|middle|famil|surn|pr[e\u00e9]nom|^nom$|nombre|apellido|cognome|sobrenome",
    re.IGNORECASE,
)
_BETWEEN = r"[\s._\x{2010}\x{2011}-]+"
_NEVER = frozenset({"id", "parent", "source_uri"})


def named_apart(
    store: Store, objects: Sequence[str], names: Sequence[str]
) -> tuple[dict[Row, int], Counter[tuple[int, str, str]]]:
    """Rows in which two columns hold a name.

    Args:
        store: The store.
        objects: Its objects of documents as read.
        names: Names of people.

    Returns:
        The rows in which both columns are called names, with the number of the name (from 1); and how many rows there are of
        others, by the number and the two columns.
    """
    import pyarrow as pa

    found: dict[Row, int] = {}
    others = Counter[tuple[int, str, str]]()
    splits = [(number, *halves) for number, name in enumerate(names, 1) for halves in _halves(name)]
    for object_ in objects if splits else ():
        schema = store.read_schema(object_)
        columns = [one.name for one in schema if pa.types.is_string(one.type) and one.name not in _NEVER]
        cells = {name: _short(store.read_table(object_, [name]).column(name)) for name in columns}
        for number, given, surname in splits:
            for row, first, second in _both(cells, given, surname):
                if _CALLED.search(first) and _CALLED.search(second):
                    found[object_, row] = number
                else:
                    others[number, first, second] += 1
    return found, others


def _halves(name: str) -> Iterator[tuple[str, str]]:
    """Expressions for a given name, initials behind it, and a surname, wherever the surname begins."""
    words = [re.escape(one) for one in re.split(r"[\s._\u2010\u2011-]+", name.strip()) if one]
    for first in range(1, len(words)):
        given, surname = (_BETWEEN.join(some) for some in (words[:first], words[first:]))
        yield rf"(?i)^\s*{given}(?:\s+\pL\.?){{0,2}}\s*$", rf"(?i)^\s*{surname}\s*$"


def _short(column: Any) -> pa.ChunkedArray:
    """A column in plain writing, with nothing for what is too long to be a name."""
    import pyarrow as pa
    import pyarrow.compute as compute

    short = compute.less_equal(compute.binary_length(column), LONGEST)
    return compute.utf8_normalize(compute.if_else(short, column, pa.scalar("", pa.string())), form="NFKC")


def _both(cells: dict[str, Any], given: str, surname: str) -> Iterator[tuple[int, str, str]]:
    """Rows in which a column is a given name and another one a surname."""
    import pyarrow.compute as compute

    def rows(pattern: str) -> dict[str, set[int]]:
        found = {
            name: compute.indices_nonzero(compute.match_substring_regex(column, pattern)).to_pylist()
            for name, column in cells.items()
        }
        return {name: set(some) for name, some in found.items() if some}

    firsts = rows(given)
    seconds = rows(surname) if firsts else {}
    for first, some in firsts.items():
        for second, more in seconds.items():
            yield from ((row, first, second) for row in sorted(some & more) if first != second)
