"""The tasks of learn.py: settings that a user would write, what is measured, and against what."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from learn_data import (
    chats,
    cola,
    copied,
    digits,
    majority,
    majority_tag_f1,
    markov,
    multi30k,
    of,
    pii,
    preferences,
    sst2,
    stsb,
    trec,
    unigram,
    wikitext,
)


@dataclass
class Task:
    """One thing to learn.

    Attributes:
        rows: From the data folder to documents, each with its `split`.
        settings: Of train.yaml, besides dataset and run.
        metric: Of the validation (dotted).
        baseline: Its name, and from the rows to its value.
        higher: Higher is better.
        needs_encoder: Begins with a pretrained encoder.
        after: Further measures of the finished run.
        first: Settings of a run before it.
    """

    rows: Any
    settings: dict[str, Any]
    metric: str
    baseline: tuple[str, Any]
    higher: bool = True
    needs_encoder: bool = False
    after: Any = None
    first: dict[str, Any] | None = None


# ---- measures of a finished run


def translated(result, rows, folder):
    """BLEU of the beam's translations of the validation pairs."""
    import sacrebleu

    from curate.train.weights.export import translate_texts

    pairs = of(rows, "validation")[:500]
    found = translate_texts(folder / result["checkpoint"], [row["text"] for row in pairs], beams=4)
    return {"bleu": sacrebleu.corpus_bleu(found, [[row["target"] for row in pairs]]).score}


# ---- tasks

SMALL = {"layers": 4, "width": 128, "heads": 4, "key_value_heads": 4, "feed_forward": 512}
LM = {"tokenizer": {"vocabulary": 4096}, "batch": {"sequences": 16, "length": 256}, "validation": {"sequences": None}}
LABELS = {
    "tokenizer": {"vocabulary": 4096},
    "batch": {"sequences": 32, "length": 64},
    "validation": {"every": 100, "sequences": None},
    "early_stopping": {"patience": 3},
    "steps": 600,
}
FINE = {"optimizer": {"learning_rate": 1e-4, "weight_decay": 0.01}, "schedule": {"kind": "linear", "warmup": 50}}
SINGLE = {"kind": "classification", "dropout": 0.3}
MEAN = {"kind": "classification", "dropout": 0.1, "pooling": "mean"}

