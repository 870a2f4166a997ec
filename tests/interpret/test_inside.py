"""What a model computes of a text, against the evaluator, transformers and captum."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from curate.errors import CurateError
from curate.evaluation.metrics import METRICS
from curate.evaluation.models.opened import open_model
from curate.evaluation.models.ours import TrunkModel
from curate.interpret.inside import inspect
from curate.train.models.trunk import build_trunk, logits_of
from curate.train.weights.huggingface import read_huggingface
from tests.evaluation.language_model import byte_tokenizer, llama_folder, small_model
from tests.oracles import library
from tests.train.tiny_families import FAMILIES
from tests.train.tiny_families import theirs as made_by_transformers

TEXT = "A caf\u00e9 at night."


def told(text=TEXT, **asked):
    return inspect(small_model(), text, **asked)


def test_the_losses_are_those_of_the_evaluator_and_sum_to_its_bits():
    found, model = told(), small_model()
    (read,) = model.read([TEXT])
    assert [one["nats"] for one in found["places"]] == read.nats.tolist()
    sums = np.array([[read.nats.sum(dtype="float64"), len(TEXT.encode())]])
    assert found["bits_per_byte"] == METRICS["bits_per_byte"].value(sums)[0]
    assert found["bits"] == pytest.approx(sum(one["bits"] for one in found["places"]), rel=1e-6)


def test_places_say_what_stands_there_its_rank_and_what_else_was_expected():
    found, model = told(top=3), small_model()
    tokens = model.encode([TEXT])[0]
    logits = model.logits(model.states(torch.tensor([[model.prefix, *tokens[:-1]]]))[0]).detach()
    for place, (one, row) in enumerate(zip(found["places"], logits.log_softmax(-1), strict=True)):
        assert one["rank"] == 1 + int((row > row[tokens[place]]).sum())
        assert [other["probability"] for other in one["alternatives"]] == pytest.approx(
            row.exp().topk(3).values.tolist()
        )
        assert one["entropy"] == pytest.approx(float(-(row.exp() * row).sum()) / math.log(2), rel=1e-5)
    assert found["places"][0]["text"] == TEXT[0]


def test_the_last_layer_says_what_the_model_says():
    found = told()
    assert len(found["lens"]) == 3
    for place, last in zip(found["places"], found["lens"][-1], strict=True):
        assert last["probability"] == pytest.approx(place["alternatives"][0]["probability"], rel=1e-5)
        assert last["own"] == pytest.approx(math.exp(-place["nats"]), rel=1e-4)


@pytest.mark.parametrize("name", [*FAMILIES])
def test_lens_and_attention_are_those_that_transformers_has_of_each_family(name, tmp_path):
    library("transformers")
    theirs = made_by_transformers(name)
    theirs.save_pretrained(tmp_path / name)
    read = read_huggingface(tmp_path / name)
    trunk = build_trunk(read.sizes, vocabulary=read.vocabulary, length=read.length)
    trunk.load_state_dict({key.removeprefix("model."): value for key, value in read.tensors})
    model = TrunkModel(
        trunk, name=name, weights=name, tokenizer=byte_tokenizer(), prefix=1, end=frozenset({2}), length=64
    )
    tokens = model.encode([TEXT])[0]
    found = inspect(model, TEXT, steps=2)
    theirs.set_attn_implementation("eager")
    with torch.no_grad():
        said = theirs(torch.tensor([[1, *tokens[:-1]]]), output_attentions=True, output_hidden_states=True)
    for ours, weights in zip(found["target"]["attention"], said.attentions, strict=True):
        assert torch.tensor(ours) == pytest.approx(weights[0, :, -1], abs=2e-5)
    states = said.hidden_states[:-1]  # theirs has the last norm in the last one
    for ours, layer in zip(found["lens"], states, strict=False):
        logits = logits_of(trunk, theirs.model.norm(layer[0])).softmax(-1)
        assert [one["own"] for one in ours] == pytest.approx(
            logits[range(len(tokens)), tokens].tolist(), rel=1e-3, abs=1e-6
        )


@pytest.mark.parametrize("target", [None, 4])
def test_integrated_gradients_are_captums_and_complete(target):
    library("captum")
    from captum.attr import IntegratedGradients

    model = small_model()
    trunk, tokens = model.trunk, model.encode([TEXT])[0]
    place = len(tokens) - 1 if target is None else target
    read = torch.tensor([[model.prefix, *tokens[:place]]])
    embedded = trunk.embedded(read).detach()

    def score(given):
        rows = read.expand(len(given), -1)
        return logits_of(trunk, trunk(rows, noise=given - embedded)[:, -1]).log_softmax(-1)[:, tokens[place]]

    wanted, error = IntegratedGradients(score).attribute(
        embedded, embedded[:, :1].expand_as(embedded), n_steps=64, method="gausslegendre", return_convergence_delta=True
    )
    found = told(target=target)["target"]["attributions"]
    assert found["values"] == pytest.approx(wanted.sum(-1)[0].tolist(), abs=1e-4)
    assert found["error"] == pytest.approx(float(error), abs=1e-3)
    assert found["log_probability"] == pytest.approx(-told()["places"][place]["nats"], abs=1e-5)
    more = told(target=target, steps=400)["target"]["attributions"]
    assert abs(more["error"]) < 1e-2 * abs(more["log_probability"] - more["baseline"])


def test_the_parameters_are_as_before():
    model = small_model()
    inspect(model, TEXT, steps=2)
    assert all(one.requires_grad and one.grad is None for one in model.trunk.parameters())


def test_of_a_model_of_transformers_losses_are_told_and_the_rest_is_said_not_to_be(tmp_path):
    library("transformers")
    model = open_model(str(llama_folder(tmp_path / "llama")), backend="transformers")
    found = inspect(model, TEXT)
    ours = inspect(open_model(str(tmp_path / "llama")), TEXT)
    assert found["bits"] == pytest.approx(ours["bits"], rel=1e-5)
    assert (found["lens"], found["target"]) == (None, None)
    assert found["notes"] == [
        "layers, attention and attributions are told of our decoders only; this is a model of transformers"
    ]


def test_of_a_recurrent_model_losses_are_told():
    found = inspect(small_model(kind="lstm"), TEXT)
    assert len(found["places"]) == len(TEXT.encode())
    assert "this is a model of the kind `lstm`" in found["notes"][0]


@pytest.mark.parametrize(
    ("text", "asked", "problem"),
    [
        ("", {}, "the text is empty"),
        ("x" * 30, {}, "the text has 30 tokens, and the model reads 24 at once"),
        ("abc", {"target": 3}, "there is no token 3: the text has 3, the first is 0"),
    ],
)
def test_what_cannot_be_read_is_refused(text, asked, problem):
    with pytest.raises(CurateError) as error:
        told(text, **asked)
    assert error.value.problem == problem
