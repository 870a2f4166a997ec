"""Detoxify's checkpoints: what they say, whom they are asked about, and which files are refused."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from pydantic import ValidationError

from curate.audit.toxicity.detoxify import load_classifier
from curate.audit.toxicity.stage import Toxicity
from curate.errors import CurateError
from tests.oracles import library

TEXTS = [
    "you are a loser",
    "The committee met on Tuesday.",
    "what was said? you idiot!",
    "a",
    "kind neighbours " * 20,
    "the bridge",
]
LONG = "the committee met on the bridge and you are a loser. " * 300
pytestmark = pytest.mark.slow


def asked(checkpoint, **settings):
    return Toxicity.model_validate({"detoxify": {"checkpoint": str(checkpoint), **settings}})


@pytest.fixture
def no_network(monkeypatch):
    """Any connection fails the test; the hub is not told that it is offline."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)

    def connect(*given):
        raise AssertionError(f"a connection to {given}")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)


def test_scores_of_short_texts_are_those_of_detoxify(checkpoint, apply_stage, no_network):
    detoxify = library("detoxify")
    theirs = detoxify.Detoxify(checkpoint=str(checkpoint)).predict(TEXTS)
    _, features = apply_stage(asked(checkpoint, band=[0, 1]), TEXTS)
    for name in ("toxicity", "severe_toxicity", "insult"):
        assert features[f"detoxify_{name}"] == pytest.approx(theirs[name], abs=1e-5)
    assert len(set(features["toxicity"])) == len(TEXTS)


def test_scores_of_short_texts_are_those_of_the_model(checkpoint, toy_folder, no_network):
    import torch
    import transformers

    folder, content = toy_folder
    model = transformers.BertForSequenceClassification(transformers.BertConfig.from_pretrained(folder)).eval()
    model.load_state_dict(content["state_dict"])
    tokenizer = transformers.BertTokenizerFast.from_pretrained(folder)
    with torch.inference_mode():
        logits = model(**tokenizer(TEXTS, return_tensors="pt", padding=True)).logits
    most, mean = load_classifier(checkpoint, folder)(TEXTS)
    assert most == pytest.approx(torch.sigmoid(logits).numpy(), abs=1e-5)
    assert (most == mean).all()


def test_what_is_said_of_a_text_does_not_depend_on_the_others(checkpoint):
    classifier = load_classifier(checkpoint, checkpoint.parent)
    texts = [*TEXTS, LONG, *(f"{text} again" for text in TEXTS)]
    together = classifier(texts)[0]
    assert [one.tolist() for one in together] == [classifier([text])[0][0].tolist() for text in texts]


def test_a_long_text_is_read_in_windows(checkpoint):
    classifier = load_classifier(checkpoint, checkpoint.parent)
    most, mean = classifier([LONG])
    assert (most >= mean).all()
    assert len(classifier._windows(LONG)) > 7
    assert all(len(one) <= 512 for one in classifier._windows(LONG))
    few = load_classifier(checkpoint, checkpoint.parent, max_windows=2)._windows(LONG)
    assert few == [classifier._windows(LONG)[0], classifier._windows(LONG)[-1]]


def test_the_band_is_decided_by_the_checkpoint_and_the_rest_is_not_asked(checkpoint, apply_stage):
    texts = ["you are a worthless idiot", "The committee met on Tuesday.", "what was said, you fool"]
    _, plain = apply_stage(Toxicity(), texts)
    low = sorted(plain["toxicity"])[1]
    _, features = apply_stage(asked(checkpoint, band=[max(low - 0.01, 0), low + 0.01]), texts)
    inside = [abs(score - low) <= 0.01 for score in plain["toxicity"]]
    assert 0 < sum(inside) < 3
    assert [score is not None for score in features["detoxify_toxicity"]] == inside
    assert features["toxicity_linear"] == plain["toxicity"]
    for row, decided in enumerate(inside):
        assert features["toxicity"][row] == (features["detoxify_toxicity"] if decided else plain["toxicity"])[row]


def test_a_sample_is_only_compared(checkpoint, apply_stage):
    texts = [f"the committee met {number}" for number in range(60)]
    _, features = apply_stage(asked(checkpoint, sample=0.25), texts)
    said = [row for row, score in enumerate(features["detoxify_toxicity"]) if score is not None]
    assert 5 < len(said) < 30
    assert features["toxicity"] == features["toxicity_linear"]
    assert [
        row
        for row, score in enumerate(apply_stage(asked(checkpoint, sample=0.25), texts)[1]["detoxify_insult"])
        if score is not None
    ] == said


