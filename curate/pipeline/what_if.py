"""What another threshold would do, told from what is stored: no document is read or measured.

A version's ledger has, for every stage, what it measured of each document that it saw, and who left. So of a stage whose
thresholds change it is known exactly who would leave and why, among the documents that it saw. A document that it would
let in, or edit otherwise, is new to the stages behind, and was never measured there: it is counted apart, and followed no
further. A document that would leave earlier is no longer there for them. A stage that compares all documents is taken to
say of the others what it said.

Shard after shard; memory is the features of one. Cost: benchmarks/what_if.py.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple

from curate.config.pipeline import Pipeline
from curate.dataset.ledger import REMOVED, Shard, Step
from curate.dataset.reader import Dataset
from curate.dataset.state import SIZE, State
from curate.dataset.store import Store
from curate.pipeline.thresholds import Touched, touched
from curate.stages.contract import Filter, Global
from curate.stages.judge import Judged, judge
from curate.stages.selectors import joined, string_columns

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["what_if"]

COUNTS = ("tokens", "token_count", "words")
"""Columns and features that say how long a document is, best first; else its bytes."""
WORDS = 12
"""Of the text of an example."""


@dataclass(slots=True)
class Amount:
    """Some documents, and how long they are together."""

    documents: int = 0
    size: int = 0

    def add(self, which: np.ndarray, sizes: np.ndarray) -> None:
        """More of them: those of a shard's rows that `which` (bool) says."""
        self.documents += int(which.sum())
        self.size += int(sizes[which].sum())


class _Example(NamedTuple):
    distance: float
    shard: int
    row: int
    value: float
    before: float | None
    now: float | None


@dataclass(slots=True)
class _Tally:
    """All that is counted, over the shards.

    Attributes:
        alone: For each change the documents that would leave, and that would stay, were it the only one.
        rules: By stage, reason, `before` or `now`, and `first`, `alone` or `only`.
        stages: By stage: what it saw and would see, what left and would leave, and what it never saw but would.
        examples: By stage, reason and whether it would leave: those nearest to the threshold.
        kept: Before, and as far as known now.
    """

    alone: dict[tuple[str, str], tuple[Amount, Amount]] = field(default_factory=dict)
    rules: dict[tuple[str, str, str, str], Amount] = field(default_factory=dict)
    stages: dict[tuple[str, str], Amount] = field(default_factory=dict)
    examples: dict[tuple[str, str, bool], list[_Example]] = field(default_factory=dict)
    kept: tuple[Amount, Amount] = field(default_factory=lambda: (Amount(), Amount()))


def what_if(dataset: Dataset, pipeline: Pipeline, *, examples: int = 3) -> dict[str, Any]:
    """What a pipeline file whose thresholds are others than those of a version would make of the version's documents.

    Args:
        dataset: The version that was made by the file as it was.
        pipeline: The file with its changes.
        examples: How many documents nearest to each threshold are named.

    Returns:
        `dataset, version, unit, sizes_of, changes, rules, stages, documents, examples, notes`: the fields of `curate what-if
        --json`. Sizes are of documents as the stage `sizes_of` saw them; None: as they were read.

    Raises:
        CurateError: Something else is changed than thresholds, or nothing.
    """
    found = touched(dataset, pipeline)
    shards = dataset.ledger()
    order = [entry.id for entry in pipeline.stages]
    first = min(order.index(name) for name in found.stages)
    unit = _unit(dataset.store, shards, order[: first + 1])
    tally, gone = _Tally(), dict[tuple[str, str], Any]()
    for number, shard in enumerate(shards):
        _Shard(dataset.store, number, shard, order, found, unit, tally, gone, examples).count()
    told = _told(tally, found, order[first:])
    notes = [*found.notes, *_unsure(tally, pipeline, order[first:])]
    named = _name_examples(dataset.store, shards, found, tally)
    facts = {
        "dataset": dataset.name,
        "version": dataset.version,
        "tag": dataset.tag,
        "unit": unit[0],
        "sizes_of": unit[1],
    }
    return {**facts, **told, "examples": named, "notes": notes}


