"""Makes `store_v1.tar.xz`: a store in format 1, and what the curate that wrote it said of it.

Run it with curate as it was before format 2 first on the path, once and for all (commit f6845ea):

    PYTHONPATH=OLD-CHECKOUT python tests/dataset/make_store_v1.py

The datasets: `books` has three versions, of which the second was collected; the first has the tag `release`. Its documents
are edited (unicode, pii), dropped (gopher_quality, near_duplicates), quarantined (lines that are no JSON, an id twice) and
split. `notes` is as it was read, without an id of its own. Two training runs used `books`.
"""

from __future__ import annotations

import json
import random
import tarfile
import tempfile
from pathlib import Path

import curate
from curate.dataset import refs
from curate.dataset.care import collect_garbage
from curate.dataset.ledger import Shard, quarantined
from curate.dataset.store import Store
from curate.dataset.why import why

BOOKS = """\
dataset: books
max_quarantined: 10
shard_megabytes: 0.005
sources:
  - {stage: files, id: files, paths: ["*.jsonl"]}
stages:
  - {stage: unicode, id: unicode}
  - {stage: gopher_quality, id: quality, min_words: MINIMUM}
  - {stage: near_duplicates, id: near, similarity: 0.7}
  - {stage: pii, id: pii}
  - {stage: split, id: split, train: 0.6, validation: 0.2, test: 0.2}
"""
NOTES = """\
dataset: notes
sources:
  - {stage: files, paths: ["*.txt"]}
stages: []
"""
WORDS = "the of and to that have with be is a river house light stone paper green north seven walks under water over".split()  # noqa: SIM905


def write_inputs(root: Path) -> list[str]:
    """Three files of JSON lines and one of text; returns the ids."""
    draw = random.Random(8)
    documents = []
    for number in range(45):
        words = draw.choices(WORDS, k=draw.choice([8, 12, 30, 60]))
        document = {
            "id": f"book-{number}",
            "text": " ".join(words) + ".",
            "year": 1900 + number if number % 3 else None,
        }
        if number % 4 == 0:
            document["messages"] = [{"role": "user", "content": f"question {number}"}]
        documents.append(document)
    for number in (3, 9, 20):
        documents[number]["text"] += " Write to someone@example.org or another.one@example.com."
    documents[5]["text"] = "\u201cquoted\u201d\u200b " + documents[5]["text"] + " cafe\u0301"
    long = [one for one in documents if len(one["text"].split()) >= 55]
    documents.append({"id": "copy-of-long", "text": long[0]["text"] + " indeed", "year": 1})
    documents.append({"id": "book-1", "text": "the id of another one", "year": 2})
    for name, part in (("a.jsonl", documents[:20]), ("b.jsonl", documents[20:40]), ("c.jsonl", documents[40:])):
        lines = [json.dumps(one, ensure_ascii=False) for one in part]
        lines.insert(3, '{"id": "broken", "text": ')
        (root / name).write_text("\n".join(lines) + "\n")
    (root / "notes.txt").write_text("A note.\n\nAnother one, of two lines\nthat stand together.\n")
    return [one["id"] for one in documents]


def facts_of(store: Store, name: str) -> dict:
    """What the old code says of a version."""
    one = curate.open_dataset(name, store.root)
    shards = [Shard.from_json(record) for record in one.manifest["ledger"]]
    ids = [row for shard in shards for row in store.read_table(shard.object, ["id"]).column("id").to_pylist()]
    rejected = [row["id"] for row in quarantined(store, shards)]
    return {
        "version": one.version,
        "tag": one.tag,
        "columns": one.manifest["columns"],
        "splits": one.manifest["splits"],
        "counts": one.manifest["documents"],
        "bytes": [one.manifest["bytes"], one.manifest["text_bytes"]],
        "stages": one.manifest["stages"],
        "lineage": one.manifest["lineage"],
        "documents": one.arrow().to_pylist(),
        "by_split": {split: one.arrow(split).column("id").to_pylist() for split in one.splits},
        "why": {document: why(one, document) for document in dict.fromkeys([*ids, *rejected])},
        "quarantined": list(quarantined(store, shards)),
        "pairs": store.read_table(stage["artifacts"]["pairs"]["object"]).to_pylist()
        if (stage := next((stage for stage in one.manifest["stages"] if stage["artifacts"]), None))
        else None,
    }


def main() -> None:
    """Make it."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_inputs(root)
        place = root / ".curate"
        for minimum in (10, 20, 25):
            (root / "books.yaml").write_text(BOOKS.replace("MINIMUM", str(minimum)))
            curate.run(root / "books.yaml", store=place, workers=1)
        (root / "notes.yaml").write_text(NOTES)
        curate.run(root / "notes.yaml", store=place, workers=1)
        store = Store.open(place)
        collected = refs.resolve(store, "books@v2").version
        refs.set_tag(store, refs.resolve(store, "books@v1"), "release")
        refs.remove_tag(store, "books", "v2")
        collect_garbage(store, keep_days=0, dry_run=False)  # pyright: ignore[reportCallIssue]  the one of then
        for run in ("small", "large"):
            record = {
                "schema": 1, "run": run, "folder": f"/home/somebody/runs/{run}", "dataset": "books",
                "version": refs.resolve(store, "books@v1").version, "tokenizer": "0" * 64,
            }  # fmt: skip
            store.record_training(run, record)
        facts = {name: facts_of(store, name) for name in ("books@v1", "books@v3", "notes@v1")}
        (root / "facts.json").write_text(json.dumps({"versions": facts, "collected": collected}, indent=1))
        (place / "inputs.json").write_text("{}")  # it names this folder
        with tarfile.open(Path(__file__).with_name("store_v1.tar.xz"), "w:xz") as archive:
            archive.add(place, "store", filter=_nobody)
            archive.add(root / "facts.json", "facts.json", filter=_nobody)


def _nobody(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    main()
