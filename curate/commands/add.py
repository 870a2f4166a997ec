"""`curate add`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curate.commands.options import Json, StoreOption
from curate.terminal import echo

if TYPE_CHECKING:
    from curate.dataset.store import Store

__all__ = ["add"]


def add(
    name: Annotated[str, typer.Argument(help="What it is added to: the `name` of a source `manual`.")],
    file: Annotated[
        Path | None, typer.Option(help="A file with the text; `-` is standard input.", metavar="FILE")
    ] = None,
    author: Annotated[
        str | None, typer.Option(help="Who wrote it; by default $CURATE_AUTHOR, then your user name.")
    ] = None,
    license: Annotated[str | None, typer.Option(help="Under which license, e.g. CC-BY-4.0.")] = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Add a text that you write to the store, for a source `manual`: in $EDITOR, from a file, or from standard input."""
    import getpass
    import os

    from curate.commands.options import print_json
    from curate.dataset.entries import add_entry

    text = _written(file)
    who = author or os.environ.get("CURATE_AUTHOR") or getpass.getuser()
    opened = _store(store)
    done = add_entry(opened, name, text, author=who, license=license)
    if as_json:
        print_json({**done._asdict(), "name": name, "characters": len(text), "store": opened.location})
    else:
        echo(
            f"{done.id}: {len(text):,} characters by {done.author}; `curate collect PIPELINE --refresh ID` takes it in"
        )


def _store(place: str | None) -> Store:
    """The store that is meant; where there is none yet, `.curate` here."""
    from curate.dataset.find import store_place
    from curate.dataset.store import Store
    from curate.errors import CurateError

    try:
        return Store.open(store_place(place, Path.cwd()), create=True)
    except CurateError:
        if place is not None and "://" in place:
            raise
        return Store.open(place or ".curate", create=True)


def _written(file: Path | None) -> str:
    """The text: of a file, of standard input, or of an editor."""
    from curate.errors import CurateError

    if file is None and sys.stdin.isatty():
        return _edited()
    try:
        data = sys.stdin.buffer.read() if file is None or str(file) == "-" else file.read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise CurateError(f"`{file}` cannot be read: {error.strerror}", "--file") from None
    except UnicodeDecodeError:
        raise CurateError(f"`{file or 'standard input'}` is not UTF-8", "--file", "write it as UTF-8") from None


def _edited() -> str:
    import os
    import shlex
    import subprocess
    import tempfile

    from curate.errors import CurateError

    command = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "entry.txt")
        path.touch(mode=0o600)
        try:
            subprocess.run([*command, str(path)], check=True)
        except (OSError, subprocess.CalledProcessError):
            problem = f"the editor `{command[0]}` failed: nothing was added"
            raise CurateError(problem, hint="set EDITOR, or give the text with --file or on standard input") from None
        return path.read_text("utf-8")
