"""Bringing one shard through stages: what is not known yet is measured, then everything is decided.

A stage measures the rows that are alive and that nobody measured before for this text and these settings
(curate/pipeline/measured.py); verdicts are then decided over all of them. So a changed threshold measures nothing, and
the stages behind it only the documents that it let in. The whole section of stages between two stages over all documents
has one receipt, keyed by what the shard's documents are before it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from curate.dataset.ledger import PROVISIONAL, Step
from curate.dataset.schema import JSON_FIELD, plain_schema
from curate.dataset.state import IDENT, State
from curate.dataset.store import Store
from curate.errors import CurateError
from curate.pipeline.calls import Blame, Progress, calls, warm
from curate.pipeline.cuts import with_texts
from curate.pipeline.given import chosen, no_text, refuse_taken
from curate.pipeline.inferred import declared, stacked, together
from curate.pipeline.measured import Measured
from curate.pipeline.task import StageSpec, engine_key
from curate.stages.contract import Audit, Filter, Global, Mapper, Stage, Verdicts
from curate.stages.preparation import SPENT
from curate.stages.selectors import COMPARED, PLACES, framed, is_plain, joined, mapped, roots
from curate.stages.verdicts import as_one, check_rows, verdict_schema

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["ABSENT", "Opened", "Section", "count_verdicts", "run_section", "section_key"]

ABSENT = "#absent"
"""Column of signatures: the document has none of the strings that are compared, and the stage never hears of it."""

CAREFUL = 16
"""Documents after which what is measured is remembered, where one of them costs the worker."""


@dataclass(slots=True)
class Opened:
    """Stages that this process has opened, by fingerprint; a worker keeps them from task to task."""

    functions: dict[str, Callable[[pa.Table], Any]] = field(default_factory=dict)
    types: dict[tuple[str, bytes], dict[str, pa.DataType] | None] = field(default_factory=dict)

    def get(
        self, spec: StageSpec, stage: Stage, table: pa.Table, blame: Blame, progress: Progress
    ) -> Callable[[pa.Table], Any]:
        """The stage's function on documents: opened, fitted to the texts that it is given, and warm."""
        function = self.functions.get(spec.measure)
        if function is None:
            opened = stage.open()  # type: ignore[attr-defined]
            function = self.functions[spec.measure] = _on_documents(opened, stage)
            if spec.id not in blame.cold:
                warm(opened, stage, spec.id, table.schema, progress)
        return function

    def declared(self, spec: StageSpec, stage: Stage, columns: pa.Schema) -> dict[str, pa.DataType] | None:
        """The types of columns that the stage declares, where it is given these; it has been opened."""
        key = spec.measure, columns.serialize().to_pybytes()
        if key not in self.types:
            self.types[key] = declared(self.functions[spec.measure], stage, columns)
        return self.types[key]


def _on_documents(function: Callable[[pa.Table], Any], stage: Any) -> Callable[[pa.Table], Any]:
    if not stage.reads_text:
        return function

    def on_texts(batch: pa.Table) -> Any:
        if is_plain(stage.on) and _has_texts(batch):
            return function(batch)
        if isinstance(stage, Mapper):
            return mapped(function, stage.on)(batch)
        others = batch.drop_columns(["text"]) if "text" in batch.column_names else batch
        given = others.append_column("text", joined(batch, stage.on))
        if not isinstance(stage, Global):
            return function(given)
        compared = framed(batch, stage.on)
        signed = function(given.append_column(COMPARED, compared.fill_null("")))
        return signed.append_column(ABSENT, compared.is_null())

    return on_texts


def _has_texts(batch: pa.Table) -> bool:
    """Whether all documents have a text."""
    return "text" in batch.column_names and not batch.column("text").null_count


