"""`curate data list | show | log | diff | tag | sample`: looking at versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.commands.options import Json, StoreOption
from curate.terminal import echo, visible

if TYPE_CHECKING:
    from curate.dataset.reader import Dataset
    from curate.dataset.store import Store

__all__ = ["diff", "list_datasets", "log", "sample", "show", "tag"]

SHOWN, SHORT = 600, 200
"""Characters of a text that `sample` prints, and of a value that stands beside others."""
Name = Annotated[str, typer.Argument(help="NAME, NAME@TAG or NAME@ID-PREFIX.", metavar="VERSION")]


def list_datasets(store: StoreOption = None, as_json: Json = False) -> None:
    """List the datasets of the store with their newest versions; of one that is damaged, what is wrong with it."""
    from curate.commands.options import print_json
    from curate.commands.tables import print_table
    from curate.dataset import refs
    from curate.dataset.find import find_store

    opened = find_store(store)
    rows = [_listed(opened, name) for name in refs.datasets(opened)]
    if as_json:
        print_json({"store": opened.location, "datasets": rows})
        return
    keys = ["dataset", "tag", "version", "documents", "bytes", "versions"]
    if any(row["problem"] for row in rows):
        keys.append("problem")
    print_table(keys, [[(row[key] or "-")[:12] if key == "version" else row[key] for key in keys] for row in rows])


def _listed(store: Store, name: str) -> dict[str, Any]:
    from curate.dataset import refs
    from curate.dataset.reader import Dataset
    from curate.errors import CurateError

    row: dict[str, Any] = dict.fromkeys(("dataset", "version", "tag", "documents", "bytes", "versions", "problem"))
    row["dataset"] = name
    try:
        found = refs.resolve(store, name)
        row |= {"version": found.version, "tag": found.tag, "versions": len(set(refs.tags_of(store, name).values()))}
        one = Dataset(store, found)
        row |= {"documents": len(one), "bytes": one.manifest["bytes"]}
    except CurateError as error:
        row["problem"] = error.problem
    return row


def show(
    name: Name,
    quarantined: Annotated[
        bool, typer.Option("--quarantined", help="List every quarantined document and why instead (with --json: also).")
    ] = False,
    dropped: Annotated[bool, typer.Option("--dropped", help="List every dropped document and why instead.")] = False,
    stage: Annotated[str | None, typer.Option(help="List only what this stage removed.")] = None,
    reason: Annotated[str | None, typer.Option(help="List only what was removed for this reason.")] = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Show a version: documents, bytes, columns, splits, what every stage did, lineage."""
    from curate.commands.options import print_json
    from curate.commands.tables import print_table
    from curate.dataset.find import find_store
    from curate.dataset.ledger import removed_documents
    from curate.dataset.reader import open_dataset

    one = open_dataset(name, find_store(store))
    verdicts = [name for name, asked in (("dropped", dropped), ("quarantined", quarantined)) if asked]
    if (stage or reason) and not verdicts:
        verdicts = ["dropped", "quarantined", "expanded"]
    _check_asked(one, stage, reason)
    listed = removed_documents(one.store, one.ledger(), verdicts, stage=stage, reason=reason) if verdicts else ()
    if as_json:
        removed: dict[str, list[Any]] = {name: [] for name in verdicts}
        for row in listed:
            removed[row["verdict"]].append(row)
        print_json({**_facts(one), **removed})
    elif verdicts:
        keys = ("id", "stage", "source_uri", "reason", "value", "limit", "duplicate_of", "detail")
        rows = [[row[key] for key in keys] for row in map(_in_words, listed)]
        shown = [n for n, key in enumerate(keys) if key in keys[:4] or any(row[n] is not None for row in rows)]
        print_table([keys[n] for n in shown], [["" if row[n] is None else row[n] for n in shown] for row in rows])
    else:
        _print_version(one)


