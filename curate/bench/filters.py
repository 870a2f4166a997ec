"""Quality filters beside datatrove's blocks: what each says of the same documents, and what it takes.

Ours as the engine calls them: shards of 16 MB, every stage over the shard before the next one. datatrove's by the block's
`filter()`, document by document, without its pipeline.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

__all__ = ["FILTERS", "Outcome", "Pair", "batches", "block_outcomes", "megabytes", "pairs", "run_blocks", "run_stages"]

FILTERS = ("gopher_quality", "gopher_repetition", "fineweb", "c4")
SHARD = 16_000_000
Outcome = tuple[str | None, str]
"""The reason of a drop, or None, and the text afterwards."""


class Pair(NamedTuple):
    """Our stage, and the block of datatrove that it decides as; None where only one side is asked for."""

    stage: Any
    block: Any


def pairs(*, ours: bool = True, theirs: bool = True) -> dict[str, Pair]:
    """The filters with their defaults.

    Args:
        ours: Whether our stages are made.
        theirs: Whether datatrove's blocks are made.
    """
    stages: list[Any] = [None] * len(FILTERS)
    blocks: list[Any] = [None] * len(FILTERS)
    if ours:
        from curate.stages.registry import find_stage

        stages = [find_stage(name)() for name in FILTERS]
    if theirs:
        from datatrove.pipeline import filters

        blocks = [
            filters.GopherQualityFilter(), filters.GopherRepetitionFilter(), filters.FineWebQualityFilter(),
            filters.C4QualityFilter(),
        ]  # fmt: skip
    return {name: Pair(*both) for name, both in zip(FILTERS, zip(stages, blocks, strict=True), strict=True)}


def batches(texts: Sequence[str], size: int) -> list[Any]:
    """The texts as the engine hands them to a stage."""
    import pyarrow as pa

    ids = [str(number) for number in range(len(texts))]
    table = pa.table({"id": ids, "text": list(texts), "source_uri": ids})
    return [table.slice(start, size) for start in range(0, len(texts), size)]


def run_stages(opened: Sequence[tuple[Any, Any]], texts: Sequence[str]) -> list[dict[int, Outcome]]:
    """What each stage, given with its function, says of documents that it does not keep as they are, by number."""
    outcomes: list[dict[int, Outcome]] = [{} for _ in opened]
    for start, stop in _shards(texts):
        for said, (stage, apply) in zip(outcomes, opened, strict=True):
            for number, part in enumerate(batches(texts[start:stop], stage.batch)):
                verdicts = stage.decide(apply(part)) if stage.kind == "filter" else apply(part).verdicts
                columns = (verdicts.column(name).to_pylist() for name in ("row", "verdict", "reason", "text"))
                for row, verdict, reason, text in zip(*columns, strict=True):
                    place = start + number * stage.batch + row
                    said[place] = (reason, "") if verdict == "dropped" else (None, text)
    return outcomes


def _shards(texts: Sequence[str]) -> list[tuple[int, int]]:
    """First and last document of pieces of about 16 MB."""
    bounds, size = [0], 0
    for number, text in enumerate(texts):
        size += len(text)
        if size > SHARD:
            bounds.append(number + 1)
            size = 0
    return [(start, stop) for start, stop in pairwise([*bounds, len(texts)]) if start < stop]


def run_blocks(blocks: Sequence[Any], texts: Sequence[str]) -> list[list[tuple[Any, Any]]]:
    """What each block says of every document, and the document."""
    from datatrove.data import Document

    return [
        [(block.filter(document), document) for document in (Document(text, "") for text in texts)] for block in blocks
    ]


def block_outcomes(said: Sequence[tuple[Any, Any]]) -> list[Outcome]:
    """datatrove's, one for each document; a result is True, False, or False with a reason."""
    results = (result if isinstance(result, tuple) else (result, None) for result, _ in said)
    return [
        (None, document.text) if kept else (reason, "")
        for (kept, reason), (_, document) in zip(results, said, strict=True)
    ]


def megabytes(texts: Sequence[str]) -> float:
    """Of UTF-8, 10^6 bytes."""
    return sum(len(text.encode()) for text in texts) / 1e6
