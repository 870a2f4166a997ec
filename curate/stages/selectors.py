"""Which texts of a document a stage is given, and how edits find back to their places: the setting `on`.

    text                    a column of strings (the default)
    prompt                  another one
    messages[].content      in a column that holds JSON: every item of a list, a key of a map
    messages                every string in a column, however deep
    *                       every string of the document but those of `id` and `source_uri`

A mapper is given each string as a document of its own and edits it where it stands; the verdict's `path` says where:
`messages[2].content`. Filters, audits, expanders and global stages see all that is selected as one text, a blank line
between two strings. What a selector does not find in a document (a null, another shape) is not there; a column that no
document has is an error.

Of a document that has none of the strings a mapper says nothing, what measures sees an empty text (a missing answer is as
short as an empty one), and what compares leaves it alone: it is no duplicate of another that has none. What compares reads
the strings as `framed` has them, each with its place, so that a border is never taken for a blank line of a text.

Cost: JSON columns are parsed once a stage, at about 100 MB/s.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

from curate.errors import CurateError, did_you_mean
from curate.jsontext import dumps, loads

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "COMPARED",
    "PLACES",
    "Selected",
    "as_compared",
    "edit_columns",
    "framed",
    "is_json",
    "is_plain",
    "joined",
    "roots",
    "select",
    "string_columns",
]

PLACES = ("id", "source_uri")
"""Strings that say which document it is; `"*"` leaves them alone."""
EVERYTHING = "*"
BETWEEN = "\n\n"
COMPARED = "#compared"
"""Column beside `text` that stages over all documents compare: what is selected, framed (`as_compared`)."""
_FRAME, _ESCAPED = "\x01", "\x01\x02"
_PATH_SIGNS = 0x2800
"""The bytes of a path stand in a frame as Braille patterns, which are in no word, no white space and have no case."""
_SELECTOR = re.compile(r"[^.\[\]*]+(\[\]|\.[^.\[\]]+)*")
_STEP = re.compile(r'\[("(?:[^"\\]|\\.)*"|\d*)\]|\.?([^.\[\]]+)')
_PLAIN_KEY = re.compile(r"[^.\[\]]+")


class Selected(NamedTuple):
    """The strings that were selected of some documents, in their order.

    Attributes:
        rows: The document of each (int64).
        paths: Where it stands: `text`, `messages[2].content`.
        texts: The strings.
    """

    rows: pa.Array
    paths: pa.Array
    texts: pa.Array


def check(selector: str) -> str | None:
    """What is wrong with a selector, or None."""
    if selector == EVERYTHING or _SELECTOR.fullmatch(selector):
        return None
    return f"`{selector}` is no selector; write `text`, `prompt`, `messages[].content`, or `*`"


def is_plain(on: Sequence[str]) -> bool:
    """Whether the stage is given the column `text` as it is."""
    return tuple(on) == ("text",)


def root(selector: str, names: Sequence[str] = ()) -> str:
    """The column that a selector or a path begins with; a name with a dot in it only where it is among `names`."""
    for name in sorted(names, key=len, reverse=True):
        if selector == name or selector.startswith((f"{name}.", f"{name}[")):
            return name
    return re.split(r"[.\[]", selector, maxsplit=1)[0]


def roots(on: Sequence[str], schema: pa.Schema) -> list[str]:
    """The columns that the selectors look at.

    Raises:
        CurateError: There is no such column, it holds no strings, or plain ones where the selector goes inside of JSON.
    """
    holding = string_columns(schema)
    found: list[str] = []
    for selector in on:
        if selector == EVERYTHING:
            found += [name for name in holding if name not in PLACES]
            continue
        name = root(selector, holding)
        if name not in holding:
            there = f"the columns with strings are {', '.join(holding) or 'none'}"
            problem = "holds no strings" if name in schema.names else "is not there"
            raise CurateError(f"`on: {selector}`: column `{name}` {problem}", hint=did_you_mean(name, holding) or there)
        if selector != name and not is_json(schema.field(name)):
            raise CurateError(
                f"`on: {selector}`: column `{name}` holds plain strings, and nothing inside of them can be selected",
                hint=f"`on: {name}` is the whole of each",
            )
        found.append(name)
    return list(dict.fromkeys(found))


def string_columns(schema: pa.Schema) -> list[str]:
    """Columns of strings, JSON text included."""
    import pyarrow as pa

    return [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)]


def select(table: pa.Table, on: Sequence[str]) -> Selected:
    """The strings that the selectors find, by document, then in the order of the selectors."""
    import numpy as np
    import pyarrow as pa

    rows: list[int] = []
    paths: list[str] = []
    texts: list[str] = []
    wanted = _by_column(table.schema, on)
    columns = {name: table.column(name).to_pylist() for name in wanted}
    nested = {name for name in wanted if is_json(table.schema.field(name))}
    for row in range(table.num_rows):
        for name, places in wanted.items():
            value = columns[name][row]
            if value is None:
                continue
            found = _strings(loads(value), name, places) if name in nested else [(name, value)]
            for path, text in found:
                rows.append(row)
                paths.append(path)
                texts.append(text)
    return Selected(
        pa.array(np.array(rows, dtype=np.int64)), pa.array(paths, pa.string()), pa.array(texts, pa.string())
    )


def _by_column(schema: pa.Schema, on: Sequence[str]) -> dict[str, list[list[str | None]]]:
    """For each column the ways into it: keys, and None for every item of a list; [] is every string there is."""
    wanted: dict[str, list[list[str | None]]] = {name: [] for name in roots(on, schema)}
    for selector in on:
        for name in wanted if selector == EVERYTHING else [root(selector, list(wanted))]:
            way = [] if selector == EVERYTHING else _way(selector[len(name) :])
            if name in wanted and (selector != EVERYTHING or name not in PLACES):
                wanted[name].append(way)
    return wanted


def _way(rest: str) -> list[str | None]:
    return [None if match[0].startswith("[") else match[2] for match in _STEP.finditer(rest)]


def _named(path: str, key: str) -> str:
    """The path of a map's entry; a key with a dot or a bracket in it stands quoted in brackets."""
    return f"{path}.{key}" if _PLAIN_KEY.fullmatch(key) else f"{path}[{dumps(key)}]"


