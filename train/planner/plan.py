"""What to train: size, tokens, epochs, loss, memory, time and cost, from unique tokens and a compute budget.

The laws are those of `curate.train.planner.scaling`. Their loss is that of Hoffmann et al.'s text and tokenizer: it compares
plans and does not predict a run's validation loss. Parameters are all of them, the embedding too.

    operations   6 N D (Kaplan et al. 2020), and apart 12 x layers x width x length a token for attention (Chowdhery et
                 al. 2022, appendix B: as if every token saw the whole sequence)
    time         operations / (devices x peak x MFU), MFU being the share of the peak that training reaches
    epochs       tokens / unique tokens; repeats are worth less, as in Muennighoff et al. 2023

Intervals hold 90% of 500 laws drawn from the fit's uncertainty. Nothing here imports torch.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from curate.errors import CurateError, did_you_mean
from curate.train.planner.budget import Compute, Data
from curate.train.planner.memory import Estimate, count_parameters, estimate
from curate.train.planner.scaling import (
    FITTED,
    REFIT,
    SAMPLES,
    best_parameters,
    best_tokens,
    effective,
    flop_of_epochs,
    loss,
    optimum,
    sampled_laws,
    useful_flop,
    useful_tokens,
)
from curate.train.planner.start import start_values
from curate.train.settings.architecture import PRESETS, Architecture, ModelSettings

if TYPE_CHECKING:
    from curate.train.settings.config import TrainConfig

__all__ = ["plan_run"]

EPOCHS = (1, 4, 16)
"""Shown for data without a budget: no repeats, repeats nearly as good as new tokens, and about the last useful ones."""
WORTH = 0.01
"""Nats per token; what is less is not worth more operations."""
MANY_EPOCHS = 16
INTERVAL = (5, 95)
"""Percentiles of the sampled laws."""

FEWEST = 1000
"""Unique tokens that there is a plan for."""


def plan_run(config: TrainConfig, data: Data, compute: Compute, *, preset: str | None = None) -> dict[str, Any]:
    """The plan, as `--json` prints it.

    Args:
        config: The training file: its vocabulary, sequence length and switches hold for all that is planned.
        data: The text there is.
        compute: The budget, if there is one, and the machines.
        preset: Plan for this size, and not for the best one.

    Raises:
        CurateError: There is nothing to plan from.
    """
    if data.unique_tokens is not None and data.unique_tokens < FEWEST:
        raise CurateError(f"{data.unique_tokens:g} tokens are too few to plan with", "--tokens", f"{FEWEST:,} at least")
    if preset is not None and preset not in PRESETS:
        hint = did_you_mean(preset, PRESETS) or f"there are {', '.join(PRESETS)}"
        raise CurateError(f"no preset `{preset}`", "--preset", hint)
    planner = _Planner(config, data, compute)
    why_not = _without_law(config)
    if why_not:
        return planner.file_only(why_not)
    if preset is None and data.unique_tokens is None and not planner.has_budget:
        raise CurateError(
            "nothing to plan from: no unique tokens and no budget",
            hint="--tokens N, or --flops N, or --hours N with --hardware NAME, or --preset NAME",
        )
    return planner.plan(preset)


def _without_law(config: TrainConfig) -> str | None:
    """Why the laws say nothing of this run; None where they do."""
    model = config.model
    if config.tasks or config.objective.kind not in ("causal", "multi_token"):
        return f"the laws are of models that predict the next token, not of `{config.objective.kind}`"
    if model.kind != "decoder":
        return f"the laws are of decoders, not of `{model.kind}`"
    if model.path is not None or config.lora is not None:
        return "the laws are of models trained from their first step, not of fine-tuning"
    return None


@dataclass(frozen=True, slots=True)
class _Shape:
    """A model of some size: of a preset or a file, or (without sizes) one between the presets."""

    name: str
    parameters: float
    attention: float
    sizes: Architecture | None = None


class _Planner:
    """What all parts of one plan share."""

    def __init__(self, config: TrainConfig, data: Data, compute: Compute) -> None:
        self.place: Literal["cpu", "cuda"] = "cpu" if config.device == "cpu" else "cuda"
        if self.place == "cuda" and "precision" not in config.model_fields_set:
            config = config.model_copy(update={"precision": "bf16"})  # what a run takes there
        self.config, self.data, self.compute = config, data, compute
        self.vocabulary = data.vocabulary or config.tokenizer.vocabulary
        self.unique = math.inf if data.unique_tokens is None else data.unique_tokens
        self.devices = compute.devices or config.processes
        self.speed = compute.flop_per_second(self.devices)
        self.has_budget = compute.flop is not None or compute.hours is not None
        self.presets = [self._preset(name) for name in PRESETS]
        self.notes: list[str] = []

    # ---- shapes

    def _shape(self, name: str, sizes: Architecture) -> _Shape:
        attention = 12 * sizes.layers * sizes.heads * sizes.head_width * self.config.batch.length
        return _Shape(name, count_parameters(self.config, sizes, self.vocabulary), attention, sizes)

    def _preset(self, name: str) -> _Shape:
        switches = {"preset": name, "layers": None, "width": None, "heads": None}
        switches |= {"key_value_heads": None, "feed_forward": None}
        settings: ModelSettings = self.config.model.model_copy(update=switches)
        return self._shape(name, settings.architecture)

    def _between(self, parameters: float) -> _Shape:
        """A model of this size, its attention interpolated between those of the presets."""
        import numpy as np

        known = np.array(sorted((shape.parameters, shape.attention) for shape in self.presets))
        share = np.interp(np.log(parameters), np.log(known[:, 0]), known[:, 1] / known[:, 0])
        return _Shape("best", parameters, float(share) * parameters)

    def _nearest(self, parameters: float) -> _Shape:
        return min(self.presets, key=lambda shape: abs(math.log(shape.parameters / parameters)))

    # ---- budgets

    def _flop(self, shape: _Shape) -> float | None:
        """The budget's 6 N D on a model of this shape."""
        if self.compute.flop is not None or self.compute.hours is None:
            return self.compute.flop
        assert self.speed is not None
        return self.compute.hours * 3600 * self.speed / (1 + shape.attention / (6 * shape.parameters))

    def _best_flop(self) -> float:
        """The budget's 6 N D on the best model: attention's part depends on the model."""
        flop, shape = 0.0, self.presets[0]
        for _ in range(8):
            flop = self._flop(shape)
            assert flop is not None
            shape = self._between(float(optimum(flop, self.unique)[0]))
        return flop

    # ---- runs

    def _run(self, shape: _Shape, tokens: float, *, law: bool = True) -> dict[str, Any]:
        """All that is said of training a model on so many tokens."""
        flop, attention = 6 * shape.parameters * tokens, shape.attention * tokens
        hours = None if self.speed is None else (flop + attention) / self.speed / 3600
        price = self.compute.price
        run: dict[str, Any] = {
            "name": shape.name,
            "preset": self._nearest(shape.parameters).name,
            "parameters": round(shape.parameters),
            "tokens": round(tokens),
            "epochs": None if self.unique == math.inf else tokens / self.unique,
            "flop_6nd": flop,
            "flop_attention": attention,
            "hours": hours,
            "cost": None if hours is None or price is None else hours * self.devices * price,
        }
        if not law:
            return run
        expected = float(loss(shape.parameters, tokens, self.unique))
        losses = loss(shape.parameters, tokens, self.unique, sampled_laws())
        return {
            **run,
            "effective_tokens": float(effective(shape.parameters, tokens, self.unique)[1]),
            "loss_nats_per_token": expected,
            **_interval("loss_nats_per_token", losses),
            "extrapolated": not FITTED[0] <= shape.parameters <= FITTED[1],
            "meaningless": expected > math.log(self.vocabulary),
        }

    def _best(self, name: str, flop: float) -> dict[str, Any]:
        """The best run for 6 N D = `flop`, with intervals."""
        parameters, tokens = (float(value) for value in optimum(flop, self.unique))
        laws = sampled_laws()
        sizes, amounts = optimum(flop, self.unique, laws)
        return {
            **self._run(self._between(parameters), tokens),
            "name": name,
            **_interval("parameters", sizes),
            **_interval("tokens", amounts),
            **_interval("loss_nats_per_token", loss(sizes, amounts, self.unique, laws)),
        }

    def _file(self, *, law: bool = True) -> dict[str, Any]:
        batch, epochs = self.config.batch, self.config.epochs
        shape = self._shape("file", self.config.model.architecture)
        tokens = self.config.steps * batch.sequences * batch.length
        if epochs is not None and self.unique < math.inf:
            tokens = epochs * self.unique
        return self._run(shape, tokens, law=law)

    def plan(self, preset: str | None) -> dict[str, Any]:
        """A plan by the laws."""
        runs = [self._file()]
        chosen = None if preset is None else next(shape for shape in self.presets if shape.name == preset)
        useful = useful_flop(self.unique, WORTH)
        if self.has_budget:
            budget = self._best_flop()
            flop = min(budget, useful)
            runs.append(self._best("best", flop))
            chosen = chosen or self._nearest(runs[-1]["parameters"])
            tokens = (self._flop(chosen) or 0) * flop / budget / (6 * chosen.parameters)
            wanted = float(optimum(budget)[1])
            if budget > useful:
                self.notes.append(
                    f"the budget is {budget:.2g} FLOP, but beyond {useful:.2g} this data cannot lower the loss by "
                    f"{WORTH} more: that much is planned"
                )
        elif chosen is not None:
            tokens = wanted = best_tokens(chosen.parameters)
        else:
            runs += [self._best(f"epochs_{epochs}", flop_of_epochs(epochs, self.unique)) for epochs in EPOCHS]
            chosen, wanted = self._nearest(runs[2]["parameters"]), None
            tokens = EPOCHS[1] * self.unique
        tokens = min(tokens, useful_tokens(chosen.parameters, self.unique, WORTH))
        runs.append({**self._run(chosen, tokens), "name": "preset"})
        settings, memory = self._settings(chosen, tokens)
        self._say(runs)
        return {
            **self._facts(),
            "law": {**REFIT._asdict(), "fitted_parameters": list(FITTED), "interval": 0.9, "samples": SAMPLES},
            "runs": runs,
            "needs": None if wanted is None else self._needs(wanted, chosen, alone=not self.has_budget),
            "useful_flop_6nd": None if useful == math.inf else useful,
            "settings": settings,
            "memory": memory,
            "notes": self.notes,
        }

    def file_only(self, why_not: str) -> dict[str, Any]:
        """Time and memory of what the file says, where the laws say nothing."""
        self.notes.append(f"{why_not}: only time and memory of the file are planned")
        memory = None
        if self.config.model.kind == "pretrained":
            self.notes.append("the sizes of a `pretrained` model are in its own file: its memory is not planned")
        else:
            found = estimate(
                self.config, self.config.model.architecture, self.vocabulary, processes=self.devices, device=self.place
            )
            memory = self._memory(found, self.config)
        return {
            **self._facts(),
            "law": None,
            "runs": [self._file(law=False)],
            "needs": None,
            "useful_flop_6nd": None,
            "settings": None,
            "memory": memory,
            "notes": self.notes,
        }

    def _facts(self) -> dict[str, Any]:
        compute = asdict(self.compute)
        return {
            "run": self.config.run,
            "data": {**asdict(self.data), "vocabulary": self.vocabulary},
            "compute": {
                "flop_6nd": compute.pop("flop"),
                "price_per_device_hour": compute.pop("price"),
                **compute,
                "devices": self.devices,
            },
        }

    # ---- more data

    def _needs(self, wanted: float, chosen: _Shape, *, alone: bool) -> dict[str, Any]:
        """The unique tokens that the budget (or, `alone`, the chosen model) wants, and how many are missing."""
        parameters = chosen.parameters if alone else best_parameters(wanted)
        laws = sampled_laws()
        amounts = best_tokens(parameters, laws) if alone else optimum(6 * parameters * wanted, law=laws)[1]
        have = min(self.unique, wanted)
        return {
            "unique_tokens": round(wanted),
            **_interval("unique_tokens", amounts),
            "more_for_one_epoch": round(wanted - have),
            "more_for_four_epochs": round(max(0.0, wanted / 4 - have)),
            "loss_nats_per_token": float(loss(parameters, wanted)),
        }

    # ---- settings and memory

    def _settings(self, chosen: _Shape, tokens: float) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start values for the chosen preset, and the memory that they take."""
        assert chosen.sizes is not None
        gigabytes = self.compute.memory_gb
        settings, config, found = start_values(
            self.config,
            chosen.sizes,
            parameters=chosen.parameters,
            tokens=tokens,
            vocabulary=self.vocabulary,
            devices=self.devices,
            available=None if gigabytes is None else gigabytes * 1e9,
            place=self.place,
        )
        return {"model.preset": chosen.name, **settings}, self._memory(found, config, chosen.sizes)

    def _memory(self, found: Estimate, config: TrainConfig, sizes: Architecture | None = None) -> dict[str, Any]:
        """The estimate for one device, by its parts, and with recomputation."""
        sizes = sizes or config.model.architecture
        recomputed = config.model_copy(update={"recompute": True})
        other = estimate(recomputed, sizes, self.vocabulary, processes=self.devices, device=self.place)
        gigabytes = self.compute.memory_gb
        fits = None if gigabytes is None else found.total <= gigabytes * 1e9
        if fits is False:
            self.notes.append("it does not fit into the memory of a device: more devices, or a smaller model")
        return {
            **{f"{name}_bytes": size for name, size in asdict(found).items()},
            "total_bytes": found.total,
            "total_bytes_with_recompute": other.total,
            "sequences_per_piece": config.batch.sequences
            // (max(1, self.devices // config.parallel.tensor) * config.batch.accumulate),
            "recompute": config.recompute,
            "fits": fits,
        }

    # ---- notes

    def _say(self, runs: list[dict[str, Any]]) -> None:
        """What must be known to read the numbers."""
        say = self.notes.append
        say("loss is that of Hoffmann et al.'s text and tokenizer: compare plans by it, not runs")
        outside = [run["name"] for run in runs if run["extrapolated"]]
        if outside:
            say(f"extrapolated (the law was fitted from 70M to 16B parameters): {', '.join(outside)}")
        nothing = [run["name"] for run in runs if run["meaningless"]]
        if nothing:
            say(f"too little training for the law to say anything: {', '.join(nothing)}")
        last = runs[-1]
        if last["epochs"] is not None and last["epochs"] > MANY_EPOCHS:
            say(f"{last['epochs']:.0f} epochs: beyond {MANY_EPOCHS} repeats are worth little, and models may overfit")
        if self.compute.peak_tflops is not None and self.compute.mfu_source == "assumed":
            say(f"an MFU of {self.compute.mfu:.0%} is assumed; measure yours with benchmarks/gpu.py and give --mfu")
        if self.data.source == "estimated":
            say(f"unique tokens are estimated: {self.data.bytes_per_token} bytes each, as in English books")
        given = self.config.model.model_fields_set - {"kind", "style", "preset", "tied", "dropout", "norm", "bias"}
        if given & {"layers", "width", "heads", "key_value_heads", "feed_forward"}:
            say("the file's model has sizes of its own, which a preset does not replace: take them out of it")


def _interval(name: str, values: Any) -> dict[str, float]:
    """90% of the sampled values."""
    import numpy as np

    low, high = np.percentile(values, INTERVAL)
    return {f"{name}_low": float(low), f"{name}_high": float(high)}
