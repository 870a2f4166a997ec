"""Versions that real runs made, each once for all tests; tests that write into a store get a copy."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from curate import run
from curate.dataset.refs import resolve
from curate.dataset.runs import record, run_id
from curate.dataset.store import Store

HERE = Path(__file__).resolve().parent
LONG = "many words that make a text which no filter drops at all"

HOSTILE = [
    "<script>alert(1)</script></blockquote></main> " + LONG,
    "\"><img src=x onerror=alert(2)> ' onmouseover='alert(3) " + LONG,
    "\u202egnitirw ot tfel\u202c and \x00 NUL and \x1b[31m red \u200b " + LONG,
    "x" * 100_000,
    "{{ 7 * 7 }} {% raw %} &lt;script&gt; javascript:alert(4) " + LONG,
    "</style><style>body{display:none}</style> short",
    "\ufffe\uffff <!-- --> ]]> <svg onload=alert(5)>",
    "",
]


@dataclass
class Project:
    """A folder with a store in it, and the version that the run made."""

    root: Path

    @property
    def store(self) -> Store:
        return Store.open(self.root / ".curate")

    @property
    def version(self) -> str:
        return resolve(self.store, "books").version

    def train(self, name, records, *, version=None, project="project", began="2026-01-01T00:00:00+00:00") -> Path:
        """Record a training run with these metrics."""
        folder = self.root / project / "runs" / "run"
        folder.mkdir(parents=True)
        (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        (folder / "config.json").write_text(json.dumps({"run": name, "model": {"preset": "10m"}}))
        self.note(name, folder, version=version, began=began)
        return folder

    def note(self, name, folder, *, version=None, began="2026-01-01T00:00:00+00:00") -> None:
        """Have the store know of a run."""
        record(
            self.store, "training", run_id(), name=name, state="done", began=began,
            inputs=[{"kind": "version", "id": version or self.version, "name": "books@v1"}], outputs=[],
            facts={"folder": str(folder), "tokenizer": "t" * 64},
        )  # fmt: skip


@pytest.fixture(scope="session")
def make(tmp_path_factory) -> Callable[..., Project]:
    """Run a pipeline of these stages over files of texts (or of whole lines)."""

    def made(name: str, files: dict[str, list], stages: list[str], *, sources: list[str] | None = None) -> Project:
        root = tmp_path_factory.mktemp(name)
        for place, texts in files.items():
            path = root / place
            path.parent.mkdir(exist_ok=True)
            lines = [
                text
                if isinstance(text, bytes)
                else json.dumps(text if isinstance(text, dict) else {"text": text}).encode()
                for text in texts
            ]
            path.write_bytes(b"\n".join(lines) + b"\n" if lines else b"")
        folders = dict.fromkeys(place.partition("/")[0] for place in files)
        sources = sources or [f'{{stage: files, id: {folder}, paths: ["{folder}/*.jsonl"]}}' for folder in folders]
        head = ["dataset: books", "min_documents: 0", "sources:", *(f"  - {source}" for source in sources)]
        listed = ["stages:", *(f"  - {stage}" for stage in stages)] if stages else ["stages: []"]
        (root / "pipeline.yaml").write_text("\n".join([*head, *listed, ""]))
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(HERE))
            patch.setenv("PYTHONPATH", f"{HERE}:{os.environ.get('PYTHONPATH', '')}".rstrip(":"))
            patch.delenv("CURATE_STORE", raising=False)
            run(root / "pipeline.yaml", workers=1)
        return Project(root)

    return made


def stage(name: str, id: str, more: str = "") -> str:
    """An entry of a pipeline file."""
    return f'{{stage: "report_stages:{name}", id: {id}{more}}}'


@pytest.fixture(scope="session")
def books_once(make) -> Project:
    first = ["too short", f"{LONG} one", f"{LONG} two", "It\u00e2\u20ac\u2122s a broken sign in a long enough text"]
    contact = "secret contact: ann@example.org is the address in here"
    files = {
        "web/a.jsonl": [*first, b'{"text": "half'],
        "web/b.jsonl": [contact, "call 212 555 0199", f"{LONG} three"],
        "print/c.jsonl": ["a completely different document with words"],
    }
    named = {
        place: [
            text if isinstance(text, bytes) else {"id": f"{Path(place).stem}{number}", "text": text}
            for number, text in enumerate(texts)
        ]
        for place, texts in files.items()
    }
    stages = [
        stage("Fix", "unicode"),
        stage("Short", "quality", ", min_words: 5"),
        "{stage: near_duplicates, id: dedup, similarity: 0.6}",
        stage("Hide", "pii"),
    ]
    return make("books", named, stages)


@pytest.fixture
def books(books_once) -> Project:
    """Two sources with an early drop, an edit, duplicates, addresses and rejected input."""
    return books_once


@pytest.fixture
def trained(books_once, tmp_path) -> Project:
    """The same, to record training runs in."""
    shutil.copytree(books_once.root, tmp_path / "copy")
    return Project(tmp_path / "copy")


@pytest.fixture(scope="session")
def hostile(make) -> Project:
    """Hostile text in documents, reasons, ids, settings, inputs, runs."""
    documents = [{"id": f'"><b>{number}', "text": text} for number, text in enumerate(HOSTILE)]
    name = "texts/<script>alert(7)<\u202e.jsonl"
    stages = [
        stage("Hostile", "hostile", r', label: "</title><script>alert(6)</script>"'),
        stage("Language", "language", ", value: bad"),
    ]
    made = make("hostile", {name: [*documents, b"{<b>"]}, stages)
    made.train("</title><script>alert(6)</script>\x00\u202e", [{"step": 1, "loss": 2.0}])
    return made


@pytest.fixture(scope="session")
def measured(make) -> Project:
    """A hundred documents that two filters measured, in two languages and two splits."""
    texts = [" ".join(["word"] * number + ["und" * (number >= 70)]) + "!" * (number == 99) for number in range(100)]
    stages = [
        stage("Short", "quality", ", min_words: 3"),
        stage("Twice", "ambiguous", ", min_words: 6"),
        stage("Language", "language"),
        "{stage: split, train: 0.8, validation: 0, test: 0.2}",
    ]
    return make("measured", {"texts/a.jsonl": texts}, stages)


@pytest.fixture(scope="session")
def archive(make) -> Project:
    """An archive with things that are no documents, and documents made of documents."""
    sources = ['{stage: "report_stages:Archive", id: archive}']
    return make("archive", {}, [stage("Chapters", "chapters"), stage("Look", "look")], sources=sources)


@pytest.fixture(scope="session")
def chats(make) -> Project:
    """Conversations, which have no column `text`; names in them are hidden, and some were dropped or edited before."""
    stages = [
        stage("Fix", "fix", ', on: "messages[].content"'),
        stage("Short", "quality", ', on: "messages[].content", min_words: 3'),
        stage("Hide", "names", r', on: "*", pattern: "Z[a-z]+", type: PERSON'),
    ]
    return make("chats", {}, stages, sources=['{stage: "report_stages:Chats", id: chats}'])


@pytest.fixture(scope="session")
def empty(make) -> Project:
    return make("empty", {"texts/a.jsonl": []}, [])
