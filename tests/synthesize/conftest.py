"""A store with documents to ask about, and pipelines that ask."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import curate
from curate import endpoint


@dataclass
class Lab:
    """A folder with a store in it."""

    root: Path

    def seeds(self, rows: list[dict[str, Any]]) -> None:
        """Commit the dataset `seeds`."""
        (self.root / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (self.root / "seeds.yaml").write_text(
            "dataset: seeds\nsources: [{stage: files, paths: in.jsonl}]\nstages: []\n"
        )
        curate.run(self.root / "seeds.yaml", workers=1)

    def file(self, url: str, **settings: Any) -> Path:
        entry = {"stage": "synthesize", "id": "made", "dataset": "seeds", "endpoint": url, "model": "m", **settings}
        whole = {"dataset": "made", "min_documents": 0, "sources": [entry], "stages": []}
        path = self.root / "made.yaml"
        path.write_text(json.dumps(whole))
        return path

    def run(self, url: str, **settings: Any):
        return curate.run(self.file(url, **settings), workers=1)

    def rows(self) -> list[dict[str, Any]]:
        return curate.open_dataset("made", self.root / ".curate").arrow().to_pylist()

    def rejected(self) -> dict[str, int]:
        opened = curate.open_dataset("made", self.root / ".curate")
        found: dict[str, int] = {}
        for shard in opened.ledger():
            for name, count in shard.rejects.items():
                found[name] = found.get(name, 0) + count
        return found


@pytest.fixture
def lab(tmp_path, monkeypatch) -> Lab:
    monkeypatch.setattr(endpoint, "time", type("", (), {"sleep": staticmethod(lambda seconds: None)}))
    monkeypatch.delenv("CURATE_LLM_TOKEN", raising=False)
    return Lab(tmp_path)
