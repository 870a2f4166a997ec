"""What to ask about once more: answers that are tied, and labels that the model finds suspicious.

Suspicious are labels that confident learning takes for wrong, by a model that did not learn from them (labeling/suspects.py);
about half of such candidates are wrong in published data (Northcutt et al. 2021), so they are asked about, never changed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from curate.dataset.reader import Dataset
from curate.errors import CurateError
from curate.labeling.commit import labels
from curate.labeling.documents import find
from curate.labeling.log import items
from curate.labeling.model import fit_model
from curate.labeling.rounds import Wanted, draw
from curate.labeling.suspects import suspects
from curate.labeling.task import Task

__all__ = ["review"]


def review(dataset: Dataset, task: Task, folder: Path, *, most: int, ties: bool, seed: int = 0) -> dict[str, Any]:
    """Draw a round of reviews, the most suspicious first, blind; ties alone where `ties` is set.

    Raises:
        CurateError: There is nothing to review.
    """
    tied = [key for key in labels(dataset, task).ties]
    wrong: list[tuple[str, str]] = []
    if not ties and task.kind == "classification":
        learned = fit_model(dataset, task, folder, seed=seed)
        found = suspects(learned.learned.labels, learned.fitted.out_of_fold(), ranking="self_confidence")
        wrong = [learned.learned.keys[row] for row in found.texts.tolist()]
    asked = {(one.id, one.hash) for one in items(dataset.store, task) if one.role == "review"}
    keys = [key for key in dict.fromkeys([*tied, *wrong]) if key not in asked]
    there = find(dataset, task, {identity for identity, _ in keys})
    chosen = [
        (there[identity], "tie" if (identity, digest) in tied else "suspect")
        for identity, digest in keys
        if identity in there and there[identity].hash == digest
    ][:most]
    if not chosen:
        raise CurateError(
            f"`{task.name}` has nothing to review", hint="no answer is tied, and the model suspects no label"
        )
    wanted = Wanted(len(chosen), "review", "review", seed=seed, blind=True)
    drawn = draw(dataset, task, wanted, chosen=lambda: (chosen, len(chosen)), new=True)
    return {"task": task.name, "round": drawn.number, "documents": len(chosen), "ties": sum(how == "tie" for _, how in chosen),
            "suspects": sum(how == "suspect" for _, how in chosen)}  # fmt: skip
