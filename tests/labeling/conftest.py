"""A project with real short messages after a run, to be labelled; and somebody who types."""

from __future__ import annotations

import io
import json
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

FOLDER = str(Path(__file__).resolve().parent.parent / "pipeline")
if FOLDER not in sys.path:
    sys.path.append(FOLDER)

import toy_project  # noqa: E402

project = toy_project.project

TIME = datetime(2026, 11, 29, tzinfo=UTC)
PIPELINE = """\
dataset: sms
sources: [{stage: files, paths: ["in/*.jsonl"]}]
stages: []
"""
TURNS = [{"role": "user", "content": "Is it late?"}, {"role": "assistant", "content": "No."}]


class Messages:
    """A project with labelled messages: what they say, and what is typed about them."""

    def __init__(self, project: toy_project.Project, rows: list[dict], truth: dict[str, str]) -> None:
        self.project, self.rows, self.truth = project, rows, truth

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


@pytest.fixture(scope="session")
def lines(shared_data) -> list[list[str]]:
    """Labels and texts."""
    return [line.split("\t", 1) for line in (shared_data / "sms_spam" / "sms.tsv").read_text("utf8").splitlines()[:60]]


def filled(root, lines) -> Messages:
    rows = [
        {"id": f"sms-{number}", "text": text, "half": number % 2, "question": f"Question {number}?", "chosen": "yes",
         "rejected": f"no {number}", "messages": TURNS}
        for number, (_, text) in enumerate(lines)
    ]  # fmt: skip
    truth = {f"sms-{number}": label for number, (label, _) in enumerate(lines)}
    return Messages(toy_project.Project(root, None, None), rows, truth)


@pytest.fixture(scope="session")
def after_a_run(tmp_path_factory, lines) -> Path:
    """The project's folder after its run, which all tests share."""
    root = tmp_path_factory.mktemp("messages")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CURATE_STORE", raising=False)
        made = filled(root, lines)
        made.write()
        made.project.pipeline(PIPELINE)
        made.project.run()
    return root


@pytest.fixture
def messages(project, after_a_run, lines) -> Messages:
    shutil.copytree(after_a_run, project.root, dirs_exist_ok=True)
    made = filled(project.root, lines)
    return Messages(project, made.rows, made.truth)


def answered_truly(messages: Messages, name: str = "spam", *, who: str = "truth") -> int:
    """Answer all that is open as the data says, as a person would have in a session; how many."""
    from curate.labeling.log import Answer, text_of
    from curate.labeling.progress import open_questions
    from curate.labeling.session import Session
    from curate.labeling.task import load_task

    path = messages.project.root / "labeling" / name / "task.yaml"
    data, task = messages.project.open("sms"), load_task(path)
    questions = open_questions(data, task, who)
    with Session(path.parent, data.store, task, who) as session:
        for one in questions:
            value = text_of(messages.truth[one.id])
            session.add(Answer(one.id, one.hash, value, who, "manual", None, None, 1.0, TIME, ""))
    return len(questions)
