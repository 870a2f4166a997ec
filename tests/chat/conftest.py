"""A project without toy stages: rows as JSON lines, a pipeline of some stages, and the version that comes out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Rows:
    """Rows in a folder, and runs over them."""

    root: Path

    def write(self, rows: list[dict[str, Any]], name: str = "in.jsonl") -> None:
        (self.root / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    def run(self, *stages: str, **options: Any):
        import curate

        lines = [
            "dataset: chats",
            "sources: [{stage: files, paths: in.jsonl}]",
            "stages:",
            *(f"  - {{stage: {one}}}" for one in stages),
        ]
        (self.root / "p.yaml").write_text("\n".join([*lines, ""]))
        return curate.run(self.root / "p.yaml", **{"workers": 1, **options})

    def open(self):
        import curate

        return curate.open_dataset("chats", self.root / ".curate")

    def rows(self) -> dict[str, dict[str, Any]]:
        """The version's rows by id, columns of JSON parsed."""
        from curate.stages.selectors import is_json

        table = self.open().arrow()
        nested = [field.name for field in table.schema if is_json(field)]
        found = table.to_pylist()
        for row in found:
            row.update({name: row[name] and json.loads(row[name]) for name in nested})
        return {row["id"]: row for row in found}


@pytest.fixture
def rows(tmp_path) -> Rows:
    return Rows(tmp_path)
