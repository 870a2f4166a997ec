"""`curate label serve | push | pull | backend | forget`: people who label in Label Studio, and a model that answers it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.commands.label_options import (
    URL,
    AnnotatorsOption,
    ByOption,
    DataOption,
    DrawSeed,
    GoldOption,
    OverlapOption,
    StrategyOption,
    TaskOption,
    UrlOption,
    VersionArgument,
    opened,
)
from curate.commands.options import Json, StoreOption
from curate.terminal import echo

if TYPE_CHECKING:
    from curate.labeling.studio.client import Client

__all__ = ["backend", "connected", "forget", "pull", "push", "serve"]


def _data(given: Path | None) -> Path:
    home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return given or home / "curate" / "label-studio"


def connected(url: str | None, data: Path | None) -> Client:
    """The Label Studio that a command means.

    Raises:
        CurateError: None is named or runs here, or it does not let us in.
    """
    from curate.errors import CurateError
    from curate.labeling.studio.client import connect
    from curate.labeling.studio.server import login

    named = url or os.environ.get(URL)
    if named:
        return connect(named)
    place = _data(data) / "url"
    if not place.is_file():
        raise CurateError(
            "no Label Studio is named, and none runs here",
            hint="`curate label serve` starts one; --url names another one",
        )
    return connect(place.read_text(), login(_data(data))["token"])


def serve(
    port: Annotated[int | None, typer.Option(min=1, max=65_535, help="By default 8080, or one that is free.")] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Install Label Studio without asking, if it is not there.")
    ] = False,
    data: DataOption = None,
    as_json: Json = False,
) -> None:
    """Run a Label Studio on this machine, for this machine alone, until it is interrupted."""
    from curate.commands.options import print_json
    from curate.labeling.studio.server import installed, running

    if installed() is None and not yes:
        typer.confirm(
            "Label Studio is not there: install it in an environment of its own (1 GB)?", abort=True, err=True
        )
    folder = _data(data)
    with running(folder, port=port, say=lambda line: echo(line, err=True)) as server:
        place = folder / "url"
        place.write_text(server.url)
        try:
            if as_json:
                print_json({"url": server.url, "email": server.email, "password": server.password})
            else:
                echo(f"Label Studio: {server.url}")
                echo(f"log in as:    {server.email}")
                echo(f"password:     {server.password}")
            sys.stdout.flush()
            echo("Ctrl-C ends it; what people answered stays", err=True)
            server.wait()
        except KeyboardInterrupt:
            echo("ended", err=True)
        finally:
            place.unlink(missing_ok=True)


def push(
    version: VersionArgument = None,
    documents: Annotated[
        int | None, typer.Option("-n", min=1, help="Draw so many documents first; the same words draw them once.")
    ] = None,
    strategy: StrategyOption = None,
    by: ByOption = None,
    annotators: AnnotatorsOption = 1,
    overlap: OverlapOption = None,
    gold: GoldOption = None,
    seed: DrawSeed = 0,
    restore: Annotated[
        bool, typer.Option("--restore", help="Give the labeling configuration again that somebody changed there.")
    ] = False,
    url: UrlOption = None,
    data: DataOption = None,
    task: TaskOption = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Ask in Label Studio about everything that is still to be labelled; again, it adds what is missing."""
    from curate.commands.options import print_json
    from curate.labeling.strategy import Request, request_round
    from curate.labeling.studio.exchange import send
    from curate.pipeline.progress import progress_for_terminal

    said, path, dataset = opened(task, version, store)
    with connected(url, data) as client:
        if documents is not None:
            request = Request(documents, strategy, by, annotators, overlap, gold, seed)
            request_round(dataset, said, path.parent, request)
        with progress_for_terminal() as progress:
            told: dict[str, Any] = send(dataset, said, client, progress, restore=restore)
    if as_json:
        print_json({"task": said.name, "url": client.url, **told})
        return
    echo(f"{client.url}/projects/{told['project']}/data: {told['tasks']:,} new tasks, {told['there']:,} were there, "
         f"{told['predictions']:,} suggestions")  # fmt: skip
    for name, what in (("overlaps", "are for more people now"), ("removed", "removed that stood there twice or are blind now"),
                       ("changed", "documents show something else now, and are not asked about"),
                       ("absent", "documents are not in this version, and are not asked about")):  # fmt: skip
        if told[name]:
            echo(f"note: {told[name]:,} {what}", err=True)


def pull(
    version: VersionArgument = None,
    url: UrlOption = None,
    data: DataOption = None,
    task: TaskOption = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Bring what people answered in Label Studio into the store; nothing that was there is changed or lost."""
    from curate.commands.options import print_json
    from curate.labeling.studio.exchange import receive
    from curate.labeling.studio.pull import COUNTS

    said, _, dataset = opened(task, version, store)
    with connected(url, data) as client:
        told: dict[str, Any] = receive(dataset, said, client)
    if as_json:
        print_json({"task": said.name, "url": client.url, **told})
        return
    echo(f"{told['answers']:,} new answers")
    for name, count in told["counts"].items():
        if count and name != "new":
            echo(f"  {name}: {count:,} ({COUNTS[name]})")
    for one in told["refused"][:20]:
        echo(
            f"not taken: {one['id']} by {one['annotator']} (annotation {one['annotation']}): {one['problem']}", err=True
        )
    if told["refused_before"]:
        echo(f"note: {told['refused_before']:,} more are no answers, as told before", err=True)
    if told["configuration_changed"]:
        echo("note: somebody changed the labeling configuration there; `curate label push` says what to do", err=True)


def backend(
    version: VersionArgument = None,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="By default one that is free.")] = 0,
    url: UrlOption = None,
    data: DataOption = None,
    task: TaskOption = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Answer Label Studio with the task's model while people work there; its button "Start training" fits it anew."""
    import time
    from functools import partial

    from curate.commands.options import print_json
    from curate.labeling.studio.backend import register, serving
    from curate.labeling.studio.client import open_project
    from curate.labeling.studio.exchange import model_for_studio

    said, path, dataset = opened(task, version, store)
    model, train, blind = model_for_studio(dataset, said, path.parent)
    with connected(url, data) as client:
        project = open_project(client, said)
        with serving(said, model, train=train, blind=blind, port=port, say=partial(echo, err=True)) as place:
            register(client, project, place)
            if as_json:
                print_json({"task": said.name, "model": model.version, "url": client.url, "backend": place})
            else:
                echo(f"{model.version} answers {client.url} at {place}")
            sys.stdout.flush()
            echo("Ctrl-C ends it", err=True)
            try:
                while True:
                    time.sleep(3600)
            except KeyboardInterrupt:
                echo("ended", err=True)


def forget(
    version: VersionArgument = None,
    url: UrlOption = None,
    data: DataOption = None,
    task: TaskOption = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Delete the tasks in Label Studio of documents that `curate data erase` removed or changed."""
    from curate.commands.options import print_json
    from curate.labeling.studio.exchange import forget as forget_there

    said, _, dataset = opened(task, version, store)
    with connected(url, data) as client:
        deleted = forget_there(dataset, said, client)
    if as_json:
        print_json({"task": said.name, "url": client.url, "deleted": deleted})
    else:
        echo(f"{deleted:,} tasks deleted at {client.url}; its exports and backups are yours to remove")
