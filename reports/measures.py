"""What a version's documents are like: lengths before and after, languages, duplicate clusters, quarantine.

Lengths are measured on at most about `MEASURED` documents, taken from shards at even distances; the report says how many.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from curate.dataset.facts import counted_by_source
from curate.dataset.index import Address
from curate.dataset.ledger import Shard, removed_documents
from curate.dataset.reader import Dataset
from curate.dataset.store import Store
from curate.reports.data import Clusters, Histogram, Lengths, QuarantinedDocument, SourceShare
from curate.reports.history import Glimpse, Histories
from curate.reports.text import excerpt, mask
from curate.stages.selectors import PLACES, string_columns

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = [
    "collect_clusters",
    "collect_languages",
    "collect_lengths",
    "collect_quarantined",
    "collect_sources",
    "evenly",
    "quantiles",
]

Thing = TypeVar("Thing")

MEASURED = 500_000
QUARANTINED_SHOWN = 50
LARGEST_CLUSTERS = 5
QUANTILES = {"5%": 0.05, "25%": 0.25, "median": 0.5, "75%": 0.75, "95%": 0.95}
CLUSTER_SIZES = ((2, "2"), (3, "3"), (4, "4"), (9, "5\u20139"), (99, "10\u201399"), (999, "100\u2013999"))


# ---- lengths


def collect_lengths(dataset: Dataset, shards: Sequence[Shard]) -> Lengths:
    """Lengths in characters of the documents as read, and of those of the version."""
    read = [(shard, shard.documents) for shard in shards if shard.documents and not shard.parent]
    kept = [(fragment, fragment.documents) for fragment in dataset.fragments]
    names = _measured_columns(dataset.schema)
    lengths = {
        "read": _lengths(table for shard in evenly(read) for table in _as_read(dataset.store, shard, names)),
        "kept": _lengths(table for fragment in evenly(kept) for table in dataset.tables(fragment, names)),
    }
    return Lengths(
        histogram=log_histogram(lengths),
        quantiles={name: quantiles(measured) for name, measured in lengths.items()},
        measured={name: len(measured) for name, measured in lengths.items()},
        documents={"read": sum(count for _, count in read), "kept": sum(count for _, count in kept)},
    )


def _measured_columns(schema: pa.Schema) -> list[str]:
    """The text; of documents that have none, all strings."""
    return ["text"] if "text" in schema.names else [name for name in string_columns(schema) if name not in PLACES]


def evenly(objects: Sequence[tuple[Thing, int]]) -> list[Thing]:
    """All of the objects with their counts of documents, or every n-th where they are more than are measured."""
    total = sum(count for _, count in objects)
    return [thing for thing, _ in objects[:: max(1, -(-total // MEASURED))]]


def _as_read(store: Store, shard: Shard, names: Sequence[str]) -> Iterator[pa.Table]:
    """Columns of the documents of a shard as they were read; nothing where they had none of them yet."""
    import pyarrow as pa

    with store.parquet(shard.object) as file:
        there = [name for name in names if name in file.schema_arrow.names]
        if there:
            for batch in file.iter_batches(columns=there, use_threads=False):
                yield pa.Table.from_batches([batch])


def _lengths(tables: Iterable[pa.Table]) -> np.ndarray:
    """Characters of each row, its columns together."""
    import numpy as np
    import pyarrow.compute as compute

    measured = []
    for table in tables:
        columns = [compute.fill_null(compute.utf8_length(column), 0).to_numpy() for column in table.columns]
        measured.append(np.sum(columns, axis=0, dtype=np.int64) if columns else np.zeros(table.num_rows, np.int64))
    return np.concatenate(measured) if measured else np.empty(0, dtype=np.int64)


def quantiles(values: np.ndarray) -> dict[str, float]:
    """Five quantiles and the mean, by name; nothing of no values."""
    import numpy as np

    if len(values) == 0:
        return {}
    found = np.quantile(values, list(QUANTILES.values()))
    return dict(zip(QUANTILES, map(float, found), strict=True)) | {"mean": float(values.mean())}


def log_histogram(series: dict[str, np.ndarray]) -> Histogram:
    """Counts in bins that double every other edge, from the shortest to the longest; empty texts have their own bin."""
    import numpy as np

    longest = max((int(values.max()) for values in series.values() if len(values)), default=1)
    shortest = min((int(values[values > 0].min()) for values in series.values() if (values > 0).any()), default=1)
    first, last = int(np.floor(2 * np.log2(shortest))), int(np.floor(2 * np.log2(max(longest, 1)))) + 1
    # Lengths are whole numbers: edges between the same two whole numbers are one.
    edges = sorted({float(np.ceil(2 ** (step / 2))) for step in range(first, last + 1)})
    if edges[-1] <= longest:
        edges.append(float(np.ceil(2 ** ((last + 1) / 2))))
    if any((values == 0).any() for values in series.values()):
        edges = [0.0, *edges]
    counts = {name: tuple(int(n) for n in np.histogram(values, edges)[0]) for name, values in series.items()}
    return Histogram(tuple(edges), counts)


# ---- languages


def collect_languages(dataset: Dataset) -> dict[str, int] | None:
    """Documents of the version by language, most frequent first; None where it has no column `language`."""
    if "language" not in dataset.columns:
        return None
    counts: Counter[str] = Counter()
    for batch in dataset.batches(columns=["language"], batch_size=20_000):
        counts.update({str(entry["values"]): entry["counts"] for entry in batch.column(0).value_counts().to_pylist()})
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


# ---- sources


def collect_sources(dataset: Dataset, shards: Sequence[Shard]) -> tuple[SourceShare, ...]:
    """What each source gave and how much of it is in the version, in the order of the pipeline.

    What an expander made counts for the source of the documents that it was made of.
    """
    return tuple(
        SourceShare(one.id, one.read, one.kept, one.bytes_read, one.bytes_kept)
        for one in counted_by_source(dataset, shards).values()
    )


# ---- duplicates


def collect_clusters(store: Store, shards: Sequence[Shard], histories: Histories) -> tuple[Clusters, ...]:
    """Clusters of duplicates by the stage that removed them: a kept document and those removed for it."""
    import polars

    removed: dict[str, list[polars.Series]] = defaultdict(list)
    for shard in shards:
        for step in shard.steps:
            if not step.verdicts or not step.number("dropped"):
                continue
            column = store.read_table(step.verdicts, ["duplicate_of"]).column(0).drop_null()
            if len(column):
                removed[step.stage].append(polars.Series("kept", column))
    return tuple(_clusters(histories, stage, polars.concat(parts)) for stage, parts in removed.items())


def _clusters(histories: Histories, stage: str, kept: Any) -> Clusters:
    counts = kept.value_counts().sort(["count", "kept"], descending=[True, False])
    sizes: Counter[str] = Counter()
    removed: Counter[str] = Counter()
    for count, clusters in sorted(counts["count"].value_counts(name="n").iter_rows()):
        name = next((name for limit, name in CLUSTER_SIZES if count + 1 <= limit), "1000 or more")
        sizes[name] += clusters
        removed[name] += clusters * count
    largest = [(count + 1, identity) for identity, count in counts.head(LARGEST_CLUSTERS).iter_rows()]
    found = {identity: histories.address(identity) for _, identity in largest}
    histories.read(Glimpse(one, stage) for one in found.values() if one)
    shown = tuple((size, identity, _shown(histories, found[identity], stage)) for size, identity in largest)
    return Clusters(stage, len(counts), dict(sizes), dict(removed), shown)


def _shown(histories: Histories, document: Address | None, stage: str) -> str:
    if document is None:
        return ""
    return excerpt(histories.shown(document, histories.text(Glimpse(document, stage))), length=160)


# ---- personal data


# ---- quarantine


def collect_quarantined(store: Store, shards: Sequence[Shard]) -> tuple[QuarantinedDocument, ...]:
    """The first of what could not be read or processed, in the order of the sources; the counts stand with the stages."""
    first = islice(removed_documents(store, shards, ("quarantined",)), QUARANTINED_SHOWN)
    # A detail may be the message of an exception, and that may quote the text.
    return tuple(
        QuarantinedDocument(row["stage"], row["reason"], row["source_uri"] or "", mask(row["detail"] or ""))
        for row in first
    )
