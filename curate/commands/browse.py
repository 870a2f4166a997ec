"""`curate browse`."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from curate.commands.options import Json, StoreOption
from curate.terminal import echo

__all__ = ["browse"]


def browse(
    version: Annotated[
        str | None, typer.Argument(help="NAME, NAME@TAG or NAME@ID-PREFIX to begin with; by default the store.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of this machine; 0 takes a free one.")] = 0,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Refuse what pages write, and to show personal data.")
    ] = False,
    index: Annotated[
        bool,
        typer.Option(help="Index the texts of versions that are looked at, in the background; else searches scan."),
    ] = True,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Look at versions and documents in a web browser: what was kept, what was dropped and why, what other thresholds would do.

    Prints an address of this machine that is good for one browser, and serves it until Ctrl-C. Nothing leaves the machine.
    """
    from curate.commands.options import print_json
    from curate.dataset.find import find_store
    from curate.workbench.serve import open_server

    server = open_server(find_store(store), version, port=port, read_only=read_only, indexing=index)
    if as_json:
        print_json({"url": server.url, "store": server.store, "port": server.port, "read_only": read_only})
    else:
        echo(server.url)
        echo("Ctrl-C ends it; the address is good for one browser.", err=True)
    with suppress(KeyboardInterrupt):  # that is how it ends
        server.serve()
