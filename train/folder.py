"""The run folder: what a run was told, what it ran on, and how it went.

    runs/NAME/
      config.json        settings with all defaults, and the data: dataset, version, tokenizer, tokens (hashes)
      environment.json   versions of Python and libraries, device, processes, threads
      tokenizer.json     a copy of the tokenizer
      metrics.jsonl      a line a step
      checkpoints/       step-000050/ ...
      result.json        when the run is complete

A run is named by its settings and its data: going on with others is refused, saying what changed. A run whose folder
has no checkpoint yet has nothing to lose, and starts again.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Self

from curate.errors import CurateError
from curate.tokenize.pack import Pack
from curate.train.config import FREE, TrainConfig

__all__ = ["Metrics", "RunFolder", "data_facts", "held", "prepare", "read_metrics"]

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths in a run's folder."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        """One JSON line for each step."""
        return self.path / "metrics.jsonl"

    def result(self) -> dict[str, Any] | None:
        """What the run came to; None while it is not complete."""
        try:
            return json.loads((self.path / "result.json").read_bytes())
        except FileNotFoundError:
            return None

    def write(self, name: str, content: dict[str, Any]) -> None:
        """A JSON file, written aside and renamed."""
        _replace(self.path / name, json.dumps(content, sort_keys=True, indent=1).encode())


@contextmanager
def held(path: Path, *, fresh: bool = False) -> Iterator[RunFolder]:
    """The run folder, for this process alone.

    Args:
        path: The folder; made where it is not there.
        fresh: Remove an earlier run of this name first.

    Raises:
        CurateError: Another process trains this run now, or the folder is not ours to remove.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        stream = (path / "lock").open("a")
    except OSError as error:
        raise CurateError(f"the run folder cannot be written: {error.strerror}", str(path), "see --runs DIR") from None
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CurateError(
                f"run `{path.name}` is being trained by another process", str(path), "wait for it, or name another run"
            ) from None
        if fresh:
            for name in ("config.json", "environment.json", "tokenizer.json", "metrics.jsonl", "result.json"):
                (path / name).unlink(missing_ok=True)
            shutil.rmtree(path / "checkpoints", ignore_errors=True)
        yield RunFolder(path)


def data_facts(pack: Pack) -> dict[str, str]:
    """What the data is, by name and hash."""
    return {
        "dataset": pack.manifest["dataset"],
        "version": pack.manifest["version"],
        "tokenizer": pack.tokenizer,
        "tokens": pack.hash,
    }


def prepare(folder: RunFolder, config: TrainConfig, pack: Pack) -> dict[str, Any]:
    """Write down what the run is, or find that it is what was begun; returns the facts for its checkpoints.

    Raises:
        CurateError: The run was begun with other settings or data.
    """
    facts = {"config": config.model_dump(mode="json"), "data": data_facts(pack)}
    begun = folder.path / "config.json"
    if begun.is_file() and any(folder.checkpoints.glob("step-*")):
        changed = _changes(json.loads(begun.read_bytes()), facts)
        if changed:
            raise CurateError(
                f"run `{config.run}` was begun with other settings or data: {'; '.join(changed)}",
                str(begun),
                "put them back, name another run (`--set run=NAME`), or begin it again with --fresh",
            )
    folder.write("config.json", {"schema": SCHEMA, **facts})
    folder.write("environment.json", {"schema": SCHEMA, **_environment(config)})
    _replace(folder.path / "tokenizer.json", pack.tokenizer_path.read_bytes())
    return facts


def _changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Settings and data that differ, in words."""
    old, new = _flat(before), _flat(now)
    free = tuple(f"config.{name}" for name in FREE)
    # the dataset as written may name another version; what was found under that name is compared as data.version
    differing = [
        name
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name) and name not in (*free, "config.dataset", "schema")
    ]
    return [
        f"{name.removeprefix('config.')} was {_short(old.get(name))}, is {_short(new.get(name))}" for name in differing
    ]


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return leaves


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text.strip('"')[:12]


def _environment(config: TrainConfig) -> dict[str, Any]:
    import torch

    versions: dict[str, str] = {}
    for name in ("curate-lm", "torch", "numpy", "safetensors", "tokenizers"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions,
        "processes": config.processes,
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _replace(path: Path, content: bytes) -> None:
    aside = path.with_name(f"{path.name}.writing")
    with aside.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(path)


class Metrics:
    """The lines of metrics.jsonl, up to the step from which the run goes on.

    Lines after it were written by a process that died before its next checkpoint: those steps are done again.
    """

    def __init__(self, path: Path, *, after: int) -> None:
        kept = [record for record in read_metrics(path) if record["step"] <= after]
        _replace(path, b"".join(json.dumps(record).encode() + b"\n" for record in kept))
        self.stream = path.open("a")
        self.seconds = sum(record["seconds"] for record in kept)
        self.last = kept[-1] if kept else {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()

    @property
    def tokens(self) -> int:
        """Targets seen so far."""
        return self.last.get("tokens", 0)

    def add(self, record: dict[str, Any]) -> None:
        """Write a line."""
        self.stream.write(json.dumps(record) + "\n")
        self.stream.flush()
        self.seconds += record["seconds"]
        self.last = record


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file; a last one that was cut short is left out."""
    if not path.is_file():
        return []
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]
