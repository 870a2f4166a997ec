"""`curate data verify | export | gc | upgrade`: keeping versions, taking them elsewhere, clearing up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curate.commands.options import Json, StoreOption
from curate.terminal import echo

if TYPE_CHECKING:
    from curate.dataset.export import ExportResult
    from curate.dataset.reader import Dataset

__all__ = ["export", "gc", "upgrade", "verify"]


def verify(
    name: Annotated[str, typer.Argument(help="NAME, NAME@TAG or NAME@ID-PREFIX.", metavar="VERSION")],
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Check every object of a version against its hash; exits with 3 if anything is wrong, and tells how to mend it."""
    from curate.commands.options import print_json
    from curate.commands.tables import print_table
    from curate.dataset.care import REMEDY
    from curate.dataset.care import verify as check
    from curate.dataset.find import find_store
    from curate.dataset.reader import open_dataset

    one = open_dataset(name, find_store(store))
    found = check(one)
    if as_json:
        print_json(
            {"dataset": one.name, "version": one.version, **found, "hint": REMEDY if found["problems"] else None}
        )
    else:
        echo(f"{one.name}@{one.tag or one.version[:12]}: {found['objects']} objects, {found['bytes']:,} bytes")
        if found["problems"]:
            rows = [[row["object"][:12], row["problem"], row["file"]] for row in found["problems"]]
            print_table(("object", "problem", "file"), rows)
            echo(f"hint: {REMEDY}")
        else:
            echo("all of them are what their names say")
    if found["problems"]:
        raise typer.Exit(3)


def export(
    name: Annotated[str, typer.Argument(help="NAME, NAME@TAG or NAME@ID-PREFIX.", metavar="VERSION")],
    out: Annotated[Path, typer.Option(help="File or folder to write.")],
    format_name: Annotated[
        str,
        typer.Option(
            "--format",
            help="jsonl, sharegpt, alpaca, csv, parquet, arrow, hf, tfrecord, webdataset, mds, megatron, nanogpt.",
        ),
    ] = "jsonl",
    split: Annotated[str | None, typer.Option(help="Only this split.")] = None,
    columns: Annotated[list[str] | None, typer.Option("--column", help="Only this column; may be repeated.")] = None,
    escape_formulas: Annotated[
        bool, typer.Option("--escape-formulas", help="CSV: disarm cells that a spreadsheet would run.")
    ] = False,
    tokenizer: Annotated[
        str | None,
        typer.Option(help="megatron, nanogpt: the tokenizer.json, or a folder that has one.", metavar="PATH"),
    ] = None,
    shard_megabytes: Annotated[
        float | None,
        typer.Option(min=0.001, help="Cut splits into files of about so many MB, with numbers in their names."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Write a version in another format."""
    from curate.dataset.export import export as write
    from curate.dataset.find import find_store
    from curate.dataset.reader import open_dataset
    from curate.tokenize.binaries import TOKEN_FORMATS, check_token_options, export_tokens

    one = open_dataset(name, find_store(store))
    shard_bytes = None if shard_megabytes is None else int(shard_megabytes * 1_000_000)
    if tokenizer is not None or format_name in TOKEN_FORMATS:
        given = {
            "--column": (columns or [])[1:],
            "--shard-megabytes": shard_bytes,
            "--escape-formulas": escape_formulas,
        }
        check_token_options(format_name, tokenizer, [option for option in given if given[option]])
        column = (columns or ["text"])[0]
        done = export_tokens(one, format_name, out, tokenizer or "", split=split, column=column, overwrite=overwrite)
    else:
        done = write(
            one, format_name, out, split=split, columns=columns, escape_formulas=escape_formulas, overwrite=overwrite,
            shard_bytes=shard_bytes,
        )  # fmt: skip
    _tell(one, format_name, out, done, as_json)


def _tell(one: Dataset, format_name: str, out: Path, done: ExportResult, as_json: bool) -> None:
    """What was exported, and what was noted on the way."""
    from curate.commands.options import print_json

    if as_json:
        print_json({
            "dataset": one.name, "version": one.version, "format": format_name, "out": str(out),
            "files": [str(path) for path in done.files], "documents": done.documents, "bytes": done.bytes,
            "cards": [str(path) for path in done.cards], "notes": done.notes,
        })  # fmt: skip
        return
    echo(f"{done.documents:,} documents, {done.bytes:,} bytes in {len(done.files)} file(s): {out}")
    for note in done.notes:
        echo(f"note: {note}", err=True)


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    keep_days: Annotated[float, typer.Option(min=0, help="Keep versions and cached work younger than this.")] = 7.0,
    keep_last: Annotated[int, typer.Option(min=0, help="Keep so many of the newest versions of each dataset.")] = 5,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Remove old versions that no tag names, and what no version that stays needs."""
    from curate.commands.options import print_json
    from curate.dataset.care import collect_garbage
    from curate.dataset.find import find_store

    found = collect_garbage(find_store(store), keep_days=keep_days, keep_last=keep_last, dry_run=dry_run)
    if as_json:
        print_json(found)
        return
    verb = "would remove" if dry_run else "removed"
    echo(
        f"{verb} {found['versions']} version(s), {found['snapshots']} snapshot(s), {found['objects']} object(s) and "
        f"{found['receipts']} receipt(s), {found['bytes']:,} bytes"
    )


def upgrade(store: StoreOption = None, as_json: Json = False) -> None:
    """Bring a store that an older curate made to the format of today; every version, name and tag stays."""
    from curate.commands.options import print_json
    from curate.dataset.find import store_place
    from curate.dataset.upgrade import upgrade as bring

    found = bring(store_place(store, Path.cwd()))
    if as_json:
        print_json(found)
    elif found["from"] == found["to"]:
        echo(f"{found['store']} has format {found['to']} already")
    else:
        echo(
            f"{found['store']} has format {found['to']} now: {found['versions']} version(s) and {found['runs']} training "
            "run(s) brought along; `curate data gc` frees what the old format leaves"
        )
