"""Training speed on a CPU: our trainer's step against Hugging Face's Trainer and litgpt, on a Llama of the same shape.

    python benchmarks/train_peers.py [--quick] [--litgpt-python PATH] [--precisions fp32 bf16] [--json FILE]

    ours            Trainer.step, FSDP in one process, eager and with `compile`
    Hugging Face    transformers.Trainer with LlamaForCausalLM, as shipped and with torch_compile=True
    litgpt          its GPT and its chunked cross entropy in the loop of its pretraining, where `--litgpt-python` names an
                    interpreter that has it: it cannot be installed beside a recent transformers

All have float32 parameters, the same batch, AdamW (fused), gradients clipped at 1, no evaluation, no logging; bf16 is autocast
on their side and FSDP's mixed precision on ours. Each is a process of its own with one thread. They take turns, a block of
steps each, and only the one whose turn it is runs: CPU time of its process, median of the blocks. The first block, in which
models are compiled, does not count. The 10M shape by default: width 384, 4 layers, 6 heads, 2 key and value heads,
feed-forward 1152, vocabulary 8192, 4 x 256 tokens.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from machine import machine, spread

FOLDER = Path(__file__).resolve().parent
SHAPES: dict[str, dict[str, Any]] = {
    "10m": {"model": {"preset": "10m"}, "vocabulary": 8192, "rows": 4, "length": 256},
    "tiny": {
        "model": {"preset": "1m", "layers": 2, "width": 64, "heads": 2, "feed_forward": 128},
        "vocabulary": 512,
        "rows": 4,
        "length": 64,
    },
}
MANY = 1_000_000


# ---- one worker: steps on command


def serve(step):
    """Read numbers of steps from stdin, do them, and write the CPU time that they took."""
    number = 0
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        began, loss = time.process_time(), float("nan")
        for _ in range(int(line)):
            number += 1
            loss = step(number)
        print(json.dumps({"cpu_seconds": time.process_time() - began, "loss": loss}), flush=True)


def ours(config, shape):
    """Our trainer."""
    from twins import our_step

    with our_step(config, shape["vocabulary"]) as step:
        serve(step)


def theirs(config, shape):
    """Hugging Face's Trainer: its own loop, which waits for a command at the end of each block."""
    from tempfile import TemporaryDirectory

    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments
    from transformers.utils import logging
    from twins import hugging_face, random_batch

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.manual_seed(1)
    batch = random_batch(config, shape["vocabulary"])
    rows = [
        {"input_ids": tokens, "labels": targets, "shift_labels": targets}
        for tokens, targets in zip(batch["tokens"], batch["targets"], strict=True)
    ]

    class Data(torch.utils.data.Dataset):
        def __len__(self):
            return MANY

        def __getitem__(self, number):
            return rows[number % len(rows)]

    class Turns(TrainerCallback):
        """Wait at the end of a block, and tell what it took."""

        left, began = 0, 0.0

        def on_train_begin(self, args, state, control, **_):
            print(json.dumps({"ready": True}), flush=True)
            self.wait(control)

        def on_step_end(self, args, state, control, **_):
            self.left -= 1
            if self.left == 0:
                print(json.dumps({"cpu_seconds": time.process_time() - self.began, "loss": None}), flush=True)
                self.wait(control)

        def wait(self, control):
            line = sys.stdin.readline()
            control.should_training_stop = not line
            self.left = int(line or 0)
            self.began = time.process_time()

    with TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=len(rows),
            max_steps=MANY // len(rows),
            bf16=config.precision == "bf16",
            torch_compile=config.compile,
            use_cpu=True,
            max_grad_norm=1.0,
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        model = hugging_face(config, shape["vocabulary"])
        Trainer(model=model, args=arguments, train_dataset=Data(), callbacks=[Turns()]).train()


