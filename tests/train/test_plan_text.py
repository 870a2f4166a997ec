"""A plan as people read it: one name for one thing."""

from __future__ import annotations

import pytest

from curate.train.planner.request import train_plan
from curate.train.planner.text import plan_text


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text("dataset: chat\nrun: small\nbatch: {length: 512}\n")
    return lambda **options: plan_text(train_plan(path, overrides=[], **options))


def test_notes_name_runs_as_the_table_does(text):
    plan = text(tokens=3e8)
    assert plan.splitlines()[3].split() == ["the", "file", "1", "epoch", "4", "epochs", "16", "epochs", "preset", "30m"]
    assert "(the law was fitted from 70M to 16B parameters): the file, 1 epoch" in plan
    assert "epochs_" not in plan


def test_a_note_on_all_runs_says_so_and_the_advice_says_that_it_is_extrapolated(text):
    plan = text(tokens=1e6)
    assert "extrapolated (the law was fitted from 70M to 16B parameters): all of them" in plan
    assert "\nstart with (extrapolated: try the file's own values beside it)\n" in plan


@pytest.mark.parametrize(
    ("options", "machine"),
    [
        ({}, "1 device of unknown speed"),
        ({"devices": 4}, "4 devices of unknown speed"),
        ({"hardware": "h100"}, "1 x h100, "),
    ],
)
def test_the_machine_is_told(text, options, machine):
    assert f"; {machine}" in text(tokens=1e9, **options)
