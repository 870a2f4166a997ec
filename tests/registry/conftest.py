"""A store with runs and evaluations on record, as `curate train` and `curate eval` leave them, without any training."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pytest

from curate.dataset.runs import Thing, now, record, run_id
from curate.dataset.store import Store, canonical_json
from curate.evaluation.compare import identity_of
from curate.evaluation.metrics import measures
from curate.evaluation.result import RESULT, Evaluation, Items, write_items
from curate.files import file_hash
from curate.jsontext import dumps


class Registry:
    """Makes runs and evaluations in a folder, on record in a store."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.folder, self.store = folder, store

    def run(self, name, *, versions=(), tokenizer="t" * 64, state="done"):
        """The folder of a complete run of this name."""
        place = self.folder / "runs" / name / "checkpoints" / "step-000001"
        place.mkdir(parents=True, exist_ok=True)
        (place.parent.parent / "config.json").write_text("{}")
        (place / "model.safetensors").write_text(name)
        files = {"model.safetensors": file_hash(place / "model.safetensors")}
        (place / "checkpoint.json").write_bytes(canonical_json({"run": name, "files": files}))
        checkpoint = hashlib.sha256(bytes.fromhex(file_hash(place / "checkpoint.json"))).hexdigest()
        folder = place.parent.parent.resolve()
        record(
            self.store, "training", run_id(), name=name, state=state, began=now(),
            inputs=[Thing(kind="version", id=one, name=f"{dataset}@v1") for dataset, one in versions],
            outputs=[
                Thing(kind="checkpoint", id=checkpoint, name="checkpoints/step-000001"),
                Thing(kind="weights", id=hashlib.sha256(name.encode()).hexdigest(), name="checkpoints/step-000001"),
            ],
            facts={"run": name, "folder": str(folder), "tokenizer": tokenizer},
        )  # fmt: skip
        return folder

    def evaluate(self, run, tables, *, data="d" * 64, **more):
        """An evaluation of a run: tables of facts by task; `more` of its result."""
        folder = self.folder / "evaluations" / run.name
        weights = hashlib.sha256(
            bytes.fromhex(file_hash(run / "checkpoints" / "step-000001" / "checkpoint.json"))
        ).hexdigest()
        about = {}
        for task, columns in tables.items():
            table = pa.table({"id": [str(at) for at in range(len(next(iter(columns.values()))))], **columns})
            about[task] = {
                "definition": {"name": task, "kind": "choice"}, "data": data, "model": weights, "length": 128, "by": [],
            }  # fmt: skip
            write_items(folder, Items(task, table, about[task]))
        result = {
            "schema": 1, "model": str(run), "identity": weights, "weights": weights, "length": 128, "groups": {},
            "warnings": [], "about": about, **more,
            "tasks": {
                task: {name: one.json() for name, one in measures(pa.table(columns)).items()}
                for task, columns in tables.items()
            },
        }  # fmt: skip
        (folder / RESULT).write_bytes(dumps(result).encode())
        record(
            self.store, "evaluation", run_id(), name=run.name, state="done", began=now(),
            inputs=[Thing(kind="model", id=weights, name=str(run))],
            outputs=[Thing(kind="evaluation", id=identity_of(Evaluation(folder, result)), name=str(folder))],
            facts={"folder": str(folder), "tasks": list(tables), "splits": []},
        )  # fmt: skip
        return folder


@pytest.fixture
def registry(place, tmp_path):
    """Runs and evaluations in a folder; their store is in it, or in an object store."""
    (tmp_path / "work").mkdir()
    return Registry(tmp_path / "work", Store.open(place.store("store"), create=True))


def answers(right, of=100):
    """So many right answers."""
    return {"accuracy": [1.0] * right + [0.0] * (of - right)}
