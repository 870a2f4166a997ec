"""`curate eval`: what a model can do, with intervals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import typer

from curate.commands.options import Json, StoreOption, optional_store, print_json
from curate.errors import CurateError
from curate.terminal import echo

__all__ = ["evaluate"]

Backend = Annotated[
    Literal["auto", "ours", "transformers"],
    typer.Option(help="Who computes a Hugging Face folder; auto: transformers where our trunks don't know its family."),
]
EndpointModel = Annotated[
    str | None, typer.Option(help="What a server calls the model; needed unless it has one alone.", metavar="NAME")
]
EndpointTokenizer = Annotated[
    str | None, typer.Option(help="Folder of the tokenizer of a server's model, for log-probabilities.", metavar="DIR")
]
DataDir = Annotated[
    Path | None, typer.Option(help="Folder with the data of tasks of lm-evaluation-harness.", metavar="DIR")
]
FewShot = Annotated[
    int | None, typer.Option(min=0, help="Rows shown with their answers before each question.", metavar="N")
]
ListTasks = Annotated[
    bool, typer.Option("--list-tasks", help="List tasks of lm-evaluation-harness, and the files that each needs.")
]
Limit = Annotated[
    int | None,
    typer.Option(min=1, help="At most as many rows of --data and of tasks named in --tasks, spread evenly."),
]
Length = Annotated[int | None, typer.Option(min=2, help="Most tokens read at once; by default what the model takes.")]
Out = Annotated[
    Path | None, typer.Option(help="Folder of the evaluation; by default evaluations/NAME, here.", metavar="DIR")
]
Contamination = Annotated[
    str | None,
    typer.Option(
        help="Look for the items in the training split of this version; by default the one that the run was trained on, "
        "`none` is off.",
        metavar="VERSION",
    ),
]


Memorization = Annotated[
    int | None,
    typer.Option(
        min=2, help="Ask for the next words of so many documents of the training, and of held-out ones.", metavar="N"
    ),
]
MemorizationFrom = Annotated[
    str | None,
    typer.Option(
        help="Version of --memorization and --leaks; by default the one that the run was trained on.", metavar="VERSION"
    ),
]
Leaks = Annotated[
    int | None,
    typer.Option(
        min=2, help="Look whether the model writes out personal data of so many documents of the training.", metavar="N"
    ),
]
Cost = Annotated[
    bool, typer.Option("--cost", help="Measure the size of the model, and milliseconds for a token, on this machine.")
]
Samples = Annotated[bool, typer.Option("--samples", help="Keep the prompts and what the model said.")]
ModelArgument = Annotated[
    str | None, typer.Argument(help="A run, its folder, a checkpoint, a Hugging Face folder, or http://HOST/v1.")
]
Tasks = Annotated[
    list[str] | None,
    typer.Option("--tasks", help="A YAML file of tasks, or names: see --list-tasks; may be repeated.", metavar="TASKS"),
]
Data = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        help="What to predict: a version, or jsonl, csv or parquet files; by default what the run was validated on.",
        metavar="VERSION_OR_FILE",
    ),
]
Split = Annotated[str | None, typer.Option(help="Of the versions in --data; by default `test`, where there is one.")]
By = Annotated[
    list[str] | None,
    typer.Option(help="Column of --data, and of named tasks that have it, whose values get numbers of their own."),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Remove an earlier evaluation in the folder first.")]


def evaluate(
    model: ModelArgument = None,
    tasks: Tasks = None,
    data_dir: DataDir = None,
    few_shot: FewShot = None,
    list_tasks: ListTasks = False,
    data: Data = None,
    split: Split = None,
    by: By = None,
    limit: Limit = None,
    length: Length = None,
    backend: Backend = "auto",
    endpoint_model: EndpointModel = None,
    endpoint_tokenizer: EndpointTokenizer = None,
    contamination: Contamination = None,
    memorization: Memorization = None,
    memorization_from: MemorizationFrom = None,
    leaks: Leaks = None,
    cost: Cost = False,
    samples: Samples = False,
    out: Out = None,
    fresh: Fresh = False,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Measure a model: every number with a 95% interval.

    What was measured of each document and question is kept: `curate compare` pairs models, and nothing is measured twice.
    """
    from curate.evaluation.models.opened import open_model
    from curate.evaluation.request import asked_tasks, columns_of, model_place, probes, training_data

    if list_tasks or model is None:
        return _list(data_dir, as_json=as_json, asked=list_tasks)
    opened, place = optional_store(store), model_place(model)
    asked = asked_tasks(place, tasks or [], data or [], split, tuple(by or ()), limit, data_dir, few_shot)
    from curate.evaluation.run import evaluate as run  # what was typed is checked before what takes seconds is loaded

    name = _name(endpoint_model or model)
    out, say = out or Path("evaluations") / name, partial(_say, name)
    server = {"endpoint_model": endpoint_model, "endpoint_tokenizer": endpoint_tokenizer}
    opening = partial(open_model, place, length=length, backend=backend, **server)
    also = probes(place, opened, memorization=memorization, leaks=leaks, version=memorization_from, cost=cost)
    with _printing_before_errors(out, as_json=as_json):
        found = run(
            opening, asked, out, store=opened, samples=samples, training=training_data(contamination, place, opened, say),
            columns=columns_of(place), by=by or (), fresh=fresh, also=also, say=say,
        )  # fmt: skip
    print_json({**found.result, "folder": str(out)}) if as_json else _print(found.result, out)


