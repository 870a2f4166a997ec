"""Which tokens a model was trained on: the packs that its run was given, and those of the runs that it began with.

A run's config.json names each pack by the hash of its manifest; `changes.jsonl` those that it read before its data was changed.
A pack is found in the store by that hash, and its documents in the version that it was made of, which is held open. What
cannot be found is told, never passed over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from curate.dataset.reader import Dataset, open_dataset
from curate.dataset.runs import records
from curate.dataset.store import Store
from curate.errors import CurateError
from curate.files import file_hash
from curate.jsontext import loads
from curate.tokenize.chat import ChatTemplate
from curate.tokenize.fields import Fields
from curate.tokenize.pack import Pack, open_pack
from curate.tokenize.place import packs_folder, put_pack
from curate.tokenize.rows import Rows
from curate.tokenize.tokenizer import load_tokenizer, tokenizer_hash
from curate.tokenize.unfit import unfit
from curate.train.data.order import permuted

__all__ = ["SPLIT", "Reading", "readings"]

SPLIT = "train"
_WINDOWS = ("causal", "multi_token", "masked", "distillation")
"""Objectives that read a stream in windows, so that it is known which step read what."""


@dataclass(frozen=True)
class Reading:
    """A pack that a run was given.

    Attributes:
        run: The run's name.
        pack: The tokens.
        dataset: The version that they were made of.
        config: The run's settings.
        step: Steps that the model was trained for.
        alone: It is the only pack of the run, and the only one that it ever had.
    """

    run: str
    pack: Pack
    dataset: Dataset
    config: dict[str, Any]
    step: int | None
    alone: bool

    @cached_property
    def rows(self) -> Rows:
        """The documents of the train split."""
        return self.pack.rows(SPLIT)

    @property
    def roles(self) -> list[str]:
        """Roles of its streams of tokens; columns that are kept as bytes are none."""
        found = dict.fromkeys(shard["role"] for shard in self.rows.facts["shards"])
        return [role for role in found if role not in self.pack.manifest["fields"].get("bytes", {})]

    @cached_property
    def _kept(self) -> NDArray[np.int64] | None:
        """Of each packed document its number in the split; None: all were packed."""
        left_out = self.rows.facts.get("left_out")
        if not left_out:
            return None
        fields = self.pack.manifest["fields"]
        template = ChatTemplate(load_tokenizer(self.pack.tokenizer_path), self.pack.roles, fields["chat_template"])
        gone = unfit(self.dataset, SPLIT, Fields.model_validate({**fields, "chat_template": None}), template)
        return np.delete(np.arange(self.dataset.splits[SPLIT]), sorted(gone))

    def numbers(self, documents: NDArray[np.int64]) -> NDArray[np.int64]:
        """The numbers in their split of documents of the pack."""
        return documents if self._kept is None else self._kept[documents]

    def times(self, start: int, stop: int) -> int | None:
        """How often the model was trained on all tokens from `start` to `stop` of the stream; None where that is not known.

        It is known of runs that read one version in windows, from their begin to their end by the same settings, and as it
        stands there: of a document whose middle is put last, a span is cut, or its end falls off.
        """
        counts = self._window_counts
        if counts is None:
            return None
        length = self.config["batch"]["length"]
        return int(counts[start // length : (stop - 1) // length + 1].min())

    @cached_property
    def _window_counts(self) -> NDArray[np.int64] | None:
        config = self.config
        objective = config["objective"]
        simple = self.alone and self.step is not None and objective["kind"] in _WINDOWS
        if not simple or config.get("curriculum") or config.get("tasks") or objective.get("fill_in_the_middle"):
            return None
        count = -(-len(self.rows.stream("text")) // config["batch"]["length"])
        epochs, rest = divmod(self.step * config["batch"]["sequences"], count)
        found = np.full(count, epochs, np.int64)
        found[permuted(np.arange(rest), count, seed=config["seed"], epoch=epochs)] += 1
        return found


def readings(place: Path, store: Store) -> tuple[list[Reading], list[str]]:
    """What a model was trained on, the newest run first; and what of it cannot be looked at, and why.

    Args:
        place: A run folder, a checkpoint, or a folder that a run was exported to.
        store: The store that it was trained from.

    Raises:
        CurateError: It is no run of ours, or nothing of its training is left to look at.
    """
    found, notes, seen, waiting = list[Reading](), list[str](), set[Path](), [_run_of(place, store)]
    wanted = tokenizer_hash(waiting[0].folder / "tokenizer.json")
    while waiting:
        folder, step, note = waiting.pop(0)
        if folder.resolve() in seen:
            continue
        seen.add(folder.resolve())
        notes += [note] if note else []
        config = loads((folder / "config.json").read_bytes())
        for reading in _packs(folder, config, store, step):
            if isinstance(reading, str):
                notes.append(reading)
            elif reading.pack.tokenizer != wanted:
                notes.append(f"{_named(folder, reading.pack)} were cut by another tokenizer, and are not looked at")
            elif same := [one.run for one in found if one.pack.hash == reading.pack.hash]:
                notes.append(f"{_named(folder, reading.pack)} are those of `{same[0]}` too, and are counted once")
            else:
                found.append(reading)
        waiting += _before(config["config"], config.get("models") or {}, store, notes)
    if not found:
        raise CurateError(
            f"nothing that `{place}` was trained on can be looked at: {'; '.join(notes)}", store.location,
            "--store names the store that it was trained from; `curate train` packs the tokens of a version again",
        )  # fmt: skip
    return found, notes


class _Trained(NamedTuple):
    """Where a model came from: a run's folder, the step that is meant (None: not known), and what to say of it."""

    folder: Path
    step: int | None
    note: str | None = None