@dataclass(slots=True)
class Section:
    """What a worker needs to bring a shard through stages.

    Attributes:
        store: The store.
        state: The shard's documents; goes forward with each stage.
        force: Ids of stages that measure again though it is known.
        blame: What earlier attempts found out.
        progress: Told before each call into a stage.
        opened: The stages that this process has opened.
        seconds: Time of each stage that measured something, by id.
        worked: Stages that measured something, by id with how many documents.
        own: Seconds that a stage itself worked: not those for loading, for texts, and for what it prepared for others, too.
    """

    store: Store
    state: State
    force: Sequence[str]
    blame: Blame
    progress: Progress
    opened: Opened
    seconds: dict[str, float] = field(default_factory=dict)
    worked: Counter[str] = field(default_factory=Counter)
    own: dict[str, float] = field(default_factory=dict)
    measured: Measured = field(init=False)

    def __post_init__(self) -> None:
        self.measured = Measured(self.store, self.state.shard)

    def run(self, spec: StageSpec) -> Step:
        """One stage: measure what is not known, decide, record."""
        stage = spec.build()
        assert isinstance(stage, Mapper | Filter | Audit)
        began = time.perf_counter()
        with spec.at_work():
            said, features = self.know(spec, stage)
            verdicts = with_texts(self.state, _decided(spec.id, stage, said, features))
        step = self._record(spec, stage, verdicts, features, said)
        self.state.apply(step, verdicts)
        if spec.id in self.worked:
            self.seconds[spec.id] = time.perf_counter() - began
        return step

    def know(self, spec: StageSpec, stage: Any) -> tuple[pa.Table, pa.Table]:
        """What the stage says of the rows alive that it looks at: verdicts, and features with `row` and `#ident`, by row."""
        import pyarrow as pa

        rows = chosen(self.state, spec)
        idents = self.state.idents(self._given(stage))[rows]
        forced = spec.id in self.force
        found = self.measured.find(spec.measure if not forced else "", rows, idents)
        features, verdicts = list(found.features), [verdict_schema().empty_table(), *found.verdicts]
        new = rows[~found.known]
        careful, marks = bool(self.blame.careful.get(spec.id)), idents[~found.known]
        for start in range(0, len(new), CAREFUL if careful else max(len(new), 1)):
            part = slice(start, start + CAREFUL if careful else None)
            self.worked[spec.id] += len(new[part])
            said, fresh = self._measure(spec, stage, new[part])
            place = pa.table({"row": pa.array(new[part], pa.int32()), IDENT: pa.array(marks[part], pa.uint64())})
            features.append(place if fresh is None else _beside(place, fresh))
            verdicts.append(said)
            if careful:  # the next document may cost the worker
                said, whole = _whole(spec.id, verdicts, features)
                self.remember(spec, whole, said, self.store.write_table(whole), self.write(said))
        return _whole(spec.id, verdicts, features)

    def _given(self, stage: Any) -> Sequence[str] | None:
        """The columns that a stage is given beside the texts as read and edited; None is all."""
        columns = stage.columns()
        if columns is None or not stage.reads_text or is_plain(stage.on):
            return columns
        return (*columns, *roots(stage.on, self.state.schema))

    def _read(self, stage: Any) -> Sequence[str] | None:
        """The columns to read for a stage that does not look at texts, where it says which; None is all."""
        columns = stage.columns()
        if columns is None or stage.reads_text:
            return None
        return [name for name in self.state.schema.names if name in (*PLACES, *columns)]

    def _measure(self, spec: StageSpec, stage: Any, rows: np.ndarray) -> tuple[pa.Table, pa.Table | None]:
        import pyarrow as pa

        table = self.state.table(rows, self._read(stage))
        if (
            stage.reads_text
            and is_plain(stage.on)
            and "text" not in table.column_names
            and not isinstance(stage, Mapper)
        ):
            raise no_text(spec.id, table.column_names)
        function = self.opened.get(spec, stage, table, self.blame, self.progress)
        began = time.perf_counter() - SPENT.seconds
        verdicts, columns = [verdict_schema().empty_table()], []
        for start, result in calls(function, stage, spec.id, table, rows, self.blame, self.progress):
            said, added = _parts(result, stage)
            if said is not None and said.num_rows:
                verdicts.append(said.set_column(0, "row", pa.array(rows[said.column("row").to_numpy() + start])))
            columns.append(added)
        took = time.perf_counter() - SPENT.seconds - began
        self.own[spec.id] = self.own.get(spec.id, 0.0) + max(took, 0.0)
        types = self.opened.declared(spec, stage, table.schema)
        return as_one(verdicts), _marked(stacked(spec.id, columns, len(rows), types), stage)

    def _record(self, spec: StageSpec, stage: Any, verdicts: pa.Table, features: pa.Table, said: pa.Table) -> Step:
        """Store what the stage said, count it, and remember what was measured."""
        attached = _attached(stage, features)
        own = [name for name in plain_schema().names if name in attached]
        consumed = tuple(stage.consumes(self.state.schema)) if isinstance(stage, Mapper) else ()
        refuse_taken(spec, attached, consumed, self.state.schema)
        if own:
            raise CurateError(
                f"stage `{spec.id}` gives a column named `{own[0]}`",
                hint="texts are edited by verdicts, ids and sources never change; give the column another name",
            )
        held = self.store.write_table(features)
        with_ids = self._with_ids(verdicts)
        known = held, with_ids if isinstance(stage, Mapper) else self.write(said)
        self.remember(spec, features, said, *known)
        return Step(
            stage=spec.id,
            count=self.state.kept,
            bytes=self.state.bytes(),
            verdicts=with_ids,
            features=held if features.num_rows else None,
            attached=attached if features.num_rows else (),
            consumed=consumed,
            reasons=count_verdicts(verdicts),
        )

    def _with_ids(self, verdicts: pa.Table) -> str | None:
        if verdicts.num_rows == 0:
            return None
        ids = self.state.column("id", verdicts.column("row").to_numpy())
        return self.store.write_table(verdicts.append_column("id", ids))

    def write(self, table: pa.Table) -> str | None:
        """Store a table of verdicts; an empty one has no object."""
        return self.store.write_table(table) if table.num_rows else None

    def remember(self, spec: StageSpec, features: pa.Table, said: pa.Table, held: str, verdicts: str | None) -> None:
        """For the next time; but not what may be the machine's fault."""
        import pyarrow as pa
        import pyarrow.compute as compute

        doubtful = compute.is_in(said.column("reason"), pa.array(PROVISIONAL))
        if compute.any(doubtful).as_py():
            rows = said.filter(doubtful).column("row")
            held = self.store.write_table(features.filter(_not_among(features.column("row"), rows)))
            verdicts = self.write(said.filter(_not_among(said.column("row"), rows)))
        self.measured.add(spec.measure, held if features.num_rows else None, verdicts)


