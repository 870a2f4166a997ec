"""`curate label agree | aggregate | review | report`: how far people agree, and what their answers are together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from curate.commands.label_options import MethodOption, TaskOption, VersionArgument, method_of, opened
from curate.commands.options import Json, StoreOption
from curate.terminal import echo

__all__ = ["aggregate", "agree", "report", "review"]

SHOWN = 10


def agree(
    version: VersionArgument = None,
    seed: Annotated[int, typer.Option(help="Of the intervals' bootstrap.")] = 0,
    task: TaskOption = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Tell how far people agree: kappas and alpha with intervals, each person on gold and with the others, the worst items."""
    from curate.commands.options import print_json
    from curate.commands.tables import print_table
    from curate.labeling.quality import agreement

    said, _, dataset = opened(task, version, store)
    told = agreement(dataset, said, seed=seed)
    if as_json:
        print_json(told)
        return
    echo(
        f"{said.name}: {told['answers']:,} answers about {told['items']:,} documents, {told['several']:,} by several people"
    )
    if not told["several"]:
        echo(
            "nobody has answered what somebody else has: `curate label next --annotators 2` draws documents for several"
        )
    for name, one in told["measures"].items():
        echo(f"  {name:22} {_interval(one)}")
    for one in told["pairs"]:
        echo(
            f"  {' and '.join(one['annotators'])}: Cohen's kappa {_interval(one['cohen_kappa'])}, {one['items']:,} documents"
        )
    if told["annotators"]:
        echo()
        rows = [(one["annotator"], one["answers"], _interval(one["with_others"]), _interval(one["on_gold"]))
                for one in told["annotators"]]  # fmt: skip
        print_table(("annotator", "answers", "like others", "right on gold"), rows)
    if told["gold"]:
        names = [str(name) for name in told["gold"]["labels"]]
        echo("\nanswers on gold; rows are what is right:")
        print_table(("", *names), [(name, *row) for name, row in zip(names, told["gold"]["answered_as"], strict=True)])
    if told["worst"]:
        echo("\nmost disputed:")
        for one in told["worst"][:SHOWN]:
            echo(f"  {one['id']}: {', '.join(f'{who} {label}' for who, label in one['answers'].items())}")
    if told["confused"]:
        pairs = [f"{' and '.join(map(str, one['labels']))} {one['pairs']:,}" for one in told["confused"][:SHOWN]]
        echo(f"\ntaken for each other: {'; '.join(pairs)}")


def _interval(one: dict[str, Any] | None) -> str:
    return "insufficient" if one is None else f"{one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f})"


def aggregate(
    version: VersionArgument = None,
    method: MethodOption = "majority",
    task: TaskOption = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Show what the answers are together, and which are tied; `commit --method` makes a version of it."""
    from collections import Counter

    from curate.commands.options import print_json
    from curate.commands.tables import print_table
    from curate.labeling.decide import labels
    from curate.labeling.log import value_of

    said, _, dataset = opened(task, version, store)
    found, ties = labels(dataset, said, method_of(method))
    shown = [
        {"id": one.id, "value": value_of(one), "source": one.source, "probability": one.probability,
         "annotators": one.annotators} for one in found
    ]  # fmt: skip
    if as_json:
        print_json({"task": said.name, "method": method, "labels": shown, "ties": [identity for identity, _ in ties]})
        return
    counts = Counter((str(one["value"]) if len(str(one["value"])) < 40 else "...", one["source"]) for one in shown)
    print_table(("label", "source", "documents"), [(*key, count) for key, count in sorted(counts.items())])
    if ties:
        names = ", ".join(identity for identity, _ in ties[:SHOWN])
        echo(f"{len(ties):,} tied: {names}{', ...' if len(ties) > SHOWN else ''}")
        echo("`curate label review --ties` asks about them once more")


def review(
    version: VersionArgument = None,
    documents: Annotated[int, typer.Option("-n", min=1, help="At most so many.")] = 50,
    ties: Annotated[bool, typer.Option("--ties", help="Only where several answers are tied.")] = False,
    seed: Annotated[int, typer.Option(help="Of the model's folds.")] = 0,
    task: TaskOption = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Draw what to ask about once more: tied answers, and labels that a model takes for wrong; the next answer decides."""
    from curate.commands.options import print_json
    from curate.labeling.strategy import review as draw

    said, path, dataset = opened(task, version, store)
    told = draw(dataset, said, path.parent, most=documents, ties=ties, seed=seed)
    if as_json:
        print_json(told)
        return
    echo(
        f"round {told['round']}: {told['documents']:,} documents, {told['ties']:,} tied, {told['suspects']:,} suspicious"
    )
    echo("`curate label annotate` or `push`; what is answered there decides")


def report(
    version: VersionArgument = None,
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("labeling.html"),
    task: TaskOption = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Write the page of a task: progress, people, agreement, learning curve, certificates."""
    from curate.commands.options import print_json
    from curate.dataset.runs import Thing, now
    from curate.files import file_hash
    from curate.labeling.log import note
    from curate.reports.labeling import build_labeling_report

    began, (said, path, dataset) = now(), opened(task, version, store)
    build_labeling_report(dataset, said, path.parent, out)
    page: Thing = {"kind": "file", "id": file_hash(out), "name": str(out.resolve())}
    note(dataset, said, began, {"task": said.name}, outputs=[page], kind="report")
    if as_json:
        print_json({"task": said.name, "file": str(out)})
    else:
        echo(str(out))
