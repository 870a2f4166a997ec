"""The run folder: what a run was told, what it ran on, and how it went.

    runs/NAME/
      config.json        settings with all defaults; the data: dataset, version, tokenizer, tokens (hashes, counts); and
                         the hashes of the models that it begins with, or learns from
      environment.json   versions of Python and libraries, device, processes, threads, measured speed
      tokenizer.json     a copy of the tokenizer
      table.json         what the stages of its table have learned, where it reads one, for new rows
      chat_template.jinja the template of its conversations, where there are some
      changes.jsonl      settings and data that were changed on the way, and from which step
      metrics.jsonl      a line a step
      completions.jsonl  what was sampled, for some prompts (reinforcement)
      scores.jsonl       what a judge has said, by hashes of its questions (reward: rubric)
      checkpoints/       step-000050/ ...
      tensorboard/       event files, where they are asked for
      stacks/            where each process stood, when one hung
      result.json        when the run is complete
      README.md          its model card
      earlier/           what --fresh replaces, until this run has a checkpoint (earlier.py)

A run is named by its settings and its data: going on with others is refused, saying what changed, unless each change
is allowed by its name. A run whose folder has no checkpoint yet has nothing to lose, and starts again.
"""

from __future__ import annotations

import fcntl
import json
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from curate.errors import CurateError, did_you_mean
from curate.files import write_durably
from curate.tokenize.pack import Pack
from curate.train.runs.earlier import put_back, set_aside
from curate.train.settings.config import FREE, TrainConfig

__all__ = ["RunFolder", "data_facts", "held", "prepare"]

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

    @property
    def completions(self) -> Path:
        """One JSON line for each sampled text that is kept."""
        return self.path / "completions.jsonl"

    @property
    def stacks(self) -> Path:
        """Folder of the stacks of processes that hung."""
        return self.path / "stacks"

    @property
    def tensorboard(self) -> Path:
        """Folder of the event files."""
        return self.path / "tensorboard"

    def read(self, name: str) -> dict[str, Any] | None:
        """A JSON file; None where there is none.

        Raises:
            CurateError: It is damaged.
        """
        path = self.path / name
        try:
            return json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            raise CurateError(
                "the file is damaged", str(path), "remove it: it is made again from the checkpoints"
            ) from None

    def result(self) -> dict[str, Any] | None:
        """What the run came to; None while it is not complete."""
        return self.read("result.json")

    def write(self, name: str, content: dict[str, Any]) -> None:
        """A JSON file, written aside and renamed."""
        self.write_text(name, json.dumps(content, sort_keys=True, indent=1))

    def write_text(self, name: str, content: str) -> None:
        """A file, written aside and renamed."""
        write_durably(self.path / name, content.encode())


