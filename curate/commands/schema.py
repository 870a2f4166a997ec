"""`curate schema`."""

from __future__ import annotations

from typing import Annotated

import typer

from curate.commands.options import Json

__all__ = ["schema"]


def schema(
    tasks: Annotated[bool, typer.Option("--tasks", help="Of files of tasks for `curate eval --tasks`.")] = False,
    as_json: Json = False,
) -> None:
    """Print the JSON schema of pipeline files, or of files of tasks.

    In an editor with the YAML language server: save it, and begin the file with `# yaml-language-server: $schema=FILE`.
    """
    import json

    from curate.commands.options import print_json
    from curate.config.reference import pipeline_schema

    if tasks:
        from curate.evaluation.tasks.settings import tasks_schema

        made = tasks_schema()
    else:
        made = pipeline_schema()
    if as_json:
        print_json({"json_schema": made})
    else:
        typer.echo(json.dumps(made, indent=2))
