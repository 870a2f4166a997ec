"""Conversations in the forms of other tools, as JSON lines: ShareGPT and Alpaca; `jsonl` has them as OpenAI's form is.

    sharegpt    {"conversations": [{"from": "system" | "human" | "gpt", "value": ...}, ...], ...}
    alpaca      {"instruction": ..., "input": "", "output": ..., "system": ...}: one question and its answer

They come from the column `messages`, a list of {role, content}; other columns stand beside, as in JSON lines, but for those by
a form's own names: they are what `messages` was made of, before anything was edited. Conversations that a form does not hold
(calls of tools, weights, content that is no text; for Alpaca, more than one question) are refused and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import IO, TYPE_CHECKING, Any

from curate.dataset.export.jsonl import changes, compressed
from curate.dataset.export.values import is_json, json_bytes, rows
from curate.errors import CurateError
from curate.plain import plain_values

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["changes", "write"]

COLUMN = "messages"
OWN = {
    "sharegpt": ("conversations", "system"),
    "alpaca": ("instruction", "input", "output", "system", "history"),
}
SPEAKERS = {"system": "system", "user": "human", "assistant": "gpt"}


def write(batches: Iterable[pa.RecordBatch], schema: pa.Schema, stream: IO[bytes], name: str, *, form: str) -> int:
    """Write one conversation a line; returns their number.

    Raises:
        CurateError: There is no such column, or conversations do not fit the form.
    """
    if COLUMN not in schema.names:
        hint = "conversations are a column of lists of {role, content}"
        raise CurateError(f"`{form}` is made of the column `{COLUMN}`, which is not among those asked for", hint=hint)
    made, dropped, documents, unfit, first = FORMS[form], {COLUMN, *OWN[form]}, 0, 0, ""
    with compressed(stream, name) as sink:
        for batch in batches:
            chats = _parsed(batch.column(COLUMN), schema.field(COLUMN))
            for row, chat in zip(rows(batch, schema), chats, strict=True):
                told = made(chat) if _is_plain(chat) else None
                if told is None:
                    unfit, first = unfit + 1, first or str(row.get("id", documents))
                else:
                    sink.write(json_bytes({**told, **{key: row[key] for key in row if key not in dropped}}) + b"\n")
                documents += 1
    if unfit:
        raise CurateError(
            f"{unfit:,} of {documents:,} conversations do not fit `{form}`, the first of them `{first}`",
            hint="`--format jsonl` holds every conversation as it is",
        )
    return documents


def _parsed(column: pa.Array, field: pa.Field) -> list[Any]:
    import orjson

    values = plain_values(column)
    return [None if one is None else orjson.loads(one) for one in values] if is_json(field) else values


def _is_plain(chat: Any) -> bool:
    """Turns of known speakers with a text, and nothing else that says something."""
    return isinstance(chat, list) and all(
        isinstance(turn, dict)
        and turn.get("role") in SPEAKERS
        and isinstance(turn.get("content"), str)
        and all(_is_nothing(value) for name, value in turn.items() if name not in ("role", "content"))
        for turn in chat
    )


def _is_nothing(value: Any) -> bool:
    return value is False or value in (
        None,
        "",
        [],
        {},
    )  # 0 is something: a weight of 0 says not to learn from the turn


def _sharegpt(chat: list[dict[str, str]]) -> dict[str, Any] | None:
    return {"conversations": [{"from": SPEAKERS[turn["role"]], "value": turn["content"]} for turn in chat]}


def _alpaca(chat: list[dict[str, str]]) -> dict[str, Any] | None:
    said = {turn["role"]: turn["content"] for turn in chat}
    if [turn["role"] for turn in chat if turn["role"] != "system"] != ["user", "assistant"] or len(said) != len(chat):
        return None
    system = {"system": said["system"]} if "system" in said else {}
    return {"instruction": said["user"], "input": "", "output": said["assistant"], **system}


FORMS: dict[str, Callable[[list[dict[str, str]]], dict[str, Any] | None]] = {"sharegpt": _sharegpt, "alpaca": _alpaca}
