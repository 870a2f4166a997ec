from __future__ import annotations

import sys
from types import ModuleType

import pytest

from curate.errors import CurateError
from curate.train.runs.folder import RunFolder
from curate.train.runs.logs import Logs, scalars


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path)


def record(step, **more):
    return {"step": step, "loss": 1.0 / step, "tokens": 10 * step, **more}


def events(folder, name):
    """(step, value) of a metric, as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder.tensorboard))
    found.Reload()
    return [(event.step, round(event.value, 4)) for event in found.Scalars(name)]


def test_without_logs_nothing_is_written(folder, tiny):
    with Logs(tiny(), folder) as logs:
        logs(record(1))
    assert list(folder.path.iterdir()) == []


def test_tensorboard_has_the_numbers_of_each_step(folder, tiny):
    with Logs(tiny(log={"tensorboard": True}), folder) as logs:
        logs(record(1))
        logs(record(2, validation={"accuracy": 0.5, "table": [1, 2]}))
    assert events(folder, "loss") == [(1, 1.0), (2, 0.5)]
    assert events(folder, "validation/accuracy") == [(2, 0.5)]


def test_a_run_that_goes_on_has_each_step_once_in_tensorboard(folder, tiny):
    config = tiny(log={"tensorboard": True})
    for steps in [(1, 2, 3, 4, 5), (4, 5, 6)]:  # killed after step 5, with a checkpoint of step 3
        with Logs(config, folder) as logs:
            for step in steps:
                logs(record(step))
    assert [step for step, _ in events(folder, "loss")] == [1, 2, 3, 4, 5, 6]


def test_a_run_that_goes_back_by_itself_has_each_step_once_in_tensorboard(folder, tiny):
    with Logs(tiny(log={"tensorboard": True}), folder) as logs:
        for step in (1, 2, 3, 2, 3, 4):
            logs(record(step))
    assert [step for step, _ in events(folder, "loss")] == [1, 2, 3, 4]


def test_tensorboard_that_is_not_installed_is_told_before_the_first_step(folder, tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(CurateError, match="needs tensorboard, which is not installed") as error:
        Logs(tiny(log={"tensorboard": True}), folder)
    assert error.value.hint == "pip install 'curate-lm[train]'"


@pytest.fixture
def wandb(monkeypatch):
    """A module that remembers its calls."""
    calls = []

    class Run:
        def log(self, values, *, step):
            calls.append(("log", step, values))

        def finish(self):
            calls.append(("finish",))

    module = ModuleType("wandb")
    module.init = lambda **given: calls.append(("init", given)) or Run()
    monkeypatch.setitem(sys.modules, "wandb", module)
    return calls


def test_weights_and_biases_gets_settings_and_numbers(folder, tiny, wandb):
    config = tiny(log={"wandb": "my-project"})
    with Logs(config, folder) as logs:
        logs(record(1, validation={"loss": 2.0}))
    (_, given), logged, finished = wandb
    assert given["project"] == "my-project"
    assert (given["name"], given["resume"]) == ("small", "allow")
    assert given["config"]["steps"] == config.steps
    assert logged == ("log", 1, {"loss": 1.0, "tokens": 10.0, "validation/loss": 2.0})
    assert finished == ("finish",)


def test_a_run_that_goes_on_is_the_same_in_weights_and_biases(folder, tiny, wandb):
    for _ in range(2):
        with Logs(tiny(log={"wandb": "my-project"}), folder):
            pass
    first, second = (call[1]["id"] for call in wandb if call[0] == "init")
    assert first == second
    assert first.startswith("small-")


def test_weights_and_biases_that_is_not_installed_is_told(folder, tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(CurateError, match=r"`log.wandb` needs wandb, which is not installed") as error:
        Logs(tiny(log={"wandb": "my-project"}), folder)
    assert error.value.hint == "pip install wandb"


def test_logs_are_closed_when_training_fails(folder, tiny, wandb):
    with pytest.raises(ZeroDivisionError), Logs(tiny(log={"wandb": "p"}), folder):
        raise ZeroDivisionError
    assert wandb[-1] == ("finish",)


def test_only_finite_numbers_are_logged():
    given = {"step": 3, "loss": None, "skipped": True, "norm": float("nan"), "a": {"b": {"c": 1}, "step": 2}, "d": "x"}
    assert dict(scalars(given)) == {"skipped": 1.0, "a/b/c": 1.0, "a/step": 2.0}
