"""Training speed on this machine: a plain PyTorch loop against the trainer (FSDP2) in one and in two processes.

Same model, same batches, same losses; the quickstart's size by default. Wall time says little on a machine with other
work, so tokens per second of CPU time stand beside it.

    python benchmarks/train.py [--preset 1m] [--steps 20] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

WARM_UP = 3


def packed(folder, vocabulary):
    """Python's documentation as token shards."""
    from pydoc_data.topics import topics

    import pyarrow as pa

    from curate.tokenize.pack import pack_dataset
    from curate.tokenize.tokenizer import TokenizerSettings

    texts = [topics[name] for name in sorted(topics)]
    dataset = SimpleNamespace(
        name="topics",
        version="0" * 64,
        splits={"train": len(texts)},
        columns=["text"],
        schema=pa.schema([("text", pa.string())]),
        store=SimpleNamespace(root=folder),
        manifest={"splits": {"train": {"text_bytes": sum(len(text) for text in texts)}}},
        batches=lambda *_, **__: [pa.RecordBatch.from_pydict({"text": texts})],
    )
    return pack_dataset(cast(Any, dataset), TokenizerSettings(vocabulary=vocabulary))


def measured(step, tokens, steps):
    """Tokens per second of wall time and of CPU time of this process, after a few steps to warm up."""
    for number in range(WARM_UP):
        step(number)
    loss = float("nan")
    wall, processor = time.perf_counter(), time.process_time()
    for number in range(WARM_UP, WARM_UP + steps):
        loss = step(number)
    return {
        "tokens_per_second": round(steps * tokens / (time.perf_counter() - wall)),
        "tokens_per_cpu_second": round(steps * tokens / (time.process_time() - processor)),
        "loss": loss,
    }


def plain(config, pack, steps):
    """An ordinary loop: no FSDP, PyTorch's cross entropy."""
    import torch
    from torch.nn import functional

    from curate.train.data.order import Order
    from curate.train.data.windows import Windows
    from curate.train.models.trunk import build_trunk
    from curate.train.optimization.optimizer import build_optimizer, clip_gradients, set_learning_rates

    batch = config.batch
    model = build_trunk(config.model.architecture, vocabulary=pack.vocabulary, length=batch.length)
    generator = torch.Generator().manual_seed(config.seed)
    for name, parameter in model.named_parameters():
        model.first_weights(name, parameter.data, generator)
    optimizer = build_optimizer(model, config.optimizer)
    windows = Windows(pack, "train", batch.length, document_mask=batch.document_mask)
    order = Order(len(windows), sequences=batch.sequences, seed=config.seed)

    def step(number):
        set_learning_rates(optimizer, number + 1, config.steps, config.optimizer, config.schedule)
        read = {name: torch.from_numpy(part) for name, part in windows.read(order.step(number)[1]).items()}
        targets = read.pop("targets")
        states = model(read.pop("tokens"), **{name: read[name] for name in model.accepts if name in read})
        loss = functional.cross_entropy((states @ model.unembedding.T).flatten(0, 1), targets.flatten())
        loss.backward()
        clip_gradients(model.parameters(), config.optimizer.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return measured(step, batch.sequences * batch.length, steps)


def sharded(rank, config, pack, steps, folder):
    """The trainer's own step, in one process of `config.processes`; each leaves its numbers in a file."""
    import torch

    from curate.train.build import build_parts
    from curate.train.parallel.world import joined
    from curate.train.trainer import Trainer

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // config.processes))
    meeting = folder / f"meeting-{config.processes}" if config.processes > 1 else None
    with joined(rank, config.processes, device="cpu", meeting=meeting) as world:
        tokens = config.batch.sequences * config.batch.length
        with build_parts(config, {"": pack}, world) as parts:
            trainer = Trainer(config, parts, world)
            found = measured(lambda number: trainer.step(number + 1).loss, tokens, steps)
    (folder / f"{config.processes}-{rank}.json").write_text(json.dumps(found))


def together(config, pack, steps, folder):
    """The numbers of all processes: the CPU time is that of all of them."""
    from multiprocessing import get_context

    processes = [
        get_context("spawn").Process(target=sharded, args=(rank, config, pack, steps, folder))
        for rank in range(config.processes)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    found = [json.loads((folder / f"{config.processes}-{rank}.json").read_text()) for rank in range(config.processes)]
    cost = sum(1 / one["tokens_per_cpu_second"] for one in found)
    return {**found[0], "tokens_per_cpu_second": round(1 / cost)}


def main():
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description="training speed: plain PyTorch against FSDP in 1 and 2 processes")
    parser.add_argument("--preset", default="1m")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    from curate.train.settings.config import TrainConfig

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pack = packed(folder, 4096)
        configs = {
            count: TrainConfig.model_validate(
                {
                    "dataset": "topics",
                    "run": "speed",
                    "steps": options.steps + WARM_UP,
                    "model": {"preset": options.preset},
                    "processes": count,
                }
            )
            for count in (1, 2)
        }
        rows = {
            "plain": plain(configs[1], pack, options.steps),
            "fsdp, 1 process": together(configs[1], pack, options.steps, folder),
            "fsdp, 2 processes": together(configs[2], pack, options.steps, folder),
        }
    parameters = configs[1].model.architecture.parameters(pack.vocabulary)
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    if options.json:
        print(json.dumps({"schema": 1, "machine": machine, "parameters": parameters, "rows": rows}))
        return
    print(f"{parameters:,} parameters on {machine}, load {os.getloadavg()[0]:.1f}")
    for title, row in rows.items():
        print(
            f"{title:20}{row['tokens_per_second']:>8,} tokens/s {row['tokens_per_cpu_second']:>8,} tokens/CPU-s"
            f"   loss {row['loss']:.6f}"
        )


if __name__ == "__main__":
    main()
