"""What filters and audits measured: the distribution of every feature, and where the threshold stands.

Verdicts name a value and a threshold, not the feature they are of; the feature is the one whose value at the dropped
documents is the verdict's. Where two features would do, no threshold is shown. At most about `MEASURED` documents are
looked at, in shards taken at even distances.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from curate.dataset.ledger import Shard, Step
from curate.dataset.store import Store
from curate.reports.data import Feature, Histogram
from curate.reports.measures import evenly, quantiles

if TYPE_CHECKING:
    import numpy as np
    import polars

__all__ = ["collect_features", "feature_histogram"]

BINS = 24
SPANNED = 30
"""Ratio of the highest to the lowest value from which the bins have equal ratios."""
TAIL = 0.01
"""Share of the values at each end that is counted into the last bin: a few huge values would leave no room for all else."""
COMPARED = 50
"""Verdicts of a shard that are held against the features."""


@dataclass(slots=True)
class _Measured:
    """The values of a stage's features, and what the thresholds may belong to."""

    values: dict[str, list[np.ndarray]] = field(default_factory=lambda: defaultdict(list))
    limits: dict[tuple[str, float], set[str]] = field(default_factory=dict)
    """The features that could be meant, by reason and threshold."""


def collect_features(store: Store, shards: Sequence[Shard]) -> dict[str, tuple[Feature, ...]]:
    """The features of every stage by its id, in the order in which the stage has them."""
    counts: dict[str, list[tuple[Step, int]]] = defaultdict(list)
    for shard in shards:
        for step in shard.steps:
            if step.features:
                counts[step.stage].append((step, step.count))
    found = {}
    for stage, steps in counts.items():
        measured = _Measured()
        for step in evenly(steps):
            _measure(store, step, measured)
        limits = {(next(iter(names)), limit) for (_, limit), names in measured.limits.items() if len(names) == 1}
        found[stage] = tuple(
            _feature(name, parts, sorted(limit for owner, limit in limits if owner == name))
            for name, parts in measured.values.items()
        )
    return found


def _measure(store: Store, step: Step, measured: _Measured) -> None:
    import polars
    import polars.selectors as select

    assert step.features
    table: polars.DataFrame = polars.from_arrow(store.read_table(step.features))  # type: ignore[assignment]
    numbers = table.select(
        "row", (select.numeric() - select.by_name("row") - select.starts_with("#")).cast(polars.Float64)
    )
    for name in numbers.columns[1:]:
        measured.values[name].append(numbers[name].fill_null(float("nan")).to_numpy())
    if step.verdicts and step.number("dropped"):
        _attribute(numbers, store, step, measured)


def _attribute(numbers: polars.DataFrame, store: Store, step: Step, measured: _Measured) -> None:
    """Narrow down which feature each threshold is of."""
    import polars

    columns = ["row", "verdict", "reason", "value", "threshold"]
    verdicts: polars.DataFrame = polars.from_arrow(store.read_table(step.verdicts or "", columns))  # type: ignore[assignment]
    dropped = verdicts.filter(polars.col("verdict") == "dropped").drop_nulls(["value", "threshold"])
    for (reason, limit), rows in dropped.group_by(["reason", "threshold"], maintain_order=True):
        few = rows.head(COMPARED)
        there = numbers[numbers["row"].search_sorted(few["row"].cast(numbers.schema["row"])).to_list()]
        same = {name for name in numbers.columns[1:] if (there[name] == few["value"]).all()}
        key = (str(reason), float(str(limit)))
        measured.limits[key] = measured.limits.get(key, same) & same


def _feature(name: str, parts: list[np.ndarray], limits: list[float]) -> Feature:
    import numpy as np

    values = np.concatenate(parts)
    known = values[np.isfinite(values)]
    return Feature(
        name, quantiles(known), feature_histogram(known, limits), tuple(limits), len(values), len(values) - len(known)
    )


LARGEST = 2.0**1021
"""Greater values count as this one: what lies between two of these is still a number."""


def feature_histogram(values: np.ndarray, limits: list[float]) -> Histogram:
    """Bins over nearly all values and the thresholds, of equal ratio where the values span orders of magnitude.

    What lies outside is counted in the outermost.
    """
    import numpy as np

    if len(values) == 0:
        return Histogram((0.0, 1.0), {"documents": (0,)})
    values = np.clip(values, -LARGEST, LARGEST)
    low, high = np.quantile(values, [TAIL, 1 - TAIL])
    low, high = (min(max(one, -LARGEST), LARGEST) for one in (min([low, *limits]), max([high, *limits])))
    logarithmic = False
    if (values == np.floor(values)).all() and high - low < BINS:
        edges = np.arange(np.floor(low) - 0.5, np.ceil(high) + 1.0)
    elif logarithmic := bool(low > 0 and high > SPANNED * low):
        edges = np.geomspace(low, high, BINS + 1)
    else:
        edges = np.linspace(low, high if high > low else low + max(1.0, abs(low)), BINS + 1)
    counts = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]
    return Histogram(tuple(map(float, edges)), {"documents": tuple(map(int, counts))}, logarithmic)
