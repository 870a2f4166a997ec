"""Options that several commands share, and the printing of `--json`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.terminal import json_text

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
    """One JSON document on stdout, with `"schema": 1`."""
    typer.echo(json_text(record))
