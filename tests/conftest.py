"""Shared fixtures: the real data folder, one stage applied to a few texts, no network."""

from __future__ import annotations

import os
import signal

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import settings

from tests.oracles import real_data

# how long an example takes is the machine's business
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")

# a shell that starts the tests in the background lets them ignore Ctrl-C, which some of them send
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets."""
    return real_data()


def document_table(texts, **columns) -> pa.Table:
    """Texts as the engine hands them to a stage: ids `d0`, `d1`, ... and a source_uri each."""
    count = len(texts)
    return pa.table({
        "id": pa.array([f"d{i}" for i in range(count)], pa.string()),
        "text": pa.array(texts, pa.string()),
        "source_uri": pa.array([f"test#{i}" for i in range(count)], pa.string()),
        **columns,
    })  # fmt: skip


@pytest.fixture
def documents():
    return document_table


@pytest.fixture
def apply_stage():
    """Run one mapper, filter or audit on texts; gives (verdicts by row as dicts, new columns as lists by name)."""

    def apply(stage, texts, **columns):
        table = document_table(texts, **columns)
        if stage.kind == "mapper":
            verdicts, added = stage.open()(table)
        else:
            features = stage.open()(table)
            assert features.num_rows == table.num_rows
            added = {name: features.column(name) for name in features.column_names}
            verdicts = stage.decide(features) if stage.kind == "filter" else None
        rows = {row["row"]: row for row in verdicts.to_pylist()} if verdicts is not None else {}
        return rows, {name: column.to_pylist() for name, column in added.items()}

    return apply