@contextmanager
def _printing_before_errors(out: Path, *, as_json: bool) -> Iterator[None]:
    """What was measured is printed, though a task failed."""
    try:
        yield
    except CurateError as error:
        if error.result and not as_json:
            _print(error.result, out)
        raise


def _say(name: str, words: str) -> None:
    echo(f"eval {name}: {words}", err=True)


def _name(model: str) -> str:
    """Of the evaluation's folder: that of the model's, or the server's."""
    return (urlsplit(model).netloc or Path(model).resolve().name).replace(":", "-")


def _list(data_dir: Path | None, *, as_json: bool, asked: bool) -> None:
    from curate.commands.tables import print_table
    from curate.evaluation.tasks.shipped import task_list

    if not asked:
        raise typer.BadParameter("Missing argument 'MODEL'.")
    listed = task_list(data_dir)
    if as_json:
        print_json({"schema": 1, "tasks": listed})
        return
    print_table(
        ("task", "needs one of", "found"),
        [(one["task"], " | ".join(one["files"]), " ".join(one["found"] or ()) or "-") for one in listed],
    )


def _print(result: dict[str, Any], out: Path) -> None:
    from curate.commands.tables import decimal, print_table
    from curate.evaluation.compare import told_of_groups
    from curate.evaluation.result import contamination_words

    rows = [
        (task, name, decimal(one["value"]), _interval(one), f"{one['n']:,}")
        for task, metrics in result["tasks"].items()
        for name, one in metrics.items()
    ]
    for task, kinds in result["groups"].items():
        for by, values in kinds.items():
            for value, metrics in values.items():
                for name in told_of_groups(metrics):
                    one = metrics[name]
                    rows.append((f"{task} {by}={value}", name, decimal(one["value"]), _interval(one), f"{one['n']:,}"))
    known = result.get("contamination", {"tasks": {}})
    for task, one in known["tasks"].items():
        if one["contaminated"]:
            rows += [
                (f"{task}, not in the training data", name, decimal(some["value"]), _interval(some), f"{some['n']:,}")
                for name, some in one["clean"].items()
            ]
    print_table(("task", "metric", "value", "95% interval", "n"), rows)
    for task, one in known["tasks"].items():
        echo(f"{task} in the training data of {known['name']}: {contamination_words(one)}")
    if "memorization" in result:
        _print_memorization(result["memorization"])
    if "leaks" in result:
        _print_leaks(result["leaks"])
    if "cost" in result:
        _print_cost(result["cost"])
    if {"bleu", "chrf"} & {name for metrics in result["tasks"].values() for name in metrics}:
        echo("bleu and chrf are of 100")
    for words in result["warnings"]:
        echo(words)
    echo(f"\nevery item: {out}")


def _print_memorization(found: dict[str, Any]) -> None:
    from curate.commands.tables import decimal

    tokens, one = found["continued_tokens"], found["gap"]["bits_per_byte"]
    for split, share in found["verbatim"].items():
        short = found["too_short"][split]
        echo(
            f"{split} of {found['name']}: {decimal(share['value'])} ({_interval(share)}) of {share['n']:,} passages are "
            f"continued verbatim for {tokens} tokens" + (f"; {short:,} are too short to ask" if short else "")
        )
    echo(
        f"text of the training costs {decimal(one['value'])} ({_interval(one)}) bits per byte less than that of "
        f"{found['held_out']}"
    )


def _print_leaks(found: dict[str, Any]) -> None:
    from curate.commands.tables import decimal

    for split, share in found["verbatim"].items():
        there = found["found"][split]["documents"]
        echo(
            f"{split} of {found['name']}: of {decimal(share['value'])} ({_interval(share)}) of {share['n']:,} passages the "
            f"model writes out personal data; {there:,} of them have some"
        )


def _print_cost(found: dict[str, Any]) -> None:
    latency = found["latency"]
    echo(
        f"{found['size']['value'] / 1e6:,.2f} MB of parameters; {latency['value']:.2f} ms ({latency['low']:.2f} to "
        f"{latency['high']:.2f}) a token, of one text alone, here"
    )


def _interval(one: dict[str, Any]) -> str:
    from curate.commands.tables import decimal

    return "-" if one["low"] is None else f"{decimal(one['low'])} to {decimal(one['high'])}"