def _steps(rest: str) -> list[str | int]:
    """The keys and places of the path of a string."""
    steps: list[str | int] = []
    for match in _STEP.finditer(rest):
        inside = match[1]
        steps.append(match[2] if inside is None else int(inside) if inside.isdigit() else loads(inside))
    return steps


def is_json(field: pa.Field) -> bool:
    """Whether a column of strings holds JSON text."""
    return b"curate.json" in (field.metadata or {})


def _strings(value: Any, path: str, ways: Sequence[list[str | None]]) -> Iterator[tuple[str, str]]:
    """The strings that any of the ways leads to, in the order of the value, each once."""
    if isinstance(value, str):
        if any(not way for way in ways):
            yield path, value
        return
    items = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ()
    for key, item in items:
        step = None if isinstance(value, list) else key
        further = [way[1:] for way in ways if way and way[0] == step]
        further += [way for way in ways if not way]  # every string below here
        if further:
            yield from _strings(item, f"{path}[{key}]" if step is None else _named(path, str(key)), further)


def joined(table: pa.Table, on: Sequence[str]) -> pa.Array:
    """All that is selected of each document as one text; empty where nothing is."""
    import pyarrow as pa

    return pa.array([BETWEEN.join(text for _, text in some) for some in _by_document(table, on)], pa.string())


def framed(table: pa.Table, on: Sequence[str]) -> pa.Array:
    """The strings of each document, each with its place in front, as one text to compare; null where nothing is selected.

    Two of them are equal only where the same strings stand at the same places. Of a frame only a change of the column is
    a word, and only where several columns may be selected: words and their n-grams are else those of the strings.
    """
    import pyarrow as pa

    if is_plain(on):
        return pa.array([some[0][1] if some else None for some in _by_document(table, on)], pa.string())
    several = len(on) > 1 or EVERYTHING in on
    return pa.array([_framed(some, several=several) if some else None for some in _by_document(table, on)], pa.string())


def _framed(strings: Sequence[tuple[str, str]], *, several: bool) -> str:
    pieces, last = [], None
    for path, text in strings:
        column, place = root(path), "".join(chr(_PATH_SIGNS + byte) for byte in path.encode())
        word = blake2b(column.encode(), digest_size=6).hexdigest() if several and column != last else ""
        pieces.append(f" {_FRAME}{word} {place}{_FRAME} {text.replace(_FRAME, _ESCAPED)}")
        last = column
    return "".join(pieces)


def as_compared(batch: pa.Table) -> pa.ChunkedArray:
    """The texts of a batch as a stage over all documents compares them; it measures `text`."""
    return batch.column(COMPARED if COMPARED in batch.column_names else "text")


def _by_document(table: pa.Table, on: Sequence[str]) -> list[list[tuple[str, str]]]:
    """Of each document the strings that are selected, with their paths."""
    found = select(table, on)
    strings: list[list[tuple[str, str]]] = [[] for _ in range(table.num_rows)]
    for row, path, text in zip(*(column.to_pylist() for column in found), strict=True):
        strings[row].append((path, text))
    return strings


