"""Examples of what every stage did: chosen by a hash of the id, so that they are the same ones in every report.

A pass over the verdicts (without texts) chooses at most three documents for each stage, verdict and reason; a second pass
fetches the texts of those alone, as they were when the stage saw them. Memory: one verdict object, and the chosen documents.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from curate.dataset.ledger import Shard
from curate.dataset.store import Store
from curate.reports.data import Example, Reason, Spread
from curate.reports.text import excerpt, first_difference, mask, without

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["Texts", "sample_reasons"]

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
    chosen: list[tuple[int, int, int, dict[str, Any]]] = field(default_factory=list)
    """Hash of the id, shard, step, verdict."""


def sample_reasons(store: Store, shards: Sequence[Shard]) -> dict[str, tuple[Reason, ...]]:
    """The reasons of every stage by its id, most frequent first within a verdict, with examples."""
    found: dict[Key, _Found] = defaultdict(_Found)
    for number, shard in enumerate(shards):
        for at, step in enumerate(shard.steps):
            if step.verdicts:
                _look_at(store, step.verdicts, (step.stage, number, at), found)
    texts = Texts(store, shards)
    wanted = [row for entry in found.values() for *_, row in entry.chosen]
    texts.fetch([row["id"] for row in wanted] + [row["duplicate_of"] for row in wanted if row["duplicate_of"]])
    reasons: dict[str, list[Reason]] = defaultdict(list)
    for (stage, verdict, reason), entry in found.items():
        examples = (_example(texts, stage, at, row) for _, _, at, row in entry.chosen)
        spread = _spread(entry.values)
        reasons[stage].append(Reason(verdict, reason, entry.count, spread, entry.threshold, tuple(examples)))
    order = {"dropped": 0, "quarantined": 1, "edited": 2}
    return {
        stage: tuple(sorted(made, key=lambda reason: (order[reason.verdict], -reason.count, reason.reason)))
        for stage, made in reasons.items()
    }


def _look_at(store: Store, name: str, place: tuple[str, int, int], found: dict[Key, _Found]) -> None:
    import numpy as np
    import polars
    from xxhash import xxh3_64_intdigest

    stage, shard, step = place
    wanted = ["id", "verdict", "reason", "value", "threshold", "duplicate_of", "detail"]
    table: polars.DataFrame = polars.from_arrow(store.read_table(name, wanted))  # type: ignore[assignment]
    for (verdict, reason), rows in table.group_by(["verdict", "reason"], maintain_order=True):
        entry = found[(stage, str(verdict), str(reason))]
        entry.count += rows.height
        entry.values.append(rows["value"].drop_nulls().to_numpy())
        thresholds = rows["threshold"].drop_nulls().unique()
        if len(thresholds) == 1:
            entry.threshold = thresholds[0]
        places = np.unique(np.linspace(0, rows.height - 1, CANDIDATES).astype(int))
        for row in rows[places].to_dicts():
            entry.chosen.append((xxh3_64_intdigest(row["id"].encode()), shard, step, row))
        entry.chosen = sorted(entry.chosen, key=lambda choice: choice[:3])[:EXAMPLES]


def _spread(values: list[np.ndarray]) -> Spread | None:
    import numpy as np

    measured = np.concatenate(values) if values else np.empty(0)
    measured = measured[~np.isnan(measured)]
    if len(measured) == 0:
        return None
    return Spread(float(measured.min()), float(np.median(measured)), float(measured.max()))


def _example(texts: Texts, stage: str, step: int, row: dict[str, Any]) -> Example:
    identity, other = row["id"], row["duplicate_of"]
    history = texts.of(identity)
    seen, before = history.at(step), None
    text, other_text = history.shown(seen), None
    if row["verdict"] == "edited":
        text, before = _edit(history, seen, history.at(step + 1), step)
    elif other:
        text, other_text = _side_by_side(text, texts.of(other).shown_before(stage))
    else:
        text = excerpt(text)
    return Example(
        document=identity,
        source=history.source,
        text=text,
        value=row["value"],
        threshold=row["threshold"],
        detail=mask(row["detail"]) if row["detail"] else None,
        before=before,
        other=other,
        other_source=texts.of(other).source if other else None,
        other_text=other_text,
    )


def _side_by_side(left: str, right: str) -> tuple[str, str]:
    """Excerpts of both texts around the first difference."""
    place = 0 if left == right else first_difference(left, right)
    return excerpt(left, around=place), excerpt(right, around=place)


def _edit(history: _History, seen: str, after: str, step: int) -> tuple[str, str | None]:
    """Excerpts around the first edit: after, and before unless the edit removed something that must not be shown."""
    place = first_difference(seen, after)
    # Masking moves what stands behind it, so the place is found again in the masked texts.
    if history.spans_at(step):
        return excerpt(history.shown(after), around=len(history.shown(after[:place]))), None
    before, now = _side_by_side(history.shown(seen), history.shown(after))
    return now, before


# ---- texts of chosen documents


@dataclass(slots=True)
class _History:
    """A document's text as read and after each edit, and what the edits blocked out of it."""

    source: str | None = None
    read: str = ""
    steps: dict[str, int] = field(default_factory=dict)
    """Number of each stage's step in the document's shard."""
    edits: list[tuple[int, str, str, list[dict[str, Any]]]] = field(default_factory=list)
    """Step, stage, new text, spans in the text before."""

    def at(self, step: int) -> str:
        """The text that the step (by number) saw."""
        return next((text for number, _, text, _ in reversed(self.edits) if number < step), self.read)

    def spans_at(self, step: int) -> list[dict[str, Any]]:
        """The spans that the step's edit gave."""
        return next((spans for number, _, _, spans in self.edits if number == step), [])

    def shown(self, text: str) -> str:
        """The text without what any stage found to be personal in this document, and masked."""
        secrets = [self.at(number)[span["start"] : span["end"]] for number, _, _, spans in self.edits for span in spans]
        return mask(without(text, secrets))

    def shown_before(self, stage: str) -> str:
        """The text that the stage (by id) saw, to be shown."""
        return self.shown(self.at(self.steps.get(stage, 0)))


