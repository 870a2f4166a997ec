"""What is said beside whom: attributes in sentences that mention a group, held against sentences that mention others.

The unit is the sentence, and the others are sentences that mention another group of the same axis and not this one. Sentences
of one document are no independent evidence: the interval of the odds ratio is over documents, and its p-value is the largest
of that, of the drawn odds, and (where these are below 0.05) of the table (Fisher, or G2). The log odds with a Dirichlet prior
of 5 sentences draw rare words to no difference; nPMI and its gap are told beside.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import polars

from curate.audit.bias.measure import LEAST_JOINT, SIGNIFICANT, Measure, decide
from curate.audit.bias.statistics import (
    by_cluster,
    clustered_odds,
    detectable_ratio,
    independence,
    log_odds,
    npmi,
    weighted,
)
from curate.audit.bias.tables import Corpus

__all__ = ["association"]

PRIOR = 5.0
LEAST_SENTENCES = 30


def association(corpus: Corpus) -> list[Measure]:
    """A measure for every group and attribute that stand together, or could be expected to."""
    if corpus.sentences is None or corpus.joint is None:
        return []
    return decide(list(_all(corpus)))


def _all(corpus: Corpus) -> Iterator[Measure]:
    assert corpus.sentences is not None and corpus.joint is not None
    axes = list(dict.fromkeys(axis for axis, _ in corpus.groups))
    lengths = {int(group): rows.sort("document") for (group,), rows in _parts(corpus.sentences, "group")}
    joint = {key: rows for key, rows in _parts(corpus.joint, "group", "attribute")}
    for number, (axis, group) in enumerate(corpus.groups):
        whole = lengths.get(-1 - axes.index(axis))
        mine = lengths.get(number)
        if whole is None or mine is None:
            continue
        documents = whole["document"].to_numpy()
        all_of, of = whole["len"].to_numpy().astype(float), np.zeros(len(documents))
        of[np.searchsorted(documents, mine["document"].to_numpy())] = mine["len"].to_numpy()
        for attribute, (topic, name) in enumerate(corpus.attributes):
            hits, all_hits = (
                _spread(joint.get((key, attribute)), documents) for key in (number, -1 - axes.index(axis))
            )
            table = np.stack([hits, of - hits, all_hits - hits, all_of - of - (all_hits - hits)], axis=1)
            counts = by_cluster(weighted(table, corpus, documents), corpus.clusters[documents])
            yield _measure(f"{topic}.{name}", axis, group, table, counts)


def _parts(frame: polars.DataFrame, *by: str) -> Iterator[tuple[tuple[int, ...], polars.DataFrame]]:
    for key, rows in frame.partition_by(*by, as_dict=True).items():
        yield tuple(int(one) for one in key), rows


def _spread(rows: polars.DataFrame | None, documents: np.ndarray) -> np.ndarray:
    values = np.zeros(len(documents))
    if rows is not None:
        values[np.searchsorted(documents, rows["document"].to_numpy())] = rows["len"].to_numpy()
    return values


def _measure(attribute: str, axis: str, group: str, found: np.ndarray, table: np.ndarray) -> Measure:
    """Of sentences as found, and by cluster and weight."""
    plain = found.sum(axis=0).astype(int).tolist()
    hits, misses, hits_other, misses_other = table.sum(axis=0).tolist()
    n, others, both = hits + misses, hits_other + misses_other, hits + hits_other
    facts = {
        "hits": plain[0],
        "hits_others": plain[2],
        "share": hits / n if n else 0.0,
        "share_others": hits_other / others if others else 0.0,
    }
    measure = Measure(
        "association", attribute, axis, group, plain[0] + plain[1], plain[2] + plain[3], "odds ratio", facts=facts
    )
    if (
        min(n, others) < LEAST_SENTENCES
        or min(both, misses + misses_other) < LEAST_JOINT
        or both * n / (n + others) < LEAST_JOINT / 2
    ):
        return measure
    odds = clustered_odds(table)
    drawn = log_odds(hits, n, hits_other, others, both / (n + others), PRIOR)
    p = max(odds.p or 0.0, drawn.p or 0.0)
    if p < SIGNIFICANT:  # a larger one is none anyway, and what it is changes no other's q-value below that
        p = max(p, independence(*(round(one) for one in (hits, misses, hits_other, misses_other))))
    mine = npmi(hits, n, both, n + others)
    facts |= {
        "log_odds": drawn.value,
        "z": drawn.value / ((drawn.high - drawn.low) / (2 * 1.959964)),
        "npmi": mine,
        "npmi_gap": mine - npmi(hits_other, others, both, n + others),
        "documents": int((table[:, 0] + table[:, 2] > 0).sum()),
    }
    least = detectable_ratio(both / (n + others), n, others)
    return replace(measure, estimate=odds._replace(p=p), facts=facts, detectable=least)
