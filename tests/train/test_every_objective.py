"""Every objective through the whole loop, on a few rows: it learns, and its runs are exact.

Rows and settings are in tiny_tasks.py. Two processes are compared with one without dropout, which each of them draws
for its own rows.
"""

from __future__ import annotations

import json
import math

import pytest

from curate.train.runs.metrics import read_metrics
from curate.train.weights.checkpoint import checkpoints, tensor_shapes
from tests.train.tiny_tasks import CASES

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_processes")]

SHORT = {"steps": 8, "checkpoint_every": 3, "validation": {"every": 4}}
"""Of a run that is interrupted after step 5, and goes on from step 3."""
OPTIMIZERS = {
    "adamw": {"kind": "adamw"},
    "sgd": {"kind": "sgd", "learning_rate": 0.1},
    "muon": {"kind": "muon"},
}


UNLIKE = {"seconds", "tokens_per_second", "memory_bytes", "mfu"}
"""What of a step's record depends on the machine."""


def losses(folder):
    return [record["loss"] for record in read_metrics(folder.metrics)]


def records(folder):
    return [
        {name: value for name, value in record.items() if name not in UNLIKE} for record in read_metrics(folder.metrics)
    ]


@pytest.fixture(scope="module")
def learned():
    """Runs of 32 steps, by the names of their cases."""
    return {}


@pytest.fixture
def learn(trained, learned):
    """The run of a case to its end, which several tests look at."""

    def train(name):
        if name not in learned:
            learned[name] = trained(name, validation={"sequences": None})
        return learned[name]

    return train


# ---- it learns


@pytest.mark.parametrize("name", CASES)
def test_an_objective_learns_its_rows(learn, name):
    case = CASES[name]
    values = [record[case.better] for record in read_metrics(learn(name).metrics)]
    first, last = sum(values[:3]) / 3, sum(values[-3:]) / 3
    assert last > first + case.by if case.better == "reward" else last < first * (1 - case.by)


@pytest.mark.parametrize("name", CASES)
def test_the_result_has_the_metrics_of_the_objective_on_rows_not_seen(learn, name):
    case, result = CASES[name], json.loads((learn(name).path / "result.json").read_text())
    found = result["validation"]
    assert set(found) == {"bits_per_byte", *case.metrics}
    assert all(math.isfinite(found[metric]) for metric in case.metrics)
    metric, value = case.reached
    assert found[metric] <= value if metric.startswith("loss") else found[metric] >= value


def test_heads_of_several_tokens_are_added_to_a_model_that_is_there(trained, tiny_origins):
    """And do not take the place of its last layers."""
    folder = trained("multi_token", model={"path": str(tiny_origins("gpt2", 0.0))}, **SHORT)
    names = tensor_shapes(checkpoints(folder.checkpoints)[-1])
    modules = {".".join(name.split(".")[:3]) for name in names if name.startswith(("model.blocks", "heads"))}
    assert {"model.blocks.0", "model.blocks.1"} < modules
    assert any(name.startswith("heads.1.") for name in modules)


# ---- exact


@pytest.mark.parametrize("name", CASES)
def test_a_resumed_run_of_every_objective_equals_a_straight_one_to_the_bit(trained, parameters, name):
    straight = trained(name, "straight", **SHORT)
    trained(name, "resumed", until=5, **SHORT)
    resumed = trained(name, "resumed", **SHORT)
    assert parameters(resumed) == parameters(straight)
    assert records(resumed) == records(straight)
    assert resumed.result()["weights"] == straight.result()["weights"]


@pytest.mark.parametrize(("optimizer", "asynchronous"), [("adamw", True), ("sgd", False), ("muon", True)])
def test_a_resumed_run_of_every_optimizer_with_an_average_equals_a_straight_one(
    trained, parameters, optimizer, asynchronous
):
    """Each optimizer with either way to save is in test_exact.py."""
    settings = {**SHORT, "optimizer": {**OPTIMIZERS[optimizer], "average": 0.8}}
    straight = trained("causal", "straight", **settings)
    settings["checkpoint_async"] = asynchronous
    trained("causal", "resumed", until=5, **settings)
    resumed = trained("causal", "resumed", **settings)
    assert parameters(resumed) == parameters(straight)
    assert records(resumed) == records(straight)


# ---- two processes


@pytest.mark.parametrize("name", CASES)
def test_two_processes_with_two_pieces_each_have_the_losses_of_one(trained, name):
    one = trained(name, "one", dropout=0.0, **SHORT)
    two = trained(name, "two", dropout=0.0, processes=2, batch={"accumulate": 2}, **SHORT)
    assert losses(two) == pytest.approx(losses(one), abs=1e-5)
    for found, wanted in zip(records(two), records(one), strict=True):
        validation = found.pop("validation", {}), wanted.pop("validation", {})
        assert found == pytest.approx(wanted, rel=1e-4, abs=1e-5)
        # a correlation of nine examples moves most: 1.2e-4 on some CPUs
        assert validation[0] == pytest.approx(validation[1], rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_two_processes_with_every_optimizer_have_the_losses_of_one(trained, optimizer):
    settings = {**SHORT, "optimizer": {**OPTIMIZERS[optimizer], "average": 0.8}, "dropout": 0.0}
    one, two = (trained("causal", f"{count}", processes=count, **settings) for count in (1, 2))
    assert losses(two) == pytest.approx(losses(one), abs=1e-5)


@pytest.mark.parametrize("name", ["causal", "classification", "preference", "reinforcement"])
def test_two_processes_that_go_on_equal_two_that_went_straight_to_the_bit(trained, parameters, name):
    straight = trained(name, "straight", processes=2, **SHORT)
    trained(name, "resumed", processes=2, until=5, **SHORT)
    resumed = trained(name, "resumed", processes=2, **SHORT)
    assert parameters(resumed) == parameters(straight)
    assert records(resumed) == records(straight)
