"""What a stage is: one frozen pydantic model of one of five kinds, with its settings as fields.

    source   reads the outside world into documents              plan(), read()
    mapper   edits texts or adds columns, says what it edited     open() -> batch -> Effect
    filter   measures features, decides by thresholds             open() -> batch -> features; decide()
    audit    measures features, changes nothing                   open() -> batch -> features
    global   needs every shard (deduplication)                    open() -> batch -> signatures; reduce()

A batch is a `pyarrow.Table` of at most `batch` documents with at least the columns `id`, `text` and `source_uri`
(strings, never null) and whatever columns the source and the earlier stages gave. `open()` is called once in each
worker process: what it loads (a model, a compiled pattern) lives in local variables of the function that it returns,
never in a field. That function is pure: what it says of a document depends on this document and the settings alone,
so batches may be cut anywhere. It may raise: the engine then finds the document at fault, and quarantines it.

Modules with stages are imported by `curate validate`, which has half a CPU second for everything: they import pydantic,
the standard library and this module at the top, and pyarrow, numpy and all else inside functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = [
    "Asset",
    "Audit",
    "Effect",
    "Filter",
    "Global",
    "Mapper",
    "Part",
    "Reduced",
    "Rejected",
    "Rule",
    "Source",
    "SourceContext",
    "Span",
    "Stage",
    "Verdicts",
]

Kind = Literal["source", "mapper", "filter", "audit", "global"]


class Asset(NamedTuple):
    """Something a stage needs that is not Python code: for `curate doctor`.

    Attributes:
        name: What it is, in a few words.
        present: Whether it is there.
        how: The command or step that brings it.
    """

    name: str
    present: bool
    how: str


class Stage(BaseModel):
    """The settings of one step, and how to run it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ClassVar[Kind]
    version: ClassVar[int] = 1
    """Raised whenever the same settings give other results; part of every cache key and version id."""
    libraries: ClassVar[tuple[str, ...]] = ()
    """Distributions that decide the results; their versions are part of the cache key."""
    batch: ClassVar[int] = 1000
    """Most documents that one call gets; a call is also what the time limit is put on."""
    reasons: ClassVar[Mapping[str, str]] = {}
    """What each reason in its verdicts means: `a document is dropped for REASON: MEANING`. Names are contracts."""

    def model_files(self) -> Sequence[Path]:
        """Files whose content decides the results (a language model, a word list)."""
        return ()

    def assets(self) -> Sequence[Asset]:
        """What the stage needs beside Python code."""
        return ()


# ---- what a stage says of its documents


class Span(NamedTuple):
    """A stretch of the text before the edit, in characters, end exclusive; never the text itself."""

    start: int
    end: int
    type: str
    score: float = 1.0


@dataclass(slots=True)
class Verdicts:
    """Collects what a stage says of the documents of one batch; documents not named are kept as they are.

    A document is named at most once: edited, dropped or quarantined. `row` counts from 0 in the batch.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)

    def edit(
        self,
        row: int,
        text: str,
        reason: str,
        *,
        value: float | None = None,
        detail: str | None = None,
        spans: Sequence[Span] = (),
    ) -> None:
        """The document's text becomes `text`; `reason` says what was edited, `value` how much."""
        self._add(row, "edited", reason, value, text=text, detail=detail, spans=spans)

    def drop(
        self,
        row: int,
        reason: str,
        *,
        value: float | None = None,
        threshold: float | None = None,
        duplicate_of: str | None = None,
        detail: str | None = None,
    ) -> None:
        """The document leaves, because `value` is on the wrong side of `threshold`, or as a copy of another one."""
        self._add(row, "dropped", reason, value, threshold=threshold, duplicate_of=duplicate_of, detail=detail)

    def quarantine(self, row: int, reason: str, *, detail: str | None = None) -> None:
        """The document cannot be processed; it leaves, and is counted apart from the dropped ones."""
        self._add(row, "quarantined", reason, None, detail=detail)

    def _add(self, row: int, verdict: str, reason: str, value: float | None, **more: Any) -> None:
        self.rows.append({"row": row, "verdict": verdict, "reason": reason, "value": value, **more})

    def table(self) -> pa.Table:
        """The verdicts as a table of `verdict_schema()`, in the order of the rows."""
        import pyarrow as pa

        return pa.Table.from_pylist(sorted(self.rows, key=lambda verdict: verdict["row"]), schema=verdict_schema())


def verdict_schema() -> pa.Schema:
    """Columns of a verdict table: which row, what, why, the value against the threshold, the new text, the spans."""
    import pyarrow as pa

    span = pa.struct([("start", pa.int32()), ("end", pa.int32()), ("type", pa.string()), ("score", pa.float32())])
    return pa.schema([
        ("row", pa.int64()),
        ("verdict", pa.string()),
        ("reason", pa.string()),
        ("value", pa.float64()),
        ("threshold", pa.float64()),
        ("duplicate_of", pa.string()),
        ("detail", pa.string()),
        ("text", pa.string()),
        ("spans", pa.list_(span)),
    ])  # fmt: skip


