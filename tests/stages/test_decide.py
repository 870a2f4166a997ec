"""Verdicts in words."""

import pytest

from curate.stages.decide import limit_words


@pytest.mark.parametrize(
    ("value", "threshold", "words"),
    [
        (0, 2, "at least 2"),
        (0.16318, 0.16, "at most 0.16"),
        (120_000.0, 100_000.0, "at most 100,000"),
        (0.8, 0.8, "below 0.8"),
        (None, 3, "the limit is 3"),
        (float("nan"), 0.5, "the limit is 0.5"),
    ],
)
def test_a_limit_is_told_from_the_value_on_its_wrong_side(value, threshold, words):
    assert limit_words(value, threshold) == words
