"""What a stage is: one frozen pydantic model of one of six kinds, with its settings as fields.

    source    reads the outside world into documents              plan(), read()
    mapper    edits texts or adds columns, says what it edited     open() -> batch -> Effect
              (one that makes texts of files: curate/stages/extractor.py)
    filter    measures features, decides by thresholds             open() -> batch -> features; decide()
    audit     measures features, changes nothing                   open() -> batch -> features
    expander  makes documents from documents (chunks)              open() -> batch -> Expansion
    global    needs every document (deduplication)                 open() -> batch -> signatures; decide(); apply()

A batch is a `pyarrow.Table` of at most `batch` documents with at least the columns `id`, `text` and `source_uri`
(strings, never null) and whatever columns the source and the earlier stages gave. Which texts of a document a stage
sees is the setting `on` (curate/stages/selectors.py); whatever it selects, the stage is given as `text`. `open()` is
called once in each worker process: what it loads (a model, a compiled pattern) lives in local variables of the
function that it returns, never in a field. That function is pure: what it says of a document depends on this document
and the settings alone, so batches may be cut anywhere, and what was said once is not asked again. It may raise: the
engine then finds the document at fault, and quarantines it. Types of columns are best declared (`pa.array(values,
pa.float64())`), and a batch of no documents then has them too; those left to Arrow follow from all values of a shard, where
numbers without a fraction are integers.

Modules with stages are imported by `curate validate`, which has half a CPU second for everything: they import pydantic,
the standard library and this module at the top, and pyarrow, numpy and all else inside functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr

from curate.stages.parts import Part, Passed, Rejected, SourceContext
from curate.stages.verdicts import Rule, Span, Verdicts, verdict_schema

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.stages.work import Cut, Desk, Work

__all__ = [
    "Asset", "Audit", "Decision", "Effect", "Expander", "Expansion", "Filter", "Global", "Mapper", "Part", "Passed", "Reduced",
    "Rejected", "Rule", "Source", "SourceContext", "Span", "Stage", "Verdicts", "verdict_schema",
]  # fmt: skip

Kind = Literal["source", "mapper", "filter", "audit", "expander", "global"]


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
    """Most documents that one call gets; the time limit is put on a call."""
    reasons: ClassVar[Mapping[str, str]] = {}
    """What each reason in its verdicts means: `a document is dropped for REASON: MEANING`. Names are contracts."""
    _root: Path = PrivateAttr(default_factory=Path)

    def model_post_init(self, context: Any, /) -> None:
        """Take the folder of the pipeline file, `root`, from the context of the validation."""
        self._root = Path((context or {}).get("root", ""))

    def beside(self, name: str) -> Path:
        """Where a path of the settings leads: one that is relative starts at the pipeline file, `~` is the user's home.

        It is part of no result: what decides is the content of `model_files()`, and the path as it was written.
        """
        return self._root / Path(name).expanduser()

    def facts(self) -> Mapping[str, str]:
        """What else decides the results: the id of a key, the version of a service. It stands in every version."""
        return {}

    def model_files(self) -> Sequence[Path]:
        """Files whose content decides the results (a language model, a word list)."""
        return ()

    def code_modules(self) -> Sequence[str]:
        """Modules whose code decides the results, beside the stage's own and what that imports."""
        return ()

    def assets(self) -> Sequence[Asset]:
        """What the stage needs beside Python code."""
        return ()

    def lost(self, stage: str) -> str | None:
        """What is gone that its edits rely on, outside of the store, and what helps; asked after cached work, too.

        Args:
            stage: Its id in the pipeline.
        """
        return None


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


_Listed = BeforeValidator(_listed, json_schema_input_type=str | list[str])
On = Annotated[tuple[str, ...], Field(min_length=1), _Listed]


