"""Agreement between annotators: published examples, other libraries' values, intervals that hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from curate.labeling.agreement import (
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    masi_alpha,
    observed_agreement,
)
from curate.labeling.quality import (
    accuracy_on_gold,
    agreement_with_others,
    confused_labels,
    confusion,
    most_disputed,
)
from curate.labeling.spans import Tokens, span_agreement, spans_of_tokens, token_labels
from tests.oracles import library

NOBODY = np.zeros(0, np.int64)
# four observers, twelve units, from Krippendorff's "Computing Krippendorff's Alpha-Reliability" (2011)
OBSERVERS = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]
# ten patients, fourteen raters: how many gave each of five diagnoses
DIAGNOSES = np.array([
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
])  # fmt: skip


def given(observers):
    answers = [(item, int(one) - 1) for row in observers for item, one in enumerate(row) if one != "."]
    return tuple(np.array(answers).T)


def counted(table):
    items, labels = np.indices(table.shape).reshape(2, -1)
    return np.repeat(items, table.ravel()), np.repeat(labels, table.ravel())


def simulated(random, items, workers, accuracy, classes=3):
    """Answers of workers who know the truth with a probability, and else draw."""
    truth = random.integers(0, classes, items)
    of = np.repeat(np.arange(items), workers)
    known = random.random(len(of)) < accuracy
    labels = np.where(known, truth[of], random.integers(0, classes, len(of)))
    return of, np.tile(np.arange(workers), items), labels


@pytest.mark.parametrize(("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_is_that_of_krippendorffs_example(level, alpha):
    items, labels = given(OBSERVERS)
    assert krippendorff_alpha(items, labels, 5, level=level, seed=0).value == pytest.approx(alpha, abs=5e-4)


def test_fleiss_kappa_is_that_of_the_known_example():
    items, labels = counted(DIAGNOSES)
    assert fleiss_kappa(items, labels, 5, seed=0).value == pytest.approx(0.210, abs=5e-4)
    assert observed_agreement(items, labels, 5, seed=0).value == pytest.approx(0.378, abs=5e-4)


@pytest.mark.parametrize(("level", "weights"), [("nominal", None), ("interval", "quadratic")])
def test_cohens_kappa_is_scikit_learns(level, weights):
    random = np.random.default_rng(1)
    first = random.integers(0, 4, 300)
    second = np.where(random.random(300) < 0.5, first, random.integers(0, 4, 300))
    theirs = library("sklearn.metrics").cohen_kappa_score(first, second, weights=weights)
    assert cohen_kappa(first, second, 4, level=level, seed=0).value == pytest.approx(theirs)


def test_alpha_of_sets_is_nltks():
    agreement, metrics = library("nltk.metrics.agreement"), library("nltk.metrics")
    random = np.random.default_rng(2)
    sets = random.random((80, 4)) < 0.4
    sets[:, 0] |= ~sets.any(1)
    items, workers = np.repeat(np.arange(40), 2), np.tile([0, 1], 40)
    sets[1::4] = sets[::4]
    rows = [
        (worker, item, frozenset(np.flatnonzero(one))) for item, worker, one in zip(items, workers, sets, strict=True)
    ]
    theirs = agreement.AnnotationTask(rows, distance=metrics.masi_distance).alpha()
    # nltk writes .67 and .33 for two thirds and one
    assert masi_alpha(items, sets, seed=0).value == pytest.approx(theirs, abs=0.01)


def test_two_empty_sets_are_equal():
    sets = np.array([[0, 0], [0, 0], [1, 0], [1, 0]], bool)
    assert masi_alpha(np.array([0, 0, 1, 1]), sets, seed=0).value == 1


@pytest.mark.parametrize("statistic", [observed_agreement, fleiss_kappa, krippendorff_alpha])
def test_without_overlap_nothing_is_said(statistic):
    assert statistic(np.arange(5), np.array([0, 1, 0, 1, 1]), 2, seed=0) is None
    assert statistic(NOBODY, NOBODY, 2, seed=0) is None


@pytest.mark.parametrize("statistic", [fleiss_kappa, krippendorff_alpha])
def test_one_label_alone_says_nothing_beyond_chance(statistic):
    assert statistic(np.array([0, 0, 1, 1]), np.ones(4, int), 2, seed=0) is None


def test_two_annotators_of_one_label_have_no_kappa():
    assert cohen_kappa(np.ones(9, int), np.ones(9, int), 2, seed=0) is None
    assert cohen_kappa(NOBODY, NOBODY, 2, seed=0) is None


def test_the_order_of_answers_changes_nothing():
    items, _, labels = simulated(np.random.default_rng(3), 60, 3, 0.7)
    order = np.random.default_rng(4).permutation(len(items))
    one, other = (krippendorff_alpha(items[at], labels[at], 3, seed=5) for at in (slice(None), order))
    assert other == pytest.approx((*one[:3], None))


def test_the_seed_alone_decides_an_interval():
    items, _, labels = simulated(np.random.default_rng(3), 60, 3, 0.7)
    one, again, other = (krippendorff_alpha(items, labels, 3, seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert one.low != other.low


@pytest.mark.slow
@pytest.mark.parametrize("statistic", [observed_agreement, fleiss_kappa, krippendorff_alpha])
def test_intervals_hold_the_truth_as_often_as_they_say(statistic):
    random = np.random.default_rng(6)
    truth = 0.64 if statistic is not observed_agreement else 0.64 + 0.36 / 3
    held = 0
    for run in range(400):
        items, _, labels = simulated(random, 100, 3, 0.8)
        found = statistic(items, labels, 3, seed=run, resamples=400)
        held += found.low <= truth <= found.high
    assert 0.91 <= held / 400 <= 0.985


def test_an_interval_for_tokens_is_as_wide_as_that_of_their_documents():
    random = np.random.default_rng(7)
    items, _, labels = simulated(random, 30, 2, 0.6)
    tokens = np.concatenate([items * 20 + token for token in range(20)])
    by_document = krippendorff_alpha(tokens, np.tile(labels, 20), 3, groups=tokens // 20, seed=0)
    by_token = krippendorff_alpha(tokens, np.tile(labels, 20), 3, seed=0)
    plain = krippendorff_alpha(items, labels, 3, seed=0)
    assert by_document.high - by_document.low == pytest.approx(plain.high - plain.low, rel=0.15)
    assert by_token.high - by_token.low < (plain.high - plain.low) / 3


# ---- annotators and items


def test_accuracy_on_gold_has_wilsons_interval():
    found = accuracy_on_gold(np.repeat([0, 2], 10), np.repeat([1, 0], 10), np.ones(20, int), 3)
    assert found[0][:3] == pytest.approx((1, 0.7225, 1), abs=1e-4)
    assert found[1] is None
    assert found[2].value == 0


def test_who_answers_at_random_agrees_least_with_others():
    items, workers, labels = simulated(np.random.default_rng(8), 200, 4, 0.9)
    labels = np.where(workers == 2, np.random.default_rng(9).integers(0, 3, len(labels)), labels)
    found = agreement_with_others(items, workers, labels, 3, 5, seed=0)
    assert min(range(4), key=lambda one: found[one].value) == 2
    assert found[2].high < found[0].low
    assert found[4] is None
    assert agreement_with_others(NOBODY, NOBODY, NOBODY, 3, 1, seed=0) == [None]


def test_the_most_disputed_items_come_first():
    items, labels = np.array([7, 7, 8, 8, 8, 9, 9, 3]), np.array([0, 0, 0, 1, 1, 0, 1, 0])
    found, shares = most_disputed(items, labels, 2, 5)
    assert found.tolist() == [9, 8]
    assert shares == pytest.approx([1, 2 / 3])
    assert len(most_disputed(NOBODY, NOBODY, 2, 5)[0]) == 0


def test_confused_labels_are_counted_by_pairs_of_answers():
    items, labels = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 2])
    assert confused_labels(items, labels, 3).tolist() == [[2, 2, 0], [2, 0, 1], [0, 1, 0]]
    assert confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist() == [[1, 1], [0, 1]]


# ---- spans: "New York is in the US", twice

TOKENS = Tokens(np.repeat([0, 1], 6), np.tile([0, 4, 9, 12, 15, 19], 2), np.tile([3, 8, 11, 14, 18, 21], 2))
ITEMS, WORKERS = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
SPANS = np.array([[0, 0, 8, 0], [1, 0, 3, 0], [0, 19, 21, 0], [1, 19, 21, 0], [2, 0, 8, 1]])


def test_spans_agree_strictly_by_place_and_label_and_else_by_overlap():
    found = span_agreement(ITEMS, WORKERS, SPANS, TOKENS, 2, seed=0)
    assert found.strict.value == pytest.approx(2 / 5)
    assert found.overlapping.value == pytest.approx(4 / 5)


def test_a_span_that_two_others_overlap_is_found_once():
    spans = np.array([[0, 0, 8, 0], [1, 0, 3, 0], [1, 4, 8, 0]])
    assert span_agreement(ITEMS, WORKERS, spans, TOKENS, 2, seed=0).overlapping.value == 1


def test_alpha_of_spans_is_that_of_their_tokens():
    tokens, workers, labels = token_labels(ITEMS, WORKERS, SPANS, TOKENS)
    assert labels.reshape(4, 6).tolist() == [[1, 1, 0, 0, 0, 1], [1, 0, 0, 0, 0, 1], [2, 2, 0, 0, 0, 0], [0] * 6]
    assert workers.tolist() == np.repeat(WORKERS, 6).tolist()
    plain = krippendorff_alpha(tokens, labels, 3, seed=0)
    assert span_agreement(ITEMS, WORKERS, SPANS, TOKENS, 2, seed=0).alpha.value == plain.value


def test_nobody_marking_anything_says_nothing():
    assert span_agreement(ITEMS, WORKERS, SPANS[:0], TOKENS, 2, seed=0) == (None, None, None)
    assert span_agreement(ITEMS[::2], WORKERS[::2], SPANS[:0], TOKENS, 2, seed=0) == (None, None, None)


def test_spans_come_back_from_their_tokens():
    _, _, labels = token_labels(
        np.array([0, 1]), np.array([0, 0]), np.array([[0, 0, 8, 0], [0, 19, 21, 0], [1, 0, 8, 1]]), TOKENS
    )
    assert spans_of_tokens(labels, TOKENS).tolist() == [[0, 0, 8, 0], [0, 19, 21, 0], [1, 0, 8, 1]]
    assert spans_of_tokens(NOBODY, Tokens(NOBODY, NOBODY, NOBODY)).shape == (0, 4)


def test_a_token_in_spans_that_nest_has_the_label_of_the_shortest():
    spans = np.array([[0, 4, 8, 1], [0, 0, 11, 0]])
    _, _, labels = token_labels(np.array([0]), np.array([0]), spans, TOKENS)
    assert labels.tolist() == [1, 2, 1, 0, 0, 0]
