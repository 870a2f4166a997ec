"""`curate ablate`: plan, train, measure, infer.

    ablations/
      NAME/plan.json         arms, seeds, recipe, held-out sets, endpoint and prediction: before the first step
      NAME/result.json       what `--json` prints
      NAME/report.html
      tokenizers/SHA.json
      settings/KEY.yaml      the training file of a run
      runs/KEY/              the run; KEY is a hash of all that decides it, so ablations share what is the same
      runs/KEY.log           what the training said
      evaluations/KEY/       what it was measured on

A seed sets the first weights, the order, and, where the version has more tokens than are trained on, the sample. The A/A arm is
the first one with seeds of its own. A run that is interrupted goes on from its checkpoint when the command is given again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.dataset.runs import Thing, now, record, run_id
from curate.dataset.store import Store
from curate.errors import CurateError
from curate.evaluation.ablation.arms import Arm
from curate.evaluation.ablation.heldout import HeldOut, held_out_sets
from curate.evaluation.ablation.infer import AA, Values, compare_arms
from curate.evaluation.ablation.presets import Settings, recipe, tokens_of, training
from curate.evaluation.metrics import measure
from curate.files import write_durably
from curate.jsontext import dumps, loads
from curate.tokenize.tokenizer import TokenizerSettings, train_tokenizer

__all__ = ["SCOPE", "Asked", "ablate"]

Say = Callable[[str], None]
SCOPE = (
    "This holds for models of this size, trained on as many tokens with this recipe. DataDecide (arXiv 2504.11393) found that "
    "about 80% of such decisions between data sets at 150 million parameters held at one billion; for smaller models nothing "
    "is known."
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is compared, and how.

    Attributes:
        arms: The first is what the others are compared with.
        store: Of their versions.
        folder: `ablations`.
        name: Of this ablation.
        seeds: How many trainings each arm gets.
        preset: Name of the recipe.
        overrides: Settings that differ from it.
        tokenizer: A tokenizer to take; None: one is trained on all arms together.
        heldout: `VERSION_OR_FILE[:NAME]`.
        by: Column of domains.
        predicted: What somebody expects; written down before the first step.
        processes: Of a training.
    """

    arms: Sequence[Arm]
    store: Store
    folder: Path
    name: str
    seeds: int = 5
    preset: str = "xs"
    overrides: Sequence[str] = ()
    tokenizer: str | None = None
    heldout: Sequence[str] = ()
    by: str | None = None
    predicted: str | None = None
    processes: int | None = None


def ablate(asked: Asked, say: Say) -> dict[str, Any]:
    """Do what was asked, or go on with it; returns what `--json` prints.

    Raises:
        CurateError: The arms, sets or settings do not fit, or the same name was used for another ablation.
        ResumableError: It was interrupted; the same call goes on.
    """
    settings = recipe(asked.preset, asked.overrides)
    sets = held_out_sets(asked.heldout, asked.arms, asked.store, limit=settings["limit"], by=asked.by, say=say)
    tokenizer = _tokenizer(asked, settings, say)
    steps = max(1, round(settings["tokens"] / tokens_of(settings)))
    primary = [one.name for one in sets if one.neutral] or [one.name for one in sets]
    plan = _plan(asked, settings, sets, tokenizer, steps, primary)
    _write_plan(asked, plan)
    began, identity = now(), run_id()
    _record(asked, identity, began, "running", plan, None)
    try:
        trained = _all_trained(asked, settings, sets, tokenizer, steps, say)
        result = _result(asked, plan, sets, primary, trained)
    except BaseException as error:
        _record(asked, identity, began, "failed" if isinstance(error, CurateError) else "interrupted", plan, None)
        raise
    write_durably(asked.folder / asked.name / "result.json", dumps(result).encode())
    _record(asked, identity, began, "done", plan, result)
    return result


# ---- before the first step


def _tokenizer(asked: Asked, settings: Settings, say: Say) -> Path:
    """One for all arms: with others, bits per byte would differ for more than one reason."""
    if asked.tokenizer:
        path = Path(asked.tokenizer)
        path = path / "tokenizer.json" if path.is_dir() else path
        if not path.is_file():
            raise CurateError(f"there is no tokenizer in `{asked.tokenizer}`", "--tokenizer")
        return path
    sources = list({arm.source.version: arm.source for arm in asked.arms}.values())
    key = dumps([sorted(one.version for one in sources), settings["tokenizer"]])
    path = asked.folder / "tokenizers" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    if not path.is_file():
        say("tokenizer: learned from the train splits of all arms")
        write_durably(path, train_tokenizer(sources, TokenizerSettings(**settings["tokenizer"])).encode())
    return path


