"""How a classifier treats groups: false alarms and misses by group, and AUCs of subgroups, where documents have labels.

    subgroup    within the documents that mention the group
    BPSN        background positive, subgroup negative: low where harmless mentions of the group score too high
    BNSP        background negative, subgroup positive: low where harmful mentions of the group score too low

Source: Borkan et al. (2019), "Nuanced Metrics for Measuring Unintended Bias". AUCs need 20 positives and 20 negatives; the
power mean (p = -5) over groups has the interval of its influence function.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from curate.audit.bias.measure import LEAST_DOCUMENTS, LEAST_JOINT, Measure, decide
from curate.audit.bias.scores import auc, placements, power_mean
from curate.audit.bias.statistics import Z, by_cluster, clustered_odds, detectable_ratio, wilson
from curate.audit.bias.tables import Corpus

__all__ = ["KINDS", "classifier", "no_shares", "not_truths", "power_means", "truths"]

LEAST_EACH = 20
KINDS = ("subgroup", "bpsn", "bnsp")
WORDS = {"true": 1.0, "yes": 1.0, "toxic": 1.0, "false": 0.0, "no": 0.0, "nontoxic": 0.0}


def truths(values: list[Any]) -> np.ndarray:
    """Labels as 1, 0 or nan: numbers from one half, truth values, and the words for them."""
    found = np.full(len(values), np.nan)
    for at, value in enumerate(values):
        if isinstance(value, int | float) and not math.isnan(value):
            found[at] = float(value >= 0.5)
        elif isinstance(value, str):
            found[at] = WORDS.get(value.strip().lower(), np.nan)
    return found


def not_truths(values: list[Any]) -> str | None:
    """Why a column is no truth to hold a score against; None where it is."""
    for value in values:
        if isinstance(value, int | float) and not math.isnan(value) and not 0 <= value <= 1:
            return f"the label has the value {value:g}: what is true or false is 0 or 1, or a share between them"
        if isinstance(value, str) and value.strip().lower() not in WORDS:
            return f"the label has other words than {', '.join(WORDS)}"
    return None


def no_shares(score: np.ndarray) -> bool:
    """Whether a score is none of 0 to 1, for which alarms at 0.5 mean nothing."""
    return bool(((score < 0) | (score > 1)).any())


def classifier(corpus: Corpus, label: np.ndarray, score: np.ndarray, *, threshold: float = 0.5) -> list[Measure]:
    """False positives and false negatives of every group, each with the AUCs of the group."""
    there = np.isfinite(label) & np.isfinite(score)
    found = []
    for number, (axis, group) in enumerate(corpus.groups):
        member = corpus.members[:, number]
        aucs = {kind: _auc(score, *_sides(kind, member, label, there)) for kind in KINDS}
        for name, of, wrong in (
            ("false positives", there & (label == 0), score >= threshold),
            ("false negatives", there & (label == 1), score < threshold),
        ):
            mine, others = of & member, of & ~member
            hits, hits_other = int((wrong & mine).sum()), int((wrong & others).sum())
            n, n_other = int(mine.sum()), int(others.sum())
            facts = {
                "rate": wilson(hits, n)._asdict() | {"p": None},
                "rate_others": wilson(hits_other, n_other)._asdict() | {"p": None},
                "auc": aucs,
            }
            measure = Measure("classifier", name, axis, group, n, n_other, "odds ratio", facts=facts)
            if min(n, n_other) >= LEAST_DOCUMENTS and hits + hits_other >= LEAST_JOINT:
                rows = np.flatnonzero(of)
                table = np.zeros((len(rows), 4))
                table[np.arange(len(rows)), 2 * (~member[rows]) + (~wrong[rows])] = 1
                table = by_cluster(table, corpus.clusters[rows])
                pooled = (hits + hits_other) / (n + n_other)
                measure = replace(
                    measure, estimate=clustered_odds(table), detectable=detectable_ratio(pooled, n, n_other)
                )
            found.append(measure)
    return decide(found)


def _sides(kind: str, member: np.ndarray, label: np.ndarray, there: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which documents are the positives, and which the negatives."""
    inside, outside = there & member, there & ~member
    positives = (outside if kind == "bpsn" else inside) & (label == 1)
    negatives = (outside if kind == "bnsp" else inside) & (label == 0)
    return positives, negatives


def _auc(score: np.ndarray, positives: np.ndarray, negatives: np.ndarray) -> dict[str, Any] | None:
    """None where there are too few."""
    if min(positives.sum(), negatives.sum()) < LEAST_EACH:
        return None
    found = auc(score[positives], score[negatives])
    return {"value": found.value, "low": found.low, "high": found.high}


def power_means(corpus: Corpus, label: np.ndarray, score: np.ndarray) -> dict[str, dict[str, Any] | None]:
    """By kind the power mean of the groups' AUCs with its interval, and how many groups it is of; None of none."""
    there = np.isfinite(label) & np.isfinite(score)
    told: dict[str, dict[str, Any] | None] = {}
    for kind in KINDS:
        values, influences = [], []
        for number in range(len(corpus.groups)):
            positives, negatives = _sides(kind, corpus.members[:, number], label, there)
            if min(positives.sum(), negatives.sum()) >= LEAST_EACH:
                above, below = placements(score[positives], score[negatives])
                influence = np.zeros(len(label))
                influence[positives] += (above - above.mean()) / 2 / len(above)
                influence[negatives] += (below - below.mean()) / 2 / len(below)
                values.append((above.mean() + 1) / 2)
                influences.append(influence)
        mean = power_mean(values)
        if math.isnan(mean):
            told[kind] = None
            continue
        slopes = (np.array(values) / mean) ** -6 / len(values)
        half = Z * float(np.sqrt(((slopes @ np.array(influences)) ** 2).sum()))
        told[kind] = {"value": mean, "low": mean - half, "high": min(1.0, mean + half), "groups": len(values)}
    return told
