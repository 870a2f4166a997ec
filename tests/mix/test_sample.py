import pyarrow as pa
import pytest
from pydantic import ValidationError

from curate.errors import CurateError
from curate.mix.draw import draw
from curate.mix.sample import Sample
from curate.stages.verdicts import Unfit

TEXTS = ["text"] * 4000


def kept(apply_stage, **settings):
    dropped, _ = apply_stage(Sample(**settings), TEXTS)
    return set(range(len(TEXTS))) - set(dropped)


def test_the_fraction_is_met_on_average(apply_stage):
    assert abs(len(kept(apply_stage, fraction=0.3)) - 1200) < 90


def test_a_dropped_document_says_its_draw_and_the_fraction(apply_stage):
    dropped, features = apply_stage(Sample(fraction=0.5), TEXTS)
    row = min(dropped)
    verdict = dropped[row]
    assert (verdict["reason"], verdict["value"], verdict["threshold"]) == (
        "not_sampled",
        features["draw"][row],
        0.5,
    )


def test_a_smaller_fraction_keeps_a_part_of_a_larger_one(apply_stage):
    assert kept(apply_stage, fraction=0.1) < kept(apply_stage, fraction=0.4)


def test_another_seed_keeps_other_documents(apply_stage):
    assert kept(apply_stage, fraction=0.5, seed=1) != kept(apply_stage, fraction=0.5, seed=2)


def test_a_fraction_of_one_keeps_everything(apply_stage):
    assert len(kept(apply_stage, fraction=1.0)) == len(TEXTS)


@pytest.mark.parametrize("fraction", [0, -0.1, 1.1])
def test_a_fraction_outside_zero_to_one_is_refused(fraction):
    with pytest.raises(ValidationError):
        Sample(fraction=fraction)


def test_a_document_is_kept_with_the_chance_of_fraction_times_weight(apply_stage):
    weights = pa.array([2.0, 0.5, 0.0, None] * 1000)
    dropped, _ = apply_stage(Sample(fraction=0.3, weight="w"), TEXTS, w=weights)
    shares = [sum(row % 4 == place for row in range(4000) if row not in dropped) / 1000 for place in range(4)]
    assert shares[2:] == [0, 0]
    assert abs(shares[0] - 0.6) < 0.05
    assert abs(shares[1] - 0.15) < 0.04


def test_a_changed_fraction_measures_nothing_again():
    assert Sample.thresholds == {"fraction"}


def test_the_draw_of_an_id_is_the_same_everywhere():
    assert draw(["d0", "\u00e9"], purpose="sample", seed=1).tolist() == [
        0.7051555696612332,
        0.07580626855957029,
    ]


def test_why_tells_a_weight_of_zero_from_one_that_is_missing_and_from_a_draw(apply_stage):
    weights = pa.array([0.5, 0.0, None] * 1000)
    dropped, _ = apply_stage(Sample(fraction=0.5, weight="w"), TEXTS[:3000], w=weights)
    unlucky = next(one for row, one in dropped.items() if row % 3 == 0)
    assert (unlucky["reason"], unlucky["threshold"]) == ("not_sampled", 0.25)
    assert unlucky["detail"] == "weight 0.5: its chance is 0.25"
    assert 0.25 < unlucky["value"] < 1
    assert (dropped[1]["reason"], dropped[1]["threshold"]) == ("weight_is_zero", 0)
    assert (dropped[2]["reason"], dropped[2]["value"], dropped[2]["threshold"]) == ("no_weight", None, None)


@pytest.mark.parametrize(
    ("weight", "reason", "detail"),
    [
        (-1.0, "weight_is_negative", "`w` is -1"),
        (float("nan"), "weight_is_no_number", "`w` is nan"),
        (float("inf"), "weight_is_no_number", "`w` is inf"),
        ("heavy", "weight_is_no_number", "`w` is 'heavy'"),
        ("-2", "weight_is_negative", "`w` is -2"),
    ],
)
def test_a_weight_that_is_none_is_quarantined_with_its_value(documents, weight, reason, detail):
    with pytest.raises(Unfit, match=reason) as caught:
        Sample(fraction=0.5, weight="w").open()(documents(["a"], w=[weight]))
    assert caught.value.detail == detail
    assert reason in Sample.reasons


def test_a_column_that_can_hold_no_weights_is_an_error(documents):
    with pytest.raises(CurateError, match=r"column `w` holds bool, and a weight is a number"):
        Sample(fraction=0.5, weight="w").open()(documents(["a"], w=[True]))
