"""From what somebody typed to tasks: which model, which data, and what fits both."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from curate.collect.file_rows import ENDINGS
from curate.dataset.reader import Dataset, open_dataset
from curate.dataset.store import Store
from curate.errors import CurateError, did_you_mean
from curate.evaluation.models.opened import is_endpoint, natural_kind
from curate.evaluation.tasks.harness import custom_task, is_harness_file
from curate.evaluation.tasks.settings import (
    ChoiceTask,
    ConversationTask,
    GenerationTask,
    HarnessTask,
    LabelTask,
    PerplexityTask,
    PreferenceTask,
    TaskSettings,
    load_tasks,
)
from curate.evaluation.tasks.shipped import named_task
from curate.jsontext import loads

__all__ = ["asked_tasks", "columns_of", "model_place", "probes", "training_data"]


def model_place(model: str) -> str:
    """The folder of a model, or a server: a run may be named without its folder.

    Raises:
        CurateError: There is no model.
    """
    run = Path("runs") / model
    place = run if not Path(model).exists() and run.is_dir() else Path(model)
    if is_endpoint(model):
        return model
    what = "name a run, its folder, a checkpoint, a Hugging Face folder or a server (http://HOST/v1)"
    if not place.exists():
        near = did_you_mean(model, [path.parent.name for path in Path("runs").glob("*/config.json")])
        raise CurateError(f"there is no model `{model}`", f"{place} and {run}", near or what)
    if not any((folder / "config.json").is_file() for folder in (place, place.parent.parent)):
        raise CurateError(f"there is no model in `{place}`", f"{place}/config.json", what)
    return str(place)


def asked_tasks(
    place: str,
    tasks: Sequence[str],
    data: Sequence[str],
    split: str | None,
    by: tuple[str, ...],
    limit: int | None,
    folder: Path | None = None,
    examples: int | None = None,
) -> list[TaskSettings]:
    """The tasks of the files, and one for each of `data`: of the kind that the model was trained for.

    Args:
        place: The model.
        tasks: Files of tasks, and names of tasks of lm-evaluation-harness.
        data: Versions or files; without them and without tasks, what the run was validated on.
        split: Of the versions.
        by: Columns of `data` whose values get numbers of their own.
        limit: Most rows of each of `data`, and of tasks of lm-evaluation-harness.
        folder: With the data of tasks of lm-evaluation-harness.
        examples: Rows that are shown with their answers, in tasks that show some.

    Raises:
        CurateError: A file is wrong, two tasks have one name, or it is not known what to evaluate on.
    """
    asked = [task for one in tasks for task in _of_tasks(one, folder, limit=limit)]
    if by and tasks and not data and not any(isinstance(task, HarnessTask) for task in asked):
        raise CurateError(
            "--by is of --data and of tasks of lm-evaluation-harness", "--by", "tasks in a file have `by: [COLUMN]`"
        )
    if examples is not None:
        asked = [
            task.model_copy(update={"examples": examples}) if isinstance(task, _SHOWING) else task for task in asked
        ]
        if not any(isinstance(task, _SHOWING) for task in asked):
            raise CurateError("none of the tasks shows examples", "--few-shot")
    if data or not tasks:
        asked += _of_data(place, data, split, by=by, limit=limit)
    names = [task.name for task in asked]
    twice = next((one for one in names if names.count(one) > 1), None)
    if twice is not None:
        raise CurateError(f"two tasks are named `{twice}`", hint="name them apart in a file for --tasks")
    return asked


def _of_data(place: str, data: Sequence[str], split: str | None, **settings: Any) -> list[TaskSettings]:
    """A task for each of `data`, or for what the run was validated on."""
    called: dict[str, str] = {}
    if not data:
        version, own = _trained_on(place)
        data, split = [version], split or own
        called = {version: version.partition("@")[0]}
    kind, found = _KINDS[natural_kind(place)], list[TaskSettings]()
    for one in data:
        file = Path(one).exists() or any(ending in Path(one).suffixes for ending in ENDINGS)
        name = called.get(one) or _name(Path(one).stem if file else one.replace("@", "-"))
        source: dict[str, Any] = {"files": (one,)} if file else {"data": one, "split": split}
        found.append(kind(name=name, **source, **settings))
    return found


def _name(words: str) -> str:
    """What a task can be called after a file or a version."""
    return re.sub(r"[^\w .-]", "-", words).strip(" .-")[:80] or "data"


_SHOWING = (ChoiceTask, GenerationTask, HarnessTask)


def _of_tasks(given: str, folder: Path | None, **settings: Any) -> list[TaskSettings]:
    """What one `--tasks` asks: a file of ours, one of lm-evaluation-harness, or names with commas between."""
    path = Path(given)
    if path.suffix in (".yaml", ".yml") and not path.is_file():
        near = did_you_mean(path.name, [one.name for one in path.parent.glob("*.y*ml")])
        raise CurateError(f"there is no file of tasks `{given}`", "--tasks", near)
    if path.is_file() or path.suffix in (".yaml", ".yml"):
        if is_harness_file(path):
            return [custom_task(path, folder, **settings)]
        return list(load_tasks(path))
    return [named_task(name.strip(), folder, **settings) for name in given.split(",")]


_KINDS = {
    "perplexity": PerplexityTask, "labels": LabelTask, "conversations": ConversationTask, "preferences": PreferenceTask
}  # fmt: skip


def _trained_on(folder: str) -> tuple[str, str | None]:
    """The version that a run was trained on, and the split that stands for new text.

    Raises:
        CurateError: It is no run, or one of several datasets.
    """
    for place in (Path(folder), Path(folder).parent.parent):
        if (place / "config.json").is_file() and (place / "checkpoints").is_dir():
            found = loads((place / "config.json").read_bytes())["data"]
            if "dataset" in found:
                return f"{found['dataset']}@{found['version'][:12]}", "validation"
    raise CurateError("it is not known what to evaluate on", hint="--data VERSION, --data FILE or --tasks FILE")


def training_data(version: str | None, place: str, store: Store | None, say: Callable[[str], None]) -> Dataset | None:
    """The version in which the items are looked for; None where there is none, which is said where one was expected."""
    if version == "none" or (version is None and store is None):
        return None
    try:
        return open_dataset(version or _trained_on(place)[0], store)
    except CurateError as error:
        if version is not None:
            raise
        run = (Path(place) / "checkpoints").is_dir()
        say(
            f"contamination is not known: {error.problem}" if run
            else "contamination was not looked for: --contamination VERSION names what the model was trained on"
        )  # fmt: skip
        return None


def probes(
    place: str,
    store: Store | None,
    *,
    memorization: int | None = None,
    leaks: int | None = None,
    version: str | None = None,
    cost: bool = False,
) -> Callable[[Any], Callable[[], dict[str, Any]]] | None:
    """What `--memorization`, `--leaks` and `--cost` add to an evaluation.

    Their data is opened at once; what comes back is given the model, and says whether it can be asked before it is.
    """
    asked = {"--memorization": memorization, "--leaks": leaks}
    about = next((name for name, count in asked.items() if count is not None), None)
    if about is None and version:
        raise CurateError(
            "--memorization-from says where --memorization and --leaks look", hint="add --memorization N or --leaks N"
        )
    if about is None and not cost:
        return None
    dataset = _probed(place, store, version, about) if about else None

    def ready(opened: Any) -> Callable[[], dict[str, Any]]:
        from curate.evaluation.memorization import check, held_out
        from curate.evaluation.models.tokens import TokenModel

        if not isinstance(opened, TokenModel):
            what = (about or "--cost").removeprefix("--")
            verb = "are" if what == "leaks" else "is"
            raise CurateError(f"{what} {verb} of language models whose tokens are seen from here", about or "--cost")
        if dataset:
            check(opened, dataset) if memorization is not None else held_out(dataset)
        return lambda: _probe(opened, dataset, columns_of(place)[0], memorization, leaks, cost=cost)

    return ready


def _probe(
    opened: Any, dataset: Dataset | None, column: str, memorized: int | None, leaked: int | None, *, cost: bool
) -> dict[str, Any]:
    """What was asked for, by its name in the result."""
    from curate.evaluation.cost import cost as costs
    from curate.evaluation.leaks import leaks
    from curate.evaluation.memorization import memorization

    found: dict[str, Any] = {}
    if dataset and memorized is not None:
        found["memorization"] = memorization(opened, dataset, count=memorized, column=column)
    if dataset and leaked is not None:
        found["leaks"] = leaks(opened, dataset, count=leaked, column=column)
    return found | ({"cost": costs(opened)} if cost else {})


def _probed(place: str, store: Store | None, version: str | None, about: str) -> Dataset:
    """The version that a model was trained on.

    Raises:
        CurateError: It is not known.
    """
    try:
        return open_dataset(version or _trained_on(place)[0], store)
    except CurateError as error:
        if version:
            raise
        what = f": {error.problem}" if (Path(place) / "checkpoints").is_dir() else ""
        raise CurateError(
            f"it is not known which version `{place}` was trained on{what}", about,
            "name it with --memorization-from VERSION",
        ) from None  # fmt: skip


def columns_of(folder: str) -> list[str]:
    """The columns that a run's objective reads, which tasks of labels, conversations and preferences take by default."""
    for place in (Path(folder), Path(folder).parent.parent):
        if (place / "config.json").is_file() and (place / "checkpoints").is_dir():
            config = loads((place / "config.json").read_bytes())["config"]
            data = config["data"]
            roles = {
                "token_classification": ("words",), "seq2seq": ("text", "target"), "sft": ("messages",),
                **dict.fromkeys(("preference", "reward"), ("prompt", "chosen", "rejected")),
                **dict.fromkeys(("kto", "outcome"), ("prompt", "completion")),
            }  # fmt: skip
            objective = config["objective"]
            read = roles.get(objective.get("method")) or roles.get(objective["kind"], ("text", "second"))
            return [data[role] for role in read if data[role]]
    return ["text", "words", "messages", "prompt", "chosen", "rejected", "target"]