# ---- how long documents are


def _unit(store: Store, shards: Sequence[Shard], stages: Sequence[str]) -> tuple[str, str | None]:
    """What the documents are counted in, and the stage that measured it (None: it was read with them)."""
    there = [shard for shard in shards if shard.documents and {step.stage for step in shard.steps} & set(stages)]
    for name in COUNTS:
        if there and all(_counts(store, shard.object, name) for shard in there):
            return name, None
        for stage in stages:
            held = [step.features for shard in there for step in shard.steps if step.stage == stage]
            if held and len(held) == len(there) and all(one and _counts(store, one, name) for one in held):
                return name, stage
    return "bytes", None


def _counts(store: Store, held: str, name: str) -> bool:
    import pyarrow.types as types

    schema = store.read_schema(held)
    return name in schema.names and types.is_integer(schema.field(name).type)


def _sizes(store: Store, shard: Shard, unit: tuple[str, str | None]) -> np.ndarray:
    """How long each row is (int64); 0 where that is not known."""
    import numpy as np
    import pyarrow.compute as compute

    name, stage = unit
    sizes = np.zeros(shard.documents, dtype=np.int64)
    if stage is None:
        column = SIZE if name == "bytes" else name
        if column in store.read_schema(shard.object).names:
            return compute.fill_null(store.read_table(shard.object, [column]).column(0), 0).to_numpy().astype(np.int64)
        return State(store, replace(shard, steps=())).sizes if name == "bytes" else sizes
    step = next((step for step in shard.steps if step.stage == stage), None)
    if step and step.features:
        held = store.read_table(step.features, ["row", name])
        sizes[held.column("row").to_numpy()] = compute.fill_null(held.column(name), 0).to_numpy()
    return sizes


# ---- one shard


