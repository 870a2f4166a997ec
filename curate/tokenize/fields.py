"""Which columns of a dataset are packed, and as what; and how their values are read from it.

Lists and objects are Arrow lists and structs, or JSON text in a string column, as the collectors of this package leave
them; nulls that only fill the structs of a column are left out (`curate.dataset.fillers`). Errors name the document by
its number in its split and by its id, and hold none of its text.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Container, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from curate.dataset.fillers import without_fillers
from curate.errors import CurateError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.dataset.reader import Dataset

__all__ = ["MESSAGES", "Fields", "Kept", "check_fields", "messages_in", "parsed_list", "refusal", "rows_of"]

MESSAGES = "messages"
"""Role of the stream of conversations."""
_BATCH = 1000


class Fields(BaseModel):
    """The columns that are packed, by what they are for (their role); by default one text of each document.

    A role names files, so it is made of small letters; `text` is the one that language models read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    texts: dict[str, str] = Field(default={"text": "text"}, description="columns of texts, by role")
    words: dict[str, str] = Field(default={}, description="columns of lists of words, by role")
    bytes: dict[str, str] = Field(
        default={},
        description="columns that are kept as they are, a token for each byte, by role; what is no text as JSON",
    )
    labels: str | None = Field(
        default=None, description="column of strings or integers; with `words`, of lists of them, one for each word"
    )
    numbers: dict[str, str] = Field(default={}, description="columns of numbers, one for each document, by role")
    vectors: dict[str, str] = Field(
        default={}, description="columns of lists of numbers, as many in each document, by role"
    )
    messages: str | None = Field(default=None, description="column of conversations: lists of {role, content}")
    turns: dict[str, str] = Field(
        default={},
        description="columns of a `prompt` and of answers to it, by role, that are turns of a conversation: texts, or lists "
        "of {role, content}",
    )
    tools: str | None = Field(
        default=None,
        description="column of the tools that each conversation may call, as lists of JSON schemas; by default `tools`, "
        "where there is one",
    )
    chat_template: str | None = Field(
        default=None, description="file of the Jinja template of conversations; by default that of this package"
    )
    unfit: Literal["refuse", "leave_out"] = Field(
        default="refuse",
        description="what is done with a conversation, prompt or answer that the template cannot write",
    )

    @property
    def text_columns(self) -> list[str]:
        """Columns that have text."""
        found = [*self.texts.values(), *self.words.values(), *([self.messages] if self.messages else [])]
        return list(dict.fromkeys([*found, *self.turns.values()]))

    @property
    def speaks(self) -> bool:
        """A template of conversations is needed."""
        return bool(self.messages or self.turns)

    @property
    def leaves_out(self) -> bool:
        """Documents that the template cannot write are left out."""
        return self.speaks and self.unfit == "leave_out"

    def facts(self) -> dict[str, Any]:
        """As they are written down; what was added after the first packs only where it is used, so that those are found."""
        unused = {
            "turns": not self.turns,
            "bytes": not self.bytes,
            "unfit": not self.leaves_out,
            "vectors": not self.vectors,
        }
        return self.model_dump(mode="json", exclude={name for name, is_so in unused.items() if is_so})

    @property
    def columns(self) -> list[str]:
        """All columns."""
        others = [column for column in (self.tools, self.labels) if column]
        found = [*self.text_columns, *self.bytes.values(), *others, *self.numbers.values(), *self.vectors.values()]
        return list(dict.fromkeys(found))

    def passages(self, dataset: Dataset, split: str) -> Iterator[tuple[int, str]]:
        """All texts, each with the number of its document, for a tokenizer to learn from; words with a space before them.

        Raises:
            CurateError: A column is not there, or its JSON cannot be read.
        """
        for column in self.text_columns:
            nested = column == self.messages or column in self.words.values()
            for number, (value,) in enumerate(rows_of(dataset, split, [column], nested=nested)):
                messages = messages_in(value) if column in self.turns.values() else None
                parts = messages or (value if isinstance(value, list) else [value])
                if column == self.messages or messages:
                    yield from ((number, _content(message)) for message in parts)
                else:
                    yield number, " ".join(part for part in parts if isinstance(part, str))


def rows_of(dataset: Dataset, split: str, columns: list[str], *, nested: bool = False) -> Iterator[tuple[Any, ...]]:
    """The documents of a split in order, each with one value for each column.

    Args:
        dataset: Where they are.
        split: Which split.
        columns: Which values.
        nested: Values are lists, which may be there as JSON text.

    Raises:
        CurateError: A column is not there, or its JSON cannot be read.
    """
    number = 0
    for batch in dataset.batches(split, columns, batch_size=_BATCH):
        for row in zip(*(_values(batch, column) for column in columns), strict=True):
            try:
                values = tuple(map(parsed_list, row)) if nested else row
            except ValueError:
                problem = f"a string that is no JSON, where a list should be, in {' or '.join(columns)}"
                raise refusal(dataset, split, number, problem, "a list, or a list as JSON text") from None
            yield values
            number += 1


