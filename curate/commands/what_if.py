"""`curate what-if`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from curate.commands.options import Json, Overrides, StoreOption
from curate.terminal import echo, visible

__all__ = ["what_if"]


def what_if(
    pipeline: Annotated[Path, typer.Argument(help="Pipeline file.")],
    overrides: Overrides = None,
    examples: Annotated[int, typer.Option(min=0, help="Documents nearest to each threshold to name.")] = 3,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Tell what other thresholds would do to the newest version, from what is stored: nothing is read or measured.

    Thresholds are changed by `--set`, or in the file since it was run.
    """
    from curate.commands.options import print_json
    from curate.config.pipeline import load_pipeline
    from curate.dataset.find import find_store
    from curate.dataset.reader import open_dataset
    from curate.pipeline.run import default_store
    from curate.pipeline.what_if import what_if as told_from

    loaded = load_pipeline(pipeline, overrides or [])
    dataset = open_dataset(loaded.settings.dataset, find_store(default_store(loaded, store)))
    told = told_from(dataset, loaded, examples=examples)
    print_json(told) if as_json else _print(told)


def _print(told: dict[str, Any]) -> None:
    from curate.commands.tables import print_table

    unit = told["unit"]
    seen = f"`{told['sizes_of']}` saw them" if told["sizes_of"] else "they were read"
    echo(f"{told['dataset']}@{told['tag'] or told['version'][:12]}; sizes in {unit}, of documents as {seen}\n")
    changes = [
        [
            f"{one['stage']}.{one['setting']}",
            str(one["from"]),
            str(one["to"]),
            *_both(one["leave"]),
            *_both(one["stay"]),
        ]
        for one in told["changes"]
    ]
    print_table(("each change alone", "from", "to", "would leave", unit, "would stay", unit), changes)
    echo("")
    _print_rules(told["rules"], unit)
    echo("")
    stages = [
        [one["id"], *(one[key]["documents"] for key in ("in", "gone", "in_now", "gone_now", "never_seen"))]
        for one in told["stages"]
    ]
    print_table(("stage", "in", "leave", "in now", "leave now", "never seen by it"), stages)
    before, now, unknown = (told["documents"][key] for key in ("before", "now", "unknown"))
    more = f", and of {unknown['documents']:,} ({unknown['size']:,}) more it is not known: no later stage saw them so"
    echo(
        f"\nkept: {before['documents']:,} documents; now {now['documents']:,} "
        f"(as {seen}: {before['size']:,} {unit}; now {now['size']:,})" + (more if unknown["documents"] else "")
    )
    for one in told["examples"]:
        echo(visible(_example(one, told["changes"]), in_one_line=True))
    for note in told["notes"]:
        echo(f"note: {note}")


_WHEN = ("before", "now")
_NONE = {"documents": 0, "size": 0}


def _both(amount: dict[str, int]) -> tuple[int, int]:
    return amount["documents"], amount["size"]


def _number(amount: dict[str, int] | None) -> int | str:
    return "?" if amount is None else amount["documents"]


def _print_rules(rules: Sequence[dict[str, Any]], unit: str) -> None:
    """Whom the rules take; without the columns that nothing is known of, as of a stage that does not decide by rules."""
    from curate.commands.tables import print_table

    some = [one for one in rules if any((one[when]["alone"] or one[when]["first"])["documents"] for when in _WHEN)]
    hows = {"alone": "fail it", "only": "it only", "first": "leave by it"}
    known = [how for how in hows if any(one[when][how] is not None for one in some for when in _WHEN)]
    rows = [
        [
            f"{one['stage']}: {one['reason']}",
            *(_number(one[when][how]) for how in known for when in _WHEN),
            (one["now"]["first"] or _NONE)["size"],
        ]
        for one in some
    ]
    print_table(("rule", *(head for how in known for head in (hows[how], "now")), unit), rows)


def _example(one: dict[str, Any], changes: Sequence[dict[str, Any]]) -> str:
    """A document at a threshold; where its rule has none by itself, with the settings that changed."""
    bounds = [("-" if one[when] is None else f"{one[when]:g}") for when in _WHEN]
    value = "" if one["value"] is None or one["value"] != one["value"] else f" {one['value']:.4g}"
    told = f"{one['id']} would {one['would']}: {one['stage']} {one['reason']}{value}"
    between = f"{bounds[0]} -> {bounds[1]}"
    if bounds == ["-", "-"]:
        mine = [change for change in changes if change["stage"] == one["stage"]]
        between = ", ".join(f"{change['setting']} {change['from']} -> {change['to']}" for change in mine)
    return f"  {told} ({between}): {one['text']}"
