"""Gates of an ablation: about the endpoint unless a set is named, of every arm but A/A, and refused before training."""

from __future__ import annotations

import pytest

from curate.errors import CurateError
from curate.evaluation.ablation.gating import check_gates, judge_arms
from curate.evaluation.ablation.infer import AA, compare_arms
from curate.evaluation.gates import read_gate

FIRST = {"books": [2.50, 2.51, 2.49, 2.50], "web": [3.00, 3.01, 3.00, 2.99]}
BETTER = {"books": [2.40, 2.42, 2.39, 2.40], "web": [3.00, 3.02, 2.99, 3.00]}
WORSE = {"books": [2.55, 2.55, 2.54, 2.56], "web": [3.06, 3.05, 3.06, 3.04]}
AGAIN = {"books": [2.51, 2.49, 2.50, 2.50], "web": [3.00, 2.99, 3.01, 3.00]}


def judged(text, **arms):
    values = {"v1": FIRST, **arms}
    found, _ = compare_arms(values, ["books", "web"])
    (one,) = judge_arms([read_gate(text)], found, values, ["books", "web"])
    return one


def test_without_a_set_a_gate_is_about_the_endpoint():
    assert judged("bits_per_byte better", v2=BETTER).missing == ()
    assert judged("bits_per_byte on books better", v2=BETTER).missing == ()
    (words,) = judged("bits_per_byte on web better", v2=BETTER).missing
    assert words.startswith("web (v2): +0.0")


def test_every_arm_has_to_be_shown_but_not_the_first_one_again():
    (words,) = judged("bits_per_byte better", **{AA: AGAIN}, v2=BETTER, v3=WORSE).missing
    assert words.startswith("macro (v3): ")


def test_a_margin_in_percent_is_of_the_first_arms_mean():
    assert judged("bits_per_byte not worse than 4%", v2=WORSE).missing == ()
    (words,) = judged("bits_per_byte not worse than 1%", v2=WORSE).missing
    assert "0.0275 is allowed" in words


def test_nothing_is_shown_of_an_unstable_arm():
    broken = {"books": [2.0, None, 2.01, 2.02], "web": [2.0, None, 2.03, 2.0]}
    assert judged("bits_per_byte not worse than 50%", v2=broken).missing == ("macro (v2): not compared: unstable",)


@pytest.mark.parametrize(
    ("gate", "problem", "hint"),
    [
        ("accuracy better", "an ablation has no metric `accuracy`", "it has `bits_per_byte`"),
        ("bits_per_byte on bookz better", "there is no held-out set `bookz`", "did you mean `books`?"),
        ("bits_per_byte on papers better", "there is no held-out set `papers`", "there are: macro, books, web"),
    ],
)
def test_a_gate_about_what_is_not_measured_is_refused(gate, problem, hint):
    with pytest.raises(CurateError) as error:
        check_gates([read_gate(gate)], ["books", "web"])
    assert (error.value.problem, error.value.hint) == (problem, hint)
