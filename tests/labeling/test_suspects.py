"""Suspected label errors: cleanlab's values, planted errors that are found, hard input."""

from __future__ import annotations

import numpy as np
import pytest

from curate.labeling.suspects import confident_joint, label_quality, suspects
from tests.oracles import library


def planted(seed, *, texts=600, classes=4, wrong=0.1):
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, texts)
    probable = random.dirichlet(np.ones(classes), texts)
    probable[np.arange(texts), truth] += random.exponential(1.5, texts)
    probable /= probable.sum(1, keepdims=True)
    flipped = random.random(texts) < wrong
    return np.where(flipped, (truth + random.integers(1, classes, texts)) % classes, truth), probable, flipped


@pytest.mark.parametrize("seed", range(3))
def test_the_confident_joint_is_cleanlabs(seed):
    labels, probable, _ = planted(seed)
    theirs = library("cleanlab.count").compute_confident_joint(labels, probable, calibrate=True)
    assert confident_joint(labels, probable) == pytest.approx(theirs, abs=1)
    plain = library("cleanlab.count").compute_confident_joint(labels, probable, calibrate=False)
    scaled = plain / plain.sum(1, keepdims=True) * np.bincount(labels)[:, None]
    assert confident_joint(labels, probable) == pytest.approx(scaled)


@pytest.mark.parametrize("ranking", ["self_confidence", "normalized_margin"])
def test_quality_is_cleanlabs(ranking):
    labels, probable, _ = planted(0)
    theirs = library("cleanlab.rank").get_label_quality_scores(labels, probable, method=ranking)
    assert label_quality(labels, probable, ranking=ranking) == pytest.approx(theirs)


@pytest.mark.parametrize("ranking", ["self_confidence", "normalized_margin"])
def test_suspects_are_cleanlabs_where_the_model_disagrees(ranking):
    labels, probable, _ = planted(1)
    theirs = library("cleanlab.filter").find_label_issues(
        labels, probable, filter_by="predicted_neq_given", return_indices_ranked_by=ranking
    )
    assert suspects(labels, probable, ranking=ranking).texts.tolist() == list(theirs)


def test_planted_errors_come_first_and_are_counted():
    labels, probable, flipped = planted(2)
    found = suspects(labels, probable)
    assert flipped[found.texts[:20]].mean() > 0.8
    assert found.expected == pytest.approx(flipped.sum(), rel=0.6)
    assert (np.diff(found.quality) >= 0).all()
    assert (found.proposed != labels[found.texts]).all()


def test_nothing_is_suspected_of_no_labels_or_of_one_class():
    assert len(suspects(np.zeros(0, int), np.zeros((0, 3))).texts) == 0
    assert len(suspects(np.zeros(4, int), np.ones((4, 1))).texts) == 0
    assert suspects(np.zeros(4, int), np.tile([0.9, 0.1], (4, 1))).expected == 0


def test_a_class_that_nobody_gave_is_no_trouble():
    found = suspects(np.array([0, 0, 1]), np.array([[0.2, 0.1, 0.7], [0.8, 0.1, 0.1], [0.1, 0.8, 0.1]]))
    assert found.texts.tolist() == [0]
    assert found.proposed.tolist() == [2]
    assert np.isfinite(found.expected)
