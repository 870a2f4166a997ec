"""Prompts: templates over a row's columns, with examples before them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from curate.errors import CurateError
from curate.evaluation.tasks.data import Rows, read_files
from curate.evaluation.tasks.settings import ChoiceTask, GenerationTask

__all__ = ["Template", "prompts"]


class Template:
    """A Jinja template over the columns of a row, that can do nothing but write text.

    Args:
        text: The template.
        where: Which setting it is, for errors.

    Raises:
        CurateError: It is no template.
    """

    def __init__(self, text: str, where: str) -> None:
        from jinja2 import StrictUndefined, TemplateSyntaxError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        self.where = where
        try:
            made = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
            self.template = made.from_string(text)
        except TemplateSyntaxError as error:
            raise CurateError(f"the template cannot be read: {error}", where) from None

    def __call__(self, row: dict[str, Any]) -> str:
        """The text for a row.

        Raises:
            CurateError: The row lacks what the template names.
        """
        from jinja2 import TemplateError

        try:
            return self.template.render(row)
        except TemplateError as error:
            hint = f"it has: {', '.join(row)}"
            raise CurateError(f"the row {row['id']} does not fit the template: {error}", self.where, hint) from None


def prompts(task: ChoiceTask | GenerationTask, rows: Rows, answered: Callable[[dict[str, Any]], str]) -> list[str]:
    """The prompt of each row, with `task.examples` others and their answers before it.

    Args:
        task: What is asked.
        rows: The rows.
        answered: The right answer of a row, as the model would write it.

    Raises:
        CurateError: A template does not fit, or there are fewer rows than examples.
    """
    template = Template(task.prompt, f"task {task.name}: prompt")
    own = [template(row) for row in rows.rows]
    if not task.examples:
        return own
    pool = rows.rows
    if task.examples_from:
        pool, _ = read_files(task.examples_from, where=f"task {task.name}: examples_from")
    shown = [template(row) + answered(row) for row in pool]
    others = int(not task.examples_from)  # of the task's own rows one is the row itself
    if len(pool) < task.examples + others:
        raise CurateError(f"there are {len(pool)} rows for {task.examples} examples", f"task {task.name}: examples")
    found = []
    for number, prompt in enumerate(own):
        draw = random.Random(f"{task.seed}/{number}")  # noqa: S311 - a choice of examples, no secret
        chosen = draw.sample(range(len(shown)), task.examples + others)
        # never the row itself
        some = [one for one in chosen if task.examples_from or one != number][: task.examples]
        found.append(task.separator.join([*(shown[one] for one in some), prompt]))
    return found
