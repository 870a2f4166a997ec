"""A project with a dataset of rows for every objective, and training in it as on the command line."""

from __future__ import annotations

import json
import shutil

import pytest

from curate import run as run_pipeline
from curate.errors import CurateError
from curate.train.run import train_run
from tests.train.tiny_tasks import rows_of

TRAIN = """dataset: rows
run: small
steps: 4
checkpoint_every: 2
model: {layers: 2, width: 16, heads: 2, key_value_heads: 1, feed_forward: 32}
tokenizer: {vocabulary: 290}
batch: {sequences: 4, length: 32}
validation: {every: 4, sequences: 8}
"""
PIPELINE = """dataset: rows
sources: [{stage: files, paths: [rows.jsonl]}]
stages: [{stage: split, column: part}]
"""


def columns_of(count, seed=0, **changed):
    """Columns for every objective, by name."""
    found = {}
    for kind in ("scored", "tagged", "conversation", "prompt", "labelled", "text"):
        rows = rows_of(kind, count, seed)
        names = {"scored": {"label": "score"}, "tagged": {"label": "tags"}}.get(kind, {})
        found |= {names.get(name, name): values for name, values in rows.items()}
    return {**found, **changed}


def write_dataset(folder, columns, parts=None):
    """A version of the dataset `rows`; unless told otherwise three rows of four are of the train split."""
    count = len(columns["text"])
    columns["part"] = parts or ["validation" if number % 4 == 3 else "train" for number in range(count)]
    columns["id"] = [f"row-{number}" for number in range(count)]
    lines = (json.dumps(dict(zip(columns, values, strict=True))) for values in zip(*columns.values(), strict=True))
    (folder / "rows.jsonl").write_text("\n".join(lines))
    (folder / "pipeline.yaml").write_text(PIPELINE)
    run_pipeline(folder / "pipeline.yaml", workers=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store with a version."""
    folder = tmp_path_factory.mktemp("made")
    write_dataset(folder, columns_of(32))
    return folder


@pytest.fixture
def project(made, tmp_path):
    """A copy of the store with a training file beside it."""
    shutil.copytree(made / ".curate", tmp_path / ".curate")
    (tmp_path / "train.yaml").write_text(TRAIN)
    return tmp_path


@pytest.fixture
def train(project):
    """Train with changes of the file: `train("run=b", "steps=2", allow=["steps"])`."""

    def start(*changes, **options):
        return train_run(project / "train.yaml", overrides=list(changes), **options)

    return start


@pytest.fixture
def refused(train):
    """Train, and give what is said: problem, where, hint."""

    def start(*changes, **options):
        with pytest.raises(CurateError) as error:
            train(*changes, **options)
        return error.value.problem, error.value.where, error.value.hint

    return start