def _plan(
    asked: Asked, settings: Settings, sets: Sequence[HeldOut], tokenizer: Path, steps: int, primary: Sequence[str]
) -> dict[str, Any]:
    return {
        "schema": 1, "name": asked.name, "preset": asked.preset, "settings": settings, "seeds": asked.seeds, "steps": steps,
        "tokens": steps * tokens_of(settings), "tokenizer": hashlib.sha256(tokenizer.read_bytes()).hexdigest(),
        "arms": [
            {"name": arm.name, "version": arm.dataset.version, "dataset": arm.reference, "column": arm.column,
             "seeds": _seeds(arm, asked.seeds)}
            for arm in asked.arms
        ],
        "heldout": [one.json() for one in sets], "warnings": [words for one in sets for words in one.warnings],
        "endpoint": {"metric": "bits_per_byte", "mean_over": list(primary)}, "predicted": asked.predicted,
    }  # fmt: skip


def _seeds(arm: Arm, count: int) -> list[int]:
    return [count + seed if arm.again else seed for seed in range(1, count + 1)]


def _write_plan(asked: Asked, plan: dict[str, Any]) -> None:
    path = asked.folder / asked.name / "plan.json"
    if path.is_file():
        before = loads(path.read_bytes())
        differ = [key for key in plan if before.get(key) != loads(dumps(plan[key]))]
        if differ:
            raise CurateError(
                f"the ablation `{asked.name}` was begun with another plan: {', '.join(differ)}",
                str(path),
                "name another one (--name): what was declared before is not changed after",
            )
        return
    write_durably(path, json.dumps(plan, indent=1, ensure_ascii=False).encode())


# ---- training and measuring


@dataclass(frozen=True, slots=True)
class _Trained:
    """A run of an arm: its folder, its seed, and bits per byte by held-out set; None where it diverged."""

    arm: str
    seed: int
    run: Path
    values: dict[str, float] | None


def _all_trained(
    asked: Asked, settings: Settings, sets: Sequence[HeldOut], tokenizer: Path, steps: int, say: Say
) -> list[_Trained]:
    """Every arm with every seed; arms take turns, so that what is there early tells of all."""
    todo = [(arm, _seeds(arm, asked.seeds)[at]) for at in range(asked.seeds) for arm in asked.arms]
    found = []
    for number, (arm, seed) in enumerate(todo, 1):
        config = training(settings, arm.reference, column=arm.column, tokenizer=tokenizer, steps=steps, seed=seed)
        key = _key(config, arm, tokenizer)
        say(f"{number} of {len(todo)}: {arm.name}, seed {seed}")
        run = _trained(asked, config, key)
        values = None if run is None else _measured(asked, run, sets, say)
        found.append(_Trained(arm.name, seed, asked.folder / "runs" / key, values))
    return found


def _key(config: Settings, arm: Arm, tokenizer: Path) -> str:
    """A hash of all that decides a run."""
    decides = {
        **config, "dataset": arm.dataset.version,
        "tokenizer": hashlib.sha256(tokenizer.read_bytes()).hexdigest(),
    }  # fmt: skip
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]


def _trained(asked: Asked, config: Settings, key: str) -> Path | None:
    """The folder of the run, trained now or before; None where it diverged, which is written down."""
    from curate.train.run import train_run
    from curate.train.runs.folder import RunFolder

    folder = asked.folder / "runs" / key
    diverged = folder / "diverged.json"
    if diverged.is_file():
        return None
    if (folder / "result.json").is_file() and RunFolder(folder).result():
        return folder
    path = asked.folder / "settings" / f"{key}.yaml"
    write_durably(path, json.dumps({**config, "run": key}, indent=1).encode())  # JSON is YAML
    log = asked.folder / "runs" / f"{key}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        with log.open("a") as said, redirect_stderr(said):
            train_run(path, overrides=[], processes=asked.processes, runs=log.parent, store=asked.store.location)
    except CurateError as error:
        if "gradients" not in error.problem or "loss is" not in error.problem:
            raise
        write_durably(diverged, dumps({"problem": error.problem}).encode())
        return None
    return folder


def _measured(asked: Asked, run: Path, sets: Sequence[HeldOut], say: Say) -> dict[str, float]:
    """Bits per byte of each held-out set, without the documents that were seen in a training."""
    from curate.evaluation.models.opened import open_model
    from curate.evaluation.run import evaluate

    folder = asked.folder / "evaluations" / run.name
    found = evaluate(
        lambda: open_model(str(run)), [one.task for one in sets], folder, store=asked.store, say=lambda words: None
    )
    values: dict[str, float] = {}
    for one in sets:
        table = found.items(one.task.name).table
        left = table.filter(pa.array([name not in one.left_out for name in table["id"].to_pylist()]))
        value = measure("bits_per_byte", left).value
        assert value is not None, "a set with documents has a value"
        values[one.name] = value
    say("  " + ", ".join(f"{name} {value:.4f}" for name, value in values.items()))
    return values


