"""What the bias audit promises of its errors: it flags nothing where there is nothing, and finds what is there.

`CURATE_BIAS_RUNS=200` is the longer version, whose numbers stand in benchmarks/RESULTS.md.
"""

from __future__ import annotations

import os

import numpy as np
import polars
import pytest

from curate.audit.bias.association import association
from curate.audit.bias.impact import impact
from curate.audit.bias.scored import scored
from curate.audit.bias.tables import ALL, Corpus

RUNS, ATTRIBUTES = int(os.environ.get("CURATE_BIAS_RUNS", "20")), 200


def corpus_of(members: np.ndarray, attributes: np.ndarray, *, removed: np.ndarray | None = None, scores=None) -> Corpus:
    """Documents of one sentence each; the first group's axis has all documents."""
    documents, groups = members.shape
    corpus = Corpus(
        [("axis", f"g{at}") for at in range(groups)], [("topic", f"a{at}") for at in range(attributes.shape[1])], [ALL]
    )
    corpus.members, corpus.measured, corpus.clusters = members, documents, np.arange(documents)
    corpus.alive = np.ones(documents, bool)
    corpus.read = np.append(members.sum(axis=0), documents)
    one, group = np.nonzero(members)
    named = polars.DataFrame({"document": one, "group": group})
    axis = named.select("document").unique().with_columns(group=pl_int(-1))
    corpus.sentences = polars.concat([named, axis]).with_columns(len=polars.lit(1))
    rows, attribute = np.nonzero(attributes)
    corpus.joint = (
        polars.concat([named, axis])
        .join(polars.DataFrame({"document": rows, "attribute": attribute}), on="document")
        .with_columns(len=polars.lit(1))
    )
    gone = np.zeros(documents, bool) if removed is None else removed
    table = np.zeros((1, groups + 1, 2), np.int64)
    for outcome, chosen in ((0, ~gone), (1, gone)):
        table[0, :-1, outcome], table[0, -1, outcome] = members[chosen].sum(axis=0), chosen.sum()
    corpus.removal = {ALL: table}
    corpus.values = {} if scores is None else {"score": scores}
    return corpus


def pl_int(value: int) -> polars.Expr:
    return polars.lit(value, polars.Int64)


def flags(measures) -> int:
    return sum(one.verdict == "flagged" for one in measures)


def null_association(size: int, run: int) -> Corpus:
    """Two random groups of `size`, and attributes that have nothing to do with them."""
    generator = np.random.default_rng([size, run])
    of = generator.integers(0, 2, 2 * size)
    shares = generator.uniform(0.005, 0.3, ATTRIBUTES)
    return corpus_of(np.stack([of == 0, of == 1], axis=1), generator.random((2 * size, ATTRIBUTES)) < shares)


def null_removal(run: int) -> Corpus:
    """Forty random groups, a filter that drops at random, and random scores."""
    generator = np.random.default_rng(run)
    members = generator.random((4000, 40)) < generator.uniform(0.002, 0.2, 40)
    values = generator.normal(size=4000).round(1)
    return corpus_of(members, np.zeros((4000, 0), bool), removed=generator.random(4000) < 0.3, scores=values)


def planted(share: float, ratio: float = 3.0) -> float:
    odds = ratio * share / (1 - share)
    return odds / (1 + odds)


def finds_association(run: int) -> bool:
    """Whether one attribute of 200 with odds of 3 in a group of 500 is flagged."""
    generator = np.random.default_rng(run)
    of = np.repeat([0, 1], 500)
    attributes = generator.random((1000, ATTRIBUTES)) < 0.1
    attributes[:, 0] = generator.random(1000) < np.where(of == 0, planted(0.1), 0.1)
    measures = association(corpus_of(np.stack([of == 0, of == 1], axis=1), attributes))
    return any(one.verdict == "flagged" and (one.subject, one.group) == ("topic.a0", "g0") for one in measures)


def finds_removal(run: int) -> bool:
    """Whether a filter with odds of 3 for one group of 500, among forty, is flagged."""
    generator = np.random.default_rng(run)
    members = generator.random((8000, 40)) < 500 / 8000
    removed = generator.random(8000) < np.where(members[:, 0], planted(0.1), 0.1)
    measures = impact(corpus_of(members, np.zeros((8000, 0), bool), removed=removed))
    return any(one.verdict == "flagged" and one.group == "g0" for one in measures)


@pytest.mark.slow
@pytest.mark.parametrize("size", [100, 500])
def test_random_groups_are_flagged_in_at_most_5_percent_of_runs(size):
    flagged = sum(flags(association(null_association(size, run))) > 0 for run in range(RUNS))
    assert flagged <= 0.05 * RUNS


@pytest.mark.slow
def test_random_removal_and_random_scores_of_many_groups_are_flagged_in_at_most_5_percent_of_runs():
    corpora = [null_removal(run) for run in range(RUNS)]
    assert sum(flags(impact(corpus)) > 0 for corpus in corpora) <= 0.05 * RUNS
    assert sum(flags(scored(corpus, {})) > 0 for corpus in corpora) <= 0.05 * RUNS


@pytest.mark.slow
def test_an_odds_ratio_of_3_at_n_500_is_found_among_200_attributes_in_90_percent_of_runs():
    assert sum(finds_association(run) for run in range(RUNS)) >= 0.9 * RUNS


@pytest.mark.slow
def test_a_filter_that_removes_a_group_of_500_with_odds_of_3_is_found_in_90_percent_of_runs():
    assert sum(finds_removal(run) for run in range(RUNS)) >= 0.9 * RUNS
