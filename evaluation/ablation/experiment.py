"""An experiment: declared before the first step, on record while it is done, and gone on with by the same call.

FOLDER/NAME/plan.json         what is asked, before the first step; another under the same name is refused,
                              unless nothing was trained under it
FOLDER/NAME/result.json       what `--json` prints
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from curate.dataset.runs import State, Thing, now, record, run_id, state_after
from curate.dataset.store import Store
from curate.errors import CurateError
from curate.files import write_durably
from curate.jsontext import dumps, loads

__all__ = ["Experiment", "experiment"]

BESIDE = ("warnings", "runs")
"""Parts of a plan that the rest of it decides: words about it, and the names of its trainings."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """What is declared and put on record.

    Attributes:
        kind: Of the record.
        folder: `FOLDER/NAME`; trainings are in `FOLDER/runs`.
        plan: What is asked; its `runs` are the names of trainings.
        store: Where it is on record.
        versions: References of the versions that are trained on, by id.
    """

    kind: Literal["ablation", "sweep"]
    folder: Path
    plan: Mapping[str, Any]
    store: Store
    versions: Mapping[str, str]


@contextmanager
def experiment(asked: Experiment) -> Iterator[Callable[[dict[str, Any], Sequence[Any]], None]]:
    """Declare the plan, and put the experiment on record; what is yielded takes its result and verdicts.

    Raises:
        CurateError: It was begun with another plan, and something was trained.
    """
    _declare(asked)
    began, identity = now(), run_id()
    _record(asked, identity, began, "running")
    finished: list[tuple[dict[str, Any], Sequence[Any]]] = []
    try:
        yield lambda result, verdicts: finished.append((result, verdicts))
        ((result, verdicts),) = finished
        write_durably(asked.folder / "result.json", dumps(result).encode())
    except BaseException as error:
        _record(asked, identity, began, state_after(error))
        raise
    _record(asked, identity, began, "done", result, verdicts)


def _declare(asked: Experiment) -> None:
    path = asked.folder / "plan.json"
    if path.is_file():
        before = loads(path.read_bytes())
        plan = loads(dumps(dict(asked.plan)))
        differ = [key for key in {**before, **plan} if key not in BESIDE and before.get(key) != plan.get(key)]
        ended = (asked.folder / "result.json").is_file()
        if differ and (ended or _trained(asked.folder.parent / "runs", before)):
            raise CurateError(
                f"the {asked.kind} `{asked.folder.name}` was begun with another plan: {', '.join(differ)}",
                str(path),
                "name another one (--name): what was declared before is not changed after",
            )
        if not differ:
            return
    write_durably(path, json.dumps(asked.plan, indent=1, ensure_ascii=False).encode())


def _trained(runs: Path, plan: Mapping[str, Any]) -> bool:
    """Whether a training of the plan, for it or for another one, took a step."""
    steps = [runs / name / "metrics.jsonl" for name in plan.get("runs", ())]
    return "runs" not in plan or any(path.is_file() and path.stat().st_size for path in steps)


def _record(
    asked: Experiment,
    identity: str,
    began: str,
    state: State,
    result: dict[str, Any] | None = None,
    verdicts: Sequence[Any] = (),
) -> None:
    place, outputs = str(asked.folder.resolve()), list[Thing]()
    if result:
        outputs = [Thing(kind=asked.kind, id=hashlib.sha256(dumps(result).encode()).hexdigest(), name=place)]
    record(
        asked.store, asked.kind, identity, name=asked.folder.name, state=state, began=began,
        inputs=[Thing(kind="version", id=one, name=name) for one, name in asked.versions.items()], outputs=outputs,
        facts={"plan": dict(asked.plan), "verdicts": list(verdicts), "folder": place},
    )  # fmt: skip
