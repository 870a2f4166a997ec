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
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from curate.dataset.store import Store
from curate.errors import CurateError
from curate.evaluation.ablation.arms import Arm
from curate.evaluation.ablation.equivalents import BUDGETS, equivalents
from curate.evaluation.ablation.experiment import Experiment, experiment
from curate.evaluation.ablation.gating import check_gates, judge_arms
from curate.evaluation.ablation.heldout import HeldOut, held_out_sets
from curate.evaluation.ablation.infer import AA, PRIMARY, Comparison, Values, compare_arms, home_advantage, macro
from curate.evaluation.ablation.presets import Settings, checked, recipe, tokens_of, training
from curate.evaluation.ablation.trained import Shelf, Trained, cost, curve, key_of, train_tokens, values_of
from curate.evaluation.gates import Gate
from curate.files import write_durably
from curate.jsontext import dumps
from curate.tokenize.pack import Fields, pack_dataset
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
        match: What all arms are given as much of; of documents an arm with longer ones is trained on more tokens.
        last: How many last checkpoints the value of a training is the mean of.
        equivalents: Whether the first arm is trained on half and twice the tokens, too (equivalents.py).
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
    match: Literal["tokens", "documents"] = "tokens"
    last: int = 1
    equivalents: bool = False
    processes: int | None = None


@dataclass(frozen=True, slots=True)
class Training:
    """A training that an ablation needs.

    Attributes:
        name: The arm, or the first one with another budget.
        config: The training file, without the name of the run.
        versions: Ids of the versions that it names.
    """

    name: str
    config: Settings
    versions: Mapping[str, str]


def ablate(asked: Asked, say: Say) -> dict[str, Any]:
    """Do what was asked, or go on with it; returns what `--json` prints.

    Raises:
        CurateError: The arms, sets or settings do not fit, or the same name was used for another ablation.
        ResumableError: It was interrupted; the same call goes on.
    """
    settings = recipe(asked.preset, asked.overrides, processes=asked.processes)
    sets = held_out_sets(asked.heldout, asked.arms, asked.store, limit=settings["limit"], by=asked.by, say=say)
    check_gates(asked.gates, [one.name for one in sets])
    tokenizer = _tokenizer(asked, settings, say)
    steps = _steps(asked, settings, tokenizer)
    primary = [one.name for one in sets if one.neutral] or [one.name for one in sets]
    todo = _trainings(asked, settings, tokenizer, steps)
    plan = _plan(asked, settings, sets, tokenizer, steps, primary)
    plan["runs"] = [key_of(one.config, one.versions) for one in todo]
    versions = {arm.dataset.version: arm.reference for arm in asked.arms}
    with experiment(Experiment("ablation", asked.folder / asked.name, plan, asked.store, versions)) as finish:
        trained = _all_trained(asked, todo, sets, say)
        result = _result(asked, plan, sets, primary, trained)
        if asked.equivalents:
            more = {one: [run for run in trained if run.name == _budget(asked.arms[0], one)] for one in BUDGETS}
            result |= _worth(result, more, primary)
        for words in result["doubts"]:
            say(f"warning: {words}")
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


def _steps(asked: Asked, settings: Settings, tokenizer: Path) -> dict[str, int]:
    """Steps of each arm: as many tokens for all, or as many documents as these are of the first arm."""
    each = settings["tokens"] / tokens_of(settings)
    if asked.match == "tokens":
        return {arm.name: max(1, round(each)) for arm in asked.arms}
    lengths = {arm.name: _mean_length(arm, tokenizer) for arm in asked.arms}
    first = lengths[asked.arms[0].name]
    return {name: max(1, round(each * length / first)) for name, length in lengths.items()}


def _mean_length(arm: Arm, tokenizer: Path) -> float:
    """Tokens of a document of the train split; they are cut once, here or by the training."""
    pack = pack_dataset(
        arm.dataset, TokenizerSettings(path=str(tokenizer.resolve())), Fields(texts={"text": arm.column})
    )
    train = pack.manifest["splits"]["train"]
    return train["tokens"] / train["documents"]


