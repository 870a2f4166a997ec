"""An evaluation: a folder with what was measured of each item, and what that comes to.

    evaluations/small/
      result.json            what `--json` prints
      items/TASK.parquet     facts of each item: id, columns of `by`, what metrics.py needs; with `--samples`
                             prompts, answers, what tokens cost
      items/TASK.json        what they are facts of: the task's definition, the model's hash, the data's

A task that was measured for the same model, definition and data is not measured again. A folder is of one model, and is written
by one process at a time (`lock`).
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet

from curate.errors import CurateError
from curate.files import replacing, sync_folder, write_durably
from curate.jsontext import dumps, loads

__all__ = [
    "Evaluation", "Items", "contamination_words", "held", "open_evaluation", "read_items", "write_described", "write_items",
]  # fmt: skip

RESULT = "result.json"


@dataclass(frozen=True, slots=True)
class Items:
    """What was measured of the items of a task.

    Attributes:
        task: Its name.
        table: A row an item.
        about: `definition`, `data`, `model`, `by`, `cut` (prompts that were too long), `rows`, `engine`, ...
    """

    task: str
    table: pa.Table
    about: dict[str, Any]

    @property
    def question(self) -> str:
        """Hash of what was asked: definition and data, without the model."""
        return hashlib.sha256(dumps([self.about["definition"], self.about["data"]]).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A folder of an evaluation.

    Attributes:
        folder: Where it is.
        result: Its result.json.
    """

    folder: Path
    result: dict[str, Any]

    def items(self, task: str) -> Items:
        """What was measured of a task."""
        found = read_items(self.folder, task)
        if found is None:
            raise CurateError(f"the items of the task `{task}` are missing", str(self.folder), "evaluate it again")
        return found


def open_evaluation(folder: Path) -> Evaluation:
    """The evaluation in a folder.

    Raises:
        CurateError: There is none, or it is damaged.
    """
    path = folder / RESULT
    if not path.is_file():
        raise CurateError(f"there is no evaluation in `{folder}`", hint="`curate eval MODEL --out DIR` makes one")
    try:
        return Evaluation(folder, loads(path.read_bytes()))
    except ValueError as error:
        raise CurateError(f"the result cannot be read: {error}", str(path)) from None


def write_items(folder: Path, items: Items) -> None:
    """Write the items of a task, whole or not at all; what they are about comes last."""
    place = folder / "items"
    write_described(place, items.task, items.table, items.about)


def write_described(place: Path, name: str, table: pa.Table, about: dict[str, Any]) -> None:
    """Write a table and what it is about, so that a crash at any moment leaves no table beside what another was about."""
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{name}.json").unlink(missing_ok=True)
    sync_folder(place)
    with replacing(place / f"{name}.parquet") as stream:
        parquet.write_table(table, stream, compression="zstd")
    write_durably(place / f"{name}.json", dumps(about).encode())


def read_items(folder: Path, task: str) -> Items | None:
    """The items of a task; None where they are not there.

    Raises:
        CurateError: They are damaged.
    """
    about, table = (folder / "items" / f"{task}.{ending}" for ending in ("json", "parquet"))
    try:
        return Items(task, parquet.read_table(table), loads(about.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, pa.ArrowException) as error:
        words = str(error).partition("\n")[0]
        raise CurateError(
            f"the items of the task `{task}` are damaged: {words}", str(table), "evaluate it again"
        ) from None


@contextmanager
def held(folder: Path, model: str, length: int, *, fresh: bool = False) -> Iterator[None]:
    """An evaluation's folder, for this model and this process alone.

    Args:
        folder: Made where it is not there.
        model: Hash of the model.
        length: Tokens that it reads at once.
        fresh: Remove an earlier evaluation first.

    Raises:
        CurateError: Another process writes it, or it has an evaluation of another model.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / "lock").open("a")
    except OSError as error:
        raise CurateError(f"the folder cannot be written: {error.strerror}", str(folder), "see --out DIR") from None
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CurateError(
                "another process evaluates into this folder", str(folder), "wait for it, or name another one with --out"
            ) from None
        if fresh:
            (folder / RESULT).unlink(missing_ok=True)
            for about in [path for name in ("items", "contamination") for path in (folder / name).glob("*.json")]:
                about.with_suffix(".parquet").unlink(missing_ok=True)
                about.unlink()
        _check_model(folder, model, length)
        yield


def _check_model(folder: Path, model: str, length: int) -> None:
    for path in sorted((folder / "items").glob("*.json")):
        try:
            about = loads(path.read_bytes())
        except ValueError:
            continue
        if about["model"] != model:
            problem = "the folder has the evaluation of another model, or of other weights"
        elif about["length"] != length:
            problem = f"the folder has an evaluation by {about['length']} tokens at once, not {length}"
        else:
            continue
        hint = "--out DIR names another folder, --fresh removes that evaluation first"
        raise CurateError(problem, str(folder), hint)


def contamination_words(one: dict[str, Any]) -> str:
    """How many items of a task stand in the training data, as people say it.

    Args:
        one: Of `contamination.tasks` of a result.
    """
    share, short = one["share"], f"{one['too_short']:,} are too short to tell"
    if not one["n"]:
        return f"it cannot be told of any of {one['too_short']:,} items: they are too short"
    return (
        f"{one['contaminated']:,} of {one['n']:,} items ({share['value']:.1%}, {share['low']:.1%} to {share['high']:.1%})"
        + (f"; {short}" if one["too_short"] else "")
    )