def test_tensors_as_safetensors_with_a_json_file_are_a_checkpoint_too(checkpoint, toy_folder, tmp_path):
    from safetensors.torch import save_file

    folder, content = toy_folder
    save_file(content["state_dict"], tmp_path / "toy.safetensors")
    (tmp_path / "toy.json").write_text(json.dumps({"config": content["config"]}))
    other = load_classifier(tmp_path / "toy.safetensors", folder)(TEXTS)[0]
    assert (other == load_classifier(checkpoint, folder)(TEXTS)[0]).all()


# ---- what is refused


class Code:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return Path.touch, (self.canary,)


def test_a_checkpoint_that_carries_code_is_refused_and_not_run(other_checkpoint, tmp_path):
    canary = tmp_path / "canary"
    path = other_checkpoint(lambda config, state: {"config": config, "state_dict": state, "more": Code(canary)})
    with pytest.raises(CurateError) as caught:
        asked(path, sample=1).open()
    assert caught.value.problem == "the checkpoint carries code, or objects that are no tensors; nothing of it was run"
    assert caught.value.where == str(path)
    assert not canary.exists()


def test_a_pickle_that_carries_code_is_refused_and_not_run(other_checkpoint, tmp_path):
    import pickle

    path = other_checkpoint(lambda config, state: pickle.dumps(Code(tmp_path / "canary")))
    with pytest.raises(CurateError, match=r"the checkpoint carries code|no checkpoint of torch"):
        asked(path, sample=1).open()
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda config, state: b"not a checkpoint", "the file is no checkpoint of torch"),
        (lambda config, state: b"", "the file is no checkpoint of torch"),
        (lambda config, state: b"PK\x03\x04 cut off", "the file is no checkpoint of torch"),
        (lambda config, state: [1, 2], "the checkpoint lacks `config` or `state_dict`"),
        (lambda config, state: {"state_dict": state}, "the checkpoint lacks `config` or `state_dict`"),
        (lambda config, state: {"config": {}, "state_dict": state}, "`config` lacks `dataset.args.classes`"),
        (
            lambda config, state: {"config": {**config, "dataset": {"args": {"classes": ["a b"]}}}, "state_dict": state},
            "the checkpoint's classes are no list of names",
        ),
        (
            lambda config, state: {"config": {**config, "dataset": {"args": {"classes": ["insult"]}}}, "state_dict": state},
            "the checkpoint has 3 outputs for the classes insult",
        ),
        (lambda config, state: {"config": config, "state_dict": 3}, "the checkpoint's `state_dict` is no dict of tensors"),
        (
            lambda config, state: {"config": config, "state_dict": {k: v for k, v in state.items() if "classifier" not in k}},
            "does not fit the model: `classifier.weight` is missing",
        ),
        (
            lambda config, state: {
                "config": config, "state_dict": {**state, "classifier.weight": state["classifier.weight"][:1]},
            },
            "does not fit the model: size mismatch for classifier.weight",
        ),
    ],
    ids=["text", "empty", "cut", "list", "no config", "empty config", "odd names", "no toxicity",
         "no tensors", "missing", "shape"],
)  # fmt: skip
def test_a_file_that_is_no_checkpoint_is_refused(other_checkpoint, change, problem):
    path = other_checkpoint(change)
    with pytest.raises(CurateError, match=problem):
        asked(path, sample=1).open()


def test_a_checkpoint_that_is_not_there_is_told_before_a_run(tmp_path):
    with pytest.raises(CurateError, match=r"there is no checkpoint `.*/nothing.ckpt`"):
        asked(tmp_path / "nothing.ckpt", sample=1).facts()
    (tmp_path / "alone.ckpt").write_bytes(b"")
    with pytest.raises(CurateError, match=r"there is no `config.json` in"):
        asked(tmp_path / "alone.ckpt", sample=1).facts()


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({}, "say which documents it is asked about"),
        ({"band": [0.8, 0.2]}, "two ascending numbers"),
        ({"band": [0, 2]}, "two ascending"),
    ],
)
def test_whom_it_is_asked_about_must_be_said(settings, problem):
    with pytest.raises(ValidationError, match=problem):
        asked("a.ckpt", **settings)


def test_everything_that_decides_its_scores_is_among_the_files(checkpoint):
    names = {path.name for path in asked(checkpoint, sample=1).model_files()}
    assert {"toy.ckpt", "config.json", "tokenizer.json", "weights.safetensors", "lexicon.tsv"} <= names
    assert {"torch", "transformers"} <= asked(checkpoint, sample=1).facts().keys()