class Kept:
    """A dataset without some documents of a split, for `rows_of` and what reads through it.

    Args:
        dataset: The whole.
        split: The split.
        left_out: Numbers of documents in it.

    Attributes:
        numbers: Of the documents that are kept, in the split.
    """

    def __init__(self, dataset: Dataset, split: str, left_out: Container[int]) -> None:
        self.whole, self.split = dataset, split
        self.numbers = [number for number in range(dataset.splits[split]) if number not in left_out]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)

    def batches(self, split: str, columns: list[str], batch_size: int) -> Iterator[pa.RecordBatch]:
        """The documents in order, at most `batch_size` at a time."""
        assert split == self.split
        first = 0
        for batch in self.whole.batches(split, columns, batch_size):
            start, stop = (bisect_left(self.numbers, place) for place in (first, first + len(batch)))
            yield batch.take([number - first for number in self.numbers[start:stop]])
            first += len(batch)


def refusal(dataset: Dataset, split: str, number: int, problem: str, hint: str | None = None) -> CurateError:
    """The error that a document makes: it is named by its number in its split, and by its id."""
    whole = dataset.numbers[number] if isinstance(dataset, Kept) else number
    place = f"document {whole} of the split `{split}`"
    if "id" in dataset.columns:
        ids = (id for (id,) in rows_of(dataset, split, ["id"]))
        place += f", id `{next(islice(ids, number, None))}`"
    return CurateError(problem, place, hint)


def messages_in(value: Any) -> list[dict[str, Any]] | None:
    """The messages that a value is, as a list or its JSON text; None where it is none, as a plain text."""
    if isinstance(value, str):
        if not value.lstrip().startswith("["):
            return None
        try:
            value = json.loads(value)
        except ValueError:
            return None
    value = without_fillers(value)
    given = isinstance(value, list) and bool(value)
    return value if given and all(isinstance(one, dict) and "role" in one for one in value) else None


def parsed_list(value: Any) -> Any:
    """A list, or one from its JSON text.

    Raises:
        ValueError: The text is no JSON.
    """
    return json.loads(value) if isinstance(value, str) else without_fillers(value)


def _values(batch: pa.RecordBatch, column: str) -> list[Any]:
    return batch.column(batch.schema.names.index(column)).to_pylist(maps_as_pydicts="strict")


def _content(message: Any) -> str:
    content = message.get("content") if isinstance(message, dict) else None
    return content if isinstance(content, str) else ""


# ---- types

_FEATURES = "`{stage: table_features}` makes such a column of the others"


def check_fields(dataset: Dataset, fields: Fields) -> None:
    """Check that the columns are there and can hold what they are for, before any work is done.

    Raises:
        CurateError: It names the columns that are there.
    """
    for column in fields.columns:
        if column not in dataset.columns:
            raise CurateError(
                f"`{dataset.name}` has no column `{column}`",
                "data",
                did_you_mean(column, dataset.columns) or f"there are: {', '.join(dataset.columns)}",
            )
    import pyarrow as pa

    text, integer = _is_text, pa.types.is_integer

    def number(kind: pa.DataType) -> bool:
        return integer(kind) or pa.types.is_floating(kind)

    for column in fields.texts.values():
        _check_type(dataset, column, text, "text")
    for column in fields.turns.values():
        wanted = "texts or conversations: lists of {role, content}"
        _check_type(dataset, column, lambda kind: text(kind) or _is_list(kind, pa.types.is_struct), wanted)
    for column in fields.words.values():
        _check_type(dataset, column, lambda kind: text(kind) or _is_list(kind, text), "lists of words")
    for column in fields.numbers.values():
        _check_type(dataset, column, number, "numbers")
    for column in fields.vectors.values():
        _check_type(dataset, column, lambda kind: text(kind) or _is_list(kind, number), "lists of numbers", _FEATURES)
    if fields.messages:
        wanted = "conversations: lists of {role, content}"
        _check_type(dataset, fields.messages, lambda kind: text(kind) or _is_list(kind, pa.types.is_struct), wanted)
    if fields.tools:
        wanted = "tools: lists of JSON schemas"
        _check_type(
            dataset,
            fields.tools,
            lambda kind: text(kind) or _is_list(kind, lambda one: text(one) or pa.types.is_struct(one)),
            wanted,
        )
    if fields.labels:
        _check_labels(dataset, fields)


def _check_labels(dataset: Dataset, fields: Fields) -> None:
    import pyarrow as pa

    def simple(kind: pa.DataType) -> bool:
        return _is_text(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)

    assert fields.labels
    if fields.words:
        wanted = "lists of labels, one for each word"
        _check_type(dataset, fields.labels, lambda kind: _is_text(kind) or _is_list(kind, simple), wanted)
    else:
        hint = "labels are strings or integers; numbers are learned with `objective.regression: true`"
        _check_type(dataset, fields.labels, lambda kind: simple(kind) or pa.types.is_floating(kind), "labels", hint)


def _check_type(dataset: Dataset, column: str, fits: Any, wanted: str, hint: str | None = None) -> None:
    kind = dataset.schema.field(column).type
    if fits(kind):
        return
    fitting = [field.name for field in dataset.schema if fits(field.type)]
    there = f"columns that could: {', '.join(fitting)}" if fitting else f"no column of this dataset holds {wanted}"
    raise CurateError(f"column `{column}` holds {kind}, not {wanted}", "data", hint or there)


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_list(kind: pa.DataType, fits: Any) -> bool:
    import pyarrow as pa

    listed = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return listed and fits(kind.value_type)
