"""`curate data push | pull`: versions from this store to another one, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.commands.options import Json, StoreOption
from curate.terminal import echo

if TYPE_CHECKING:
    from curate.dataset.store import Store
    from curate.dataset.transfer import Transferred

__all__ = ["pull", "push"]

Url = Annotated[str, typer.Argument(help="The other store: a folder, or s3://BUCKET/PREFIX.", metavar="URL")]
Name = Annotated[str, typer.Argument(help="NAME, NAME@TAG or NAME@ID-PREFIX.", metavar="VERSION")]


def push(
    url: Url,
    name: Name,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune", help="Also remove there what an erasure has replaced here: versions, and what only they need."
        ),
    ] = False,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Copy a version to another store, only what is missing there, and make it the newest of its dataset there."""
    from curate.dataset.find import find_store
    from curate.dataset.prune import outdated
    from curate.dataset.prune import prune as remove
    from curate.dataset.runs import now
    from curate.dataset.store import Store
    from curate.dataset.transfer import transfer

    source, began = find_store(store), now()
    target = Store.open(url, create=True)
    _check_apart(source, target)
    done = transfer(source, target, name)
    if prune:
        remove(source, target, done.reference.dataset, done)
    else:
        done.outdated = len(outdated(source, target, done.reference.dataset))
    _record(source, target, began, done)
    _tell(source, target, done, as_json)
    if done.outdated:
        echo(
            f"note: {done.outdated} version(s) there were replaced by an erasure here: `--prune` removes them", err=True
        )


def pull(url: Url, name: Name, store: StoreOption = None, as_json: Json = False) -> None:
    """Copy a version from another store into this one, which is made where there is none; every object is checked."""
    from curate.dataset.find import find_or_make_store
    from curate.dataset.store import Store
    from curate.dataset.transfer import transfer

    source = Store.open(url)
    target = find_or_make_store(store)
    _check_apart(source, target)
    _tell(source, target, transfer(source, target, name, pull=True), as_json)


def _check_apart(source: Store, target: Store) -> None:
    from pathlib import Path

    from curate.errors import CurateError

    if source.location == target.location or (
        "://" not in f"{source.location}{target.location}"
        and Path(source.location).resolve() == Path(target.location).resolve()
    ):
        raise CurateError("both ends are the same store", source.location, "name another place")


def _record(source: Store, target: Store, began: str, done: Transferred) -> None:
    """So that `curate data log` tells where copies are."""
    from curate.dataset.runs import record, run_id

    name = f"{done.reference.dataset}@{done.reference.tag or done.reference.version[:12]}"
    record(source, "push", run_id(), name=name, state="done", began=began,
           inputs=[{"kind": "version", "id": done.reference.version, "name": name}], outputs=[],
           facts={"folder": target.location, "objects": done.copied, "bytes": done.bytes, "pruned": done.pruned})  # fmt: skip


def _tell(source: Store, target: Store, done: Transferred, as_json: bool) -> None:
    from curate.commands.options import print_json

    dataset, version, tag = done.reference
    if as_json:
        record: dict[str, Any] = {"dataset": dataset, "version": version, "tag": tag, "from": source.location}
        record |= {"to": target.location, "objects": {"copied": done.copied, "there": done.there}, "bytes": done.bytes}
        print_json({**record, "pruned": done.pruned or None, "outdated": done.outdated})
        return
    echo(f"{dataset}@{tag or version[:12]} ({version[:12]}) is in {target.location}")
    echo(f"{done.copied} objects copied, {done.bytes:,} bytes; {done.there} were there")
    if done.beside:
        mine = f"{dataset}@{done.beside[:12]}"
        echo(
            f"the newest version here stays {mine}, which is not known there: `curate data diff {mine} {dataset}@{tag}`",
            err=True,
        )
        echo("a push from here makes it the newest one there, too", err=True)
    if told := done.pruned:
        echo(f"removed there: {told['versions']} version(s), {told['objects']} objects, {told['bytes']:,} bytes")