def _run_of(place: Path, store: Store, weights: str | None = None) -> _Trained:
    """The run that a model came from.

    Args:
        place: Of a run, a checkpoint, or an export.
        store: Where exports are on record.
        weights: Their hash when they were taken, where it is on record; else what stands there is meant.

    Raises:
        CurateError: It is no run of ours, or one that was trained on other data since.
    """
    if _is_run(place):
        return _Trained(place, _newest(place)) if weights is None else _as_it_was(place, weights)
    run = place.parent.parent
    if (place / "checkpoint.json").is_file() and _is_run(run):
        if weights in (None, _hash(place)):
            return _Trained(run, _step(place))
        return _as_it_was(run, weights)
    checkpoint, tokens = _made_of(place)
    for one in reversed(records(store, "model_export")):
        source = one["inputs"][0]
        if weights:
            same = any(thing["id"] == weights for thing in one["outputs"])
        elif checkpoint:
            same = source["id"] == checkpoint
        else:
            same = one["facts"]["folder"] == str(place.resolve())
        run = Path(source["name"])
        run = run if _is_run(run) else run.parent.parent
        if same and _is_run(run):
            return _as_it_was(run, source["id"], tokens if source["id"] == checkpoint else frozenset())
    raise CurateError(
        f"it is not known what `{place}` was trained on", f"{place}/config.json",
        "name a run folder, one of its checkpoints, or a folder that `curate export` wrote while the run was there",
    )  # fmt: skip


def _is_run(folder: Path) -> bool:
    try:
        return "data" in loads((folder / "config.json").read_bytes()) and (folder / "tokenizer.json").is_file()
    except (OSError, ValueError):
        return False


def _made_of(export: Path) -> tuple[str | None, set[str]]:
    """The hashes of the checkpoint and of the tokens that an export says it was made of."""
    try:
        told = loads((export / "export.json").read_bytes())
        return told["run"]["checkpoint"], {one["tokens"] for one in told["data"] if "tokens" in one}
    except (OSError, ValueError, LookupError, TypeError):
        return None, set()


def _as_it_was(run: Path, weights: str, tokens: Set[str] = frozenset()) -> _Trained:
    """The run, at the checkpoint of this hash.

    Raises:
        CurateError: It has none, nor was it given these tokens.
    """
    for place in run.glob("checkpoints/step-*"):
        if (place / "checkpoint.json").is_file() and _hash(place) == weights:
            return _Trained(run, _step(place))
    if not tokens <= set(_given(run)[0]):
        raise CurateError(
            f"run `{run.name}` was trained again on other data since this model was made of it", str(run),
            "export it again, or name another model",
        )  # fmt: skip
    gone = f"the checkpoint that is meant is gone from run `{run.name}`"
    return _Trained(run, None, f"{gone}: if that was trained again since, it may have read other text")


