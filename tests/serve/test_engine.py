"""Many texts at a time: slots, company, and who leaves."""

from __future__ import annotations

from time import monotonic

import numpy as np
import pytest
import torch

from curate.evaluation.models.generation import Sampling
from curate.serve.engine import Engine
from curate.serve.stream import Stream
from curate.serve.texts import Full, Late, Text
from tests.evaluation.language_model import llama_folder, small_model


def text(model, prompt, told, most=8, seed=0, temperature=0.0, late=1e9, **more):
    draws = np.random.default_rng((seed, 0)) if temperature else None
    return Text(
        model.encode([prompt])[0], most, more.pop("end", frozenset()), Stream(model.tokenizer, more.pop("stop", ())),
        Sampling(temperature), draws, monotonic() + late, told.append, **more,
    )  # fmt: skip


def turned(engine, times=1):
    with torch.inference_mode():
        for _ in range(times):
            if engine.active or engine.waiting:  # else it would wait for more
                engine._turn()


def said(pieces):
    return "".join(piece.text for piece in pieces)


def alone(model, prompt, **asked):
    engine, told = Engine(model, slots=1, queue=1), []
    engine.submit([text(model, prompt, told, **asked)])
    while not told or told[-1].finish is None:
        turned(engine)
    return told


@pytest.fixture(scope="module")
def many(model):
    """Prompts of many lengths, and what each gives alone, scored."""
    prompts = ["x" * (1 + 7 * number % 40) + f" {number}" for number in range(32)]
    asked = [{"most": 5 + number % 20, "seed": number, "temperature": (0.0, 0.9)[number % 2]} for number in range(32)]
    return [(one, how, alone(model, one, tops=2, **how)) for one, how in zip(prompts, asked, strict=True)]


def clear(pieces, margin=1e-3):
    """How many of the first tokens had no rival as near as rounding, in greedy texts."""
    scored = [one for piece in pieces for one in piece.scored]
    close = [place for place, one in enumerate(scored) if one.tops[0][1] - one.tops[1][1] < margin]
    return min(close, default=len(scored))


def test_32_texts_at_a_time_are_what_each_is_alone(model, many):
    engine, found = Engine(model, slots=32, queue=32), []
    for number, (prompt, how, _) in enumerate(many):
        found.append([])
        engine.submit([text(model, prompt, found[-1], tops=2, **how)])
        if number % 5 == 4:
            turned(engine)  # some come while others are being written
    while engine.active:
        turned(engine)
    equal = 0
    for (_, how, lonely), company in zip(many, found, strict=True):
        first, second = ([one for piece in some for one in piece.scored] for some in (lonely, company))
        same = len(first) if how["temperature"] else clear(lonely)
        assert [one.token for one in first[:same]] == [one.token for one in second[:same]]
        assert [one.log for one in first[:same]] == pytest.approx([one.log for one in second[:same]], abs=1e-4)
        equal += same == len(first)
    assert equal >= 30
    assert engine.counts["steps"] < sum(len(piece.scored) for some in found for piece in some) / 6


def test_a_model_whose_memory_cannot_be_joined_writes_the_same(tmp_path_factory):
    from curate.evaluation.models.opened import open_model

    folder = str(llama_folder(tmp_path_factory.mktemp("llama")))
    texts = {}
    for backend in ("ours", "transformers"):
        model, found = open_model(folder, backend=backend), []
        engine = Engine(model, slots=3, queue=9)
        for number in range(4):
            found.append([])
            engine.submit([text(model, f"prompt {number}" * (number + 1), found[-1], most=4 + number)])
            turned(engine)
        while engine.active or engine.waiting:
            turned(engine)
        texts[backend] = [said(some) for some in found]
    assert texts["ours"] == texts["transformers"]


