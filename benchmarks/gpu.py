"""Training speed on a GPU: ours eager and compiled, chunked and plain cross entropy, with document masks, in fp8; and HF.

    python benchmarks/gpu.py --out gpu.json [--sizes 124m 350m 1b] [--cells 'ours/*'] [--budget-seconds 500]
    python benchmarks/gpu.py --out tiny.json --device cpu --sizes tiny --steps 2 --warm-up 1     (a test of the script)

A cell is one way to train one size. The file is rewritten after each, cells that are in it are skipped, and no cell is
begun that might not end within the budget: call it again and it goes on. Smaller sizes come first. Where memory runs
out the micro-batch is halved, down to one sequence; peers have the same micro-batch to begin with.

Of each cell: milliseconds a step (median, 10th and 90th percentile of the timed steps, between CUDA events), tokens a second,
peak memory, and MFU against the measured bf16 peak (matrix products of up to 8192^3) and against the nominal one.
FLOP a token = 6 x matrix parameters + 12 x layers x width x length, for all cells the same: masks make attention cheaper, and
that counts as speed.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import time
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path

import torch
from machine import machine
from twins import hugging_face_step, our_config, our_step

from curate.errors import CurateError
from curate.train.runs.machine import flops_per_token, matmul_peak
from curate.train.settings.architecture import ModelSettings

SCHEMA = 1
NOMINAL = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "B200": 2250e12}
"""Dense bf16 FLOP a second, by what the device's name has in it; NVIDIA's data sheets (SXM)."""


@dataclass(frozen=True)
class Size:
    """A shape: preset or sizes, vocabulary, sequence length, sequences at once."""

    model: dict
    vocabulary: int
    length: int
    rows: int


SIZES = {
    "tiny": Size({"preset": "1m", "layers": 2, "width": 64, "heads": 2, "feed_forward": 128}, 512, 64, 4),
    "124m": Size({"preset": "124m"}, 50_304, 1024, 32),
    "350m": Size({"preset": "350m"}, 50_304, 1024, 16),
    "1b": Size({"preset": "1b"}, 32_000, 2048, 8),
}


@dataclass(frozen=True)
class Cell:
    """One way to train."""

    name: str
    peer: bool = False
    compile: bool = False
    plain_loss: bool = False
    masked: bool = False
    recompute: bool = False
    precision: str = "bf16"
    only: tuple[str, ...] = ()


CELLS = (
    Cell("ours/eager"),
    Cell("hf/eager", peer=True),
    Cell("ours/compiled", compile=True),
    Cell("ours/compiled/masks", compile=True, masked=True),
    Cell("ours/compiled/plain-loss", compile=True, plain_loss=True),
    Cell("hf/compiled", peer=True, compile=True),
    Cell("ours/eager/masks", masked=True),
    Cell("ours/eager/plain-loss", plain_loss=True),
    Cell("ours/compiled/recompute", compile=True, recompute=True, only=("1b", "tiny")),
    Cell("ours/compiled/fp8", compile=True, precision="fp8", only=("1b", "tiny")),
)


def seconds_of(step, numbers, device):
    """Seconds of each step: between CUDA events on a GPU, CPU time of the process elsewhere."""
    if device != "cuda":
        found = []
        for number in numbers:
            began = time.process_time()
            step(number)
            found.append(time.process_time() - began)
        return found
    events = [torch.cuda.Event(enable_timing=True) for _ in range(len(numbers) + 1)]
    events[0].record()
    for number, event in zip(numbers, events[1:], strict=True):
        step(number)
        event.record()
    torch.cuda.synchronize()
    return [before.elapsed_time(after) / 1000 for before, after in pairwise(events)]


def measured(cell, size, rows, options):
    """Times, memory and loss of a cell with so many sequences at once."""
    steps = options.warm_up + options.steps
    config = our_config(
        size.model, rows=rows, length=size.length, steps=steps, device=options.device, compile=cell.compile,
        masked=cell.masked, recompute=cell.recompute, precision=cell.precision,
    )  # fmt: skip
    if options.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    if cell.peer:
        context = hugging_face_step(config, size.vocabulary, device=options.device)
    else:
        context = our_step(config, size.vocabulary, plain_loss=cell.plain_loss)
    with context as step:
        began = time.perf_counter()
        first = step(1)
        begin_seconds = time.perf_counter() - began
        for number in range(2, options.warm_up + 1):
            step(number)
        seconds = seconds_of(step, range(options.warm_up + 1, steps + 1), options.device)
        last = step(steps)
    ordered = sorted(seconds)
    median = statistics.median(ordered)
    return {
        "micro_batch": rows,
        "step_ms": round(1000 * median, 3),
        "step_ms_p10": round(1000 * ordered[len(ordered) // 10], 3),
        "step_ms_p90": round(1000 * ordered[len(ordered) * 9 // 10], 3),
        "tokens_per_second": round(rows * size.length / median),
        "first_step_seconds": round(begin_seconds, 2),
        "peak_memory_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if options.device == "cuda" else None,
        "first_loss": first,
        "last_loss": last,
    }


def tidy(device):
    """Forget what the last cell has compiled and allocated."""
    torch._dynamo.reset()
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()


def try_cell(cell, size, options):
    """The numbers of a cell; with half the sequences at once as long as memory runs out; or what stood in the way."""
    rows = size.rows
    while True:
        tidy(options.device)
        try:
            return measured(cell, size, rows, options)
        except torch.OutOfMemoryError:
            if rows == 1:
                return {"failed": "out of memory with one sequence"}
            rows //= 2
        except CurateError as error:  # what this machine cannot do, such as fp8
            return {"failed": error.problem}
        except (
            Exception
        ) as error:  # a cell that breaks must not take the others' numbers with it: it is told, and we go on
            return {
                "failed": f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"[:300]
            }


def with_utilization(row, size, peak, nominal):
    """MFU beside the speed."""
    if "failed" in row:
        return row
    sizes = ModelSettings.model_validate(size.model).architecture
    flops = row["tokens_per_second"] * (flops_per_token(sizes, size.vocabulary, size.length) or 0.0)
    row["tflops"] = round(flops / 1e12, 3)
    row["mfu_measured_peak"] = round(flops / peak, 4)
    row["mfu_nominal_peak"] = round(flops / nominal, 4) if nominal else None
    return row


def write(path, result):
    """The file, aside and renamed."""
    aside = path.with_name(f"{path.name}.writing")
    aside.write_text(json.dumps(result, indent=1))
    aside.replace(path)


def begun(options):
    """What is in the file already, or the head of a new one: the machine and its peaks."""
    cuda = options.device == "cuda"
    name = torch.cuda.get_device_name() if cuda else "cpu"
    if options.out.is_file():
        found = json.loads(options.out.read_text())
        if found["device"] != name:
            raise SystemExit(f"{options.out} is of {found['device']}, this is {name}: name another file")
        return found
    device = torch.device(options.device)
    return {
        "schema": SCHEMA,
        "machine": machine("torch", "transformers"),
        "device": name,
        "steps": options.steps,
        "warm_up": options.warm_up,
        "peak_bf16_flops": matmul_peak(device, torch.bfloat16, seconds=3.0 if cuda else 0.1),
        "nominal_bf16_flops": next((peak for key, peak in NOMINAL.items() if key in name), None),
        "cells": {},
    }


def show(name, row):
    """A line for people."""
    if "failed" in row:
        print(f"{name:34}{row['failed']}", flush=True)
        return
    nominal = "" if row["mfu_nominal_peak"] is None else f" ({row['mfu_nominal_peak']:.1%} nominal)"
    memory = "" if row["peak_memory_gib"] is None else f"  {row['peak_memory_gib']:.1f} GiB"
    print(
        f"{name:34}{row['step_ms']:>10,.1f} ms ({row['step_ms_p10']:,.1f}-{row['step_ms_p90']:,.1f}) "
        f"{row['tokens_per_second']:>10,} tokens/s  MFU {row['mfu_measured_peak']:.1%}{nominal}{memory}",
        flush=True,
    )


def main():
    """Measure what is not in the file yet, as far as the budget reaches."""
    parser = argparse.ArgumentParser(description="training speed on a GPU, cell by cell")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["124m", "350m", "1b"])
    parser.add_argument("--cells", nargs="+", default=["*"], help="patterns of names, such as 'ours/*'")
    parser.add_argument("--budget-seconds", type=float, default=500.0)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--warm-up", type=int, default=10)
    options = parser.parse_args()
    began = time.perf_counter()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    result = begun(options)
    write(options.out, result)
    longest = 0.0
    for size_name in options.sizes:
        size = SIZES[size_name]
        for cell in CELLS:
            name = f"{size_name}/{cell.name}"
            chosen = any(fnmatch(cell.name, pattern) for pattern in options.cells)
            if not chosen or name in result["cells"] or (cell.only and size_name not in cell.only):
                continue
            if time.perf_counter() - began + 1.5 * longest > options.budget_seconds:
                print(f"budget spent before {name}: call again to go on")
                return
            started = time.perf_counter()
            row = with_utilization(
                try_cell(cell, size, options), size, result["peak_bf16_flops"], result["nominal_bf16_flops"]
            )
            longest = max(longest, time.perf_counter() - started)
            result["cells"][name] = {**asdict(cell), **row, "seconds": round(time.perf_counter() - started, 1)}
            write(options.out, result)
            show(name, row)


if __name__ == "__main__":
    main()
