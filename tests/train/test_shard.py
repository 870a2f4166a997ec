"""Every way to cut, copy, recompute or compile a model gives the losses of the plain one."""

from __future__ import annotations

import pytest

from curate.train.runs.metrics import read_metrics

pytestmark = pytest.mark.usefixtures("quick_processes")


def losses(folder):
    return [record["loss"] for record in read_metrics(folder.metrics)]


@pytest.fixture
def straight(run, tiny):
    return losses(run(tiny(steps=4), "straight"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"processes": 2},
        {"processes": 2, "parallel": {"replicate": 2}},
        {"processes": 4, "parallel": {"replicate": 2}},
    ],
    ids=["sharded", "replicated", "hybrid"],
)
def test_processes_that_share_or_copy_the_model_have_the_losses_of_one(run, tiny, straight, settings):
    assert losses(run(tiny(steps=4, **settings), "shared")) == pytest.approx(straight, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_processes_that_share_each_matrix_have_the_losses_of_one(run, tiny, processes):
    sizes = {"layers": 2, "width": 32, "heads": 2, "key_value_heads": 2, "feed_forward": 64}
    straight = losses(run(tiny(steps=4, model=sizes), "straight"))
    shared = run(tiny(steps=4, model=sizes, processes=processes, parallel={"tensor": 2}), "shared")
    assert losses(shared) == pytest.approx(straight, abs=1e-5)


@pytest.mark.slow
def test_a_run_begun_with_shared_matrices_goes_on_without(run, tiny, tmp_path):
    sizes = {"layers": 2, "width": 32, "heads": 2, "key_value_heads": 2, "feed_forward": 64}
    straight = run(tiny(model=sizes), "straight")
    run(tiny(model=sizes, steps=12, processes=2, parallel={"tensor": 2}), "moved", until=6)
    moved = run(tiny(model=sizes, steps=12), "moved")
    assert losses(moved) == pytest.approx(losses(straight), abs=1e-5)


def test_heads_that_cannot_be_shared_are_refused(run, tiny):
    from curate.errors import CurateError

    with pytest.raises(CurateError, match="1 heads cannot be shared by 2 processes"):
        run(tiny(processes=2, parallel={"tensor": 2}))


def test_activations_that_are_computed_again_change_no_bit(run, tiny, straight):
    assert losses(run(tiny(steps=4, recompute=True), "again")) == straight


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # asked for while tracing
def test_compiled_blocks_have_the_losses_of_plain_ones(run, tiny, straight):
    assert losses(run(tiny(steps=4, compile=True), "compiled")) == pytest.approx(straight, abs=1e-5)
