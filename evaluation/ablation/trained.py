"""Trained and measured models by key: what two experiments share is trained and measured once.

    FOLDER/settings/KEY.yaml      the training file of a run
    FOLDER/runs/KEY/              the run; KEY is a hash of all that decides it
    FOLDER/runs/KEY.log           what the training said
    FOLDER/evaluations/KEY/       what it was measured on

A run that is interrupted goes on from its checkpoint when it is asked for again. One that diverged stays, as diverged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.dataset.store import Store
from curate.errors import CurateError
from curate.evaluation.ablation.heldout import HeldOut
from curate.evaluation.metrics import measure
from curate.files import file_hash, write_durably
from curate.jsontext import dumps, loads

__all__ = ["Shelf", "Trained", "cost", "curve", "key_of", "train_tokens", "values_of"]

Say = Callable[[str], None]
Settings = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained model, measured.

    Attributes:
        name: The arm or point that it is of.
        seed: Of the training.
        run: Its folder.
        values: Bits per byte by held-out set; None where the training diverged.
    """

    name: str
    seed: int
    run: Path
    values: dict[str, float] | None

    def json(self, kind: str) -> dict[str, Any]:
        """As results list it; `kind` says what its name names."""
        return {kind: self.name, "seed": self.seed, "run": self.run.name, "diverged": self.values is None}


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where trained models are kept.

    Attributes:
        folder: Of several experiments.
        store: Of the versions.
        processes: Of a training.
        last: How many of a run's last checkpoints its values are the mean of: less noise of the last steps.
    """

    folder: Path
    store: Store
    processes: int | None = None
    last: int = 1

    def trained(
        self, name: str, settings: Settings, versions: Mapping[str, str], sets: Sequence[HeldOut], say: Say
    ) -> Trained:
        """A model of these settings, trained and measured now or before.

        Args:
            name: The arm or point that it is of.
            settings: The training file without the name of the run.
            versions: Ids of the versions, as the settings name them.
            sets: What is measured.
            say: Tells people the values.

        Raises:
            CurateError: The settings do not fit.
            ResumableError: It was interrupted; the same call goes on.
        """
        key = key_of(settings, versions)
        run = self.folder / "runs" / key
        values = self._measured(run, sets) if self._train(settings, key, run) else None
        told = "diverged" if values is None else ", ".join(f"{name} {value:.4f}" for name, value in values.items())
        say(f"  {told}")
        return Trained(name, settings["seed"], run, values)

    def _train(self, settings: Settings, key: str, run: Path) -> bool:
        """Whether the run came to an end; that it diverged is written down."""
        from curate.train.run import train_run
        from curate.train.runs.folder import RunFolder

        if (run / "diverged.json").is_file():
            return False
        if (run / "result.json").is_file() and RunFolder(run).result():
            return True
        path = self.folder / "settings" / f"{key}.yaml"
        write_durably(path, json.dumps({**settings, "run": key}, indent=1).encode())  # JSON is YAML
        log = run.with_suffix(".log")
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            with log.open("a") as said, redirect_stderr(said):
                train_run(path, overrides=[], processes=self.processes, runs=log.parent, store=self.store.location)
        except CurateError as error:
            if "gradients" not in error.problem or "loss is" not in error.problem:
                raise
            write_durably(run / "diverged.json", dumps({"problem": error.problem}).encode())
            return False
        return True

    def _measured(self, run: Path, sets: Sequence[HeldOut]) -> dict[str, float]:
        """Bits per byte of the documents of each set that count, of the model or the mean of its last checkpoints."""
        from curate.train.weights.checkpoint import checkpoints

        folder = self.folder / "evaluations"
        if self.last == 1:
            return self._values(run, folder / run.name, sets)
        every = [self._values(one, folder / f"{run.name}-{one.name}", sets)
                 for one in checkpoints(run / "checkpoints")[-self.last :]]  # fmt: skip
        if len(every) < self.last:
            raise CurateError(f"a training of so few steps has {len(every)} checkpoints, not {self.last}", str(run))
        return {one.name: sum(values[one.name] for values in every) / len(every) for one in sets}

    def _values(self, model: Path, folder: Path, sets: Sequence[HeldOut]) -> dict[str, float]:
        from curate.evaluation.models.opened import open_model
        from curate.evaluation.run import evaluate

        tasks = {one.task.name: one.task for one in sets}
        found = evaluate(
            lambda: open_model(str(model)), list(tasks.values()), folder, store=self.store, say=lambda words: None
        )
        values: dict[str, float] = {}
        for one in sets:
            table = found.items(one.task.name).table
            counted = table.filter(pa.array([name in one.kept for name in table["id"].to_pylist()]))
            value = measure("bits_per_byte", counted).value
            assert value is not None, "a set with documents has a value"
            values[one.name] = value
        return values


def key_of(settings: Settings, versions: Mapping[str, str]) -> str:
    """The name of a run: a hash of all that decides it, files and versions by what is in them."""
    decides = {**settings, "dataset": versions[settings["dataset"]]}
    if settings.get("mixture"):
        decides["mixture"] = [[versions[name], share] for name, share in settings["mixture"].items()]
    tokenizer = settings.get("tokenizer", {}).get("path")
    if tokenizer:
        path = Path(tokenizer)
        hashed = file_hash(path / "tokenizer.json" if path.is_dir() else path)
        more = {key: value for key, value in settings["tokenizer"].items() if key != "path"}
        decides["tokenizer"] = {**more, "path": hashed} if more else hashed
    for block, key in (("model", "path"), ("objective", "teacher")):
        if settings.get(block, {}).get(key):
            from curate.train.weights.origin import find_model, model_hash

            foreign = settings[block].get("kind") == "pretrained"
            origin = find_model(settings[block][key], foreign=foreign, setting=f"{block}.{key}")
            decides[block] = {**settings[block], key: model_hash(origin)}
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]


# ---- what runs tell of themselves


def values_of(runs: Sequence[Trained], sets: Sequence[str]) -> dict[str, list[float | None]]:
    """Bits per byte of each run by held-out set; None where it diverged."""
    return {name: [None if one.values is None else one.values[name] for one in runs] for name in sets}


def _metrics(run: Path) -> list[dict[str, Any]]:
    path = run / "metrics.jsonl"
    return [loads(line) for line in path.read_bytes().splitlines()] if path.is_file() else []


def cost(runs: Sequence[Trained]) -> dict[str, Any]:
    """Seconds of the steps, tokens a second, and how many trainings diverged."""
    every = [rows for one in runs if (rows := _metrics(one.run))]
    seconds = sum(row.get("seconds", 0.0) for rows in every for row in rows)
    return {
        "seconds": seconds, "tokens_per_second": sum(rows[-1]["tokens"] for rows in every) / max(seconds, 1e-9),
        "diverged": sum(one.values is None for one in runs),
    }  # fmt: skip


def train_tokens(run: Path) -> int | None:
    """Tokens of the train split that a run reads; None where it mixes several, or never began."""
    path = run / "config.json"
    data = loads(path.read_bytes())["data"] if path.is_file() else {}
    return data["splits"]["train"]["tokens"] if "splits" in data else None


def curve(runs: Sequence[Trained]) -> list[dict[str, Any]]:
    """Bits per byte of the run's own validation by tokens: mean, least and most of the seeds that came to an end."""
    every = [[row for row in _metrics(one.run) if "validation" in row] for one in runs if one.values is not None]
    found = []
    for at in zip(*every, strict=False):
        values = [value for row in at if (value := _bits_per_byte(row["validation"])) is not None]
        if len(values) == len(at):
            mean = sum(values) / len(values)
            found.append({"tokens": at[0]["tokens"], "bits_per_byte": mean, "least": min(values), "most": max(values)})
    return found


def _bits_per_byte(validation: Mapping[str, Any]) -> float | None:
    """That of one dataset, or the mean over those of a mixture."""
    if "bits_per_byte" in validation:
        return validation["bits_per_byte"]
    parts = [
        part["bits_per_byte"] for part in validation.values() if isinstance(part, dict) and "bits_per_byte" in part
    ]
    return sum(parts) / len(parts) if parts and None not in parts else None
