"""Jinja templates of conversations, as Hugging Face's transformers renders them.

They see `messages`, `tools`, `add_generation_prompt`, names of special tokens, `raise_exception` and `strftime_now`, run
in a sandbox, and may enclose in `{% generation %}` what the assistant says. What differs from transformers: the day is
always DAY, because the same input must give the same bytes. A template that shall tell another day has it written in.
"""

from __future__ import annotations

import datetime
import json
import re
from typing import TYPE_CHECKING, Any

from curate.errors import CurateError

if TYPE_CHECKING:
    from jinja2 import Environment, Template

__all__ = ["DAY", "compiled", "has_marks", "marks", "tests_null_content", "uses_tools", "variables"]

DAY = datetime.datetime(2024, 7, 26)
"""What `strftime_now` tells: the day that Llama 3.2's template falls back to where it cannot ask for one."""
_MARKS = ("generation_begins", "generation_ends")
_GENERATION = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")
_NULL_CONTENT = re.compile(r"\bcontent['\"\]]*\s+is\s+(not\s+)?none\b", re.IGNORECASE)


def compiled(source: str) -> Template:
    """A template, ready to render.

    Raises:
        CurateError: It is no valid Jinja.
    """
    from jinja2 import TemplateSyntaxError

    try:
        return _environment().from_string(source)
    except TemplateSyntaxError as error:
        raise CurateError(
            f"the template of conversations is not valid: {error.message}", f"data.chat_template, line {error.lineno}"
        ) from None


def has_marks(source: str) -> bool:
    """Whether a template says itself, with `{% generation %}`, what the assistant says."""
    return bool(_GENERATION.search(source))


def marks(begin: str, end: str) -> dict[str, str]:
    """Variables for a rendering that has these characters around each `{% generation %}` block."""
    return dict(zip(_MARKS, (begin, end), strict=True))


def tests_null_content(source: str) -> bool:
    """Whether a template has a case for a message whose content is null; others would write `None`."""
    return bool(_NULL_CONTENT.search(source))


def uses_tools(source: str) -> bool:
    """Whether a template shows the tools to the model.

    Raises:
        CurateError: It is no valid Jinja.
    """
    return "tools" in variables(source)


def variables(source: str) -> set[str]:
    """The variables that a template asks for.

    Raises:
        CurateError: It is no valid Jinja.
    """
    from jinja2.meta import find_undeclared_variables

    compiled(source)
    return find_undeclared_variables(_environment().parse(source))


def _environment() -> Environment:
    from jinja2.ext import Extension, loopcontrols
    from jinja2.nodes import Name, Node, Output, Scope
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """A block is what it encloses, with a variable before and one behind it that are empty unless they are given."""

        tags = {"generation"}

        def parse(self, parser: Parser) -> Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            begin, end = (Output([Name(name, "load")]) for name in _MARKS)
            return Scope([begin, *body, end]).set_lineno(line)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation]
    )
    environment.filters["tojson"] = _json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _json(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """As Hugging Face's, which escapes nothing."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> None:
    from jinja2 import TemplateError

    raise TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return DAY.strftime(pattern)
