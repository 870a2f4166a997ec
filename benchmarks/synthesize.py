"""What a fetch of model-written documents pays for, when its endpoint fails one of ten and it is killed.

    python benchmarks/synthesize.py [--data FOLDER] [--documents 300] [--kills 2]

FOLDER has gsm8k/train.jsonl (by default ../shared/data beside the repository). A local server answers at once, but with status
500 for one request of ten; `curate collect` is killed with SIGKILL so often, at even distances, and then let finish.
`twice`: prompts that were answered again, because they were under way at a kill (`concurrency` is 8).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import machine

import curate

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))
DATA = REPOSITORY.parent / "shared" / "data"


def main() -> None:
    """Measure and print JSON."""
    from tests.synthesize.stub import Stub

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--documents", type=int, default=300)
    parser.add_argument("--kills", type=int, default=2)
    options = parser.parse_args()
    lines = (options.data / "gsm8k" / "train.jsonl").read_text().splitlines()[: options.documents]
    with (
        tempfile.TemporaryDirectory() as folder,
        Stub(_say, lambda number: "500" if number % 10 == 0 else None) as stub,
    ):
        root = Path(folder)
        (root / "in.jsonl").write_text("\n".join(lines) + "\n")
        (root / "seeds.yaml").write_text(
            "dataset: seeds\nsources: [{stage: files, paths: in.jsonl, text: question}]\nstages: []\n"
        )
        curate.run(root / "seeds.yaml", workers=1)
        entry = {"stage": "synthesize", "dataset": "seeds", "endpoint": stub.url, "model": "m", "task": "paraphrase"}
        (root / "made.yaml").write_text(json.dumps({"dataset": "made", "sources": [entry], "stages": []}))
        command = [sys.executable, "-m", "curate.cli", "collect", "made.yaml"]
        for kill in range(options.kills):
            process = subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while process.poll() is None and sum(stub.paid.values()) < options.documents * (kill + 1) // (
                options.kills + 1
            ):
                time.sleep(0.002)
            process.kill()
            process.wait()
        subprocess.run(command, cwd=root, check=True, capture_output=True)
        kept = curate.run(root / "made.yaml", workers=1).documents["kept"]
        print(json.dumps({
            "machine": machine(), "documents": options.documents, "kills": options.kills, "requests": len(stub.seen),
            "answered": len(stub.paid), "twice": sum(stub.paid.values()) - len(stub.paid), "kept": kept,
        }, indent=1))  # fmt: skip


def _say(body: dict) -> str:
    return "In other words, " + body["messages"][-1]["content"]


if __name__ == "__main__":
    main()