def edit_columns(table: pa.Table, edits: pa.Table) -> dict[str, tuple[list[int], list[str]]]:
    """Edited columns: for each the rows that change, ascending, and their new values.

    Args:
        table: The documents before.
        edits: `row` (position in the table), `path` (null is `text`) and `text`.
    """
    by_place: dict[str, dict[int, list[tuple[str, str]]]] = {}
    for row, path, text in zip(*(edits.column(name).to_pylist() for name in ("row", "path", "text")), strict=True):
        where = path or "text"
        by_place.setdefault(root(where, table.column_names), {}).setdefault(row, []).append((where, text))
    changed: dict[str, tuple[list[int], list[str]]] = {}
    for name, rows in by_place.items():
        order = sorted(rows)
        column = table.column(name).take(order).to_pylist() if any(path != name for path, _ in _all(rows)) else []
        values = []
        for number, row in enumerate(order):
            places = rows[row]
            values.append(places[0][1] if places[0][0] == name else _replaced(column[number], name, places))
        changed[name] = (order, values)
    return changed


def _all(rows: dict[int, list[tuple[str, str]]]) -> Iterator[tuple[str, str]]:
    for places in rows.values():
        yield from places


def _replaced(value: str, name: str, places: Sequence[tuple[str, str]]) -> str:
    """JSON text with the strings at some paths replaced, and nothing else changed."""
    whole = loads(value)
    for path, text in places:
        steps = _steps(path[len(name) :])
        inside = whole
        for step in steps[:-1]:
            inside = inside[step]
        inside[steps[-1]] = text
    return dumps(whole)


def mapped(apply: Callable[[pa.Table], Any], on: Sequence[str]) -> Callable[[pa.Table], Any]:
    """A mapper's function on documents, from the one that it has for plain texts: string by string, and folded back."""
    import pyarrow as pa

    def apply_each(batch: pa.Table) -> Any:
        found = select(batch, on)
        others = batch.drop_columns(["text"]) if "text" in batch.column_names else batch
        effect = apply(others.take(found.rows).append_column("text", found.texts))
        if effect.columns:
            raise CurateError(
                f"with `on: {list(on)}` the stage attaches {', '.join(effect.columns)}, one value for each string",
                hint="a stage that attaches columns is given one text: `on: text`, or another column of strings",
            )
        return effect._replace(verdicts=_of_documents(effect.verdicts, found))

    def apply_one(batch: pa.Table) -> Any:
        """A single column of strings; documents without a value there are left alone."""
        texts, rows = _one_column(batch, on[0])
        others = batch.drop_columns(["text"]) if "text" in batch.column_names else batch
        effect = apply(others.take(rows).append_column("text", texts))
        place = pa.nulls(effect.verdicts.num_rows, pa.string()).fill_null(on[0])
        verdicts = _at(effect.verdicts, rows, place)
        columns = {name: _spread(column, rows, batch.num_rows) for name, column in effect.columns.items()}
        return effect._replace(verdicts=verdicts, columns=columns)

    def choose(batch: pa.Table) -> Any:
        single = len(on) == 1 and on[0] in batch.column_names and not is_json(batch.schema.field(on[0]))
        return apply_one(batch) if single else apply_each(batch)

    return choose


def _one_column(batch: pa.Table, name: str) -> tuple[pa.ChunkedArray, pa.Array]:
    import pyarrow.compute as compute

    roots([name], batch.schema)
    column = batch.column(name)
    rows = compute.indices_nonzero(column.is_valid()).cast("int64")
    return column.take(rows), rows


def _at(verdicts: pa.Table, rows: pa.Array, paths: pa.Array) -> pa.Table:
    """Verdicts on strings as verdicts on the documents in which they stand."""
    import pyarrow.compute as compute

    edited = compute.equal(verdicts.column("verdict"), "edited")
    placed = compute.if_else(edited, paths, None)
    verdicts = verdicts.set_column(0, "row", rows.take(verdicts.column("row").combine_chunks()))
    return verdicts.set_column(verdicts.schema.get_field_index("path"), "path", placed)


def _of_documents(verdicts: pa.Table, found: Selected) -> pa.Table:
    """A document that loses one of its strings leaves whole, for the first reason; its edits are then no matter."""
    if verdicts.num_rows == 0:
        return verdicts
    placed = _at(verdicts, found.rows, found.paths.take(verdicts.column("row").combine_chunks())).to_pylist()
    leaving: dict[int, dict[str, Any]] = {}
    for verdict in placed:
        if verdict["verdict"] != "edited":
            leaving.setdefault(verdict["row"], verdict)
    kept = [verdict for verdict in placed if verdict["row"] not in leaving]
    rows = sorted([*kept, *leaving.values()], key=lambda verdict: verdict["row"])
    return type(verdicts).from_pylist(rows, schema=verdicts.schema)


def _spread(column: Any, rows: pa.Array, count: int) -> pa.Array:
    """Values of some rows as a column of all; null for the others."""
    import numpy as np
    import pyarrow as pa

    where = np.full(count, -1, dtype=np.int64)
    where[rows.to_numpy()] = np.arange(len(rows))
    flat = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return flat.take(pa.array(where, mask=where < 0))