@dataclass(slots=True)
class _Shard:
    """One shard's way through the stages, as it was and as it would be."""

    store: Store
    number: int
    shard: Shard
    order: Sequence[str]
    found: Touched
    unit: tuple[str, str | None]
    tally: _Tally
    no_longer: dict[tuple[str, str], Any]
    """Ids that would no longer come to an expander, by the object of their shard and the expander."""
    examples: int
    sizes: np.ndarray = field(init=False)
    as_was: np.ndarray = field(init=False)
    """Whether the text of each row is what it was (bool): no stage so far would edit it otherwise."""

    def count(self) -> None:
        """Count what would become of its documents."""
        import numpy as np

        self.sizes = _sizes(self.store, self.shard, self.unit)
        steps = {step.stage: step for step in self.shard.steps}
        before, self.as_was = np.ones((2, self.shard.documents), dtype=bool)
        made = self.shard.source in self.order
        for step in self.shard.steps:  # ids that were there twice, documents that were erased
            if step.stage not in self.order or (made and step.stage == self.shard.source):
                before &= ~self._left(step)
        now = before & ~self._orphans()
        for name in self.order[self.order.index(self.shard.source) + 1 if made else 0 :]:
            step = steps.get(name)
            seen = before if step else np.zeros_like(before)
            unseen = now & ~(seen & self.as_was)
            now = now & ~unseen
            left = self._left(step) if step else seen
            leaves = self._decided(name, step, left, now) if step and name in self.found.stages else left
            for what, which in (("in", before), ("gone", left), ("in now", now), ("gone now", now & leaves)):
                self._stage(name, what).add(which, self.sizes)
            self._stage(name, "never seen").add(unseen, self.sizes)
            if step and step.made and (seen & ~now).any():
                self.no_longer[self.shard.object, name] = self._ids(seen & ~now)
            before, now = before & ~left, now & ~leaves
        self.tally.kept[0].add(before, self.sizes)
        self.tally.kept[1].add(now, self.sizes)

    def _stage(self, name: str, what: str) -> Amount:
        return self.tally.stages.setdefault((name, what), Amount())

    def _ids(self, which: np.ndarray) -> pa.Array:
        import pyarrow as pa

        return self.store.read_table(self.shard.object, ["id"]).column("id").filter(pa.array(which)).combine_chunks()

    def _orphans(self) -> np.ndarray:
        """Rows that would not be made, since what they were made of would not be there."""
        import numpy as np
        import pyarrow.compute as compute

        gone = self.no_longer.get((self.shard.parent or "", self.shard.source))
        if gone is None:
            return np.zeros(self.shard.documents, dtype=bool)
        parents = self.store.read_table(self.shard.object, ["parent"]).column("parent")
        return compute.is_in(parents, gone).to_numpy()

    def _left(self, step: Step) -> np.ndarray:
        """Which rows left at a step."""
        import numpy as np

        left = np.zeros(self.shard.documents, dtype=bool)
        left[self._rows(step, REMOVED)] = True
        return left

    def _rows(self, step: Step, verdicts: Sequence[str]) -> np.ndarray:
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as compute

        if not step.verdicts:
            return np.zeros(0, dtype=np.int64)
        said = self.store.read_table(step.verdicts, ["row", "verdict"])
        return said.filter(compute.is_in(said["verdict"], pa.array(verdicts))).column("row").to_numpy()

    def _decided(self, name: str, step: Step, left: np.ndarray, now: np.ndarray) -> np.ndarray:
        """Which rows would leave at a stage that is changed; counted by rule."""
        import numpy as np
        import pyarrow as pa

        if not step.features:
            return left
        stage, features = self.found.stages[name], self.store.read_table(step.features)
        rows = features.column("row").to_numpy()
        sound = np.flatnonzero(~np.isin(rows, self._rows(step, ["quarantined"])))
        rows, features = rows[sound], features.take(pa.array(sound))
        before, after = judge(stage.before, features), judge(stage.after, features)
        self._rules(name, "before", before, rows, np.ones(len(rows), dtype=bool))
        self._rules(name, "now", after, rows, now[rows])
        for change in stage.changes:
            alone = after if len(stage.changes) == 1 else judge(stage.only(change), features)
            leave, stay = self.tally.alone.setdefault((name, change.setting), (Amount(), Amount()))
            leave.add(alone.gone & ~before.gone, self.sizes[rows])
            stay.add(before.gone & ~alone.gone, self.sizes[rows])
        self._examples(name, before, after, rows, after.gone & ~before.gone & now[rows], leaves=True)
        self._examples(name, before, after, rows, before.gone & ~after.gone & now[rows], leaves=False)
        leaves = left.copy()
        leaves[rows] = after.gone
        self.as_was[rows] = self.as_was[rows] & ~before.differs(after)
        return leaves

    def _rules(self, name: str, when: str, judged: Judged, rows: np.ndarray, there: np.ndarray) -> None:
        for reason, does in judged.by_reason():
            for how, which in does.items():
                amount = self.tally.rules.setdefault((name, reason, when, how), Amount())
                amount.add(which & there, self.sizes[rows])

    def _examples(
        self,
        name: str,
        before: Judged,
        after: Judged,
        rows: np.ndarray,
        which: np.ndarray,
        *,
        leaves: bool,
    ) -> None:
        """Those nearest to the threshold that would be, by the rule that says why they leave, or left."""
        import numpy as np

        for rule in (after if leaves else before).rules:
            here = np.flatnonzero(which & rule.first)
            was, new = rule.among(before.rules), rule.among(after.rules)
            bounds = [one.bound if one else None for one in (was, new)]
            bound = (new or rule).bound
            far = np.zeros(len(here)) if bound is None else np.abs(rule.values[here] - bound)
            nearest = np.argsort(far, kind="stable")[: self.examples]  # NaN last
            far, values = np.nan_to_num(far[nearest], nan=np.inf).tolist(), rule.values[here[nearest]].tolist()
            places = rows[here[nearest]].tolist()
            more = [_Example(*one, *bounds) for one in zip(far, repeat(self.number), places, values)]
            known = self.tally.examples.setdefault((name, rule.reason, leaves), [])
            known[:] = heapq.nsmallest(self.examples, [*known, *more])


