"""CPU time of attention in pieces against PyTorch's kernel, forward and backward, one thread; medians of turns.

python benchmarks/cpu_attention.py [--turns 15] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from machine import machine
from torch.nn import functional

from curate.train.models.cpu_attention import attend_in_pieces, pieces_pay
from curate.train.models.layers import attention_mask

SHAPES = [(4, 256, 6, 2, 64), (16, 256, 4, 4, 32), (2, 1024, 6, 2, 64), (32, 64, 4, 4, 32)]
"""Rows, length, heads, key and value heads, head width."""
DOCUMENT = 100


def by_pytorch(query, key, value, mask):
    """The same of PyTorch."""
    query, key, value = (part.transpose(1, 2) for part in (query, key, value))
    mixed = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, enable_gqa=query.shape[1] > key.shape[1]
    )
    return mixed.transpose(1, 2)


def measured(shape, dtype, documents, turns):
    """Median milliseconds of both."""
    rows, length, heads, key_heads, width = shape
    given = [torch.randn(rows, length, count, width, dtype=dtype) for count in (heads, key_heads, key_heads)]
    mask = None
    if documents:
        numbers = (torch.arange(length) // DOCUMENT).expand(rows, length)
        mask = attention_mask(numbers, causal=True, queries=length, dtype=dtype)
    found = {"pytorch": [], "pieces": []}
    for turn in range(turns + 1):
        for name, attend in {"pytorch": by_pytorch, "pieces": attend_in_pieces}.items():
            inputs = [part.clone().requires_grad_() for part in given]
            began = time.process_time()
            attend(*inputs, mask).sum().backward()
            if turn:
                found[name].append(1e3 * (time.process_time() - began))
    row = {name: round(statistics.median(times), 2) for name, times in found.items()}
    return {**row, "ratio": round(row["pieces"] / row["pytorch"], 2), "taken": pieces_pay(given[0], mask)}


def main():
    """Print a table; `--json` writes a file."""
    parser = argparse.ArgumentParser(description="attention on the CPU")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for dtype in (torch.bfloat16, torch.float32):
        for documents in (False, True):
            for shape in SHAPES:
                row = measured(shape, dtype, documents, options.turns)
                kind = f"{str(dtype).removeprefix('torch.')}, {'documents' if documents else 'causal'}"
                print(f"{kind:22}{shape!s:24}{row}", flush=True)
                rows.append({"kind": kind, "shape": shape, **row})
    if options.json:
        options.json.write_text(json.dumps({"schema": 1, "machine": machine("torch"), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
