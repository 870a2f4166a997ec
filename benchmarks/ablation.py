"""Planted defects: does `curate ablate` find, with its defaults, data that somebody spoiled?

    python benchmarks/ablation.py [--set KEY=VALUE ...]

Documents are 1,500 characters of the books of ../shared/data/books_sample, a few of each. Three versions are spoiled: in
30% of the documents stands a notice of a web site, in 30% the words are in another order, or a third of the documents stands
there three times. All versions have as many documents. Measured on other books.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from machine import cpu_seconds, machine

DATA = Path(os.environ.get("CURATE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
CURATE = [sys.executable, "-m", "curate"]
LENGTH, OF_EACH = 1500, 6
NOTICE = (
    "We use cookies to improve your experience. By continuing to browse {site} you agree to our privacy policy and terms of "
    "service. Sign up for our newsletter to get the latest news about {topic} in your inbox. Share this on social media. "
    "All rights reserved. {site} is not responsible for the content of external sites. Log in to leave a comment. "
)


def main() -> None:
    """Print the table of verdicts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="of the recipe")
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train, held_out = pieces()
        for version, texts in {"clean": train, **spoiled(train)}.items():
            commit(folder, version, texts)
        write(folder / "books.jsonl", held_out)
        command = [
            *CURATE, "ablate", "clean", "boilerplate", "shuffled", "threefold", "--seeds", str(asked.seeds), "--name",
            "planted", "--heldout", "books.jsonl", "--json",
            *(word for one in asked.overrides for word in ("--set", one)),
        ]  # fmt: skip
        seconds = cpu_seconds(command, folder)
        result = json.loads((folder / "ablations/planted/result.json").read_text())
    for one in result["comparisons"]:
        ends = "-" if one["low"] is None else f"{one['low']:+.4f} to {one['high']:+.4f}"
        print(
            f"{one['arm']:12} {one['task']:10} {one['difference']:+.4f} ({ends}) mde {one['mde']:.4f} {one['verdict']}"
        )
    print(json.dumps({"arms": result["arms"], "cpu_seconds": seconds, "machine": machine("torch")}, indent=1))


def pieces() -> tuple[list[str], list[str]]:
    """Training documents of three books of four, and held-out ones of the others."""
    train: list[str] = []
    held_out: list[str] = []
    with tarfile.open(DATA / "books_sample" / "books.tar.xz") as archive:
        files = sorted((one for one in archive if one.isfile() and one.name.endswith(".md")), key=lambda one: one.name)
        for number, one in enumerate(files):
            file = archive.extractfile(one)
            text = file.read().decode() if file else ""
            starts = range(LENGTH, len(text) - LENGTH, max(LENGTH, len(text) // (OF_EACH + 1)))
            (held_out if number % 4 == 3 else train).extend(
                [text[start : start + LENGTH] for start in starts][:OF_EACH]
            )
    return train, held_out


def spoiled(texts: list[str]) -> dict[str, list[str]]:
    """The three defects."""
    draw = random.Random(0)
    chosen = set(draw.sample(range(len(texts)), round(0.3 * len(texts))))
    third = draw.sample(texts, len(texts) // 3 + 1)

    def notice() -> str:
        site = (
            f"{draw.choice(['daily', 'my', 'best', 'all'])}{draw.choice(['news', 'books', 'deals', 'recipes'])}.example"
        )
        return (NOTICE.format(site=site, topic=draw.choice(["books", "travel", "cooking", "sport"])) * 4)[:LENGTH]

    def shuffled(text: str) -> str:
        words = text.split()
        draw.shuffle(words)
        return " ".join(words)

    return {
        "boilerplate": [notice() if at in chosen else text for at, text in enumerate(texts)],
        "shuffled": [shuffled(text) if at in chosen else text for at, text in enumerate(texts)],
        "threefold": (third * 3)[: len(texts)],
    }


def write(path: Path, texts: list[str]) -> None:
    """JSON lines."""
    path.write_text(
        "".join(json.dumps({"id": f"{path.stem}-{at}", "text": text}) + "\n" for at, text in enumerate(texts))
    )


def commit(folder: Path, name: str, texts: list[str]) -> None:
    """A dataset version of these documents, all for training."""
    write(folder / f"{name}.jsonl", texts)
    path = folder / f"{name}.yaml"
    path.write_text(f"dataset: {name}\nsources:\n  - {{stage: files, paths: [{name}.jsonl]}}\n")
    subprocess.run(
        [*CURATE, "run", str(path)], check=True, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


if __name__ == "__main__":
    main()