def test_who_goes_away_leaves_the_slot_before_the_next_step(model):
    engine, gone, stays = Engine(model, slots=2, queue=2), [], []
    first, second, third = (text(model, "a", told, most=50, eager=True) for told in (gone, stays, []))
    engine.submit([first, second, third])
    turned(engine)
    assert (engine.active, engine.waiting) == (2, 1)
    first.gone = True
    turned(engine)
    assert (engine.active, engine.waiting, len(first.tokens)) == (
        2,
        0,
        2,
    )  # a prompt's step gives one, the step another
    assert len(third.tokens) == 2 and engine.counts["given_up"] == 1
    assert said(stays) == said(alone(model, "a", most=50))[: len(said(stays))]


def test_who_goes_away_before_a_slot_is_free_never_takes_one(model):
    engine, told = Engine(model, slots=1, queue=2), []
    first, second = text(model, "a", [], most=2), text(model, "b", told)
    engine.submit([first, second])
    second.gone = True
    turned(engine, 3)
    assert (engine.active, engine.waiting, second.tokens, told) == (0, 0, [], [])


def test_beyond_slots_and_queue_nothing_of_a_request_is_taken_in(model):
    engine = Engine(model, slots=2, queue=3)
    engine.submit([text(model, "a", []) for _ in range(4)])
    with pytest.raises(Full) as error:
        engine.submit([text(model, "a", []) for _ in range(2)])
    assert error.value.seconds >= 1 and engine.waiting == 4
    engine.submit([text(model, "a", [])])


def test_a_text_that_takes_too_long_ends_with_what_there_is_and_one_that_waited_so_long_fails(model):
    engine, written, waited = Engine(model, slots=1, queue=2), [], []
    first, second = text(model, "a", written, most=50), text(model, "b", waited)
    engine.submit([first, second])
    turned(engine)
    first.until = second.until = 0.0
    turned(engine)
    assert (written[-1].finish, written[-1].tokens) == ("length", 2)
    assert isinstance(waited[-1].error, Late)
    assert engine.active == 0


def test_what_breaks_costs_its_batch_and_the_next_one_goes_on(model):
    engine, broken, fine = Engine(model, slots=2, queue=2), [], []
    bad = text(model, "a", broken)
    bad.prompt = [100_000]
    engine.submit([bad])
    turned(engine)
    assert isinstance(broken[-1].error, IndexError)
    engine.submit([text(model, "a", fine)])
    turned(engine, 9)
    assert fine[-1].finish == "length"


def test_numbers_that_are_not_finite_are_told_and_the_neighbour_goes_on(model):
    class Broken:
        def __init__(self, respond):
            self.inner = respond

        def __call__(self, tokens, real):
            logits = self.inner(tokens, real).clone()
            logits[0] = torch.nan
            return logits

        def keep(self, rows):
            self.inner.keep(rows)

    import copy

    damaged = copy.copy(model)
    damaged.respond = lambda: Broken(model.respond())
    engine, first, second = Engine(damaged, slots=2, queue=2), [], []
    engine.submit([text(model, "a", first), text(model, "b", second, most=1)])
    turned(engine)
    assert "numbers that are not finite" in first[-1].error.problem
    assert second[-1].finish == "length"


def test_a_token_that_ends_a_text_is_counted_and_not_shown(model):
    whole = alone(model, "a", most=6, tops=0)
    numbers = [one.token for one in whole[-1].scored]
    ended = alone(model, "a", most=6, end=frozenset({numbers[3]}), tops=0)
    assert (ended[-1].finish, ended[-1].tokens) == ("stop", numbers.index(numbers[3]) + 1)
    assert said(ended) == model.tokenizer.decode(numbers[: numbers.index(numbers[3])])


def test_a_long_prompt_is_read_alone_and_short_ones_together():
    model = small_model(length=4096)
    engine = Engine(model, slots=8, queue=8)
    engine.submit([text(model, "a" * 3000, [], most=1), *(text(model, "b", [], most=1) for _ in range(4))])
    turned(engine)
    assert engine.waiting == 4
    turned(engine)
    assert (engine.waiting, engine.counts["steps"]) == (0, 2)
