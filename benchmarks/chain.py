"""A chain of post-training from one base model: is each stage better than the one before, and does what comes out answer?

    python benchmarks/chain.py [--seeds 5] [--folder DIR]

The task is the sum of two numbers below 100, digit by digit. A base model reads lines of sums (`37+25=62`). Then, for each
seed: fine-tuning on conversations (`37+25=` is asked, the sum is answered), preferences (ORPO) by pairs of a right
and a wrong answer that the fine-tuned model itself gave to prompts it had not seen, and reinforcement (GRPO) with the reward
`number`. Held-out sums are in none of these. Each stage answers them with the likeliest tokens; differences of neighbours are
paired by seeds (t intervals of 95%), and the last model is exported and answers through transformers, too. All through the
command line, as a user would.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from machine import machine
from scipy import stats

CURATE = [sys.executable, "-m", "curate"]
STAGES = ("tuned", "preferred", "reinforced")
BATCH = 4
PIPELINE = """
dataset: {name}
sources:
  - {{stage: files, paths: [{name}.jsonl]}}
stages:
  - {{stage: split, train: 0.95, validation: 0.05, test: 0}}
"""
SPECIAL = "['<|endoftext|>', '<|system|>', '<|user|>', '<|assistant|>', '<|end|>']"
BASE = f"""
dataset: lines
run: base
steps: 1500
model: {{preset: 1m, layers: 3, width: 128, heads: 4, key_value_heads: 4, feed_forward: 384}}
tokenizer: {{vocabulary: 261, special_tokens: {SPECIAL}}}
batch: {{sequences: 16, length: 128}}
optimizer: {{learning_rate: 3.0e-3}}
schedule: {{warmup: 50}}
validation: {{every: 500, sequences: 64}}
checkpoint_every: 500
"""
TUNED = """
dataset: asked
epochs: 12
objective: {kind: sft}
model: {kind: decoder, path: runs/base}
batch: {sequences: 1, length: 128}
optimizer: {learning_rate: 1.0e-3, weight_decay: 0.0}
schedule: {kind: linear, warmup: 10, floor: 0.0}
validation: {every: 1000}
"""
PREFERRED = """
epochs: 2
objective: {kind: preference, method: orpo}
model: {kind: decoder}
batch: {sequences: 16, length: 32}
optimizer: {learning_rate: 6.0e-4, weight_decay: 0.0}
schedule: {kind: linear, warmup: 10, floor: 0.0}
validation: {every: 1000}
"""
REINFORCED = """
dataset: prompts
steps: 150
objective: {kind: reinforcement, reward: number, group: 8, new_tokens: 6}
model: {kind: decoder}
batch: {sequences: 16, length: 24}
optimizer: {learning_rate: 5.0e-5, weight_decay: 0.0}
schedule: {kind: constant, warmup: 10}
validation: {every: 1000}
"""


def main() -> None:
    """Print the table of stages, and what the exported model says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="keep what is made")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = asked.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        held_out = prepare(folder)
        train(folder, "base", BASE)
        shares = [chain(folder, seed, held_out) for seed in range(1, asked.seeds + 1)]
        same = exported(folder, f"reinforced-{asked.seeds}", held_out)
    children = os.times()
    print(table(shares))
    print(json.dumps({
        "shares": shares, "exported_answers_equal": same,
        "cpu_seconds": round(children.children_user + children.children_system, 1), "machine": machine("torch"),
    }, indent=1))  # fmt: skip


def prepare(folder: Path) -> list[tuple[int, int]]:
    """Write and commit all data sets but that of preferences; returns the sums that are held out."""
    sums = [(one, other) for one in range(100) for other in range(100)]
    random.Random(0).shuffle(sums)
    held_out, asked, unseen, lines = sums[:400], sums[400:800], sums[800:3300], sums[400:]
    texts = random.Random(1).choices(lines, k=60_000)
    pieces = [texts[start : start + 20] for start in range(0, len(texts), 20)]
    commit(folder, "lines", [{"text": "".join(f"{a}+{b}={a + b}\n" for a, b in piece)} for piece in pieces])
    turns = [[{"role": "user", "content": f"{a}+{b}="}, {"role": "assistant", "content": f"{a + b}"}] for a, b in asked]
    commit(folder, "asked", [{"messages": one} for one in turns])
    commit(folder, "prompts", [{"prompt": f"{a}+{b}=", "answer": f"{a + b}"} for a, b in unseen])
    write(folder / "held_out.jsonl", [{"prompt": f"{a}+{b}="} for a, b in held_out])
    return held_out


