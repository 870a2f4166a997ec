"""A project with real short messages after a run, to be labelled; and somebody who types."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

FOLDER = str(Path(__file__).resolve().parent.parent / "pipeline")
if FOLDER not in sys.path:
    sys.path.append(FOLDER)

from toy_project import Project, project  # noqa: E402, F401

PIPELINE = """\
dataset: sms
sources: [{stage: files, paths: ["in/*.jsonl"]}]
stages: []
"""
TURNS = [{"role": "user", "content": "Is it late?"}, {"role": "assistant", "content": "No."}]


class Messages:
    """A project with labelled messages: what they say, and what is typed about them."""

    def __init__(self, project: Project, rows: list[dict], truth: dict[str, str]) -> None:
        self.project, self.rows, self.truth = project, rows, truth
        self.write()
        project.pipeline(PIPELINE)
        project.run()

    def write(self) -> None:
        path = self.project.root / "in" / "sms.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in self.rows))

    def task(self, kind="classification", *, name="spam", **settings) -> Path:
        if kind in ("classification", "multilabel", "spans"):
            settings.setdefault("labels", ["ham", "spam"])
        folder = self.project.root / "labeling" / name
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "task.yaml"
        path.write_text(json.dumps({"task": name, "dataset": "sms", "kind": kind, **settings}))
        return path

    def cli(self, *arguments, typed: str | None = None):
        if typed is not None:
            self.project.monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        return self.project.cli("label", *arguments)

    def json(self, *arguments, typed: str | None = None) -> dict:
        outcome = self.cli(*arguments, "--json", typed=typed)
        assert outcome.code == 0, outcome.err
        return json.loads(outcome.out)

    def rows_of(self, name: str = "sms") -> dict[str, dict]:
        return {row["id"]: row for row in self.project.open(name).arrow().to_pylist()}


@pytest.fixture
def messages(project, shared_data) -> Messages:  # noqa: F811
    lines = (shared_data / "sms_spam" / "sms.tsv").read_text(encoding="utf8").splitlines()[:60]
    pairs = [line.split("\t", 1) for line in lines]
    rows = [
        {"id": f"sms-{number}", "text": text, "half": number % 2, "question": f"Question {number}?", "chosen": "yes",
         "rejected": f"no {number}", "messages": TURNS}
        for number, (_, text) in enumerate(pairs)
    ]  # fmt: skip
    return Messages(project, rows, {f"sms-{number}": label for number, (label, _) in enumerate(pairs)})
