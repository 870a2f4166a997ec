"""What a report tells, as plain facts: made by `collect`, shown by `html`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curate.reports.conversations import Conversations

__all__ = [
    "VALIDATION",
    "ArtifactTable",
    "Clusters",
    "Example",
    "Feature",
    "Histogram",
    "Lengths",
    "QuarantinedDocument",
    "Reason",
    "ReportData",
    "RunData",
    "SourceShare",
    "Spread",
    "StageData",
]

VALIDATION = "validation."
"""What names of metrics of the validation split begin with."""
COUNTS = ("bytes", "count", "tokens")
"""Metrics that say on how much was measured."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The values that a reason was decided by."""

    low: float
    median: float
    high: float


@dataclass(frozen=True, slots=True)
class Example:
    """One document that a stage edited, dropped or quarantined; all texts are masked excerpts.

    Attributes:
        document: Its id.
        source: Its source_uri.
        text: What to show: the document, or its text after the edit.
        before: The text before the edit, where it may be shown.
        other: The id of the document it duplicates.
        other_source: That document's source_uri.
        other_text: That document's text.
    """

    document: str
    source: str | None
    text: str
    value: float | None = None
    threshold: float | None = None
    detail: str | None = None
    before: str | None = None
    other: str | None = None
    other_source: str | None = None
    other_text: str | None = None


@dataclass(frozen=True, slots=True)
class Reason:
    """Documents with the same verdict for the same reason."""

    verdict: str
    reason: str
    count: int
    spread: Spread | None = None
    threshold: float | None = None
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts between edges; `edges` has one more. `logarithmic`: the edges have equal ratios."""

    edges: tuple[float, ...]
    counts: dict[str, tuple[int, ...]]
    logarithmic: bool = False


@dataclass(frozen=True, slots=True)
class Feature:
    """What a stage measured of the documents it saw.

    Attributes:
        quantiles: Five quantiles and the mean; empty where nothing was measured.
        limits: The thresholds that dropped documents for this feature.
        documents: How many documents were looked at.
        missing: How many of them have no value.
    """

    name: str
    quantiles: dict[str, float]
    histogram: Histogram
    limits: tuple[float, ...]
    documents: int
    missing: int


@dataclass(frozen=True, slots=True)
class ArtifactTable:
    """A table that a stage made of all documents (cells of a mixture, topics): its first rows, and how many it has."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    count: int


@dataclass(frozen=True, slots=True)
class StageData:
    """A stage, and what it did.

    Attributes:
        made: Documents that it made of others; those are the expanded.
        passed: Of a source, by kind: what was no document and not meant to be (requests in an archive of pages).
    """

    id: str
    stage: str
    kind: str
    count: int
    kept: int
    dropped: int
    edited: int
    quarantined: int
    settings: dict[str, Any]
    artifacts: dict[str, int]
    reasons: tuple[Reason, ...] = ()
    features: tuple[Feature, ...] = ()
    made: int = 0
    expanded: int = 0
    passed: dict[str, int] = field(default_factory=dict)
    tables: tuple[ArtifactTable, ...] = ()

    @property
    def removed(self) -> int:
        """Documents that did not go on."""
        return self.dropped + self.quarantined + self.expanded


@dataclass(frozen=True, slots=True)
class SourceShare:
    """What a source gave, and what of it is in the version: documents, and UTF-8 bytes of their texts."""

    source: str
    read: int = 0
    kept: int = 0
    bytes_read: int = 0
    bytes_kept: int = 0


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths in characters of the documents read and of those kept.

    Attributes:
        quantiles: Five numbers (5%, 25%, 50%, 75%, 95%) and the mean for `read` and `kept`.
        measured: How many documents were looked at, for each.
        documents: How many there are, for each.
    """

    histogram: Histogram
    quantiles: dict[str, dict[str, float]]
    measured: dict[str, int]
    documents: dict[str, int]


@dataclass(frozen=True, slots=True)
class Clusters:
    """The duplicates that one stage removed.

    Attributes:
        sizes: Number of clusters by their size (the kept document counted in), as `2`, `3`, `5-9`, ...
        removed: Documents removed, by the same sizes.
        largest: The largest clusters: size, id of the kept document, excerpt.
    """

    stage: str
    clusters: int
    sizes: dict[str, int]
    removed: dict[str, int]
    largest: tuple[tuple[int, str, str], ...]


@dataclass(frozen=True, slots=True)
class QuarantinedDocument:
    """Something that could not be read or processed."""

    stage: str
    reason: str
    source: str
    detail: str


@dataclass(frozen=True, slots=True)
class RunData:
    """A training run and its metrics, in the order of the steps.

    Attributes:
        run: Its name; with the project it belongs to, where two on one store have the same.
        state: `running`, `done`, `failed` or `interrupted`; empty where the store does not know the run.
        folder: Where it is.
        checkpoints: Hashes of the checkpoints that the store knows of.
        metrics: Points (step, value) by the name of the metric.
        problem: Why there are no metrics, where there are none.
    """

    run: str
    dataset: str
    version: str
    tokenizer: str
    metrics: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    config: dict[str, Any] | None = None
    problem: str | None = None
    state: str = ""
    folder: Path | None = None
    checkpoints: tuple[str, ...] = ()

    def last(self, metric: str) -> float | None:
        """The last value of a metric."""
        points = self.metrics.get(metric)
        return points[-1][1] if points else None

    @property
    def steps(self) -> int:
        """The last step that any metric has."""
        return max((points[-1][0] for points in self.metrics.values()), default=0)

    @property
    def validation(self) -> list[tuple[str, tuple[float, float, float, float]]]:
        """What was measured in validation, with its first, lowest, highest and last value; without counts."""
        found: list[tuple[str, tuple[float, float, float, float]]] = []
        for name, points in self.metrics.items():
            if name.startswith(VALIDATION) and name.rpartition(".")[2] not in COUNTS:
                values = [value for _, value in points]
                found.append((name.removeprefix(VALIDATION), (values[0], min(values), max(values), values[-1])))
        return found

    @property
    def bits_per_byte(self) -> float | None:
        """The lowest validation bits per byte, whatever the run calls them."""
        values = [
            value for name, points in self.metrics.items() if name.endswith("bits_per_byte") for _, value in points
        ]
        return min(values, default=None)


@dataclass(frozen=True, slots=True)
class ReportData:
    """Everything that the report of a version tells; `inputs` as the version has them."""

    dataset: str
    version: str
    tag: str | None
    manifest: dict[str, Any]
    stages: tuple[StageData, ...]
    inputs: list[dict[str, Any]]
    shares: tuple[SourceShare, ...]
    lengths: Lengths
    languages: dict[str, int] | None
    clusters: tuple[Clusters, ...]
    personal: dict[str, dict[str, int]]
    quarantined: tuple[QuarantinedDocument, ...]
    runs: tuple[RunData, ...]
    conversations: Conversations | None = None

    @property
    def sources(self) -> list[StageData]:
        """The stages that read."""
        return [stage for stage in self.stages if stage.kind == "source"]

    @property
    def steps(self) -> list[StageData]:
        """The stages that work on documents."""
        return [stage for stage in self.stages if stage.kind != "source"]
