"""`curate serve`: tokens a second of 32 clients at once against one alone, the same model, processor and server.

    python benchmarks/serve.py [--runs 5] [--tokens 64] [--clients 32] [--width 256] [--layers 8] [--json]

A Llama of 8 million parameters that knows nothing (what a step costs does not depend on what was learned) is written into a
folder of its own and served by `curate serve` in a process with one thread for sums. Each client asks for so many tokens of a
prompt of 16 to 47; one alone and all at once take turns. Tokens for a CPU second of the server stand beside those for a second
of the clock: the first do not depend on what else the machine does. Also the seconds to the first piece of a stream, and the
same requests to transformers' own `generate`, in this process, in one padded batch.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
from machine import machine, spread

VOCABULARY, LENGTH = 8192, 512


def write_model(folder: Path, width: int, layers: int) -> None:
    """A Llama of transformers with random weights, and a tokenizer whose tokens are bytes."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=width, intermediate_size=width * 8 // 3 // 64 * 64, num_hidden_layers=layers,
        num_attention_heads=width // 32, num_key_value_heads=width // 64, max_position_embeddings=LENGTH,
        bos_token_id=256, eos_token_id=256, pad_token_id=256, tie_word_embeddings=True,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    names = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={name: number for number, name in enumerate(names)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    # a model's numbers are those of its tokenizer, too
    tokenizer.add_special_tokens(["<|endoftext|>", *(f"<|{number}|>" for number in range(257, VOCABULARY))])
    tokenizer.save(str(folder / "tokenizer.json"))
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))


def prompts(clients: int) -> list[str]:
    """Of 16 to 47 bytes."""
    return [("all work and no play makes a dull model " * 2)[: 16 + number % 32] for number in range(clients)]


def asked(url: str, prompt: str, tokens: int) -> int:
    """How many tokens came."""
    body = {"prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
    answer = httpx.post(f"{url}/completions", json=body, timeout=600)
    answer.raise_for_status()
    return answer.json()["usage"]["completion_tokens"]


def measured(url: str, server: psutil.Process, clients: int, tokens: int) -> dict[str, float]:
    """Tokens for a second of the clock, and for one of the server's CPU."""
    before, began = sum(server.cpu_times()[:2]), time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        count = sum(pool.map(lambda prompt: asked(url, prompt, tokens), prompts(clients)))
    wall, cpu = time.perf_counter() - began, sum(server.cpu_times()[:2]) - before
    return {"per_second": count / wall, "per_cpu_second": count / cpu}


def first_piece(url: str) -> float:
    """Seconds to the first piece of a stream."""
    body = {"prompt": prompts(1)[0], "max_tokens": 8, "temperature": 0, "ignore_eos": True, "stream": True}
    began = time.perf_counter()
    with httpx.stream("POST", f"{url}/completions", json=body, timeout=600) as answer:
        next(answer.iter_lines())
        return time.perf_counter() - began


def transformers_generate(folder: Path, clients: int, tokens: int) -> float:
    """Tokens for a CPU second of transformers' `generate`, all prompts in one batch."""
    import torch
    import transformers

    torch.set_num_threads(1)
    model: Any = transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    encoded = [list(prompt.encode()) for prompt in prompts(clients)]
    longest = max(map(len, encoded))
    rows = torch.tensor([[256] * (longest - len(row)) + row for row in encoded])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in encoded])
    before = time.process_time()
    with torch.inference_mode():
        model.generate(rows, attention_mask=mask, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)
    return clients * tokens / (time.process_time() - before)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        write_model(folder, given.width, given.layers)
        command = [sys.executable, "-m", "curate", "serve", str(folder), "--port", "0", "--slots", str(given.clients)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        assert process.stdout is not None
        url, server = process.stdout.readline().strip(), psutil.Process(process.pid)
        for _ in range(2):
            measured(url, server, given.clients, 8)
        found: dict[str, list[Any]] = {"one": [], "many": [], "first": [], "transformers": []}
        for _ in range(given.runs):
            found["one"].append(measured(url, server, 1, given.tokens))
            found["many"].append(measured(url, server, given.clients, given.tokens))
            found["first"].append(first_piece(url))
            found["transformers"].append(transformers_generate(folder, given.clients, given.tokens))
        process.send_signal(signal.SIGTERM)
        process.wait()
    told: dict[str, Any] = {"machine": machine("torch", "uvicorn", "starlette"), **vars(given)}
    for name in ("per_second", "per_cpu_second"):
        one, many = ([run[name] for run in found[key]] for key in ("one", "many"))
        told[f"one_{name}"], told[f"many_{name}"] = spread(one), spread(many)
        told[f"ratio_{name}"] = spread([second / first for first, second in zip(one, many, strict=True)])
    told["first_piece_seconds"] = spread(found["first"])
    told["transformers_per_cpu_second"] = spread(found["transformers"])
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
