"""Three small projects, made from a seed, whose version ids are kept in tests/goldens/version_ids.txt."""

from __future__ import annotations

import json
import os
import random
import sys
from importlib import metadata
from pathlib import Path

LIBRARIES = ("pyarrow", "numpy", "xxhash", "orjson", "ftfy", "spacy", "datatrove", "FastWARC", "Resiliparse", "numba")
WORDS = """
    the of and to a in that is was with have be this from they which at on by river mill stone bridge town water winter
    harvest letter window morning carried walked remembered answered between another nothing several quiet narrow early
"""
STAGES = {
    "filters": [
        {"stage": "unicode"},
        {"stage": "gopher_quality", "min_words": 20},
        {"stage": "c4"},
        {"stage": "fineweb"},
        {"stage": "split", "train": 0.8, "validation": 0.1, "test": 0.1},
    ],
    "duplicates": [
        {"stage": "exact_duplicates"},
        {"stage": "near_duplicates", "similarity": 0.7},
        {"stage": "sample", "fraction": 0.9},
        {"stage": "split", "train": 0.5, "validation": 0.25, "test": 0.25},
    ],
    "blocks": [
        {"use": "datatrove.pipeline.filters.RegexFilter", "regex_exp": "harvest.*harvest"},
        {"stage": "text_statistics"},
        {"id": "again", "stage": "exact_duplicates", "normalize": True},
    ],
}


def texts(seed: int, count: int) -> list[str]:
    """Lines of sentences; some again, some nearly again, some with letters beyond ASCII."""
    draw = random.Random(seed)
    made: list[str] = []
    for number in range(count):
        lines = [_line(draw) for _ in range(draw.randint(1, 5))]
        if number % 7 == 6:
            lines = made[draw.randrange(len(made))].split("\n")
        if number % 14 == 13:
            lines[0] = f"M\u00fcller\u2019s {lines[0].lower()}"
        made.append("\n".join(lines))
    return made


def _line(draw: random.Random) -> str:
    words = WORDS.split()
    return " ".join(draw.choice(words) for _ in range(draw.randint(5, 14))).capitalize() + "."


def write_project(root: Path, name: str) -> Path:
    """The files of one project; its pipeline file."""
    root.mkdir(parents=True, exist_ok=True)
    made = texts(len(name), 63)
    records = [json.dumps({"id": f"{name}-{number}", "text": text}) for number, text in enumerate(made[:60])]
    (root / "first.jsonl").write_text("".join(f"{record}\n" for record in records[:40]))
    (root / "second.jsonl").write_text("".join(f"{record}\n" for record in [*records[40:], '{"id": "broken"']))
    for number, text in enumerate(made[60:]):
        (root / f"page{number}.txt").write_text(text)
    pipeline = root / "pipeline.yaml"
    stages = "\n".join(f"  - {json.dumps(stage)}" for stage in STAGES[name])
    source = json.dumps({"stage": "files", "paths": ["*.jsonl", "*.txt"]})
    pipeline.write_text(f"dataset: {name}\nshard_megabytes: 0.004\nsources: [{source}]\nstages:\n{stages}\n")
    return pipeline


def version_id(pipeline: Path, *, workers: int = 1) -> str:
    """What a run gives."""
    import curate

    return curate.run(pipeline, store=pipeline.parent / "store", workers=workers).version


def tools() -> str:
    """The versions that decide version ids beside curate's own code."""
    versions = [f"{name} {metadata.version(name)}" for name in LIBRARIES]
    return ", ".join([f"python {sys.version_info.major}.{sys.version_info.minor}", *versions])


def golden() -> str:
    """The text of tests/goldens/version_ids.txt."""
    import tempfile

    os.environ.pop("CURATE_STORE", None)
    with tempfile.TemporaryDirectory() as folder:
        ids = [f"{name} {version_id(write_project(Path(folder, name), name))}" for name in STAGES]
    return "\n".join([f"# {tools()}", *ids, ""])
