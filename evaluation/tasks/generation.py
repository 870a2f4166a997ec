"""What a model writes, against what is right (train/objectives/texts.py).

BLEU and chrF are made of `hypothesis` and `references` by sacrebleu (metrics.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from curate.errors import CurateError, did_you_mean
from curate.evaluation.models.contract import LanguageModel
from curate.evaluation.tasks.data import Rows
from curate.evaluation.tasks.prompts import Template, prompts
from curate.evaluation.tasks.settings import GenerationTask
from curate.train.objectives.texts import judged

__all__ = ["answers"]


def answers(task: GenerationTask, rows: Rows, model: LanguageModel) -> dict[str, list[Any]]:
    """Facts of each row: what was generated, and what `task.metrics` need.

    Raises:
        CurateError: A template does not fit, or `most` leaves no room for a prompt.
    """
    right = _references(task, rows)
    references = [right(row) for row in rows.rows]
    first = {id(row): some[0] for row, some in zip(rows.rows, references, strict=True)}
    asked = prompts(task, rows, lambda row: " " + (first.get(id(row)) or right(row)[0]))
    given = model.complete(asked, most=task.most, stop=task.stop, temperature=task.temperature, seed=task.seed)
    said = [_matched(task, one.text) for one in given]
    return {
        "cut": [one.cut for one in given],
        "prompt": asked,
        "generated": [one.text for one in given],
        "finish": [one.finish for one in given],
        "generated_tokens": [one.tokens for one in given],
        **judged(said, references, task.metrics),
    }


def _references(task: GenerationTask, rows: Rows) -> Callable[[dict[str, Any]], list[str]]:
    """What gives the right answers of a row: a column, or a template."""
    where, known = f"task {task.name}: answer", dict.fromkeys(key for row in rows.rows for key in row)
    template = None if task.answer in known else Template(task.answer, where)
    if template:
        if task.answer.isidentifier():
            near = did_you_mean(task.answer, known) or f"the rows have: {', '.join(known)}"
            raise CurateError(f"no row has a column `{task.answer}`", where, near)
        template.check(known)

    def right(row: dict[str, Any]) -> list[str]:
        given = template(row) if template else row.get(task.answer)
        found = given if isinstance(given, list) else [] if given is None else [given]
        if not found:
            raise CurateError(f"the row {row['id']} has no answer", where)
        return [_counting(task, str(one)) for one in found]

    return right


def _counting(task: GenerationTask, text: str) -> str:
    """The part of a right answer that counts: what the pattern finds, or all of one that has only that part."""
    return _matched(task, text) or text.strip()


def _matched(task: GenerationTask, text: str) -> str:
    """What the pattern's last match says; nothing where it matches nowhere."""
    if task.pattern is None:
        return text.strip()
    matches = re.findall(task.pattern, text)
    last = matches[-1] if matches else ""
    return (last[0] if isinstance(last, tuple) else last).strip()