def _not_among(column: Any, values: Any) -> Any:
    import pyarrow.compute as compute

    return compute.invert(compute.is_in(column.cast("int64"), values.combine_chunks().cast("int64")))


def _whole(stage_id: str, verdicts: list[pa.Table], features: list[pa.Table]) -> tuple[pa.Table, pa.Table]:

    whole = together(stage_id, features) if features else _no_rows()
    return as_one(verdicts).sort_by("row"), whole.sort_by("row")


def _no_rows() -> pa.Table:
    import pyarrow as pa

    return pa.table({"row": pa.array([], pa.int32()), IDENT: pa.array([], pa.uint64())})


def _beside(place: pa.Table, features: pa.Table) -> pa.Table:
    for named, column in zip(features.schema, features.columns, strict=True):
        place = place.append_column(named, column)
    return place


def _marked(added: pa.Table | None, stage: Any) -> pa.Table | None:
    """The columns that a stage attaches, with a mark on those of JSON text."""
    for place, name in enumerate(added.column_names if added is not None else ()):
        if name in stage.json_columns:
            assert added is not None
            field = added.schema.field(place).with_metadata({JSON_FIELD: b"1"})
            added = added.set_column(place, field, added.column(place))
    return added


def _parts(result: Any, stage: Stage) -> tuple[pa.Table | None, pa.Table | None]:
    """A call's result as verdicts and columns; columns None is one failed document."""
    import pyarrow as pa

    if isinstance(result, Verdicts):
        return result.table(), None
    if isinstance(stage, Mapper):
        verdicts, columns = result
        if "path" not in verdicts.column_names:  # made by hand, of the columns that there were before
            verdicts = verdicts.append_column("path", pa.nulls(verdicts.num_rows, pa.string()))
        rows = verdicts.column("row").to_pylist()
        single = [row for row, path in zip(rows, verdicts.column("path").to_pylist(), strict=True) if path is None]
        assert len(set(single)) == len(single), "two verdicts on one document"
        return verdicts.select(verdict_schema().names), pa.table(dict(columns)) if columns else _EMPTY
    return None, result


