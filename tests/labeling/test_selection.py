"""Which texts come next: shares that are kept, seeds that decide, pools of any size."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from curate.labeling import selection
from curate.labeling.selection import diverse, margin, margins, mixture

PROBABLE = np.random.default_rng(0).dirichlet(np.ones(3), 1000)
FEATURES = np.random.default_rng(1).standard_normal((1000, 8))


def chosen(strategy, count, seed=0):
    if strategy == "random":
        return selection.random(1000, count, seed=seed)
    if strategy == "margin":
        return margin(margins(PROBABLE), count, seed=seed)
    return diverse(FEATURES, count, seed=seed)


@pytest.mark.parametrize("strategy", ["random", "margin", "diverse"])
def test_the_seed_decides_and_nothing_comes_twice(strategy):
    first = chosen(strategy, 50)
    assert first.tolist() == chosen(strategy, 50).tolist() != chosen(strategy, 50, seed=1).tolist()
    assert len(set(first.tolist())) == 50
    assert sorted(chosen(strategy, 2000).tolist()) == list(range(1000))
    assert chosen(strategy, 0).tolist() == []


def test_margin_takes_the_least_sure_first():
    taken = margin(margins(PROBABLE), 50, seed=0)
    assert (np.diff(margins(PROBABLE)[taken]) >= 0).all()
    assert margins(PROBABLE)[taken].max() < np.quantile(margins(PROBABLE), 0.2)
    assert margins(np.array([[0.5, 0.3, 0.2], [0.9, 0.1, 0]])) == pytest.approx([0.2, 0.8])
    assert margins(np.array([[0.9, 0.6], [0.1, 0.99]]), multilabel=True) == pytest.approx([0.2, 0.8])


def test_diverse_takes_one_of_each_kind_before_two_of_one():
    kinds = np.repeat(np.arange(10), [910, *[10] * 9])
    features = sparse.csr_array(np.eye(10)[kinds])
    taken = diverse(features, 10, seed=0)
    assert len(set(kinds[taken].tolist())) == 10
    assert diverse(features.toarray(), 10, seed=0).tolist() == taken.tolist()


def test_equal_texts_are_still_taken():
    assert len(set(diverse(np.ones((30, 3)), 30, seed=0).tolist())) == 30


def test_a_fifth_at_least_is_random_and_is_told():
    found = mixture(np.arange(50), 1000, 50, seed=0)
    assert found.at_random.sum() == 10
    assert len(set(found.rows.tolist())) == 50
    assert (found.rows[~found.at_random] < 50).all()
    assert found.rows[found.at_random].max() > 50


def test_a_pool_that_is_smaller_than_the_round_is_taken_whole():
    found = mixture(np.arange(5), 7, 50, seed=0)
    assert sorted(found.rows.tolist()) == list(range(7))


def test_a_million_rows_are_looked_at_in_part(monkeypatch):
    seen = []
    monkeypatch.setattr(selection, "_FEWEST", 300)

    class Rows:
        shape = (1_000_000, 2)

        def __getitem__(self, rows):
            seen.append(len(rows))
            return np.column_stack([rows % 7, rows % 5]).astype(float)

    assert len(diverse(Rows(), 10, seed=0)) == 10
    assert seen == [300]
