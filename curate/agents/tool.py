"""A tool: its name and when to use it, its arguments and answers with their schemas, and what it does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

from curate.agents.answer import Answer, answer_schema
from curate.agents.project import Project

if TYPE_CHECKING:
    import mcp_types

__all__ = ["Arguments", "Say", "Tool"]

Say = Callable[[str], Awaitable[None]]
"""Told of progress, a line at a time."""


class Arguments(BaseModel):
    """What a tool is given; its fields' descriptions are the reference."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def logged(self) -> dict[str, Any]:
        """What the log keeps of them: those that were given."""
        return self.model_dump(mode="json", exclude_defaults=True)


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool.

    Attributes:
        name: By which it is called.
        use: What it does and when to use it, for the model that chooses.
        arguments: A class of settings.
        facts: The class (a TypedDict) of what it answers.
        look: What gives the answer, in a thread; or
        do: what does so while it tells how far it is.
        material: Whether what comes from documents is in the answer.
        verb: The one of `--allow` that it needs; None: it only reads.
        again: Whether to call it again with the same arguments does nothing more.
        outside: Whether it may ask something beyond this machine.
    """

    name: str
    use: str
    arguments: type[Arguments]
    facts: Any
    look: Callable[[Project, Any], Answer] | None = None
    do: Callable[[Project, Any, Say], Awaitable[Answer]] | None = None
    material: bool = False
    verb: str | None = None
    again: bool = True
    outside: bool = False

    def described(self) -> mcp_types.Tool:
        """The tool as the protocol lists it."""
        from mcp_types import Tool as Listed
        from mcp_types import ToolAnnotations

        title = self.name.replace("_", " ").capitalize()
        return Listed(
            name=self.name, title=title, description=" ".join(self.use.split()),
            input_schema=_untitled(self.arguments.model_json_schema()),
            output_schema=answer_schema(_untitled(_schema(self.facts)), material=self.material),
            annotations=ToolAnnotations(
                title=title, read_only_hint=self.verb is None, destructive_hint=False,
                idempotent_hint=self.again, open_world_hint=self.outside,
            ),
        )  # fmt: skip


@cache
def _schema(facts: Any) -> dict[str, Any]:
    return TypeAdapter(facts).json_schema()


def _untitled(schema: Any) -> Any:
    """A schema without the titles of its fields, which repeat their names; a model reads all of it."""
    if isinstance(schema, list):
        return [_untitled(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _untitled(one) for key, one in schema.items() if key != "title" or not isinstance(one, str)}
