"""One label of several people's: crowd-kit's values, ties that are named, people who are worse than chance."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas
import pytest

from curate.labeling.aggregation import dawid_skene, for_each_label, for_spans, majority_vote
from curate.labeling.spans import Tokens
from tests.labeling.crowds import crowd
from tests.oracles import library

NOBODY = np.zeros(0, np.int64)


def right(probabilities, truth) -> float:
    return float((probabilities.argmax(1) == truth).mean())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rounds", [10, 60])
def test_dawid_skene_without_smoothing_is_crowd_kits(seed, rounds):
    made = crowd(seed)
    frame = pandas.DataFrame({"task": made.items, "worker": made.workers, "label": made.labels})
    theirs = library("crowdkit.aggregation").DawidSkene(n_iter=rounds, tol=-1e9).fit(frame)
    ours = dawid_skene(*made[1:], 4, count=300, smoothing=0, rounds=rounds, tolerance=0)
    assert ours.probabilities == pytest.approx(theirs.probas_.sort_index()[[0, 1, 2, 3]].to_numpy(), abs=1e-8)
    assert ours.labels.tolist() == theirs.labels_.sort_index().tolist()
    confusion = theirs.errors_.loc[(3, 2), [0, 1, 2, 3]].to_numpy()
    # theirs is of the round after the last
    assert ours.confusion[3, :, 2] == pytest.approx(confusion, abs=0.005)


def test_majority_is_crowd_kits_where_nothing_is_tied():
    made = crowd(5)
    frame = pandas.DataFrame({"task": made.items, "worker": made.workers, "label": made.labels})
    theirs = library("crowdkit.aggregation").MajorityVote().fit(frame)
    ours = majority_vote(*made[1:], 4, count=300)
    assert ours.probabilities == pytest.approx(theirs.probas_.sort_index()[[0, 1, 2, 3]].to_numpy())
    clear = ~ours.tied
    assert (ours.labels[clear] == theirs.labels_.sort_index().to_numpy()[clear]).all()
    assert 0 < clear.sum() < 300


def test_a_tie_is_named_and_not_broken():
    found = majority_vote(np.array([0, 0, 1, 1, 1]), NOBODY, np.array([0, 1, 1, 1, 0]), 2, count=3)
    assert found.labels.tolist() == [-1, 1, -1]
    assert found.tied.tolist() == [True, False, True]
    assert found.probabilities[2] == pytest.approx([0.5, 0.5])


def test_dawid_skene_beats_majority_where_people_differ():
    gains = []
    for seed in range(10):
        made = crowd(seed, annotators=5, each=3, classes=3)
        vote, model = (method(*made[1:], 3, count=300) for method in (majority_vote, dawid_skene))
        gains.append(right(model.probabilities, made.truth) - right(vote.probabilities, made.truth))
    assert np.mean(gains) > 0.02


def test_smoothing_helps_who_answered_little():
    gains = []
    for seed in range(10):
        made = crowd(seed, annotators=60, each=3, classes=3)
        plain, smooth = (dawid_skene(*made[1:], 3, count=300, smoothing=one) for one in (0, 1))
        gains.append(right(smooth.probabilities, made.truth) - right(plain.probabilities, made.truth))
    assert np.mean(gains) > 0


def test_an_item_that_nobody_answered_has_no_label():
    found = dawid_skene(np.array([0, 0, 2, 2]), np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]), 2, count=4)
    assert found.labels.tolist() == [0, -1, 1, -1]
    assert found.tied.tolist() == [False, True, False, True]


def test_no_answers_at_all_decide_nothing():
    found = dawid_skene(NOBODY, NOBODY, NOBODY, 3, count=2)
    assert found.labels.tolist() == [-1, -1]
    assert np.isfinite(found.probabilities).all()
    assert dawid_skene(NOBODY, NOBODY, NOBODY, 3, count=0).labels.tolist() == []


def test_one_label_alone_is_that_label():
    found = dawid_skene(np.arange(4).repeat(2), np.tile([0, 1], 4), np.ones(8, int), 3, count=4)
    assert found.labels.tolist() == [1] * 4
    assert np.isfinite(found.probabilities).all()


def test_gold_is_held_fast_and_teaches_who_errs():
    made = crowd(3, annotators=5, each=3)
    gold = np.where(np.arange(300) < 100, made.truth, -1)
    with_gold, without = (dawid_skene(*made[1:], 4, count=300, gold=one) for one in (gold, None))
    assert (with_gold.labels[:100] == made.truth[:100]).all()
    assert right(with_gold.probabilities[100:], made.truth[100:]) >= right(
        without.probabilities[100:], made.truth[100:]
    )


def test_too_few_rounds_are_told():
    made = crowd(0)
    assert not dawid_skene(*made[1:], 4, count=300, rounds=2).converged
    found = dawid_skene(*made[1:], 4, count=300)
    assert found.converged
    assert 2 < found.rounds < 200


def test_a_thousand_answers_to_one_item_do_not_underflow():
    random = np.random.default_rng(0)
    items, workers = np.repeat([0, 1], 1000), np.tile(np.arange(1000), 2)
    labels = np.where(random.random(2000) < 0.6, items, 1 - items)
    found = dawid_skene(items, workers, labels, 2, count=2)
    assert found.labels.tolist() == [0, 1]
    assert np.isfinite(found.probabilities).all()


def test_sets_of_labels_are_decided_label_by_label():
    items, workers = np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 0, 1])
    sets = np.array([[1, 0], [1, 1], [0, 0], [1, 1], [1, 0]], bool)
    found = for_each_label(items, workers, sets, majority_vote, count=2)
    assert found.labels.tolist() == [[1, 0], [1, -1]]
    assert found.tied.tolist() == [False, True]
    assert found.probabilities == pytest.approx(np.array([[2 / 3, 1 / 3], [1, 0.5]]))


TOKENS = Tokens(np.repeat([0, 1], 4), np.tile([0, 4, 8, 12], 2), np.tile([3, 7, 11, 15], 2))


def test_spans_are_decided_token_by_token():
    items, workers = np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 0, 1])
    spans = np.array([[0, 0, 7, 1], [1, 0, 7, 1], [2, 4, 11, 1], [3, 8, 15, 0], [4, 8, 11, 0]])
    found = for_spans(items, workers, spans, TOKENS, 2, majority_vote)
    assert found.spans.tolist() == [[0, 0, 7, 1], [1, 8, 11, 0]]
    assert found.probabilities == pytest.approx([(2 / 3 + 1) / 2, 1])
    assert found.tied.tolist() == [1]


def test_spans_of_one_who_marks_everything_are_outvoted():
    random = np.random.default_rng(0)
    documents, length = 60, 10
    tokens = Tokens(np.repeat(np.arange(documents), length), np.tile(np.arange(0, 40, 4), documents),
                    np.tile(np.arange(3, 43, 4), documents))  # fmt: skip
    items, workers = np.repeat(np.arange(documents), 3), np.tile([0, 1, 2], documents)
    begins = random.integers(0, 8, documents) * 4
    good = [
        [answer, begins[answer // 3], begins[answer // 3] + 7, 0] for answer in range(3 * documents) if answer % 3 < 2
    ]
    all_of_it = [[answer, 0, 39, 0] for answer in range(2, 3 * documents, 3)]
    spans = np.array([one for one in good if random.random() < 0.9] + all_of_it)
    found = for_spans(items, workers, spans, tokens, 1, partial(dawid_skene, smoothing=0.1))
    truth = {(document, begins[document], begins[document] + 7, 0) for document in range(documents)}
    assert len(truth & set(map(tuple, found.spans.tolist()))) > 0.9 * documents
    assert found.tokens.confusion[2, 0, 1] > 0.9


def test_documents_without_spans_or_tokens_have_none():
    found = for_spans(np.array([0, 0]), np.array([0, 1]), np.zeros((0, 4), int), TOKENS, 1, majority_vote)
    assert found.spans.shape == (0, 4)
    assert found.tied.tolist() == []
