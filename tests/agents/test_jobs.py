"""The ten jobs of docs/agents.md, done through the protocol alone, in order, by one client."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from curate.agents.serve import TOOLS
from tests.agents.conftest import make_project, serving

PIPELINE = """\
dataset: books
sources:
  - {stage: files, id: shelf, paths: ["in/*.jsonl"]}
stages:
  - {stage: "agent_stages:Words", id: words, minimum: 8}
  - {stage: exact_duplicates, id: copies}
  - {stage: split, train: 0.6, validation: 0.2, test: 0.2}
"""
TRAIN = """\
dataset: books
run: small
steps: 4
checkpoint_every: 2
model: {preset: 1m, layers: 1, width: 32, heads: 2, key_value_heads: 1, feed_forward: 64}
tokenizer: {vocabulary: 300}
batch: {sequences: 2, length: 32}
validation: {every: 2, sequences: 2}
"""
PAGE = Path(__file__).resolve().parents[2] / "docs" / "agents.md"


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    texts = [
        f"document {number} of the shelf tells of {number * 7} things, " * (1 + number % 6) for number in range(60)
    ]
    root = make_project(tmp_path_factory.mktemp("jobs") / "project", [*texts, "far too short", texts[0]], PIPELINE)
    (root / "train.yaml").write_text(TRAIN)
    with serving(root, "--allow", "run,train,eval,label") as one:
        yield one


@pytest.mark.slow
def test_the_quickstart_is_done_through_the_protocol_alone(agent):
    facts = agent.facts
    # 1 is the file right, what would it do
    assert facts("validate", file="pipeline.yaml")["valid"]
    assert {one["action"] for one in facts("plan", file="pipeline.yaml")["stages"]} == {"will run"}
    # 2 make a version
    first = facts("run", file="pipeline.yaml")
    assert first["documents"] == {"in": 62, "kept": 60, "dropped": 2, "quarantined": 0}
    # 3 what is in it
    assert {one["id"]: one["dropped"] for one in facts("version")["stages"]} == {
        "shelf": 0, "words": 1, "copies": 1, "split": 0,
    }  # fmt: skip
    # 4 what was dropped
    dropped = facts("documents", verdict=["dropped"], stage=["words"])["listed"]
    assert [one["id"] for one in dropped] == ["d60"]
    # 5 why
    story = facts("why", document="d60")["story"]
    assert (story["reason"], story["value"], story["threshold"]) == ("few_words", 3.0, 8.0)
    assert facts("read_document", document="d60")["raw"] == "far too short"
    # 6 what another threshold would do
    told = facts("what_if", thresholds={"words.minimum": 20})
    assert told["stages"][0]["leave"] == 21  # one of them left as a copy before
    settings = {"words.minimum": 20}
    exact = facts("what_if_file", file="pipeline.yaml", settings=settings)
    # 7 do it, and see what changed
    second = facts("run", file="pipeline.yaml", settings=settings)
    assert exact["documents"]["now"]["documents"] == second["documents"]["kept"] == told["documents"]["now"]
    changed = facts("diff", before="books@v1", after="books@v2")
    assert (changed["removed"], changed["added"]) == (20, 0)
    assert [one["setting"] for one in changed["settings"]] == ["minimum"]
    # 8 train on both
    assert facts("plan", file="train.yaml")["training"]
    small = facts("train", file="train.yaml")
    other = facts("train", file="train.yaml", settings={"run": "other", "seed": 2})
    assert (small["steps"], small["checkpoint"].startswith("runs/small/")) == (4, True)
    ids = [one["id"] for one in facts("runs")["runs"]]
    told = facts("runs", ids=ids)
    assert {one["run"] for one in told["chosen"]} == {"small", "other"}
    assert {one["setting"] for one in told["settings"]} >= {"config.run", "config.seed"}
    assert other["checkpoint"] != small["checkpoint"]
    # 9 measure, and compare
    measured = [facts("evaluate", model=one, data=["books"], limit=5) for one in ("small", "other")]
    assert [one["folder"] for one in measured] == ["evaluations/small", "evaluations/other"]
    assert len(facts("evaluations")["evaluations"]) == 2
    compared = facts("compare", models=["small", "other"])["comparisons"]
    assert compared and all("verdict" in one for one in compared)


@pytest.mark.slow
def test_documents_are_labelled_through_the_protocol_alone(agent):
    facts = agent.facts  # job 10; `books` is there
    facts("label_init", task="good", dataset="books", labels=["yes", "no"])
    assert facts("label_next", task="good", documents=4)["documents"] == 4
    asked = facts("label_questions", task="good")
    assert (asked["left"], asked["labels"]) == (4, ["yes", "no"])
    (error,) = agent.errors("label_answer", task="good", answers={asked["questions"][0]["id"]: "maybe"})
    assert error["problem"] == "`maybe` is no label of the task `good`"
    given = {one["id"]: "yes" for one in asked["questions"]}
    assert facts("label_answer", task="good", answers=given) == {
        "task": "good", "annotator": "agent-agent", "answered": 4, "left": 0,
    }  # fmt: skip
    assert facts("label_status", task="good")["annotators"][0]["annotator"] == "agent-agent"
    assert facts("label_commit", task="good")["labels"] == 4
    for name in ("../x", "-x", "a/b"):
        assert agent.errors("label_next", task=name)


def test_the_page_tells_of_every_tool_and_its_settings_of_clients_are_json():
    text = PAGE.read_text()
    missing = [tool.name for tool in TOOLS if f"`{tool.name}`" not in text]
    assert missing == []
    blocks = [one.split("```")[0] for one in text.split("```json\n")[1:]]
    assert blocks and all(json.loads(one) for one in blocks)
