"""From the shards of a run to the manifest of a version, and the check that every document is accounted for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from curate.dataset.ledger import Shard
from curate.dataset.schema import unpack_schema
from curate.pipeline.config import ConfiguredStage, Pipeline
from curate.stages.contract import Part

__all__ = ["Conservation", "ConservationError", "make_manifest", "stage_rows"]

VERDICTS = ("dropped", "edited", "quarantined")


class ConservationError(Exception):
    """Documents were lost or made: a defect in curate or in a stage, or a damaged store."""


@dataclass(frozen=True, slots=True)
class Conservation:
    """The check of every run: what came in is kept, dropped or quarantined, at every stage and in the whole."""

    shards: Sequence[Shard]
    files: Sequence[dict[str, Any]]
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
        written = sum(file["documents"] for file in self.files)
        if written != kept:
            raise ConservationError(f"{kept} documents are kept, but {written} were written")
        for row in self.rows:
            if row["in"] != row["kept"] + row["dropped"] + row["quarantined"]:
                raise ConservationError(
                    f"stage `{row['id']}`: {row['in']} in, but {row['kept']} kept, {row['dropped']} dropped and "
                    f"{row['quarantined']} quarantined"
                )
        read = sum(shard.documents + sum(shard.rejects.values()) for shard in self.shards)
        lost = sum(row["dropped"] + row["quarantined"] for row in self.rows)
        if read != kept + lost:
            raise ConservationError(f"{read} documents were read, but {kept} kept and {lost} removed")


def stage_rows(
    pipeline: Pipeline, shards: Sequence[Shard], artifacts: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """What every stage did to all documents, sources first."""
    return [_source_row(entry, shards) for entry in pipeline.sources] + [
        _stage_row(entry, shards, artifacts.get(entry.id, {})) for entry in pipeline.stages
    ]


def _row(entry: ConfiguredStage, reasons: dict[str, dict[str, int]], **numbers: Any) -> dict[str, Any]:
    counts = {verdict: sum(reasons.get(verdict, {}).values()) for verdict in VERDICTS}
    return {
        "id": entry.id,
        "stage": entry.name,
        "kind": entry.stage.kind,
        **numbers,
        **counts,
        "kept": numbers["in"] - counts["dropped"] - counts["quarantined"],
        "reasons": reasons,
        "settings": entry.shown_settings(),
    }


def _source_row(entry: ConfiguredStage, shards: Sequence[Shard]) -> dict[str, Any]:
    mine = [shard for shard in shards if shard.source == entry.id]
    reasons: dict[str, dict[str, int]] = {}
    for shard in mine:
        _add(reasons, {"quarantined": shard.rejects} if shard.rejects else {})
        for step in shard.steps:
            if step.stage == entry.id:
                _add(reasons, step.reasons)
    read = sum(shard.documents + sum(shard.rejects.values()) for shard in mine)
    return _row(entry, reasons, **{"in": read, "bytes": sum(shard.bytes for shard in mine), "artifacts": {}})


def _stage_row(entry: ConfiguredStage, shards: Sequence[Shard], artifacts: dict[str, Any]) -> dict[str, Any]:
    steps = [step for shard in shards for step in shard.steps if step.stage == entry.id]
    reasons: dict[str, dict[str, int]] = {}
    for step in steps:
        _add(reasons, step.reasons)
    count, size = sum(step.count for step in steps), sum(step.bytes for step in steps)
    return _row(entry, reasons, **{"in": count, "bytes": size, "artifacts": artifacts})


def _add(total: dict[str, dict[str, int]], more: dict[str, dict[str, int]]) -> None:
    for verdict, reasons in more.items():
        for reason, count in reasons.items():
            by_reason = total.setdefault(verdict, {})
            by_reason[reason] = by_reason.get(reason, 0) + count


def make_manifest(
    pipeline: Pipeline,
    parts: Sequence[tuple[ConfiguredStage, Part]],
    shards: Sequence[Shard],
    files: Sequence[dict[str, Any]],
    rows: list[dict[str, Any]],
    schema: str,
    sample: int | None,
) -> dict[str, Any]:
    """The manifest: everything that is true of the version, and nothing that differs between equal runs."""
    splits: dict[str, dict[str, int]] = {}
    for file in files:
        facts = splits.setdefault(file["split"], {"documents": 0, "text_bytes": 0})
        facts["documents"] += file["documents"]
        facts["text_bytes"] += file["text_bytes"]
    kept = sum(shard.kept for shard in shards)
    return {
        "schema": 1,
        "dataset": pipeline.settings.dataset,
        "columns": [{"name": column.name, "type": str(column.type)} for column in unpack_schema(schema)],
        "schema_ipc": schema,
        "documents": {
            "in": sum(shard.documents + sum(shard.rejects.values()) for shard in shards),
            "kept": kept,
            "dropped": sum(row["dropped"] for row in rows),
            "quarantined": sum(row["quarantined"] for row in rows),
        },
        "bytes": sum(file["bytes"] for file in files),
        "text_bytes": sum(file["text_bytes"] for file in files),
        "splits": splits,
        "shards": list(files),
        "stages": rows,
        "ledger": [shard.to_json() for shard in shards],
        "lineage": {
            "pipeline": _as_written(pipeline),
            "sample": sample,
            "inputs": _inputs(parts),
            "tools": {"curate": metadata.version("curate-lm"), "pyarrow": metadata.version("pyarrow")},
        },
    }


def _as_written(pipeline: Pipeline) -> dict[str, Any]:
    def entries(configured: Sequence[ConfiguredStage]) -> list[dict[str, Any]]:
        return [{"id": entry.id, "stage": entry.name, **entry.written} for entry in configured]

    return {
        **pipeline.settings.model_dump(mode="json", exclude={"max_quarantined", "time_limit"}),
        "sources": entries(pipeline.sources),
        "stages": entries(pipeline.stages),
    }


def _inputs(parts: Sequence[tuple[ConfiguredStage, Part]]) -> list[dict[str, Any]]:
    inputs: dict[tuple[str, str], dict[str, Any]] = {}
    for entry, part in parts:
        path = Path(part.location)
        size = path.stat().st_size if path.is_file() else None
        inputs[entry.id, part.name] = {"source": entry.id, "name": part.name, "content": part.content, "bytes": size}
    return list(inputs.values())