class _Empty:
    """A batch without columns of its own: a mapper that attaches nothing."""


_EMPTY: Any = _Empty()


def _attached(stage: Stage, features: pa.Table) -> tuple[str, ...]:
    if isinstance(stage, Mapper):
        return tuple(name for name in features.column_names if name not in ("row", IDENT))
    carried = tuple(stage.adds()) if isinstance(stage, Filter) else ()
    return tuple(name for name in carried if name in features.column_names)  # none where every document failed


def _decided(stage_id: str, stage: Stage, said: pa.Table, features: pa.Table) -> pa.Table:
    """All verdicts: what was said while measuring, and what a filter decides of the rest."""
    import numpy as np
    import pyarrow as pa

    if not isinstance(stage, Filter) or features.num_rows == said.num_rows:
        return said
    rows = features.column("row").to_numpy().astype(np.int64)
    sound = np.flatnonzero(~np.isin(rows, said.column("row").to_numpy()))
    measured = features.drop_columns(["row", IDENT])
    decided = stage.decide(measured if len(sound) == len(rows) else measured.take(pa.array(sound)))
    check_rows(decided, len(sound), stage_id)
    decided = decided.set_column(0, "row", pa.array(rows[sound][decided.column("row").to_numpy()]))
    if "path" not in decided.column_names:
        decided = decided.append_column("path", pa.nulls(decided.num_rows, pa.string()))
    return as_one([said, decided.select(verdict_schema().names)]).sort_by("row")


def count_verdicts(verdicts: pa.Table) -> dict[str, dict[str, int]]:
    """Documents by verdict and reason; one that was edited in several places counts once, for the first."""
    reasons: dict[str, dict[str, int]] = {}
    seen = -1
    columns = (verdicts.column(name).to_pylist() for name in ("row", "verdict", "reason"))
    for row, verdict, reason in zip(*columns, strict=True):
        if row == seen:
            continue
        seen = row
        by_reason = reasons.setdefault(verdict, {})
        by_reason[reason] = by_reason.get(reason, 0) + 1
    return reasons


# ---- sections


def section_key(identity: str, specs: Sequence[StageSpec], last: StageSpec | None) -> str:
    """The key of a section's receipt: what goes in, and every stage of it."""
    stages = [[spec.id, spec.fingerprint] for spec in specs]
    return engine_key("section", identity, stages, [last.id, last.measure] if last else None)


def run_section(work: Section, specs: Sequence[StageSpec], last: StageSpec | None, key: str | None) -> dict[str, Any]:
    """Bring a shard through a section, and sign its documents for the global stage behind it.

    Returns:
        `steps`, `identity` (of what the documents have become), `signed` (None, or `features`, `verdicts` and `count` for
        the global stage) and `seconds` by stage.
    """
    import pyarrow.compute as compute

    steps = [work.run(spec) for spec in specs]
    signed, objects = None, [name for step in steps for name in step.objects]
    if last is not None:
        began = time.perf_counter()
        stage = last.build()
        assert isinstance(stage, Global)
        with last.at_work():
            said, features = work.know(last, stage)
        held, failed = work.store.write_table(features), work.write(said)
        work.remember(last, features, said, held, failed)
        count = features.num_rows - said.num_rows
        if ABSENT in features.column_names:
            count -= compute.sum(features.column(ABSENT), min_count=0).as_py()
        signed = {"features": held, "verdicts": failed, "count": count, "reasons": count_verdicts(said)}
        objects += [name for name in (held, failed) if name]
        if last.id in work.worked:
            work.seconds[last.id] = time.perf_counter() - began
    result = {
        "steps": [step.to_json() for step in steps],
        "identity": work.state.identity(),
        "bytes": work.state.bytes(),
        "signed": signed,
    }
    doubtful = sum(step.provisional for step in steps)
    doubtful += sum((signed or {}).get("reasons", {}).get("quarantined", {}).get(one, 0) for one in PROVISIONAL)
    result |= {"provisional": doubtful, "objects": objects}
    if key:
        work.store.write_receipt(key, result, objects)
    return {**result, "seconds": work.seconds, "measured": dict(work.worked), "own": work.own}
