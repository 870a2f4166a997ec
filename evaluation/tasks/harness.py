"""lm-evaluation-harness as the engine of its tasks: its prompts, filters and scores, our rows and models.

What it counts becomes facts of items. Its `acc` is `accuracy`, `acc_norm` (by characters) `accuracy_normalized`; Matthews'
correlation and F1 come of `gold` and `predicted`; the perplexity of one continuation each (LAMBADA) is `word_perplexity` of
items of one word. Of several filters the first counts.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from curate.errors import CurateError, did_you_mean
from curate.evaluation.models.contract import LanguageModel
from curate.evaluation.tasks.data import Rows, read_files
from curate.evaluation.tasks.settings import HarnessTask

__all__ = ["asked_columns", "custom_task", "harness_facts", "is_harness_file"]

SEED = 1234
"""Of the choice of examples, as lm-evaluation-harness has it."""
PLACE = "__place__"
SCORES = {
    "acc": "accuracy", "acc_norm": "accuracy_normalized", "exact_match": "exact_match", "rouge1": "rouge1", "rouge2": "rouge2",
    "rougeL": "rougeL",
}  # fmt: skip
"""What is a number in [0, 1] of each item, there and here."""


def is_harness_file(path: Path) -> bool:
    """A task file of lm-evaluation-harness, not one of ours."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return False
    return bool(re.search(r"^(output_type|include|doc_to_text|dataset_path):", text, re.MULTILINE))


def custom_task(path: Path, folder: Path | None, **settings: Any) -> HarnessTask:
    """A task of somebody's own task file, on the files that it names.

    Args:
        path: The file.
        folder: From which its `data_files` are seen; by default its own.
        settings: Of the task.

    Raises:
        CurateError: It lacks something, or names no local files.
    """
    config = _load(path)
    where = str(path)
    for key in ("task", "doc_to_target", "dataset_kwargs"):
        if config.get(key) is None:
            raise CurateError(f"the task file has no `{key}`", f"{where}: {key}", _HINTS.get(key))
    data = config["dataset_kwargs"].get("data_files")
    if not data:
        raise CurateError(
            "the task file names no local files", f"{where}: dataset_kwargs.data_files", _HINTS["dataset_kwargs"]
        )
    split = config.get("test_split") or config.get("validation_split")
    if isinstance(data, dict) and split not in data:
        raise CurateError(
            f"there are no files for the split `{split}`", f"{where}: dataset_kwargs.data_files",
            f"`test_split` is one of: {', '.join(data)}",
        )  # fmt: skip
    train = config.get("fewshot_split") or config.get("training_split")
    base = folder or path.parent

    def files(one: str | list[str]) -> tuple[str, ...]:
        return tuple(str(base / name) for name in ([one] if isinstance(one, str) else one))

    own = files(data[split] if isinstance(data, dict) else data)
    for name in own:
        if not any(Path(Path(name).anchor or ".").glob(str(Path(name).relative_to(Path(name).anchor)))):
            raise CurateError(f"there is no file `{name}`", f"{where}: dataset_kwargs.data_files.{split}")
    more = files(data[train]) if isinstance(data, dict) and train != split and train in data else ()
    name = re.sub(r"[^\w.-]", "-", str(config["task"]))
    return HarnessTask(name=name, harness=str(path.resolve()), files=own, examples_from=more, **settings)


_HINTS = {"dataset_kwargs": "`dataset_kwargs: {data_files: {test: FILE}}` and `test_split: test`: nothing is fetched"}


def _load(path: Path) -> dict[str, Any]:
    _begin()
    from lm_eval.tasks._yaml_loader import load_yaml

    if not path.is_file():
        raise CurateError("there is no such task file", str(path), "a path in lm-evaluation-harness's folder of tasks")
    try:
        return load_yaml(path)
    except Exception as error:
        raise CurateError(f"the task file cannot be read: {error}", str(path)) from None


def _begin() -> None:
    """Load it so that it fetches nothing and says nothing.

    Raises:
        CurateError: It is not installed.
    """
    if find_spec("lm_eval") is None:
        raise CurateError("lm-evaluation-harness is not installed", "--tasks", "pip install 'curate-lm[eval]'")
    os.environ |= dict.fromkeys(
        ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE", "TRANSFORMERS_OFFLINE"), "1"
    )
    import datasets
    import lm_eval.api.task

    datasets.disable_progress_bars()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    logging.getLogger(lm_eval.api.task.__name__).setLevel(logging.ERROR)


