"""A store with a version whose ledger was made by hand, step by step, as the engine would."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest

from curate.dataset.ledger import Shard, Step, apply_step, next_state
from curate.dataset.refs import commit
from curate.dataset.schema import pack_schema, unify
from curate.dataset.store import Store
from curate.stages.contract import Verdicts
from tests.reports.page import LONG


@dataclass
class Builder:
    """Documents in shards, and stages applied to them one after the other."""

    root: Path
    name: str = "books"
    tables: list[pa.Table] = field(default_factory=list)
    shards: list[Shard] = field(default_factory=list)
    rows: list[dict] = field(default_factory=list)

    def __post_init__(self):
        self.store = Store.open(self.root / "store", create=True)

    def read(self, *shards: list[str], rejected=(), name="files", prefix="d"):
        """Read the texts; `rejected` are (offset, reason, detail) in the first shard."""
        for number, texts in enumerate(shards):
            ids = [f"{prefix}{number}-{index}" for index in range(len(texts))]
            uris = [f"part{number}.jsonl#{index}" for index in range(len(texts))]
            table = pa.table({"id": ids, "text": pa.array(texts, pa.string()), "source_uri": uris})
            rejects = [
                {"id": f"r{at}", "source_uri": f"part{number}.jsonl#{at}", "reason": reason, "detail": detail}
                for at, reason, detail in (rejected if number == 0 else ())
            ]
            self.shards.append(
                Shard(
                    part=f"part{number}.jsonl",
                    source=name,
                    object=self.store.write_table(table),
                    documents=len(texts),
                    bytes=sum(len(text.encode()) for text in texts),
                    schema=pack_schema(table.schema),
                    rejected=self.store.write_table(pa.Table.from_pylist(rejects)) if rejects else None,
                    rejects=dict(Counter(reject["reason"] for reject in rejects)),
                )
            )
            self.tables.append(table)
        count = sum(shard.documents + sum(shard.rejects.values()) for shard in self.shards)
        reasons = {"quarantined": dict(Counter(reject[1] for reject in rejected))} if rejected else {}
        self._row(name, name, "source", count, reasons, {"paths": ["in/*.jsonl"]})
        return self

    def step(self, id, decide, kind="filter", stage=None, settings=None, columns=None, artifacts=None):
        """A stage: `decide(row, document, verdicts)` is called for every document of every shard."""
        total, count = {}, 0
        for number, (shard, table) in enumerate(zip(self.shards, self.tables, strict=True)):
            verdicts = Verdicts()
            for row, document in enumerate(table.to_pylist()):
                decide(row, document, verdicts)
            found = verdicts.table() if verdicts.rows else None
            features = pa.table(columns(table)) if columns else None
            attached = tuple(features.column_names) if features else ()
            feature_object = self.store.write_table(features) if features else None
            reasons = {}
            for verdict in verdicts.rows:
                for counts in (reasons, total):
                    by_reason = counts.setdefault(verdict["verdict"], {})
                    by_reason[verdict["reason"]] = by_reason.get(verdict["reason"], 0) + 1
            stored = found.append_column("id", table.column("id").take(found["row"])) if found else None
            step = Step(
                stage=id,
                count=table.num_rows,
                bytes=0,
                state=next_state(shard.state, found, feature_object, attached),
                verdicts=self.store.write_table(stored) if stored else None,
                features=feature_object,
                attached=attached,
                reasons=reasons,
            )
            count += table.num_rows
            self.shards[number] = shard.after([step])
            self.tables[number] = apply_step(table, found, features, attached)
        self._row(id, stage or id, kind, count, total, settings or {}, artifacts)
        return self

    def fix_unicode(self):
        return self.step("unicode", edit_unicode, "mapper", settings={"form": "NFC"})

    def drop_short(self):
        return self.step("quality", drop_short, stage="gopher_quality", settings={"min_words": 5})

    def find_addresses(self):
        return self.step("pii", find_addresses, "mapper", settings={"types": ["EMAIL"]})

    def drop_copies(self):
        pairs = {"pairs": {"object": "0" * 64, "rows": 7}}
        return self.step("dedup", drop_copies(), "global", stage="near_duplicates", artifacts=pairs)

    def _row(self, id, stage, kind, count, reasons, settings, artifacts=None):
        counts = {verdict: sum(reasons.get(verdict, {}).values()) for verdict in ("dropped", "edited", "quarantined")}
        kept = count - counts["dropped"] - counts["quarantined"]
        artifacts = artifacts or {}
        self.rows.append(
            {"id": id, "stage": stage, "kind": kind, "in": count, **counts, "kept": kept, "bytes": 0}
            | {"reasons": reasons, "settings": settings, "artifacts": artifacts}
        )

    def commit(self, lineage=None) -> str:
        """Write the version; gives its id."""
        schema = unify([table.schema for table in self.tables])
        shards = []
        for table in self.tables:
            split = table.column("split") if "split" in table.column_names else pa.array(["train"] * table.num_rows)
            for name in sorted(set(split.to_pylist())):
                part = table.filter(pa.compute.equal(split, name))
                size = sum(len(text.encode()) for text in part.column("text").to_pylist())
                name_of_object = self.store.write_table(part)
                facts = {"documents": part.num_rows, "text_bytes": size, "bytes": size // 3}
                shards.append({"object": name_of_object, "split": name, **facts})
        splits = {}
        for shard in shards:
            facts = splits.setdefault(shard["split"], {"documents": 0, "text_bytes": 0})
            facts["documents"] += shard["documents"]
            facts["text_bytes"] += shard["text_bytes"]
        manifest = {
            "schema": 1,
            "dataset": self.name,
            "columns": [{"name": column.name, "type": str(column.type)} for column in schema],
            "schema_ipc": pack_schema(schema),
            "documents": {
                "in": sum(row["in"] for row in self.rows if row["kind"] == "source"),
                "kept": sum(table.num_rows for table in self.tables),
                "dropped": sum(row["dropped"] for row in self.rows),
                "quarantined": sum(row["quarantined"] for row in self.rows),
            },
            "bytes": sum(shard["bytes"] for shard in shards),
            "text_bytes": sum(shard["text_bytes"] for shard in shards),
            "splits": splits,
            "shards": shards,
            "stages": self.rows,
            "ledger": [shard.to_json() for shard in self.shards],
            "lineage": {
                "pipeline": {"dataset": self.name, "sources": [{"id": "files", "stage": "files"}], "stages": []},
                "sample": None,
                "inputs": [
                    {"source": "files", "name": shard.part, "content": f"xxh3-128:{number:032x}", "bytes": 1000}
                    for number, shard in enumerate(self.shards)
                ],
                "tools": {"curate": "0.1.0", "pyarrow": "26.0.1"},
                **(lineage or {}),
            },
        }  # fmt: skip
        version = self.store.write_manifest(manifest)
        commit(self.store, self.name, version)
        return version

    def train(self, run, version, records) -> Path:
        """Record a training run with these metrics."""
        folder = self.root / "runs" / run
        folder.mkdir(parents=True)
        (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        (folder / "config.json").write_text(json.dumps({"run": run, "steps": len(records), "model": {"preset": "10m"}}))
        record = {"run": run, "folder": str(folder), "dataset": self.name, "version": version, "tokenizer": "t" * 64}
        self.store.record_training(run, record)
        return folder


# ---- stages


def edit_unicode(row, document, verdicts):
    fixed = document["text"].replace("\u00e2\u20ac\u2122", "'").replace("\x00", "")
    if fixed != document["text"]:
        verdicts.edit(row, fixed, "fixed", value=1)


def drop_short(row, document, verdicts):
    words = len(document["text"].split())
    if words < 5:
        verdicts.drop(row, "word_count", value=words, threshold=5)


def find_addresses(row, document, verdicts):
    import re

    from curate.stages.contract import Span

    found = list(re.finditer(r"\S+@\S+\.\w+", document["text"]))
    if found:
        spans = [Span(match.start(), match.end(), "EMAIL") for match in found]
        verdicts.edit(
            row, re.sub(r"\S+@\S+\.\w+", "<EMAIL>", document["text"]), "personal", value=len(found), spans=spans
        )


def drop_copies():
    seen = {}

    def decide(row, document, verdicts):
        key = " ".join(document["text"].split()[:6])
        if key in seen:
            verdicts.drop(row, "near_duplicate", value=0.92, threshold=0.8, duplicate_of=seen[key])
        else:
            seen[key] = document["id"]

    return decide


@pytest.fixture
def builder(tmp_path) -> Builder:
    return Builder(tmp_path)


@pytest.fixture
def version(builder):
    """Three shards with an early drop, an edit, duplicates, addresses and rejected input."""
    builder.read(
        ["too short", f"{LONG} one", f"{LONG} two", "It\u00e2\u20ac\u2122s a broken sign in a long enough text"],
        ["secret contact: ann@example.org is the address in here", "call 212 555 0199", f"{LONG} three"],
        ["a completely different document with words"],
        rejected=[(7, "bad_json", "line 8 does not parse")],
    )
    return builder.fix_unicode().drop_short().drop_copies().find_addresses().commit()
