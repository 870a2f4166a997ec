"""`curate audit bias | compare | toxicity`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.commands.options import Json, StoreOption
from curate.terminal import echo

if TYPE_CHECKING:
    from curate.audit.bias.audit import Audited, Question
    from curate.dataset.reader import Dataset

__all__ = ["bias", "compare", "toxicity"]

MOST_PRINTED = 40
MEANINGS = {
    "impact": "odds that a stage removes a document of the group, over those of others of its source, language and length",
    "representation": "share among documents that mention the axis, over what equal shares (or `reference:`) would give",
    "association": "odds that a word stands in a sentence about the group, over those in sentences about others of the axis",
    "scores": "how much more often a document of the group scores higher than another one than lower (-1 to 1)",
}
"""What the effect of a family is, for the table."""
Lexicons = Annotated[
    list[Path] | None,
    typer.Option(
        "--lexicon", help="YAML file of words; several are put together. By default curate's own, in English."
    ),
]
Axes = Annotated[
    list[str] | None, typer.Option("--axis", help="Only this axis of the lexicon (repeat it for several).")
]
Strings = Annotated[
    list[str] | None, typer.Option("--on", help="Which strings: `text` (the default), `messages[].content`, `*`, ...")
]
Weight = Annotated[
    str | None, typer.Option(help="Column of how much each document counts; by default `weight`, if there is one.")
]
Unweighted = Annotated[bool, typer.Option("--unweighted", help="Let all documents count alike.")]
TokenizerFile = Annotated[
    Path | None,
    typer.Option(help="tokenizer.json that the cost is counted with; by default one that the store has, else words."),
]
Values = Annotated[
    list[str] | None, typer.Option(help="Column, or STAGE.FEATURE, whose values are groups, too (a dialect tag).")
]
Scores = Annotated[
    list[str] | None,
    typer.Option(help="STAGE.FEATURE or column to compare; by default what is called toxicity, ..."),
]
Cluster = Annotated[str | None, typer.Option(help="Column whose equal values are one observation: an author, a host.")]
Page = Annotated[Path | None, typer.Option(help="HTML file to write.")]


def bias(
    name: Annotated[str, typer.Argument(help="NAME, NAME@TAG or NAME@ID-PREFIX.", metavar="VERSION")],
    lexicon: Lexicons = None,
    axis: Axes = None,
    on: Strings = None,
    by: Values = None,
    score: Scores = None,
    label: Annotated[
        str | None, typer.Option(help="Column of labels, compared by group and held against scores.")
    ] = None,
    annotations: Annotated[
        str | None, typer.Option(help="Project whose annotations are compared, by `--annotator` and `--label`.")
    ] = None,
    annotator: Annotated[str, typer.Option(help="Column of the annotations that says who.")] = "annotator",
    cluster: Cluster = None,
    weight: Weight = None,
    unweighted: Unweighted = False,
    embedding: Annotated[bool, typer.Option(help="Train an embedding on the version, and compare words in it.")] = True,
    out: Page = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Measure how groups of people differ in a version: who is mentioned, what is said, how it scores, whom stages removed.

    Exits with 0 whatever is found; `--json` has every measure with its interval, and `findings` what is flagged.
    """
    from curate.audit.bias.audit import Question
    from curate.audit.bias.lexicon import load_lexicon
    from curate.commands.options import print_json
    from curate.dataset.find import find_store
    from curate.dataset.reader import open_dataset

    words = load_lexicon(lexicon or ())
    question = Question(
        words.of_axis(axis) if axis else words, on=tuple(on or ("text",)), by=tuple(by or ()),
        scores=None if score is None else tuple(score), label=label, annotations=annotations, annotator=annotator,
        cluster=cluster, embedding=embedding, weight=weight, unweighted=unweighted,
    )  # fmt: skip
    one = open_dataset(name, find_store(store))
    found, told = _measured(one, question, out)
    if as_json:
        print_json({"dataset": one.name, "version": one.version, **told})
        return
    _print(found, told)
    echo(str(out) if out else "--out FILE writes a page with charts; --json has every measure")