class _OfTexts(Stage):
    """What all kinds but sources have: the texts that they are given."""

    json_columns: ClassVar[frozenset[str]] = frozenset()
    """Those of the columns that it attaches which hold JSON text: selectors reach inside, exports write lists and objects."""
    reads_text: ClassVar[bool] = True
    """Whether the stage looks at texts at all. One that does not has no use for `on`, and where it names its `columns()`
    it is given those, `id` and `source_uri` alone."""

    on: On = Field(
        ("text",),
        description="Which texts of a document: `text`, another column, a place in one (`messages[].content`), several, "
        'or `"*"` for every string but `id` and `source_uri`. What edits, edits each where it stands; what measures or '
        "compares sees them as one text, a blank line between two. Of a document that has none of them, edits and "
        "comparisons leave it alone, and what measures sees an empty text.",
    )

    def columns(self) -> Sequence[str] | None:
        """Columns beside the texts that the results depend on; None is all of them."""
        return None

    def requires(self) -> Sequence[str]:
        """Columns beside the texts without which the stage cannot run."""
        return ()

    def numeric(self) -> Sequence[str]:
        """Those of them that hold numbers: a column of another type is refused before anything is done."""
        return ()

    def embeddings(self) -> Sequence[str]:
        """Those of them that hold lists of numbers."""
        return ()

    def adds(self) -> Sequence[str] | None:
        """Columns that documents have behind the stage; None where that shows only when it runs."""
        return ()


class Effect(NamedTuple):
    """What a stage did to a batch.

    Attributes:
        verdicts: A table of `verdict_schema()`; rows not named are kept unchanged.
        columns: New columns by name, one value for every document of the batch; kept documents carry them on.
    """

    verdicts: pa.Table
    columns: dict[str, pa.Array | pa.ChunkedArray] = {}


# ---- the kinds


class Mapper(_OfTexts):
    """Edits texts, or adds columns."""

    kind = "mapper"
    protects: ClassVar[bool] = False
    """Whether it takes out what must not be published: then a run says which strings it was not given."""

    def open(self) -> Callable[[pa.Table], Effect]:
        """The function that does the work; loads what it needs."""
        raise NotImplementedError

    def adds(self) -> Sequence[str] | None:
        """A mapper may attach any column, unless it says which."""
        return None

    def makes_text(self) -> bool:
        """Whether documents that had no text have one behind the stage (an extractor: curate/stages/extractor.py)."""
        return False

    def consumes(self, columns: pa.Schema) -> Sequence[str]:
        """Those of the columns that documents no longer carry behind the stage (the payload of which it made the text)."""
        return ()


class Filter(_OfTexts):
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
        """The verdicts (`verdict_schema()`) that follow from the features of one shard; by default, from `rules()`.

        One that is `edited` and has spans but no text is that text of the document without them.
        """
        from curate.stages.decide import decide_by_rules

        return decide_by_rules(features, self.rules())

    def edits(self) -> bool:
        """Whether `decide` may say `edited`; what does not decide by `rules()` is taken to, unless it says that it does not."""
        return type(self).decide is not Filter.decide

    def adds(self) -> Sequence[str]:
        """The features that are carried on."""
        return self.carries


class Audit(_OfTexts):
    """Measures features of every document and changes nothing."""

    kind = "audit"
    surveys: ClassVar[bool] = False
    """Whether it is asked what documents hold: then a run says which columns it was not given."""

    def open(self) -> Callable[[pa.Table], pa.Table]:
        """The function that measures: a table of features, one row for every document of the batch."""
        raise NotImplementedError


class Expansion(NamedTuple):
    """The documents made of a batch.

    Attributes:
        parent: For each new document, the row in the batch of the one it was made of (integers, ascending).
        columns: Its columns by name, `text` among them; all other columns are the parent's.
    """

    parent: pa.Array
    columns: dict[str, pa.Array | pa.ChunkedArray]


class Expander(_OfTexts):
    """Makes documents from documents; the ones they were made of leave, and are counted as expanded.

    A new document has the columns `parent` (the id of the one it was made of) and `ordinal` (from 0). Its id is a hash of
    the parent's id, the stage's id and the ordinal.
    """

    kind = "expander"

    def open(self) -> Callable[[pa.Table], Expansion]:
        """The function that makes them: from none to many for every document."""
        raise NotImplementedError

    def adds(self) -> Sequence[str]:
        """The place of the new documents."""
        return ("parent", "ordinal")


