"""Peak memory and CPU time of the cross entropy over a large vocabulary: chunked (train/objectives/loss.py) and PyTorch's own.

The peak is what forward and backward hold at once above their inputs, gradients included, counted from the allocator's
events: the same in every run on the same version of PyTorch.

    python benchmarks/loss_memory.py [--positions 2048] [--width 384] [--vocabulary 50304] [--repeats 3]

One JSON object: MiB and CPU seconds (the least of the repeats) by loss, and `share`, the chunked peak over the plain one.
"""

from __future__ import annotations

import argparse
import json
import platform
import time

import torch
from torch.nn import functional

from curate.train.data.batch import IGNORED
from curate.train.objectives.loss import linear_cross_entropy, linear_distillation, linear_log_probabilities


def peak(compute):
    """MiB that are held at most while `compute` runs, above what was there before."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        compute()
    held = most = 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return round(most / 2**20, 1)


def seconds(compute):
    """CPU time."""
    began = time.process_time()
    compute()
    return time.process_time() - began


def main():
    """Print the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("positions", 2048), ("width", 384), ("vocabulary", 50304), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    sizes = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(sizes.positions, sizes.width, generator=generator, requires_grad=True)
    weight = (torch.randn(sizes.vocabulary, sizes.width, generator=generator) * 0.02).requires_grad_()
    targets = torch.randint(0, sizes.vocabulary, (sizes.positions,), generator=generator)
    taught = (hidden, weight, hidden.detach() + 1, weight.detach(), targets)
    losses = {
        "plain": lambda: functional.cross_entropy(hidden @ weight.T, targets, reduction="sum", ignore_index=IGNORED),
        "linear_cross_entropy": lambda: linear_cross_entropy(hidden, weight, targets),
        "linear_log_probabilities": lambda: linear_log_probabilities(hidden, weight, targets).sum(),
        "linear_distillation": lambda: linear_distillation(*taught, temperature=2.0),
    }

    def backward(name):
        torch.autograd.grad(losses[name](), (hidden, weight))

    times = {name: [] for name in losses}
    for _ in range(sizes.repeats):
        for name in losses:
            times[name].append(seconds(lambda name=name: backward(name)))
    peaks = {name: peak(lambda name=name: backward(name)) for name in losses}
    found = {name: {"mib": peaks[name], "cpu_seconds": round(min(times[name]), 2)} for name in losses}
    share = round(peaks["linear_cross_entropy"] / peaks["plain"], 3)
    machine = {"processor": platform.processor() or platform.machine(), "torch": torch.__version__}
    print(json.dumps({"machine": machine, **vars(sizes), "share": share, "losses": found}))


if __name__ == "__main__":
    main()
