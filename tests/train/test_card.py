from __future__ import annotations

import json

import pytest

from curate.train.runs.card import model_card, write_card
from curate.train.runs.folder import RunFolder

DATA = {
    "dataset": "topics",
    "version": "a1b2c3d4e5f60718",
    "tokenizer": "feed",
    "tokens": "beef",
    "splits": {
        "train": {"documents": 36, "tokens": 60000, "text_bytes": 200000},
        "validation": {"documents": 4, "tokens": 3000, "text_bytes": 10000},
    },
}
ENVIRONMENT = {
    "python": "3.11.9",
    "platform": "Linux-6",
    "versions": {"torch": "2.13.0", "curate-lm": "0.1.0"},
    "processes": 2,
    "threads": 1,
    "cuda": None,
}
RESULT = {
    "schema": 1,
    "run": "small",
    "checkpoint": "checkpoints/step-000012",
    "steps": 12,
    "stopped_early": False,
    "tokens": 1536,
    "loss": 5.43219,
    "validation": {"bits_per_byte": 2.34567, "tokens": 3000, "bytes": 10000, "table": [1]},
    "tokens_per_second": 1000.0,
    "parameters": 31328,
    "dataset_version": "a1b2c3d4e5f60718",
    "tokenizer": "feed",
    "weights": "c0ffee",
}
CARD = """\
# small

A decoder with 31,328 parameters that has learned the next token from those before it.

## Data

| dataset | version | split | documents | tokens |
|---|---|---|---:|---:|
| topics | `a1b2c3d4e5f6` | train | 36 | 60,000 |
| topics | `a1b2c3d4e5f6` | validation | 4 | 3,000 |

## Training

- 12 steps, 1,536 tokens, with fp32

Settings that are not the defaults:

| setting | value |
|---|---|
| `dataset` | tiny |
| `run` | small |
| `steps` | 12 |
| `checkpoint_every` | 4 |
| `model.layers` | 2 |
| `model.width` | 32 |
| `model.heads` | 2 |
| `model.key_value_heads` | 1 |
| `model.feed_forward` | 64 |
| `batch.sequences` | 4 |
| `batch.length` | 32 |
| `schedule.warmup` | 2 |
| `validation.every` | 6 |
| `validation.sequences` | 8 |

## Results

| | |
|---|---:|
| training loss at the last step | 5.4322 |
| validation: bits per byte | 2.3457 |
| validation: bytes | 10,000 |
| validation: tokens | 3,000 |

## Limits

- It knows what is in these texts, with their errors and gaps; it was not tested for safety or bias.
- It has seen sequences of at most 32 tokens.
- Results are of the validation split, which comes from the same sources as the training texts.
- The licenses of the texts are in the datasets' versions, and were not judged here.

## To make it again

The same data, settings, processes, threads and versions give the same weights, to the bit.

| | |
|---|---|
| sha256 of weights | `c0ffee` |
| sha256 of tokenizer | `feed` |
| sha256 of dataset version | `a1b2c3d4e5f60718` |
| device | CPU |
| processes, threads of each | 2, 1 |
| versions | Python 3.11.9, curate-lm 0.1.0, torch 2.13.0 |
"""


@pytest.fixture
def complete(tmp_path, tiny):
    """The folder of a complete run: `complete(data=..., result=..., seed=2)`."""

    def build(*, data=DATA, result=RESULT, **settings):
        folder = RunFolder(tmp_path)
        folder.write("config.json", {"config": tiny(**settings).model_dump(mode="json"), "data": data})
        folder.write("environment.json", ENVIRONMENT)
        folder.write("result.json", result)
        return folder

    return build


def test_the_card_has_data_training_results_limits_and_hashes(complete):
    assert model_card(complete()) == CARD


def test_the_card_is_written_into_the_folder(complete):
    folder = complete()
    write_card(folder)
    assert (folder.path / "README.md").read_text() == CARD


def test_what_happened_on_the_way_is_told(complete):
    folder = complete(result={**RESULT, "stopped_early": True, "checkpoint": "checkpoints/step-000008"})
    change = {"step": 4, "name": "seed", "was": 1, "is": 2}
    (folder.path / "changes.jsonl").write_text(json.dumps(change) + "\n")
    records = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": None, "skipped": True}]
    folder.metrics.write_text("".join(json.dumps(record) + "\n" for record in records))
    card = model_card(folder)
    assert "- stopped early: the weights are those of `checkpoints/step-000008`, the best in validation" in card
    assert "- steps skipped, because loss or gradients were not finite: 1" in card
    assert "- `seed` was changed after step 4: from 1 to 2" in card


def test_the_kind_of_an_objective_is_named_with_its_settings(complete):
    card = model_card(complete(objective={"kind": "multi_token", "heads": 2}, lora={"rank": 4}))
    assert "that has learned the next tokens, several at once." in card
    assert "Only adapters of rank 4 were trained." in card
    assert "| `objective.kind` | multi_token |\n| `objective.heads` | 2 |" in card
    assert "| `lora.rank` | 4 |" in card


def test_every_kind_of_objective_has_its_words():
    from typing import get_args

    from curate.train.runs.card import _OBJECTIVES
    from curate.train.settings.methods import ObjectiveSettings

    kinds = {settings.model_fields["kind"].default for settings in get_args(get_args(ObjectiveSettings)[0])}
    assert set(_OBJECTIVES) == kinds


def test_several_datasets_are_told_by_name(complete):
    other = {**DATA, "dataset": "books", "version": "ffff", "splits": {"train": {"documents": 2, "tokens": 20}}}
    card = model_card(complete(data={"topics": DATA, "tagging": other}))
    assert "| topics | `a1b2c3d4e5f6` | train | 36 | 60,000 |" in card
    assert "| books (tagging) | `ffff` | train | 2 | 20 |" in card


def test_without_validation_the_card_says_so(complete):
    data = {**DATA, "splits": {"train": DATA["splits"]["train"]}}
    card = model_card(complete(data=data, result={**RESULT, "validation": {"bits_per_byte": None}}))
    assert "- There was no validation split: nothing here tells how it does on other texts." in card
    assert "validation: bits" not in card


def test_a_value_cannot_break_the_table(complete):
    folder = complete(data=DATA)
    content = json.loads((folder.path / "config.json").read_text())
    content["config"]["model"]["path"] = "a|b\nc"
    folder.write("config.json", content)
    card = model_card(folder)
    assert "It began with the weights of `a\\|b c`." in card
    assert "| `model.path` | a\\|b c |" in card