def litgpt(config, shape):
    """Litgpt's model and loss, in the loop of its `pretrain`; run by an interpreter that has litgpt and not curate.

    Args:
        config: A dict here: precision and sizes.
        shape: As for the others.
    """
    from contextlib import nullcontext

    import torch
    from litgpt.config import Config
    from litgpt.model import GPT
    from litgpt.utils import chunked_cross_entropy

    sizes, length = config["sizes"], shape["length"]
    torch.manual_seed(1)
    model = GPT(
        Config(
            name="same-shape", block_size=length, vocab_size=shape["vocabulary"], padded_vocab_size=shape["vocabulary"],
            n_layer=sizes["layers"], n_head=sizes["heads"], n_query_groups=sizes["key_value_heads"],
            n_embd=sizes["width"], intermediate_size=sizes["feed_forward"], rotary_percentage=1.0,
            parallel_residual=False, bias=False, norm_class_name="RMSNorm", mlp_class_name="LLaMAMLP", norm_eps=1e-5,
        )
    )  # fmt: skip
    model.lm_head.weight = model.transformer.wte.weight
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.0, fused=True)
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, shape["vocabulary"], (shape["rows"], length + 1), generator=generator)
    half = config["precision"] == "bf16"

    def step(number):
        with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
            loss = chunked_cross_entropy(model(tokens[:, :-1]), tokens[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    serve(step)


def work(name, precision, shape_name):
    """Be the worker called `name`."""
    import warnings

    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    shape = SHAPES[shape_name]
    who, _, how = name.partition("/")
    if who == "litgpt":
        litgpt({"precision": precision, "sizes": json.loads(os.environ["SAME_SHAPE"])}, shape)
        return
    from twins import our_config

    config = our_config(
        shape["model"], rows=shape["rows"], length=shape["length"], steps=MANY, device="cpu", precision=precision,
        compile=how == "compiled",
    )  # fmt: skip
    (ours if who == "ours" else theirs)(config, shape)


# ---- the driver: turns


class Worker:
    """A process that steps on command."""

    def __init__(self, name, precision, shape_name, python):
        command = [
            python,
            str(FOLDER / "train_peers.py"),
            "--worker",
            name,
            "--precisions",
            precision,
            "--shape",
            shape_name,
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "passive"}
        environment["SAME_SHAPE"] = json.dumps(sizes_of(shape_name))
        self.name = name
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.answer()

    def answer(self):
        """What it says next; lines of libraries are not answers."""
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise SystemExit(f"{self.name} has ended: its error is above")

    def block(self, steps):
        """Seconds of CPU time that so many steps took."""
        assert self.process.stdin
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return self.answer()["cpu_seconds"]

    def close(self):
        """End it."""
        self.process.kill()
        self.process.wait()


def sizes_of(shape_name):
    """The shape in plain numbers, for who does not have our presets."""
    from curate.train.settings.architecture import ModelSettings

    sizes = ModelSettings.model_validate(SHAPES[shape_name]["model"]).architecture
    return {name: getattr(sizes, name) for name in ("layers", "width", "heads", "key_value_heads", "feed_forward")}


def compared(precision, options):
    """Tokens per CPU second of all, by name."""
    shape = SHAPES[options.shape]
    names = {name: sys.executable for name in ("ours/eager", "ours/compiled", "hf/eager", "hf/compiled")}
    if options.litgpt_python:
        names["litgpt/eager"] = options.litgpt_python
    if options.only:
        names = {name: python for name, python in names.items() if name in options.only}
    tokens = options.steps * shape["rows"] * shape["length"]
    workers = []
    try:
        for name, python in names.items():
            workers.append(Worker(name, precision, options.shape, python))
            workers[-1].block(options.steps)
        speeds = {name: [] for name in names}
        for turn in range(options.blocks):
            for worker in workers if turn % 2 == 0 else reversed(workers):
                speeds[worker.name].append(tokens / worker.block(options.steps))
    finally:
        for worker in workers:
            worker.close()
    base = statistics.median(speeds.get("hf/eager") or next(iter(speeds.values())))
    return {
        name: {**{key: round(value, 1) for key, value in spread(found).items()},
               "ratio_to_hf": round(statistics.median(found) / base, 3)}
        for name, found in speeds.items()
    }  # fmt: skip


def main():
    """Print a table; `--json` writes a file."""
    parser = argparse.ArgumentParser(description="training speed on a CPU against Hugging Face and litgpt")
    parser.add_argument("--quick", action="store_true", help="a tiny shape and few steps: a test of the script")
    parser.add_argument("--shape", choices=SHAPES, default="10m")
    parser.add_argument("--precisions", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"])
    parser.add_argument("--steps", type=int, default=5, help="steps in a block")
    parser.add_argument("--blocks", type=int, default=7)
    parser.add_argument("--only", nargs="+", help="names of those that take part")
    parser.add_argument("--litgpt-python", help="interpreter of an environment that has litgpt")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker, options.precisions[0], options.shape)
        return
    if options.quick:
        options.shape, options.steps, options.blocks = "tiny", 3, 3
    rows = {precision: compared(precision, options) for precision in options.precisions}
    result = {
        "schema": 1,
        "machine": machine("torch", "transformers"),
        "shape": {**SHAPES[options.shape], **sizes_of(options.shape)},
        "steps_in_a_block": options.steps,
        "blocks": options.blocks,
        "tokens_per_cpu_second": rows,
    }
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))
    print(f"tokens per CPU second, one thread; load {result['machine']['load_average']}")
    for precision, found in rows.items():
        for name, row in found.items():
            print(
                f"{precision:6}{name:18}{row['median']:>10,.0f}  ({row['min']:,.0f}-{row['max']:,.0f})"
                f"   {row['ratio_to_hf']:.2f} x hf/eager"
            )


if __name__ == "__main__":
    main()
