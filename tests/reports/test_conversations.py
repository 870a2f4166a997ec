"""The report of a version tells what its conversations are like."""

import json

import pytest

import curate
from curate.dataset.reader import Dataset
from curate.dataset.refs import resolve
from curate.dataset.store import Store
from curate.reports.collect import collect_report
from curate.reports.conversations import collect_conversations
from curate.reports.html import render_version


def turn(role, content, **more):
    return {"role": role, "content": content, **more}


CALL = {"type": "function", "function": {"name": "<b>look</b>", "arguments": {}}}
ROWS = [
    {"id": "a", "messages": [turn("user", "one two"), turn("assistant", "I'm sorry, but I can't do that.")], "tools": None},
    {
        "id": "b",
        "messages": [
            turn("user", "three"), turn("assistant", None, tool_calls=[CALL, CALL]), turn("tool", "x"), turn("tool", "y"),
            turn("assistant", "<think>hm</think> four"),
        ],
        "tools": [{"type": "function", "function": {"name": "<b>look</b>"}}],
    },
]  # fmt: skip


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    root = tmp_path_factory.mktemp("chats")
    (root / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (root / "p.yaml").write_text("dataset: chats\nsources: [{stage: files, paths: in.jsonl}]\nstages: [split]\n")
    curate.run(root / "p.yaml", workers=1)
    store = Store.open(root / ".curate")
    return Dataset(store, resolve(store, "chats"))


def test_turns_lengths_tools_refusals_and_reasoning_are_counted(version):
    found = collect_conversations(version)
    assert (found.documents, found.measured, found.with_tools, found.refusing, found.reasoning) == (2, 2, 1, 1, 1)
    assert found.roles == {"assistant": 3, "user": 2, "tool": 2}
    assert found.calls == {"<b>look</b>": 2}
    assert (found.unit, found.total, found.turn_quantiles["median"]) == ("words", 14, 3.5)


def test_the_page_shows_them_with_names_of_tools_escaped(version):
    page = render_version(collect_report(version.store, version.version))
    assert (
        "2 conversations; 14 words; 1 (50.0%) may call tools; 1 (50.0%) have an answer that begins with a refusal"
        in page
    )
    assert "&lt;b&gt;look&lt;/b&gt;" in page
    assert "<b>look" not in page


def test_a_version_without_conversations_has_no_such_section(tmp_path):
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / "p.yaml").write_text("dataset: t\nsources: [{stage: files, paths: in.jsonl}]\nstages: []\n")
    curate.run(tmp_path / "p.yaml", workers=1)
    store = Store.open(tmp_path / ".curate")
    assert collect_conversations(Dataset(store, resolve(store, "t"))) is None
