"""Options that several commands share, and the printing of `--json`."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.terminal import escaped

if TYPE_CHECKING:
    from curate.dataset.store import Store

__all__ = ["Json", "Overrides", "StoreOption", "optional_store", "print_json"]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="The store: a folder, or s3://BUCKET/PREFIX; by default CURATE_STORE, then the nearest .curate.",
        metavar="PLACE",
    ),
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Change a setting: ID.key=value, or key=value.", metavar="KEY=VALUE")
]


def optional_store(store: str | None) -> Store | None:
    """The store, where there is one: what works on files of a folder does without.

    Raises:
        CurateError: One is named and is not there.
    """
    from curate.dataset.find import find_store
    from curate.errors import CurateError

    try:
        return find_store(store)
    except CurateError:
        if store is not None:
            raise
        return None


def print_json(record: dict[str, Any]) -> None:
    """One JSON document on stdout, with `"schema": 1`; dates as text, numbers that JSON does not know as null."""
    import json

    typer.echo(escaped(json.dumps(_plain({"schema": 1, **record}), default=_text, ensure_ascii=False, indent=2)))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _text(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
