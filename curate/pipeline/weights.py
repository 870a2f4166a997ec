"""Whether the weights of a mixture name what documents have, looked at as soon as these are read and before any other work.

What stages attach or edit cannot be known then: of such columns a run tells after the mixing which cells are empty. Cost: the
columns of the cells, of as many shards as it takes to find every weight; all of them where one is mistyped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from curate.config.pipeline import ConfiguredStage
from curate.dataset.ledger import Shard
from curate.dataset.store import Store
from curate.errors import ConfigurationErrors, CurateError, did_you_mean
from curate.mix.mix import Mix
from curate.stages.selectors import EVERYTHING, root

__all__ = ["check_weights"]


def check_weights(stages: Sequence[ConfiguredStage], store: Store, shards: Sequence[Shard]) -> None:
    """Raise `ConfigurationErrors` where a weight is that of a cell that no document of the sources is in."""
    errors = []
    for number, entry in enumerate(stages):
        stage = entry.stage
        if isinstance(stage, Mix) and stage.by and stage.weights and _as_read(stage.by, stages[:number]):
            left, there = set(stage.weights), set[str]()
            for cells in _cells(stage, store, shards):
                there |= cells
                if not (left := left - cells):
                    break
            errors += [
                CurateError(
                    f"stage `{entry.id}`: no document of the sources is in the cell `{cell}` of `weights`", entry.where,
                    did_you_mean(cell, there) or f"there are: {', '.join(sorted(there)[:10])}",
                )
                for cell in sorted(left if there else ())
            ]  # fmt: skip
    if errors:
        raise ConfigurationErrors(errors)


def _as_read(columns: Sequence[str], before: Sequence[ConfiguredStage]) -> bool:
    """Whether no stage makes or edits any of the columns."""
    for entry in before:
        stage: Any = entry.stage
        added, on = stage.adds(), {root(one, columns) for one in stage.on}
        if added is None or {*added, *on, *stage.on} & {*columns, EVERYTHING}:
            return False
    return True


def _cells(stage: Mix, store: Store, shards: Sequence[Shard]) -> Iterator[set[str]]:
    """The cells of the documents of one shard after the other, as they were read."""
    for shard in shards:
        if shard.documents and not shard.parent and set(stage.by) <= set(store.read_schema(shard.schema).names):
            yield set(stage.cells(store.read_table(shard.object, list(stage.by))).to_pylist())
