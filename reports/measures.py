"""What a version's documents are like: lengths before and after, languages, duplicate clusters, personal data, quarantine.

Lengths are measured on at most about `MEASURED` documents, taken from shards at even distances; the report says how many.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from curate.dataset.ledger import Shard
from curate.dataset.store import Store
from curate.reports.data import Clusters, Histogram, Lengths, QuarantinedDocument
from curate.reports.sample import Texts
from curate.reports.text import excerpt, mask

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "collect_clusters",
    "collect_languages",
    "collect_lengths",
    "collect_personal",
    "collect_quarantined",
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


def collect_lengths(store: Store, shards: Sequence[Shard], manifest: dict[str, Any]) -> Lengths:
    """Lengths in characters of the documents as read, and of those of the version."""
    objects = {
        "read": [(shard.object, shard.documents) for shard in shards if shard.documents],
        "kept": [(shard["object"], shard["documents"]) for shard in manifest["shards"]],
    }
    lengths = {name: _lengths(store, evenly(chosen)) for name, chosen in objects.items()}
    return Lengths(
        histogram=log_histogram(lengths),
        quantiles={name: quantiles(measured) for name, measured in lengths.items()},
        measured={name: len(measured) for name, measured in lengths.items()},
        documents={name: sum(count for _, count in chosen) for name, chosen in objects.items()},
    )


def evenly(objects: Sequence[tuple[Thing, int]]) -> list[Thing]:
    """All of the objects with their counts of documents, or every n-th where they are more than are measured."""
    total = sum(count for _, count in objects)
    return [thing for thing, _ in objects[:: max(1, -(-total // MEASURED))]]


def _lengths(store: Store, names: Iterable[str]) -> np.ndarray:
    import numpy as np
    import pyarrow.compute as compute

    measured = [
        compute.utf8_length(column).to_numpy(zero_copy_only=False).astype(np.int64)  # pyright: ignore[reportAttributeAccessIssue]
        for name in names
        for column in _columns(store, name, "text")
    ]
    return np.concatenate(measured) if measured else np.empty(0, dtype=np.int64)


def _columns(store: Store, name: str, column: str) -> Iterator[Any]:
    """A column of an object, one row group after the other."""
    import pyarrow.parquet as parquet

    with parquet.ParquetFile(store.object_path(name)) as file:
        for batch in file.iter_batches(columns=[column], use_threads=False):
            yield batch.column(0)


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


def collect_languages(store: Store, manifest: dict[str, Any]) -> dict[str, int] | None:
    """Documents of the version by language, most frequent first; None where it has no column `language`."""
    if not any(column["name"] == "language" for column in manifest["columns"]):
        return None
    counts: Counter[str] = Counter()
    for shard in manifest["shards"]:
        for column in _columns(store, shard["object"], "language"):
            counts.update({str(entry["values"]): entry["counts"] for entry in column.value_counts().to_pylist()})
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


# ---- duplicates


def collect_clusters(store: Store, shards: Sequence[Shard]) -> tuple[Clusters, ...]:
    """Clusters of duplicates by the stage that removed them: a kept document and those removed for it."""
    import polars

    removed: dict[str, list[polars.Series]] = defaultdict(list)
    for shard in shards:
        for step in shard.steps:
            if not step.verdicts:
                continue
            column = store.read_table(step.verdicts, ["duplicate_of"]).column(0).drop_null()
            if len(column):
                removed[step.stage].append(polars.Series("kept", column))
    return tuple(_clusters(store, shards, stage, polars.concat(parts)) for stage, parts in removed.items())


def _clusters(store: Store, shards: Sequence[Shard], stage: str, kept: Any) -> Clusters:
    counts = kept.value_counts().sort(["count", "kept"], descending=[True, False])
    sizes: Counter[str] = Counter()
    removed: Counter[str] = Counter()
    for count, clusters in sorted(counts["count"].value_counts(name="n").iter_rows()):
        name = next((name for limit, name in CLUSTER_SIZES if count + 1 <= limit), "1000 or more")
        sizes[name] += clusters
        removed[name] += clusters * count
    texts = Texts(store, shards)
    largest = [(count + 1, identity) for identity, count in counts.head(LARGEST_CLUSTERS).iter_rows()]
    texts.fetch(identity for _, identity in largest)
    shown = tuple(
        (size, identity, excerpt(texts.of(identity).shown_before(stage), length=160)) for size, identity in largest
    )
    return Clusters(stage, len(counts), dict(sizes), dict(removed), shown)


# ---- personal data


def collect_personal(store: Store, shards: Sequence[Shard]) -> dict[str, dict[str, int]]:
    """Occurrences and documents by type of personal data that was found: `{type: {"found", "documents"}}`."""
    import polars

    found: Counter[str] = Counter()
    documents: Counter[str] = Counter()
    for shard in shards:
        for step in shard.steps:
            if not step.verdicts or not step.number("edited"):
                continue
            edited: polars.DataFrame = polars.from_arrow(store.read_table(step.verdicts, ["spans"]))  # type: ignore[assignment]
            spans = edited.with_row_index("row").explode("spans").drop_nulls("spans").unnest("spans")
            counts = spans.group_by("type").agg(polars.len(), polars.col("row").n_unique())
            for name, occurrences, rows in counts.iter_rows():
                found[name] += occurrences
                documents[name] += rows
    names = sorted(found, key=lambda name: (-found[name], name))
    return {name: {"found": found[name], "documents": documents[name]} for name in names}


# ---- quarantine


def collect_quarantined(store: Store, shards: Sequence[Shard]) -> tuple[QuarantinedDocument, ...]:
    """The first of what could not be read or processed, in the order of the sources; the counts stand with the stages."""
    shown: list[QuarantinedDocument] = []
    for shard in shards:
        for stage, row in _quarantined_of(store, shard, QUARANTINED_SHOWN - len(shown)):
            shown.append(QuarantinedDocument(stage, row["reason"], row["source_uri"] or "", row["detail"] or ""))
        if len(shown) >= QUARANTINED_SHOWN:
            break
    return tuple(shown)


def _quarantined_of(store: Store, shard: Shard, limit: int) -> list[tuple[str, dict[str, Any]]]:
    found = []
    if shard.rejected:
        rows = store.read_table(shard.rejected).slice(0, limit).to_pylist()
        found = [(shard.source, row) for row in rows]
    for step in shard.steps:
        if len(found) < limit and step.verdicts and step.number("quarantined"):
            table = store.read_table(step.verdicts, ["id", "verdict", "reason", "detail"])
            rows = [row for row in table.to_pylist() if row["verdict"] == "quarantined"][: limit - len(found)]
            # A detail may be the message of an exception, and that may quote the text.
            rows = [{**row, "detail": mask(row["detail"] or "")} for row in rows]
            found += [(step.stage, row) for row in _with_source(store, shard, rows)]
    return found


def _with_source(store: Store, shard: Shard, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    table = store.read_table(shard.object, ["id", "source_uri"])
    wanted = {row["id"] for row in rows}
    ids, uris = table.column("id").to_pylist(), table.column("source_uri").to_pylist()
    places = {identity: uri for identity, uri in zip(ids, uris, strict=True) if identity in wanted}
    return [{**row, "source_uri": places.get(row["id"], row["id"])} for row in rows]
