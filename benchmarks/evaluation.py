"""`curate eval` against lm-evaluation-harness alone: CPU time and numbers, same model, task files and rows.

    python benchmarks/evaluation.py [--rounds 3] [--rows 200]

The model is a Llama of random weights (8 million parameters beside GPT-2's vocabulary) in a Hugging Face folder. Five
tasks: LAMBADA, HellaSwag, ARC, SST-2 and CommonsenseQA from ../shared/data. `harness` is lm-evaluation-harness's own
command with its `hf` model; `ours` and `transformers` are `curate eval` on the same task files, on our trunks and on
transformers; `native` asks the questions of HellaSwag and ARC as tasks of ours, without the harness.
"""

from __future__ import annotations

import argparse
import bz2
import csv
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lm_eval
import yaml
from machine import cpu_seconds, machine

DATA = Path(os.environ.get("CURATE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
OFFLINE = dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"), "1")
FILES = {
    "lambada": "lambada/lambada_openai.yaml", "hellaswag": "hellaswag/hellaswag.yaml", "arc": "arc/arc_easy.yaml",
    "sst2": "glue/sst2/default.yaml", "csqa": "commonsense_qa/default.yaml",
}  # fmt: skip
METRICS = {
    ("lambada", "perplexity"): "word_perplexity", ("lambada", "acc"): "accuracy", ("hellaswag", "acc"): "accuracy",
    ("hellaswag", "acc_norm"): "accuracy_normalized", ("arc", "acc"): "accuracy", ("arc", "acc_norm"): "accuracy_normalized",
    ("sst2", "acc"): "accuracy", ("csqa", "acc"): "accuracy",
}  # fmt: skip
NATIVE = {
    "hellaswag": {"prompt": "{{ query }}", "choices": "choices", "answer": "label"},
    "arc": {"prompt": "Question: {{ question }}\nAnswer:", "choices": "texts", "answer": "place"},
}


def main() -> None:
    """Print CPU seconds of each way, ratios to the harness, and the greatest difference of a number."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=200)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_model(folder / "model")
        for task, rows in ROWS.items():
            write_task(folder, task, list(rows())[: asked.rows])
        (folder / "native.yaml").write_text(yaml.safe_dump({"tasks": [native(task) for task in NATIVE]}))
        both = folder / "both"
        both.mkdir()
        for task in NATIVE:
            (both / f"own_{task}.yaml").write_text((folder / f"own_{task}.yaml").read_text())
        all_tasks, questions = [f"own_{task}" for task in FILES], [f"own_{task}" for task in NATIVE]
        ways = {
            "harness": harness(folder, folder, all_tasks),
            "ours": ours(folder, "ours", all_tasks),
            "transformers": ours(folder, "transformers", all_tasks),
            "harness, two tasks": harness(folder, both, questions),
            "native, two tasks": [*ours(folder, "ours", []), "--tasks", "native.yaml"],
        }
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(asked.rounds):
            for way, command in ways.items():
                out = f"{way.split(',')[0]}-{len(command)}-{number}"
                seconds[way].append(cpu_seconds([*command, OUT[command[2]], out], folder, os.environ | OFFLINE))
        print(json.dumps(differences(folder, len(ways["harness"]), len(ways["ours"])), indent=1))
    middle = {way: statistics.median(some) for way, some in seconds.items()}
    for way, some in seconds.items():
        of = middle["harness, two tasks" if "two" in way else "harness"]
        print(f"{way:20} {middle[way]:7.1f} CPU s ({min(some):.1f} to {max(some):.1f})  {middle[way] / of:.2f}")
    print(json.dumps(machine("torch", "transformers", "lm-eval"), indent=1))


OUT = {"lm_eval": "--output_path", "curate": "--out"}


def harness(folder: Path, include: Path, tasks: list[str]) -> list[str]:
    """The harness's own command, without `--output_path`."""
    return [
        sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--model_args", f"pretrained={folder / 'model'},dtype=float32",
        "--device", "cpu", "--batch_size", "16", "--include_path", str(include), "--tasks", ",".join(tasks),
    ]  # fmt: skip


def ours(folder: Path, backend: str, tasks: list[str]) -> list[str]:
    """Our command, without `--out`."""
    return [
        sys.executable, "-m", "curate", "eval", str(folder / "model"), "--backend", backend,
        *(word for task in tasks for word in ("--tasks", f"{task}.yaml")),
    ]  # fmt: skip


def differences(folder: Path, harness_words: int, our_words: int) -> dict[str, float]:
    """The greatest difference, relative where a number is above one, to the harness."""
    [path] = (folder / f"harness-{harness_words}-0").rglob("results_*.json")
    theirs = json.loads(path.read_text())["results"]
    found = {}
    for way in ("ours", "transformers"):
        mine = json.loads((folder / f"{way}-{our_words}-0" / "result.json").read_text())["tasks"]
        pairs = [
            (theirs[f"own_{task}"][f"{name},none"], mine[f"own_{task}"][metric]["value"])
            for (task, name), metric in METRICS.items()
        ]
        found[way] = max(abs(one - other) / max(1.0, abs(one)) for one, other in pairs)
    return found


# ---- model and tasks


def make_model(folder: Path) -> None:
    """A Llama of random weights that reads GPT-2's tokens."""
    import torch
    import transformers
    from tokenizers import ByteLevelBPETokenizer

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=50_257, hidden_size=256, intermediate_size=1024, num_hidden_layers=8, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=1024, bos_token_id=50_256, eos_token_id=50_256,
        initializer_range=0.06, tie_word_embeddings=True,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    source = DATA / "gpt2_bpe"
    ByteLevelBPETokenizer(str(source / "encoder.json"), str(source / "vocab.bpe")).save(str(folder / "tokenizer.json"))
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(names))


def write_task(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    """A task file that puts the harness's own on these rows."""
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / f"own_{name}.yaml").write_text(yaml.safe_dump({
        "include": str(Path(lm_eval.__file__).parent / "tasks" / FILES[name]), "task": f"own_{name}", "dataset_path": "json",
        "dataset_name": None, "dataset_kwargs": {"data_files": {"test": str(path)}}, "training_split": None,
        "validation_split": None, "test_split": "test", "process_docs": None, "tag": None,
    }))  # fmt: skip


def native(name: str) -> dict[str, Any]:
    """A task of ours on the same rows."""
    return {"name": name, "kind": "choice", "files": [f"{name}.jsonl"], **NATIVE[name]}


def lambada() -> Iterator[dict[str, Any]]:
    """Passages with a last word to guess."""
    yield from map(json.loads, (DATA / "lambada/lambada_test.jsonl").read_text().splitlines())


def hellaswag() -> Iterator[dict[str, Any]]:
    """What happens next; four ends."""
    lines = bz2.decompress((DATA / "hellaswag/hellaswag_val_full.txt.bz2").read_bytes()).decode().splitlines()
    for at in range(0, len(lines) - 5, 6):
        yield {"query": lines[at], "label": int(lines[at + 1]), "choices": lines[at + 2 : at + 6]}


def arc() -> Iterator[dict[str, Any]]:
    """Questions of school, with four answers."""
    with (DATA / "mmlu_arc_csqa/ai2_arc/test/ARC-Easy_test.csv").open() as stream:
        for question, *answers, key in csv.reader(stream):
            if key in "ABCD" and len(answers) == 4:
                choices = {"text": answers, "label": list("ABCD")}
                yield {
                    "question": question,
                    "choices": choices,
                    "answerKey": key,
                    "texts": answers,
                    "place": "ABCD".index(key),
                }


def sst2() -> Iterator[dict[str, Any]]:
    """Sentences of reviews."""
    for line in (DATA / "sst2/dev.tsv").read_text().splitlines():
        sentence, _, label = line.rpartition("\t")
        if label in ("0", "1"):
            yield {"sentence": sentence, "label": int(label)}


def csqa() -> Iterator[dict[str, Any]]:
    """Questions of everyday life, with five answers."""
    with (DATA / "mmlu_arc_csqa/commonsense_qa/val/default_val.csv").open() as stream:
        for question, *answers, key in csv.reader(stream):
            if key in "ABCDE" and len(answers) == 5:
                yield {"question": question, "choices": {"text": answers, "label": list("ABCDE")}, "answerKey": key}


ROWS = {"lambada": lambada, "hellaswag": hellaswag, "arc": arc, "sst2": sst2, "csqa": csqa}

if __name__ == "__main__":
    main()
