"""`curate eval`: what a model can do, with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.commands.options import Json, StoreOption, optional_store
from curate.terminal import echo

if TYPE_CHECKING:
    from curate.dataset.reader import Dataset
    from curate.dataset.store import Store
    from curate.evaluation.tasks.settings import TaskSettings

__all__ = ["evaluate"]


Tasks = Annotated[
    list[str] | None,
    typer.Option("--tasks", help="A YAML file of tasks; may be given several times.", metavar="FILE"),
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
By = Annotated[list[str] | None, typer.Option(help="Column of --data whose values get numbers of their own.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most as many documents of --data, spread evenly.")]
Length = Annotated[int | None, typer.Option(min=2, help="Most tokens read at once; by default what the model takes.")]
Out = Annotated[
    Path | None, typer.Option(help="Folder of the evaluation; by default evaluations/NAME, here.", metavar="DIR")
]
Memorization = Annotated[
    int | None,
    typer.Option(
        min=2, help="Ask for the next words of so many documents of the training, and of held-out ones.", metavar="N"
    ),
]
MemorizationFrom = Annotated[
    str | None,
    typer.Option(help="Version of --memorization; by default the one that the run was trained on.", metavar="VERSION"),
]
Contamination = Annotated[
    str | None,
    typer.Option(
        help="Look for the items in the training split of this version; by default the one that the run was trained on, "
        "`none` is off.",
        metavar="VERSION",
    ),
]


def evaluate(
    model: Annotated[str, typer.Argument(help="A run, its folder, a checkpoint, or a Hugging Face folder.")],
    tasks: Tasks = None,
    data: Data = None,
    split: Split = None,
    by: By = None,
    limit: Limit = None,
    length: Length = None,
    contamination: Contamination = None,
    memorization: Memorization = None,
    memorization_from: MemorizationFrom = None,
    samples: Annotated[bool, typer.Option("--samples", help="Keep the prompts and what the model said.")] = False,
    out: Out = None,
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

    opened, name = optional_store(store), Path(model).resolve().name
    asked = _asked(model, tasks or [], data or [], split, tuple(by or ()), limit, opened)
    folder = out or Path("evaluations") / name
    found = run(
        lambda: open_model(_folder(model), length=length), asked, folder,
        store=opened, samples=samples, training=_training(contamination, model, opened),
        columns=_columns(_folder(model)), also=_memorization(memorization, memorization_from, model, opened),
        say=lambda words: echo(f"eval {name}: {words}", err=True),
    )  # fmt: skip
    if as_json:
        print_json({**found.result, "folder": str(folder)})
        return
    _print(found.result)
    echo(f"\nevery item: {folder}")


def _folder(model: str) -> str:
    """A run may be named without its folder."""
    run = Path("runs") / model
    return str(run) if not Path(model).exists() and run.is_dir() else model


def _asked(
    model: str, tasks: list[str], data: list[str], split: str | None, by: tuple[str, ...], limit: int | None,
    store: Store | None,
) -> list[TaskSettings]:  # fmt: skip
    from curate.errors import CurateError
    from curate.evaluation.models.opened import natural_kind
    from curate.evaluation.tasks.files import ENDINGS
    from curate.evaluation.tasks.settings import (
        ConversationTask,
        LabelTask,
        PerplexityTask,
        PreferenceTask,
        load_tasks,
    )

    asked: list[TaskSettings] = [task for path in tasks for task in load_tasks(Path(path))]
    if not tasks and not data:
        version, own = _trained_on(_folder(model))
        data, split = [version], split or own
    kinds = {
        "perplexity": PerplexityTask, "labels": LabelTask, "conversations": ConversationTask, "preferences": PreferenceTask
    }  # fmt: skip
    kind = kinds[natural_kind(_folder(model))]
    for one in data:
        file = Path(one).exists() or any(ending in Path(one).suffixes for ending in ENDINGS)
        name = Path(one).stem if file else one.replace("@", "-")
        place: dict[str, Any] = {"files": (one,)} if file else {"data": one, "split": split}
        asked.append(kind(name=name, by=by, limit=limit, **place))
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


def _training(version: str | None, model: str, store: Store | None) -> Dataset | None:
    """The version in which the items are looked for; None where there is none, which is said where one was expected."""
    from curate.dataset.reader import open_dataset
    from curate.errors import CurateError

    if version == "none" or (version is None and store is None):
        return None
    try:
        return open_dataset(version or _trained_on(_folder(model))[0], store)
    except CurateError as error:
        if version is not None:
            raise
        if (Path(_folder(model)) / "checkpoints").is_dir():
            echo(f"eval {model}: contamination is not known: {error.problem}", err=True)
        return None


def _memorization(count: int | None, version: str | None, model: str, store: Store | None) -> Any:
    """What `--memorization` adds to an evaluation; its data is there before the model is opened."""
    from curate.dataset.reader import open_dataset
    from curate.errors import CurateError

    if count is None:
        if version:
            raise CurateError("--memorization-from says where --memorization looks", hint="add --memorization N")
        return None
    try:
        dataset = open_dataset(version or _trained_on(_folder(model))[0], store)
    except CurateError as error:
        if version:
            raise
        raise CurateError(
            f"the version that `{model}` was trained on is not known: {error.problem}", "--memorization",
            "name it with --memorization-from VERSION",
        ) from None  # fmt: skip

    def measure(opened: Any) -> dict[str, Any]:
        from curate.evaluation.memorization import memorization
        from curate.evaluation.models.tokens import TokenModel

        if not isinstance(opened, TokenModel):
            raise CurateError("memorization is of language models whose tokens are seen from here", "--memorization")
        column = _columns(_folder(model))[0]
        return {"memorization": memorization(opened, dataset, count=count, column=column)}

    return measure


def _columns(folder: str) -> list[str]:
    """The columns that a run's objective reads, which tasks of labels, conversations and preferences take by default."""
    from curate.jsontext import loads

    for place in (Path(folder), Path(folder).parent.parent):
        if (place / "config.json").is_file() and (place / "checkpoints").is_dir():
            config = loads((place / "config.json").read_bytes())["config"]
            data = config["data"]
            roles = {
                "token_classification": ("words",), "seq2seq": ("text", "target"), "sft": ("messages",),
                "preference": ("prompt", "chosen", "rejected"),
            }.get(config["objective"]["kind"], ("text", "second"))  # fmt: skip
            return [data[role] for role in roles if data[role]]
    return ["text", "words", "messages", "prompt", "chosen", "rejected", "target"]


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
    known = result.get("contamination", {"tasks": {}})
    for task, one in known["tasks"].items():
        if one["contaminated"]:
            rows += [
                (f"{task}, clean", name, _number(some["value"]), _interval(some), f"{some['n']:,}")
                for name, some in one["clean"].items()
            ]
    print_table(("task", "metric", "value", "95% interval", "n"), rows)
    for task, one in known["tasks"].items():
        share = one["share"]
        echo(
            f"{task}: {one['contaminated']:,} of {one['n']:,} items stand in the training data of {known['name']} "
            f"({share['value']:.1%}, {share['low']:.1%} to {share['high']:.1%})"
            + (f"; {one['too_short']:,} are too short to tell" if one["too_short"] else "")
        )
    if "memorization" in result:
        _print_memorization(result["memorization"])
    for words in result["warnings"]:
        echo(words)


def _print_memorization(found: dict[str, Any]) -> None:
    tokens, one = found["continued_tokens"], found["gap"]["bits_per_byte"]
    for split, share in found["verbatim"].items():
        short = found["too_short"][split]
        echo(
            f"{split} of {found['name']}: {_number(share['value'])} ({_interval(share)}) of {share['n']:,} passages are "
            f"continued verbatim for {tokens} tokens" + (f"; {short:,} are too short to ask" if short else "")
        )
    echo(
        f"text of the training costs {_number(one['value'])} ({_interval(one)}) bits per byte less than that of "
        f"{found['held_out']}"
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.4f}"


def _interval(one: dict[str, Any]) -> str:
    return "-" if one["low"] is None else f"{_number(one['low'])} to {_number(one['high'])}"
