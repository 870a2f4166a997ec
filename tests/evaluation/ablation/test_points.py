"""Points of a sweep: what is varied is read as YAML, checked before anything is trained, and drawn by a seed."""

from __future__ import annotations

import pytest

from curate.errors import CurateError
from curate.evaluation.ablation.points import BASE, points_of
from curate.evaluation.ablation.trained import key_of
from tests.train.rows_project import TRAIN


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text(TRAIN + "mixture: {rows: 0.5, other: 0.5}\n")
    return path


def refused(file, *over, **options):
    with pytest.raises(CurateError) as error:
        points_of(file, over, **options)
    return error.value.problem, error.value.hint


def test_a_grid_is_every_combination_after_the_files_own_settings(file):
    found = points_of(file, ["optimizer.learning_rate=1e-3,4e-3", "batch.sequences=2,8"])
    assert [one.name for one in found] == [
        BASE,
        "optimizer.learning_rate=0.001, batch.sequences=2", "optimizer.learning_rate=0.001, batch.sequences=8",
        "optimizer.learning_rate=0.004, batch.sequences=2", "optimizer.learning_rate=0.004, batch.sequences=8",
    ]  # fmt: skip
    assert (found[4].config.optimizer.learning_rate, found[4].config.batch.sequences) == (0.004, 8)
    assert found[4].overrides == ["optimizer.learning_rate=0.004", "batch.sequences=8"]


def test_a_value_that_the_file_has_is_no_second_point(file):
    assert [one.name for one in points_of(file, ["steps=4,8"])] == [BASE, "steps=8"]


def test_a_share_of_a_mixture_is_a_proportion_as_in_the_file(file):
    _, point = points_of(file, ["mixture.rows=1.5"])
    assert point.shares == {"rows": 0.75, "other": 0.25}


def test_a_value_may_be_a_block(file):
    _, point = points_of(file, ["model={layers: 1, width: 16, heads: 2}"])
    assert point.config.model.layers == 1


def test_random_draws_are_the_same_each_time_and_stay_in_their_range(file):
    over = ["optimizer.learning_rate=1e-4..1e-2", "steps=2..64", "batch.sequences=2,8"]
    one, other = (points_of(file, over, draws=6) for _ in range(2))
    assert [point.name for point in one] == [point.name for point in other]
    assert len(one) == 7
    assert all(1e-4 <= point.config.optimizer.learning_rate <= 1e-2 for point in one[1:])
    assert all(2 <= point.config.steps <= 64 for point in one[1:])


def test_random_of_values_is_part_of_the_grid_and_never_more(file):
    over = ["optimizer.learning_rate=1e-3,4e-3", "batch.sequences=2,8"]
    assert len(points_of(file, over, draws=2)) == 3
    assert len(points_of(file, over, draws=100)) == 5


def test_settings_that_do_not_go_together_are_told_with_their_point(file):
    problem, _ = refused(file, "optimizer.learning_rate=1e-3,-1")
    assert problem.startswith("optimizer.learning_rate=-1: ") and "greater than 0" in problem


def test_a_setting_that_is_not_there_is_told_with_what_is_near(file):
    problem, hint = refused(file, "optimizer.learning_rat=1e-3")
    assert "learning_rat" in problem and "learning_rate" in (hint or problem)


@pytest.mark.parametrize(
    ("over", "problem", "hint"),
    [
        ([], "nothing is varied", "e.g. --over optimizer.learning_rate=1e-3,2e-3,4e-3"),
        (["steps"], "`steps` is not SETTING=VALUES", "e.g. --over optimizer.learning_rate=1e-3,2e-3"),
        (["steps=1,2", "steps=3"], "a setting is varied twice", "name its values in one --over, with commas"),
        (["steps=4"], "all points are what the file says", "name other values than the file's own"),
        (["seed=1,2"], "`seed` is not varied", "--seeds says how many there are"),
        (["dataset=a,b"], "`dataset` is not varied", "`curate ablate` compares data"),
        (["processes=1,2"], "`processes` is not varied", "it changes nothing that is learned"),
        (["steps=2..8"], "`steps` is a range", "--random N draws from it; or name values, with commas"),
        (["steps=8..2"], "a range goes from a number above 0 to a greater one, not from 8 to 2",
         "it is drawn from on a logarithmic scale; name values with commas instead"),
    ],
)  # fmt: skip
def test_what_cannot_be_varied_is_told_with_what_to_do(file, over, problem, hint):
    assert refused(file, *over) == (problem, hint)


def test_runs_of_other_tokens_are_other_runs(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    keys = {
        key_of({"dataset": "a", "tokenizer": {"path": str(tmp_path / "tokenizer.json"), **more}}, {"a": "1"})
        for more in ({}, {"end_of_text": "<a>"}, {"end_of_text": "<b>"})
    }
    assert len(keys) == 3


def test_values_that_differ_in_the_seventh_digit_are_points_of_their_own(file):
    found = points_of(file, ["optimizer.learning_rate=0.12345671,0.12345672"])
    assert len({one.name for one in found}) == len(found)