def _plan(
    asked: Asked,
    settings: Settings,
    sets: Sequence[HeldOut],
    tokenizer: Path,
    steps: Mapping[str, int],
    primary: Sequence[str],
) -> dict[str, Any]:
    first = steps[asked.arms[0].name]
    apart = {"match": asked.match} if asked.match != "tokens" else {}
    last = {"last": asked.last} if asked.last > 1 else {}
    return {
        "schema": 1, "name": asked.name, "preset": asked.preset, "settings": settings, "seeds": asked.seeds, "steps": first,
        "tokens": first * tokens_of(settings), "tokenizer": hashlib.sha256(tokenizer.read_bytes()).hexdigest(),
        "arms": [
            {"name": arm.name, "version": arm.dataset.version, "dataset": arm.reference, "column": arm.column,
             "seeds": _seeds(arm, asked.seeds), **({"steps": steps[arm.name]} if apart else {})}
            for arm in asked.arms
        ],
        "heldout": [one.json() for one in sets], "warnings": [words for one in sets for words in one.warnings],
        "endpoint": {"metric": "bits_per_byte", "mean_over": list(primary)}, "predicted": asked.predicted, **apart, **last,
        **({"gates": [one.text for one in asked.gates]} if asked.gates else {}),
        **({"budgets": list(BUDGETS)} if asked.equivalents else {}),
    }  # fmt: skip


def _trainings(asked: Asked, settings: Settings, tokenizer: Path, steps: Mapping[str, int]) -> list[Training]:
    """Every arm with every seed; arms take turns, so that what is there early tells of all. Then the first with other budgets.

    Raises:
        CurateError: The settings of one of them do not fit.
    """
    first = asked.arms[0]
    told = [
        (arm, arm.name, steps[arm.name], _seeds(arm, asked.seeds)[at])
        for at in range(asked.seeds)
        for arm in asked.arms
    ]
    if asked.equivalents:
        told += [(first, _budget(first, one), max(1, round(steps[first.name] * one)), seed)
                 for seed, one in itertools.product(_seeds(first, asked.seeds), BUDGETS)]  # fmt: skip
    found = []
    for arm, name, count, seed in told:
        config = training(
            settings, arm.reference, column=arm.column, tokenizer=tokenizer, steps=count, seed=seed, last=asked.last
        )
        checked(config, processes=asked.processes)
        found.append(Training(name, config, {arm.reference: arm.dataset.version}))
    return found


def _budget(arm: Arm, budget: float) -> str:
    return f"{arm.name} x{budget:g}"


def _seeds(arm: Arm, count: int) -> list[int]:
    return [count + seed if arm.again else seed for seed in range(1, count + 1)]


# ---- training and measuring


def _all_trained(asked: Asked, todo: Sequence[Training], sets: Sequence[HeldOut], say: Say) -> list[Trained]:
    shelf = Shelf(asked.folder, asked.store, asked.processes, asked.last)
    found = []
    for number, one in enumerate(todo, 1):
        say(f"{number} of {len(todo)}: {one.name}, seed {one.config['seed']}")
        found.append(shelf.trained(one.name, one.config, one.versions, sets, say))
    return found


# ---- what it comes to


