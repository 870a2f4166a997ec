"""What an audit counts in one pass over the shards of a version: who is mentioned, what became of it, what is said beside.

Texts are those of the documents as they were first there (as read, or as an extractor made them), so that all of them, kept or
removed, are looked at by the same instrument. Memory: one shard; the tables, which grow with stages, groups and strata; of
scores and sentences those of `MEASURED` documents, in shards taken at even distances.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as compute
from xxhash import xxh3_64_intdigest

from curate.audit.bias.lexicon import Lexicon
from curate.audit.bias.scan import Hits, counted, scanner
from curate.audit.bias.tables import ALL, Corpus, Example, Wanted
from curate.audit.bias.values import check_sum, is_missing, numbers_of, weights_of, without_english
from curate.dataset.ledger import Shard, Step
from curate.dataset.reader import Dataset
from curate.dataset.state import State
from curate.errors import CurateError
from curate.stages.selectors import PLACES, is_plain, joined, roots, string_columns

__all__ = ["MEASURED", "collect"]

REMOVED = ("dropped", "quarantined")
MEASURED = 200_000
MOST_VALUES = 40
"""Values of a column that become groups: the commonest ones."""
EXAMPLES, CANDIDATES = 3, 12


def collect(dataset: Dataset, lexicon: Lexicon, wanted: Wanted, tell: Callable[[int], None] = lambda _: None) -> Corpus:
    """Count everything; `tell` is called with the documents of each shard that is done.

    Raises:
        CurateError: A column or score that was asked for is nowhere, or the selectors find no strings.
    """
    return _Collector(dataset, lexicon, wanted).run(tell)


class _Collector:
    def __init__(self, dataset: Dataset, lexicon: Lexicon, wanted: Wanted) -> None:
        self.dataset, self.store, self.wanted = dataset, dataset.store, wanted
        self.shards = dataset.ledger()
        removing = {step.stage for shard in self.shards for step in shard.steps if any(map(step.number, REMOVED))}
        stages = [row["id"] for row in dataset.manifest["stages"] if row["id"] in removing]
        named = lexicon.groups()
        slots = [(column, "") for column in wanted.by for _ in range(MOST_VALUES)]
        self.found = Corpus([*named, *slots], lexicon.groups("attributes"), [*stages, ALL])
        self.named, self.width = len(named), len(named) + len(slots)
        self.axes = [*lexicon.axes]
        places = {pair: at for at, pair in enumerate(named)}
        attributes = {pair: at for at, pair in enumerate(self.found.attributes)}
        of = [(one.section, one.axis, one.group) for one in lexicon.terms]
        self.group_of = np.array([places[axis, group] if kind == "groups" else -1 for kind, axis, group in of])
        self.attribute_of = np.array([attributes[axis, group] if kind != "groups" else -1 for kind, axis, group in of])
        self.scan = scanner(lexicon.terms)
        self.values_of: dict[str, dict[str, int]] = {}
        self.strata: dict[tuple[Any, ...], int] = {}
        self.parts: dict[str, list[Any]] = {}
        self.seen: set[str] = set()
        self.strings: dict[str, None] = {}
        self.cluster_of: dict[Any, int] = {}

    def run(self, tell: Callable[[int], None]) -> Corpus:
        found = self.found
        found.read, found.kept = (np.zeros(self.width + 1, np.int64) for _ in range(2))
        found.mentions = np.zeros(self.width, np.int64)
        found.terms = np.zeros(len(self.group_of), np.int64)
        found.axis_kept = dict.fromkeys(self.axes, 0)
        found.shares, found.axis_shares = np.zeros((3, self.width)), {axis: np.zeros(2) for axis in self.axes}
        self._choose_values()
        found.removal = {stage: np.zeros((0, self.width + 1, 2), np.int64) for stage in found.stages}
        step = max(1, -(-sum(shard.documents for shard in self.shards) // MEASURED))
        for number, shard in enumerate(self.shards):
            if shard.documents:
                self._shard(number, shard, measured=bool(self.wanted.one_in) or number % step == 0)
            tell(shard.documents)
        self._finish()
        return found

    # ---- one shard

    def _shard(self, number: int, shard: Shard, *, measured: bool) -> None:
        state = State(self.store, replace(shard, steps=()))
        texts, at = self._texts(state, shard)
        if texts is None:
            self.found.without_text += shard.documents
            return
        hits = self.scan(texts)
        self.found.terms += np.bincount(hits.term, minlength=len(self.found.terms))
        counts = np.zeros((shard.documents, self.width), np.int32)
        counts[:, : self.named] = counted(hits, self.group_of, self.named)
        self._values(state, shard, counts)
        members = counts > 0
        strata = self._strata(state, shard)
        outcome = {step.stage: self._removed(step) for step in shard.steps[at:]}
        alive = state.alive.copy()
        begun = alive.copy()
        for stage, (removed, expanded) in outcome.items():
            if stage in self.found.removal:
                self._count(stage, members, strata, alive, removed)
                self._choose(stage, number, shard, members, removed)
            alive[removed] = alive[expanded] = False
        gone = np.unique(np.concatenate([removed for removed, _ in outcome.values()] or [np.zeros(0, np.int64)]))
        self._count(ALL, members, strata, begun, gone)
        self._add(self.found.read, members, begun)
        self._add(self.found.kept, members, alive)
        self.found.mentions += counts[alive].sum(axis=0)
        weights = self._weights(state, shard, alive)
        self._share(members[alive], weights[alive])
        self.found.rewritten += self._rewritten(shard, at, alive)
        if measured:
            seen, foreign = self.found.foreign
            self.found.foreign = tuple(np.add((seen, foreign), without_english(texts)).tolist())
            self._measure(shard, state, members, alive, hits, weights)

    def _share(self, members: np.ndarray, weights: np.ndarray) -> None:
        """Add kept documents to the sums that shares of an axis are made of."""
        for axis in self.axes:
            of = [at for at, (name, _) in enumerate(self.found.groups[: self.named]) if name == axis]
            mine = members[:, of]
            each = mine.sum(axis=1)
            self.found.axis_kept[axis] += int((each > 0).sum())
            self.found.shares[:, of] += np.stack([weights, weights**2, weights**2 * each]) @ mine
            self.found.axis_shares[axis] += ((weights * each).sum(), ((weights * each) ** 2).sum())

    def _rewritten(self, shard: Shard, at: int, alive: np.ndarray) -> int:
        """How many kept documents a later stage edited."""
        edited = np.zeros(shard.documents, bool)
        for step in shard.steps[at:]:
            if step.verdicts and step.number("edited"):
                table = self.store.read_table(step.verdicts, ["row", "verdict"])
                rows = table.filter(compute.equal(table.column("verdict"), "edited")).column("row").to_numpy()
                edited[rows] = True
        return int((edited & alive).sum())

    def _weights(self, state: State, shard: Shard, alive: np.ndarray) -> np.ndarray:
        """How much each document counts; nothing where it is not in the version."""
        name = self.wanted.weight
        if not name:
            return alive.astype(np.float64)
        values = [value if there else 1.0 for value, there in zip(self._column(state, shard, name), alive, strict=True)]
        return weights_of(values, name) * alive

    def _texts(self, state: State, shard: Shard) -> tuple[pa.Array | pa.ChunkedArray | None, int]:
        """The strings of all documents when they were first there, and how many steps there were before."""
        for at in range(len(shard.steps) + 1):
            names = string_columns(state.schema)
            self.strings |= dict.fromkeys(name for name in names if name not in PLACES)
            try:
                columns = roots(self.wanted.on, state.schema)
            except CurateError:
                if at < len(shard.steps):
                    state.apply(shard.steps[at])
                continue
            self.seen |= set(columns)
            rows = np.arange(shard.documents)
            if is_plain(self.wanted.on):
                return state.column("text", rows), at
            return joined(state.table(rows, columns), self.wanted.on), at
        return None, 0

    def _removed(self, step: Step) -> tuple[np.ndarray, np.ndarray]:
        """Rows that a step removed, and rows that it made others of."""
        if not step.verdicts or not any(map(step.number, (*REMOVED, "expanded"))):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        table = self.store.read_table(step.verdicts, ["row", "verdict"])
        rows = table.column("row").to_numpy().astype(np.int64)
        removed = compute.is_in(table.column("verdict"), pa.array(REMOVED)).to_numpy()
        expanded = compute.equal(table.column("verdict"), "expanded").to_numpy()
        return np.unique(rows[removed]), np.unique(rows[expanded])

    def _strata(self, state: State, shard: Shard) -> np.ndarray:
        """Documents of one source, language and length (in steps of a quarter of a doubling) are alike."""
        lengths = np.floor(4 * np.log2(np.maximum(state.sizes, 1))).astype(np.int64).tolist()
        languages: list[Any] = [None] * shard.documents
        if "language" in state.schema.names:
            languages = state.column("language", np.arange(shard.documents)).to_pylist()
        keys = zip(lengths, languages, strict=True)
        return np.array([self.strata.setdefault((shard.source, *key), len(self.strata)) for key in keys])

    def _count(
        self, stage: str, members: np.ndarray, strata: np.ndarray, alive: np.ndarray, removed: np.ndarray
    ) -> None:
        """Add a stage's work on a shard to its table."""
        table = self.found.removal[stage]
        if len(table) < len(self.strata):
            more = np.zeros((len(self.strata) - len(table), *table.shape[1:]), np.int64)
            table = self.found.removal[stage] = np.concatenate([table, more])
        gone = np.zeros(len(alive), bool)
        gone[removed] = True
        for outcome, rows in ((0, alive & ~gone), (1, alive & gone)):
            one, group = np.nonzero(members[rows])
            np.add.at(table[:, :, outcome], (strata[rows][one], group), 1)
            table[:, self.width, outcome] += np.bincount(strata[rows], minlength=len(table))

    def _add(self, table: np.ndarray, members: np.ndarray, rows: np.ndarray) -> None:
        table[:-1] += members[rows].sum(axis=0)
        table[-1] += int(rows.sum())

    def _choose(self, stage: str, number: int, shard: Shard, members: np.ndarray, removed: np.ndarray) -> None:
        """Some of the removed documents of each group, by a hash of their ids."""
        step = next(one for one in shard.steps if one.stage == stage)
        if not len(removed) or not step.verdicts:
            return
        said = self.store.read_table(step.verdicts, ["row", "id", "reason"]).to_pylist()
        told = {row["row"]: row for row in said}
        for group in np.flatnonzero(members[removed].any(axis=0)).tolist():
            rows = removed[members[removed, group]]
            rows = rows[np.unique(np.linspace(0, len(rows) - 1, CANDIDATES).astype(int))].tolist()
            some = [Example(number, row, told[row]["id"], told[row]["reason"]) for row in rows]
            chosen = [*self.found.examples.get((stage, group), ()), *some]
            order = sorted(chosen, key=lambda one: xxh3_64_intdigest(one.id.encode()))
            self.found.examples[stage, group] = order[:EXAMPLES]

    # ---- columns and features

    def _choose_values(self) -> None:
        """Which values of columns are groups: the commonest ones."""
        for nth, column in enumerate(self.wanted.by):
            counts: Counter[str] = Counter()
            for shard in self.shards:
                values = self._column(State(self.store, replace(shard, steps=())), shard, column)
                counts.update(str(value) for value in values if not is_missing(value))
            order = sorted(counts, key=lambda name: (-counts[name], name))
            self.values_of[column] = {name: at for at, name in enumerate(order[:MOST_VALUES])}
            first = self.named + nth * MOST_VALUES
            for name, at in self.values_of[column].items():
                self.found.groups[first + at] = (column, name)
            if others := order[MOST_VALUES:]:
                self.found.left_out[column] = (len(others), sum(counts[name] for name in others))

    def _values(self, state: State, shard: Shard, counts: np.ndarray) -> None:
        """Groups by the values of columns."""
        for nth, column in enumerate(self.wanted.by):
            known, first = self.values_of[column], self.named + nth * MOST_VALUES
            for row, value in enumerate(self._column(state, shard, column)):
                at = None if is_missing(value) else known.get(str(value))
                if at is not None:
                    counts[row, first + at] = 1

    def _column(self, state: State, shard: Shard, name: str) -> list[Any]:
        """A column of all documents as read, or as the last stage that measured it says; None where there is none."""
        if name in state.schema.names:
            self.parts.setdefault(f"#{name}", [])
            return state.column(name, np.arange(shard.documents)).to_pylist()
        values: list[Any] = [None] * shard.documents
        for step in shard.steps:
            stage, _, feature = name.rpartition(".")
            if step.features and stage in ("", step.stage) and feature in self.store.read_schema(step.features).names:
                self.parts.setdefault(f"#{name}", [])
                table = self.store.read_table(step.features, ["row", feature])
                for row, value in zip(*(table.column(one).to_pylist() for one in ("row", feature)), strict=True):
                    values[row] = value
        return values

    # ---- what is measured of some

    def _measure(
        self, shard: Shard, state: State, members: np.ndarray, alive: np.ndarray, hits: Hits, weights: np.ndarray
    ) -> None:
        import polars

        add, before, rows = self.parts.setdefault, self.found.measured, np.arange(shard.documents)
        if self.wanted.one_in > 1:
            ids = zip(self._column(state, shard, "id"), self._column(state, shard, "parent"), strict=True)
            chosen = [xxh3_64_intdigest((parent or one).encode()) % self.wanted.one_in == 0 for one, parent in ids]
            rows = np.flatnonzero(chosen)

        def of(name: str) -> list[Any]:
            values = self._column(state, shard, name)
            return [values[row] for row in rows.tolist()]

        self.found.measured += len(rows)
        for name, values in (("members", members), ("alive", alive), ("weights", weights)):
            add(name, []).append(values[rows])
        cluster = of(self.wanted.cluster or "parent")
        keys = [("", before + at) if is_missing(value) else value for at, value in enumerate(cluster)]
        add("clusters", []).append(
            np.array([self.cluster_of.setdefault(key, len(self.cluster_of)) for key in keys], np.int64)
        )
        for name in self.wanted.scores:
            add(f"score {name}", []).append(numbers_of(of(name), name))
        for name in self.wanted.columns:
            add(f"label {name}", []).extend(of(name))
        place = np.full(shard.documents, -1)
        place[rows] = np.arange(len(rows))
        axis_of = np.array([self.axes.index(axis) for axis, _ in self.found.groups[: self.named]], np.int64)
        kept = alive[hits.row] & (place[hits.row] >= 0)
        frame = polars.DataFrame({
            "document": place[hits.row[kept]] + before, "sentence": hits.sentence[kept],
            "group": self.group_of[hits.term][kept], "attribute": self.attribute_of[hits.term][kept],
        })  # fmt: skip
        groups = frame.filter(polars.col("group") >= 0).select("document", "sentence", "group")
        axes = groups.with_columns(group=-1 - polars.Series(axis_of[groups["group"].to_numpy()]))
        named = polars.concat([groups, axes]).unique()
        attributes = frame.filter(polars.col("attribute") >= 0).select("document", "sentence", "attribute").unique()
        both = named.join(attributes, on=["document", "sentence"])
        add("sentences", []).append(named.group_by("document", "group").len())
        add("joint", []).append(both.group_by("document", "group", "attribute").len())

    def _finish(self) -> None:
        import polars

        found, parts = self.found, self.parts
        used = [at for at, (_, name) in enumerate(found.groups) if at < self.named or name]
        asked = (
            *self.wanted.by,
            *self.wanted.scores,
            *self.wanted.columns,
            *filter(None, [self.wanted.cluster, self.wanted.weight]),
        )
        missing = [name for name in asked if f"#{name}" not in parts]
        if missing and found.read[-1]:
            raise CurateError(
                f"no document has a column or feature `{missing[0]}`",
                hint=f"features are written `stage.feature`; columns are {', '.join(self.dataset.columns)}",
            )
        found.groups = [found.groups[at] for at in used]
        found.read, found.kept = found.read[[*used, self.width]], found.kept[[*used, self.width]]
        found.mentions, found.shares = found.mentions[used], found.shares[:, used]
        found.removal = {stage: table[:, [*used, self.width]] for stage, table in found.removal.items()}
        place = {at: new for new, at in enumerate(used)}
        found.examples = {(stage, place[group]): some for (stage, group), some in found.examples.items()}
        if found.measured:
            found.members = np.concatenate(parts["members"])[:, used]
            if self.wanted.weight:
                found.weights = np.concatenate(parts["weights"])
                check_sum(found.weights, self.wanted.weight)
            found.alive, found.clusters = np.concatenate(parts["alive"]), np.concatenate(parts["clusters"])
            found.sentences, found.joint = polars.concat(parts["sentences"]), polars.concat(parts["joint"])
        found.values = {name: np.concatenate(parts[f"score {name}"]) for name in self.wanted.scores if found.measured}
        found.labels = {name: parts[f"label {name}"] for name in self.wanted.columns if found.measured}
        found.looked = sorted(self.seen)
        found.unseen = [name for name in self.strings if name not in self.seen]
        if not self.seen and found.without_text:
            there = ", ".join(self.strings) or "none"
            raise CurateError(
                f"no document has strings at {', '.join(self.wanted.on)}",
                hint=f"--on COLUMN; with strings are: {there}",
            )
