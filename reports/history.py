"""Documents as the stages saw them: their texts before and after a stage, and what any stage found personal in them.

Each shard that has a wanted document is walked once, stage by stage. Memory: the texts of one shard, and those wanted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from curate.dataset.index import Address, find
from curate.dataset.ledger import Shard, Step
from curate.dataset.reader import Dataset
from curate.dataset.state import State
from curate.errors import CurateError
from curate.reports.text import mask, without
from curate.stages.selectors import EVERYTHING, root, roots, select

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["Glimpse", "Histories"]

BETWEEN = "\n\n"


class Glimpse(NamedTuple):
    """A document as a stage saw it, or (`after`) left it."""

    document: Address
    stage: str
    after: bool = False


class Histories:
    """What some documents have been.

    Args:
        dataset: The version.
        shards: Its ledger.
        on: By stage the selectors of the texts that it looks at.
    """

    def __init__(self, dataset: Dataset, shards: Sequence[Shard], on: Mapping[str, Sequence[str]]) -> None:
        self.dataset, self.store, self.shards, self.on = dataset, dataset.store, shards, on
        self.sources: dict[Address, str | None] = {}
        self._places: dict[str, Address | None] = {}
        self._strings: dict[Glimpse, dict[str, str]] = {}
        self._secrets: dict[Address, set[str]] = defaultdict(set)
        self._personal: set[tuple[Address, str]] = set()

    def address(self, identity: str) -> Address | None:
        """Where the document of this id is."""
        if identity not in self._places:
            found = find(self.store, self.dataset.manifest["indexes"], identity)
            self._places[identity] = found[0] if found else None
        return self._places[identity]

    def read(self, wanted: Iterable[Glimpse]) -> None:
        """Read these, unless they are known."""
        by_shard: dict[int, list[Glimpse]] = defaultdict(list)
        for one in dict.fromkeys(wanted):
            if one not in self._strings:
                by_shard[one.document.shard].append(one)
        for number, glimpses in sorted(by_shard.items()):
            self._walk(number, glimpses)

    def text(self, one: Glimpse, path: str | None = None) -> str:
        """What stood there: all that the stage looks at, or the string at a path."""
        strings = self._strings.get(one, {})
        return BETWEEN.join(strings.values()) if path is None else strings.get(path, "")

    def shown(self, document: Address, text: str) -> str:
        """A text of the document without what any stage found to be personal in it, and masked."""
        return mask(without(text, self._secrets[document]))

    def is_personal(self, document: Address, stage: str) -> bool:
        """Whether what the stage edited was personal."""
        return (document, stage) in self._personal

    # ---- the walk

    def _walk(self, number: int, glimpses: Sequence[Glimpse]) -> None:
        import numpy as np

        shard = self.shards[number]
        steps = {step.stage: at for at, step in enumerate(shard.steps)}
        by_step: dict[int, list[Glimpse]] = defaultdict(list)
        for one in glimpses:
            by_step[steps[one.stage] + one.after if one.stage in steps else 0].append(one)
        rows = np.unique(np.array([one.document.row for one in glimpses], dtype=np.int64))
        state = State(self.store, replace(shard, steps=()))
        for row, uri in zip(rows.tolist(), state.column("source_uri", rows).to_pylist(), strict=True):
            self.sources[Address(number, row)] = uri
        for at, step in enumerate(shard.steps):
            self._look(state, by_step[at])
            self._note_personal(state, step, number, rows)
            state.apply(step)
        self._look(state, by_step[len(shard.steps)])

    def _look(self, state: State, glimpses: Sequence[Glimpse]) -> None:
        import numpy as np

        by_stage: dict[str, list[Glimpse]] = defaultdict(list)
        for one in glimpses:
            by_stage[one.stage].append(one)
        for stage, some in by_stage.items():
            rows = np.array([one.document.row for one in some], dtype=np.int64)
            found = _strings(state, rows, self.on.get(stage, ("text",)))
            self._strings.update(zip(some, found, strict=True))

    def _note_personal(self, state: State, step: Step, number: int, rows: np.ndarray) -> None:
        """Keep the strings that a stage is about to replace, because they are personal."""
        import pyarrow as pa
        import pyarrow.compute as compute

        if not step.verdicts or not step.number("edited"):
            return
        edits = self.store.read_table(step.verdicts, ["row", "path", "spans"])
        edits = edits.filter(compute.is_in(edits["row"], pa.array(rows, edits["row"].type)))
        by_column: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for edit in edits.to_pylist():
            if edit["spans"]:
                path = edit["path"] or "text"
                by_column[root(path, state.schema.names)].append({**edit, "path": path})
        for column, some in by_column.items():
            for edit, strings in zip(some, _strings(state, _rows(some), (column,)), strict=True):
                document, text = Address(number, edit["row"]), strings.get(edit["path"], "")
                self._secrets[document] |= {text[span["start"] : span["end"]] for span in edit["spans"]}
                self._personal.add((document, step.stage))


def _rows(edits: Sequence[dict[str, Any]]) -> np.ndarray:
    import numpy as np

    return np.array([edit["row"] for edit in edits], dtype=np.int64)


def _strings(state: State, rows: np.ndarray, on: Sequence[str]) -> list[dict[str, str]]:
    """Of each row the strings that the selectors find, by path; where they find no column, all strings."""
    on = tuple(on)
    try:
        columns = roots(on, state.schema)
    except CurateError:  # the stage looks at no texts, or at what stands in no string
        on = (EVERYTHING,)
        columns = roots(on, state.schema)
    found: list[dict[str, str]] = [{} for _ in rows]
    table: pa.Table = state.table(rows, columns)
    selected = select(table, on)
    for row, path, text in zip(*(part.to_pylist() for part in selected), strict=True):
        found[row][path] = text
    return found
