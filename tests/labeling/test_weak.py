"""Labeling functions: what each covers and is worth, and labels of their votes."""

from __future__ import annotations

import numpy as np
import pytest

from curate.labeling.weak import function_quality, label_model, weak_majority

VOTES = np.array([[0, 0, -1], [0, 1, -1], [-1, 1, -1], [-1, -1, -1]])


def test_coverage_overlap_and_conflict_are_counted():
    first, second, third = function_quality(VOTES, gold=np.array([0, 0, 1, -1]))
    assert (first.coverage, first.overlap, first.conflict) == (0.5, 0.5, 0.25)
    assert (second.coverage, second.overlap, second.conflict) == (0.75, 0.5, 0.25)
    assert first.accuracy.value == 1
    assert second.accuracy.value == pytest.approx(2 / 3)
    assert (first.labels, second.labels, third.labels) == ((0,), (0, 1), ())
    assert (first.gold, third.coverage, third.accuracy) == (2, 0, None)


def test_without_gold_nothing_is_said_of_accuracy():
    assert [one.accuracy for one in function_quality(VOTES)] == [None] * 3
    assert function_quality(np.zeros((0, 2), int))[0].coverage == 0


def test_where_all_abstain_there_is_no_label():
    assert weak_majority(VOTES, 2).labels.tolist() == [0, -1, 1, -1]
    found = label_model(VOTES, 2)
    assert found.labels[3] == -1
    assert np.isfinite(found.probabilities).all()
    assert label_model(np.full((3, 2), -1), 2).labels.tolist() == [-1] * 3


def test_the_model_learns_whom_to_believe():
    random = np.random.default_rng(0)
    truth = (random.random(3000) < 0.4).astype(int)
    accuracy = np.array([0.95, 0.9, 0.6, 0.6, 0.6])
    votes = np.where(random.random((3000, 5)) < accuracy, truth[:, None], 1 - truth[:, None])
    votes[random.random((3000, 5)) < 0.3] = -1
    model, vote = label_model(votes, 2), weak_majority(votes, 2)
    assert (model.probabilities.argmax(1) == truth).mean() > (vote.probabilities.argmax(1) == truth).mean() + 0.03
    assert model.prior == pytest.approx([0.6, 0.4], abs=0.05)


def test_functions_that_know_one_label_each_are_not_taken_for_sure():
    # what they do not vote on tells the label, too: without it every vote is right whatever the label is
    random = np.random.default_rng(0)
    truth = (random.random(3000) < 0.2).astype(int)
    votes = np.full((3000, 4), -1)
    for function, label in enumerate([0, 0, 1, 1]):
        votes[random.random(3000) < np.where(truth == label, 0.6, 0.05), function] = label
    found = label_model(votes, 2)
    assert found.prior == pytest.approx([0.8, 0.2], abs=0.05)
    assert (found.labels == truth)[found.labels >= 0].mean() > 0.93


def test_a_balance_that_is_given_is_kept():
    found = label_model(VOTES, 2, balance=np.array([0.9, 0.1]))
    assert found.prior.tolist() == [0.9, 0.1]
