"""`curate eval`: what a model can do, with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

import typer

from curate.commands.options import Json, StoreOption
from curate.terminal import echo

if TYPE_CHECKING:
    from curate.dataset.store import Store
    from curate.evaluation.tasks.settings import TaskSettings

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


def evaluate(
    model: Annotated[
        str, typer.Argument(help="A run, its folder, a checkpoint, a Hugging Face folder, or http://HOST/v1.")
    ],
    tasks: Annotated[
        list[str] | None,
        typer.Option("--tasks", help="A YAML file of tasks; may be given several times.", metavar="FILE"),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            help="Texts to predict: a version, or jsonl, csv or parquet files; by default what the run was validated on.",
            metavar="VERSION_OR_FILE",
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Of the versions in --data; by default `test`, where there is one.")
    ] = None,
    by: Annotated[
        list[str] | None, typer.Option(help="Column of --data whose values get numbers of their own.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most as many documents of --data, spread evenly.")
    ] = None,
    length: Annotated[
        int | None, typer.Option(min=2, help="Most tokens read at once; by default what the model takes.")
    ] = None,
    backend: Backend = "auto",
    endpoint_model: EndpointModel = None,
    endpoint_tokenizer: EndpointTokenizer = None,
    samples: Annotated[bool, typer.Option("--samples", help="Keep the prompts and what the model said.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the evaluation; by default evaluations/NAME, here.", metavar="DIR")
    ] = None,
    store: StoreOption = None,
    as_json: Json = False,
) -> None:
    """Measure a model: every number with a 95% interval.

    What was measured of each document and question is kept in the folder, so that `curate compare` can pair two models,
    and a task is not measured again for the same model and data.
    """
    from curate.commands.options import print_json
    from curate.evaluation.models.opened import open_model
    from curate.evaluation.run import evaluate as run

    opened = _store(store)
    asked = _asked(model, tasks or [], data or [], split, tuple(by or ()), limit, opened)
    name = (endpoint_model or urlsplit(model).netloc or Path(model).resolve().name).replace("/", "-").replace(":", "-")
    folder = out or Path("evaluations") / name
    found = run(
        lambda: open_model(
            _folder(model), length=length, backend=backend, endpoint_model=endpoint_model,
            endpoint_tokenizer=endpoint_tokenizer,
        ), asked, folder,
        store=opened, samples=samples, say=lambda words: echo(f"eval {name}: {words}", err=True),
    )  # fmt: skip
    if as_json:
        print_json({**found.result, "folder": str(folder)})
        return
    _print(found.result)
    echo(f"\nevery item: {folder}")


def _store(store: str | None) -> Store | None:
    """The store, where there is one: files can be evaluated on without."""
    from curate.dataset.find import find_store
    from curate.errors import CurateError

    try:
        return find_store(store)
    except CurateError:
        if store is not None:
            raise
        return None


def _folder(model: str) -> str:
    """A run may be named without its folder."""
    run = Path("runs") / model
    return str(run) if not Path(model).exists() and run.is_dir() else model


def _asked(
    model: str, tasks: list[str], data: list[str], split: str | None, by: tuple[str, ...], limit: int | None,
    store: Store | None,
) -> list[TaskSettings]:  # fmt: skip
    from curate.errors import CurateError
    from curate.evaluation.tasks.settings import PerplexityTask, load_tasks

    asked: list[TaskSettings] = [task for path in tasks for task in load_tasks(Path(path))]
    if not tasks and not data:
        version, own = _trained_on(_folder(model))
        data, split = [version], split or own
    for one in data:
        file = Path(one).exists() or Path(one).suffix in (".jsonl", ".csv", ".tsv", ".parquet", ".json")
        name = Path(one).stem if file else one.replace("@", "-")
        place: dict[str, Any] = {"files": (one,)} if file else {"data": one, "split": split}
        asked.append(PerplexityTask(name=name, by=by, limit=limit, **place))
    names = [task.name for task in asked]
    twice = next((one for one in names if names.count(one) > 1), None)
    if twice is not None:
        raise CurateError(f"two tasks are named `{twice}`", hint="name them apart in a file for --tasks")
    return asked


def _trained_on(folder: str) -> tuple[str, str | None]:
    """The version that a run was trained on, and the split that stands for new text.

    Raises:
        CurateError: It is no run, or one of several datasets.
    """
    from curate.errors import CurateError
    from curate.jsontext import loads

    for place in (Path(folder), Path(folder).parent.parent):
        if (place / "config.json").is_file() and (place / "checkpoints").is_dir():
            found = loads((place / "config.json").read_bytes())["data"]
            if "dataset" in found:
                return f"{found['dataset']}@{found['version'][:12]}", "validation"
    raise CurateError("it is not known what to evaluate on", hint="--data VERSION, --data FILE or --tasks FILE")


def _print(result: dict[str, Any]) -> None:
    from curate.commands.tables import print_table

    rows = [
        (task, name, _number(one["value"]), _interval(one), f"{one['n']:,}")
        for task, metrics in result["tasks"].items()
        for name, one in metrics.items()
    ]
    for task, kinds in result["groups"].items():
        for by, values in kinds.items():
            for value, metrics in values.items():
                name, one = next(iter(metrics.items()))
                rows.append((f"{task} {by}={value}", name, _number(one["value"]), _interval(one), f"{one['n']:,}"))
    print_table(("task", "metric", "value", "95% interval", "n"), rows)
    for words in result["warnings"]:
        echo(words)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.4f}"


def _interval(one: dict[str, Any]) -> str:
    return "-" if one["low"] is None else f"{_number(one['low'])} to {_number(one['high'])}"
