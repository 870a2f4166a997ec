"""The statistics of the bias audit: against scipy, against written-out examples, and that intervals hold what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from curate.audit.bias import comparison, scores, statistics
from curate.audit.bias.statistics import Estimate

DRAWS = 2000


def covers(estimates, truth) -> float:
    """The share of intervals that hold the truth."""
    return float(np.mean([one.low <= truth <= one.high for one in estimates]))


# ---- against scipy and published examples


def test_a_risk_ratio_is_scipys():
    ours, theirs = statistics.risk_ratio(30, 100, 12, 90), stats.contingency.relative_risk(30, 100, 12, 90)
    interval = theirs.confidence_interval()
    assert ours[:3] == pytest.approx((theirs.relative_risk, interval.low, interval.high), rel=1e-5)


def test_a_risk_ratio_of_an_empty_cell_has_an_interval():
    ratio = statistics.risk_ratio(0, 100, 20, 100)
    assert 0 < ratio.low < ratio.value < ratio.high < 1


def test_an_odds_ratio_of_one_stratum_is_the_plain_one():
    ratio = statistics.mantel_haenszel(*(np.array([one]) for one in (30, 70, 12, 78)))
    theirs = stats.contingency.odds_ratio([[30, 70], [12, 78]], kind="sample")
    assert ratio.value == pytest.approx(theirs.statistic)
    # Robins, Breslow and Greenland's variance of one stratum is Woolf's
    deviation = math.sqrt(1 / 30 + 1 / 70 + 1 / 12 + 1 / 78)
    assert ratio.high == pytest.approx(ratio.value * math.exp(1.959964 * deviation))


def test_an_odds_ratio_over_strata_takes_confounding_out():
    # in both strata the odds are the same; the sample stands mostly in the stratum with many hits
    hits, misses, hits_other, misses_other = (np.array(one) for one in ([80, 2], [80, 18], [10, 20], [10, 180]))
    assert statistics.mantel_haenszel(hits, misses, hits_other, misses_other).value == pytest.approx(1, abs=0.01)
    assert statistics.clustered_odds(np.array([[82, 98, 30, 190]])).value > 5


def test_strata_with_few_hits_are_tested_exactly():
    cells = [np.array([one]) for one in (4, 20, 1, 60)]
    exact = stats.fisher_exact([[4, 20], [1, 60]], alternative="greater").pvalue
    assert statistics.mantel_haenszel(*cells).p == pytest.approx(2 * exact)
    # two strata, one of which says nothing
    cells = [np.array([one, other]) for one, other in ((4, 0), (20, 9), (1, 0), (60, 9))]
    assert statistics.mantel_haenszel(*cells).p == pytest.approx(2 * exact)


def test_a_sample_without_misses_has_odds_and_strata_of_one_outcome_say_nothing():
    found = statistics.mantel_haenszel(*(np.array([one]) for one in (30, 0, 100, 100)))
    assert found.low > 2 and found.p is not None and found.p < 1e-6
    assert math.isnan(statistics.mantel_haenszel(*(np.array([one]) for one in (30, 0, 100, 0))).value)


def test_a_table_with_small_cells_is_fishers_and_else_g2():
    assert statistics.independence(1, 9, 9, 3) == pytest.approx(stats.fisher_exact([[1, 9], [9, 3]]).pvalue)
    theirs = stats.chi2_contingency([[40, 60], [20, 80]], correction=False, lambda_="log-likelihood").pvalue
    assert statistics.independence(40, 60, 20, 80) == pytest.approx(theirs)


def test_odds_over_clusters_of_one_are_woolfs():
    table = np.repeat(np.eye(4), [30, 70, 12, 78], axis=0)
    ratio = statistics.clustered_odds(table)
    deviation = math.sqrt(1 / 30 + 1 / 70 + 1 / 12 + 1 / 78)
    assert ratio.high / ratio.value == pytest.approx(math.exp(1.96 * deviation), rel=5e-3)


def test_cliffs_delta_is_the_u_statistic_and_the_auc_its_half():
    generator = np.random.default_rng(1)
    x, y = generator.integers(0, 9, 80).astype(float), generator.integers(0, 7, 60).astype(float)
    u = stats.mannwhitneyu(x, y).statistic / (len(x) * len(y))
    assert scores.cliffs_delta(x, y).value == pytest.approx(2 * u - 1)
    assert scores.auc(x, y).value == pytest.approx(u)


def test_the_interval_of_a_perfect_order_is_that_of_as_many_pairs():
    above, below = np.arange(30.0) + 100, np.arange(40.0)
    least = stats.binomtest(30, 30).proportion_ci(method="exact").low
    assert scores.auc(above, below) == pytest.approx((1, least, 1, None))
    assert scores.auc(below, above) == pytest.approx((0, 0, 1 - least, None))
    clusters = np.repeat(np.arange(10), 3), np.repeat(np.arange(10), 4)
    of_ten = stats.binomtest(10, 10).proportion_ci(method="exact").low
    assert scores.cliffs_delta(above, below, *clusters).low == pytest.approx(2 * of_ten - 1)


def test_alpha_of_the_published_example_is_the_published_one():
    # Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", section C: nominal data, missing labels: 0.743
    watched = {
        "A": [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        "B": [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        "C": [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        "D": [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    }
    units = [[row[at] for row in watched.values() if row[at] is not None] for at in range(12)]
    assert scores.krippendorff(units) == pytest.approx(0.743, abs=5e-4)
    assert math.isnan(scores.krippendorff([["a"], ["b"]]))


def test_npmi_is_one_for_words_that_always_stand_together_and_zero_for_chance():
    assert statistics.npmi(10, 10, 10, 100) == pytest.approx(1)
    assert statistics.npmi(4, 20, 20, 100) == pytest.approx(0)
    assert statistics.npmi(0, 20, 20, 100) == -1


def test_q_values_are_scipys_and_of_nothing_nothing():
    assert statistics.adjusted([0.01, 0.02, 0.5]) == pytest.approx([0.03, 0.03, 0.5])
    assert statistics.adjusted([]) == []


def test_weights_that_are_equal_lose_nothing():
    assert statistics.effective_n(np.ones(50)) == pytest.approx(50)
    assert statistics.effective_n(np.array([1.0, 0.0])) == pytest.approx(1)


def test_the_power_mean_is_near_the_worst():
    assert 0.5 < scores.power_mean([0.5, 0.95, 0.95]) < 0.65


# ---- coverage: 93 to 97 % of the intervals hold the truth


def _wilson(generator) -> tuple[list[Estimate], float]:
    return [statistics.wilson(int(hits), 120) for hits in generator.binomial(120, 0.13, DRAWS)], 0.13


def _risk_ratio(generator) -> tuple[list[Estimate], float]:
    hits, others = generator.binomial(200, 0.2, DRAWS), generator.binomial(300, 0.1, DRAWS)
    return [statistics.risk_ratio(int(a), 200, int(b), 300) for a, b in zip(hits, others, strict=True)], 2.0


def _mantel_haenszel(generator) -> tuple[list[Estimate], float]:
    found = []
    for _ in range(DRAWS):
        shares = np.linspace(0.05, 0.4, 8)
        odds = 2 * shares / (1 - shares)
        sizes, others = np.full(8, 30), np.full(8, 60)
        hits, hits_other = generator.binomial(sizes, odds / (1 + odds)), generator.binomial(others, shares)
        found.append(statistics.mantel_haenszel(hits, sizes - hits, hits_other, others - hits_other))
    return found, 2.0


def _clustered_odds(generator) -> tuple[list[Estimate], float]:
    found = []
    for _ in range(DRAWS):  # 150 documents with 1 to 6 sentences, all of which hit or none
        sizes, one, hit = generator.integers(1, 7, 150), generator.random(150) < 0.5, generator.random(150) < 0.3
        table = np.zeros((150, 4))
        table[np.arange(150), 2 * (~one) + (~hit)] = sizes
        found.append(statistics.clustered_odds(table))
    return found, 1.0


def _log_odds(generator) -> tuple[list[Estimate], float]:
    hits, others = generator.binomial(500, 0.1, DRAWS), generator.binomial(500, 0.1, DRAWS)
    return [statistics.log_odds(int(a), 500, int(b), 500, 0.1, 5.0) for a, b in zip(hits, others, strict=True)], 0.0


def _delta(generator) -> tuple[list[Estimate], float]:
    truth = 2 * stats.norm.cdf(0.5 / math.sqrt(2)) - 1
    draws = [(generator.normal(0.5, 1, 40), generator.normal(0, 1, 60)) for _ in range(DRAWS)]
    return [scores.cliffs_delta(x, y) for x, y in draws], truth


def _delta_of_clusters(generator) -> tuple[list[Estimate], float]:
    found = []
    for _ in range(DRAWS):  # 60 sources of 1 to 8 documents with nearly equal scores
        of = np.repeat(np.arange(60), generator.integers(1, 9, 60))
        values = generator.normal(0, 1, 60)[of] + generator.normal(0, 0.2, len(of))
        first = of < 30
        found.append(scores.cliffs_delta(values[first], values[~first], of[first], of[~first]))
    return found, 0.0


def _auc(generator) -> tuple[list[Estimate], float]:
    draws = [(generator.normal(1.2, 1, 50), generator.normal(0, 1, 100)) for _ in range(DRAWS)]
    return [scores.auc(x, y) for x, y in draws], float(stats.norm.cdf(1.2 / math.sqrt(2)))


def _difference(generator) -> tuple[list[Estimate], float]:
    draws = [(generator.exponential(1, 80), generator.exponential(1, 120)) for _ in range(DRAWS)]
    return [scores.difference(x, y) for x, y in draws], 0.0


def _paired(generator) -> tuple[list[Estimate], float]:
    found = []
    for _ in range(DRAWS):  # a filter that keeps 9 of 10 of one group and 6 of 10 of the other
        group = generator.random(600) < 0.4
        kept = generator.random(600) < np.where(group, 0.9, 0.6)
        whole = np.ones(600)
        found.append(comparison.paired_difference(whole * group, whole * (group & kept), whole, whole * kept))
    return found, 0.36 / 0.72 - 0.4


KINDS = {
    "wilson": _wilson, "risk ratio": _risk_ratio, "mantel-haenszel": _mantel_haenszel, "odds of clusters": _clustered_odds,
    "log odds": _log_odds, "cliff's delta": _delta, "cliff's delta of clusters": _delta_of_clusters, "auc": _auc,
    "difference": _difference, "paired difference": _paired,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_intervals_of_95_percent_hold_the_truth_in_93_to_97(kind):
    estimates, truth = KINDS[kind](np.random.default_rng(7))
    assert 0.93 <= covers(estimates, truth) <= 0.97
