"""What a model continues word for word, and how much better it knows the text that it was trained on."""

from __future__ import annotations

import numpy as np
import pytest

from curate.dataset.reader import open_dataset
from curate.errors import CurateError
from curate.evaluation.memorization import CHARACTERS, gap, held_out, memorization, passages
from curate.evaluation.statistics import unpaired
from tests.evaluation.language_model import small_model
from tests.train.rows_project import write_dataset


@pytest.fixture(scope="module")
def long_rows(tmp_path_factory):
    """A version of texts of numbers, some of them long, one short."""
    folder = tmp_path_factory.mktemp("long")
    random = np.random.default_rng(0)
    texts = [" ".join(map(str, random.integers(0, 10_000, 40 if number % 2 else 900))) for number in range(24)]
    texts[0] = "too short"
    write_dataset(folder, {"text": texts}, ["validation" if number % 3 == 2 else "train" for number in range(24)])
    return open_dataset("rows", str(folder / ".curate"))


class Parrot:
    """A model that knows by heart the texts that it is given, and nothing else."""

    def __init__(self, known):
        self.model = small_model(length=80)
        self.known = set(known)

    def __getattr__(self, name):
        return getattr(self.model, name)

    def losses(self, rows):
        knows = [self.model.tokenizer.decode(row).removeprefix("<|endoftext|>") in self.known for row in rows]
        return [(np.zeros(len(row) - 1), np.full(len(row) - 1, right)) for row, right in zip(rows, knows, strict=True)]


def test_what_is_known_by_heart_is_counted(long_rows):
    train = passages(long_rows, "train", "text", 100)
    known = [one.text[:64] for one in train if len(one.text) >= 64][:5]
    found = memorization(Parrot(known), long_rows, count=100)
    share, other = found["verbatim"]["train"], found["verbatim"]["validation"]
    assert (share["value"] * share["n"], share["n"], found["too_short"]["train"]) == (5, 15, 1)
    assert (other["value"], other["n"]) == (0, 8)
    assert share["low"] > 0
    assert other["high"] < 0.5


def test_verbatim_is_what_greedy_decoding_gives():
    model = small_model(length=80)
    prompt = "so much for the begin of a text"
    continued = model.complete([prompt], most=32)[0]
    row = model.encode([prompt])[0] + model.encode([continued.text])[0]
    _, likeliest = model.losses([row])[0]
    assert likeliest[-len(model.encode([continued.text])[0]) :].all() == (
        model.tokenizer.decode(row) == prompt + continued.text and "\ufffd" not in continued.text
    )


def test_passages_are_the_same_for_a_seed_and_of_other_documents_for_another(long_rows):
    one, same, other = (passages(long_rows, "train", "text", 6, seed=seed) for seed in (0, 0, 1))
    assert one == same != other
    assert all(0 < len(passage.text) <= CHARACTERS for passage in one)
    whole = long_rows.arrow("train", ["text"])["text"].to_pylist()
    for passage in one:
        assert any(text.startswith(passage.text) if passage.begins else passage.text in text for text in whole)


def test_a_model_that_knows_nothing_has_no_gap(long_rows):
    train, held = (passages(long_rows, split, "text", 8) for split in ("train", "validation"))
    found = gap(small_model(length=80), train, held)
    assert found.low < 0 < found.high
    assert found.n == 8


def test_the_interval_of_two_samples_holds_the_truth_in_95_of_100():
    random, held = np.random.default_rng(3), 0
    for seed in range(200):
        first, other = (np.stack([random.gamma(4, size, 40), np.full(40, 2.0)], 1) for size in (1.0, 1.5))
        found = unpaired(other, first, lambda sums: sums[:, 0] / sums[:, 1], seed=seed, resamples=400)
        held += found.low <= 1.0 <= found.high
    assert 182 <= held <= 198


def test_a_model_that_reads_too_little_at_once_is_refused(long_rows):
    with pytest.raises(CurateError, match="reads 24 tokens at once; memorization asks for 64"):
        memorization(small_model(length=24), long_rows, count=5)


def test_a_dataset_without_held_out_text_is_refused(tmp_path):
    write_dataset(tmp_path, {"text": ["one text", "another"]}, ["train", "train"])
    with pytest.raises(CurateError, match="no text that was held out"):
        held_out(open_dataset("rows", str(tmp_path / ".curate")))
