"""`curate data erase`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from curate.commands.options import Json, StoreOption
from curate.terminal import echo

__all__ = ["erase"]


def erase(
    subject_file: Annotated[
        Path, typer.Option(help="YAML or JSON: lists `emails`, `phones`, `names`, `documents` (ids).", metavar="FILE")
    ],
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove whole documents that mention the person, not just the mentions.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only look and count.")] = False,
    proof: Annotated[
        Path | None,
        typer.Option(help="Write the proof here too, as JSON; and for people, ending in .txt.", metavar="FILE"),
    ] = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Erase a person from every version, cache, label and recorded export of the store; then look again, and prove it.

    Documents that are named by id go. In others, e-mail addresses, phone numbers and names are replaced. Killed at any
    moment, the same command goes on.
    """
    from curate.commands.options import print_json
    from curate.dataset.find import find_store
    from curate.dataset.store import canonical_json
    from curate.erasure.erase import erase as do
    from curate.erasure.proof import lines
    from curate.erasure.subject import read_subject
    from curate.errors import CurateError
    from curate.files import write_durably

    subject = read_subject(subject_file)
    if proof and (proof.suffix == ".txt" or not proof.parent.is_dir()):
        raise CurateError("the proof needs a name in a folder that is there, e.g. proof.json", str(proof))
    told: dict[str, Any] = do(
        find_store(store), subject, remove=remove, dry_run=dry_run, say=lambda words: echo(words, err=True)
    )
    words = lines(told)
    if proof:
        write_durably(proof, canonical_json(told) + b"\n")
        write_durably(proof.with_suffix(".txt"), "\n".join([*words, ""]).encode())
    if as_json:
        print_json(told)
    else:
        echo("\n".join(words))
