"""Completions that are written down on the way of a run, for people to look at."""

from __future__ import annotations

import json

import pytest

from tests.train.tiny_tasks import REINFORCE

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_processes")]
SHORT = {"steps": 6, "checkpoint_every": 2, "validation": {"every": 3}}
PARROT = {
    "messages": [json.dumps([{"role": "user", "content": "well?"}, {"role": "assistant", "content": "surely"}])] * 24
}
TWO = {"rewards": [{"reward": "contains"}, {"reward": "length", "target": 1, "tolerance": 1, "weight": 0.5}]}


def lines(folder):
    return [json.loads(line) for line in folder.completions.read_text().splitlines()]


def test_some_prompts_are_written_with_their_texts_and_rewards_by_name(trained):
    objective = {**REINFORCE, "reward": "exact", **TWO}
    found = lines(trained("reinforcement", log={"samples": 2, "samples_every": 2}, objective=objective, **SHORT))
    train = [one for one in found if one["split"] == "train"]
    assert [one["step"] for one in train] == [2] * 8 + [4] * 8 + [6] * 8  # two prompts, four completions of each
    validation = [one for one in found if one["split"] == "validation"]
    assert [one["step"] for one in validation] == [3] * 2 + [6] * 2
    assert all(one["reward"] == one["rewards"]["contains"] + 0.5 * one["rewards"]["length"] for one in found)
    assert {type(one[name]) for one in found for name in ("prompt", "completion", "answer")} == {str}
    assert {type(one[name]) for one in found for name in ("ended", "failed")} == {bool}


def test_a_run_that_goes_on_has_each_line_once(trained):
    settings = {**SHORT, "log": {"samples_every": 1}}
    straight = trained("reinforcement", "straight", **settings)
    trained("reinforcement", "resumed", until=3, **settings)
    resumed = trained("reinforcement", "resumed", **settings)
    assert lines(resumed) == lines(straight)


def test_no_samples_are_written_where_none_are_wanted_or_there_are_none(trained):
    assert not trained("reinforcement", "quiet", log={"samples": 0}, **SHORT).completions.exists()
    assert not trained("classification", "plain", **SHORT).completions.exists()


@pytest.mark.parametrize("name", ["causal", "causal-lstm", "sft", "preference"])
def test_language_models_go_on_with_the_begins_of_validation_examples(trained, name):
    found = lines(trained(name, log={"samples": 2, "tensorboard": True}, **SHORT))
    assert [(one["step"], one["prompt_number"]) for one in found] == [(3, 0), (3, 1), (6, 0), (6, 1)]
    first, again = found[0], found[2]
    assert (first["prompt"], first["answer"]) == (again["prompt"], again["answer"])
    assert first["prompt"] and first["answer"]
    assert {type(one["completion"]) for one in found} == {str}


def test_a_model_that_has_learned_answers_says_them(trained):
    found = lines(
        trained(
            "sft",
            rows={"conversation": {"train": PARROT, "validation": PARROT}},
            steps=40,
            log={"samples": 1},
            validation={"every": 40},
        )
    )
    (one,) = found
    assert one["completion"] == one["answer"].removesuffix("<|end|>") == "surely"
    assert one["ended"]
    assert one["prompt"].endswith("<|assistant|>")


def test_two_processes_write_the_samples_of_one(trained):
    one, two = (lines(trained("sft", f"of-{count}", dropout=0.0, processes=count, **SHORT)) for count in (1, 2))
    assert one == two


def test_tensorboard_shows_the_texts_as_blocks_of_code(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = trained("reinforcement", log={"tensorboard": True, "samples": 1}, **SHORT)
    found = EventAccumulator(str(folder.tensorboard))
    found.Reload()
    text = found.Tensors("completions/text_summary")[-1].tensor_proto.string_val[0].decode()
    assert text.startswith("**train, prompt ")
    assert "    " + lines(folder)[-1]["prompt"] in text
