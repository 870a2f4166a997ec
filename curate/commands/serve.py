"""`curate serve`: a model behind OpenAI's HTTP interface."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.commands.eval import Backend
from curate.commands.options import Json
from curate.terminal import echo

if TYPE_CHECKING:
    from curate.serve.server import ModelServer

__all__ = ["serve"]

Model = Annotated[str, typer.Argument(help="A run, its folder, a checkpoint, or a Hugging Face folder.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port of this machine; 0 takes a free one.")]
Host = Annotated[
    str, typer.Option(help="Address that it is bound to; one that other machines reach needs a key.", metavar="ADDRESS")
]
KeyFile = Annotated[
    Path | None,
    typer.Option(help="File with the key that requests have to know; by default $CURATE_SERVE_KEY.", metavar="FILE"),
]
Name = Annotated[str | None, typer.Option(help="What requests call the model; by default the name of its folder.")]
Queue = Annotated[int, typer.Option(min=1, help="Most texts that wait, and most in a request; then it answers 429.")]
Seconds = Annotated[float, typer.Option(min=0.1, help="How long a request may take, waiting included.")]
Drain = Annotated[
    float, typer.Option(min=0, help="Seconds that answers have to come to their end when the server is told to stop.")
]


def serve(
    model: Model,
    port: Port = 8000,
    host: Host = "127.0.0.1",
    key_file: KeyFile = None,
    name: Name = None,
    slots: Annotated[int, typer.Option(min=1, help="Most texts that are written at a time.")] = 32,
    queue: Queue = 128,
    max_tokens: Annotated[int, typer.Option(min=1, help="Most new tokens of a text.")] = 4096,
    seconds: Seconds = 600.0,
    drain: Drain = 30.0,
    length: Annotated[int | None, typer.Option(min=4, help="Most tokens read at once; by default the model's.")] = None,
    backend: Backend = "auto",
    as_json: Json = False,
) -> None:
    """Serve a model over HTTP as OpenAI's interface has it: completions, chats, embeddings, classes.

    Prints the address and serves it until Ctrl-C or SIGTERM. Nobody but this machine reaches it, unless --host says so. Nothing
    of what is asked is logged or written.
    """
    from curate.commands.options import print_json
    from curate.serve.server import open_model_server
    from curate.serve.service import Limits

    server = open_model_server(
        model, host=host, port=port, limits=Limits(slots, queue, max_tokens, seconds), key=_key(key_file), name=name,
        length=length, backend=backend,
    )  # fmt: skip
    facts = _facts(server)
    if as_json:
        print_json(facts)
    else:
        echo(server.url)
        echo(f"{facts['model']}: {', '.join(facts['endpoints'])}; reads {facts['length']:,} tokens at once", err=True)
        echo("Ctrl-C ends it.", err=True)
    with suppress(KeyboardInterrupt):  # that is how it ends
        server.serve(drain=drain)


def _key(file: Path | None) -> str | None:
    """The key of a file or of the environment.

    Raises:
        CurateError: The file cannot be read, or has none.
    """
    import os

    from curate.errors import CurateError
    from curate.serve.server import KEY

    if file is None:
        return os.environ.get(KEY) or None
    try:
        found = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CurateError(
            f"the key cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}", str(file)
        ) from None
    if not found:
        raise CurateError("there is no key in this file", str(file), "e.g. openssl rand -hex 32 > FILE")
    return found


def _facts(server: ModelServer) -> dict[str, Any]:
    service = server.service
    if service.writes:
        endpoints = ["completions", *(["chat/completions"] if service.template else [])]
    else:
        endpoints = ["embeddings", *(["classify"] if service.model.head else [])]
    return {
        "url": server.url, "host": server.host, "port": server.port, "model": service.name, "endpoints": endpoints,
        "length": service.model.length, "slots": service.limits.slots if service.writes else 1, "queue": service.limits.queue,
    }  # fmt: skip
