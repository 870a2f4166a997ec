"""Types of the columns of a table, and one form of each value: numbers, dates, categories.

What does not parse is empty afterwards, counted by column and reason, and told by document and place. A column is of numbers
or dates where the train split says so by `share` of its cells; keys made of digits (`00123`, more than 15 digits) are none.
Cost: each different value is parsed once, at about 3 microseconds (benchmarks/table.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from curate.table.columns import check_names
from curate.table.contract import Cells, Put, Table

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["TableTypes"]

TYPED = "\0"
"""What the cells of columns of floats begin with where they are signed as text: their point is the decimal mark."""

MISSING = ("", "na", "n/a", "#n/a", "nan", "null", "nil", "?", "-", "--")
Given = Literal["number", "date", "category", "text"]


class TableTypes(Table):
    """Gives the columns of a table their types, and their values one form each.

    Numbers may have separators of thousands, a decimal comma, a percent sign (`12%` is 0.12) or a unit; they are written as
    numbers, dates as `2024-03-01`, and of categories that differ in case and spaces alone the form that is most frequent in
    the train split. What does not parse becomes empty. Columns of text (more than `most_categories` different values) and of
    keys hold strings, as they were written. The first stage of a table, behind `split`.
    """

    reasons: ClassVar[Mapping[str, str]] = {
        "number_form": "edited: a number was written in another form (`1,234.5`, `12%`, `5 kg`, `1e5`)",
        "leading_zero": "edited: digits that began with a zero (`007`) are a number, since the train split has no such key",
        "digits_lost": "edited: the number has more digits than a float holds (about 16)",
        "date_form": "edited: a date was written in another form",
        "category_form": "edited: a category was written in another case, with other spaces, or as `values` says",
        "missing_word": "edited: a word that stands for an empty cell (`missing`)",
        "no_number": "edited: empty, since it is no number and its column is of numbers",
        "not_finite": "edited: empty, since it is beyond all numbers",
        "no_date": "edited: empty, since it is no date (or its day and month cannot be told apart) and its column is of dates",
    }

    types: dict[str, Given] = Field(
        {}, description="Types of columns by name; of others they follow from the train split."
    )
    missing: tuple[str, ...] = Field(
        MISSING, description="Words that stand for an empty cell, in any case; `none` is not among them unless named."
    )
    decimal: Literal["auto", "point", "comma"] = Field(
        "auto",
        description="What `1,234` is, which may be both: auto goes by the other cells of its column in the train split, and "
        "where those do not tell takes the point for the decimal mark.",
    )
    day_first: bool | None = Field(
        None,
        description="What `01/02/2024` is; by default the other cells of its column in the train split tell, and where they do "
        "not, the column is none of dates.",
    )
    units: dict[str, dict[str, float]] = Field(
        {},
        description="Units of a column, each with what a number of it is multiplied with: `{weight: {kg: 1, g: 0.001}}`.",
    )
    values: dict[str, dict[str, str]] = Field(
        {}, description="Categories of a column that are others: `{sex: {m: male, f: female}}`, in any case."
    )
    merge_case: bool = Field(True, description="Categories that differ in case and spaces alone are one.")
    share: float = Field(
        0.8, gt=0.5, le=1, description="Least share of the cells of a column that must parse as its type."
    )
    most_categories: int = Field(100, ge=2, description="Different values beyond which a column of strings is text.")

    @field_validator("missing")
    @classmethod
    def _in_any_case(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(word.strip().casefold() for word in given)

    def cell(self, column: pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
        """All as it was written, so that a column that is of numbers in one file and of text in another is one."""
        import pyarrow as pa

        from curate.jsontext import number_text

        if pa.types.is_floating(column.type):
            texts = [None if one is None else f"{TYPED}{number_text(one)}" for one in column.to_pylist()]
            return pa.array(texts, pa.string())
        if pa.types.is_decimal(column.type):
            return pa.array([None if one is None else f"{TYPED}{one}" for one in column.to_pylist()], pa.string())
        return column.cast("string")

    # ---- learning

    def fit(self, rows: pa.Table) -> dict[str, Any]:
        """Of each column its kind, decimal mark, order of dates, and forms of categories."""
        for setting, given in (("types", self.types), ("units", self.units), ("values", self.values)):
            check_names(setting, given, rows.column_names)
        return {"columns": {name: self._column(name, rows.column(name)) for name in rows.column_names}}

    def _column(self, name: str, column: pa.ChunkedArray) -> dict[str, Any]:
        from curate.table.numerals import like_date

        empty = set(self.missing)
        counts: Counter[str] = Counter()
        typed: set[str] = set()
        for record in column.value_counts().to_pylist():
            value = record["values"]
            if value is not None and (text := value.removeprefix(TYPED).strip()).casefold() not in empty and text:
                counts[text] += record["counts"]
                typed |= {text} if value[0] == TYPED else set()
        kind, mark, order = self._kind(name, counts, typed)
        found: dict[str, Any] = {"kind": kind, "values": len(counts)}
        if kind == "number":
            found["decimal"] = mark
        if kind == "date":
            found["order"] = order
        if kind in ("category", "text") and name not in self.types:
            found["dates"] = sum(count for text, count in counts.items() if like_date(text))
        if kind == "category" and self.merge_case:
            found["forms"] = _forms(counts)
        return found

    def _kind(self, name: str, counts: Counter[str], typed: set[str]) -> tuple[str, str, str | None]:
        """The kind of a column, its decimal mark and what its dates begin with; `typed` are floats, and tell of no mark."""
        from curate.table.numerals import as_date, as_number, date_order, decimal_mark, is_code

        total = sum(counts.values())
        shown = Counter({mark: 0 for mark in ".,"})
        orders: Counter[str] = Counter()
        for text, count in counts.items():
            if text not in typed and (mark := decimal_mark(text)):
                shown[mark] += count
            if order := date_order(text):
                orders[order] += count
        mark = {"point": ".", "comma": ","}.get(self.decimal) or ("," if shown[","] > shown["."] else ".")
        order = max(sorted(orders), key=orders.__getitem__, default=None)
        if self.day_first is not None:
            order = "day" if self.day_first else "month"
        if name in self.types:
            return self.types[name], mark, order
        if not total:
            return "empty", mark, order
        units = self._units(name)
        numbers = sum(
            count
            for text, count in counts.items()
            if as_number(text, "." if text in typed else mark, units) is not None
        )
        if numbers >= self.share * total and not any(map(is_code, counts)):
            return "number", mark, order
        if sum(count for text, count in counts.items() if as_date(text, order)) >= self.share * total:
            return "date", mark, order
        return ("category" if len(counts) <= self.most_categories else "text"), mark, order

    def _units(self, name: str) -> dict[str, float]:
        return {unit.lower(): factor for unit, factor in self.units.get(name, {}).items()}

    def learned(self, fitted: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The kind of each column."""
        rows = []
        for name, one in fitted["columns"].items():
            forms = len(one.get("forms", {}))
            how = {"number": f"decimal mark {one.get('decimal')}", "date": f"{one.get('order') or 'year'} first"}
            how["category"] = f"{forms} forms" if forms else ""
            if dates := one.get("dates"):
                how[one["kind"]] = (
                    f"{dates} cells look like dates and are not read: write YYYY-MM-DD, or set `day_first`"
                )
            rows.append({"column": name, "kind": one["kind"], "values": one["values"], "how": how.get(one["kind"], "")})
        return rows

    # ---- putting

    def put(self, rows: pa.Table, fitted: Mapping[str, Any]) -> Put:
        """Every column in its type; each different value is looked at once."""
        import numpy as np
        import pyarrow as pa

        put = Put()
        for name, one in fitted["columns"].items():
            if name not in rows.column_names:
                continue
            encoded = rows.column(name).cast("string").combine_chunks().dictionary_encode()
            told = [self._value(name, value, one) for value in encoded.dictionary.to_pylist()]
            place = np.where(encoded.indices.is_valid(), encoded.indices.fill_null(0).to_numpy(), len(told))
            values, why = (np.array([*(pair[at] for pair in told), None], dtype=object)[place] for at in (0, 1))
            kind = pa.float64() if one["kind"] == "number" else pa.string()
            put.columns[name] = pa.array(values.tolist(), kind)
            for reason in self.reasons:
                if (mine := why == reason).any():
                    put.cells.append(Cells(name, reason, mine))
        return put

    def _value(self, name: str, text: str, one: Mapping[str, Any]) -> tuple[Any, str | None]:
        """A cell in its type and form, and why it is another one."""
        from curate.table.numerals import as_date

        typed, text = text.startswith(TYPED), text.removeprefix(TYPED)
        if one["kind"] == "text":
            return text, None
        bare = text.strip()
        if not bare or bare.casefold() in self.missing:
            return None, "missing_word"
        if one["kind"] == "number":
            return self._number(name, text, "." if typed else one["decimal"])
        if one["kind"] == "date":
            day = as_date(bare, one["order"])
            return day, "no_date" if day is None else "date_form" if day != text else None
        if one["kind"] == "empty":
            return text, None
        return self._category(name, text, one)

    def _number(self, name: str, text: str, mark: str) -> tuple[float | None, str | None]:
        from math import isfinite

        from curate.jsontext import number_text
        from curate.table.numerals import as_number, is_code, is_plain, loses_digits

        value = as_number(text.strip(), mark, self._units(name))
        if value is None:
            return None, "no_number"
        if not isfinite(value):
            return None, "not_finite"
        if loses_digits(text.strip(), mark):
            return value, "digits_lost"
        if is_code(text.strip()):
            return value, "leading_zero"
        return value, None if number_text(value) == text or (is_plain(text) and float(text) == value) else "number_form"

    def _category(self, name: str, text: str, one: Mapping[str, Any]) -> tuple[str, str | None]:
        from curate.table.numerals import folded

        others = {folded(key): value for key, value in self.values.get(name, {}).items()}
        key = folded(text)
        if key in others:
            form = others[key]
        elif self.merge_case:
            form = one.get("forms", {}).get(key, " ".join(text.split()))
        else:
            form = text
        return form, None if form == text else "category_form"


def _forms(counts: Counter[str]) -> dict[str, str]:
    """Of categories that differ in case and spaces alone, the form that is most frequent; of equal ones the first."""
    from curate.table.numerals import folded

    forms: dict[str, tuple[int, str]] = {}
    for text, count in counts.items():
        one = (-count, " ".join(text.split()))
        forms[folded(text)] = min(forms.get(folded(text), one), one)
    return {key: form for key, (_, form) in sorted(forms.items())}
