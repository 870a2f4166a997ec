"""Tiny rows for every objective, in the columns that `curate run` leaves, and settings of runs that learn them in seconds.

Lists and conversations are JSON text in columns of strings. What is to be learned is in the words: an adjective has a
mood, a word has a tag and a translation.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import Any

from curate.train.settings.config import TrainConfig

__all__ = ["CASES", "Case", "config_of", "rows_of"]

HAPPY, SAD = ("merry", "glad", "jolly", "sunny"), ("grim", "gloomy", "weary", "bitter")
NOUNS = {"cat": "Katze", "dog": "Hund", "fox": "Fuchs", "owl": "Eule", "bee": "Biene", "hen": "Henne"}
VERBS = {"sings": "singt", "sleeps": "schlaeft", "runs": "rennt", "waits": "wartet"}
GERMAN = {**NOUNS, **VERBS, "the": "die", "small": "kleine"}
TAGS = {**dict.fromkeys(NOUNS, "noun"), **dict.fromkeys(VERBS, "verb"), "the": "article", "small": "adjective"}


def _sentence(draw):
    return ["the", *(["small"] if draw.random() < 0.5 else []), draw.choice(list(NOUNS)), draw.choice(list(VERBS))]


def _text(draw):
    return {"text": ". ".join(" ".join(_sentence(draw)) for _ in range(draw.randint(1, 6))) + "."}


def _moody(draw):
    """A sentence with a happy or a sad word, and its mood."""
    happy = draw.random() < 0.5
    *first, noun, verb = _sentence(draw)
    return " ".join([*first, draw.choice(HAPPY if happy else SAD), noun, verb]), "happy" if happy else "sad"


def _labelled(draw):
    text, label = _moody(draw)
    return {"text": text, "label": label}


def _pair(draw):
    """The second text has a mood."""
    second, label = _moody(draw)
    return {"text": " ".join(_sentence(draw)), "second": second, "label": label}


def _scored(draw):
    words = [draw.choice(HAPPY + SAD) for _ in range(4)]
    return {"text": " ".join(words), "label": sum(word in HAPPY for word in words) / 4}


def _tagged(draw):
    words = _sentence(draw)
    return {"words": json.dumps(words), "label": json.dumps([TAGS[word] for word in words])}


def _entities(draw):
    words = _sentence(draw)
    return {"words": json.dumps(words), "label": json.dumps(["B-ANIMAL" if word in NOUNS else "O" for word in words])}


def _translation(draw):
    words = _sentence(draw)
    return {"text": " ".join(words), "target": " ".join(GERMAN[word] for word in words)}


def _conversation(draw):
    turns = []
    for _ in range(draw.randint(1, 2)):
        noun, verb = draw.choice(list(NOUNS)), draw.choice(list(VERBS))
        turns.append({"role": "user", "content": f"{noun} and {verb}?"})
        turns.append({"role": "assistant", "content": f"{GERMAN[noun]} und {GERMAN[verb]}."})
    return {"messages": json.dumps(turns)}


def _preference(draw):
    return {"prompt": " ".join(_sentence(draw)), "chosen": draw.choice(HAPPY), "rejected": draw.choice(SAD)}


def _judged(draw):
    good = draw.random() < 0.5
    return {"prompt": " ".join(_sentence(draw)), "completion": draw.choice(HAPPY if good else SAD), "label": good}


def _prompt(draw):
    return {"prompt": " ".join(_sentence(draw)), "answer": "e"}


ROWS = {
    "text": _text,
    "labelled": _labelled,
    "pair": _pair,
    "scored": _scored,
    "tagged": _tagged,
    "entities": _entities,
    "translation": _translation,
    "conversation": _conversation,
    "preference": _preference,
    "judged": _judged,
    "prompt": _prompt,
}


def rows_of(kind, count, seed=0, **columns):
    """Columns of so many rows, by name; more columns are given as functions of the row's number."""
    draw = random.Random(f"{kind}/{seed}")
    rows = [ROWS[kind](draw) for _ in range(count)]
    made = {name: [row[name] for row in rows] for name in rows[0]}
    return {**made, **{name: [value(number) for number in range(count)] for name, value in columns.items()}}


