"""From the ledger of a run to the manifest of a version, and the check that every document is accounted for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from curate.config.pipeline import ConfiguredStage, Pipeline
from curate.dataset.erased import Erased
from curate.dataset.fragments import Fragment
from curate.dataset.ledger import REMOVED, Shard
from curate.dataset.manifest import Lineage, write_inputs
from curate.dataset.store import Store
from curate.pipeline.plan import Inputs, Planned
from curate.stages.fetched import VERSION

__all__ = ["Conservation", "ConservationError", "as_written", "pipeline_lineage", "stage_rows"]

UNWRITTEN = {"max_quarantined", "min_documents", "licenses", "time_limit"}
"""Settings that bound a run, and not what its version is."""
VERDICTS = ("dropped", "edited", "quarantined", "expanded")


class ConservationError(Exception):
    """Documents were lost or made: a defect in curate or in a stage, or a damaged store."""


@dataclass(frozen=True, slots=True)
class Conservation:
    """The check of every run: what came in or was made is kept, dropped, quarantined or expanded, everywhere."""

    shards: Sequence[Shard]
    fragments: Sequence[Fragment]
    rows: Sequence[dict[str, Any]]

    def check(self) -> None:
        """Raise `ConservationError` if anything does not add up."""
        for shard in self.shards:
            left = shard.documents
            for step in shard.steps:
                if step.count != left:
                    raise ConservationError(
                        f"stage `{step.stage}` saw {step.count} of the {left} documents of a shard of `{shard.part}`"
                    )
                left = step.kept
        kept = sum(shard.kept for shard in self.shards)
        written = sum(one.documents for one in self.fragments)
        if written != kept:
            raise ConservationError(f"{kept} documents are kept, but {written} were written")
        for row in self.rows:
            if row["in"] + row["made"] != row["kept"] + sum(row[verdict] for verdict in REMOVED):
                raise ConservationError(f"stage `{row['id']}` does not add up: {row}")
        read = sum(shard.documents + sum(shard.rejects.values()) for shard in self.shards if not shard.parent)
        made = sum(row["made"] for row in self.rows)
        lost = sum(row[verdict] for row in self.rows for verdict in REMOVED)
        if read + made != kept + lost:
            raise ConservationError(f"{read} documents were read and {made} made, but {kept} kept and {lost} removed")


def stage_rows(
    pipeline: Pipeline, shards: Sequence[Shard], artifacts: dict[str, dict[str, list[tuple[str, int]]]]
) -> list[dict[str, Any]]:
    """What every stage did to all documents, sources first."""
    steps: dict[str, list[Any]] = {}
    for shard in shards:
        for step in shard.steps:
            steps.setdefault(step.stage, []).append(step)
    return [_source_row(entry, shards, steps.get(entry.id, ())) for entry in pipeline.sources] + [
        _stage_row(entry, steps.get(entry.id, ()), artifacts.get(entry.id, {})) for entry in pipeline.stages
    ]


def _row(entry: ConfiguredStage, reasons: dict[str, dict[str, int]], **numbers: Any) -> dict[str, Any]:
    counts = {verdict: sum(reasons.get(verdict, {}).values()) for verdict in VERDICTS}
    return {
        "id": entry.id,
        "stage": entry.name,
        "kind": entry.stage.kind,
        **numbers,
        **counts,
        "kept": numbers["in"] + numbers["made"] - sum(counts[verdict] for verdict in REMOVED),
        "reasons": reasons,
        "settings": entry.shown_settings(),
    }


def _source_row(entry: ConfiguredStage, shards: Sequence[Shard], steps: Sequence[Any]) -> dict[str, Any]:
    mine = [shard for shard in shards if shard.source == entry.id]
    reasons: dict[str, dict[str, int]] = {}
    passed: dict[str, int] = {}
    for shard in mine:
        _add(reasons, {"quarantined": shard.rejects} if shard.rejects else {})
        for kind, count in shard.passed.items():
            passed[kind] = passed.get(kind, 0) + count
    for step in steps:
        _add(reasons, step.reasons)
    read = sum(shard.documents + sum(shard.rejects.values()) for shard in mine)
    size = sum(shard.bytes for shard in mine)
    return _row(entry, reasons, **{"in": read, "made": 0, "bytes": size, "artifacts": {}, "passed": passed})


def _stage_row(entry: ConfiguredStage, steps: Sequence[Any], artifacts: dict[str, Any]) -> dict[str, Any]:
    reasons: dict[str, dict[str, int]] = {}
    for step in steps:
        _add(reasons, step.reasons)
    numbers = {"in": sum(step.count for step in steps), "made": sum(step.made for step in steps)}
    held = {
        name: {"objects": [one for one, _ in objects], "rows": sum(rows for _, rows in objects)}
        for name, objects in artifacts.items()
    }
    row = _row(entry, reasons, **numbers, bytes=sum(step.bytes for step in steps), artifacts=held, passed={})
    facts = entry.stage.facts()
    return {**row, "facts": dict(facts)} if facts else row


def _add(total: dict[str, dict[str, int]], more: dict[str, dict[str, int]]) -> None:
    for verdict, reasons in more.items():
        for reason, count in reasons.items():
            by_reason = total.setdefault(verdict, {})
            by_reason[reason] = by_reason.get(reason, 0) + count


def pipeline_lineage(
    store: Store, pipeline: Pipeline, parts: Sequence[Planned], inputs: Inputs, sample: int | None
) -> Lineage:
    """Where a version comes from: the pipeline as it was written, and every file that was read."""
    read: dict[tuple[str, str, str], dict[str, Any]] = {}
    erased = Erased.of(store)
    for entry, part in parts:
        name = erased.name(part.name) if erased else part.name
        facts = {"source": entry.id, "name": name, "content": part.content, "bytes": inputs.size(part)}
        read[entry.id, part.name, part.content] = facts
    versions = (part.content.removeprefix(VERSION) for _, part in parts if part.content.startswith(VERSION))
    return Lineage(
        pipeline=as_written(pipeline),
        parents=tuple(dict.fromkeys(one for one in versions if store.blobs.exists(f"versions/{one}.json"))),
        inputs=write_inputs(store, list(read.values())),
        sample=sample,
        tools={"curate": metadata.version("curate-lm"), "pyarrow": metadata.version("pyarrow")},
    )


def as_written(pipeline: Pipeline) -> dict[str, Any]:
    """What the pipeline's file says, but for what bounds a run, or how gently it fetches: no version is another by these."""

    def entries(configured: Sequence[ConfiguredStage]) -> list[dict[str, Any]]:
        said = [{key: value for key, value in entry.written.items() if key not in entry.pace} for entry in configured]
        wheres = [{"where": {name: list(one) for name, one in entry.documents.items()}} for entry in configured]
        return [
            {"id": entry.id, "stage": entry.name, **(where if entry.documents else {}), **one}
            for entry, where, one in zip(configured, wheres, said, strict=True)
        ]

    return {
        **pipeline.settings.model_dump(mode="json", exclude=UNWRITTEN),
        "sources": entries(pipeline.sources),
        "stages": entries(pipeline.stages),
    }
