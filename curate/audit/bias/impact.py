"""Whom every stage takes out: removal by group, held against all other documents that the stage saw.

    rate             share of the group's documents that were removed (Wilson)
    ratio            over the others' share (Katz): 2 is twice as often
    keep ratio       share kept over the others' share kept: below 0.8 fails the four-fifths rule (29 CFR 1607.4 D)
    odds ratio       Mantel and Haenszel, among documents of the same source, language and length (quarters of a doubling)

The odds ratio is what is tested and flagged: it is not moved by a group that is mentioned in longer texts, or in one source. A
group that fails the four-fifths rule where the odds ratio does not show it is `explained` by source, language and length. Where
no other document is like any of the group's, the plain odds are tested, and `adjusted` is false.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from curate.audit.bias.measure import LEAST_DOCUMENTS, LEAST_JOINT, SIGNIFICANT, Measure, decide
from curate.audit.bias.statistics import (
    Estimate,
    detectable_ratio,
    independence,
    informative,
    mantel_haenszel,
    risk_ratio,
    wilson,
)
from curate.audit.bias.tables import Corpus

__all__ = ["FOUR_FIFTHS", "impact"]

FOUR_FIFTHS = 0.8


def impact(corpus: Corpus) -> list[Measure]:
    """A measure for every stage that removed documents (and all of them together) and every group."""
    measures = [
        _measure(corpus, stage, number)
        for stage in corpus.stages
        for number in range(len(corpus.groups))
        if corpus.removal[stage][:, number].any() or stage == corpus.stages[-1]
    ]
    return [_explained(one) for one in decide(measures)]


def _measure(corpus: Corpus, stage: str, number: int) -> Measure:
    axis, group = corpus.groups[number]
    table = corpus.removal[stage]
    mine, others = table[:, number], table[:, -1] - table[:, number]
    (kept, removed), (kept_other, removed_other) = mine.sum(axis=0).tolist(), others.sum(axis=0).tolist()
    n, n_other = kept + removed, kept_other + removed_other
    rate, rate_other = wilson(removed, n), wilson(removed_other, n_other)
    facts = {
        "removed": removed,
        "rate": _plain(rate),
        "removed_others": removed_other,
        "rate_others": _plain(rate_other),
    }
    measure = Measure("impact", stage, axis, group, n, n_other, "odds ratio", facts=facts)
    pooled = (removed + removed_other) / max(n + n_other, 1)
    least = min(pooled, 1 - pooled) * min(n, n_other)
    if min(n, n_other) < LEAST_DOCUMENTS or (least < LEAST_JOINT / 2 and removed < LEAST_JOINT):
        return measure
    odds = mantel_haenszel(mine[:, 1], mine[:, 0], others[:, 1], others[:, 0])
    alike = bool(((mine.sum(axis=1) > 0) & (others.sum(axis=1) > 0)).any())
    crude_p = independence(removed, kept, removed_other, kept_other)
    if not alike:
        whole = (removed, kept, removed_other, kept_other)
        odds = mantel_haenszel(*(np.array([one]) for one in whole))._replace(p=crude_p)
    keep = risk_ratio(kept, n, kept_other, n_other)
    facts |= {
        "ratio": _plain(risk_ratio(removed, n, removed_other, n_other)),
        "keep_ratio": _plain(keep),
        "difference": (removed / n - removed_other / n_other),
        "four_fifths": keep.value >= FOUR_FIFTHS,
        "crude_p": crude_p,
        "adjusted": alike,
    }
    if math.isnan(odds.value) or (alike and not _enough(mine, others)):  # too few alike, or all of them had one fate
        return replace(measure, facts=facts)
    return replace(measure, estimate=odds, facts=facts, detectable=detectable_ratio(pooled, n, n_other))


def _enough(mine: np.ndarray, others: np.ndarray) -> bool:
    """Whether 5 of the group's documents were removed, or could be expected to, and 5 kept, among documents that are alike."""
    a, b, c, d = informative(mine[:, 1], mine[:, 0], others[:, 1], others[:, 0])
    expected = ((a + b) * (a + c) / (a + b + c + d)).sum()
    expected_kept = (a + b).sum() - expected
    return max(a.sum(), expected) >= LEAST_JOINT / 2 and max(b.sum(), expected_kept) >= LEAST_JOINT / 2


def _explained(one: Measure) -> Measure:
    """A plain difference that is none among documents that are alike."""
    keep, p = one.facts.get("keep_ratio"), one.facts.get("crude_p", 1.0)
    if (
        one.verdict in ("none", "insufficient")
        and keep
        and p < SIGNIFICANT
        and keep["value"] < FOUR_FIFTHS
        and keep["high"] < 0.9
    ):
        return replace(one, verdict="explained")
    return one


def _plain(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}
