"""What is done when a worker is lost, for a backend without processes."""

from __future__ import annotations

import copy

import pytest

from curate.errors import CurateError
from curate.pipeline.backends.contract import Done, Failed, InternalError, carry_out
from curate.pipeline.calls import LOADING
from curate.pipeline.supervision import MOST_DEATHS, MOST_HANGS, Lost, Task, next_attempt

SHARD = Task(0, {"blame": {"careful": {}, "poison": {}, "cold": []}}, "a shard", 60.0)
READER = Task(0, {}, "reading `a`", 60.0)
BATCH, ONE, LOADS = ("it", 0, 1000), ("it", 7, 8), ("it", LOADING, LOADING)


def blame(task):
    return {name: held for name, held in task.spec["blame"].items() if held}


def attempts(task, *losses):
    """The task after each of these losses in turn."""
    for at, hung in losses:
        task = next_attempt(task, Lost(at, hung, "in a test"))
    return task


def test_a_shard_that_lost_its_worker_once_is_tried_as_it_is():
    again = attempts(SHARD, (BATCH, False))
    assert (blame(again), again.lost) == ({}, 1)


def test_a_shard_that_loses_another_worker_is_done_one_document_at_a_time():
    assert blame(attempts(SHARD, (BATCH, False), (BATCH, False))) == {"careful": {"it": [[0, 1000]]}}


def test_a_batch_that_hangs_is_not_tried_whole_again():
    assert blame(attempts(SHARD, (BATCH, True))) == {"careful": {"it": [[0, 1000]]}}


def test_a_document_that_hangs_alone_is_left_out():
    assert blame(attempts(SHARD, (ONE, True))) == {"poison": {"it": {"7": "time_limit"}}}


def test_a_document_is_left_out_when_it_costs_a_second_worker():
    assert "poison" not in blame(attempts(SHARD, (ONE, False)))
    assert blame(attempts(SHARD, (ONE, False), (ONE, False)))["poison"] == {"it": {"7": "worker_died"}}


def test_a_stage_that_dies_while_it_loads_is_called_without_loading_first_and_then_given_up():
    again = attempts(SHARD, (LOADS, False))
    assert blame(again) == {"cold": ["it"]}
    assert "killed" in attempts(again, *[(LOADS, False)] * (MOST_DEATHS - 1))


def test_a_task_in_which_no_document_can_be_blamed_is_given_up():
    assert attempts(READER, *[(None, False)] * (MOST_DEATHS - 1)).lost == MOST_DEATHS - 1
    assert "is there enough memory" in attempts(READER, *[(None, False)] * MOST_DEATHS)
    assert "did not finish in time" in attempts(READER, *[(None, True)] * MOST_HANGS)


def test_what_an_earlier_attempt_was_given_stays_as_it_was():
    before = copy.deepcopy(SHARD)
    attempts(SHARD, (ONE, True), (BATCH, True), (LOADS, False))
    assert before == SHARD


class Scripted:
    """A backend to which, in order, these things happen; then it does what waits."""

    def __init__(self, *outcomes):
        self.outcomes, self.given = list(outcomes), []

    def run(self, waiting):
        while waiting:
            self.given.append(waiting.popleft())
            yield self.given[-1], self.outcomes.pop(0) if self.outcomes else Done(self.given[-1].number)


def carried(*outcomes):
    """What was given to the backend, what came out, and what was said."""
    notes, backend = [], Scripted(*outcomes)
    done = list(carry_out(backend, [SHARD, READER], notes.append))
    return backend.given, [result for _, result in done], notes


def test_what_any_backend_loses_is_tried_again_before_what_waits():
    given, done, notes = carried(Lost(BATCH, True, "passed the time limit of 60 s"))
    assert [blame(task) for task in given[:2]] == [{}, {"careful": {"it": [[0, 1000]]}}]
    assert given[2] is READER
    assert done == [0, 0]
    assert notes == ["a worker passed the time limit of 60 s on a shard at stage `it`, documents 0-1000; trying again"]


def test_a_task_that_loses_a_backend_too_many_workers_ends_the_run():
    with pytest.raises(InternalError, match="a shard killed 8 workers; is there enough memory for it"):
        carried(*[Lost(None, False, "died (exit -9)")] * MOST_DEATHS)


def test_what_a_backend_says_of_a_failure_is_raised_as_what_it_was():
    told = CurateError("no such column", "pipeline.yaml:3", "columns: a, b")
    with pytest.raises(CurateError) as raised:
        carried(Failed("CurateError", told.records()))
    assert str(raised.value) == str(told)
    with pytest.raises(InternalError, match="a shard failed:\nhere in there"):
        carried(Failed("internal", [], "here in there"))
