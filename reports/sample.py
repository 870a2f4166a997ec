"""Examples of what every stage did: chosen by a hash of the id, so that they are the same ones in every report.

A pass over the verdicts (without texts) chooses at most three documents for each stage, verdict and reason; a second pass
fetches the texts of those alone, as they were when the stage saw them. Memory: one verdict object, and the chosen documents.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from curate.dataset.index import Address
from curate.dataset.ledger import Shard
from curate.dataset.store import Store
from curate.reports.data import Example, Reason, Spread
from curate.reports.history import Glimpse, Histories
from curate.reports.text import excerpt, first_difference, mask

if TYPE_CHECKING:
    import numpy as np

__all__ = ["sample_reasons"]

EXAMPLES = 3
CANDIDATES = 12
"""Rows looked at for each reason in each shard, evenly spaced; the hash chooses among them."""

Key = tuple[str, str, str]


@dataclass(slots=True)
class _Found:
    """What the verdicts say of one reason."""

    count: int = 0
    threshold: float | None = None
    values: list[np.ndarray] = field(default_factory=list)
    chosen: list[tuple[int, Address, dict[str, Any]]] = field(default_factory=list)
    """Hash of the id, document, verdict."""


def sample_reasons(store: Store, shards: Sequence[Shard], histories: Histories) -> dict[str, tuple[Reason, ...]]:
    """The reasons of every stage by its id, most frequent first within a verdict, with examples."""
    found: dict[Key, _Found] = defaultdict(_Found)
    for number, shard in enumerate(shards):
        for step in shard.steps:
            if step.verdicts:
                _look_at(store, step.verdicts, step.stage, number, found)
    histories.read(
        glimpse
        for (stage, _, _), entry in found.items()
        for _, document, row in entry.chosen
        for glimpse in _glimpses(histories, stage, document, row)
    )
    reasons: dict[str, list[Reason]] = defaultdict(list)
    for (stage, verdict, reason), entry in found.items():
        examples = (_example(histories, stage, document, row) for _, document, row in entry.chosen)
        spread = _spread(entry.values)
        reasons[stage].append(Reason(verdict, reason, entry.count, spread, entry.threshold, tuple(examples)))
    order = {"dropped": 0, "quarantined": 1, "expanded": 2, "edited": 3}
    return {
        stage: tuple(sorted(made, key=lambda reason: (order[reason.verdict], -reason.count, reason.reason)))
        for stage, made in reasons.items()
    }


def _look_at(store: Store, name: str, stage: str, shard: int, found: dict[Key, _Found]) -> None:
    import numpy as np
    import polars
    from xxhash import xxh3_64_intdigest

    wanted = ["row", "id", "verdict", "reason", "value", "threshold", "duplicate_of", "detail", "path"]
    table: polars.DataFrame = polars.from_arrow(store.read_table(name, wanted))  # type: ignore[assignment]
    table = table.unique(
        "row", keep="first", maintain_order=True
    )  # a document that was edited in several places is one
    for (verdict, reason), rows in table.group_by(["verdict", "reason"], maintain_order=True):
        entry = found[(stage, str(verdict), str(reason))]
        entry.count += rows.height
        entry.values.append(rows["value"].drop_nulls().to_numpy())
        thresholds = rows["threshold"].drop_nulls().unique()
        if len(thresholds) == 1:
            entry.threshold = thresholds[0]
        places = np.unique(np.linspace(0, rows.height - 1, CANDIDATES).astype(int))
        for row in rows[places].to_dicts():
            document = Address(shard, row["row"])
            entry.chosen.append((xxh3_64_intdigest(row["id"].encode()), document, row))
        entry.chosen = sorted(entry.chosen, key=lambda choice: choice[:2])[:EXAMPLES]


def _glimpses(histories: Histories, stage: str, document: Address, row: dict[str, Any]) -> list[Glimpse]:
    """What is shown of a document: itself, how the edit left it, the other one that it is a copy of."""
    wanted = [Glimpse(document, stage)]
    if row["verdict"] == "edited":
        wanted.append(Glimpse(document, stage, after=True))
    other = histories.address(row["duplicate_of"]) if row["duplicate_of"] else None
    return wanted + ([Glimpse(other, stage)] if other else [])


def _spread(values: list[np.ndarray]) -> Spread | None:
    import numpy as np

    measured = np.concatenate(values) if values else np.empty(0)
    measured = measured[~np.isnan(measured)]
    if len(measured) == 0:
        return None
    return Spread(float(measured.min()), float(np.median(measured)), float(measured.max()))


def _example(histories: Histories, stage: str, document: Address, row: dict[str, Any]) -> Example:
    seen = Glimpse(document, stage)
    other = histories.address(row["duplicate_of"]) if row["duplicate_of"] else None
    text, before, other_text = histories.shown(document, histories.text(seen)), None, None
    if row["verdict"] == "edited":
        text, before = _edit(histories, seen, row["path"] or "text")
    elif row["duplicate_of"]:
        copied = histories.shown(other, histories.text(Glimpse(other, stage))) if other else ""
        text, other_text = _side_by_side(text, copied)
    else:
        text = excerpt(text)
    return Example(
        document=row["id"],
        source=histories.sources.get(document),
        text=text,
        value=row["value"],
        threshold=row["threshold"],
        detail=mask(row["detail"]) if row["detail"] else None,
        before=before,
        other=row["duplicate_of"],
        other_source=histories.sources.get(other) if other else None,
        other_text=other_text,
    )


def _side_by_side(left: str, right: str) -> tuple[str, str]:
    """Excerpts of both texts around the first difference."""
    place = 0 if left == right else first_difference(left, right)
    return excerpt(left, around=place), excerpt(right, around=place)


def _edit(histories: Histories, seen: Glimpse, path: str) -> tuple[str, str | None]:
    """Excerpts around the first edit: after, and before unless the edit removed something that must not be shown."""
    document, text, after = seen.document, histories.text(seen, path), histories.text(seen._replace(after=True), path)
    place = first_difference(text, after)
    shown = histories.shown(document, after)
    # Masking moves what stands behind it, so the place is found again in the masked texts.
    if histories.is_personal(document, seen.stage):
        return excerpt(shown, around=len(histories.shown(document, after[:place]))), None
    before, now = _side_by_side(histories.shown(document, text), shown)
    return now, before
