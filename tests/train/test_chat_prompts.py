"""From conversations about sums to preferences and rewards: one format all the way (the chain of examples/train)."""

from __future__ import annotations

import json
import random

import pytest
import torch

from curate import run as run_pipeline
from curate.errors import CurateError
from curate.tokenize.chat import ChatTemplate
from curate.tokenize.roles import roles
from curate.tokenize.tokenizer import load_tokenizer
from curate.train.export.export import export_run
from curate.train.run import train_run
from curate.train.runs.metrics import read_metrics
from curate.train.weights.export import load_trained

SFT = """dataset: sums
run: sft
steps: 240
checkpoint_every: 240
objective: {kind: sft}
model: {layers: 2, width: 64, heads: 4, key_value_heads: 2, feed_forward: 128}
tokenizer: {vocabulary: 266}
batch: {sequences: 8, length: 64}
optimizer: {learning_rate: 0.005}
validation: {every: 240}
"""
REINFORCED = """dataset: sums
run: reinforced
steps: 2
objective: {kind: reinforcement, reward: exact, group: 4, new_tokens: 8}
model: {path: runs/sft}
batch: {sequences: 8, length: 64}
optimizer: {learning_rate: 1.0e-9}
validation: {every: 1, sequences: null}
"""
PIPELINE = """dataset: sums
sources: [{stage: files, paths: [rows.jsonl]}]
stages: [{stage: split, column: part}]
"""


def sums():
    draw = random.Random(3)
    rows = [(first, second) for first in range(12) for second in range(12)]
    draw.shuffle(rows)
    for number, (first, second) in enumerate(rows):
        prompt, answer = f"{first}+{second}=", str(first + second)
        talk = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
        yield {
            "id": f"row-{number}",
            "text": prompt,
            "part": "validation" if number < 25 else "train",
            "messages": talk,
            "prompt": prompt,
            "answer": answer,
            "asked": talk[:1],
            "chosen": answer,
            "rejected": [{"role": "assistant", "content": str(first + second + 1)}],
        }


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A store of sums, and a model that was trained on conversations about them."""
    folder = tmp_path_factory.mktemp("sums")
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, sums())))
    (folder / "pipeline.yaml").write_text(PIPELINE)
    run_pipeline(folder / "pipeline.yaml", workers=1)
    (folder / "sft.yaml").write_text(SFT)
    (folder / "reinforced.yaml").write_text(REINFORCED)
    train_run(folder / "sft.yaml", overrides=[])
    return folder


def answered(folder, rows):
    """Right answers of the greedy model, asked in the format of its conversations; written without the code of rollouts."""
    trained = load_trained(folder)
    trunk, tokenizer = trained.trunk(), load_tokenizer(trained.tokenizer)
    chat = ChatTemplate(tokenizer, roles(tokenizer))
    right = 0
    for row in rows:
        text = chat.render([{"role": "user", "content": row["prompt"]}], add_generation_prompt=True)
        tokens = chat.open.encode(text, add_special_tokens=False).ids
        said = []
        while len(said) < 8 and tokens[-1] != chat.turn_end:
            states = trunk(torch.tensor([tokens]))
            tokens.append(int((states[0, -1] @ trunk.unembedding.T).argmax()))
            said.append(tokens[-1])
        right += said[-1] == chat.turn_end and tokenizer.decode(said[:-1]) == row["answer"]
    return right


def validations(folder, name):
    return [record["validation"] for record in read_metrics(folder / "runs" / name / "metrics.jsonl")]


def test_a_model_that_was_trained_on_conversations_is_asked_in_their_format(project, capsys):
    result = train_run(project / "reinforced.yaml", overrides=[])
    held_out = [row for row in sums() if row["part"] == "validation"]
    right = answered(project / "runs" / "sft", held_out)
    first, _ = validations(project, "reinforced")
    assert right >= 15
    assert first["reward"] == right / 25
    assert first["ended"] == 1 and result["validation"]["ended"] == 1
    records = read_metrics(project / "runs" / "reinforced" / "metrics.jsonl")
    assert all(record["ended"] > 0.9 and record["length"] < 4 for record in records)
    assert "prompts and answers are turns of the model's conversations" in capsys.readouterr().err


def test_prompts_as_texts_and_as_messages_are_the_same(project):
    train_run(project / "reinforced.yaml", overrides=["run=texts", "steps=1"])
    train_run(project / "reinforced.yaml", overrides=["run=messages", "steps=1", "data.prompt=asked"])
    assert validations(project, "texts") == validations(project, "messages")


def test_plain_prompts_for_a_model_of_conversations_are_warned_of_and_so_are_texts_without_end(project, capsys):
    changes = ["run=plain", "steps=6", "data.chat=false", "objective.new_tokens=3"]
    result = train_run(project / "reinforced.yaml", overrides=changes)
    said = capsys.readouterr().err
    assert "warning: the model was trained on conversations, and reads plain prompts here (`data.chat: false`)" in said
    assert said.count("of the sampled texts came to their end") == 1
    assert result["validation"]["ended"] == 0
    assert not (project / "runs" / "plain" / "chat_template.jinja").exists()


def test_conversations_are_refused_where_prompts_are_plain(project):
    with pytest.raises(CurateError, match="the prompt in `asked` is a conversation") as error:
        train_run(project / "reinforced.yaml", overrides=["run=p", "data.chat=false", "data.prompt=asked"])
    assert "data.chat" in (error.value.hint or "")


def test_preferences_are_turns_too_and_the_model_stays_one_of_conversations(project, tmp_path):
    changes = ["run=preferred", "steps=4", "objective={kind: preference}", "optimizer.learning_rate=0.001"]
    result = train_run(project / "reinforced.yaml", overrides=[*changes, "validation.every=4"])
    assert result["validation"]["accuracy"] > 0.6  # of sums not seen, of a model that knows most of them
    written = export_run(project / "runs" / "preferred", tmp_path / "out")
    assert written["objective"] == "preference"
    given = json.loads((tmp_path / "out" / "generation_config.json").read_text())["eos_token_id"]
    tokenizer = load_tokenizer(project / "runs" / "sft" / "tokenizer.json")
    assert [tokenizer.id_to_token(token) for token in given] == ["<|end|>", "<|endoftext|>"]
    again = ["run=further", "steps=1", f"model.path={tmp_path / 'out'}", "validation.every=1", "batch.length=56"]
    assert train_run(project / "reinforced.yaml", overrides=again)["validation"]["ended"] == 1


def test_a_template_of_the_model_is_taken_for_its_next_conversations(project, tmp_path):
    export_run(project / "runs" / "sft", tmp_path / "own")
    template = tmp_path / "own" / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|user|>", "<|system|>"))
    changes = ["run=own", "steps=1", f"model={{path: {tmp_path / 'own'}}}", "validation.every=1"]
    train_run(project / "sft.yaml", overrides=changes)
    assert (project / "runs" / "own" / "chat_template.jinja").read_text() == template.read_text()


def test_a_template_whose_turns_end_with_no_special_token_is_warned_of(project, tmp_path, capsys):
    (tmp_path / "chat.jinja").write_text("{% for one in messages %}{{ one.role }}: {{ one.content }}\n{% endfor %}")
    template = f"data.chat_template={tmp_path / 'chat.jinja'}"
    train_run(project / "reinforced.yaml", overrides=["run=odd", "steps=1", template])
    assert "ends a turn with no special token of the tokenizer" in capsys.readouterr().err