class Effect(NamedTuple):
    """What a stage did to a batch.

    Attributes:
        verdicts: A table of `verdict_schema()`; rows not named are kept unchanged.
        columns: New columns by name, one value for every document of the batch; kept documents carry them on.
    """

    verdicts: pa.Table
    columns: dict[str, pa.Array | pa.ChunkedArray] = {}


class Rule(NamedTuple):
    """A document is dropped for `reason` when `feature` is null, below `minimum` or above `maximum` (both inclusive)."""

    reason: str
    feature: str
    minimum: float | None = None
    maximum: float | None = None


# ---- the five kinds


class Mapper(Stage):
    """Edits texts, or adds columns."""

    kind = "mapper"

    def open(self) -> Callable[[pa.Table], Effect]:
        """The function that does the work; loads what it needs."""
        raise NotImplementedError


class Filter(Stage):
    """Measures features of every document, then drops by thresholds; the features are kept for every document."""

    kind = "filter"
    thresholds: ClassVar[frozenset[str]] = frozenset()
    """Settings that only `decide` reads: when one of them changes, nothing is measured again."""
    carries: ClassVar[tuple[str, ...]] = ()
    """Features that kept documents carry on as columns."""

    def open(self) -> Callable[[pa.Table], pa.Table]:
        """The function that measures: a table of features, one row for every document of the batch."""
        raise NotImplementedError

    def rules(self) -> Sequence[Rule]:
        """The thresholds, in the order of precedence: the first that fails is the reason."""
        raise NotImplementedError

    def decide(self, features: pa.Table) -> pa.Table:
        """The verdicts (`verdict_schema()`) that follow from the features of one shard; by default, from `rules()`."""
        from curate.stages.decide import decide_by_rules

        return decide_by_rules(features, self.rules())


class Audit(Stage):
    """Measures features of every document and changes nothing."""

    kind = "audit"

    def open(self) -> Callable[[pa.Table], pa.Table]:
        """The function that measures: a table of features, one row for every document of the batch."""
        raise NotImplementedError


class Reduced(NamedTuple):
    """What a global stage says of all documents together.

    Attributes:
        verdicts: A table of `verdict_schema()` whose `row` counts over all documents, in the order of the signatures.
        columns: New columns by name, one value for every document.
        artifacts: Tables worth keeping with the version (the pairs of duplicates), by name.
    """

    verdicts: pa.Table
    columns: dict[str, pa.Array | pa.ChunkedArray] = {}
    artifacts: dict[str, pa.Table] = {}


class Global(Stage):
    """Needs all documents to decide about each."""

    kind = "global"

    def open(self) -> Callable[[pa.Table], pa.Table]:
        """The function that reads signatures off a batch: a table with one row for every document.

        The engine adds the column `id`. What `reduce` needs must be in it: keep it small, it is held in memory.
        """
        raise NotImplementedError

    def reduce(self, signatures: pa.Table, texts: Callable[[np.ndarray], pa.Array]) -> Reduced:
        """Decide from the signatures of all documents, in the order of the sources.

        Args:
            signatures: One row a document: `id` and what `open()` gave.
            texts: Fetches the texts of documents by number; costs a pass over the shards that hold them.
        """
        raise NotImplementedError


# ---- sources


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a source that one task reads: JSON-able, made by `Source.plan`.

    Attributes:
        name: What documents and errors call it: a path relative to the pipeline file, with forward slashes.
        location: Where to read it: an absolute path or a URL.
        content: Identity of the content, whatever the modification time says: a hash of the file's bytes.
        start: First byte or row of the range.
        stop: End of the range, exclusive; None is the end.
        extra: What else `read` needs (format, compression, ...).
    """

    name: str
    location: str
    content: str
    start: int = 0
    stop: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)


class SourceContext(NamedTuple):
    """What a source may use to plan.

    Attributes:
        root: Folder of the pipeline file; relative paths start there.
        shard_bytes: About how many bytes of text one shard should hold.
        content_hash: Gives the identity of a local file's content (cached by path, size, inode and times).
    """

    root: Path
    shard_bytes: int
    content_hash: Callable[[Path], str]


class Rejected(NamedTuple):
    """Something in a source that is not a readable document: counted in, and quarantined.

    Attributes:
        offset: Byte offset (or row) in the part's file, decompressed where it is compressed.
        reason: A stable identifier: `bad_json`, `truncated`, `too_long`, ...
        detail: What is wrong, in words, without the text itself.
    """

    offset: int
    reason: str
    detail: str


class Source(Stage):
    """Reads the outside world into documents."""

    kind = "source"

    def plan(self, context: SourceContext) -> Sequence[Part]:
        """The parts, in a stable order (driver side, cheap). A source that matches nothing is a `CurateError`."""
        raise NotImplementedError

    def read(self, part: Part) -> Iterator[pa.Table | Rejected]:
        """Tables of documents (at most about 16 MB of text each) and rejects, in order (worker side).

        Columns: `id` (string; null where the source has none: the engine then makes it from `source_uri`), `text`
        (string, never null), `source_uri` (`name#offset`, unique), and the source's other columns. The same documents in
        the same order come out however the source was cut into parts.
        """
        raise NotImplementedError