def harness_facts(task: HarnessTask, rows: Rows, model: LanguageModel) -> dict[str, list[Any]]:
    """The facts of the rows: see `metrics.METRICS`.

    Raises:
        CurateError: The task file does not fit the rows, or counts only what is not known here.
    """
    made = _made(task, rows)
    try:
        docs = list(made.task_docs)
        places = [doc.get(PLACE, number) for number, doc in enumerate(docs)]
        if places != list(range(len(rows.rows))):
            raise CurateError(
                "`process_docs` leaves out rows, or changes their order", f"task {task.name}: {task.path}"
            )
        made._instances = [request for number, doc in enumerate(docs) for request in _requests(made, number, doc)]
        cuts = _answer(made._instances, model)
        made.apply_filters()
        return _facts(task, made, docs, cuts)
    except CurateError:
        raise
    except Exception as error:
        raise _unfit(task, error) from error


def _unfit(task: HarnessTask, error: Exception) -> CurateError:
    return CurateError(
        f"the task file does not fit the rows: {type(error).__name__}: {error}", f"task {task.name}: {task.path}"
    )


def _made(task: HarnessTask, rows: Rows) -> Any:
    """The harness's task."""
    config = {**_load(task.path), **task.settings}
    from datasets import Dataset
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.config.task import TaskConfig

    where = f"task {task.name}: {task.path}"
    unknown = next((key for key in config if key not in TaskConfig.__dataclass_fields__ and key != "group"), None)
    if unknown is not None or "group" in config:
        raise CurateError(
            "the task file is of a group: name its tasks" if unknown is None else f"there is no setting `{unknown}`",
            f"{where}: {unknown or 'group'}", unknown and did_you_mean(unknown, TaskConfig.__dataclass_fields__),
        )  # fmt: skip
    if config.get("repeats", 1) != 1:
        raise CurateError("an item is asked once", f"{where}: repeats", "`repeats: 1`")
    examples = task.examples if task.examples is not None else config.get("num_fewshot") or 0
    shown, splits = "test", {"test": _renamed(task, rows.rows)}
    if examples and task.examples_from:
        more, _ = read_files(task.examples_from, task.columns, where=f"task {task.name}: examples_from")
        shown, splits["train"] = "train", _renamed(task, more)
    given = (config.get("fewshot_config") or {}).get("samples")
    if examples and not given and len(splits[shown]) < examples + int(shown == "test"):
        raise CurateError(f"there are {len(splits[shown])} rows for {examples} examples", f"task {task.name}: examples")
    config |= {
        "task": task.name, "num_fewshot": examples, "test_split": "test", "validation_split": None, "dataset_kwargs": None,
        "training_split": None, "fewshot_split": None if given else shown,
        "custom_dataset": lambda **_: {name: Dataset.from_list(some) for name, some in splits.items()},
    }  # fmt: skip
    try:
        made = ConfigurableTask(config=config)
        made.set_fewshot_seed(SEED)
    except Exception as error:
        raise _unfit(task, error) from error
    return made


def asked_columns(task: HarnessTask) -> list[str]:
    """Columns of a row that stand in questions and answers; none where only code or an expression over `row` knows."""
    from jinja2 import TemplateError
    from jinja2.meta import find_undeclared_variables
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def variables(text: str) -> set[str]:
        return find_undeclared_variables(ImmutableSandboxedEnvironment().parse(text))

    config = {**_load(task.path), **task.settings}
    written = [config.get(key) for key in ("doc_to_text", "doc_to_choice", "doc_to_target")]
    if config.get("process_docs") or any(map(callable, written)):
        return []
    try:
        # a word without braces may be a column's name
        named = {name for one in map(str, filter(None, written)) for name in variables(one) or {one}}
        found = {one for name in named for one in variables(f"{{{{ {task.fields.get(name, name)} }}}}")}
    except TemplateError:
        return []
    return [] if "row" in found else sorted(found)


