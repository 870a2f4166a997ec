"""Every objective through the whole loop, on a few rows: it learns, and its runs are exact.

Rows and settings are in tiny_tasks.py. Two processes are compared with one without dropout, which each of them draws
for its own rows.
"""

from __future__ import annotations

import json
import math

import pytest

from curate.train.folder import read_metrics
from tests.train.tiny_tasks import CASES

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_processes")]

SHORT = {"steps": 8, "checkpoint_every": 3, "validation": {"every": 4}}
"""Of a run that is interrupted after step 5, and goes on from step 3."""
OPTIMIZERS = {
    "adamw": {"kind": "adamw"},
    "sgd": {"kind": "sgd", "learning_rate": 0.1},
    "muon": {"kind": "muon"},
}


def losses(folder):
    return [record["loss"] for record in read_metrics(folder.metrics)]


def validations(folder):
    return [record["validation"] for record in read_metrics(folder.metrics) if "validation" in record]


# ---- it learns


@pytest.mark.parametrize("name", CASES)
def test_an_objective_learns_its_rows(trained, name):
    case = CASES[name]
    values = [record[case.better] for record in read_metrics(trained(name).metrics)]
    first, last = sum(values[:3]) / 3, sum(values[-3:]) / 3
    assert last > first + case.by if case.better == "reward" else last < first * (1 - case.by)


@pytest.mark.parametrize("name", CASES)
def test_the_result_has_the_metrics_of_the_objective(trained, name):
    result = json.loads((trained(name, **SHORT).path / "result.json").read_text())
    assert set(result["validation"]) == {"bits_per_byte", *CASES[name].metrics}
    assert all(math.isfinite(result["validation"][metric]) for metric in CASES[name].metrics)
    assert (result["steps"], result["stopped_early"]) == (8, False)


# ---- exact


@pytest.mark.parametrize("name", CASES)
def test_a_resumed_run_of_every_objective_equals_a_straight_one_to_the_bit(trained, parameters, name):
    straight = trained(name, "straight", **SHORT)
    trained(name, "resumed", until=5, **SHORT)
    resumed = trained(name, "resumed", **SHORT)
    assert parameters(resumed) == parameters(straight)
    assert (losses(resumed), validations(resumed)) == (losses(straight), validations(straight))
    assert resumed.result()["weights"] == straight.result()["weights"]


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_resumed_run_of_every_optimizer_with_an_average_equals_a_straight_one(
    trained, parameters, optimizer, asynchronous
):
    settings = {**SHORT, "optimizer": {**OPTIMIZERS[optimizer], "average": 0.8}}
    straight = trained("causal", "straight", **settings)
    settings["checkpoint_async"] = asynchronous
    trained("causal", "resumed", until=5, **settings)
    resumed = trained("causal", "resumed", **settings)
    assert parameters(resumed) == parameters(straight)
    assert validations(resumed) == validations(straight)


# ---- two processes


@pytest.mark.parametrize("name", CASES)
def test_two_processes_have_the_losses_of_one(trained, name):
    one = trained(name, "one", dropout=0.0, **SHORT)
    two = trained(name, "two", dropout=0.0, processes=2, **SHORT)
    assert losses(two) == pytest.approx(losses(one), abs=1e-5)
    assert validations(two)[-1] == pytest.approx(validations(one)[-1], rel=1e-4)


@pytest.mark.parametrize("name", ["causal", "classification", "preference", "reinforcement"])
def test_two_processes_that_go_on_equal_two_that_went_straight_to_the_bit(trained, parameters, name):
    straight = trained(name, "straight", processes=2, **SHORT)
    trained(name, "resumed", processes=2, until=5, **SHORT)
    resumed = trained(name, "resumed", processes=2, **SHORT)
    assert parameters(resumed) == parameters(straight)
    assert losses(resumed) == losses(straight)
