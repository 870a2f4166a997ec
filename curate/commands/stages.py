"""`curate stages`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.commands.options import Json
from curate.terminal import echo

if TYPE_CHECKING:
    pass

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
    _print_stage(one)


def _print_stage(one: dict[str, Any]) -> None:
    from curate.commands.tables import print_wrapped

    echo(f"{one['name']} ({one['kind']})\n")
    print_wrapped(one["description"])
    for setting in one["settings"]:
        default = "required" if setting["default"] == "required" else f"default {setting['default']}"
        echo("")
        print_wrapped(f"{setting['name']}: {setting['type']}; {default}", indent=2)
        print_wrapped(setting["description"], indent=6)
    if one["reasons"]:
        echo("\nreasons")
        for reason, words in one["reasons"].items():
            print_wrapped(f"{reason}: {words}", indent=2)
