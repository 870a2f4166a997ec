"""The run folder: what a run was told, what it ran on, and how it went.

    runs/NAME/
      config.json        settings with all defaults; the data: dataset, version, tokenizer, tokens (hashes, counts); and
                         the hashes of the models that it begins with, or learns from
      environment.json   versions of Python and libraries, device, processes, threads, measured speed
      tokenizer.json     a copy of the tokenizer
      changes.jsonl      settings and data that were changed on the way, and from which step
      metrics.jsonl      a line a step
      checkpoints/       step-000050/ ...
      tensorboard/       event files, where they are asked for
      stacks/            where each process stood, when one hung
      result.json        when the run is complete
      README.md          its model card

A run is named by its settings and its data: going on with others is refused, saying what changed, unless each change
is allowed by its name. A run whose folder has no checkpoint yet has nothing to lose, and starts again.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from math import isfinite
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError

from curate.errors import CurateError, did_you_mean
from curate.tokenize.pack import Pack
from curate.train.config import FREE, TrainConfig

__all__ = ["Metrics", "RunFolder", "data_facts", "held", "prepare", "read_metrics"]

SCHEMA = 1
_FILES = (
    "config.json",
    "environment.json",
    "tokenizer.json",
    "changes.jsonl",
    "metrics.jsonl",
    "result.json",
    "wandb.json",
    "README.md",
)
_FOLDERS = ("checkpoints", "tensorboard", "wandb", "stacks")


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

    @property
    def stacks(self) -> Path:
        """Folder of the stacks of processes that hung."""
        return self.path / "stacks"

    @property
    def tensorboard(self) -> Path:
        """Folder of the event files."""
        return self.path / "tensorboard"

    def read(self, name: str) -> dict[str, Any] | None:
        """A JSON file; None where there is none."""
        try:
            return json.loads((self.path / name).read_bytes())
        except FileNotFoundError:
            return None

    def result(self) -> dict[str, Any] | None:
        """What the run came to; None while it is not complete."""
        return self.read("result.json")

    def write(self, name: str, content: dict[str, Any]) -> None:
        """A JSON file, written aside and renamed."""
        self.write_text(name, json.dumps(content, sort_keys=True, indent=1))

    def write_text(self, name: str, content: str) -> None:
        """A file, written aside and renamed."""
        _replace(self.path / name, content.encode())


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
            for name in _FILES:
                (path / name).unlink(missing_ok=True)
            for name in _FOLDERS:
                shutil.rmtree(path / name, ignore_errors=True)
        yield RunFolder(path)


# ---- what the run is


def data_facts(packs: Mapping[str, Pack] | Pack) -> dict[str, Any]:
    """What the data is, by name, hash and counts; of several packs, a map of that by their names."""
    found = {"": packs} if isinstance(packs, Pack) else packs
    facts = {name: _facts(pack) for name, pack in found.items()}
    return next(iter(facts.values())) if len(facts) == 1 else facts


def _facts(pack: Pack) -> dict[str, Any]:
    counts = ("documents", "tokens", "text_bytes")
    return {
        "dataset": pack.manifest["dataset"],
        "version": pack.manifest["version"],
        "tokenizer": pack.tokenizer,
        "tokens": pack.hash,
        "splits": {
            split: {name: given[name] for name in counts if name in given}
            for split, given in sorted(pack.manifest["splits"].items())
        },
    }


def prepare(
    folder: RunFolder,
    config: TrainConfig,
    packs: Mapping[str, Pack] | Pack,
    *,
    models: Mapping[str, str] | None = None,
    allow: Sequence[str] = (),
) -> dict[str, Any]:
    """Write down what the run is, or find that it is what was begun; returns the facts for its checkpoints.

    Args:
        folder: The run's folder.
        config: Its settings.
        packs: Its token shards, by the name of their task or dataset.
        models: Hashes of the models that it begins with, or learns from.
        allow: Names of settings and data that may differ from those that the run was begun with.

    Raises:
        CurateError: The run was begun with other settings or data; or what is allowed to differ does not.
    """
    facts = {"config": config.model_dump(mode="json"), "data": data_facts(packs), "models": dict(models or {})}
    before, steps = folder.read("config.json"), _checkpoint_steps(folder)
    changed = _changes(before, facts) if before and steps else []
    _refuse_unknown(allow, changed, folder, facts)
    refused = [change for change in changed if change.name not in allow]
    if refused:
        raise CurateError(
            f"run `{config.run}` was begun with other settings or data: {'; '.join(map(str, refused))}",
            str(folder.path / "config.json"),
            "put them back, name another run (`--set run=NAME`), begin it again with --fresh, "
            f"or go on with each change by its name (`--allow {refused[0].name}`)",
        )
    if changed:
        with (folder.path / "changes.jsonl").open("a") as stream:
            stream.writelines(json.dumps(change.record(max(steps))) + "\n" for change in changed)
        (folder.path / "result.json").unlink(missing_ok=True)  # a run that was complete has more to do now
    folder.write("config.json", {"schema": SCHEMA, **facts})
    folder.write("environment.json", {"schema": SCHEMA, **_environment(config), **_measured(folder)})
    first = packs if isinstance(packs, Pack) else next(iter(packs.values()))
    _replace(folder.path / "tokenizer.json", first.tokenizer_path.read_bytes())
    return facts


def _checkpoint_steps(folder: RunFolder) -> list[int]:
    names = (path.name.removeprefix("step-") for path in folder.checkpoints.glob("step-*"))
    return [int(name) for name in names if name.isdecimal()]


# ---- what has changed

_ABSENT = object()
_PLACES = {"model.path", "tokenizer.path", "objective.teacher", "data.chat_template"}
"""Settings that say where something stands; what stood there is compared by its hash, in `data` and `models`."""


@dataclass(frozen=True, slots=True)
class _Change:
    """A setting or a fact of the data that differs, by its dotted name."""

    name: str
    was: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.name} was {_short(self.was)}, is {_short(self.now)}"

    def record(self, step: int) -> dict[str, Any]:
        values = {"was": self.was, "is": self.now}
        return {"step": step, "name": self.name, **{key: v for key, v in values.items() if v is not _ABSENT}}


def _changes(before: dict[str, Any], facts: dict[str, Any]) -> list[_Change]:
    """Settings and data that differ, by their names."""
    old, new = _with_defaults(before["config"]), facts["config"]
    # the dataset as written may name another version; what was found under that name is compared as data.version
    settings = {name for name in {*old, *new} if name not in FREE and name != "dataset"}
    found = [
        change
        for name in settings
        for change in _differences(name, old.get(name, _ABSENT), new.get(name, _ABSENT))
        if change.name not in _PLACES
    ]
    data = _differences("data", _without_counts(before["data"]), _without_counts(facts["data"]))
    models = _differences("models", before.get("models", {}), facts["models"])
    return sorted((*found, *data, *models), key=lambda change: change.name)


def _with_defaults(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings that an older version did not have yet, as it acted: by their defaults."""
    try:
        return TrainConfig.model_validate(settings).model_dump(mode="json")
    except ValidationError:
        return settings


