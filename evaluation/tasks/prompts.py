"""Prompts: templates over a row's columns, with examples before them."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
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
        from jinja2.meta import find_undeclared_variables
        from jinja2.nodes import TemplateData
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        self.where = where
        try:
            made = ImmutableSandboxedEnvironment(
                undefined=StrictUndefined, keep_trailing_newline=True, finalize=_written
            )
            parsed = made.parse(text)
            self.template = made.from_string(text)
        except TemplateSyntaxError as error:
            raise CurateError(f"the template cannot be read: {error}", where) from None
        self.names = find_undeclared_variables(parsed)
        self.literal = "".join(part.data for part in parsed.find_all(TemplateData))

    def check(self, columns: Iterable[str], *, same: bool = False) -> None:
        """Refuse a template that names no column (unless it may be the `same`), or names one in single braces, which are text.

        Raises:
            CurateError: It is so.
        """
        known = list(columns)
        for name in _BRACED.findall(self.literal):
            meant = name if name in known else next(iter(get_close_matches(name, known, n=1, cutoff=0.8)), None)
            if meant or not (self.names or same):
                raise CurateError(
                    f"`{{{name}}}` in the template is text: single braces name no column", self.where,
                    f"`{{{{ {meant or name} }}}}`, with two braces; the rows have: {', '.join(known)}",
                )  # fmt: skip
        if not self.names and not same:
            raise CurateError(
                "the template names no column: it is the same for all rows", self.where,
                f"`{{{{ COLUMN }}}}` stands for what a row has; the rows have: {', '.join(known)}",
            )  # fmt: skip

    def all(self, rows: Sequence[dict[str, Any]], *, same: bool = False) -> list[str]:
        """The texts for rows, which are not all the same, unless they may be.

        Raises:
            CurateError: They are, or a row does not fit.
        """
        self.check(dict.fromkeys(key for row in rows for key in row), same=same)
        found, unfit = list[str](), list[CurateError]()
        for row in rows:
            try:
                found.append(self(row))
            except CurateError as error:
                unfit.append(error)
        if unfit:
            more = f"; so do {len(unfit) - 1:,} others of {len(rows):,}" if len(unfit) > 1 else ""
            raise CurateError(unfit[0].problem + more, self.where, unfit[0].hint)
        if not same and len(found) > 1 and len(set(found)) == 1:
            raise CurateError(
                f"the template gives the same text for all {len(found):,} rows: {found[0][:60]!r}", self.where,
                "it names what differs between the rows",
            )  # fmt: skip
        return found

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


_BRACED = re.compile(r"(?<![{\\])\{\s*([A-Za-z_]\w*)\s*\}(?!\})")


def _written(value: Any) -> Any:
    """What an expression stands for; a null would be the word None."""
    from jinja2 import TemplateRuntimeError

    if value is None:
        raise TemplateRuntimeError("a value is null (`{{ COLUMN or '' }}` writes nothing there)")
    return value


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
    # where each row has answers of its own, they are what is asked about
    own = template.all(rows.rows, same=isinstance(task, ChoiceTask) and isinstance(task.choices, str))
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
