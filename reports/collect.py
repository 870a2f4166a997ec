"""From the store to a report's facts: reads the manifest, the ledger's objects and the version's shards.

Memory: one object at a time, the lengths of at most a million documents, the ids of the duplicates removed. Nothing depends
on the clock or the machine, so the same version and runs give the same report.
"""

from __future__ import annotations

from typing import Any

from curate.dataset.artifacts import shown
from curate.dataset.facts import personal_data
from curate.dataset.reader import Dataset
from curate.dataset.refs import Reference, tags_of
from curate.dataset.store import Store
from curate.reports.conversations import collect_conversations
from curate.reports.data import ArtifactTable, Feature, Reason, ReportData, StageData
from curate.reports.features import collect_features
from curate.reports.history import Histories
from curate.reports.measures import (
    collect_clusters,
    collect_languages,
    collect_lengths,
    collect_quarantined,
    collect_sources,
)
from curate.reports.runs import runs_of
from curate.reports.sample import sample_reasons

__all__ = ["collect_report"]

ROWS_SHOWN = 30


def collect_report(store: Store, version: str) -> ReportData:
    """Everything that the report of a version tells.

    Raises:
        CurateError: The version or one of its objects is missing.
    """
    name = store.manifest(version)["dataset"]
    dataset = Dataset(store, Reference(name, version, _tag(store, name, version)))
    manifest, shards = dataset.manifest, dataset.ledger()
    on = {record["id"]: record["settings"].get("on", ("text",)) for record in manifest["stages"]}
    histories = Histories(dataset, shards, on)
    reasons, features = sample_reasons(store, shards, histories), collect_features(store, shards)
    return ReportData(
        dataset=dataset.name,
        version=version,
        tag=dataset.tag,
        manifest=manifest,
        stages=tuple(
            _stage(record, reasons.get(record["id"], ()), features.get(record["id"], ()), _tables(store, record))
            for record in manifest["stages"]
        ),
        inputs=dataset.inputs(),
        shares=collect_sources(dataset, shards),
        lengths=collect_lengths(dataset, shards),
        languages=collect_languages(dataset),
        clusters=collect_clusters(store, shards, histories),
        personal=personal_data(dataset, shards),
        quarantined=collect_quarantined(store, shards),
        runs=runs_of(store, version),
        conversations=collect_conversations(dataset),
    )


def _tag(store: Store, dataset: str, version: str) -> str | None:
    tags = [tag for tag, tagged in tags_of(store, dataset).items() if tagged == version]
    return ", ".join(sorted(tags)) or None


def _tables(store: Store, record: dict[str, Any]) -> tuple[ArtifactTable, ...]:
    """What stages over all documents tell in a table, as it is told to people."""
    return tuple(
        ArtifactTable(one.name, one.columns, tuple(one.rows[:ROWS_SHOWN]), len(one.rows))
        for one in shown(store, record)
    )


def _stage(
    record: dict[str, Any],
    sampled: tuple[Reason, ...],
    features: tuple[Feature, ...],
    tables: tuple[ArtifactTable, ...],
) -> StageData:
    """The stage as the manifest has it; its counts are the manifest's, the examples those of the ledger."""
    known = {(reason.verdict, reason.reason) for reason in sampled}
    # What a source could not read is in the manifest only: rejected input has no verdict.
    others = tuple(
        Reason(verdict, reason, count)
        for verdict, counts in record["reasons"].items()
        for reason, count in counts.items()
        if (verdict, reason) not in known
    )
    return StageData(
        id=record["id"],
        stage=record["stage"],
        kind=record["kind"],
        count=record["in"],
        kept=record["kept"],
        dropped=record["dropped"],
        edited=record["edited"],
        quarantined=record["quarantined"],
        settings=record["settings"],
        artifacts={name: facts["rows"] for name, facts in sorted(record["artifacts"].items())},
        reasons=(*sampled, *others),
        features=features,
        made=record["made"],
        expanded=record["expanded"],
        passed=record["passed"],
        tables=tables,
    )
