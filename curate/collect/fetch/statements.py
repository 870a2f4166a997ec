"""What is asked of a database: how many rows, the last value of a column, and the rows of a range of the key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from curate.collect.fetch.values import ColumnFacts
from curate.errors import CurateError, did_you_mean

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Statements"]

JSON_TYPES = (114, 3802)
"""PostgreSQL's numbers of json and jsonb."""
Since = tuple[str, Any] | None


class Statements:
    """Statements over a table or a query.

    Args:
        connection: In a transaction that reads.
        table: `name` or `schema.name`; or
        query: a SELECT.
        key: Columns that tell rows apart; None is the primary key of the table.
        wanted: Columns to ask for beside it; None is all.

    Raises:
        CurateError: There is no such table or column, or nothing tells its rows apart.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        table: str | None,
        query: str | None,
        key: Sequence[str] | None,
        wanted: Sequence[str] | None,
    ) -> None:
        self.connection = connection
        self._quote = connection.dialect.identifier_preparer.quote
        self.what = table or "the query"
        self._scales: dict[str, int] = {}
        if table is not None:
            schema, _, name = table.rpartition(".")
            self._from = ".".join(self._quote(part) for part in (schema, name) if part)
            self.key = list(key or self._primary_key(name, schema or None))
            self._scales = self._table_scales(name, schema or None)
        else:
            self._from = (
                "(" + (query or "").strip().rstrip(";").replace(":", r"\:") + "\n) AS asked"
            )  # a comment ends with its line
            self.key = list(key or ())
        self._columns = "*" if wanted is None else ", ".join(map(self._quote, dict.fromkeys([*self.key, *wanted])))
        self._keys = ", ".join(map(self._quote, self.key))
        self._check_names([*self.key, *(wanted or ())])

    def _primary_key(self, table: str, schema: str | None) -> list[str]:
        from sqlalchemy import inspect
        from sqlalchemy.exc import NoSuchTableError

        looked = inspect(self.connection)
        try:
            found = looked.get_pk_constraint(table, schema)["constrained_columns"]
        except NoSuchTableError:
            names = [*looked.get_table_names(schema), *looked.get_view_names(schema)]
            listed = f"there are: {', '.join(sorted(names)[:10]) or 'none'}"
            raise CurateError(f"there is no table `{self.what}`", hint=did_you_mean(table, names) or listed) from None
        if not found:
            raise CurateError(
                f"`{self.what}` has no primary key",
                hint="name the column or columns that tell its rows apart with `key:`",
            )
        return found

    def _table_scales(self, table: str, schema: str | None) -> dict[str, int]:
        """Decimal places of columns, which not every driver tells."""
        from sqlalchemy import Numeric, inspect
        from sqlalchemy.exc import NoSuchTableError

        try:
            columns = inspect(self.connection).get_columns(table, schema)
        except NoSuchTableError:
            return {}  # what is asked next says so
        kinds = {one["name"]: one["type"] for one in columns}
        return {
            name: kind.scale for name, kind in kinds.items() if isinstance(kind, Numeric) and kind.scale is not None
        }

    def _check_names(self, wanted: Sequence[str]) -> None:
        """Look at no rows, for the columns there are."""
        nothing = f"SELECT * FROM {self._from} WHERE 1 = 0"  # noqa: S608
        names = [one[0] for one in self._execute(nothing, {}).cursor.description]
        for name in names:
            if names.count(name) > 1:
                raise CurateError(f"two columns of {self.what} are called `{name}`", hint="name them apart with AS")
        for name in wanted:
            if name not in names:
                hint = did_you_mean(name, names) or f"there are: {', '.join(names)}"
                raise CurateError(f"{self.what} has no column `{name}`", hint=hint)

    def _execute(self, statement: str, values: Mapping[str, Any]) -> Any:
        from sqlalchemy import text

        return self.connection.execute(text(statement), values)

    def count(self, since: Since) -> int:
        """How many rows there are."""
        where, values = self._where(None, since)
        return int(self._execute(f"SELECT count(*) FROM {self._from}{where}", values).scalar_one())  # noqa: S608

    def last(self, column: str) -> Any:
        """The greatest value of a column; None where there are no rows.

        Raises:
            CurateError: Some rows have none: a refresh would never see them change.
        """
        self._check_names([column])
        name = self._quote(column)
        row = self._execute(f"SELECT count(*), count({name}), max({name}) FROM {self._from}", {}).one()  # noqa: S608
        if row[0] != row[1]:
            raise CurateError(
                f"{row[0] - row[1]:,} rows of {self.what} have no `{column}`, and a refresh would not see them change",
                hint="a query that gives them one (`COALESCE(...)`), or no `watermark`",
            )
        return row[2]

    def _where(self, last: Sequence[Any] | None, since: Since) -> tuple[str, dict[str, Any]]:
        parts, values = [], {}
        if last is not None:
            names = [f"k{number}" for number in range(len(last))]
            values |= zip(names, last, strict=True)
            asked = ", ".join(f":{name}" for name in names)
            parts.append(f"{self._keys} > {asked}" if len(last) == 1 else f"({self._keys}) > ({asked})")
        if since is not None:
            parts.append(f"{self._quote(since[0])} >= :since")
            values["since"] = since[1]
        return (f" WHERE {' AND '.join(parts)}" if parts else ""), values

    def chunk(
        self, last: Sequence[Any] | None, since: Since, size: int
    ) -> tuple[list[ColumnFacts], list[tuple[Any, ...]]]:
        """The columns, and up to `size` rows behind a key, in its order."""
        where, values = self._where(last, since)
        statement = f"SELECT {self._columns} FROM {self._from}{where} ORDER BY {self._keys} LIMIT {size}"  # noqa: S608
        result = self._execute(statement, values)
        described = result.cursor.description
        columns = [ColumnFacts(one[0], self._scale(one), one[1] in JSON_TYPES) for one in described]
        return columns, [tuple(row) for row in result.fetchall()]

    def _scale(self, described: Sequence[Any]) -> int | None:
        """Decimal places of a column, where the driver or the table tells them."""
        told = described[5] if len(described) > 5 else None
        return told if isinstance(told, int) else self._scales.get(described[0])

    # ---- checks

    def check_keys(self, last: Sequence[Any] | None, keys: Sequence[Sequence[Any]], what: str) -> None:
        """Raise a CurateError where a key is null, or the same as the one before."""
        named = ", ".join(f"`{name}`" for name in self.key)
        hint = "name columns that tell every row apart with `key:`"
        for key in keys:
            if None in key:
                raise CurateError(f"a row of {what} has no {named}: it cannot be told from others", hint=hint)
            if last is not None and list(key) == list(last):
                raise CurateError(f"two rows of {what} have the same {named}", hint=hint)
            last = key

    def check(self, rows: int, count: int, what: str) -> None:
        """Raise a CurateError where not all rows came that the database counted."""
        if rows != count:
            raise CurateError(
                f"{what} has {count:,} rows, but {rows:,} came in the order of its key",
                hint="the key repeats or is null, or the table changes while it is read (an engine without transactions)",
            )
