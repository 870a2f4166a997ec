"""Which columns answers are read from, and what is said of those that do not fit the method."""

from __future__ import annotations

import numpy as np
import pytest

from curate.errors import CurateError
from curate.train.data.batch import IGNORED
from tests.train.tiny_tasks import CASES, config_of, rows_of

PAIRS = {"prompt": ["a"] * 4, "chosen": ["b"] * 4, "rejected": ["c"] * 4}
SINGLE = {"prompt": ["a"] * 4, "completion": ["b"] * 4}


@pytest.fixture
def refused(tiny_packs):
    """Problem, place and hint of the error that rows make in a case."""

    def check(case, columns, **settings):
        config = config_of(CASES[case], **settings)
        with pytest.raises(CurateError) as error:
            tiny_packs(config, {config.dataset: {"train": columns}})
        return error.value.problem, error.value.where, error.value.hint

    return check


@pytest.mark.parametrize(
    ("case", "columns", "column", "hint"),
    [
        ("preference", {**SINGLE, "label": [True, False] * 2}, "`chosen`, which dpo reads",
         "`objective.method: kto` learns from single answers: its `completion` and `label`"),
        ("kto", PAIRS, "`completion`, which kto reads",
         "`objective.method: dpo` learns from pairs: its `chosen` and `rejected`"),
        ("reward", {**SINGLE, "label": [True, False] * 2}, "`chosen`, which bradley_terry reads",
         "`objective.method: outcome` learns from single answers: its `completion` and `label`"),
        ("outcome", PAIRS, "`completion`, which outcome reads",
         "`objective.method: bradley_terry` learns from pairs: its `chosen` and `rejected`"),
    ],
)  # fmt: skip
def test_answers_of_the_other_form_are_refused_with_the_method_that_reads_them(refused, case, columns, column, hint):
    problem, where, found = refused(case, columns)
    assert problem == f"`tiny` has no column {column}"
    assert (where, found) == ("data", hint)


def test_labels_of_which_none_is_said_to_be_good_are_refused(refused):
    problem, where, hint = refused("kto", {**SINGLE, "label": ["bad", "good"] * 2})
    assert problem == "the labels in `label` are `bad`, `good`: it is not said which of them are good"
    assert (where, hint) == ("data.positive", "`positive: [good]` names those that are")


def test_a_good_label_that_no_answer_has_is_refused(refused):
    problem, *_ = refused("kto", {**SINGLE, "label": ["bad", "good"] * 2}, data={"positive": ["best"]})
    assert problem == "the labels in `label` are `bad`, `good`, and none is `best`"


@pytest.mark.parametrize(("value", "all_of_them"), [(True, "good"), (False, "bad")])
def test_answers_that_are_all_good_or_all_bad_are_refused(refused, value, all_of_them):
    problem, _, hint = refused("outcome", {**SINGLE, "label": [value] * 4})
    assert problem.endswith(f"all answers are {all_of_them}") and hint == "nothing can be told apart"


def test_ratings_are_good_where_they_are_said_to_be(tiny_packs):
    from curate.train.data.tasks import tasks_of

    config = config_of(CASES["kto"], data={"positive": [4, 5]})
    pack = tiny_packs(config, {"judged": {"train": {**SINGLE, "label": [1, 4, 5, 2]}}})[""]
    assert dict(zip(pack.labels, tasks_of(config)[0].good(pack), strict=True)) == {1: False, 2: False, 4: True, 5: True}


def test_words_of_a_label_serve_as_well_as_true_and_false(trained):
    """As `curate label` leaves them."""
    short = {"steps": 3, "validation": {"every": 3}}
    plain = trained("kto", "plain", **short)
    rows = {
        split: {**rows_of("judged", count, seed), "label": None}
        for split, count, seed in (("train", 48, 0), ("validation", 16, 1))
    }
    for split, count, seed in (("train", 48, 0), ("validation", 16, 1)):
        known = rows_of("judged", count, seed)["label"]
        rows[split]["label"] = ["yes" if good else "no" for good in known]
    words = trained("kto", "words", rows={"judged": rows}, data={"positive": ["yes"]}, **short)
    assert words.result()["validation"] == plain.result()["validation"]


def test_the_answer_that_is_not_its_own_is_one_to_another_prompt(tiny_packs):
    from curate.train.data.answers import Judged

    prompts = ["red", "red", "red", "blue", "blue", "green"]
    rows = {"prompt": prompts, "completion": list("abcdef"), "label": [True, False] * 3}
    config = config_of(CASES["kto"])
    packs = tiny_packs(config, {config.dataset: {"train": rows, "validation": rows}})
    source = Judged(packs[""], "train", 32, good=[False, True])
    assert [source._other(number) for number in range(6)] == [3, 3, 3, 5, 5, 0]
    made = source.read(np.arange(6))
    own = [source.rows.tokens("completion", number).tolist() for number in range(6)]
    for number in range(6):
        second = made["targets"][number, 1]
        assert [one for one in second.tolist() if one != IGNORED][:-1] == own[source._other(number)]