def _renamed(task: HarnessTask, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with the columns that the task file wants."""
    from jinja2 import StrictUndefined, TemplateError
    from jinja2.runtime import Undefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
    makes: dict[str, Callable[..., Any]] = {}
    for name, text in task.fields.items():
        try:
            makes[name] = environment.compile_expression(text, undefined_to_none=False)
        except TemplateError as error:
            raise CurateError(f"the expression cannot be read: {error}", f"task {task.name}: fields.{name}") from None
    found: list[dict[str, Any]] = []
    for number, row in enumerate(rows):
        made: dict[str, Any] = {}
        for name, make in makes.items():
            where = f"task {task.name}: fields.{name}"
            try:
                made[name] = make(**row, row=row)
            except (TemplateError, TypeError) as error:
                raise CurateError(f"the row {row['id']} does not fit: {error}", where) from None
            if isinstance(made[name], Undefined):
                raise CurateError(f"the row {row['id']} does not fit `{task.fields[name]}`: {row}", where)
        found.append({**row, **made, PLACE: number})
    return found


def _requests(made: Any, number: int, doc: dict[str, Any]) -> list[Any]:
    context = made.fewshot_context(doc, num_fewshot=made.config.num_fewshot, gen_prefix=made.doc_to_prefix(doc))
    requests = made.construct_requests(doc=doc, ctx=context, metadata=(made.config.task, number, 1))
    return requests if isinstance(requests, list) else [requests]


def _answer(requests: Sequence[Any], model: LanguageModel) -> list[int]:
    """Let the model answer; how many tokens of each prompt were cut."""
    kind = requests[0].request_type
    if kind == "loglikelihood":
        scored = model.score([one.args for one in requests])
        for request, one in zip(requests, scored, strict=True):
            request.resps = [(one.nats, one.greedy)]
        return [one.cut for one in scored]
    if kind == "loglikelihood_rolling":
        for request, one in zip(requests, model.read([one.args[0] for one in requests]), strict=True):
            request.resps = [-float(one.nats.sum(dtype=np.float64))]
        return [0] * len(requests)
    how = requests[0].args[1]
    until = how.get("until") or ()
    said = model.complete(
        [one.args[0] for one in requests],
        most=int(how.get("max_gen_toks", 256)), stop=(until,) if isinstance(until, str) else tuple(until),
        temperature=float(how.get("temperature", 0.0)) if how.get("do_sample") else 0.0,
    )  # fmt: skip
    for request, one in zip(requests, said, strict=True):
        request.resps = [one.text]
    return [one.cut for one in said]


def _facts(task: HarnessTask, made: Any, docs: list[dict[str, Any]], cuts: list[int]) -> dict[str, list[Any]]:
    filter_name = made._filters[0].name
    asked: list[list[Any]] = [[] for _ in docs]
    cut = [0] * len(docs)
    for request, some in zip(made._instances, cuts, strict=True):
        asked[request.doc_id].append(request)
        cut[request.doc_id] = max(cut[request.doc_id], some)
    items: list[dict[str, Any]] = []
    for doc, requests, some in zip(docs, asked, cut, strict=True):
        answers = [one.filtered_resps[filter_name] for one in requests]
        counted = made.process_results(doc, answers)
        item = {SCORES[name]: float(value) for name, value in counted.items() if name in SCORES}
        items.append({**item, **_more(made, doc, requests, answers, counted), "cut": some})
    if not set(items[0]) - {"cut", *_SAMPLES}:
        names = ", ".join(made.aggregation())
        raise CurateError(f"none of its metrics is known here: {names}", f"task {task.name}: {task.path}: metric_list")
    return {name: [item[name] for item in items] for name in items[0]}


_SAMPLES = ("prompt", "choices", "log_probabilities", "generated")


def _more(
    made: Any, doc: dict[str, Any], requests: list[Any], answers: list[Any], counted: dict[str, Any]
) -> dict[str, Any]:
    """The facts of an item that its scores do not tell."""
    prompt = requests[0].args[0]
    if made.OUTPUT_TYPE == "generate_until":
        found = {"prompt": prompt, "generated": requests[0].resps[0]}
        if {"bleu", "chrf"} & set(counted):
            gold = made.doc_to_target(doc)
            found |= {
                "hypothesis": str(answers[0]),
                "references": [str(one) for one in gold] if isinstance(gold, list) else [str(gold)],
            }
        return found
    if made.OUTPUT_TYPE == "loglikelihood_rolling":
        text = prompt
        return {"nats": -answers[0], "bytes": made.count_bytes(text), "words": made.count_words(text)}
    if made.OUTPUT_TYPE == "loglikelihood":
        return {"nats": -answers[0][0], "bytes": len(requests[0].args[1].encode()), "words": 1, "prompt": prompt}
    offered = made.doc_to_choice(doc)
    logs = np.array([one[0] for one in answers[: len(offered)]])
    written = [one.args[1] for one in requests[: len(offered)]]
    best, gold = int(logs.argmax()), made.doc_to_text(doc) if made.multiple_input else made.doc_to_target(doc)
    found = {"prompt": prompt, "choices": written, "log_probabilities": logs.tolist()}
    if isinstance(gold, str):
        gold = offered.index(gold) if gold in offered else -1
    if made.config.process_results is not None or isinstance(gold, list):
        return found
    if not 0 <= gold < len(offered):
        raise ValueError(f"the right answer of {doc.get('id')} is none of {len(offered)} choices")
    if isinstance(made.config.doc_to_choice, list):  # else the places of the choices mean nothing over all rows
        found |= {"gold": offered[gold], "predicted": offered[best]}
    return found | {
        "confidence": float(np.exp(logs[best] - np.logaddexp.reduce(logs))), "nats": -float(logs[gold]),
        "accuracy": float(best == gold), "bytes": len(written[gold].encode()),
    }  # fmt: skip