def _check_asked(one: Dataset, stage: str | None, reason: str | None) -> None:
    """Raise a CurateError where no stage of the version has that id, or none gave that reason."""
    from curate.errors import CurateError, did_you_mean

    stages = one.manifest["stages"]
    reasons = {
        name for row in stages for verdict, counted in row["reasons"].items() for name in counted if verdict != "edited"
    }
    for asked, known, what in ((stage, {row["id"] for row in stages}, "stage"), (reason, reasons, "reason")):
        if asked and asked not in known:
            there = f"there are: {', '.join(sorted(known)) or 'none'}"
            raise CurateError(f"`{one.name}` has no {what} `{asked}`", hint=did_you_mean(asked, known) or there)


def _in_words(row: dict[str, Any]) -> dict[str, Any]:
    """A removed document with its value in digits enough to tell it from the limit, and the limit in words."""
    from curate.stages.decide import limit_words

    value, threshold = row["value"], row["threshold"]
    limit = None if threshold is None else limit_words(value, threshold)
    return {**row, "value": None if value is None else f"{value:g}", "limit": limit}


def _facts(one: Dataset) -> dict[str, Any]:
    """What `data show --json` tells of a version."""
    from curate.pipeline.remarks import asked_splits, mix_cells, remarks

    manifest = one.manifest
    stages = []
    for stage in manifest["stages"]:
        cells = mix_cells(one, stage)
        told = {key: value for key, value in stage.items() if key != "settings"}
        stages.append({**told, "mix": cells} if cells else told)
    return {
        "dataset": one.name, "version": one.version, "tag": one.tag, "documents": manifest["documents"],
        "bytes": manifest["bytes"], "text_bytes": manifest["text_bytes"], "columns": manifest["columns"],
        "splits": {
            split: manifest["splits"].get(split, {"documents": 0, "text_bytes": 0})
            for split in dict.fromkeys((*one.splits, *asked_splits(one)))
            if split in manifest["splits"] or split in asked_splits(one)
        },
        "stages": stages, "lineage": {**manifest["lineage"], "inputs": one.inputs()}, "provisional": manifest["provisional"],
        "notes": remarks(one),
    }  # fmt: skip


def _print_version(one: Dataset) -> None:
    from curate.commands.tables import balance, print_table
    from curate.pipeline.remarks import asked_splits, mix_cells, remarks

    manifest = one.manifest
    echo(f"{one.name}@{one.tag or one.version[:12]}  {one.version}")
    echo(f"{balance(manifest['documents'])}; {manifest['text_bytes']:,} bytes of text, {manifest['bytes']:,} on disk\n")
    sizes = {split: found["text_bytes"] for split, found in manifest["splits"].items()}
    there = {**one.splits, **{split: 0 for split in asked_splits(one) if split not in one.splits}}
    rows = [[split, count, sizes.get(split, 0)] for split, count in there.items()]
    print_table(("split", "documents", "text bytes"), rows)
    echo("")
    print_table(("column", "type"), [[column["name"], column["type"]] for column in manifest["columns"]])
    echo("")
    keys = ("id", "in", "kept", "dropped", "edited", "quarantined")
    print_table(("stage", *keys[1:]), [[stage[key] for key in keys] for stage in manifest["stages"]])
    for stage in manifest["stages"]:
        _print_mix(stage, mix_cells(one, stage))
        _print_tables(one.store, stage)
    for remark in remarks(one):
        echo(visible(f"note: {remark}", in_one_line=True))
    echo("")
    inputs = one.inputs()
    print_table(("input", "content", "bytes"), [[one["name"], one["content"], one["bytes"]] for one in inputs[:20]])
    if len(inputs) > 20:
        echo(f"... and {len(inputs) - 20:,} more inputs (--json lists all)")


def _print_tables(store: Store, stage: dict[str, Any]) -> None:
    """What the stages of a table have learned, and which cells they changed; how a selection came out."""
    from curate.commands.tables import print_table
    from curate.dataset.artifacts import shown

    for table in shown(store, stage) if stage["stage"].startswith(("table_", "select")) else ():
        echo(f"\n{stage['id']}: {table.name}")
        print_table(table.columns, [["-" if one is None else _digits(one) for one in row] for row in table.rows[:30]])
        if len(table.rows) > 30:
            echo(f"... and {len(table.rows) - 30:,} more rows (`Dataset.artifact` in Python has all)")


