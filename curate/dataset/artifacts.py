"""Tables that stages over all documents leave with a version: how a mixture came out, what a table's train split taught.

open_dataset(NAME).artifact("table_features", "learned")     a pyarrow.Table
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from curate.errors import CurateError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.dataset.reader import Dataset
    from curate.dataset.store import Store

__all__ = ["SHOWN", "Shown", "artifact", "shown"]

_CELLS = {"column": "column", "reason": "reason", "train": "train", "validation": "validation", "test": "test"}
SHOWN: dict[str, dict[str, dict[str, str]]] = {
    "mix": {
        "mix": {
            "cell": "cell", "documents": "documents", "kept": "kept", "size": "size", "share": "asked", "seen_share": "given",
            "rate": "times", "seen": "seen", "unique": "unique", "effective": "worth once",
        }
    },
    "select": {
        "selected": {
            "cell": "cell", "documents": "documents", "kept": "kept", "size": "size", "budget": "budget", "given": "given",
            "last_score": "last score",
        }
    },
    "topics": {"topics": {"name": "topic", "sampled": "documents it was made of", "words": "words"}},
    "table_types": {"learned": {"column": "column", "kind": "kind", "values": "values", "how": "read as"}, "cells": _CELLS},
    "table_duplicates": {"conflicts": {"id": "first row", "rows": "equal rows", "labels": "their labels"}},
    "table_missing": {
        "learned": {"column": "column", "kind": "kind", "empty_share": "empty share", "how": "filled by", "value": "value"},
        "cells": _CELLS,
    },
    "table_outliers": {
        "learned": {"column": "column", "median": "median", "low": "low", "high": "high", "far": "far in train"},
        "cells": _CELLS,
    },
    "table_features": {
        "learned": {
            "column": "column", "kind": "kind", "information": "tells of the label (nats)", "kept": "kept", "why": "why not",
            "places": "numbers",
        },
        "cells": _CELLS,
    },
}  # fmt: skip
"""Of stages, their tables that people are shown: the columns, and what people call them."""


class Shown(NamedTuple):
    """A table as people are shown it.

    Attributes:
        name: Of the artifact.
        columns: What its columns are called.
        rows: Their values.
    """

    name: str
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def shown(store: Store, stage: Mapping[str, Any]) -> list[Shown]:
    """What people are shown of a stage's tables; those that are there and have rows.

    Args:
        store: The store.
        stage: The stage, as the manifest has it.
    """
    found = []
    for name, columns in SHOWN.get(stage["stage"], {}).items():
        objects = stage["artifacts"].get(name, {}).get("objects", ())
        rows = [row for one in objects for row in store.read_table(one).to_pylist()]
        if rows:
            found.append(Shown(name, tuple(columns.values()), [tuple(row[one] for one in columns) for row in rows]))
    return found


def artifact(dataset: Dataset, stage: str, name: str) -> pa.Table:
    """A table that a stage left with a version.

    Args:
        dataset: The version.
        stage: Id of the stage in the pipeline.
        name: Of the table.

    Raises:
        CurateError: There is no such stage, or it has left no such table.
    """
    import pyarrow as pa

    stages = {one["id"]: one["artifacts"] for one in dataset.manifest["stages"]}
    if stage not in stages:
        hint = did_you_mean(stage, stages) or f"there are: {', '.join(stages)}"
        raise CurateError(f"`{dataset.name}` has no stage `{stage}`", hint=hint)
    if name not in stages[stage]:
        there = ", ".join(sorted(stages[stage])) or "none"
        raise CurateError(f"the stage `{stage}` has left no table `{name}`", hint=f"its tables: {there}")
    return pa.concat_tables([dataset.store.read_table(one) for one in stages[stage][name]["objects"]])
