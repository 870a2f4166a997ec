"""Likelihoods, losses and completions are what a loop over one text at a time gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import CurateError
from tests.evaluation.language_model import small_model

TEXT = st.text(max_size=80)


@pytest.fixture(scope="module")
def model():
    return small_model()


def log_probabilities(model, tokens):
    with torch.no_grad():
        states = model.trunk(torch.tensor([tokens]))
        return (states[0] @ model.trunk.unembedding.T).double().log_softmax(-1)


def one_by_one(model, text):
    """Each token after all before it that the model can hold when it reads a window, as the harness cuts them."""
    tokens, length = model.encode([text])[0], model.length
    padded, found = [model.prefix, *tokens], []
    for start in range(0, len(tokens), length):
        stop = min(start + length, len(tokens))
        first = max(stop - length, 0)
        logs = log_probabilities(model, padded[first:stop])
        found += [-float(logs[place - first, tokens[place]]) for place in range(start, stop)]
    return found


@given(st.lists(TEXT, max_size=6))
@settings(max_examples=40)
def test_every_token_of_a_text_is_predicted_once(model, texts):
    for text, losses in zip(texts, model.read(texts), strict=True):
        assert losses.tokens.tolist() == model.encode([text])[0]
        np.testing.assert_allclose(losses.nats, one_by_one(model, text), rtol=1e-4, atol=1e-4)


@given(st.lists(st.tuples(TEXT, st.text(min_size=1, max_size=20)), min_size=1, max_size=5))
@settings(max_examples=40)
def test_a_continuation_is_scored_after_its_context(model, pairs):
    for (context, continuation), found in zip(pairs, model.score(pairs), strict=True):
        bare = context.rstrip()
        whole = model.encode([bare + context[len(bare) :] + continuation])[0]
        first = model.encode([bare])[0]
        wanted = whole[len(first) :]
        before = first or [model.prefix]
        nats, greedy = 0.0, True
        for start in range(0, len(wanted), model.length):
            targets = wanted[start : start + model.length]
            read = [*before, *wanted[: start + len(targets)]][-model.length - 1 :]
            rows = log_probabilities(model, read[:-1])[-len(targets) :]
            nats += sum(float(row[token]) for row, token in zip(rows, targets, strict=True))
            greedy &= all(int(row.argmax()) == token for row, token in zip(rows, targets, strict=True))
        assert found.nats == pytest.approx(nats, abs=1e-3)
        assert (found.tokens, found.greedy) == (len(wanted), greedy)
        assert found.cut == max(len(before) + len(wanted) - model.length - 1, 0)


def test_a_continuation_that_is_longer_than_the_model_reads_is_scored_whole(model):
    text = "no model of 24 tokens reads this at once, nor the rest of it"
    one = model.score([("", text)])[0]
    assert one.tokens == len(text)
    assert one.nats == pytest.approx(-float(model.read([text])[0].nats.sum()), rel=1e-5)
    assert model.score([("which?", " " + "x" * 400)])[0].nats < model.score([("which?", " " + "x" * 40)])[0].nats


def test_a_continuation_that_becomes_one_token_with_its_context_is_no_certainty():
    model = small_model(merges=(("t", "h"), ("th", "e")))
    (merged, apart), bare = model.score([("in th", "e"), ("in th", "ing")]), model.encode(["in "])[0]
    token = model.tokenizer.token_to_id("the")
    assert merged.tokens == 1
    assert merged.nats == pytest.approx(float(log_probabilities(model, bare)[-1, token]), abs=1e-4)
    assert apart.tokens == 3  # th|ing: nothing of the context is cut otherwise


@pytest.mark.parametrize("context", ["", "in", "in "])
def test_an_empty_continuation_has_no_likelihood(model, context):
    with pytest.raises(CurateError, match=r"the continuation '' of .* has no tokens"):
        model.score([(context, "")])


@pytest.mark.parametrize("kind", ["decoder", "lstm"])
def test_a_completion_is_the_likeliest_token_each_time(kind):
    model = small_model(kind=kind)
    prompts, most = ["a", "longer prompt", "", "ümläute und mehr als hineinpasst, viel mehr"], 6
    for prompt, found in zip(prompts, model.complete(prompts, most=most), strict=True):
        whole = model.encode([prompt])[0] or [model.prefix]
        tokens, new = whole[-(model.length - most) :], []
        while len(new) < most and (not new or new[-1] not in model.end):
            new.append(int(log_probabilities(model, tokens + new)[-1].argmax()))
        ended = new[-1] in model.end
        assert found.text == model.tokenizer.decode(new[:-1] if ended else new)
        assert (found.tokens, found.finish) == (len(new), "stop" if ended else "length")
        assert found.cut == max(len(whole) - (model.length - most), 0)


def test_a_completion_ends_before_the_first_stop_string(model):
    whole = model.complete(["once"], most=12)[0]
    stop = whole.text[3:5]
    found = model.complete(["once"], most=12, stop=["never there", stop])[0]
    assert found.text == whole.text[: whole.text.index(stop)] and found.finish == "stop"


def test_draws_depend_on_the_seed_and_the_place_alone(model):
    prompts = ["one", "two, which is longer", "three"]
    together = model.complete(prompts, most=10, temperature=1.0, seed=4)
    assert together == model.complete(prompts, most=10, temperature=1.0, seed=4)
    assert together[0] == model.complete(prompts[:1], most=10, temperature=1.0, seed=4)[0]
    assert together != model.complete(prompts, most=10, temperature=1.0, seed=5)


def test_a_prompt_needs_room(model):
    with pytest.raises(CurateError, match="24 new tokens leave no room for a prompt: small reads 24 tokens"):
        model.complete(["x"], most=24)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "ask",
    [
        lambda model: model.read(["text"]),
        lambda model: model.score([("a", "b")]),
        lambda model: model.complete(["a"], most=2),
        lambda model: model.complete(["a"], most=2, temperature=1.0),
    ],
)
def test_a_model_that_gives_no_numbers_is_refused(ask, value):
    model = small_model()
    with torch.no_grad():
        model.trunk.norm.weight.fill_(value)
    with pytest.raises(CurateError, match="the model small gives numbers that are not finite"):
        ask(model)


def test_texts_are_read_in_pieces_and_progress_is_told(model, monkeypatch):
    told: list[float] = []
    model.progress = told.append
    texts = [f"text {number} " * 100 for number in range(60)]
    monkeypatch.setattr("curate.evaluation.models.tokens.PIECE", 20_000)
    in_pieces = model.read(texts)
    assert len(told) >= 3 and told[-1] == pytest.approx(1.0) and told == sorted(told)
    monkeypatch.undo()
    for one, other in zip(in_pieces, model.read(texts), strict=True):
        np.testing.assert_allclose(one.nats, other.nats, atol=1e-5)
    model.complete(["a", "b"], most=2)
    assert told[-1] == 1.0


def test_what_is_read_alike_is_read_once(model):
    seen = []
    states = model.states
    model.states = lambda tokens: seen.append(tuple(tokens.shape)) or states(tokens)
    try:
        found = model.score([("which?", " "), ("which?", "a"), ("which?", "b"), ("other", "ab")])
    finally:
        del model.states
    assert seen == [(2, 6)]
    assert found[1:] == [model.score([pair])[0] for pair in [("which?", "a"), ("which?", "b"), ("other", "ab")]]