def _result(
    asked: Asked, plan: dict[str, Any], sets: Sequence[HeldOut], primary: Sequence[str], trained: Sequence[Trained]
) -> dict[str, Any]:
    names = [one.name for one in sets]
    values: dict[str, Values] = {
        arm.name: values_of([run for run in trained if run.name == arm.name], names) for arm in asked.arms
    }
    comparisons, calibrated = compare_arms(values, primary)
    costs = {arm["name"]: _cost([run for run in trained if run.name == arm["name"]], plan, arm) for arm in plan["arms"]}
    warnings = [*plan["warnings"]]
    if asked.match == "documents":
        warnings.append("all arms were given as many documents: one with longer ones was trained on more tokens")
    for name, one in costs.items():
        if one["epochs"] is not None and one["epochs"] > 1:
            warnings.append(
                f"{name}: each document is read {one['epochs']:.1f} times: repeats are part of what is compared"
            )
        if one["diverged"]:
            warnings.append(f"{name}: {one['diverged']} of {asked.seeds} seeds diverged")
    doubts = _doubts(asked.arms, comparisons, calibrated=calibrated)
    return {
        "schema": 1, **{key: plan[key] for key in _TOLD},
        "comparisons": [one.json() for one in comparisons], "calibrated": calibrated, "values": values,
        "gates": [one.json() for one in judge_arms(asked.gates, comparisons, values, primary)], "home": _home(sets, values),
        "arms": [{**arm, **costs[arm["name"]]} for arm in plan["arms"]], "heldout": plan["heldout"],
        "curves": {arm.name: curve([run for run in trained if run.name == arm.name]) for arm in asked.arms},
        "runs": [one.json("arm") for one in trained],
        "seconds": sum(one["seconds"] for one in costs.values()), "match": asked.match, "last": asked.last, "equivalents": None,
        "doubts": doubts, "warnings": [*doubts, *warnings], "scope": SCOPE, "folder": str(asked.folder / asked.name),
    }  # fmt: skip


def _doubts(arms: Sequence[Arm], comparisons: Sequence[Comparison], *, calibrated: bool | None) -> list[str]:
    """What makes all of an ablation doubtful: an A/A arm that fails, and controls that are not found worse."""
    heads, found = {one.arm: one for one in comparisons if one.task == PRIMARY}, []
    if calibrated is False:
        why = (
            "a seed of it, or of the first, diverged, so that it tells nothing"
            if None in heads[AA].differences
            else "it differs from the first though its data is the same"
        )
        return [f"the {AA} arm fails: {why}: nothing here can be trusted"]
    for name in (arm.name for arm in arms if arm.base is not None):
        if heads[name].verdict == "better":
            found.append(
                f"the control `{name}` was found better, though its texts are spoiled: these held-out sets do not tell "
                "better data from worse"
            )
        elif heads[name].verdict != "worse":
            found.append(
                f"the control `{name}` was not found worse, though its texts are spoiled: that no difference is shown of "
                "others here means little; more tokens or seeds may find it"
            )
    return found


_TOLD = ("name", "preset", "seeds", "steps", "tokens", "tokenizer", "endpoint", "predicted")
"""What the result takes over from the plan."""


def _home(sets: Sequence[HeldOut], values: dict[str, Values]) -> dict[str, Any]:
    """Which set is whose, and what being at home is worth; no set where fewer than two arms have one."""
    homes = {one.home: one.name for one in sets if one.home is not None}
    found = home_advantage(values, homes)
    low, high = (found.low, found.high) if found else (None, None)
    return {"sets": homes, "advantage": found.value if found else None, "low": low, "high": high}


def _cost(runs: Sequence[Trained], plan: dict[str, Any], arm: dict[str, Any]) -> dict[str, Any]:
    """What the trainings cost, on how many tokens each, and how often each document was read."""
    there = next((one for run in runs if (one := train_tokens(run.run)) is not None), None)
    tokens = plan["tokens"] * arm.get("steps", plan["steps"]) // plan["steps"]
    return {**cost(runs), "tokens": tokens, "train_tokens": there, "epochs": tokens / there if there else None}


def _worth(result: dict[str, Any], more: Mapping[float, Sequence[Trained]], primary: Sequence[str]) -> dict[str, Any]:
    """What the arms are worth in compute."""
    first, *others = result["values"]
    whole = {name: macro(result["values"][name], primary) for name in (first, *others)}
    budgets = {budget: macro(values_of(runs, primary), primary) for budget, runs in more.items()}
    found = equivalents(whole[first], budgets, {name: whole[name] for name in others if name != AA})
    told = ["the three budgets do not lie on one power law: equivalents of compute are rough"] if found["bends"] else []
    return {"equivalents": found, "warnings": [*result["warnings"], *told]}