@contextmanager
def held(path: Path) -> Iterator[RunFolder]:
    """The run folder, for this process alone; made where it is not there.

    Raises:
        CurateError: Another process trains this run now, or the folder cannot be written.
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
        yield RunFolder(path)


# ---- what the run is


def data_facts(packs: Mapping[str, Pack] | Pack) -> dict[str, Any]:
    """What the data is, by name, hash and counts; of several packs, a map of that by their names."""
    found = {"": packs} if isinstance(packs, Pack) else packs
    facts = {name: _facts(pack) for name, pack in found.items()}
    return next(iter(facts.values())) if len(facts) == 1 else facts


def _facts(pack: Pack) -> dict[str, Any]:
    counts = ("documents", "tokens", "text_bytes", "left_out")
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


def _refuse(folder: RunFolder, config: TrainConfig, refused: Sequence[Any]) -> None:
    if refused:
        raise CurateError(
            f"run `{config.run}` was begun with other settings or data: {'; '.join(map(str, refused))}",
            str(folder.path),
            "put them back, name another run (`--set run=NAME`), begin it again with --fresh, "
            f"or go on with the changes (`{' '.join(f'--allow {change.name}' for change in refused)}`)",
        )


def prepare(
    folder: RunFolder,
    config: TrainConfig,
    packs: Mapping[str, Pack] | Pack,
    *,
    models: Mapping[str, str] | None = None,
    allow: Sequence[str] = (),
    fresh: bool = False,
) -> dict[str, Any]:
    """Write down what the run is, or find that it is what was begun; returns the facts for its checkpoints.

    Args:
        folder: The run's folder.
        config: Its settings.
        packs: Its token shards, by the name of their task or dataset.
        models: Hashes of the models that it begins with, or learns from.
        allow: Names of settings and data that may differ from those that the run was begun with.
        fresh: Begin anew; an earlier run is set aside, until this one has a checkpoint.

    Raises:
        CurateError: The run was begun with other settings or data; or what is allowed to differ does not.
    """
    facts = {"config": config.model_dump(mode="json"), "data": data_facts(packs), "models": dict(models or {})}
    if not fresh and put_back(folder.path):
        sys.stderr.write(
            f"train {config.run}: what began with --fresh came to no checkpoint; the run before it is back in its place\n"
        )
    step, begun = (0, None) if fresh else _newest(folder)
    changed = _changes(begun, facts) if begun else []
    _refuse_unknown(allow, changed, set() if fresh else {record["name"] for record in _changes_before(folder)}, facts)
    _refuse(folder, config, [change for change in changed if change.name not in allow])
    if fresh:
        set_aside(folder.path)
    if changed:
        (folder.path / "result.json").unlink(missing_ok=True)  # a run that was complete has more to do now
    # what was allowed at this checkpoint and came to no other did not happen
    records = [record for record in _changes_before(folder) if record["step"] < step]
    records += [change.record(step) for change in changed]
    if records or (folder.path / "changes.jsonl").is_file():
        folder.write_text("changes.jsonl", "".join(json.dumps(record) + "\n" for record in records))
    folder.write("config.json", {"schema": SCHEMA, **facts})
    folder.write("environment.json", {"schema": SCHEMA, **_environment(config), **_measured(folder)})
    first = packs if isinstance(packs, Pack) else next(iter(packs.values()))
    write_durably(folder.path / "tokenizer.json", first.tokenizer_path.read_bytes())
    if first.chat_template is None:
        (folder.path / "chat_template.jinja").unlink(missing_ok=True)
    else:
        folder.write_text("chat_template.jinja", first.chat_template)
    return facts


def _newest(folder: RunFolder) -> tuple[int, dict[str, Any] | None]:
    """The step of the newest checkpoint, and what it was trained with: what counts, whatever was tried after it."""
    from curate.train.weights.checkpoint import checkpoints, describe_checkpoint

    found = checkpoints(folder.checkpoints)
    if not found:
        return 0, None
    description = describe_checkpoint(found[-1])
    return description["step"], description


# ---- what has changed

_ABSENT = object()
_PLACES = {"model.path", "tokenizer.path", "lora.path", "objective.teacher", "data.chat_template"}
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
    models = _differences("models", before["models"], facts["models"])
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


def _refuse_unknown(allow: Sequence[str], changed: Sequence[_Change], before: set[str], facts: dict[str, Any]) -> None:
    """What is allowed to differ must differ; what was allowed before may be allowed again, for a run that goes on."""
    names = [change.name for change in changed]
    for name in allow:
        if name in names or name in before:
            continue
        given = {"data": _without_counts(facts["data"]), "models": facts["models"]}
        known = [*_names(facts["config"]), *_names(given)]
        if name in known:
            raise CurateError(f"`{name}` has not changed", "--allow", "leave it out")
        hint = did_you_mean(name, dict.fromkeys([*names, *known])) or "the refusal names what has changed"
        raise CurateError(f"there is no setting or fact of the data `{name}`", "--allow", hint)


def _changes_before(folder: RunFolder) -> list[dict[str, Any]]:
    path = folder.path / "changes.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


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
