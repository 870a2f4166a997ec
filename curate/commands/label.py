"""`curate label init | next | annotate | status`: a task, its rounds, and labeling in the terminal."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.commands.label_options import (
    AnnotatorsOption,
    ByOption,
    DrawSeed,
    GoldOption,
    MethodOption,
    OverlapOption,
    StrategyOption,
    TaskOption,
    VersionArgument,
    method_of,
    opened,
)
from curate.commands.options import Json, StoreOption
from curate.terminal import echo

if TYPE_CHECKING:
    from curate.labeling.ask import Given, Question
    from curate.labeling.log import Answer

__all__ = ["annotate", "commit", "init", "next_round", "status"]


def init(
    name: Annotated[str, typer.Argument(help="What the task is called.")],
    dataset: Annotated[str, typer.Option(help="The dataset that is labelled.", metavar="NAME")],
    kind: Annotated[
        str,
        typer.Option(help="classification, multilabel, spans, preference, answer, rating or rewrite."),
    ] = "classification",
    label: Annotated[
        list[str] | None, typer.Option(help="A label; repeat it, or give several with commas.", metavar="LABEL")
    ] = None,
    text: Annotated[str | None, typer.Option(help="Column that is labelled.", metavar="COLUMN")] = None,
    prompt: Annotated[str | None, typer.Option(help="Column with the question.", metavar="COLUMN")] = None,
    folder: Annotated[Path, typer.Option(help="Where the task's folder is made.")] = Path("labeling"),
    as_json: Json = False,
) -> None:
    """Make a labeling task: a task.yaml to complete, with instructions for the people who label."""
    from curate.commands.options import print_json
    from curate.labeling.task import new_task, notes_on

    labels = [one.strip() for given in label or () for one in given.split(",") if one.strip()]
    made = new_task(folder / name, name=name, dataset=dataset, kind=kind, labels=labels, text=text, prompt=prompt)
    for note in notes_on(made):
        echo(f"note: {note}", err=True)
    if as_json:
        print_json({"task": name, "file": str(made)})
        return
    echo(f"wrote {made}")
    echo("write the instructions there; then `curate label next -n 50`, and `curate label annotate`")


def next_round(
    version: VersionArgument = None,
    documents: Annotated[int, typer.Option("-n", min=1, help="How many documents.")] = 50,
    strategy: StrategyOption = None,
    by: ByOption = None,
    annotators: AnnotatorsOption = 1,
    overlap: OverlapOption = None,
    gold: GoldOption = None,
    seed: DrawSeed = 0,
    blind: Annotated[bool, typer.Option("--blind", help="Nobody sees a suggestion.")] = False,
    task: TaskOption = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Draw the documents that are labelled next; those of earlier rounds are left out."""
    from curate.commands.options import print_json
    from curate.labeling.strategy import Request, request_round

    said, path, dataset = opened(task, version, store)
    request = Request(documents, strategy, by, annotators, overlap, gold, seed, blind)
    drawn = request_round(dataset, said, path.parent, request, new=True)
    several, known = (sum(one.annotators > 1 for one in drawn.items), sum(one.role == "gold" for one in drawn.items))
    told = {"task": said.name, "round": drawn.number, "version": dataset.version, "documents": len(drawn.items),
            "gold": known, "overlap": several, "pool": drawn.pool}  # fmt: skip
    if as_json:
        print_json(told)
        return
    echo(f"round {drawn.number}: {len(drawn.items):,} of {drawn.pool:,} documents"
         f"{f', {several:,} of them for {annotators} people' if several else ''}"
         f"{f', {known:,} with a known answer among them' if known else ''}")  # fmt: skip
    echo("`curate label annotate` labels them here, `curate label push` in Label Studio")


