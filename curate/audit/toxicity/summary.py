"""What the stage `toxicity` said of a version, in numbers: how many documents lie above which score, and do its models agree.

Read off the ledger, of every document that the stage saw, dropped ones included; splits are of those that were kept. No text is
looked at, and none is shown: the highest documents are named by their ids.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from curate.errors import CurateError, did_you_mean

if TYPE_CHECKING:
    from curate.dataset.ledger import Shard
    from curate.dataset.reader import Dataset

__all__ = ["LEVELS", "summarize"]

LEVELS = (0.5, 0.8, 0.9)
"""Scores above which documents are counted."""
HIGHEST, MOST_VALUES = 5, 20
_MEASURED = ("row", "toxicity", "toxicity_mean", "lexicon_terms", "toxicity_linear", "detoxify_toxicity")


def summarize(dataset: Dataset, by: str | None = None) -> list[dict[str, Any]]:
    """One record for each stage of the version that measured `toxicity`.

    Args:
        dataset: The version.
        by: A column: documents that were kept are told by its values, too, the 20 commonest alone.

    Returns:
        `stage`; `documents`, `sources` and `splits` (`documents`, `mean`, `above`: how many by level, `with_terms`);
        `highest` (`id`, `toxicity`); `detoxify` (None where no such model was asked): `asked`, `decided`, and of those it was
        only compared on (outside the band) `compared`, `correlation` (Spearman), `both_above`, `one_above` (at 0.5); `values`
        of the column.

    Raises:
        CurateError: No stage measured it, or there is no such column.
    """
    if by is not None and by not in dataset.columns:
        hint = did_you_mean(by, dataset.columns) or f"there are: {', '.join(dataset.columns)}"
        raise CurateError(f"`{dataset.name}` has no column `{by}`", "--by", hint)
    found: dict[str, list[tuple[Shard, dict[str, np.ndarray]]]] = defaultdict(list)
    for shard in dataset.ledger():
        for step in shard.steps:
            if step.features:
                with dataset.store.parquet(step.features) as file:
                    names = [name for name in _MEASURED if name in file.schema_arrow.names]
                    if "toxicity" in names:
                        table = file.read(names)
                        columns = {name: table.column(name).cast("float64").to_numpy() for name in names}
                        found[step.stage].append((shard, columns))
    if not found:
        raise CurateError(
            f"no stage of `{dataset.name}` measured `toxicity`",
            hint="add `{stage: toxicity}` to the pipeline and run it",
        )
    return [_of_stage(dataset, stage, parts, by) for stage, parts in found.items()]


def _of_stage(
    dataset: Dataset, stage: str, parts: list[tuple[Shard, dict[str, np.ndarray]]], by: str | None
) -> dict[str, Any]:
    by_source: dict[str, list[dict[str, np.ndarray]]] = defaultdict(list)
    for shard, columns in parts:
        by_source[shard.source].append(columns)
    carried = [name for name in ("toxicity", "lexicon_terms") if name in dataset.schema.names]
    splits = {}
    for split in dataset.splits if "toxicity" in carried else ():
        batches = dataset.batches(split, columns=carried)
        splits[split] = _counted([
            {name: batch.column(name).cast("float64").to_numpy(zero_copy_only=False) for name in carried}
            for batch in batches
        ])  # fmt: skip
    return {
        "stage": stage,
        "documents": _counted([columns for _, columns in parts]),
        "sources": {name: _counted(columns) for name, columns in sorted(by_source.items())},
        "splits": splits,
        "values": _by_value(dataset, carried, by) if by is not None and "toxicity" in carried else {},
        "highest": _highest(dataset, parts),
        "detoxify": _agreement([columns for _, columns in parts if "detoxify_toxicity" in columns]),
    }


def _by_value(dataset: Dataset, carried: list[str], by: str) -> dict[str, dict[str, Any]]:
    found: dict[str, list[dict[str, np.ndarray]]] = defaultdict(list)
    for batch in dataset.batches(None, columns=[*carried, by]):
        columns = {name: batch.column(name).cast("float64").to_numpy(zero_copy_only=False) for name in carried}
        values = np.array([str(value) for value in batch.column(by).to_pylist()], dtype=object)
        for value in set(values.tolist()):
            found[value].append({name: column[values == value] for name, column in columns.items()})
    counted = {value: _counted(parts) for value, parts in found.items()}
    commonest = sorted(counted, key=lambda value: (-counted[value]["documents"], value))[:MOST_VALUES]
    return {value: counted[value] for value in commonest}


def _joined(parts: list[dict[str, np.ndarray]], name: str) -> np.ndarray:
    return np.concatenate([np.zeros(0), *(columns[name] for columns in parts if name in columns)])


def _counted(parts: list[dict[str, np.ndarray]]) -> dict[str, Any]:
    scores, terms = _joined(parts, "toxicity"), _joined(parts, "lexicon_terms")
    return {
        "documents": len(scores),
        "mean": float(scores.mean()) if len(scores) else None,
        "above": {str(level): int((scores > level).sum()) for level in LEVELS},
        "with_terms": int((terms > 0).sum()),
    }


def _highest(dataset: Dataset, parts: list[tuple[Shard, dict[str, np.ndarray]]]) -> list[dict[str, Any]]:
    """Ids of the highest documents, without a word of them."""
    best: list[tuple[float, int, int]] = []
    for place, (_, columns) in enumerate(parts):
        scores = columns["toxicity"]
        first = np.argsort(-scores, kind="stable")[:HIGHEST]
        best += [(-float(scores[one]), place, int(columns["row"][one])) for one in first]
    chosen = sorted(best)[:HIGHEST]
    ids = {}
    for place in {place for _, place, _ in chosen}:
        with dataset.store.parquet(parts[place][0].object) as file:
            ids[place] = file.read(["id"]).column("id")
    return [{"id": ids[place][row].as_py(), "toxicity": -score} for score, place, row in chosen]


def _agreement(parts: list[dict[str, np.ndarray]]) -> dict[str, Any] | None:
    """How far the two models say the same; only documents that the larger one did not decide tell."""
    from scipy.stats import spearmanr

    if not parts:
        return None
    linear, larger, final = (_joined(parts, name) for name in ("toxicity_linear", "detoxify_toxicity", "toxicity"))
    asked = ~np.isnan(larger)
    decided = asked & (final != linear)
    small, large = linear[asked & ~decided], larger[asked & ~decided]
    varied = len(small) > 2 and np.ptp(small) > 0 and np.ptp(large) > 0
    return {
        "asked": int(asked.sum()), "decided": int(decided.sum()), "compared": len(small),
        "correlation": float(spearmanr(small, large).statistic) if varied  # pyright: ignore[reportAttributeAccessIssue]
        else None,
        "both_above": int(((small > 0.5) & (large > 0.5)).sum()),
        "one_above": int(((small > 0.5) != (large > 0.5)).sum()),
    }  # fmt: skip
