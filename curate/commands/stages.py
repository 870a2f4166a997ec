"""`curate stages`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.commands.options import Json

if TYPE_CHECKING:
    from curate.stages.contract import Stage

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
    from curate.stages.registry import find_stage

    typer.echo(f"{one['name']} ({one['kind']})\n")
    print_wrapped(one["description"])
    kinds = _kinds(find_stage(one["name"]))
    for setting in one["settings"]:
        kind = kinds.get(setting["name"], setting["type"])
        default = "required" if setting["default"] == "required" else f"default {setting['default']}"
        typer.echo("")
        print_wrapped(f"{setting['name']}: {kind}; {default}", indent=2)
        print_wrapped(setting["description"], indent=6)
    if one["reasons"]:
        typer.echo("\nreasons")
        for reason, words in one["reasons"].items():
            print_wrapped(f"{reason}: {words}", indent=2)


def _kinds(stage: type[Stage]) -> dict[str, str]:
    """What each setting takes, in words; empty for a stage of one's own with types that have no JSON schema."""
    from pydantic.errors import PydanticInvalidForJsonSchema

    from curate.commands.kinds import kind_in_words

    try:
        schema = stage.model_json_schema()
    except PydanticInvalidForJsonSchema:
        return {}
    return {name: kind_in_words(kind, schema.get("$defs")) for name, kind in schema.get("properties", {}).items()}
