"""Rewards in processes of their own: the real ones, which hang, die and eat memory."""

from __future__ import annotations

import time

import psutil
import pytest

from curate.errors import CurateError
from curate.train.rewards.completion import Completion
from curate.train.rewards.judges import Judges, _verdict
from curate.train.rewards.load import Verdict
from curate.train.settings.rewards import FunctionReward, NumberReward, RewardLimits

TOLD = FunctionReward(function="tests.train.reward_functions:as_told", name="told")


def of(*completions, answer="1"):
    return [Completion("", completion, answer, {}, 0, True) for completion in completions]


def verdicts(judges, *completions, **settings):
    return [one for (one,) in judges(of(*completions), range(len(completions)), **settings)]


@pytest.fixture(scope="module")
def judges():
    with Judges([TOLD], RewardLimits(seconds=1, memory=64)) as made:
        yield made


@pytest.mark.parametrize(
    ("completion", "problem"),
    [
        ("hang", "the reward `told` took more than 1 s"),
        ("spin", "the reward `told` took more than 1 s"),
        ("die", "the process of the reward `told` died (exit -9)"),
        ("exit", "the reward `told` failed with SystemExit"),
        ("raise", "the reward `told` failed with ValueError"),
        ("eat", "the reward `told` needs more memory than `reward_limits.memory`"),
        ("nothing", "the reward `told` gave a NoneType"),
        ("nan", "the reward `told` gave nan"),
        ("inf", "the reward `told` gave inf"),
    ],
)
@pytest.mark.slow
def test_a_reward_that_fails_costs_its_own_completion(judges, completion, problem):
    first, bad, last = verdicts(judges, "1", completion, "1")
    assert (first.value, last.value) == (1.0, 1.0)
    assert (bad.value, bad.problem) == (None, problem)


@pytest.mark.slow
def test_what_a_reward_prints_is_no_verdict(judges):
    assert [one.value for one in verdicts(judges, "print", "1")] == [0.0, 1.0]


@pytest.mark.slow
def test_a_child_that_comes_back_from_a_reward_judges_nothing(judges):
    found = verdicts(judges, "97", "fork", "98", "99", "100", *["1"] * 200)
    assert [one.value for one in found] == [97, 0, 98, 99, 100, *[1] * 200]


@pytest.mark.slow
@pytest.mark.parametrize("said", ["garbage", "[1]", "{}", "late"])
def test_a_worker_that_says_what_is_no_verdict_is_lost_and_no_other_verdict_moves(judges, said):
    found = verdicts(judges, "97", said, "98", "99")
    assert [one.value for one in found] == [97, None, 98, 99]
    assert found[1].problem == "the process of the reward `told` said what is no verdict"


@pytest.mark.parametrize(
    "message",
    [{}, {"number": 1}, {"number": 1, "value": "1", "problem": None, "hint": None}, {"ready": True},
     {"number": 1, "value": None, "problem": None, "hint": None}, {"number": 2, "value": 1.0, "problem": None, "hint": None},
     {"number": 1, "value": float("nan"), "problem": None, "hint": None}],
)  # fmt: skip
def test_only_a_number_or_a_reason_for_the_question_that_was_asked_is_a_verdict(message):
    assert _verdict(message, 1) is None
    assert _verdict({"number": 1, "value": 0.5, "problem": None, "hint": None}, 1) == Verdict(0.5)


@pytest.mark.slow
def test_whoever_waits_is_told_that_it_goes_on(judges):
    beats = []
    verdicts(judges, "hang", "hang", "hang", beat=lambda: beats.append(time.monotonic()))
    assert beats


@pytest.mark.slow
def test_a_worker_that_died_while_nothing_was_asked_of_it_is_replaced(judges):
    verdicts(judges, "1")
    worker = judges.workers[0].process
    worker.kill()
    worker.wait()
    assert [one.value for one in verdicts(judges, "1")] == [1.0]


@pytest.mark.slow
def test_verdicts_come_in_order_whoever_gives_them():
    with Judges([TOLD, NumberReward()], RewardLimits(workers=3)) as judges:
        found = judges(of("1", "0", "1", "2", "0", "1"), range(6))
        assert [[one.value for one in both] for both in found] == [[1, 1], [0, 0], [1, 1], [0, 0], [0, 0], [1, 1]]
        assert len(judges.workers) == 3


@pytest.mark.slow
def test_a_reward_that_draws_draws_the_same_for_the_same_sample():
    drawn = FunctionReward(function="tests.train.reward_functions:drawn")
    found = []
    for order in ([7, 8, 9], [9, 8, 7]):
        with Judges([drawn], RewardLimits()) as judges:
            given = judges(of("", "", ""), order)
            found.append({sample: one.value for sample, (one,) in zip(order, given, strict=True)})
    assert found[0] == found[1]
    assert len(set(found[0].values())) == 3


@pytest.mark.slow
def test_workers_end_with_what_asked_them():
    with Judges([TOLD], RewardLimits()) as judges:
        (worker,) = judges.workers
    assert not psutil.pid_exists(worker.process.pid)
    assert worker.process.returncode is not None


@pytest.mark.slow
def test_a_reward_that_cannot_be_loaded_is_refused_when_the_workers_start():
    with (
        Judges([FunctionReward(function="nowhere:at_all")], RewardLimits()) as judges,
        pytest.raises(CurateError, match="reward `nowhere:at_all` cannot be imported: ModuleNotFoundError"),
    ):
        judges.wait()


@pytest.mark.slow
def test_a_module_that_ends_the_process_is_told(tmp_path, monkeypatch):
    (tmp_path / "module_that_ends.py").write_text("import os\nos._exit(3)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with (
        Judges([FunctionReward(function="module_that_ends:reward")], RewardLimits()) as judges,
        pytest.raises(CurateError, match=r"the process of the rewards died \(exit 3\) before it was ready"),
    ):
        judges.wait()


@pytest.mark.slow
@pytest.mark.usefixtures("quick_processes")
@pytest.mark.parametrize("processes", [1, 2])
def test_rewards_that_take_longer_than_a_step_may_are_no_hang(trained, processes):
    """Eight of 1.6 s for a step of at most 10 s; the second process has less to judge, and waits."""
    objective = {"kind": "reinforcement", "reward": "tests.train.reward_functions:slow", "group": 2, "new_tokens": 2}
    folder = trained(
        "reinforcement", processes=processes, timeout=10.0, steps=1, objective=objective,
        batch={"sequences": 4}, validation={"sequences": 1},
    )  # fmt: skip
    assert folder.result()["steps"] == 1


@pytest.mark.slow
def test_a_reward_that_hangs_ends_a_run_naming_the_prompt(trained):
    objective = {"kind": "reinforcement", "reward": "tests.train.reward_functions:slow", "group": 2, "new_tokens": 2}
    with pytest.raises(CurateError) as error:
        trained("reinforcement", steps=1, objective={**objective, "reward_limits": {"seconds": 0.3}})
    assert error.value.problem == "the reward `tests.train.reward_functions:slow` took more than 0.3 s"
    assert error.value.where.startswith("prompt ")
    assert error.value.hint == "`objective.reward_limits.failed: 0` counts it, and goes on"
