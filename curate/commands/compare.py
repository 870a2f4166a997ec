"""`curate compare`: which of two models is better, on the same items."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.commands.options import Json, StoreOption, optional_store
from curate.terminal import echo

if TYPE_CHECKING:
    from curate.dataset.store import Store
    from curate.evaluation.compare import Comparison, Difference
    from curate.evaluation.gates import Judged

__all__ = ["compare"]

MetricOption = Annotated[
    list[str] | None,
    typer.Option(help="What is tested, of each task the first that it has; all other metrics get no verdict."),
]
GateOption = Annotated[
    list[str] | None,
    typer.Option(
        help='What has to be shown, else exit 3: "bits_per_byte not worse than 0.5%", "accuracy on sst2 better".'
    ),
]


def compare(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Folders of evaluations, or models whose evaluation is in `evaluations/`; the first is what others "
            "are compared with.",
            metavar="A B...",
        ),
    ],
    metric: MetricOption = None,
    gate: GateOption = None,
    out: Annotated[Path | None, typer.Option(help="HTML file to write.", metavar="FILE")] = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Compare models on the items that they were all measured on: better, worse, or no difference shown.

    Differences are B less A, with 95% intervals over the same items. One metric of each task is tested, and all tests
    together are adjusted (Holm); `curate eval` makes evaluations.
    """
    from curate.commands.options import print_json
    from curate.dataset.runs import now, run_id
    from curate.errors import CurateError, GateError
    from curate.evaluation.compare import compare as run
    from curate.evaluation.compare import find_evaluation
    from curate.evaluation.gates import judge, read_gate

    gates = [read_gate(one) for one in gate or ()]
    if len(models) < 2:
        raise CurateError("a comparison needs two evaluations", "A B...", f"`curate compare {models[0]} ANOTHER`")
    opened, began, identity = optional_store(store), now(), run_id()
    evaluations = [find_evaluation(one) for one in models]
    found = run(evaluations, metrics=metric or (), say=lambda task: echo(f"compare: {task}", err=True))
    judged = judge(gates, found)
    if out:
        from curate.reports.comparison import build_comparison_page

        build_comparison_page(found, judged, out)
    gated = [one.json() for one in judged]
    told = {"comparison": identity, **found.json(), "gates": gated, "page": str(out) if out else None}
    if opened:
        _record(opened, identity, began, found, told, out)
    missed = [one for one in judged if one.missing]
    if not as_json:
        _print(found, judged, out)
    elif not missed:
        print_json(told)
    if missed:
        problem = f"not shown: {'; '.join(one.gate.text for one in missed)}"
        raise GateError(problem, "; ".join(words for one in missed for words in one.missing), result=told)


def _record(store: Store, identity: str, began: str, found: Comparison, told: dict[str, Any], out: Path | None) -> None:
    from curate.dataset.runs import Thing, record
    from curate.evaluation.compare import identity_of
    from curate.files import file_hash

    pages = [Thing(kind="file", id=file_hash(out), name=str(out.resolve()))] if out else list[Thing]()
    record(
        store, "comparison", identity, name=" ".join(found.evaluations), state="done", began=began,
        inputs=[
            Thing(kind="evaluation", id=identity_of(one), name=str(one.folder.resolve()))
            for one in found.evaluations.values()
        ],
        outputs=pages,
        facts={
            "verdicts": [[one.task, one.model, one.metric, one.verdict] for one in found.tests],
            "gates": told["gates"],
        },
    )  # fmt: skip


def _print(found: Comparison, judged: Sequence[Judged], out: Path | None) -> None:
    from curate.commands.tables import print_table, print_wrapped

    baseline, *others = found.evaluations
    header = (
        "task",
        *(("model",) if len(others) > 1 else ()),
        "metric",
        baseline,
        *(others if len(others) == 1 else ("value",)),
    )
    rows = [
        (*_names(one, len(others)), *_values(one), "-" if one.p_holm is None else f"{one.p_holm:.2g}", one.verdict)
        for one in found.tests
    ]
    print_table((*header, "difference", "95% interval", "p", "verdict"), rows)
    if found.others:
        echo("\nalso measured, without a verdict:\n")
        print_table(
            (*header, "difference", "95% interval"),
            [(*_names(one, len(others)), *_values(one)) for one in found.others],
        )
    echo("")
    for task, model, reason in found.apart:
        echo(f"not compared: {task} ({model}): {reason}")
    for one in found.tests:
        if one.verdict == "no difference shown" and one.missed:
            echo(f"{one.task} ({one.model}): {one.missed}")
    for words in found.notes:
        echo(f"note: {words}")
    for one in judged:
        echo(f"gate {'not shown' if one.missing else 'shown'}: {one.gate.text}")
    if len(found.tests) > 1:
        echo(f"p is adjusted for {len(found.tests)} tests (Holm)")
    print_wrapped(
        f"Differences are {others[0] if len(others) == 1 else 'the other model'} less {baseline}. {_meaning()}"
    )
    if out:
        echo(str(out))


def _meaning() -> str:
    from curate.evaluation.compare import MEANING

    return MEANING


def _names(one: Difference, others: int) -> tuple[str, ...]:
    return (one.task, one.model, one.metric) if others > 1 else (one.task, one.metric)


def _values(one: Difference) -> tuple[str, str, str, str]:
    from curate.commands.tables import decimal

    interval = "-" if one.low is None or one.high is None else f"{decimal(one.low, '+')} to {decimal(one.high, '+')}"
    return decimal(one.first), decimal(one.other), decimal(one.difference, "+"), interval