def chain(folder: Path, seed: int, held_out: list[tuple[int, int]]) -> dict[str, float]:
    """Train the stages with a seed; the share of held-out sums that each gets right."""
    names = {stage: f"{stage}-{seed}" for stage in STAGES}
    train(folder, names["tuned"], TUNED, f"seed={seed}")
    pairs = preferences(folder, names["tuned"], seed)
    commit(folder, f"pairs{seed}", pairs)
    train(
        folder,
        names["preferred"],
        PREFERRED,
        f"seed={seed}",
        f"dataset=pairs{seed}",
        f"model.path=runs/{names['tuned']}",
    )
    train(folder, names["reinforced"], REINFORCED, f"seed={seed}", f"model.path=runs/{names['preferred']}")
    found = {stage: right(answers(folder, names[stage]), held_out) for stage in STAGES}
    print(f"seed {seed}: {len(pairs)} pairs, {found}", file=sys.stderr)
    return found


def preferences(folder: Path, model: str, seed: int) -> list[dict[str, str]]:
    """A right and a wrong answer of the model to each prompt that it gives both to."""
    command = ["generate", f"runs/{model}", "--file", "prompts.jsonl", "-n", str(BATCH), "--seed", str(seed)]
    said: dict[str, list[str]] = {}
    for one in lines_of(curate(folder, *command, "--temperature", "1", "--new-tokens", "6")):
        said.setdefault(one["prompt"], []).append(one["text"])
    pairs = []
    for prompt, texts in said.items():
        answer = str(sum(map(int, prompt.rstrip("=").split("+"))))
        wrong = [text for text in texts if text != answer]
        if wrong and answer in texts:
            pairs.append({"prompt": prompt, "chosen": answer, "rejected": wrong[0]})
    return pairs


def answers(folder: Path, model: str) -> list[str]:
    """What a run says to the held-out prompts."""
    command = ["generate", f"runs/{model}", "--file", "held_out.jsonl", "--temperature", "0", "--new-tokens", "6"]
    return [one["text"] for one in lines_of(curate(folder, *command))]


def right(said: list[str], held_out: list[tuple[int, int]]) -> float:
    """Share of the answers that are the sum and nothing else."""
    return sum(text == str(a + b) for text, (a, b) in zip(said, held_out, strict=True)) / len(held_out)


def exported(folder: Path, model: str, held_out: list[tuple[int, int]]) -> float:
    """Share of the held-out prompts to which the exported model says in transformers what the run says."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    curate(folder, "export", f"runs/{model}", "--out", "exported")
    tokenizer = AutoTokenizer.from_pretrained(folder / "exported")
    theirs = AutoModelForCausalLM.from_pretrained(folder / "exported")
    found = []
    for a, b in held_out[:100]:
        asked = [{"role": "user", "content": f"{a}+{b}="}]
        given = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        made = theirs.generate(**given, max_new_tokens=6, do_sample=False)[0, given["input_ids"].shape[1] :]
        found.append(tokenizer.decode(made, skip_special_tokens=True))
    said = answers(folder, model)[:100]
    return sum(one == other for one, other in zip(said, found, strict=True)) / len(found)


def table(shares: list[dict[str, float]]) -> str:
    """The stages, and by how much each is better than the one before."""
    rows = ["| stage | right | better than the one before by |", "|---|---:|---:|"]
    for place, stage in enumerate(STAGES):
        values = [one[stage] for one in shares]
        gain = "-"
        if place:
            apart = [one[stage] - one[STAGES[place - 1]] for one in shares]
            gain = f"{mean(apart):+.3f} ({' to '.join(f'{end:+.3f}' for end in interval(apart))})"
        rows.append(f"| {stage} | {mean(values):.3f} | {gain} |")
    return "\n".join(rows)


def interval(values: list[float]) -> tuple[float, float]:
    """Of the mean, 95%, by Student's t."""
    if len(values) < 2:
        return (-math.inf, math.inf)
    low, high = stats.t.interval(0.95, len(values) - 1, loc=mean(values), scale=stats.sem(values))
    return float(low), float(high)


def mean(values: list[float]) -> float:
    """The arithmetic mean."""
    return sum(values) / len(values)


# ---- the command line


def commit(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    """Make a version of rows."""
    write(folder / f"{name}.jsonl", rows)
    (folder / f"{name}.yaml").write_text(PIPELINE.format(name=name))
    curate(folder, "run", f"{name}.yaml")


def train(folder: Path, run: str, settings: str, *changes: str) -> None:
    """Train a run of a file of its own."""
    (folder / f"{run}.train.yaml").write_text(settings)
    sets = [word for change in (f"run={run}", "device=cpu", *changes) for word in ("--set", change)]
    curate(folder, "train", f"{run}.train.yaml", *sets)


def curate(folder: Path, *words: str) -> str:
    """What a command prints; its complaints are shown where it fails."""
    done = subprocess.run([*CURATE, *words], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"curate {' '.join(words)}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows as JSON lines."""
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def lines_of(text: str) -> list[dict[str, Any]]:
    """Rows of JSON lines."""
    return [json.loads(line) for line in text.splitlines()]


if __name__ == "__main__":
    main()
