"""What a stage says of its documents: edited, dropped, quarantined; and the rules from which filters say it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from curate.errors import CurateError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "Rule",
    "Span",
    "Unfit",
    "Verdicts",
    "as_one",
    "check_rows",
    "united_spans",
    "verdict_schema",
    "without_spans",
]


class Span(NamedTuple):
    """A stretch of the text before the edit, in characters, end exclusive; never the text itself.

    Attributes:
        start: Its first character.
        end: The first behind it.
        type: What it is.
        score: How certain that is, 0 to 1.
        rule: What found it, where the stage says so.
    """

    start: int
    end: int
    type: str
    score: float = 1.0
    rule: str | None = None


class Unfit(Exception):
    """A document that a stage cannot work with: it is quarantined for `reason`, a name among the stage's `reasons`."""

    def __init__(self, reason: str, detail: str | None = None) -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


class Rule(NamedTuple):
    """A document is dropped for `reason` when `feature` is null, below `minimum` or above `maximum` (both inclusive)."""

    reason: str
    feature: str
    minimum: float | None = None
    maximum: float | None = None


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
        self._add(row, "edited", reason, value, text=text, detail=detail, spans=[span._asdict() for span in spans])

    def cut(
        self,
        row: int,
        reason: str,
        *,
        value: float,
        duplicate_of: str | None = None,
        detail: str | None = None,
        spans: Sequence[Span],
    ) -> None:
        """The document's text loses these stretches, in ascending order; what is left the engine finds.

        A document that has the same is named by `duplicate_of`, never in words: an erasure finds it there.
        """
        told = [span._asdict() for span in spans]
        self._add(row, "edited", reason, value, duplicate_of=duplicate_of, detail=detail, spans=told)

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

        rules = any(span["rule"] for row in self.rows for span in row.get("spans", ()))
        rows = sorted(self.rows, key=lambda verdict: verdict["row"])
        return pa.Table.from_pylist(rows, schema=verdict_schema(rules=rules))


def verdict_schema(*, rules: bool = False) -> pa.Schema:
    """Columns of a verdict table: which row, what, why, the value against the threshold, the new text, the spans.

    `path` is where in the document the edited text stands; null is its column `text`. An edit with a path and neither text nor
    spans says that the stage gives this column another value there, in a column of this name that it attaches. Spans have a
    `rule` where the stage gives them one, so that tables of all other stages are the bytes that they always were.
    """
    import pyarrow as pa

    rule = [("rule", pa.string())] if rules else []
    span = pa.struct(
        [("start", pa.int32()), ("end", pa.int32()), ("type", pa.string()), ("score", pa.float32()), *rule]
    )
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
        ("path", pa.string()),
    ])  # fmt: skip


def as_one(verdicts: Sequence[pa.Table]) -> pa.Table:
    """Tables of verdicts as one; where spans of some have a rule, those of the others have none said."""
    import pyarrow as pa

    kind = max((table.schema.field("spans").type for table in verdicts), key=lambda kind: kind.value_type.num_fields)
    same = [
        table if table.schema.field("spans").type == kind
        else table.set_column(table.schema.get_field_index("spans"), "spans", table.column("spans").cast(kind))
        for table in verdicts
    ]  # fmt: skip
    return pa.concat_tables(same)


def check_rows(verdicts: pa.Table, count: int, stage: str) -> None:
    """Raise a `CurateError` unless each verdict is on one of so many documents, and no two on one but edits of its places.

    Args:
        verdicts: What a stage decided; `row` counts from 0.
        count: How many documents there were.
        stage: What to call the stage.
    """
    import numpy as np

    rows = verdicts.column("row").to_numpy()
    if len(rows) and (rows.min() < 0 or rows.max() >= count):
        raise CurateError(
            f"stage `{stage}` decides about row {rows.min() if rows.min() < 0 else rows.max()} of {count} documents",
            hint="`row` counts from 0 in the documents that are decided about",
        )
    single = (
        verdicts.column("path").is_null().to_numpy() if "path" in verdicts.column_names else np.ones(len(rows), bool)
    )
    numbers, counts = np.unique(rows, return_counts=True)
    if np.isin(rows[single], numbers[counts > 1]).any():
        raise CurateError(
            f"stage `{stage}` decides twice about a document", hint="name each row once: edited, dropped or quarantined"
        )


def united_spans(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans as stretches that do not touch, ascending; end exclusive."""
    united: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if united and start <= united[-1][1]:
            united[-1] = united[-1][0], max(end, united[-1][1])
        else:
            united.append((start, end))
    return united


def without_spans(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """A text without these stretches: ascending, in characters, end exclusive."""
    edges = [0, *(edge for span in spans for edge in span), len(text)]
    return "".join(text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True))
