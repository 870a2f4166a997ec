"""Near-duplicates: copies are planted, and what finds them is judged by true similarities."""

from __future__ import annotations

import json
import random
import re
import struct
import tempfile
from pathlib import Path
from typing import Any

__all__ = ["SIMILARITY", "judge", "plant", "run_curate", "run_datatrove"]

SIMILARITY = 0.8


def plant(texts: list[str]) -> tuple[list[str], dict[str, list[tuple[int, int]]]]:
    """The texts with their copies, shuffled, and the positions of the planted pairs."""
    draw = random.Random(1)  # noqa: S311
    vocabulary = " ".join(texts[:200]).split()
    chosen = draw.sample(range(len(texts)), round(0.075 * len(texts)))
    near, exact = chosen[: 2 * len(chosen) // 3], chosen[2 * len(chosen) // 3 :]
    copies = [
        " ".join(draw.choice(vocabulary) if draw.random() < 0.005 else word for word in texts[number].split(" "))
        for number in near
    ]
    together = [*texts, *copies, *(texts[number] for number in exact)]
    place = list(range(len(together)))
    draw.shuffle(place)
    shuffled = [""] * len(together)
    for number, text in enumerate(together):
        shuffled[place[number]] = text
    pairs = [(place[number], place[len(texts) + copy]) for copy, number in enumerate([*near, *exact])]
    alike = [(a, b) for a, b in pairs[: len(near)] if similarity(shuffled[a], shuffled[b]) >= SIMILARITY]
    return shuffled, {"near": alike, "exact": pairs[len(near) :]}


def run_curate(texts: list[str], **settings: Any) -> dict[int, int]:
    """Dropped documents, and the one kept in the place of each."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    import curate
    from curate.dataset.ledger import removed_documents

    stage = {"stage": "near_duplicates", "similarity": SIMILARITY, **settings}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ids = [str(number) for number in range(len(texts))]
        parquet.write_table(pa.table({"id": ids, "text": texts}), folder / "texts.parquet")
        sources = [{"stage": "files", "paths": ["texts.parquet"]}]
        (folder / "pipeline.yaml").write_text(json.dumps({"dataset": "texts", "sources": sources, "stages": [stage]}))
        curate.run(folder / "pipeline.yaml", workers=1)
        made = curate.open_dataset("texts", folder / ".curate")
        dropped = list(removed_documents(made.store, made.ledger(), ("dropped",)))
    return {int(one["id"]): int(one["duplicate_of"]) for one in dropped}


def run_datatrove(texts: list[str]) -> dict[int, int]:
    """Dropped documents, and the one kept in the place of each; the stages' `run`, without an executor."""
    from datatrove.data import Document
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig

    config = MinhashConfig()
    with tempfile.TemporaryDirectory() as name:
        documents = [Document(text=text, id=str(number)) for number, text in enumerate(texts)]
        MinhashDedupSignature(f"{name}/signatures", config=config).run(iter(documents), 0, 1)
        buckets = MinhashDedupBuckets(f"{name}/signatures", f"{name}/buckets", config=config)
        for rank in range(config.num_buckets):
            buckets.run(None, rank, config.num_buckets)
        MinhashDedupCluster(f"{name}/buckets", f"{name}/remove", config=config, save_cluster_id=True).run(None, 0, 1)
        kept = {int(document.id) for document in MinhashDedupFilter(f"{name}/remove").run(iter(documents), 0, 1)}
        clusters = dict(struct.iter_unpack("<2I", Path(f"{name}/remove/000000.clusters").read_bytes()))
    keeper = {cluster: number for number, cluster in clusters.items() if number in kept}
    return {number: keeper[cluster] for number, cluster in clusters.items() if number not in kept}


def shingles(text: str) -> set[tuple[str, ...]]:
    """Word 5-grams of a text, in plain Python."""
    words = re.findall(r"[^\W_]+", text.lower())
    return {tuple(words[start : start + 5]) for start in range(max(1, len(words) - 4))}


def similarity(text: str, other: str) -> float:
    """True Jaccard similarity of two texts' word 5-grams."""
    left, right = shingles(text), shingles(other)
    return len(left & right) / len(left | right)


def judge(texts: list[str], planted: dict[str, list[tuple[int, int]]], dropped: dict[int, int]) -> dict[str, Any]:
    """Recall of the planted pairs and precision of what was dropped."""
    alike = sum(similarity(texts[number], texts[kept]) >= SIMILARITY for number, kept in dropped.items())
    found = {kind: sum(a in dropped or b in dropped for a, b in pairs) for kind, pairs in planted.items()}
    return {
        "dropped": len(dropped),
        **{f"recall_{kind}": found[kind] / len(pairs) if pairs else None for kind, pairs in planted.items()},
        "precision": alike / len(dropped) if dropped else None,
    }
