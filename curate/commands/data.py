"""`curate data list | show | log | diff | tag | sample`: looking at versions."""

from __future__ import annotations

from typing import Annotated

import typer

from curate.commands.options import Json, StoreOption

__all__ = ["diff", "list_datasets", "log", "sample", "show", "tag"]

Name = Annotated[str, typer.Argument(help="NAME, NAME@TAG or NAME@ID-PREFIX.", metavar="VERSION")]


def list_datasets(store: StoreOption = None, as_json: Json = False) -> None:
    """List the datasets of the store with their newest versions."""
    from curate.commands.options import print_json
    from curate.commands.tables import print_table
    from curate.dataset import refs
    from curate.dataset.reader import Dataset
    from curate.dataset.store import find_store

    opened = find_store(store)
    found = [Dataset(opened, refs.resolve(opened, name)) for name in refs.datasets(opened)]
    rows = [
        {"dataset": one.name, "version": one.version, "tag": one.tag, "documents": len(one), "bytes": one.manifest["bytes"],
         "versions": len(set(refs.tags_of(opened, one.name).values()))}
        for one in found
    ]  # fmt: skip
    if as_json:
        print_json({"store": str(opened.root), "datasets": rows})
        return
    keys = ("dataset", "tag", "version", "documents", "bytes", "versions")
    print_table(keys, [[row[key][:12] if key == "version" else row[key] for key in keys] for row in rows])


def show(name: Name, store: StoreOption = None, as_json: Json = False) -> None:
    """Show a version: documents, bytes, columns, splits, what every stage did, lineage."""
    from curate.commands.options import print_json
    from curate.commands.tables import print_table
    from curate.dataset.reader import open_dataset
    from curate.dataset.store import find_store

    one = open_dataset(name, find_store(store))
    manifest, splits = one.manifest, {split: one.manifest["splits"][split] for split in one.splits}
    if as_json:
        stages = [{key: value for key, value in stage.items() if key != "settings"} for stage in manifest["stages"]]
        print_json({
            "dataset": one.name, "version": one.version, "tag": one.tag, "documents": manifest["documents"],
            "bytes": manifest["bytes"], "text_bytes": manifest["text_bytes"], "columns": manifest["columns"],
            "splits": splits, "stages": stages, "lineage": manifest["lineage"],
        })  # fmt: skip
        return
    typer.echo(f"{one.name}@{one.tag or one.version[:12]}  {one.version}")
    counts = manifest["documents"]
    typer.echo(
        f"{counts['in']:,} documents in = {counts['kept']:,} kept + {counts['dropped']:,} dropped"
        f" + {counts['quarantined']:,} quarantined; {manifest['text_bytes']:,} bytes of text,"
        f" {manifest['bytes']:,} on disk\n"
    )
    rows = [[split, count, splits[split]["text_bytes"]] for split, count in one.splits.items()]
    print_table(("split", "documents", "text bytes"), rows)
    typer.echo("")
    print_table(("column", "type"), [[column["name"], column["type"]] for column in manifest["columns"]])
    typer.echo("")
    keys = ("id", "in", "kept", "dropped", "edited", "quarantined")
    print_table(("stage", *keys[1:]), [[stage[key] for key in keys] for stage in manifest["stages"]])
    typer.echo("")
    inputs = manifest["lineage"]["inputs"]
    print_table(("input", "content", "bytes"), [[one["name"], one["content"], one["bytes"]] for one in inputs[:20]])
    if len(inputs) > 20:
        typer.echo(f"... and {len(inputs) - 20:,} more inputs (--json lists all)")


def log(
    dataset: Annotated[str, typer.Argument(help="Name of the dataset.")],
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Show the history of a dataset, newest first."""
    from curate.commands.options import print_json
    from curate.commands.tables import print_table
    from curate.dataset import refs
    from curate.dataset.store import find_store

    entries = refs.log(find_store(store), dataset)
    if as_json:
        print_json({"dataset": dataset, "log": entries})
        return
    print_table(
        ("time", "action", "tag", "version"),
        [[entry["time"], entry["action"], entry["tag"], entry["version"][:12]] for entry in entries],
    )


def diff(
    left: Annotated[str, typer.Argument(help="The version before.", metavar="A")],
    right: Annotated[str, typer.Argument(help="The version after.", metavar="B")],
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Compare two versions: documents added, removed, changed."""
    from curate.commands.options import print_json
    from curate.commands.tables import print_table
    from curate.dataset.diff import diff as compare
    from curate.dataset.reader import open_dataset
    from curate.dataset.store import find_store

    opened = find_store(store)
    found = compare(open_dataset(left, opened), open_dataset(right, opened))
    if as_json:
        print_json(found)
        return
    rows = [[name, found[name], ", ".join(found["examples"][name][:3])] for name in ("added", "removed", "changed")]
    print_table(("documents", "number", "for example"), [*rows, ["unchanged", found["unchanged"], ""]])
    for change, names in found["columns"].items():
        if names:
            typer.echo(f"columns {change}: {', '.join(names)}")


def tag(
    name: Name,
    tag_name: Annotated[str, typer.Argument(help="The tag.", metavar="TAG")],
    delete: Annotated[bool, typer.Option("--delete", help="Take the tag away instead.")] = False,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Give a version one more name, or take one away."""
    from curate.commands.options import print_json
    from curate.dataset import refs
    from curate.dataset.store import find_store

    opened = find_store(store)
    reference = refs.resolve(opened, name)
    if delete:
        refs.remove_tag(opened, reference.dataset, tag_name)
    else:
        refs.set_tag(opened, reference, tag_name)
    if as_json:
        print_json({"dataset": reference.dataset, "version": reference.version, "tag": tag_name, "deleted": delete})
    else:
        typer.echo(f"{reference.dataset}@{tag_name} " + ("removed" if delete else f"= {reference.version[:12]}"))


def sample(
    name: Name,
    number: Annotated[int, typer.Option("-n", min=1, help="How many documents.")] = 5,
    split: Annotated[str | None, typer.Option(help="Only this split.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed, other documents.")] = 1,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Print some documents of a version, drawn by a seed: the same every time."""
    import random

    from curate.commands.options import print_json
    from curate.dataset.reader import open_dataset
    from curate.dataset.store import find_store

    one = open_dataset(name, find_store(store))
    one.files(split)
    count = len(one) if split is None else one.splits[split]
    wanted = random.Random(seed).sample(range(count), min(number, count))  # noqa: S311
    rows = one.take(wanted, split).to_pylist()
    if as_json:
        print_json({"dataset": one.name, "version": one.version, "documents": rows})
        return
    for row in rows:
        text = row.pop("text")
        shown = text if len(text) <= 600 else f"{text[:600]}... ({len(text):,} characters)"
        facts = "  ".join(f"{key}={value}" for key, value in row.items() if value is not None)
        typer.echo(f"--- {facts}\n{shown}\n")
