"""Whole fine-tuning, LoRA, DoRA and QLoRA on the same text: held-out loss over seeds, CPU time, memory.

A small Llama learns Shakespeare's plays (a part of tinyshakespeare) and is then fine-tuned on articles (a part of
WikiText-2), with seeds that decide adapters and order. Learning rates are picked of three for each method, by a seed that is
not reported. `original` is the loss of the adapters on the model in float32, where they were trained on one in 4 bits.

    python benchmarks/adapters.py --data DIR [--seeds 5] [--steps 40] [--work DIR]

One JSON object: nats a token with 95% t intervals over seeds, CPU seconds of a run, and MiB that PyTorch's allocator held at
most in building the model and two steps of it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, stdev

import torch
from machine import machine
from scipy.stats import t

from curate.train.export.export import export_run
from curate.train.run import train_run

CURATE = [sys.executable, "-m", "curate"]
ADAPTERS = {"rank": 8, "alpha": 16.0, "targets": "all-linear"}
METHODS = {
    "whole": None,
    "LoRA": ADAPTERS,
    "DoRA": {**ADAPTERS, "dora": True},
    "QLoRA": {**ADAPTERS, "base": "nf4"},
}
RATES = {"whole": (6e-4, 2e-3, 6e-3), **dict.fromkeys(("LoRA", "DoRA", "QLoRA"), (3e-3, 1e-2, 3e-2))}
TEXTS = 180
LENGTH = 1500


def main():
    """Print the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--work", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = (asked.work or Path(name)).resolve()
        folder.mkdir(exist_ok=True)
        base = begin(folder, asked.data)
        before = loss_of(folder, base, "before", None, seed=1, steps=1, rate=1e-12)[0]
        rows = {name: measured(folder, base, name, asked) for name in METHODS}
    print(json.dumps({"before": round(before, 4), "rows": rows, "machine": machine("torch")}, indent=1))


def begin(folder, data):
    """The datasets, and the model that has learned the first."""
    plays = (data / "tinyshakespeare" / "input.txt").read_text()
    articles = (data / "wikitext2" / "valid.txt").read_text()
    for name, text in (("plays", plays[: len(plays) // 2]), ("articles", articles)):
        texts = [text[start : start + LENGTH] for start in range(0, len(text) - LENGTH, LENGTH)][:TEXTS]
        rows = [{"text": one, "part": "validation" if at % 6 == 5 else "train"} for at, one in enumerate(texts)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        source = f"sources:\n  - {{stage: files, paths: [{name}.jsonl], make_ids: true}}\n"
        (folder / f"{name}.yaml").write_text(f"dataset: {name}\n{source}stages:\n  - {{stage: split, column: part}}\n")
        subprocess.run([*CURATE, "run", f"{name}.yaml"], cwd=folder, check=True, capture_output=True)
    model = {"layers": 3, "width": 96, "heads": 4, "key_value_heads": 2, "feed_forward": 256}
    train(folder, "base", dataset="plays", model=model, steps=150, optimizer={"learning_rate": 4e-3})
    export_run(folder / "runs" / "base", folder / "model")
    return {"path": str(folder / "model")}


def train(folder, run, **settings):
    """A run's result."""
    batch = {"sequences": 4, "length": 128, "document_mask": False}
    settings = {"tokenizer": {"vocabulary": 1024}, "batch": batch, "schedule": {"warmup": 5}, **settings}
    every = settings["steps"]
    whole = {"run": run, "checkpoint_every": every, "validation": {"every": every, "sequences": None}, **settings}
    (folder / "train.yaml").write_text(json.dumps(whole))
    return train_run(folder / "train.yaml", overrides=[], fresh=True)


def loss_of(folder, base, run, lora, *, seed, steps, rate):
    """Held-out nats a token after a fine-tuning, and its CPU seconds."""
    given = {"dataset": "articles", "model": base, "seed": seed, "steps": steps}
    if lora:
        given["lora"] = lora
    began = time.process_time()
    result = train(folder, run, **given, tokenizer={"path": base["path"]}, optimizer={"learning_rate": rate})
    return result["validation"]["loss"], time.process_time() - began


def measured(folder, base, name, asked):
    """A method's row."""
    lora, run = METHODS[name], name.lower()
    tried = {
        rate: loss_of(folder, base, "tried", lora, seed=99, steps=asked.steps, rate=rate)[0] for rate in RATES[name]
    }
    rate = min(tried, key=lambda rate: tried[rate])
    found, seconds, original = [], [], []
    for seed in range(1, asked.seeds + 1):
        loss, cpu = loss_of(folder, base, f"{run}-{seed}", lora, seed=seed, steps=asked.steps, rate=rate)
        found.append(loss)
        seconds.append(cpu)
        if lora and "base" in lora:
            adapter = folder / f"adapter-{run}-{seed}"
            export_run(folder / "runs" / f"{run}-{seed}", adapter, adapter=True)
            plain = {**lora, "base": "full", "path": str(adapter)}
            original.append(loss_of(folder, base, "original", plain, seed=seed, steps=1, rate=1e-12)[0])
    row = {"learning_rate": rate, **interval(found), "cpu_seconds": round(mean(seconds), 1)}
    row |= {"original": interval(original)} if original else {}
    most = held_at_most(lambda: loss_of(folder, base, "memory", lora, seed=1, steps=2, rate=rate))
    return {**row, "held_mib": round(most / 2**20, 1)}


def interval(values):
    """Mean, and the ends of its 95% t interval."""
    half = t.ppf(0.975, len(values) - 1) * stdev(values) / len(values) ** 0.5
    return {"loss": round(mean(values), 4), "low": round(mean(values) - half, 4), "high": round(mean(values) + half, 4)}


def held_at_most(compute):
    """Bytes that PyTorch's allocator holds at most while `compute` runs."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        compute()
    held = most = 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


if __name__ == "__main__":
    main()
