"""What the machine gives: its measured speed in matrix products, what a model asks of it, and memory.

Model FLOP utilization (MFU, Chowdhery et al. 2022) is the share of the measured peak that training uses:

    FLOP of a token = 6 x (weights of the matrices) + 12 x layers x length x (heads x head width)

The first term is two operations for each weight in the forward pass and four in the backward one; the embedding, which is
looked up, does not count, the unembedding does. The second is attention over the whole length, as if it were not causal;
in layers with a window over the window.
Recomputed activations do not count. The peak is measured, not taken from a data sheet: what torch reaches here, with the
threads that it has. On a machine that does other work both vary by some ten percent.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable

import torch
from torch import Tensor

from curate.train.runs.folder import RunFolder
from curate.train.settings.architecture import Architecture

__all__ = ["flops_per_token", "matmul_peak", "measured_peak", "memory_used", "utilization"]

SIZES = (256, 512, 1024, 2048, 4096, 8192)
_REPEATS = 4


def flops_per_token(sizes: Architecture, vocabulary: int, length: int) -> float | None:
    """Floating-point operations of one token in training, forward and backward.

    Args:
        sizes: The model's architecture.
        vocabulary: Tokens that it chooses from; 0 for a model without unembedding.
        length: Tokens in a sequence.

    Returns:
        None for kinds whose cost is not told by this formula (encoder_decoder, lstm, cnn, pretrained).
    """
    if sizes.kind not in ("decoder", "encoder"):
        return None
    matrices = sizes.layers * sizes.block_parameters(active=True) + vocabulary * sizes.width
    near = min(length, sizes.window or length) - length
    seen = sizes.layers * length + len(sizes.windowed) * near
    return 6.0 * matrices + 12.0 * seen * sizes.heads * sizes.head_width


def utilization(tokens_per_second: float, flops: float, peak: float, processes: int) -> float:
    """Share of the peak that is used (MFU).

    Args:
        tokens_per_second: Of all processes together.
        flops: Of a token.
        peak: FLOP a second of one process's device.
        processes: How many there are.
    """
    return tokens_per_second * flops / (peak * processes)


def matmul_peak(device: torch.device, dtype: torch.dtype, *, seconds: float = 0.3) -> float:
    """FLOP a second of the fastest product of square matrices, of growing sizes as far as the time allows.

    Takes about `seconds`, and at 8192 x 8192, which only fast devices reach, three matrices of memory for a moment.
    On a CPU core (100 GFLOP/s in fp32) 0.02 s give the same number as 1 s.
    """
    best, began = 0.0, time.perf_counter()
    tries = (_REPEATS + 1) * _in_a_row(device)
    for size in SIZES:
        product = _product(size, device, dtype)
        _timed(product, device)  # the first is slow
        once = min(_timed(product, device) for _ in range(_REPEATS))
        best = max(best, 2.0 * size**3 / once)
        if time.perf_counter() - began + tries * 8 * once > seconds:
            break
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    return best


def _product(size: int, device: torch.device, dtype: torch.dtype) -> Callable[[], Tensor]:
    """A product of random matrices; training's own random numbers stay as they are."""
    generator = torch.Generator(device).manual_seed(0)
    left, right = (torch.randn(size, size, device=device, generator=generator) for _ in range(2))
    if dtype != torch.float8_e4m3fn:
        one, other = left.to(dtype), right.to(dtype)
        return lambda: one @ other
    scale = torch.ones((), device=device)
    one, other = left.to(dtype), right.to(dtype).t()
    multiply = torch._scaled_mm  # pyright: ignore[reportPrivateImportUsage, reportPrivateUsage]
    return lambda: multiply(one, other, scale_a=scale, scale_b=scale, out_dtype=torch.bfloat16)


def _in_a_row(device: torch.device) -> int:
    """Products that are timed together: on CUDA starting one takes time too."""
    return 10 if device.type == "cuda" else 1


def _timed(product: Callable[[], Tensor], device: torch.device) -> float:
    """Seconds of one product."""
    count = _in_a_row(device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    for _ in range(count):
        product()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - began) / count


def measured_peak(folder: RunFolder, device: torch.device, dtype: torch.dtype) -> float:
    """The peak, measured at the run's first start on such a device and remembered in its environment.json."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    key = f"{name}, {str(dtype).removeprefix('torch.')}"
    if device.type == "cpu":
        key += f", {torch.get_num_threads()} threads"
    environment = folder.read("environment.json") or {}
    peaks = environment.get("matmul_peaks", {})
    if key not in peaks:
        seconds = 0.3 if device.type == "cuda" else 0.05
        peaks = {**peaks, key: matmul_peak(device, dtype, seconds=seconds)}
        folder.write("environment.json", {**environment, "matmul_peaks": peaks})
    return peaks[key]


def memory_used(device: torch.device) -> int:
    """Bytes: on CUDA the most that tensors have taken since the start, on the CPU what this process takes now."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    from psutil import Process

    return Process().memory_info().rss
