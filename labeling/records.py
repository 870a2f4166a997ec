"""What labeling did, on record in the store: rounds sent and pulled, models, certificates, versions, pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from curate.dataset.reader import Dataset
from curate.dataset.runs import Kind, Thing, record, run_id
from curate.labeling.task import Task

__all__ = ["note"]


def note(
    dataset: Dataset,
    task: Task,
    began: str,
    facts: dict[str, Any],
    *,
    outputs: Sequence[Thing] = (),
    identity: str | None = None,
    kind: Kind = "labeling",
) -> None:
    """Write the record of something done to a version of a task, begun at `began`; `identity` is its id, if it has one."""
    source: Thing = {
        "kind": "version",
        "id": dataset.version,
        "name": f"{dataset.name}@{dataset.tag or dataset.version[:12]}",
    }
    record(
        dataset.store, kind, identity or run_id(), name=task.name, state="done", began=began, inputs=[source],
        outputs=[*outputs], facts=facts,
    )  # fmt: skip
