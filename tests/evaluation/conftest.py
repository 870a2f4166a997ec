"""A store with a dataset of rows for every objective, and tiny runs of it, each trained once, when a test asks for it."""

from __future__ import annotations

import functools

import pytest

from curate.train.run import train_run
from tests.train.rows_project import TRAIN, columns_of, write_dataset
from tests.train.tiny_tasks import rows_of

ENCODER = "model={kind: encoder, layers: 2, width: 16, heads: 2, feed_forward: 32}"
RUNS = {
    "text": ["validation.every=2"],
    "started": ["tokenizer.special_tokens=[<|endoftext|>, <|start|>]"],
    "mood": [ENCODER, "objective={kind: classification}"],
    "pair": [ENCODER, "objective={kind: classification, pooling: mean}", "data.second=prompt", "data.label=answer"],
    "score": [ENCODER, "objective={kind: classification, regression: true}", "data.label=score"],
    "tags": [ENCODER, "objective={kind: token_classification}", "data.label=tags"],
    "german": [
        "model={kind: encoder_decoder, layers: 2, width: 16, heads: 2, feed_forward: 32}",
        "objective={kind: seq2seq, target_length: 16, metrics: [bleu, chrf, rougeL]}",
        "data.text=source",
    ],
    "chat": ["objective={kind: sft}", "batch.length=64"],
    "choice": ["objective={kind: preference}", "data.prompt=question"],
    "judge": ["objective={kind: reward}", "data.prompt=question"],
    "hidden": [ENCODER, "objective={kind: masked}"],
}
"""Changes of `TRAIN` that make a run for each objective."""


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """A folder with the store and train.yaml; a third of the rows is for validation, some of it for the test."""
    folder = tmp_path_factory.mktemp("evaluated")
    columns = columns_of(60)
    translations, preferences = rows_of("translation", 60), rows_of("preference", 60)
    columns |= {"source": translations["text"], "target": translations["target"]}
    columns |= {"question": preferences["prompt"], "chosen": preferences["chosen"], "rejected": preferences["rejected"]}
    columns["answer"] = ["yes" if number % 3 else "no" for number in range(60)]
    parts = ["test" if number % 6 == 5 else "validation" if number % 3 == 2 else "train" for number in range(60)]
    write_dataset(folder, columns, parts)
    (folder / "train.yaml").write_text(TRAIN)
    return folder


@pytest.fixture(scope="session")
def trained(project):
    """The folder of a run of `RUNS`, by name."""

    @functools.cache
    def start(name):
        train_run(project / "train.yaml", overrides=[f"run={name}", "validation.sequences=null", *RUNS[name]])
        return project / "runs" / name

    return start
