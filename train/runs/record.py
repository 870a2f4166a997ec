"""What the store knows of a training run: a record from its begin, with its state and the newest checkpoint at its end.

A run that goes on from a checkpoint keeps its record; one that begins afresh in the same folder has its own. So the store
tells every run apart by its folder and its begin, whatever its name. Nothing here imports torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from curate.dataset.reader import Dataset
from curate.dataset.runs import State, Thing, now, record, records, run_id, state_after
from curate.dataset.store import Store
from curate.files import file_hash
from curate.tokenize.pack import Pack
from curate.train.runs.folder import RunFolder

__all__ = ["recorded"]


@contextmanager
def recorded(datasets: Mapping[str, Dataset], packs: Mapping[str, Pack], folder: RunFolder) -> Iterator[None]:
    """Keep a record of the training that the block does, in the store of its datasets.

    Args:
        datasets: What is trained on; all from one store.
        packs: Their token shards.
        folder: The run's, prepared and held.
    """
    one = _Training(next(iter(datasets.values())).store, folder, _inputs(datasets, packs, folder))
    tokenizer = next(iter(packs.values())).tokenizer
    if not folder.result():
        one.write("running", tokenizer)
    elif one.state == "done":  # it was complete before, and is so on record
        yield
        return
    try:
        yield
    except BaseException as error:
        one.write(state_after(error), tokenizer)
        raise
    one.write("done", tokenizer)


class _Training:
    """The record of a run: the one that the store has, where the run goes on; else a new one."""

    def __init__(self, store: Store, folder: RunFolder, inputs: list[Thing]) -> None:
        self.store, self.folder, self.inputs = store, folder, inputs
        self.place = str(folder.path.resolve())
        here = [one for one in records(store, "training") if one["facts"]["folder"] == self.place]
        goes_on = here and (folder.result() or _newest_checkpoint(folder))
        if goes_on:
            self.id, self.began, self.state = (here[-1][key] for key in ("id", "began", "state"))
            return
        for one in here:
            if one["state"] == "running":  # we hold the folder, so nobody trains there: it was killed
                self._end(one)
        self.began, self.state = now(), None
        self.id = run_id()

    def _end(self, one: dict[str, Any]) -> None:
        record(
            self.store, "training", one["id"], name=one["name"], state="interrupted", began=one["began"],
            inputs=one["inputs"], outputs=one["outputs"], facts=one["facts"],
        )  # fmt: skip

    def write(self, state: State, tokenizer: str) -> None:
        """Write the record in this state."""
        name = self.folder.path.name
        record(
            self.store, "training", self.id, name=name, state=state, began=self.began, inputs=self.inputs,
            outputs=_outputs(self.folder), facts={"run": name, "folder": self.place, "tokenizer": tokenizer},
        )  # fmt: skip


def _inputs(datasets: Mapping[str, Dataset], packs: Mapping[str, Pack], folder: RunFolder) -> list[Thing]:
    """The versions, their token shards, and the models that it begins with or learns from; each by its hash."""
    versions = {one.version: one for one in datasets.values()}.values()
    models = (folder.read("config.json") or {}).get("models", {})
    return [
        *(Thing(kind="version", id=one.version, name=f"{one.name}@{one.tag or one.version[:12]}") for one in versions),
        *(Thing(kind="tokens", id=pack.hash, name=pack.manifest["dataset"]) for pack in packs.values()),
        *(Thing(kind="model", id=digest, name=name) for name, digest in sorted(models.items())),
    ]


def _outputs(folder: RunFolder) -> list[Thing]:
    """The newest checkpoint, named as a run that begins with it names it; when it is complete, its parameters too."""
    result = folder.result()
    newest = folder.path / result["checkpoint"] if result else _newest_checkpoint(folder)
    if newest is None:
        return []
    name = newest.relative_to(folder.path).as_posix()
    digest = hashlib.sha256(bytes.fromhex(file_hash(newest / "checkpoint.json"))).hexdigest()  # as `model_hash` has it
    found = [Thing(kind="checkpoint", id=digest, name=name)]
    return found + ([Thing(kind="weights", id=result["weights"], name=name)] if result else [])


def _newest_checkpoint(folder: RunFolder) -> Path | None:
    found = [path.parent for path in folder.checkpoints.glob("step-*/checkpoint.json")]
    return max(found, key=lambda path: int(path.name.removeprefix("step-")), default=None)