@dataclass(frozen=True)
class Case:
    """An objective on a model.

    Attributes:
        rows: What it reads.
        objective: Its settings.
        metrics: Of the validation.
        reached: One of them, and what it comes to at least; of a loss, at most.
        model: Settings of the model that differ from the smallest.
        better: What gets better in training: `loss`, or `reward`.
        by: Least that the loss falls by, as a share of the first one; or that the reward grows by.
        settings: Other settings of the run.
    """

    rows: str
    objective: dict[str, Any]
    metrics: tuple[str, ...]
    reached: tuple[str, float]
    model: dict[str, Any] = field(default_factory=dict)
    better: str = "loss"
    by: float = 0.3
    settings: dict[str, Any] = field(default_factory=dict)


TEXT = ("bits_per_byte", "loss", "perplexity", "tokens", "bytes")
CLASSES = ("loss", "accuracy", "macro_f1", "matthews_correlation", "count")
TOKENS = ("loss", "perplexity", "accuracy", "tokens")
PAIRS = ("loss", "accuracy", "margin", "chosen_reward", "rejected_reward", "count")
JUDGED = ("loss", "accuracy", "margin", "desirable_reward", "undesirable_reward", "divergence", "count")
SCORES = ("loss", "accuracy", "lead", "chosen_score", "rejected_score", "count")
REWARDS = ("reward", "length", "ended", "count")
MASKED = ("loss", "accuracy", "masked_perplexity", "tokens")
NUMBERS = ("loss", "pearson", "spearman", "count")
SPANS = (*CLASSES, "span_f1", "span_precision", "span_recall")
GPT2, ENCODER, LSTM = {"style": "gpt2", "tied": False}, {"kind": "encoder"}, {"kind": "lstm"}
BOTH_WAYS = {"kind": "lstm", "bidirectional": True}
CNN = {"kind": "cnn", "kernels": [2, 3], "feed_forward": 16}
CLASSIFY = {"kind": "classification"}
REINFORCE = {"kind": "reinforcement", "reward": "contains", "group": 4, "new_tokens": 6}