def _without_counts(facts: Any) -> Any:
    """Counts follow from the hashes beside them."""
    if not isinstance(facts, dict):
        return facts
    return {name: _without_counts(value) for name, value in facts.items() if name != "splits"}


def _differences(name: str, old: Any, new: Any) -> Iterator[_Change]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from _differences(f"{name}.{key}", old.get(key, _ABSENT), new.get(key, _ABSENT))
    elif old != new:
        yield _Change(name, old, new)


def _short(value: Any) -> str:
    if value is _ABSENT:
        return "not there"
    text = json.dumps(value)
    if len(text) <= 40:
        return text
    return value[:12] if isinstance(value, str) else f"{text[:36]}..."


def _refuse_unknown(allow: Sequence[str], changed: Sequence[_Change], folder: RunFolder, facts: dict[str, Any]) -> None:
    """What is allowed to differ must differ; what was allowed before may be allowed again, for a run that goes on."""
    names = [change.name for change in changed]
    for name in allow:
        if name in names or name in _allowed_before(folder):
            continue
        given = {"data": _without_counts(facts["data"]), "models": facts["models"]}
        known = [*_names(facts["config"]), *_names(given)]
        if name in known:
            raise CurateError(f"`{name}` has not changed", "--allow", "leave it out")
        hint = did_you_mean(name, dict.fromkeys([*names, *known])) or "the refusal names what has changed"
        raise CurateError(f"there is no setting or fact of the data `{name}`", "--allow", hint)


def _allowed_before(folder: RunFolder) -> set[str]:
    path = folder.path / "changes.jsonl"
    return {json.loads(line)["name"] for line in path.read_text().splitlines()} if path.is_file() else set()


def _names(tree: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in tree.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _names(value, f"{prefix}{key}.")


# ---- files


def _measured(folder: RunFolder) -> dict[str, Any]:
    """What an earlier part of the run measured of the machine."""
    before = folder.read("environment.json") or {}
    return {name: before[name] for name in ("matmul_peaks",) if name in before}


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
        self.path = path
        _replace(path, b"".join(json.dumps(record).encode() + b"\n" for record in kept))
        self.stream = path.open("a")
        self.seconds = sum(record["seconds"] for record in kept)
        self.last = kept[-1] if kept else {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()

    def records(self) -> list[dict[str, Any]]:
        """All lines so far."""
        return read_metrics(self.path)

    @property
    def tokens(self) -> int:
        """Targets seen so far."""
        return self.last.get("tokens", 0)

    def add(self, record: dict[str, Any]) -> None:
        """Write a line; numbers that are not finite, which JSON does not have, become null."""
        self.stream.write(json.dumps(_finite(record), allow_nan=False) + "\n")
        self.stream.flush()
        self.seconds += record["seconds"]
        self.last = record


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(some) for name, some in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(some) for some in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file; a last one that was cut short is left out."""
    if not path.is_file():
        return []
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]
