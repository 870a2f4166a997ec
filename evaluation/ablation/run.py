"""`curate ablate`: plan, train, measure, infer.

    ablations/
      NAME/plan.json         arms, seeds, recipe, held-out sets, endpoint and prediction (experiment.py)
      NAME/result.json
      NAME/report.html
      tokenizers/SHA.json
      settings/ runs/ evaluations/    of all ablations, by key (trained.py)

A seed sets the first weights, the order, and, where the version has more tokens than are trained on, the sample. The A/A arm is
the first one with seeds of its own. A run that is interrupted goes on from its checkpoint when the command is given again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.dataset.store import Store
from curate.errors import CurateError
from curate.evaluation.ablation.arms import Arm
from curate.evaluation.ablation.experiment import Experiment, experiment
from curate.evaluation.ablation.gating import check_gates, judge_arms
from curate.evaluation.ablation.heldout import HeldOut, held_out_sets
from curate.evaluation.ablation.infer import AA, Values, compare_arms, home_advantage
from curate.evaluation.ablation.presets import Settings, recipe, tokens_of, training
from curate.evaluation.ablation.trained import Shelf, Trained, cost, curve, train_tokens
from curate.evaluation.gates import Gate
from curate.files import write_durably
from curate.jsontext import dumps
from curate.tokenize.pack import Fields
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
        gates: What has to be shown; written down before the first step, too.
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
    gates: Sequence[Gate] = ()
    processes: int | None = None


def ablate(asked: Asked, say: Say) -> dict[str, Any]:
    """Do what was asked, or go on with it; returns what `--json` prints.

    Raises:
        CurateError: The arms, sets or settings do not fit, or the same name was used for another ablation.
        ResumableError: It was interrupted; the same call goes on.
    """
    settings = recipe(asked.preset, asked.overrides)
    sets = held_out_sets(asked.heldout, asked.arms, asked.store, limit=settings["limit"], by=asked.by, say=say)
    check_gates(asked.gates, [one.name for one in sets])
    tokenizer = _tokenizer(asked, settings, say)
    steps = max(1, round(settings["tokens"] / tokens_of(settings)))
    primary = [one.name for one in sets if one.neutral] or [one.name for one in sets]
    plan = _plan(asked, settings, sets, tokenizer, steps, primary)
    versions = {arm.dataset.version: arm.reference for arm in asked.arms}
    with experiment(Experiment("ablation", asked.folder / asked.name, plan, asked.store, versions)) as finish:
        trained = _all_trained(asked, settings, sets, tokenizer, steps, say)
        result = _result(asked, plan, sets, primary, trained)
        finish(result, [[one["arm"], one["task"], one["verdict"]] for one in result["comparisons"]])
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
    column = asked.arms[0].column
    sources = list({arm.source.dataset.version: arm.source.dataset for arm in asked.arms}.values())
    versions = sorted(one.version for one in sources)
    key = dumps([versions, settings["tokenizer"], *([] if column == "text" else [column])])
    path = asked.folder / "tokenizers" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    if not path.is_file():
        say("tokenizer: learned from the train splits of all arms")
        made = train_tokenizer(sources, TokenizerSettings(**settings["tokenizer"]), Fields(texts={"text": column}))
        write_durably(path, made.encode())
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
        **({"gates": [one.text for one in asked.gates]} if asked.gates else {}),
    }  # fmt: skip


def _seeds(arm: Arm, count: int) -> list[int]:
    return [count + seed if arm.again else seed for seed in range(1, count + 1)]


# ---- training and measuring


def _all_trained(
    asked: Asked, settings: Settings, sets: Sequence[HeldOut], tokenizer: Path, steps: int, say: Say
) -> list[Trained]:
    """Every arm with every seed; arms take turns, so that what is there early tells of all."""
    shelf = Shelf(asked.folder, asked.store, asked.processes)
    todo = [(arm, _seeds(arm, asked.seeds)[at]) for at in range(asked.seeds) for arm in asked.arms]
    found = []
    for number, (arm, seed) in enumerate(todo, 1):
        config = training(settings, arm.reference, column=arm.column, tokenizer=tokenizer, steps=steps, seed=seed)
        say(f"{number} of {len(todo)}: {arm.name}, seed {seed}")
        found.append(shelf.trained(arm.name, config, {arm.reference: arm.dataset.version}, sets, say))
    return found


# ---- what it comes to


def _result(
    asked: Asked, plan: dict[str, Any], sets: Sequence[HeldOut], primary: Sequence[str], trained: Sequence[Trained]
) -> dict[str, Any]:
    values: dict[str, Values] = {
        arm.name: {
            one.name: [None if run.values is None else run.values[one.name] for run in trained if run.name == arm.name]
            for one in sets
        }
        for arm in asked.arms
    }
    comparisons, calibrated = compare_arms(values, primary)
    costs = {arm.name: _cost([run for run in trained if run.name == arm.name], plan["tokens"]) for arm in asked.arms}
    warnings = [*plan["warnings"]]
    for name, one in costs.items():
        if one["epochs"] is not None and one["epochs"] > 1:
            warnings.append(
                f"{name}: each document is read {one['epochs']:.1f} times: repeats are part of what is compared"
            )
        if one["diverged"]:
            warnings.append(f"{name}: {one['diverged']} of {asked.seeds} seeds diverged")
    if calibrated is False:
        warnings.append(f"the {AA} arm differs from the first though its data is the same: nothing here can be trusted")
    return {
        "schema": 1, **{key: plan[key] for key in _TOLD},
        "comparisons": [one.json() for one in comparisons], "calibrated": calibrated, "values": values,
        "gates": [one.json() for one in judge_arms(asked.gates, comparisons, values, primary)], "home": _home(sets, values),
        "arms": [{**arm, **costs[arm["name"]]} for arm in plan["arms"]], "heldout": plan["heldout"],
        "curves": {arm.name: curve([run for run in trained if run.name == arm.name]) for arm in asked.arms},
        "runs": [one.json("arm") for one in trained],
        "warnings": warnings, "scope": SCOPE, "folder": str(asked.folder / asked.name),
    }  # fmt: skip


_TOLD = ("name", "preset", "seeds", "steps", "tokens", "tokenizer", "endpoint", "predicted")
"""What the result takes over from the plan."""


def _home(sets: Sequence[HeldOut], values: dict[str, Values]) -> dict[str, Any]:
    """Which set is whose, and what being at home is worth; no set where fewer than two arms have one."""
    homes = {one.home: one.name for one in sets if one.home is not None}
    found = home_advantage(values, homes)
    low, high = (found.low, found.high) if found else (None, None)
    return {"sets": homes, "advantage": found.value if found else None, "low": low, "high": high}


def _cost(runs: Sequence[Trained], tokens: int) -> dict[str, Any]:
    """What the trainings cost, and how often each document was read."""
    there = next((one for run in runs if (one := train_tokens(run.run)) is not None), None)
    return {**cost(runs), "train_tokens": there, "epochs": tokens / there if there else None}