# ---- what it comes to


def _result(
    asked: Asked, plan: dict[str, Any], sets: Sequence[HeldOut], primary: Sequence[str], trained: Sequence[_Trained]
) -> dict[str, Any]:
    values: dict[str, Values] = {
        arm.name: {
            one.name: [None if run.values is None else run.values[one.name] for run in trained if run.arm == arm.name]
            for one in sets
        }
        for arm in asked.arms
    }
    comparisons, calibrated = compare_arms(values, primary)
    costs = {arm.name: _cost([run for run in trained if run.arm == arm.name], plan["tokens"]) for arm in asked.arms}
    warnings = [*plan["warnings"]]
    for name, cost in costs.items():
        if cost["epochs"] is not None and cost["epochs"] > 1:
            warnings.append(
                f"{name}: each document is read {cost['epochs']:.1f} times: repeats are part of what is compared"
            )
        if cost["diverged"]:
            warnings.append(f"{name}: {cost['diverged']} of {asked.seeds} seeds diverged")
    if calibrated is False:
        warnings.append(f"the {AA} arm differs from the first though its data is the same: nothing here can be trusted")
    return {
        "schema": 1, **{key: plan[key] for key in _TOLD},
        "comparisons": [one.json() for one in comparisons], "calibrated": calibrated, "values": values,
        "arms": [{**arm, **costs[arm["name"]]} for arm in plan["arms"]], "heldout": plan["heldout"],
        "curves": {arm.name: _curve([run for run in trained if run.arm == arm.name]) for arm in asked.arms},
        "runs": [{"arm": one.arm, "seed": one.seed, "run": one.run.name, "diverged": one.values is None} for one in trained],
        "warnings": warnings, "scope": SCOPE, "folder": str(asked.folder / asked.name),
    }  # fmt: skip


_TOLD = ("name", "preset", "seeds", "steps", "tokens", "tokenizer", "endpoint", "predicted")
"""What the result takes over from the plan."""


def _cost(runs: Sequence[_Trained], tokens: int) -> dict[str, Any]:
    """Seconds and tokens a second of the trainings, and how often each document was read."""
    seconds = [sum(row.get("seconds", 0.0) for row in _metrics(one.run)) for one in runs]
    data = [
        loads((one.run / "config.json").read_bytes())["data"] for one in runs if (one.run / "config.json").is_file()
    ]
    there = data[0]["splits"]["train"]["tokens"] if data else None
    return {
        "seconds": sum(seconds), "tokens_per_second": tokens * len(runs) / max(sum(seconds), 1e-9),
        "train_tokens": there, "epochs": tokens / there if there else None,
        "diverged": sum(one.values is None for one in runs),
    }  # fmt: skip


def _metrics(run: Path) -> list[dict[str, Any]]:
    path = run / "metrics.jsonl"
    return [loads(line) for line in path.read_bytes().splitlines()] if path.is_file() else []


def _curve(runs: Sequence[_Trained]) -> list[dict[str, Any]]:
    """Bits per byte of the arm's own validation split by tokens, the mean over its seeds that came to an end."""
    rows = [[row for row in _metrics(one.run) if "validation" in row] for one in runs if one.values is not None]
    curve = []
    for at in zip(*rows, strict=False):
        values = [row["validation"].get("bits_per_byte") for row in at]
        if all(value is not None for value in values):
            curve.append({"tokens": at[0]["tokens"], "bits_per_byte": sum(values) / len(values)})
    return curve


def _record(
    asked: Asked, identity: str, began: str, state: Any, plan: dict[str, Any], result: dict[str, Any] | None
) -> None:
    versions = {arm.dataset.version: arm.reference for arm in asked.arms}
    place = str((asked.folder / asked.name).resolve())
    outputs, verdicts = list[Thing](), []
    if result:
        outputs = [Thing(kind="ablation", id=hashlib.sha256(dumps(result).encode()).hexdigest(), name=place)]
        verdicts = [[one["arm"], one["task"], one["verdict"]] for one in result["comparisons"]]
    record(
        asked.store, "ablation", identity, name=asked.name, state=state, began=began,
        inputs=[Thing(kind="version", id=one, name=name) for one, name in versions.items()], outputs=outputs,
        facts={"plan": plan, "verdicts": verdicts, "folder": place},
    )  # fmt: skip
