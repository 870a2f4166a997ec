"""`curate why`."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.commands.options import Json, StoreOption
from curate.terminal import echo, visible

if TYPE_CHECKING:
    from curate.dataset.store import Store

__all__ = ["why"]


def why(
    document: Annotated[
        str, typer.Argument(help="Id of the document, the beginning of one, or its source_uri.", metavar="DOCUMENT")
    ],
    version: Annotated[
        str | None, typer.Option(help="NAME, NAME@TAG or NAME@ID-PREFIX; by default the only dataset that has it.")
    ] = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Tell what became of a document: stage, reason, value against threshold, what it duplicates, every edit."""
    from curate.commands.options import print_json
    from curate.dataset.annotations import said_of
    from curate.dataset.find import find_store
    from curate.dataset.reader import open_dataset
    from curate.dataset.why import why as explain

    opened = find_store(store)
    dataset = open_dataset(version or _dataset_of(opened, document), opened)
    told = explain(dataset, document)
    told["labels"] = said_of(dataset, told["id"])
    if as_json:
        print_json(told)
        return
    _print_story(told)
    for said in told["labels"]:
        echo(visible(f"  {_said(said)}", in_one_line=True))


def _print_story(told: dict[str, Any], before: str = "") -> None:
    """A document's story, and then its parent's."""
    source = f" ({told['source']})" if told["source"] else ""
    echo(visible(f"{before}{told['id']}{source}: {told['verdict']}", in_one_line=True))
    for event in told["history"]:
        echo(visible(_line(event), in_one_line=True))
        for span in event.get("spans", []):
            rule = f" ({span['rule']})" if span.get("rule") else ""
            echo(visible(f"    {span['type']} at {span['start']}-{span['end']}{rule}", in_one_line=True))
    for one in told["measured"]:
        if "passed_by" in one:
            asked = ", ".join(f"{name} {value}" for name, value in one["passed_by"].items())
            echo(visible(f"  {one['stage']} did not look at it (where: {asked})", in_one_line=True))
            continue
        numbers = ", ".join(f"{name} {_number(value)}" for name, value in one["features"].items())
        limits = ", ".join(f"{name} {value:g}" for name, value in one["settings"].items())
        echo(visible(f"  {one['stage']} measured: {numbers}" + (f" ({limits})" if limits else ""), in_one_line=True))
    echo(visible(f"  => {_end(told)}", in_one_line=True))
    if told["parent"]:
        _print_story(told["parent"], "made of ")
    if told.get("origin"):
        origin = told["origin"]
        _print_story(origin, f"read from {origin['dataset']}@{origin['version'][:12]}, there ")


def _said(said: dict[str, Any]) -> str:
    """An annotation in one line: its log, then what it has."""
    facts = [
        f"{name} {value}" for name, value in said.items() if value is not None and name not in ("project", "id", "hash")
    ]
    return f"{said['project']}: {', '.join(facts)}"


def _number(value: float | str | None) -> str:
    return "-" if value is None else value if isinstance(value, str) else f"{value:.4g}"


def _end(told: dict[str, Any]) -> str:
    children = told.get("children")
    if children:
        more = ", ..." if children["documents"] > len(children["ids"]) else ""
        return f"expanded into {children['documents']:,} documents: {', '.join(children['ids'])}{more}"
    if told["verdict"] != "kept":
        return told["verdict"]
    return "in the version" + (f", in the split `{told['split']}`" if told["split"] else "")


def _line(event: dict[str, Any]) -> str:
    from curate.stages.decide import limit_words

    stage = "" if event["stage"] == event["event"] else f"{event['stage']}: "
    words = f"  {stage}{event['event']}" + (f" of `{event['parent']}`" if "parent" in event else "")
    if event.get("reason", event["event"]) != event["event"]:
        words += f" {event['reason']}"
    if "value" in event:
        words += f", {event['value']:g}"
    if "threshold" in event:
        words += f" ({limit_words(event.get('value'), event['threshold'])})"
    if "path" in event:
        words += f" in `{event['path']}`"
    if "after" in event:
        words += f": {_shown(event['before'])}"
        words += f" -> {_shown(event['after'])}" if event["after"] != event["before"] else ""
    if "duplicate_of" in event:
        words += f", like `{event['duplicate_of']}`"
    if event.get("characters") is not None:
        words += f", {event['characters']:,} characters"
    if "characters_after" in event:
        before = "" if event["characters_before"] is None else f"{event['characters_before']:,} -> "
        words += f", {before}{event['characters_after']:,} characters"
    return words + (f" [{event['detail']}]" if "detail" in event else "")


def _shown(value: Any) -> str:
    """What stands in a cell."""
    return "(empty)" if value is None else f"{value:g}" if isinstance(value, float) else f"`{value}`"


def _dataset_of(store: Store, document: str) -> str:
    """The only dataset, or the only one that has the document, by its id or place; those that passed no gate have none."""
    from curate.dataset.erased import Erased, dataset_of
    from curate.dataset.reader import open_dataset
    from curate.dataset.refs import datasets
    from curate.dataset.why import has
    from curate.errors import CurateError

    names = datasets(store)
    if not names:
        raise CurateError("the store is empty", store.location, "`curate run` makes a version")
    having = names
    if len(names) > 1:
        having = []
        for name in names:
            with suppress(CurateError):  # no version of it has passed its gates
                having += [name] if has(open_dataset(name, store), document) else []
    erased = None if having else Erased.of(store)
    if erased:
        having = [name for name in names if erased.gone(document, dataset_of(name))]
        having = having[:1] if len({dataset_of(name) for name in having}) == 1 else having  # of a sample the whole
    if len(having) == 1:
        return having[0]
    problem = f"`{document}` is in several datasets" if having else f"no dataset has `{document}`"
    raise CurateError(f"{problem}; which version?", store.location, f"--version {' | '.join(having or names)}")
