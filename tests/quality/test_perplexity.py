"""What documents cost a language model: the evaluator's numbers, whoever stands beside, and what thresholds do."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest

from curate.errors import CurateError, MachineError
from curate.evaluation.models.opened import open_model
from curate.quality.perplexity import Perplexity
from curate.quality.reading import read_costs
from tests.evaluation.language_model import llama_folder

TEXTS = [
    "The cat sat on the mat. " * 30, "Zymurgy!", "", "caf\u00e9 \u4f60\u597d", "one\ntwo\n\nthree", "The cat sat on the mat.",
    "and the dog lay by the door of the old house " * 9, " ",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny Llama with random weights; it reads 64 tokens at once."""
    return llama_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(folder):
    return open_model(str(folder))


def test_numbers_are_those_of_the_evaluator_also_in_windows(apply_stage, folder, model):
    _, features = apply_stage(Perplexity(model=str(folder)), TEXTS)
    losses = model.read(TEXTS)
    assert len(losses[0].tokens) > 2 * model.length
    for row, (text, one) in enumerate(zip(TEXTS, losses, strict=True)):
        if not text:
            assert features["bits_per_byte"][row] is features["perplexity"][row] is None
            continue
        nats = float(one.nats.sum(dtype="float64"))
        assert features["bits_per_byte"][row] == pytest.approx(nats / math.log(2) / len(text.encode()), rel=1e-6)
        assert features["perplexity"][row] == pytest.approx(math.exp(nats / len(one.tokens)), rel=1e-5)


def test_a_text_costs_the_same_to_the_bit_whoever_stands_beside_it(model):
    together, _ = read_costs(model, TEXTS)
    backwards, _ = read_costs(model, TEXTS[::-1] * 3)
    alone = [read_costs(model, [text])[0][0] for text in TEXTS]
    assert together.tolist() == alone == backwards[: len(TEXTS)][::-1].tolist()


def test_transformers_gives_the_same_numbers(folder, model):
    other, tokens = read_costs(open_model(str(folder), backend="transformers"), TEXTS)
    nats, same = read_costs(model, TEXTS)
    assert other == pytest.approx(nats, rel=1e-5)
    assert (tokens == same).all()


def test_thresholds_decide_of_stored_numbers(folder):
    features = pa.table({"bits_per_byte": [1.0, 2.0, 5.0, None], "perplexity": [10.0, 500.0, 20.0, None]})
    found = Perplexity(model=str(folder), max_bits_per_byte=4, max_perplexity=100).decide(features).to_pylist()
    assert [(one["row"], one["reason"], one["value"], one["threshold"]) for one in found] == [
        (1, "perplexity", 500.0, 100.0), (2, "bits_per_byte", 5.0, 4.0), (3, "bits_per_byte", None, 4.0)
    ]  # fmt: skip
    assert Perplexity(model=str(folder)).decide(features).num_rows == 0


def test_what_is_no_model_is_told_before_anything_runs(tmp_path, folder):
    with pytest.raises(CurateError, match="there is no model `nowhere`"):
        Perplexity(model="nowhere").facts()
    (tmp_path / "text").write_text("hello")
    with pytest.raises(CurateError, match="the file is no n-gram model"):
        Perplexity(model=str(tmp_path / "text")).facts()
    (tmp_path / "empty").mkdir()
    with pytest.raises(CurateError):
        Perplexity(model=str(tmp_path / "empty")).open()
    with pytest.raises(MachineError, match="there is no GPU here"):
        Perplexity(model=str(folder), device="cuda").open()
    assert {path.suffix for path in Perplexity(model=str(folder)).model_files()} == {".json", ".safetensors"}