# ---- what is told


def _amount(amount: Amount | None) -> dict[str, int] | None:
    return None if amount is None else {"documents": amount.documents, "size": amount.size}


def _told(tally: _Tally, found: Touched, stages: Sequence[str]) -> dict[str, Any]:
    """The counts, as JSON."""
    changes, rules = [], []
    for name, stage in found.stages.items():
        for change in stage.changes:
            leave, stay = tally.alone.get((name, change.setting), (Amount(), Amount()))
            alone = {"leave": _amount(leave), "stay": _amount(stay)}
            changes.append(
                {"stage": name, "setting": change.setting, "from": change.before, "to": change.after} | alone
            )
        none = Amount() if type(stage.after).decide is Filter.decide else None
        nothing = {"first": Amount(), "alone": none, "only": none}
        reasons = dict.fromkeys(reason for at, reason, _, _ in tally.rules if at == name)
        for reason in reasons:
            rule = {
                when: {how: _amount(tally.rules.get((name, reason, when, how), none)) for how, none in nothing.items()}
                for when in ("before", "now")
            }
            rules.append({"stage": name, "reason": reason, **rule})
    rows = []
    for name in stages:
        counts = {
            what: tally.stages.get((name, what), Amount())
            for what in ("in", "gone", "in now", "gone now", "never seen")
        }
        rows.append({"id": name, **{what.replace(" ", "_"): _amount(amount) for what, amount in counts.items()}})
    unknown = Amount()
    for row in rows:
        unknown.documents += row["never_seen"]["documents"]
        unknown.size += row["never_seen"]["size"]
    before, now = tally.kept
    documents = {"before": _amount(before), "now": _amount(now), "unknown": _amount(unknown)}
    return {"changes": changes, "rules": rules, "stages": rows, "documents": documents}


def _unsure(tally: _Tally, pipeline: Pipeline, stages: Sequence[str]) -> Iterator[str]:
    """What is taken to be as it was, though it may not be: one sentence for all stages."""
    told: list[str] = []
    for entry in pipeline.stages:
        if entry.id not in stages or not isinstance(entry.stage, Global):
            continue
        seen, now, new = (
            tally.stages.get((entry.id, what), Amount()).documents for what in ("in", "in now", "never seen")
        )
        if seen != now or new:
            told.append(f"`{entry.id}` ({seen - now:,} that it saw would not come to it, {new:,} others would or may)")
    if told:
        yield f"these decide over all documents, and are taken to say of the rest what they said: {', '.join(told)}"


def _name_examples(store: Store, shards: Sequence[Shard], found: Touched, tally: _Tally) -> list[dict[str, Any]]:
    """The documents of the examples, with the beginning of the text that the stage saw."""
    named: list[dict[str, Any]] = []
    for (name, reason, leaves), some in tally.examples.items():
        for one in some:
            identity, text = _document(store, shards[one.shard], name, one.row, found.stages[name].after)
            facts = {"value": one.value, "before": one.before, "now": one.now, "text": " ".join(text.split()[:WORDS])}
            named.append(
                {"stage": name, "reason": reason, "would": "leave" if leaves else "stay", "id": identity} | facts
            )
    return named


def _document(store: Store, shard: Shard, name: str, row: int, stage: Filter) -> tuple[str, str]:
    """Its id, and the text that a stage saw; of one that looks at no texts the strings of its columns, or all there are."""
    import numpy as np

    earlier = tuple(step for step in shard.steps[: [step.stage for step in shard.steps].index(name)])
    table = State(store, replace(shard, steps=earlier)).table(np.array([row]))
    own = [one for one in string_columns(table.schema) if one in (stage.columns() or ())]
    on = stage.on if stage.reads_text or "text" in table.column_names else own or ["*"]
    return table.column("id")[0].as_py(), joined(table, on)[0].as_py() or ""
