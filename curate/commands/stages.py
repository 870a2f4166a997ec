"""`curate stages`."""

from __future__ import annotations

from typing import Annotated

import typer

from curate.commands.options import Json

__all__ = ["stages"]


def stages(
    name: Annotated[str | None, typer.Argument(help="A stage's name, or module:Class.")] = None,
    as_json: Json = False,
) -> None:
    """List the stages, or show one with all its settings and their defaults."""
    from curate.commands.options import print_json
    from curate.commands.tables import print_table
    from curate.config.reference import stage_reference
    from curate.stages.registry import stage_names

    if name is None:
        found = [stage_reference(known) for known in stage_names()]
        if as_json:
            print_json({"stages": found})
        else:
            print_table(("stage", "kind", "summary"), [[one["name"], one["kind"], one["summary"]] for one in found])
        return
    one = stage_reference(name)
    if as_json:
        print_json({"stage": one})
        return
    typer.echo(f"{one['name']} ({one['kind']})\n\n{one['description']}\n")
    print_table(
        ("setting", "type", "default", "what it is"),
        [[setting["name"], setting["type"], setting["default"], setting["description"]] for setting in one["settings"]],
    )
    if one["reasons"]:
        typer.echo("")
        print_table(("reason", "what the document has"), [list(pair) for pair in one["reasons"].items()])
