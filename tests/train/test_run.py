"""What a run does when a step goes wrong, and when validation gets worse."""

from __future__ import annotations

import json
import sys

import pytest

from curate.errors import CurateError
from curate.train.runs.metrics import read_metrics
from curate.train.trainer import Trainer
from curate.train.weights.checkpoint import checkpoints


@pytest.fixture
def bad_data(monkeypatch):
    """The loss is not finite on the data of these steps (from 1)."""
    real = Trainer._backward

    def poison(*steps):
        seen = {}
        real_step = Trainer.step

        def step(self, number, *, offset=0):
            seen["data"] = number + offset
            return real_step(self, number, offset=offset)

        def backward(self, piece, scale):
            loss = real(self, piece, scale)
            return loss._replace(total=loss.total * float("nan")) if seen["data"] in steps else loss

        monkeypatch.setattr(Trainer, "step", step)
        monkeypatch.setattr(Trainer, "_backward", backward)

    return poison


def steps_of(folder):
    return [(record["step"], record["loss"] is None) for record in read_metrics(folder.metrics)]


def test_a_step_whose_loss_is_not_finite_is_left_out(run, tiny, bad_data):
    bad_data(5)
    folder = run(tiny(steps=8))
    assert [step for step, left_out in steps_of(folder) if left_out] == [5]
    assert json.loads((folder.path / "result.json").read_text())["steps"] == 8


def test_a_run_beats_in_each_batch_of_validation_and_with_each_tensor_that_it_saves(run, tiny, monkeypatch):
    beats = []
    monkeypatch.setattr("curate.train.runs.watchdog.Watchdog.beat", lambda self: beats.append(1))

    def counted(name, sequences):
        beats.clear()
        folder = run(tiny(steps=1, validation={"every": 1, "sequences": sequences}), name)
        return folder, len(beats)

    folder, few = counted("few", 4)
    assert counted("many", 24)[1] == few + 5
    tensors = json.loads((checkpoints(folder.checkpoints)[-1] / "checkpoint.json").read_text())["tensors"]
    assert few > len(tensors) > 20


def test_a_run_that_leaves_out_its_last_step_still_ends_with_a_checkpoint(run, tiny, bad_data):
    bad_data(8)
    folder = run(tiny(steps=8, checkpoint_every=3))
    assert checkpoints(folder.checkpoints)[-1].name == "step-000008"


def test_a_run_of_which_every_step_is_left_out_ends_without_a_loss(run, tiny, bad_data):
    bad_data(1, 2)
    folder = run(tiny(steps=2))
    result = json.loads((folder.path / "result.json").read_text())
    assert (result["loss"], result["validation"]) == (None, {"bits_per_byte": None})


def test_after_too_many_bad_steps_the_run_goes_back_and_leaves_their_data_out(run, tiny, bad_data):
    bad_data(6, 7, 8)
    folder = run(tiny(steps=12, checkpoint_every=4))
    assert [step for step, _ in steps_of(folder)] == list(range(1, 13))
    assert not any(left_out for _, left_out in steps_of(folder))


def test_going_back_continues_from_the_checkpoint_on_the_data_after_the_bad_one(run, tiny, bad_data):
    bad_data(6, 7, 8)
    gone_back = run(tiny(steps=12, checkpoint_every=4))
    state = json.loads((checkpoints(gone_back.checkpoints)[-1] / "checkpoint.json").read_text())["state"]
    assert (state["offset"], state["rewinds"]) == (4, 1)


def test_a_loss_that_stays_bad_ends_the_run_with_advice(run, tiny, bad_data):
    bad_data(*range(6, 40))
    with pytest.raises(CurateError, match=r"step \d+: the loss is nan") as error:
        run(tiny(steps=12, checkpoint_every=4))
    assert "learning_rate" in error.value.hint


def test_without_guard_the_first_bad_step_ends_the_run(run, tiny, bad_data):
    bad_data(2)
    with pytest.raises(CurateError, match="step 2: the loss is nan"):
        run(tiny(guard={"skip": 0, "rewind": 0}))


@pytest.fixture
def worsening(monkeypatch):
    """Validation gives these bits per byte, one after the other."""

    def give(*values):
        left = list(values)
        monkeypatch.setattr(Trainer, "validate", lambda self, beat: {"bits_per_byte": left.pop(0), "loss": 1.0})

    return give


def test_training_ends_early_when_validation_gets_worse_and_keeps_the_best(run, tiny, worsening):
    worsening(3.0, 2.0, 2.5, 2.4, 9.0)
    folder = run(tiny(steps=20, validation={"every": 2}, checkpoint_every=3, early_stopping={"patience": 2}))
    result = json.loads((folder.path / "result.json").read_text())
    assert (result["steps"], result["checkpoint"], result["stopped_early"]) == (8, "checkpoints/step-000004", True)
    assert result["validation"]["bits_per_byte"] == 2.0
    assert (folder.path / result["checkpoint"]).is_dir()


def test_the_hash_of_the_weights_is_that_of_the_best_checkpoint(run, tiny, worsening):
    worsening(3.0, 2.0, 2.5, 2.4)
    stopped = run(
        tiny(steps=20, validation={"every": 2}, early_stopping={"patience": 2}, schedule={"kind": "constant"})
    )
    worsening(3.0, 2.0)
    straight = run(tiny(steps=4, validation={"every": 2}, schedule={"kind": "constant"}), "straight")
    hashes = [json.loads((folder.path / "result.json").read_text())["weights"] for folder in (stopped, straight)]
    assert hashes[0] == hashes[1]


def test_the_best_checkpoint_is_what_is_tested(run, tiny, worsening, text_pack):
    packs = {"": text_pack(train=["one two three four"] * 20, validation=["four five"] * 4, test=["six seven"] * 4)}
    stop = {"early_stopping": {"patience": 2}, "schedule": {"kind": "constant"}, "pack": packs}
    tested = {"every": 2, "test": True}

    def test(name, **settings):
        pack = settings.pop("pack")
        folder = run(tiny(validation=tested, **settings), name, pack)
        return json.loads((folder.path / "result.json").read_text())["test"]

    worsening(3.0, 2.0, 2.5, 2.4)
    stopped = test("stopped", steps=20, **stop)
    worsening(3.0, 2.0)
    straight = test("straight", steps=4, schedule={"kind": "constant"}, pack=packs)
    assert stopped == straight


def test_a_change_too_small_is_no_improvement(run, tiny, worsening):
    worsening(3.0, 2.95, 2.9)
    folder = run(tiny(steps=20, validation={"every": 2}, early_stopping={"patience": 2, "least": 0.2}))
    assert json.loads((folder.path / "result.json").read_text())["steps"] == 6


def test_a_run_leaves_the_way_in_which_errors_are_told(run, tiny):
    hook = sys.excepthook
    run(tiny(steps=1))
    assert sys.excepthook is hook