class Texts:
    """The histories of some documents, fetched in one pass over the ledger."""

    def __init__(self, store: Store, shards: Sequence[Shard]) -> None:
        self.store, self.shards = store, shards
        self.histories: dict[str, _History] = {}

    def of(self, identity: str) -> _History:
        """A document's history; an empty one where the ledger does not know it."""
        return self.histories.get(identity) or _History()

    def fetch(self, identities: Iterable[str]) -> None:
        """Read the histories of these documents, unless they are known."""
        wanted = sorted(set(identities) - self.histories.keys())
        for shard in self.shards:
            if not wanted:
                return
            found = self._fetch_from(shard, wanted)
            wanted = [identity for identity in wanted if identity not in found]

    def _fetch_from(self, shard: Shard, wanted: list[str]) -> set[str]:
        rows = self._rows(shard.object, ["id", "source_uri", "text"], wanted).to_pylist()
        steps = {step.stage: number for number, step in enumerate(shard.steps)}
        here = {row["id"]: _History(row["source_uri"], row["text"], steps) for row in reversed(rows)}
        for number, step in enumerate(shard.steps):
            if not step.verdicts or not here:
                continue
            edits = self._rows(step.verdicts, ["id", "text", "spans"], sorted(here))
            for row in edits.to_pylist():
                if row["text"] is not None:
                    here[row["id"]].edits.append((number, step.stage, row["text"], row["spans"] or []))
        self.histories.update(here)
        return set(here)

    def _rows(self, name: str, columns: list[str], wanted: list[str]) -> pa.Table:
        import pyarrow as pa
        import pyarrow.compute as compute

        # The ids first: a shard that has none of the documents costs no text.
        ids = self.store.read_table(name, ["id"]).column("id")
        here = compute.is_in(ids, value_set=pa.array(wanted, pa.string()))  # pyright: ignore[reportAttributeAccessIssue]
        if not compute.any(here).as_py():  # pyright: ignore[reportAttributeAccessIssue]
            return pa.table({name: pa.array([], pa.string()) for name in columns})
        return self.store.read_table(name, columns).filter(here)