def _hash(checkpoint: Path) -> str:
    """As `model_hash` has it, without torch."""
    return hashlib.sha256(bytes.fromhex(file_hash(checkpoint / "checkpoint.json"))).hexdigest()


def _newest(run: Path) -> int | None:
    """Steps behind the best or newest checkpoint of a run."""
    if (run / "result.json").is_file():
        return _step(Path(loads((run / "result.json").read_bytes())["checkpoint"]))
    return max((_step(path.parent) for path in run.glob("checkpoints/step-*/checkpoint.json")), default=None)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.resolve().name.removeprefix("step-"))


def _given(run: Path) -> tuple[list[str], bool]:
    """The hashes of all packs that a run was given, the present ones first; and whether its settings were ever changed."""
    data = loads((run / "config.json").read_bytes())["data"]
    now = [data["tokens"]] if isinstance(data.get("tokens"), str) else [one["tokens"] for one in data.values()]
    changes = run / "changes.jsonl"
    lines = [loads(line) for line in changes.read_bytes().splitlines()] if changes.is_file() else []
    before = [
        one["was"] for one in lines if one["name"].startswith("data.") and one["name"].endswith(".tokens") and "was" in one
    ]  # fmt: skip
    return list(dict.fromkeys([*now, *before])), bool(lines)


def _packs(folder: Path, config: dict[str, Any], store: Store, step: int | None) -> Iterator[Reading | str]:
    """The packs that a run was given, and why others cannot be read."""
    data, (wanted, changed) = config["data"], _given(folder)
    for digest in wanted:
        pack = _find(store, digest)
        if pack is None:
            yield f"the tokens of {_called(data, digest)} that run `{folder.name}` was given are gone from the store"
            continue
        try:
            dataset = open_dataset(f"{pack.manifest['dataset']}@{pack.manifest['version']}", store)
        except CurateError as error:
            yield f"{_named(folder, pack)}: their version cannot be read ({error.problem})"
            continue
        if not pack.manifest["splits"].get(SPLIT, {}).get("shards"):
            yield f"{_named(folder, pack)} have no text in the split `{SPLIT}`"
            continue
        pack.verify()
        yield Reading(folder.name, pack, dataset, config["config"], step, len(wanted) == 1 and not changed)


def _find(store: Store, digest: str) -> Pack | None:
    """The pack whose manifest has this hash; of a store that is not on this machine it is fetched."""
    for blob in store.blobs.list("tokens"):
        if (
            not blob.name.endswith("/manifest.json")
            or hashlib.sha256(store.blobs.read(blob.name)).hexdigest() != digest
        ):
            continue
        folder = packs_folder(store) / blob.name.split("/")[-2]
        put_pack(store, folder, _removed)  # it is there, or is fetched: nothing is made
        return open_pack(folder)
    return None


def _removed(aside: Path) -> None:
    raise CurateError("the tokens were removed meanwhile", str(aside.parent), "try again")


def _called(data: dict[str, Any], digest: str) -> str:
    facts = [data] if isinstance(data.get("tokens"), str) else list(data.values())
    return next((f"{one['dataset']}@{one['version'][:12]}" for one in facts if one["tokens"] == digest), digest[:12])


def _named(folder: Path, pack: Pack) -> str:
    version = f"{pack.manifest['dataset']}@{pack.manifest['version'][:12]}"
    return f"the tokens of {version} that run `{folder.name}` was given"


def _before(config: dict[str, Any], models: dict[str, str], store: Store, notes: list[str]) -> Iterator[_Trained]:
    """The runs that a run began with; `models` has the hashes of their weights."""
    objective = config["objective"]
    if teacher := objective.get("teacher"):
        notes.append(f"it also learned from the answers of the model `{teacher}`, which are no text of the store")
    if any(name.startswith("reward ") for name in models):
        notes.append("it also learned from the rewards of models (`objective.rewards`), which are no text of the store")
    adapters = (config.get("lora") or {}).get("path")
    for path, weights, what in (
        (config["model"].get("path"), models.get("path"), "weights of"),
        (adapters, None, "adapters in"),
    ):
        if not path:
            continue
        try:
            yield _run_of(Path(path), store, weights)
        except CurateError as error:
            notes.append(f"it began with the {what} `{path}`: {error.problem}")
