"""Exports of one trained Llama of 8 million parameters: tokens a CPU second of CTranslate2 int8 beside torch; sizes.

The model learns a part of tinyshakespeare. Prompts are pieces of it; each way writes the likeliest tokens, as many of all, on
one core. Ways alternate, and medians stand beside extremes. `same` is the share of texts that are those of transformers,
`prefix` the fewest tokens of a text until one differs.

    python benchmarks/export.py --data DIR [--runs 3] [--steps 60] [--work DIR]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from machine import machine

from curate.evaluation.models.generation import Generation
from curate.evaluation.models.ours import open_trunk
from curate.train.export.export import export_run
from curate.train.run import train_run

PROMPT, NEW, BATCHES = 16, 64, (1, 8)
FORMATS = {
    "huggingface": {},
    "gguf f16": {"format": "gguf"},
    "gguf q8_0": {"format": "gguf", "quantize": "q8_0"},
    "ctranslate2": {"format": "ctranslate2"},
}


def main():
    """Print the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--work", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = (asked.work or Path(name)).resolve()
        folder.mkdir(exist_ok=True)
        run = trained(folder, asked.data, asked.steps)
        sizes = {name: exported(run, folder / name.replace(" ", "-"), form) for name, form in FORMATS.items()}
        speeds = {batch: measured(folder, run, batch, asked) for batch in BATCHES}
    libraries = machine("torch", "transformers", "ctranslate2", "gguf")
    print(json.dumps({"sizes": sizes, "batches": speeds, "machine": libraries}, indent=1))


def trained(folder, data, steps):
    """A run's folder; one that is there is taken."""
    run = folder / "runs" / "plays"
    if (run / "result.json").is_file():
        return run
    text = (data / "tinyshakespeare" / "input.txt").read_text()
    texts = [text[start : start + 1500] for start in range(0, len(text) - 1500, 1500)]
    rows = [{"text": one, "part": "validation" if at % 20 == 19 else "train"} for at, one in enumerate(texts)]
    (folder / "plays.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = "sources:\n  - {stage: files, paths: [plays.jsonl], make_ids: true}\n"
    (folder / "plays.yaml").write_text(f"dataset: plays\n{source}stages:\n  - {{stage: split, column: part}}\n")
    subprocess.run([sys.executable, "-m", "curate", "run", "plays.yaml"], cwd=folder, check=True, capture_output=True)
    settings = {
        "dataset": "plays", "run": "plays", "steps": steps, "checkpoint_every": steps, "model": {"preset": "10m"},
        "tokenizer": {"vocabulary": 4096}, "batch": {"sequences": 8, "length": 128}, "optimizer": {"learning_rate": 2e-3},
        "validation": {"every": steps, "sequences": 8},
    }  # fmt: skip
    (folder / "train.yaml").write_text(json.dumps(settings))
    train_run(folder / "train.yaml", overrides=[], fresh=True)
    return run


def exported(run, out, form):
    """Bytes of an export, CPU seconds of making and checking it, and what its check found."""
    if not out.is_dir():
        began = time.process_time()
        written = export_run(run, out, **form)
        seconds = time.process_time() - began
        (out.parent / f"{out.name}.json").write_text(json.dumps({**written, "cpu_seconds": round(seconds, 1)}))
    written = json.loads((out.parent / f"{out.name}.json").read_bytes())
    return {"megabytes": round(written["bytes"] / 1e6, 1), "cpu_seconds": written["cpu_seconds"], **written["check"]}


def measured(folder, run, batch, asked):
    """Tokens a CPU second of each way, and how its texts differ from ours."""
    text = (asked.data / "tinyshakespeare" / "input.txt").read_text()
    model = open_trunk(str(run))
    tokens = model.encode([text])[0][-4000:]
    prompts = [tokens[start : start + PROMPT] for start in range(0, batch * 200, 200)]
    ways = {"curate": ours(model), "transformers": theirs(folder / "huggingface"), "ctranslate2": engine(folder, model)}
    rates, texts = {name: [] for name in ways}, {}
    for number in range(asked.runs + 1):
        for name, way in ways.items():
            began = time.process_time()
            texts[name] = way(prompts)
            if number:  # the first one warms up
                rates[name].append(batch * NEW / (time.process_time() - began))
    wanted = texts["transformers"]
    texts["curate"] = [  # which gives words
        tokens if model.tokenizer.decode(tokens) == text else []
        for tokens, text in zip(wanted, texts["curate"], strict=True)
    ]
    return {name: row(rates[name], rates["transformers"], texts[name], wanted) for name in ways}


def row(rates, torch_rates, texts, wanted):
    """A way's numbers."""
    prefix = min(
        next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))
        for one, other in zip(texts, wanted, strict=True)
    )
    return {
        "tokens_per_cpu_second": [round(rate, 1) for rate in (statistics.median(rates), min(rates), max(rates))],
        "times_transformers": round(statistics.median(rates) / statistics.median(torch_rates), 2),
        "same": sum(one == other for one, other in zip(texts, wanted, strict=True)) / len(wanted),
        "prefix": prefix,
    }


def ours(model):
    """Our own generation; texts that end are none of its business here."""

    @torch.inference_mode()
    def way(prompts):
        generation = Generation(model, most=NEW, end=frozenset())
        return [one.text for one in generation.continued(prompts, rows=len(prompts))]

    return way


def theirs(folder):
    """Transformers on the Hugging Face folder."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()

    @torch.inference_mode()
    def way(prompts):
        given = torch.tensor(prompts)
        settings = {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False, "eos_token_id": None}
        found = model.generate(given, attention_mask=torch.ones_like(given), **settings)
        return found[:, given.shape[1] :].tolist()

    return way


def engine(folder, model):
    """CTranslate2 on its own folder."""
    import ctranslate2

    generator = ctranslate2.Generator(
        str(folder / "ctranslate2"), device="cpu", compute_type="int8", inter_threads=1, intra_threads=1
    )

    def way(prompts):
        names = [[model.tokenizer.id_to_token(number) for number in prompt] for prompt in prompts]
        settings = {"max_length": NEW, "min_length": NEW, "sampling_topk": 1, "include_prompt_in_result": False}
        found = generator.generate_batch(names, end_token=[], max_batch_size=len(names), **settings)
        return [one.sequences_ids[0] for one in found]

    return way


if __name__ == "__main__":
    main()
