"""A reward model as a reward of reinforcement, from its training to the completions that it scored."""

from __future__ import annotations

import json
import math

import pytest

from curate.errors import CurateError
from curate.evaluation.generate import best_of
from curate.train.weights.reward_model import open_reward_model
from tests.train.rows_project import columns_of, write_dataset
from tests.train.tiny_tasks import rows_of

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
PAIRED = ["run=scores", "objective={kind: reward}", "data.prompt=asked"]
REWARDED = "objective={kind: reinforcement, group: 2, new_tokens: 4, rewards: [%s]}"
BOTH = (
    REWARDED
    % "{reward: model, path: runs/scores, prompt: asked}, {reward: length, target: 2, tolerance: 2, weight: 0.5}"
)


@pytest.fixture
def scored(project, train):
    """A run of a reward model in the project, whose dataset has pairs and prompts."""
    pairs = rows_of("preference", 16)
    columns = {**columns_of(16), "asked": pairs["prompt"], "chosen": pairs["chosen"], "rejected": pairs["rejected"]}
    write_dataset(project, columns)
    train(*PAIRED)
    return project / "runs" / "scores"


def test_completions_get_the_score_of_the_model_beside_other_rewards(project, train, scored):
    train("run=rewarded", BOTH, "data.prompt=asked", "log.samples_every=1")
    lines = [
        json.loads(line) for line in (project / "runs" / "rewarded" / "completions.jsonl").read_text().splitlines()
    ]
    model = open_reward_model(str(scored))
    wanted = model.score([one["prompt"] for one in lines], [one["completion"] for one in lines])
    assert [one["rewards"]["model"] for one in lines] == pytest.approx(wanted, abs=1e-5)
    sums = [one["rewards"]["model"] + 0.5 * one["rewards"]["length"] for one in lines]
    assert [one["reward"] for one in lines] == pytest.approx(sums)


def test_two_processes_have_the_rewards_of_one(project, train, scored):
    one = train("run=one", "objective={kind: reinforcement, group: 2, new_tokens: 4, reward: 'model:runs/scores'}")
    two = train(
        "run=two",
        "processes=2",
        "objective={kind: reinforcement, group: 2, new_tokens: 4, reward: 'model:runs/scores'}",
    )
    assert two["validation"]["reward"] == pytest.approx(one["validation"]["reward"], abs=1e-4)


def test_a_run_does_not_go_on_with_another_reward_model(project, train, refused, scored):
    train("run=rewarded", BOTH, "data.prompt=asked")
    train(*PAIRED, "seed=2", fresh=True)
    problem, _, _ = refused("run=rewarded", BOTH, "data.prompt=asked")
    assert "models.reward model was" in problem


def test_a_reward_model_that_is_none_is_refused(refused, train):
    problem, where, _ = refused(REWARDED % "{reward: model, path: nowhere}")
    assert problem.startswith("there is no model in `")
    assert where == "objective.rewards"
    train("run=plain")
    problem, _, _ = refused("run=b", REWARDED % "{reward: model, path: runs/plain}")
    assert "was trained for `causal`, and gives no score" in problem


def test_what_a_model_wrote_is_scored_whatever_it_looks_like(project, train, scored):
    plain = open_reward_model(str(scored))
    assert len(plain.judge(["a cat", "a cat"], ["", '[{"role": "user", "content": "x"}]'])) == 2
    train("run=turns", "objective={kind: reward}", "data.prompt=asked", "data.chat=true")
    model = open_reward_model(str(project / "runs" / "turns"))
    blank, shaped, same = model.judge(["a cat"] * 3, ["", '[{"role": "assistant", "content": "x"}]', "x"])
    assert all(math.isfinite(one) for one in (blank, shaped, same))
    assert shaped != same
    assert same == pytest.approx(model.score(["a cat"], ["x"])[0], abs=1e-5)


def test_a_score_that_is_no_number_is_a_failed_reward(project, train, scored, monkeypatch):
    from curate.train.weights.reward_model import RewardModel

    monkeypatch.setattr(RewardModel, "judge", lambda self, prompts, texts: [math.nan] * len(texts))
    one = "objective={kind: reinforcement, group: 2, new_tokens: 4, reward: 'model:runs/scores'%s}"
    result = train("run=counted", one % ", reward_limits: {failed: -1.0}")
    assert result["validation"]["reward"] == -1.0
    with pytest.raises(CurateError, match="the reward `model` gave a score that is not finite"):
        train("run=refused", one % "")


def test_of_several_texts_one_without_a_score_is_never_the_best():
    rows = [{"prompt": "a", "text": text} for text in ("x", "y", "z", "w")]
    found = best_of(rows, 2, system=None, score=lambda prompts, texts: [math.nan, -3.0, math.nan, math.nan])
    assert [(one["text"], one["score"], one["scores"]) for one in found] == [
        ("y", -3.0, [None, -3.0]), ("z", None, [None, None])
    ]  # fmt: skip