def _digits(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (
        (f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}")
        if isinstance(value, float)
        else visible(value, in_one_line=True)
        if isinstance(value, str)
        else value
    )


def _print_mix(stage: dict[str, Any], cells: list[dict[str, Any]]) -> None:
    from curate.commands.tables import print_table

    if not cells:
        return
    unit = stage["settings"]["size"]
    echo(f"\n{stage['id']}, in {unit}")
    header = ("cell", "documents", "kept", unit, "asked", "given", "times", "seen", "unique", "worth once")
    rows = [
        [
            *(cell[key] for key in ("cell", "documents", "kept", "size")),
            *(f"{cell[key]:.3f}" for key in ("share", "seen_share", "rate")),
            *(round(cell[key]) for key in ("seen", "unique", "effective")),
        ]
        for cell in cells[:30]
    ]
    print_table(header, rows)
    if len(cells) > 30:
        echo(f"... and {len(cells) - 30:,} more cells (--json lists all)")


def log(
    dataset: Annotated[str, typer.Argument(help="Name of the dataset.")],
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Show the history of a dataset, newest first, and what made its versions or was made of them."""
    from curate.commands.options import print_json
    from curate.commands.tables import print_table
    from curate.dataset import refs
    from curate.dataset.find import find_store
    from curate.dataset.runs import records

    opened = find_store(store)
    entries = refs.log(opened, dataset)
    versions = {entry["version"] for entry in entries} | {one for entry in entries for one in entry.get("succeeds", ())}
    runs = [one for one in reversed(records(opened)) if versions & {thing.get("id") for thing in _things(one)}]
    if as_json:
        print_json({"dataset": dataset, "log": entries, "runs": runs})
        return
    print_table(
        ("time", "action", "tag", "version"),
        [[entry["time"], entry["action"], entry["tag"] or "", entry["version"][:12]] for entry in entries],
    )
    if runs:
        echo("")
        names = [", ".join(thing["name"] for thing in _things(one) if thing.get("id") in versions) for one in runs]
        rows = [
            [one["began"], one["kind"], one["state"], name, one["facts"].get("folder") or one["inputs"][0]["name"]]
            for one, name in zip(runs, names, strict=True)
        ]
        print_table(("began", "run", "state", "version", "file or folder"), rows)


def _things(run: dict[str, Any]) -> list[dict[str, str]]:
    return [*run["inputs"], *run["outputs"]]


def diff(
    left: Annotated[str, typer.Argument(help="The version before.", metavar="A")],
    right: Annotated[str, typer.Argument(help="The version after.", metavar="B")],
    every: Annotated[bool, typer.Option("--all", help="Name every document that differs, not just some.")] = False,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Compare two versions: documents added, removed, changed (in any column but `source_uri`), and in which columns."""
    from curate.commands.options import print_json
    from curate.commands.tables import print_table
    from curate.dataset.diff import diff as compare
    from curate.dataset.find import find_store
    from curate.dataset.reader import open_dataset

    opened = find_store(store)
    sides = open_dataset(left, opened), open_dataset(right, opened)
    found = compare(*sides, examples=None) if every else compare(*sides)
    if as_json:
        print_json(found)
        return
    examples = found["examples"] | {"changed": [f"{name} ({', '.join(on)})" for name, on in found["changes"].items()]}
    rows = [[name, found[name], ", ".join(examples[name][:3])] for name in ("added", "removed", "changed")]
    print_table(("documents", "number", "for example"), [*rows, ["unchanged", found["unchanged"], ""]])
    for side, of in (("removed", "to"), ("added", "from")):
        if found["reasons"][side]:
            echo(f"\nwhy {side} documents are not in {found[of][:12]}")
            keys = ("stage", "verdict", "reason", "documents")
            print_table(keys, [[row[key] or "-" for key in keys] for row in found["reasons"][side]])
    if found["settings"]:
        echo("\nwhat differs in the pipelines")
        keys = ("stage", "setting", "before", "after")
        print_table(keys, [[row[key] for key in keys] for row in found["settings"]])
    before, after = found["text_bytes"]
    echo(f"\nbytes of text: {before:,} -> {after:,}")
    for name, documents in examples.items() if every else ():
        for document in documents:
            echo(visible(f"{name} {document}", in_one_line=True))
    for change, names in found["columns"].items():
        if names:
            told = [f"{name} {count:,}" for name, count in names.items()] if change == "changed" else names
            echo(f"columns {change}: {', '.join(told)}")


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
    from curate.dataset.find import find_store

    opened = find_store(store)
    reference = refs.resolve(opened, name)
    if delete:
        refs.remove_tag(opened, reference.dataset, tag_name)
    else:
        refs.set_tag(opened, reference, tag_name)
    if as_json:
        print_json({"dataset": reference.dataset, "version": reference.version, "tag": tag_name, "deleted": delete})
    else:
        echo(f"{reference.dataset}@{tag_name} " + ("removed" if delete else f"= {reference.version[:12]}"))


def sample(
    name: Name,
    number: Annotated[int, typer.Option("-n", min=1, help="How many documents.")] = 5,
    split: Annotated[str | None, typer.Option(help="Only this split.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed, other documents.")] = 1,
    full: Annotated[bool, typer.Option("--full", help="Print whole texts, not just their beginnings.")] = False,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Print some documents of a version, drawn by a seed: the same every time."""
    import json
    import random

    from curate.commands.options import print_json
    from curate.dataset.export.values import is_json
    from curate.dataset.find import find_store
    from curate.dataset.reader import open_dataset
    from curate.plain import python_rows

    one = open_dataset(name, find_store(store))
    one.check_split(split)
    count = len(one) if split is None else one.splits[split]
    wanted = random.Random(seed).sample(range(count), min(number, count))  # noqa: S311
    taken = one.take(wanted, split)
    rows, whole = python_rows(taken), [field.name for field in one.schema if is_json(field)]
    for row in rows:
        row |= {name: json.loads(row[name]) for name in whole if row[name] is not None}
    if as_json:
        print_json({"dataset": one.name, "version": one.version, "documents": rows})
        return
    for row in rows:
        _print_document(row, full)


def _print_document(row: dict[str, Any], full: bool) -> None:
    """A document's short values beside each other, and below them its text, its conversations and what else is long."""
    import json

    from curate.commands.tables import print_facts

    there = {name: value for name, value in row.items() if value is not None}
    below = {
        name: value
        for name, value in there.items()
        if name == "text" or not isinstance(value, int | float | str) or len(str(value)) > SHORT
    }
    if "text" not in row:
        below |= {
            name: there[name] for name in there if name not in ("id", "source_uri") and isinstance(there[name], str)
        }
    print_facts({name: value for name, value in there.items() if name not in below})
    for name, value in below.items():
        text = value if isinstance(value, str) else _turns(value) or json.dumps(value, ensure_ascii=False, default=str)
        shown = (
            text if full or len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text):,} characters; --full prints all)"
        )
        between = "\n" if "\n" in shown else " "
        echo(shown if name == "text" else f"{name}:{between}{shown}")
    echo("")


def _turns(value: Any) -> str | None:
    """A conversation as lines of `role: content`; None where it is none."""
    import json

    if not (isinstance(value, list) and value and all(isinstance(one, dict) and "role" in one for one in value)):
        return None
    lines = []
    for turn in value:
        rest = {name: one for name, one in turn.items() if name not in ("role", "content") and one is not None}
        content = turn.get("content")
        words = (
            content if isinstance(content, str) else "" if content is None else json.dumps(content, ensure_ascii=False)
        )
        more = f" {json.dumps(rest, ensure_ascii=False, default=str)}" if rest else ""
        lines.append(f"  {turn['role']}: {words}{more}")
    return "\n".join(lines)
