"""`curate mcp`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curate.commands.options import StoreOption
from curate.terminal import echo

if TYPE_CHECKING:
    from curate.agents.project import Project

__all__ = ["mcp"]

Allow = Annotated[
    list[str] | None,
    typer.Option(
        help="Let clients do this, too: run, collect, train, eval or label; several with commas. Without it they only look.",
        metavar="VERBS",
    ),
]
LimitSpend = Annotated[
    float,
    typer.Option(
        min=0, help="Most money that fetches may cost, all calls of this server together, by the prices in the files."
    ),
]


def mcp(
    folder: Annotated[
        Path, typer.Argument(help="The project's folder; by default this one.", metavar="[DIR]")
    ] = Path(),
    allow: Allow = None,
    limit_minutes: Annotated[float, typer.Option(min=0.01, help="Most minutes that a call may take.")] = 30.0,
    limit_spend: LimitSpend = 0.0,
    store: StoreOption = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Serve nothing: print settings for a client, and the tools it would have, as JSON."
        ),
    ] = False,
) -> None:
    """Serve a project to language models over the Model Context Protocol, on standard input and output.

    For the settings of a client, which starts it: docs/agents.md. Clients look at everything in the store; what they may do
    besides is said by --allow, and written to .curate/mcp.jsonl. Paths that they name stay in the folder.
    """
    from curate.agents.project import VERBS, Project
    from curate.agents.serve import serve
    from curate.errors import CurateError, did_you_mean

    allowed = [one.strip() for given in allow or () for one in given.split(",") if one.strip()]
    for one in allowed:
        if one not in VERBS:
            hint = did_you_mean(one, VERBS) or f"there are: {', '.join(VERBS)}"
            raise CurateError(f"there is no verb `{one}`", "--allow", hint)
    if not folder.is_dir():
        raise CurateError(f"there is no folder `{folder}`", hint="`curate init DIR` makes a project")
    if store is not None and "://" not in store:
        store = str(Path(store).resolve())
    os.chdir(folder)
    project = Project(Path.cwd().resolve(), store, frozenset(allowed), limit_minutes, limit_spend)
    if project.folder == Path.home().resolve() or project.folder == Path(project.folder.anchor):
        echo(f"note: clients may read files anywhere in {project.folder}; name the project's folder", err=True)
    if as_json:
        _tell(project)
        return
    serve(project)


def _tell(project: Project) -> None:
    """Print how a client starts this server, and what it would find."""
    import sys

    from curate.agents.serve import tools_of
    from curate.commands.options import print_json

    options = [f"--allow={','.join(sorted(project.allowed))}"] if project.allowed else []
    options += [f"--limit-minutes={project.limit_minutes:g}", f"--limit-spend={project.limit_spend:g}"]
    options += [f"--store={project.store}"] if project.store else []
    start = {"command": sys.executable, "args": ["-m", "curate.cli", "mcp", str(project.folder), *options]}
    tools = [{"name": one.name, "verb": one.verb, "use": one.use} for one in tools_of(project).values()]
    print_json({"mcpServers": {"curate": start}, "tools": tools})
