"""From features and thresholds to verdicts: vectorised, one pass a rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from curate.stages.verdicts import Rule, verdict_schema

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["decide_by_rules", "limit_words", "verdict_table"]


def decide_by_rules(features: pa.Table, rules: Sequence[Rule]) -> pa.Table:
    """Verdicts that drop every document at its first failing rule, with the value and the threshold.

    A null value fails its rule; NaN fails it too.
    """
    import numpy as np

    count = features.num_rows
    undecided = np.ones(count, dtype=bool)
    reason = np.zeros(count, dtype=object)
    value, threshold = np.full(count, np.nan), np.full(count, np.nan)
    for rule in rules:
        measured = features.column(rule.feature).cast("float64").to_numpy()
        for bound, fails in (
            (rule.minimum, lambda bound, measured=measured: ~(measured >= bound)),
            (rule.maximum, lambda bound, measured=measured: ~(measured <= bound)),
        ):
            if bound is None:
                continue
            failed = fails(bound) & undecided
            reason[failed], value[failed], threshold[failed] = rule.reason, measured[failed], bound
            undecided &= ~failed
    rows = np.flatnonzero(~undecided)
    return verdict_table(rows, "dropped", reason[rows], value=value[rows], threshold=threshold[rows])


def limit_words(value: float | None, threshold: float) -> str:
    """What was asked of a dropped document, in words: `at least 2`, `at most 0.16`.

    A dropped document is on the wrong side of its threshold, so the value tells a minimum from a maximum.

    Args:
        value: What was measured; None where nothing could be.
        threshold: The setting.
    """
    number = f"{threshold:,.0f}" if threshold == int(threshold) else f"{threshold:g}"
    if value is None or value != value:
        return f"the limit is {number}"
    return (
        f"at least {number}" if value < threshold else f"at most {number}" if value > threshold else f"below {number}"
    )


def verdict_table(
    rows: np.ndarray,
    verdict: str,
    reason: str | np.ndarray,
    **columns: np.ndarray | pa.Array | None,
) -> pa.Table:
    """A verdict table from whole columns, for stages that decide vectorised.

    Args:
        rows: Row numbers, ascending.
        verdict: `edited`, `dropped` or `quarantined`.
        reason: One reason, or one for each row.
        columns: Any of `value`, `threshold` (NaN becomes null), `duplicate_of`, `detail`, `text`, `spans`; one for each row.
    """
    import numpy as np
    import pyarrow as pa

    count = len(rows)
    arrays = []
    given = {
        "row": rows,
        "verdict": [verdict] * count,
        "reason": [reason] * count if isinstance(reason, str) else reason,
    }
    for name, kind in zip(verdict_schema().names, verdict_schema().types, strict=True):
        column = {**columns, **given}.get(name)
        if column is None:
            arrays.append(pa.nulls(count, kind))
        elif isinstance(column, pa.Array | pa.ChunkedArray):
            arrays.append(column.cast(kind))
        else:
            arrays.append(
                pa.array(column, kind, from_pandas=isinstance(column, np.ndarray) and column.dtype.kind == "f")
            )
    return pa.table(arrays, schema=verdict_schema())