class Decision(NamedTuple):
    """What a global stage says of all documents together, as objects of the store.

    Attributes:
        found: What is cut by group of shards (`Desk.write_cut`), with the columns `shard` and `row` and whatever `apply`
            needs; documents that stand in none are handed to `apply` without.
        artifacts: Objects worth keeping with the version (the pairs of duplicates), by name, each with its rows.
    """

    found: Sequence[Cut] = ()
    artifacts: Mapping[str, Sequence[tuple[str, int]]] = {}


class Reduced(NamedTuple):
    """What `Global.reduce` says of all documents together.

    Attributes:
        verdicts: A table of `verdict_schema()` whose `row` counts over all documents, in the order of the signatures.
        columns: New columns by name, one value for every document.
        artifacts: Tables worth keeping with the version (the pairs of duplicates), by name.
    """

    verdicts: pa.Table
    columns: dict[str, pa.Array | pa.ChunkedArray] = {}
    artifacts: dict[str, pa.Table] = {}


class Global(_OfTexts):
    """Needs all documents to decide about each.

    `open()` gives a function that reads signatures off a batch. `decide()` then orders the work over all of them: it holds
    no documents itself, but has `work.each` call methods of the stage in worker processes, which read and write runs of
    records cut into buckets (curate/stages/work.py). `apply()` says what that means for the documents of one shard.

    Documents are compared by `as_compared(batch)` (curate/stages/selectors.py), measured by `text`; those without a selected
    string have no signatures. A stage for few documents writes `reduce()` instead, and is given all signatures at once.
    """

    kind = "global"
    knows_splits: ClassVar[bool] = False
    """Whether it looks at the column `split`: it may stand behind the stage that draws it."""

    def open(self) -> Callable[[pa.Table], pa.Table]:
        """The function that reads signatures off a batch: a table with one row for every document."""
        raise NotImplementedError

    def decide(self, work: Work) -> Decision:
        """Order the work over all signatures; by default, `reduce` them in one go."""
        from curate.stages.whole import decide_whole

        return decide_whole(work)

    def reduce(self, signatures: pa.Table) -> Reduced:
        """Decide from the signatures of all documents: `id` and what `open()` gave, in the order of the sources."""
        raise NotImplementedError

    def apply(self, signatures: pa.Table, found: pa.Table) -> Effect:
        """Verdicts and columns of the documents of one shard.

        Args:
            signatures: `row`, `id` and what `open()` gave, for every document of the shard that has signatures.
            found: What `decide` found of documents of this shard, by `row`.

        Returns:
            Verdicts by position in `signatures`, and columns with one value for each. An edit with spans and no text is
            the document's text without them.
        """
        from curate.stages.whole import apply_whole

        return apply_whole(found)

    def gather(self, desk: Desk) -> dict[str, Any]:
        """All signatures of a group, for `reduce`."""
        from curate.stages.whole import gather

        return gather(desk)

    def reduce_all(self, desk: Desk, *, runs: list[str], bounds: list[int]) -> dict[str, Any]:
        """Call `reduce` with the signatures of all groups."""
        from curate.stages.whole import reduce_whole

        return reduce_whole(self, desk, runs, bounds)


# ---- sources


class Source(Stage):
    """Reads the outside world into documents."""

    kind = "source"
    planning: ClassVar[frozenset[str]] = frozenset()
    """Settings that only say which parts there are: when one of them changes, parts that were read stay read."""

    def plan(self, context: SourceContext) -> Sequence[Part]:
        """The parts, in a stable order (driver side, cheap). A source that matches nothing is a `CurateError`."""
        raise NotImplementedError

    def read(self, part: Part) -> Iterator[pa.Table | Rejected | Passed]:
        """Tables of documents (at most about 16 MB of text each), rejects, and counts of what is none (worker side).

        Columns: `id` (string; null where the source has none: the engine then makes it from `source_uri`), `text`
        (string, never null; not there where the data has none), `source_uri` (`name#offset`, unique), and the source's
        other columns. The same documents in the same order come out however the source was cut into parts.
        """
        raise NotImplementedError

    def unchanged(self, part: Part) -> bool:
        """Whether what was read is still what `content` says (asked afterwards); local files the engine looks after itself."""
        return True