def annotate(
    version: VersionArgument = None,
    name: Annotated[
        str | None, typer.Option("--as", help="Who labels; by default the name of this account.", metavar="NAME")
    ] = None,
    task: TaskOption = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Label in the terminal: a key for each answer, `-` skips, `<` goes back, `.` ends; each answer is kept at once."""
    import getpass

    from curate.commands.options import print_json
    from curate.commands.tables import reading_width
    from curate.labeling.ask import ask, terminal_reader
    from curate.labeling.progress import open_questions
    from curate.labeling.session import Session, collect

    said, path, dataset = opened(task, version, store)
    who = name or getpass.getuser()
    questions = open_questions(dataset, said, who)

    skipped: list[Given] = []
    with Session(path.parent, dataset.store, said, who) as session:

        def keep(given: Given) -> None:
            skipped.extend([given] if given.skipped else [])
            session.add(_answer(given, who))

        missing = {(one.id, one.hash): one.missing for one in questions}

        def free(one: Question) -> bool:
            if session.others_ended():
                missing.clear()
                missing.update({(one.id, one.hash): one.missing for one in open_questions(dataset, said, who)})
            return session.claim((one.id, one.hash), missing.get((one.id, one.hash), 0))

        read, width = terminal_reader(said), reading_width()
        given = ask(said, questions, read, lambda text: echo(text, err=True), keep, width=width, free=free)
    collect(dataset.store, said, path.parent)
    passed = min(len(skipped), given)
    told = {"task": said.name, "annotator": who, "asked": len(questions), "answered": given - passed, "skipped": passed}
    if as_json:
        print_json(told)
    else:
        aside = f", {passed:,} skipped (others may answer them)" if passed else ""
        echo(f"{given - passed:,} answered{aside}, {len(open_questions(dataset, said, who)):,} left for {who}")


def _answer(given: Given, who: str) -> Answer:
    from curate.labeling.log import Answer, text_of

    one = given.question
    value = None if given.skipped else text_of(given.value)
    suggested = None if one.suggested is None else text_of(one.suggested)
    changed = "manual" if value is None or suggested is None else "prediction-changed"
    origin = "prediction" if value is not None and value == suggested else changed
    return Answer(one.id, one.hash, value, who, origin, suggested, one.model, given.seconds, datetime.now(UTC), "")


def status(
    version: VersionArgument = None, task: TaskOption = None, store: StoreOption = None, as_json: Json = False
) -> None:
    """Show what was asked for and what was answered, by round and by person."""
    from curate.commands.options import print_json
    from curate.commands.tables import print_table
    from curate.labeling.progress import progress

    said, _, dataset = opened(task, version, store)
    told: dict[str, Any] = progress(dataset, said)
    if as_json:
        print_json(told)
        return
    echo(f"{said.name}: {told['done']:,} of {told['items']:,} documents have all their answers, {told['left']:,} are left"
         f"{_aside(told)}")  # fmt: skip
    if told["rounds"]:
        names = ("round", "strategy", "role", "documents", "answered")
        print_table(names, [[one[name] for name in names] for one in told["rounds"]])
    if told["annotators"]:
        echo()
        print_table(
            ("annotator", "answers", "skipped", "median s", "took suggestion", "changed it", "gold right", "of"),
            [(one["annotator"], one["answers"], one["skipped"], one["median_seconds"], one["accepted"], one["changed"],
              one["gold_right"], one["gold"]) for one in told["annotators"]],
        )  # fmt: skip


def _aside(told: dict[str, Any]) -> str:
    words = [(told["changed"], "show something else now"), (told["absent"], "are not in this version"),
             (told["outdated"], "answers are none to the task as it is now")]  # fmt: skip
    return "".join(f"; {count:,} {what}" for count, what in words if count)


def commit(
    version: VersionArgument = None,
    method: MethodOption = "majority",
    name: Annotated[
        str | None,
        typer.Option("--as", help="Dataset that gets the version; by default the one labelled.", metavar="NAME"),
    ] = None,
    only: Annotated[
        bool, typer.Option("--only", help="Leave out documents without a label, to train on the rest.")
    ] = False,
    task: TaskOption = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Make a version with the labels as columns; texts are not written again."""
    from curate.commands.options import print_json
    from curate.dataset.refs import commit as make_head
    from curate.dataset.runs import Thing, now
    from curate.labeling.commit import unlabelled, with_labels
    from curate.labeling.log import note

    began, (said, _, dataset) = now(), opened(task, version, store)
    dataset = unlabelled(dataset, said)
    done = with_labels(dataset, said, method_of(method), only=only)
    new = done.annotated.version
    tag = make_head(dataset.store, name or dataset.name, new)
    facts = {"task": said.name, "labels": done.annotated.documents, "sources": done.sources, "ties": done.ties,
             "changed": done.annotated.changed, "absent": done.annotated.absent}  # fmt: skip
    after: Thing = {"kind": "version", "id": new, "name": f"{name or dataset.name}@{tag}"}
    note(dataset, said, began, facts, outputs=[after])
    if as_json:
        print_json({"dataset": name or dataset.name, "version": new, "tag": tag, **facts})
        return
    echo(f"version: {name or dataset.name}@{tag} ({new[:12]})")
    sources = ", ".join(f"{count:,} {source}" for source, count in done.sources.items())
    echo(f"{done.annotated.documents:,} of {len(dataset):,} documents have `{said.column}`: {sources}")
    for count, what in ((done.ties, "are tied and have none"), (done.annotated.changed, "have labels for another text"),
                        (done.annotated.absent, "labelled documents are not in this version")):  # fmt: skip
        if count:
            echo(f"note: {count:,} {what}", err=True)
