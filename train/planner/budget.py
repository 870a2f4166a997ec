"""What a plan starts from: the text that there is, and the machines and their budget, checked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from curate.errors import CurateError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable

    from curate.dataset.reader import Dataset
    from curate.train.settings.config import TrainConfig

__all__ = ["HARDWARE", "Compute", "Data", "compute_of", "find_data", "given_vocabulary"]

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
BYTES_PER_TOKEN = {256: 1.0, 512: 2.1, 1024: 2.7, 2048: 3.1, 4096: 3.4, 8192: 3.8, 16384: 4.0, 32768: 4.2}
"""By vocabulary, of a byte-level BPE tokenizer trained on 30 English books and measured on 5 others."""
MFU = 0.4
"""Where none is given: what is reached by a tuned trainer on one machine, from 0.1 billion parameters on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """The text there is.

    Attributes:
        unique_tokens: Tokens of the train split; None: as many as wanted.
        source: Who says so.
        dataset: Its name and version, where they are known.
        vocabulary: Tokens of the tokenizer, where it is there.
        bytes_per_token: What the estimate divides by.
    """

    unique_tokens: float | None = None
    source: Literal["given", "packed", "estimated", "unlimited"] = "unlimited"
    dataset: str | None = None
    vocabulary: int | None = None
    bytes_per_token: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """The machines and the budget; what is None is not known.

    Attributes:
        flop: Budget for 6 N D.
        hours: Budget in hours of all devices, attention included.
        devices: How many; None: as many as the file has processes.
        hardware: Their name.
        peak_tflops: Peak of each.
        memory_gb: Memory of each.
        mfu: Share of the peak that training reaches.
        mfu_source: Whether that is known.
        price: Of an hour of a device.
    """

    flop: float | None = None
    hours: float | None = None
    devices: int | None = None
    hardware: str | None = None
    peak_tflops: float | None = None
    memory_gb: float | None = None
    mfu: float = MFU
    mfu_source: Literal["given", "assumed"] = "assumed"
    price: float | None = None

    def flop_per_second(self, devices: int) -> float | None:
        """Of `devices` together, as training reaches it."""
        return None if self.peak_tflops is None else devices * self.peak_tflops * 1e12 * self.mfu


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
        devices=devices,
        hardware=hardware,
        peak_tflops=peak,
        memory_gb=memory,
        mfu=mfu or MFU,
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
    size = sum(dataset.manifest["splits"].get("train", {}).get("text_bytes", 0) for dataset in datasets)
    names = " + ".join(f"{dataset.name}@{dataset.version[:12]}" for dataset in datasets)
    if not size:
        raise CurateError(f"{names} has no text in its train split", "dataset", "--tokens N plans without it")
    packs = [pack for dataset in datasets if (pack := _packed(dataset, config)) is not None]
    if len(packs) == len(datasets):
        tokens = sum(pack["splits"]["train"]["tokens"] for pack in packs)
        vocabulary = packs[0]["tokenizer"]["vocabulary"]
        return Data(unique_tokens=float(tokens), source="packed", dataset=names, vocabulary=vocabulary)
    vocabulary = given_vocabulary(config)
    wanted = np.log(vocabulary or config.tokenizer.vocabulary)
    ratio = round(float(np.interp(wanted, np.log(list(BYTES_PER_TOKEN)), list(BYTES_PER_TOKEN.values()))), 2)
    return Data(
        unique_tokens=size / ratio, source="estimated", dataset=names, vocabulary=vocabulary, bytes_per_token=ratio
    )


def given_vocabulary(config: TrainConfig) -> int | None:
    """Tokens of the tokenizer that the file names; None where one is to be trained.

    Raises:
        CurateError: There is none.
    """
    if config.tokenizer.path is None:
        return None
    from curate.tokenize.tokenizer import load_tokenizer, tokenizer_file

    return load_tokenizer(tokenizer_file(Path(config.tokenizer.path))).get_vocab_size()


def _packed(dataset: Dataset, config: TrainConfig) -> dict[str, Any] | None:
    """The manifest of its token shards, if some run has packed it with this tokenizer."""
    from curate.tokenize.tokenizer import tokenizer_file, tokenizer_hash

    if config.tokenizer.path:
        wanted = {"sha256": tokenizer_hash(tokenizer_file(Path(config.tokenizer.path).expanduser()))}
    else:
        wanted = {"settings": config.tokenizer.model_dump(mode="json", exclude={"path"}), "trained": True}
    blobs = dataset.store.blobs
    for name in sorted(blob.name for blob in blobs.list("tokens") if blob.name.endswith("/manifest.json")):
        try:
            manifest = json.loads(blobs.read(name))
            same = manifest["version"] == dataset.version and wanted.items() <= manifest["tokenizer"].items()
            if same and manifest["splits"].get("train", {}).get("tokens"):
                return manifest
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # damaged: training says so, and a plan can be made without it
    return None
