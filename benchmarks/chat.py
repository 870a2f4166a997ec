"""Stages of conversations on GSM8K's questions and answers, as one-turn conversations and as tool calls.

    python benchmarks/chat.py [--data FOLDER] [--runs 5]

FOLDER has gsm8k/train.jsonl (by default ../shared/data beside the repository). 7,473 rows; `tools`: each asks a calculator for
every sum that GSM8K marks (`<<48/2=24>>`), is answered, and answers. Numbers are rows a CPU second of one process, medians of
the runs; `json` is what parsing and writing the same conversations with orjson alone costs: the least that any of this can.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import orjson
import pyarrow as pa
from machine import machine

from curate.chat.check import Chat
from curate.chat.format import ChatFormat
from curate.chat.repair import ChatRepair

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SUM = re.compile(r"<<([^=]+)=([^>]+)>>")
TOOLS = [{"type": "function", "function": {"name": "calculate", "parameters": {
    "type": "object", "properties": {"sum": {"type": "string"}}, "required": ["sum"]}}}]  # fmt: skip


def turns(row: dict[str, str], *, tools: bool) -> list[dict[str, Any]]:
    """A row as a conversation."""
    found: list[dict[str, Any]] = [{"role": "user", "content": row["question"]}]
    for number, (asked, said) in enumerate(SUM.findall(row["answer"]) if tools else ()):
        call = {
            "id": str(number),
            "type": "function",
            "function": {"name": "calculate", "arguments": json.dumps({"sum": asked})},
        }
        found.append({"role": "assistant", "content": None, "tool_calls": [call]})
        found.append({"role": "tool", "tool_call_id": str(number), "content": said})
    return [*found, {"role": "assistant", "content": SUM.sub("", row["answer"])}]


def measured(call: Callable[[pa.Table], object], table: pa.Table, runs: int) -> float:
    """Rows a CPU second."""
    seconds = []
    for _ in range(runs):
        began = time.process_time()
        for batch in table.to_batches(256):
            call(pa.Table.from_batches([batch]))
        seconds.append(time.process_time() - began)
    return round(table.num_rows / median(seconds))


def _json(batch: pa.Table) -> list[bytes]:
    return [orjson.dumps(orjson.loads(one)) for one in batch["messages"].to_pylist()]


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    rows = [json.loads(line) for line in (options.data / "gsm8k" / "train.jsonl").read_text().splitlines()]
    found: dict[str, Any] = {"machine": machine(), "rows": len(rows)}
    for name in ("plain", "tools"):
        said = [json.dumps(turns(row, tools=name == "tools")) for row in rows]
        tools = [json.dumps(TOOLS) if name == "tools" else None] * len(rows)
        table = pa.table({"messages": said, "tools": pa.array(tools, pa.string())})
        found[name] = {
            "json": measured(_json, table, options.runs),
            "chat_format": measured(ChatFormat().open(), table, options.runs),
            "chat_repair": measured(ChatRepair().open(), table, options.runs),
            "chat": measured(Chat().open(), table, options.runs),
            "chat, languages": measured(Chat(languages=True).open(), table, 1),
        }  # fmt: skip
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