def _measured(one: Dataset, question: Question, out: Path | None) -> tuple[Audited, dict[str, Any]]:
    """The audit, its page, and the record of it."""
    from curate.audit.bias.audit import audit
    from curate.dataset.runs import Thing, now, record, run_id
    from curate.files import file_hash
    from curate.pipeline.progress import progress_for_terminal

    began = now()
    with progress_for_terminal() as progress:
        progress.begin("counting", len(one.ledger()))

        def tell(phase: str, documents: int) -> None:
            if phase == "count":
                progress.advance(documents)
            else:
                progress.begin(phase, 1)

        found = audit(one, question, tell)
    if out:
        from curate.reports.bias import build_bias_report

        build_bias_report(one, found, out)
    told, identity, tag = found.to_json(), run_id(), f"{one.name}@{one.tag or one.version[:12]}"
    facts = {
        "audit": "bias", "lexicon": told["lexicon"], "verdicts": told["verdicts"],
        "flagged": [[row[key] for key in ("family", "subject", "axis", "group")] for row in told["findings"]],
        "report": str(out) if out else None,
    }  # fmt: skip
    page: list[Thing] = [{"kind": "file", "id": file_hash(out), "name": str(out.resolve())}] if out else []
    record(one.store, "audit", identity, name=tag, state="done", began=began,
           inputs=[{"kind": "version", "id": one.version, "name": tag}], outputs=page, facts=facts)  # fmt: skip
    return found, {"audit": identity, "report": facts["report"], **told}


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
        for family in dict.fromkeys(row[0] for row in rows):
            if family in MEANINGS:
                echo(f"{family}: {MEANINGS[family]}")
        echo("")
    echo(
        f"{counts['flagged']:,} flagged, {counts['explained']:,} explained by source and length, {counts['none']:,} without a "
        f"difference shown, {counts['insufficient']:,} insufficient"
    )
    for family, reason in told["skipped"].items():
        echo(f"not measured: {family}: {reason}")
    for line in told["cautions"]:
        echo(f"note: {line}")
    if told["groups_without_documents"]:
        echo(f"groups without documents: {', '.join(told['groups_without_documents'])}")
    if told["not_looked_at"]:
        echo(f"columns not looked at: {', '.join(told['not_looked_at'])}")


def _numbers(one: Any) -> tuple[str, str, str]:
    value = one.estimate
    return f"{one.effect} {value.value:.2f}", f"{value.low:.2f} to {value.high:.2f}", f"{one.q:.2g}"