CASES = {
    "causal": Case("text", {"kind": "causal"}, TEXT, ("loss", 3.0)),
    "causal-gpt2": Case("text", {"kind": "causal", "z_loss": 1e-3}, TEXT, ("loss", 2.0), GPT2),
    "causal-lstm": Case("text", {"kind": "causal"}, TEXT, ("loss", 3.0), LSTM),
    "causal-pretrained": Case(
        "text",
        {"kind": "causal"},
        TEXT,
        ("loss", 3.0),
        {"kind": "pretrained", "path": "gpt2"},
        settings={"batch": {"document_mask": False}},
    ),
    "masked": Case("text", {"kind": "masked", "share": 0.3}, MASKED, ("loss", 3.0), ENCODER),
    "multi_token": Case("text", {"kind": "multi_token", "heads": 2}, (*TEXT, "loss_2"), ("loss_2", 3.0), {"layers": 3}),
    "seq2seq": Case(
        "translation",
        {"kind": "seq2seq", "target_length": 16, "label_smoothing": 0.1, "metrics": ["exact_match", "chrf"]},
        (*TOKENS, "exact_match", "chrf"),
        ("accuracy", 0.3),
        {"kind": "encoder_decoder"},
    ),
    "classification": Case("labelled", CLASSIFY, CLASSES, ("accuracy", 0.9), ENCODER),
    "classification-decoder": Case(
        "labelled", CLASSIFY, (*CLASSES, "f1"), ("f1", 0.9), settings={"data": {"positive": ["sad"]}}
    ),
    "classification-lstm": Case("labelled", CLASSIFY, CLASSES, ("accuracy", 0.9), BOTH_WAYS),
    "classification-cnn": Case("labelled", CLASSIFY, CLASSES, ("accuracy", 0.9), CNN),
    "pairs": Case("pair", {**CLASSIFY, "pooling": "mean"}, CLASSES, ("accuracy", 0.75), ENCODER),
    "pairs-pretrained": Case(
        "pair", {**CLASSIFY, "pooling": "mean"}, CLASSES, ("accuracy", 0.75), {"kind": "pretrained", "path": "bert"}
    ),
    "regression": Case("scored", {**CLASSIFY, "regression": True}, NUMBERS, ("pearson", 0.5), ENCODER),
    "token_classification": Case("tagged", {"kind": "token_classification"}, CLASSES, ("macro_f1", 0.9), ENCODER),
    "token_classification-lstm": Case(
        "tagged", {"kind": "token_classification"}, CLASSES, ("accuracy", 0.7), BOTH_WAYS
    ),
    "token_classification-spans": Case("entities", {"kind": "token_classification"}, SPANS, ("span_f1", 0.9), ENCODER),
    "sft": Case("conversation", {"kind": "sft"}, TOKENS, ("accuracy", 0.4)),
    "preference": Case(
        "preference", {"kind": "preference", "beta": 0.5, "label_smoothing": 0.1}, PAIRS, ("margin", 1.0)
    ),
    "preference-lstm": Case("preference", {"kind": "preference", "beta": 0.5}, PAIRS, ("accuracy", 0.9), LSTM),
    "preference-ipo": Case("preference", {"kind": "preference", "method": "ipo"}, PAIRS, ("margin", 0.1)),
    "preference-simpo": Case("preference", {"kind": "preference", "method": "simpo"}, PAIRS, ("accuracy", 0.9)),
    "preference-orpo": Case("preference", {"kind": "preference", "method": "orpo"}, PAIRS, ("accuracy", 0.9)),
    "kto": Case("judged", {"kind": "preference", "method": "kto", "beta": 0.5}, JUDGED, ("accuracy", 0.9), by=0.2),
    "reward": Case(  # at a rate of 0.02 rounding grows to 5e-4 of the gradients' norm in 7 steps
        "preference",
        {"kind": "reward", "centering": 0.01},
        SCORES,
        ("accuracy", 0.9),
        settings={"optimizer": {"learning_rate": 0.003}},
    ),
    "reward-lstm": Case("preference", {"kind": "reward"}, SCORES, ("accuracy", 0.9), LSTM),
    "outcome": Case(
        "judged", {"kind": "reward", "method": "outcome"}, ("loss", "accuracy", "right", "count"), ("accuracy", 0.9)
    ),
    "reinforcement": Case("prompt", {**REINFORCE, "kl": 0.02}, REWARDS, ("reward", 0.9), better="reward"),
    "reinforcement-lstm": Case(
        "prompt", {**REINFORCE, "method": "reinforce"}, REWARDS, ("reward", 0.9), LSTM, better="reward"
    ),
    "distillation": Case("text", {"kind": "distillation", "teacher": "teacher"}, TEXT, ("loss", 3.0)),
}


def config_of(case, *, dropout=0.1, **settings):
    """Settings of a run of 32 steps; blocks of settings are added to the case's."""
    sizes = {"layers": 2, "width": 16, "heads": 2, "feed_forward": 32, "dropout": dropout}
    if case.model.get("kind", "decoder") == "decoder" and case.model.get("style") != "gpt2":
        sizes["key_value_heads"] = 1
    objective = case.objective
    if objective["kind"] in ("classification", "token_classification"):
        objective = {"dropout": dropout, **objective}
    given = {
        "dataset": case.rows,
        "run": "tiny",
        "steps": 32,
        "checkpoint_every": 16,
        "objective": objective,
        "model": {**sizes, **case.model},
        "data": {"second": "second"} if case.rows == "pair" else {},
        "tokenizer": {"vocabulary": 300},
        "batch": {"sequences": 8, "length": 32},
        "optimizer": {"learning_rate": 0.02},
        "schedule": {"warmup": 2},
        "validation": {"every": 16, "sequences": 9},
    }
    for some in (case.settings, settings):
        for name, value in some.items():
            block = isinstance(value, dict) and isinstance(given.get(name), dict)
            given[name] = {**given[name], **value} if block else value
    return TrainConfig.model_validate(given)