TASKS = {
    "decoder": Task(
        wikitext, {**LM, "model": {"preset": "1m"}, "steps": 250}, "bits_per_byte", ("bytes, order 2", markov), False
    ),
    "gpt2": Task(
        wikitext,
        {**LM, "model": {"preset": "1m", "style": "gpt2"}, "steps": 250},
        "bits_per_byte",
        ("bytes, order 2", markov),
        False,
    ),
    "muon": Task(
        wikitext,
        {**LM, "model": {"preset": "1m"}, "steps": 250, "optimizer": {"kind": "muon"}, "schedule": {"kind": "wsd"}},
        "bits_per_byte",
        ("bytes, order 2", markov),
        False,
    ),
    "lstm": Task(
        wikitext,
        {**LM, "model": {"kind": "lstm", "width": 256, "layers": 1}, "steps": 250},
        "bits_per_byte",
        ("bytes, order 2", markov),
        False,
    ),
    "multi_token": Task(
        wikitext,
        {**LM, "model": {"preset": "1m", "layers": 5}, "steps": 250, "objective": {"kind": "multi_token", "heads": 2}},
        "bits_per_byte",
        ("bytes, order 2", markov),
        False,
    ),
    "masked": Task(
        wikitext,
        {
            **LM,
            "model": {"kind": "encoder", "preset": "1m"},
            "steps": 1200,
            "objective": {"kind": "masked"},
            "optimizer": {"learning_rate": 5e-4},
        },
        "accuracy",
        ("most frequent word", unigram),
    ),
    "curriculum": Task(
        wikitext,
        {**LM, "model": {"preset": "1m"}, "steps": 250, "curriculum": {"lengths": [64, 128]}},
        "bits_per_byte",
        ("bytes, order 2", markov),
        False,
    ),
    "distillation": Task(
        wikitext,
        {
            **LM,
            "model": {"preset": "1m", "layers": 2},
            "steps": 250,
            "objective": {"kind": "distillation", "teacher": "runs/first"},
        },
        "bits_per_byte",
        ("bytes, order 2", markov),
        False,
        first={**LM, "model": {"preset": "1m"}, "steps": 250},
    ),
    "cnn_sst2": Task(
        sst2,
        {
            **LABELS,
            "model": {"kind": "cnn", "width": 128, "feed_forward": 100},
            "objective": {**SINGLE, "dropout": 0.5},
        },
        "accuracy",
        ("majority", majority),
    ),
    "cnn_trec": Task(
        trec,
        {
            **LABELS,
            "model": {"kind": "cnn", "width": 128, "feed_forward": 100},
            "objective": {**SINGLE, "dropout": 0.5},
        },
        "accuracy",
        ("majority", majority),
    ),
    "lstm_sst2": Task(
        sst2,
        {**LABELS, "model": {"kind": "lstm", "width": 128, "layers": 1, "bidirectional": True}, "objective": SINGLE},
        "accuracy",
        ("majority", majority),
    ),
    "encoder_trec": Task(
        trec,
        {
            **LABELS,
            "model": {"kind": "encoder", **SMALL, "dropout": 0.1},
            "objective": SINGLE,
            **FINE,
            "optimizer": {"learning_rate": 5e-4, "weight_decay": 0.01},
            "steps": 1200,
        },
        "accuracy",
        ("majority", majority),
    ),
    "adversarial_sst2": Task(
        sst2,
        {
            **LABELS,
            "model": {"kind": "cnn", "width": 128, "feed_forward": 100},
            "objective": {**SINGLE, "dropout": 0.5},
            "adversarial": {"kind": "fgm", "epsilon": 0.1},
        },
        "accuracy",
        ("majority", majority),
    ),
    "multi_task": Task(
        lambda data: [{**row, "kind": "question"} for row in trec(data)],
        {
            **LABELS,
            "early_stopping": None,
            "steps": 1500,
            "model": {"kind": "lstm", "width": 128, "layers": 1},
            "tasks": {
                "questions": {"objective": SINGLE, "weight": 0.5},
                "language": {"objective": {"kind": "causal"}, "weight": 0.5},
            },
        },
        "questions.accuracy",
        ("majority", majority),
    ),
    "pii_tags": Task(
        pii,
        {
            **LABELS,
            "steps": 600,
            "model": {"kind": "encoder", **SMALL, "layers": 2},
            "objective": {"kind": "token_classification"},
            **FINE,
            "optimizer": {"learning_rate": 1e-3},
        },
        "macro_f1",
        ("most frequent tag", majority_tag_f1),
    ),
    "sft": Task(
        chats,
        {
            **LABELS,
            "early_stopping": None,
            "steps": 400,
            "model": {"preset": "1m"},
            "objective": {"kind": "sft"},
            "tokenizer": {"vocabulary": 2048},
        },
        "accuracy",
        (
            "the majority answer, and the mark of its end",
            lambda rows: (1 + majority([{**row, "label": row["messages"][1]["content"]} for row in rows])) / 2,
        ),
    ),
    "preference": Task(
        preferences,
        {
            **LABELS,
            "early_stopping": None,
            "steps": 200,
            "model": {"preset": "1m"},
            "objective": {"kind": "preference"},
            "batch": {"sequences": 16, "length": 128},
            "optimizer": {"learning_rate": 5e-4},
        },
        "accuracy",
        ("chance", lambda rows: 0.5),
    ),
    "reinforcement": Task(
        digits,
        {
            "tokenizer": {"vocabulary": 300},
            "model": {"layers": 2, "width": 128, "heads": 4, "key_value_heads": 4, "feed_forward": 256},
            "objective": {"kind": "reinforcement", "reward": "exact", "new_tokens": 1, "group": 16},
            "batch": {"sequences": 16, "length": 8},
            "optimizer": {"learning_rate": 5e-4},
            "validation": {"every": 100, "sequences": None},
            "steps": 800,
        },
        "reward",
        ("best constant answer", lambda rows: max(Counter(row["answer"] for row in of(rows, "train")).values()) / 55),
    ),
    "translation": Task(
        multi30k,
        {
            "tokenizer": {"vocabulary": 4000},
            "model": {
                "kind": "encoder_decoder",
                **SMALL,
                "layers": 2,
                "width": 160,
                "feed_forward": 640,
                "dropout": 0.1,
            },
            "objective": {"kind": "seq2seq", "label_smoothing": 0.1, "target_length": 40},
            "batch": {"sequences": 64, "length": 40},
            "optimizer": {"learning_rate": 3e-3, "beta2": 0.98},
            "schedule": {"warmup": 150, "floor": 0.05},
            "validation": {"every": 500},
            "steps": 2500,
        },
        "bleu",
        ("copy", copied),
        after=translated,
    ),
    "bert_cola": Task(
        cola,
        {
            **LABELS,
            "steps": 450,
            "model": {"kind": "encoder", "path": "ENCODER", "dropout": 0.1},
            "objective": MEAN,
            **FINE,
        },
        "matthews_correlation",
        ("majority", lambda rows: 0.0),
        needs_encoder=True,
    ),
    "bert_sst2": Task(
        sst2,
        {
            **LABELS,
            "steps": 300,
            "model": {"kind": "encoder", "path": "ENCODER", "dropout": 0.1},
            "objective": MEAN,
            **FINE,
        },
        "accuracy",
        ("majority", majority),
        needs_encoder=True,
    ),
    "bert_lora_trec": Task(
        trec,
        {
            **LABELS,
            "steps": 400,
            "model": {"kind": "encoder", "path": "ENCODER"},
            "objective": MEAN,
            "lora": {"rank": 8, "targets": ["query", "value"]},
            **FINE,
            "optimizer": {"learning_rate": 1e-3},
        },
        "accuracy",
        ("majority", majority),
        needs_encoder=True,
    ),
    "bert_stsb": Task(
        stsb,
        {
            **LABELS,
            "steps": 300,
            "model": {"kind": "encoder", "path": "ENCODER", "dropout": 0.1},
            "objective": {"kind": "classification", "regression": True, "pooling": "mean"},
            "data": {"second": "second"},
            **FINE,
        },
        "pearson",
        ("constant", lambda rows: 0.0),
        needs_encoder=True,
    ),
}
