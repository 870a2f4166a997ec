"""Speed of every per-shard stage alone: MB of text and documents per CPU second, on one core, warm.

    python benchmarks/stages.py [--data ../shared/data] [--megabytes 4]

The text is English books cut into documents of about 3 KB; `html_text` gets real web pages. Each stage runs once to load what
it loads (not counted), then once over everything.
"""

from __future__ import annotations

import argparse
import gzip
import json
import platform
import tarfile
import time
from pathlib import Path

import pyarrow as pa

from curate.stages.contract import Audit, Filter, Mapper
from curate.stages.registry import BUILT_IN, find_stage

DOCUMENT = 3000
REQUIRED: dict[str, dict[str, object]] = {"sample": {"fraction": 0.5}, "language": {"languages": ["en"]}}


def books(data: Path, megabytes: float) -> list[str]:
    """Books, cut into documents at line ends."""
    texts: list[str] = []
    size = 0
    with tarfile.open(data / "books_sample" / "books.tar.xz") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file is None or size > megabytes * 1e6:
                continue
            lines, held = [], 0
            for line in file.read().decode("utf-8", "replace").splitlines(keepends=True):
                lines.append(line)
                held += len(line)
                if held >= DOCUMENT:
                    texts.append("".join(lines))
                    size += held
                    lines, held = [], 0
    return texts


def pages(data: Path) -> list[str]:
    """Real web pages."""
    files = sorted((data / "zyte_article_extraction").rglob("*.html.gz"))
    return [gzip.decompress(path.read_bytes()).decode("utf-8", "replace") for path in files]


def table(texts: list[str]) -> pa.Table:
    """Texts as a stage gets them."""
    names = [f"d{number}" for number in range(len(texts))]
    return pa.table({"id": names, "text": texts, "source_uri": names})


def measure(name: str, documents: pa.Table) -> dict[str, float | str]:
    """One stage over all documents."""
    stage = find_stage(name).model_validate(REQUIRED.get(name, {}))
    assert isinstance(stage, Mapper | Filter | Audit)
    call = stage.open()
    batches = [documents.slice(start, stage.batch) for start in range(0, documents.num_rows, stage.batch)]
    call(batches[0])
    began = time.process_time()
    for batch in batches:
        result = call(batch)
        if isinstance(stage, Filter):
            stage.decide(result)
    spent = time.process_time() - began
    size = sum(len(text.encode()) for text in documents.column("text").to_pylist())
    return {
        "stage": name,
        "mb_per_cpu_s": round(size / 1e6 / spent, 2),
        "documents_per_cpu_s": round(documents.num_rows / spent),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--megabytes", type=float, default=4)
    options = parser.parse_args()
    text, html = table(books(options.data, options.megabytes)), table(pages(options.data))
    names = [name for name in BUILT_IN if find_stage(name).kind in ("mapper", "filter", "audit")]
    rows = [measure(name, html if name == "html_text" else text) for name in names]
    print(json.dumps({"machine": platform.processor() or platform.machine(), "stages": rows}, indent=2))


if __name__ == "__main__":
    main()
