"""Run a global stage on texts as the engine does: signatures in batches, then one decision over all."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import pyarrow as pa
import pytest


class Outcome(NamedTuple):
    verdicts: dict[str, dict]
    columns: dict[str, list]
    pairs: list[tuple[str, str, float]]
    fetched: list[list[int]]


def reduce_stage(stage, table: pa.Table, cuts=()) -> Outcome:
    sign = stage.open()
    edges = [0, *sorted(cuts), table.num_rows]
    batches = [table.slice(start, stop - start) for start, stop in pairwise(edges)]
    signatures = pa.concat_tables([sign(batch) for batch in batches]).append_column("id", table["id"])
    fetched = []

    def texts(numbers):
        fetched.append(numbers.tolist())
        return table["text"].combine_chunks().take(pa.array(numbers))

    reduced = stage.reduce(signatures, texts)
    ids = table["id"].to_pylist()
    return Outcome(
        {ids[row["row"]]: row for row in reduced.verdicts.to_pylist()},
        {name: column.to_pylist() for name, column in reduced.columns.items()},
        [tuple(row.values()) for row in reduced.artifacts["pairs"].to_pylist()] if "pairs" in reduced.artifacts else [],
        fetched,
    )


@pytest.fixture
def deduplicate(documents):
    """Apply a global stage to texts; gives verdicts by id, new columns as lists, pairs, and the texts it fetched."""

    def apply(stage, texts, cuts=(), **columns) -> Outcome:
        return reduce_stage(stage, documents(texts, **columns), cuts)

    return apply
