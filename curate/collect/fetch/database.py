"""Documents from a table or a query of a database: SQLite, PostgreSQL, MariaDB, MySQL.

All rows are read in one transaction, so they are of one moment however many chunks they come in. A chunk is a range of the
key (`WHERE key > last ORDER BY key LIMIT n`), never an offset: memory is one chunk, and each costs the same. The database
counts first; rows that do not come (a key that repeats or is null, an engine without transactions) are an error.
The place of a document is the table, or a hash of the query, and its key: two queries may have different rows of one key.
A transaction ends with its process, so a fetch that was killed starts over: two halves of two moments would be none.

With a watermark, `curate collect --refresh` asks for rows from the last one's on less a lag, equal ones among them: rows that
are there already, and as they were, are told by their key and change nothing. Rows that were deleted are not seen by it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from curate.collect.columns import Selection
from curate.collect.fetch.connection import address_of, database_url, reading, secrets_of
from curate.collect.fetch.credentials import credentials_in
from curate.collect.fetch.merge import merge
from curate.collect.fetch.rows import KEY, documents_of_piece
from curate.collect.fetch.statements import Statements
from curate.collect.fetch.values import ColumnFacts, arrow_column, key_text, mark_json, mark_value
from curate.errors import CurateError
from curate.stages.contract import Part, Passed, Rejected, SourceContext
from curate.stages.fetched import Desk, Fetched

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.dataset.store import Store

__all__ = ["Database", "Watermark"]


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Names = Annotated[list[str], BeforeValidator(_listed, json_schema_input_type=str | list[str]), Field(min_length=1)]


class Watermark(BaseModel):
    """What tells which rows are new: a column that grows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str = Field(
        description="A column whose value is never less in a row that was written later: a time, a number."
    )
    lag: float = Field(
        0,
        ge=0,
        description="So far before the last value a refresh begins, for rows that were committed late: seconds for times, "
        "units for numbers.",
    )


