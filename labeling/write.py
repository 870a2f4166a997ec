"""A new task.yaml, with a comment at each thing that is the user's to say."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from curate.dataset.reader import open_dataset
from curate.errors import CurateError, did_you_mean
from curate.files import write_durably
from curate.jsontext import dumps
from curate.labeling.task import KINDS, LABELED, load_task

__all__ = ["new_task", "notes_on"]

EXAMPLES = {"classification": ["yes", "no"], "multilabel": ["one", "other"], "spans": ["PERSON", "PLACE"]}
NEXT = """\
instructions: |
  Say here what the labels mean, with an example of each, and what to do where it is not clear.
"""


def new_task(
    folder: Path,
    *,
    name: str,
    dataset: str,
    kind: str,
    labels: Sequence[str] = (),
    text: str | None = None,
    prompt: str | None = None,
) -> Path:
    """Write `folder`/task.yaml; the file.

    Raises:
        CurateError: There is one, or what was given makes no task.
    """
    path = folder / "task.yaml"
    if path.exists():
        raise CurateError(f"there is a task already: {path}", hint="take another name, or edit it")
    known = next((one for one in KINDS if one == kind), None)
    if known is None:
        raise CurateError(
            f"there is no kind of task `{kind}`",
            "--kind",
            did_you_mean(kind, KINDS) or f"there are: {', '.join(KINDS)}",
        )
    lines = [f"task: {dumps(name)}", f"dataset: {dumps(dataset)}", f"kind: {known}"]
    if known in LABELED or labels:
        lines.append("labels:")
        lines += [f'  - {{name: {dumps(one)}, description: ""}}' for one in labels or EXAMPLES[known]]
    if text:
        lines.append(f"text: {dumps(text)}")
    if prompt or known == "answer":
        lines.append(f"prompt: {dumps(prompt or 'prompt')}")
    folder.mkdir(parents=True, exist_ok=True)
    write_durably(path, ("\n".join(lines) + "\n" + NEXT).encode())
    try:
        load_task(path)
    except CurateError:
        path.unlink()
        for one in (folder, folder.parent):
            with suppress(OSError):  # somebody's files are in it
                one.rmdir()
        raise
    return path


def notes_on(path: Path) -> list[str]:
    """What a run of the task would stumble over: its dataset, its columns, labels that are examples."""
    task, notes = load_task(path), list[str]()
    if task.kind in LABELED and list(task.label_names) == EXAMPLES[task.kind]:
        notes.append(f"the labels {', '.join(task.label_names)} are examples: write your own into {path}")
    try:
        dataset = open_dataset(task.dataset)
    except CurateError as error:
        return [*notes, error.problem]
    missing = [column for column in task.columns if column not in dataset.columns]
    return [*notes, *(f"`{task.dataset}` has no column `{column}`, which the task shows" for column in missing)]
