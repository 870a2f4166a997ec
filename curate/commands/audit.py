"""`curate audit bias`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.commands.options import Json, StoreOption
from curate.terminal import echo

if TYPE_CHECKING:
    from curate.audit.bias.audit import Audited

__all__ = ["bias"]

MOST_PRINTED = 40


def bias(
    name: Annotated[str, typer.Argument(help="NAME, NAME@TAG or NAME@ID-PREFIX.", metavar="VERSION")],
    lexicon: Annotated[
        list[Path] | None,
        typer.Option(help="YAML file of words; several are put together. By default curate's own, in English."),
    ] = None,
    axis: Annotated[
        list[str] | None, typer.Option(help="Only this axis of the lexicon (repeat it for several).")
    ] = None,
    on: Annotated[
        list[str] | None, typer.Option(help="Which strings: `text` (the default), `messages[].content`, `*`, ...")
    ] = None,
    by: Annotated[
        list[str] | None, typer.Option(help="Column, or STAGE.FEATURE, whose values are groups, too (a dialect tag).")
    ] = None,
    score: Annotated[
        list[str] | None,
        typer.Option(help="STAGE.FEATURE or column to compare; by default what is called toxicity, ..."),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Column of labels, compared by group and held against scores.")
    ] = None,
    annotations: Annotated[
        str | None, typer.Option(help="Project whose annotations are compared, by `--annotator` and `--label`.")
    ] = None,
    annotator: Annotated[str, typer.Option(help="Column of the annotations that says who.")] = "annotator",
    cluster: Annotated[
        str | None, typer.Option(help="Column whose equal values are one observation: an author, a host.")
    ] = None,
    embedding: Annotated[bool, typer.Option(help="Train an embedding on the version, and compare words in it.")] = True,
    out: Annotated[Path | None, typer.Option(help="HTML file to write.")] = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Measure how groups of people differ in a version: who is mentioned, what is said, how it scores, whom stages removed.

    Exits with 0 whatever is found; `--json` has every measure with its interval, and `findings` what is flagged.
    """
    from curate.audit.bias.audit import Question, audit
    from curate.audit.bias.lexicon import load_lexicon
    from curate.commands.options import print_json
    from curate.dataset.find import find_store
    from curate.dataset.reader import open_dataset
    from curate.dataset.runs import now, record, run_id
    from curate.pipeline.progress import progress_for_terminal

    words = load_lexicon(lexicon or ())
    words = words.of_axis(axis) if axis else words
    one, began = open_dataset(name, find_store(store)), now()
    question = Question(
        words, on=tuple(on or ("text",)), by=tuple(by or ()), scores=None if score is None else tuple(score), label=label,
        annotations=annotations, annotator=annotator, cluster=cluster, embedding=embedding,
    )  # fmt: skip
    with progress_for_terminal() as progress:
        progress.begin("counting", len(one.ledger()))

        def tell(phase: str, documents: int) -> None:
            if phase == "count":
                progress.advance(documents)
            else:
                progress.begin(phase, 1)

        found = audit(one, question, tell)
    told = found.to_json()
    if out:
        from curate.reports.bias import build_bias_report

        build_bias_report(one, found, out)
    identity, tag = run_id(), f"{one.name}@{one.tag or one.version[:12]}"
    facts = {
        "audit": "bias", "lexicon": told["lexicon"], "verdicts": told["verdicts"],
        "flagged": [[row[key] for key in ("family", "subject", "axis", "group")] for row in told["findings"]],
        "report": str(out) if out else None,
    }  # fmt: skip
    record(one.store, "audit", identity, name=tag, state="done", began=began,
           inputs=[{"kind": "version", "id": one.version, "name": tag}], outputs=[], facts=facts)  # fmt: skip
    if as_json:
        print_json({"dataset": one.name, "version": one.version, "audit": identity, "report": facts["report"], **told})
        return
    _print(found, told)
    echo(str(out) if out else "--out FILE writes the page with charts, --json every measure", err=not out)


def _print(found: Audited, told: dict[str, Any]) -> None:
    from curate.commands.tables import print_table

    counts = told["verdicts"]
    rows = [
        [one.family, one.subject, f"{one.axis}: {one.group}", one.n, *_numbers(one)]
        for one in found.with_verdict("flagged")
    ]
    if rows:
        print_table(("family", "about", "group", "n", "effect", "95 % interval", "q"), rows[:MOST_PRINTED])
        if len(rows) > MOST_PRINTED:
            echo(f"... and {len(rows) - MOST_PRINTED:,} more flagged")
        echo("")
    echo(
        f"{counts['flagged']:,} flagged, {counts['explained']:,} explained by source and length, {counts['none']:,} without a "
        f"difference shown, {counts['insufficient']:,} insufficient"
    )
    for family, reason in told["skipped"].items():
        echo(f"not measured: {family}: {reason}")
    if told["groups_without_documents"]:
        echo(f"groups without documents: {', '.join(told['groups_without_documents'])}")
    if told["not_looked_at"]:
        echo(f"columns not looked at: {', '.join(told['not_looked_at'])}")


def _numbers(one: Any) -> tuple[str, str, str]:
    value = one.estimate
    return f"{one.effect} {value.value:.2f}", f"{value.low:.2f} to {value.high:.2f}", f"{one.q:.2g}"