class Database(Fetched):
    """Reads documents from a table or a query of a database: SQLite, PostgreSQL, MariaDB, MySQL; fetched once, and pinned."""

    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("pyarrow",)
    pace: ClassVar[frozenset[str]] = frozenset({"chunk"})
    planning: ClassVar[frozenset[str]] = frozenset(
        {"url", "url_from", "table", "query", "key", "columns", "watermark", "chunk"}
    )

    url: str | None = Field(
        None,
        description="Address, without a password: `sqlite:///texts.db` (relative to the pipeline file), "
        "`postgresql://user@host/name`, `mariadb://user@host/name`.",
    )
    url_from: str | None = Field(
        None, description="Name of the environment variable that holds the address, with a password where it needs one."
    )
    table: str | None = Field(None, description="The table or view to read, `name` or `schema.name`.")
    query: str | None = Field(None, description="A SELECT to read instead; needs `key`.")
    key: Names | None = Field(
        None,
        description="Column or columns that tell a row from all others; by default, the primary key of the table. It is the "
        "id of documents (of several columns, a JSON list).",
    )
    columns: Names | None = Field(
        None, description="Columns to fetch, beside the key and the text; all of them by default."
    )
    watermark: Watermark | None = Field(
        None, description="Lets a refresh ask for new and changed rows only; by default, it reads all rows again."
    )
    chunk: int = Field(10_000, ge=1, description="Rows that are asked for at a time.")
    text: str | None = Field(
        None,
        description="Column that holds the text; by default, `text` where there is one, and documents without a text of their "
        "own where there is none.",
    )
    id_column: str | None = Field(None, description="Column that holds the id; by default, the key is.")
    make_ids: bool = Field(False, description="Ids are made from the place of each document (its `source_uri`).")
    max_document_bytes: int = Field(
        64 << 20, ge=1, description="Longer documents, in bytes, are quarantined as `too_long`."
    )

    @model_validator(mode="after")
    def _one_of_each(self) -> Database:
        if (self.url is None) == (self.url_from is None):
            raise ValueError("it needs either `url` or `url_from`")
        if (self.table is None) == (self.query is None):
            raise ValueError("it needs either `table` or `query`")
        if self.query is not None and self.key is None:
            raise ValueError("a query needs `key`, the column or columns that tell its rows apart")
        if self.url is not None and urlsplit(self.url).password is not None:
            raise ValueError(
                "`url` has a password in it; let an environment variable hold it, and name that in `url_from`"
            )
        if self.url is not None and (found := credentials_in(self.url)):
            raise ValueError(
                f"`url` has a credential in it (`{found[0]}`); let an environment variable hold it, and name that in "
                "`url_from`"
            )
        return self

    def secrets(self) -> Sequence[str]:
        """The address from the environment, and the password in it."""
        found = os.environ.get(self.url_from, "") if self.url_from else ""
        return secrets_of(found) if found else ()

    def _address(self) -> str:
        if self.url_from is None:
            return self.url or ""
        found = os.environ.get(self.url_from)
        if not found:
            hint = f"export {self.url_from}=postgresql://user:password@host/name"
            raise CurateError(f"the environment variable {self.url_from} is not set", hint=hint)
        return found

    def _place(self) -> str:
        """What a row's key is one of: the table, or the query by its hash."""
        return self.table or f"query-{hashlib.sha256((self.query or '').encode()).hexdigest()[:12]}"

    # ---- fetching

    def fetch(self, desk: Desk) -> Mapping[str, Any]:
        """Read all rows of one moment, or those from the watermark on."""
        desk.start_over()
        url = database_url(self._address(), desk.root)
        what = self.table or "query"
        with reading(url) as connection:
            asked = Statements(connection, table=self.table, query=self.query, key=self.key, wanted=self._wanted())
            mark = asked.last(self.watermark.column) if self.watermark else None
            since = self._since(desk)
            count, rows = asked.count(since), 0
            desk.say(f"reading {count:,} rows")
            for table in self._chunks(asked, since, what):
                rows += table.num_rows
                desk.keep(table, {})
            asked.check(rows, count, what)
        if since is not None and desk.previous is not None:
            merge(desk, desk.previous)
        facts = {"address": f"{address_of(url, desk.root)}/{self._place()}", "key": asked.key}
        last = mark_json(mark) if mark is not None else self._last(desk)
        return facts | ({"watermark": last} if last is not None else {})

    def _wanted(self) -> list[str] | None:
        if self.columns is None:
            return None
        more = [self.text, self.id_column, self.watermark.column if self.watermark else None]
        return list(dict.fromkeys([*self.columns, *(one for one in more if one)]))

    def _last(self, desk: Desk) -> Any:
        """The mark of the snapshot before: it is that of a table, too, that is empty now."""
        return desk.previous.facts.get("watermark") if desk.previous else None

    def _since(self, desk: Desk) -> tuple[str, Any] | None:
        """The column and the value from which on rows are new; None where all are asked for."""
        mark = self._last(desk)
        if self.watermark is None or mark is None:
            return None
        return self.watermark.column, mark_value(mark, self.watermark.lag)

    def _chunks(self, asked: Statements, since: tuple[str, Any] | None, what: str) -> Iterator[pa.Table]:
        last: Sequence[Any] | None = None
        while True:
            columns, rows = asked.chunk(last, since, self.chunk)
            if not rows:
                return
            places = [[column.name for column in columns].index(name) for name in asked.key]
            keys = [[row[place] for place in places] for row in rows]
            asked.check_keys(last, keys, what)
            yield _table(list(map(key_text, keys)), columns, rows, what)
            last = keys[-1]
            if len(rows) < self.chunk:
                return

    # ---- reading

    def plan(self, context: SourceContext) -> Sequence[Part]:
        """The pieces of the snapshot; each says what the key is."""
        key = list(context.snapshot.facts["key"]) if context.snapshot else []
        return [replace(part, extra={**part.extra, "key": key}) for part in super().plan(context)]

    def read_from(self, store: Store, part: Part) -> Iterator[pa.Table | Rejected | Passed]:
        """The rows of a piece."""
        schema = store.read_schema(part.location.partition(":")[2])
        text = self.text or ("text" if "text" in schema.names else None)
        own = self.id_column or (part.extra["key"][0] if len(part.extra["key"]) == 1 else None)
        selection = Selection(text, own, None, self.max_document_bytes, part.extra["address"], self.make_ids)
        yield from documents_of_piece(store, part, selection, ids=not self.make_ids)


def _table(keys: Sequence[str], columns: Sequence[ColumnFacts], rows: Sequence[Sequence[Any]], what: str) -> pa.Table:
    """Rows as a piece."""
    import pyarrow as pa

    arrays, fields = [pa.array(keys, pa.string())], [pa.field(KEY, pa.string())]
    for number, facts in enumerate(columns):
        values, mark = arrow_column([row[number] for row in rows], facts, what)
        arrays.append(values)
        fields.append(pa.field(facts.name, values.type, metadata={mark: b"1"} if mark else None))
    return pa.table(arrays, schema=pa.schema(fields))
