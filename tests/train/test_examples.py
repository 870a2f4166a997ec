from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from curate.train.settings.file import load_config
from curate.train.settings.methods import ObjectiveSettings

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "train").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_a_valid_training_file(path):
    config = load_config(path)
    assert config.dataset and config.run


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_begins_by_saying_what_it_is(path):
    assert path.read_text().startswith("# ")


def test_no_two_examples_have_the_same_run_folder():
    runs = [load_config(path).run for path in EXAMPLES]
    assert len(set(runs)) == len(runs)


def objectives(config):
    tasks = config.tasks.values() if config.tasks else [config]
    return {task.objective.kind for task in tasks}


def test_every_objective_has_an_example():
    known = {kind.model_fields["kind"].default for kind in get_args(get_args(ObjectiveSettings)[0])}
    shown = {kind for path in EXAMPLES for kind in objectives(load_config(path))}
    assert shown == known


@pytest.mark.parametrize("method", ["lora", "adversarial", "curriculum", "early_stopping", "tasks"])
def test_every_method_has_an_example(method):
    assert any(getattr(load_config(path), method) is not None for path in EXAMPLES)
