"""`curate generate --best-by`: of several texts the one that a reward model scores highest, fit to be learned from."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from curate.cli import app
from curate.evaluation.generate import best_of
from curate.train.weights.reward_model import open_reward_model


@pytest.fixture
def typed(project, monkeypatch):
    """`curate generate` with some words, beside the store."""

    def start(*words, code=0):
        monkeypatch.chdir(project)
        done = CliRunner().invoke(app, ["generate", *map(str, words)])
        assert (done.exit_code == 0) == (code == 0), done.output
        return done

    return start


def rows(prompt, *texts):
    return [{"prompt": prompt, "sample": number, "text": text} for number, text in enumerate(texts)]


def by_length(prompts, answers):
    return [float(len(answer)) for answer in answers]


def test_the_longest_is_kept_where_length_is_the_score():
    found = best_of([*rows("a", "x", "xyz", "xy"), *rows("b", "u", "v", "w")], 3, system=None, score=by_length)
    assert [(row["prompt"], row["sample"], row["score"]) for row in found] == [("a", 1, 3.0), ("b", 0, 1.0)]
    assert found[0]["scores"] == [1.0, 3.0, 2.0]


def test_a_text_is_judged_as_what_it_was_asked_for():
    seen = []

    def score(prompts, answers):
        seen.extend(prompts)
        return by_length(prompts, answers)

    turns = [{"role": "user", "content": "a"}]
    best_of(rows("a", "x"), 1, system=None, score=score)
    best_of(rows(turns, "x"), 1, system=None, score=score)
    [best] = best_of(rows("a", "x"), 1, system="be brief", score=score)
    system = {"role": "system", "content": "be brief"}
    assert seen == ["a", turns, [system, *turns]]
    assert best["messages"] == [system, *turns, {"role": "assistant", "content": "x"}]


@pytest.mark.slow
def test_the_best_by_a_reward_model_is_kept_and_can_be_learned_from(typed, trained, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("the cat\nthe dog\n")
    words = [trained("text"), "--file", prompts, "-n", 4, "--new-tokens", 6, "--temperature", 1]
    every = [json.loads(line) for line in typed(*words).stdout.splitlines()]
    best = [json.loads(line) for line in typed(*words, "--best-by", trained("judge")).stdout.splitlines()]
    scores = open_reward_model(str(trained("judge"))).score(
        [row["prompt"] for row in every], [row["text"] for row in every]
    )
    assert [row["prompt"] for row in best] == ["the cat", "the dog"]
    for place, row in enumerate(best):
        some = scores[4 * place : 4 * place + 4]
        assert row["scores"] == pytest.approx(some, abs=1e-5)
        assert row["score"] == max(row["scores"])
        assert row["text"] == every[4 * place + row["sample"]]["text"] == row["messages"][-1]["content"]


def test_the_best_of_one_is_refused(typed, trained):
    done = typed("text", "a", "--best-by", "judge", code=2)
    assert "--best-by keeps the best of several texts" in done.output


@pytest.mark.slow
def test_a_model_that_gives_no_score_is_told_before_anything_is_written(typed, trained):
    done = typed(trained("text"), "a", "-n", 2, "--best-by", trained("text"), code=1)
    assert "was trained for `causal`, and gives no score" in str(done.exception) and not done.stdout


@pytest.mark.slow
def test_a_reward_model_goes_on_with_no_text(typed, trained):
    done = typed(trained("judge"), "a", code=1)
    assert "does not predict the next token: it was trained for `reward`" in str(done.exception)
