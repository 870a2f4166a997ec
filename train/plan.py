"""What to train: size, tokens, epochs, loss, memory, time and cost, from unique tokens and a compute budget.

The laws are those of `curate.train.scaling`. Their loss is that of Hoffmann et al.'s text and tokenizer: it compares plans
and does not predict a run's validation loss. Parameters are all of them, the embedding too.

    operations   6 N D (Kaplan et al. 2020), and apart 12 layers x width x length a token for attention (PaLM, appendix B)
    time         operations / (devices x peak x MFU), MFU being the share of the peak that training reaches
    epochs       tokens / unique tokens; repeats are worth less, as in Muennighoff et al. 2023
    batch        327,680 tokens x (N / 108M)^(2/3); learning rate 0.0047 (N / 108M)^(-1/3), halved; warm-up N tokens;
                 beta2 0.95 from 524,288 tokens a batch, 0.99 below: Porian et al. 2024 (arXiv 2406.19146, 5M to 901M
                 parameters) as OLMo-core's model ladder uses them. Start values, to be tuned

Intervals hold 90% of 500 laws drawn from the fit's uncertainty. Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from curate.errors import CurateError, did_you_mean
from curate.train.architecture import PRESETS, Architecture, ModelSettings
from curate.train.memory import Estimate, count_parameters, estimate
from curate.train.scaling import FITTED, REFIT, Law, best_parameters, best_tokens, effective, loss, optimum, sampled_laws

if TYPE_CHECKING:
    from collections.abc import Callable

    from curate.dataset.reader import Dataset
    from curate.train.config import TrainConfig

__all__ = ["HARDWARE", "Compute", "Data", "compute_of", "find_data", "plan_run"]

HARDWARE: dict[str, tuple[float, float]] = {
    "a100-40": (312, 40),
    "a100-80": (312, 80),
    "b200": (2250, 180),
    "h100": (989, 80),
    "h200": (989, 141),
    "l4": (121, 24),
    "l40s": (362, 48),
    "rtx4090": (165, 24),
}
"""Dense bf16 TFLOP/s and GB of memory, as NVIDIA's data sheets have them."""
EPOCHS = (1, 4, 16)
"""What is shown for data without a budget: no repeats, repeats nearly as good as new tokens, and the last useful ones."""
PERCENTILES = (5, 50, 95)
BYTES_PER_TOKEN = {256: 1.0, 512: 2.1, 1024: 2.7, 2048: 3.1, 4096: 3.4, 8192: 3.8, 16384: 4.0, 32768: 4.2}
"""Of a byte-level BPE tokenizer of this vocabulary, trained on English books and measured on others."""
LEAST_STEPS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """The text there is.

    Attributes:
        unique_tokens: Tokens of the train split; None: as many as wanted.
        source: Who says so.
        dataset: Its name and version, where they are known.
        bytes_per_token: What the estimate divides by.
    """

    unique_tokens: float | None = None
    source: Literal["given", "packed", "estimated", "unlimited"] = "unlimited"
    dataset: str | None = None
    bytes_per_token: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """The machines and the budget; what is None is not known.

    Attributes:
        flop: Budget for 6 N D.
        hours: Budget in hours of all devices, attention included.
        devices: How many.
        hardware: Their name.
        peak_tflops: Peak of each.
        memory_gb: Memory of each.
        mfu: Share of the peak that training reaches.
        mfu_source: Whether that is known.
        price: Of an hour of a device.
    """

    flop: float | None = None
    hours: float | None = None
    devices: int = 1
    hardware: str | None = None
    peak_tflops: float | None = None
    memory_gb: float | None = None
    mfu: float = 0.4
    mfu_source: Literal["given", "assumed"] = "assumed"
    price: float | None = None

    @property
    def flop_per_second(self) -> float | None:
        """Of all devices, as training reaches it."""
        return None if self.peak_tflops is None else self.devices * self.peak_tflops * 1e12 * self.mfu