def compare(
    before: Annotated[str, typer.Argument(help="The version before.", metavar="A")],
    after: Annotated[str, typer.Argument(help="The version after.", metavar="B")],
    lexicon: Lexicons = None,
    axis: Axes = None,
    on: Strings = None,
    weight: Annotated[str, typer.Option(help="Column of weights, where a version has it.")] = "weight",
    tokenizer: TokenizerFile = None,
    label: Annotated[str | None, typer.Option(help="Column of labels of both versions, compared by group.")] = None,
    cluster: Cluster = None,
    every: Annotated[bool, typer.Option("--all", help="Show every group, not those alone that changed.")] = False,
    out: Page = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Show what a mitigation changed for each group, beside dropping at random, and what it cost.

    Documents are paired by id: `share` is the group's among documents that mention its axis, `kept` how often its documents
    were kept, over how often all others were; of `--label`, its share in the group less that in all others.
    """
    from curate.audit.bias.comparison import compare as measure
    from curate.audit.bias.lexicon import load_lexicon
    from curate.commands.options import print_json
    from curate.dataset.find import find_store
    from curate.dataset.reader import open_dataset
    from curate.dataset.runs import Thing, now, record, run_id
    from curate.files import file_hash
    from curate.reports.mitigation import build_comparison_report
    from curate.tokenize.count import count_tokens

    words, opened, began = load_lexicon(lexicon or ()), find_store(store), now()
    sides = open_dataset(before, opened), open_dataset(after, opened)
    words, strings = words.of_axis(axis) if axis else words, tuple(on or ("text",))
    found = measure(*sides, words, on=strings, weight=weight, label=label, cluster=cluster)
    found["cost"] |= [count_tokens(sides, strings, tokenizer)]
    changes, identity, pages = found["changes"], run_id(), list[Thing]()
    if out:
        build_comparison_report(*sides, found, words.files, out)
        pages.append({"kind": "file", "id": file_hash(out), "name": str(out.resolve())})
    names = [f"{one.name}@{one.tag or one.version[:12]}" for one in sides]
    changed = [[one.measure, one.axis, one.group] for one in changes if one.verdict == "changed"]
    record(opened, "audit", identity, name=f"{names[0]} {names[1]}", state="done", began=began,
           inputs=[{"kind": "version", "id": one.version, "name": name} for one, name in zip(sides, names, strict=True)],
           outputs=pages, facts={"audit": "compare", "changed": changed, "cost": found["cost"]})  # fmt: skip
    if as_json:
        versions = {"before": sides[0].version, "after": sides[1].version}
        print_json({**versions, "audit": identity, **found, "changes": [one.to_json() for one in changes]})
        return
    _print_comparison(found, every=every)
    echo(str(out) if out else "--out FILE writes a page with charts; --json has every change")


def _print_comparison(found: dict[str, Any], *, every: bool) -> None:
    changes = found["changes"]
    changed = [one for one in changes if one.verdict == "changed"]
    _print_changes(changes if every else changed, found["cost"])
    for line in found["cautions"]:
        echo(f"note: {line}")
    insufficient = sum(one.verdict == "insufficient" for one in changes)
    echo(
        f"{len(changed):,} of {len(changes):,} changed, {insufficient:,} insufficient; {found['paired']:,} documents in both"
    )


def _print_changes(changes: list[Any], cost: dict[str, list[float]]) -> None:
    from curate.commands.tables import print_table

    rows = []
    for one in changes:
        told = one.difference
        interval = f"{told.value:+.3f} ({told.low:+.3f} to {told.high:+.3f})" if told else ""
        if told and one.measure == "kept":
            interval = f"x {told.value:.2f} ({told.low:.2f} to {told.high:.2f})"
        random = f"{one.random[0]:+.3f} to {one.random[1]:+.3f}" if one.random else ""
        values = [f"{value:.3f}" if value is not None else "" for value in (one.before, one.after)]
        rows.append(
            [one.subject or one.measure, f"{one.axis}: {one.group}", one.n, *values, interval, random, one.verdict]
        )
    if rows:
        print_table(("measure", "group", "n", "before", "after", "change (95 %)", "at random", "verdict"), rows)
        echo("")
    print_table(
        ("cost", "before", "after"),
        [[name.replace("_", " "), *(f"{one:,.0f}" for one in pair)] for name, pair in cost.items()],
    )
    echo("")


TOXICITY = (
    "a score from 0 to 1 says how sure the model is that somebody would call the words of a text toxic; `with terms` are texts",
    "with a word of the lexicon. Neither knows what is meant: quoted and friendly swearing scores high, polite hate low.",
    "`curate why ID` shows a document's way, `curate audit bias` whom the scores hit",
)
"""What the numbers are, for people."""


def toxicity(
    name: Annotated[str, typer.Argument(help="NAME, NAME@TAG or NAME@ID-PREFIX.", metavar="VERSION")],
    by: Annotated[
        str | None, typer.Option(help="Column whose commonest values are told apart.", metavar="COLUMN")
    ] = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Tell how many documents lie above which score of the stage `toxicity`, by source and split; do its models agree?"""
    from curate.audit.toxicity.summary import LEVELS, summarize
    from curate.commands.options import print_json
    from curate.commands.tables import print_table
    from curate.dataset.find import find_store
    from curate.dataset.reader import open_dataset
    from curate.terminal import visible

    dataset = open_dataset(name, find_store(store))
    told = summarize(dataset, by)
    if as_json:
        print_json({"dataset": dataset.name, "version": dataset.version, "stages": told})
        return
    for one in told:
        groups = {"all that the stage saw": one["documents"]}
        groups |= {f"source {key}": value for key, value in one["sources"].items()}
        groups |= {f"kept, split {key}": value for key, value in one["splits"].items()}
        groups |= {f"kept, {by} {key}": value for key, value in one["values"].items()}
        levels = [f"above {level:g}" for level in LEVELS]
        print_table(
            (one["stage"], "documents", "mean", *levels, "with terms"), [_row(*pair) for pair in groups.items()]
        )
        highest = ", ".join(f"{row['id']} ({row['toxicity']:.2f})" for row in one["highest"])
        echo(visible(f"highest: {highest}", in_one_line=True))
        _print_agreement(one["detoxify"])
    for line in TOXICITY:
        echo(line)


def _row(group: str, numbers: dict[str, Any]) -> list[str]:
    count = numbers["documents"]
    cells = (*numbers["above"].values(), numbers["with_terms"])
    mean = "-" if numbers["mean"] is None else f"{numbers['mean']:.3f}"
    return [group, f"{count:,}", mean, *(f"{cell:,} ({cell / count:.2%})" if count else "0" for cell in cells)]


def _print_agreement(numbers: dict[str, Any] | None) -> None:
    if numbers is None:
        return
    echo(f"detoxify was asked about {numbers['asked']:,} documents, and decided {numbers['decided']:,} in the band")
    if numbers["compared"]:
        rank = "-" if numbers["correlation"] is None else f"{numbers['correlation']:.2f}"
        echo(f"on the {numbers['compared']:,} others: rank correlation {rank}; above 0.5 in both {numbers['both_above']:,}, "
             f"in one only {numbers['one_above']:,}")  # fmt: skip