def compute_of(
    *,
    flops: float | None = None,
    hours: float | None = None,
    devices: int | None = None,
    hardware: str | None = None,
    peak: float | None = None,
    mfu: float | None = None,
    price: float | None = None,
) -> Compute:
    """The options of `curate train --plan`, checked.

    Raises:
        CurateError: One is no positive number, or they contradict each other, or one is missing.
    """
    given = {"flops": flops, "hours": hours, "devices": devices, "peak": peak, "mfu": mfu, "price": price}
    for name, value in given.items():
        if value is not None and not 0 < value < float("inf"):
            raise CurateError(f"{value:g} is no positive number", f"--{name}")
    if flops is not None and hours is not None:
        raise CurateError("two budgets", "--flops, --hours", "give one; the other is computed")
    if mfu is not None and mfu > 1:
        raise CurateError(f"{mfu:g} is more than the whole peak", "--mfu", "e.g. --mfu 0.4 for 40%")
    if hardware is not None and peak is not None:
        raise CurateError("two peaks", "--hardware, --peak", "give one")
    memory = None
    if hardware is not None:
        if hardware not in HARDWARE:
            hint = did_you_mean(hardware, HARDWARE) or f"known are {', '.join(HARDWARE)}; or give --peak TFLOPS"
            raise CurateError(f"unknown hardware `{hardware}`", "--hardware", hint)
        peak, memory = HARDWARE[hardware]
    if peak is None:
        asking = [name for name in ("hours", "mfu", "price") if given[name] is not None]
        if asking:
            raise CurateError(
                "time and cost need the speed of a device",
                f"--{asking[0]}",
                "--hardware NAME, or --peak TFLOPS (dense bf16)",
            )
    return Compute(
        flop=flops,
        hours=hours,
        devices=devices or 1,
        hardware=hardware,
        peak_tflops=peak,
        memory_gb=memory,
        mfu=mfu or 0.4,
        mfu_source="given" if mfu else "assumed",
        price=price,
    )


def find_data(config: TrainConfig, open_dataset: Callable[[str], Dataset]) -> Data:
    """The unique tokens of the run's datasets: counted where they are packed, else estimated from their bytes.

    Raises:
        CurateError: There is no such dataset, or no text in its train split.
    """
    import numpy as np

    datasets = [open_dataset(name) for name in config.mixture or (config.dataset,)]
    counted = [_packed_tokens(dataset, config) for dataset in datasets]
    size = sum(dataset.manifest["splits"].get("train", {}).get("text_bytes", 0) for dataset in datasets)
    names = " + ".join(f"{dataset.name}@{dataset.version[:12]}" for dataset in datasets)
    if not size:
        raise CurateError(f"{names} has no text in its train split", "dataset", "--tokens N plans without it")
    if all(count is not None for count in counted):
        return Data(unique_tokens=float(sum(filter(None, counted))), source="packed", dataset=names)
    vocabularies = list(BYTES_PER_TOKEN)
    ratio = float(np.interp(np.log(config.tokenizer.vocabulary), np.log(vocabularies), list(BYTES_PER_TOKEN.values())))
    return Data(unique_tokens=size / ratio, source="estimated", dataset=names, bytes_per_token=round(ratio, 2))


def _packed_tokens(dataset: Dataset, config: TrainConfig) -> int | None:
    """Tokens of the train split, if some run has packed it with this tokenizer."""
    import json

    wanted = config.tokenizer.model_dump(mode="json")
    for path in sorted((dataset.store.root / "tokens").glob("*/manifest.json")):
        manifest = json.loads(path.read_bytes())
        same = manifest.get("version") == dataset.version and manifest["tokenizer"].get("settings") == wanted
        if same and "tokens" in manifest["splits"].get("train", {}):
            return manifest["splits"]["train"]["tokens"]
    return None


def plan_run(config: TrainConfig, data: Data, compute: Compute, *, preset: str | None = None) -> dict[str, Any]:
    """The plan, as `--json` prints it.

    Args:
        config: The training file: its vocabulary, sequence length and processes hold for all that is planned.
        data: The text there is.
        compute: The budget, if there is one, and the machines.
        preset: Plan for this size, and not for the best one.

    Raises:
        CurateError: There is nothing to plan from.
    """
    if data.unique_tokens is not None and data.unique_tokens < 1:
        raise CurateError(f"{data.unique_tokens:g} tokens are no text", "--tokens")
    if preset is not None and preset not in PRESETS:
        raise CurateError(
            f"no preset `{preset}`", "--preset", did_you_mean(preset, PRESETS) or f"there are {', '.join(PRESETS)}"
        )
    return _Plan(config, data, compute, preset).made()
