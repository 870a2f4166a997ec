"""Metrics: functions of sums over items, so that intervals, paired differences and groups need no code of their own.

What an item is, is in the columns of a table of facts; a metric needs some of them, makes a row of numbers of each item,
and is a function of the rows' sums:

| metric | facts of an item | rows |
|---|---|---|
| bits_per_byte, byte_, word_, token_perplexity | nats (of the whole text), bytes, words, tokens | themselves |
| token_accuracy | greedy_tokens, tokens | themselves |
| accuracy, exact_match, token_f1, rouge1, rougeL, ... | a score in [0, 1] by that name | the score, 1 |
| word_accuracy | words_right, words | themselves |
| macro_f1, matthews | gold, predicted (a label, or a list of as many) | confusion matrix |
| pearson, spearman | gold_value, predicted_value | moments, of values or of ranks |
| calibration_error | confidence, accuracy | of 15 equal bins of confidence: items, confidence, right ones |
| f1 | positive_found, positive_right, positive_gold | themselves |
| span_f1 | spans_found, spans_right, spans_gold | themselves |
| stereotype_gap, stereotype_share | stereotype_preferred | the score, 1 |
| coreference_gap | accuracy_pro, accuracy_anti | themselves, 1 |
| accuracy_, bias_ambiguous, _disambiguated | ambiguous, accuracy, answered, biased | themselves, of these items |
| counterfactual_distance, _difference, _share | the same, swapped | themselves |
| toxicity, toxic_share | toxicity, toxic | the score, 1 |
| bleu, chrf | hypothesis, references | sacrebleu's counts of n-grams |

bits_per_byte is the sum of nats over ln 2 times the sum of bytes: of the corpus, not the mean of documents. Token perplexity
compares models of the same tokenizer only. An interval is Wilson's where an item is right or wrong and items are
independent, else percentiles of a bootstrap over items, or over clusters of them (column `cluster`), a little wider than 95% as
Hesterberg (2014) has it for few items. There is none for less than two of these, nor where all draws give the same, as they do
where a model says one thing always: that tells nothing of other items. One item without a number leaves a metric without one.
A share of 0 or 1 over clusters has Wilson's interval of as many clusters. `n` are the items that add to the sums: a text in
which nothing is swapped is none of those that a counterfactual metric is of.

Ranks are those of all items, in all draws. The calibration error of a finite sample is too high (Kumar et al. 2019), its draws
are more so: its interval is for comparison, and does not hold 0 of a model that is calibrated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from curate.audit.bias.statistics import wilson
from curate.evaluation.statistics import wide
from curate.evaluation.sums import (
    ambiguous_bias,
    beside_one,
    bias,
    bins,
    bits,
    calibration,
    columns,
    confusion,
    correlation,
    distance_from_half,
    f1,
    gap,
    macro_f1,
    matthews,
    moments,
    ngrams,
    of_context,
    perplexity,
    rank_moments,
    ratio,
    score,
)
from curate.labeling.agreement import bootstrap
from curate.train.objectives.texts import sacrebleu

__all__ = [
    "METRICS",
    "Measured",
    "Metric",
    "adding",
    "clustered",
    "finite",
    "group_measures",
    "is_binary",
    "measure",
    "measures",
    "signatures",
]

Numbers = NDArray[np.float64]
Rows = Any
"""Items by sums: an array, or a sparse matrix."""
BINS = 15
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Metric:
    """A function of sums over items.

    Attributes:
        facts: Columns that it needs.
        rows: From a table of items to what each adds to the sums.
        value: From sums (draws by sums) to a value each; NaN where there is none.
        higher_is_better: Which way is better.
        ideal: The best value, where neither way is better: values are judged by their distance from it.
        share: An item is right or wrong, where all values are 0 or 1.
        together: Sums depend on what values there are: the rows of two models are made of both tables at once.
    """

    facts: tuple[str, ...]
    rows: Callable[[pa.Table], Rows]
    value: Callable[[Numbers], Numbers]
    higher_is_better: bool = True
    ideal: float | None = None
    share: bool = False
    together: bool = False

    def judged(self, sums: Numbers) -> Numbers:
        """The values as two models are compared by them."""
        found = self.value(sums)
        return found if self.ideal is None else np.abs(found - self.ideal)

    @property
    def way(self) -> str:
        """Which way is better, in words."""
        if self.ideal is not None:
            return f"{self.ideal:g} is best"
        return "higher is better" if self.higher_is_better else "lower is better"


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric's value on the `n` items that it is a function of, with its 95% interval; `clusters` of them where not alone."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    clusters: int | None = None

    def json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        found = {"value": self.value, "low": self.low, "high": self.high, "n": self.n}
        return found if self.clusters is None else {**found, "clusters": self.clusters}


def measures(items: pa.Table, metrics: tuple[str, ...] | None = None, *, seed: int = 0) -> dict[str, Measured]:
    """All metrics that the facts of the items give, or those that are named, in the order of `METRICS`."""
    there = set(items.column_names)
    names = [name for name, metric in METRICS.items() if there.issuperset(metric.facts)]
    return {name: measure(name, items, seed=seed) for name in names if metrics is None or name in metrics}


def group_measures(items: pa.Table, by: str, metrics: tuple[str, ...] | None = None) -> dict[str, dict[str, Measured]]:
    """The metrics of the items of each value of a column, by name of the value."""
    import pyarrow.compute as compute

    column = compute.fill_null(items[by].cast(pa.string()), "(none)")
    return {
        value: measures(items.filter(compute.equal(column, value)), metrics)
        for value in sorted(compute.unique(column).to_pylist())
    }


def measure(name: str, items: pa.Table, *, seed: int = 0) -> Measured:
    """One metric of some items, with its interval."""
    metric = METRICS[name]
    if not items.num_rows:
        return Measured(None, None, None, 0)
    with np.errstate(invalid="ignore"):  # what is no number is looked for below
        rows = metric.rows(items)
        counted = adding(rows)
        rows, clusters = clustered(rows[counted], items.filter(pa.array(counted)))
        count = int(counted.sum())
        if not count:
            return Measured(None, None, None, 0)
        value = float(metric.value(np.asarray(rows.sum(axis=0), np.float64).reshape(1, -1))[0])
    if metric.share and (value in (0.0, 1.0) or (clusters is None and is_binary(rows))):
        share = wilson(value * rows.shape[0], rows.shape[0])
        return Measured(value, share.low, share.high, count, clusters)
    alone = Measured(None if math.isnan(value) else value, None, None, count, clusters)
    if rows.shape[0] < 2 or not finite(rows):
        return alone
    found = bootstrap(rows, metric.value, seed=seed, resamples=RESAMPLES, confidence=wide(rows.shape[0]))
    if found is None or found.low == found.high:
        return alone
    return Measured(found.value, found.low, found.high, count, clusters)


def adding(rows: Rows) -> NDArray[np.bool_]:
    """Which items add something to the sums: those that the metric is a function of."""
    return np.asarray(abs(rows).sum(axis=1) != 0).ravel()


def clustered(rows: Rows, items: pa.Table) -> tuple[Rows, int | None]:
    """The rows added up within clusters, and the number of clusters; None where each item is alone.

    An item without a cluster is one of its own.
    """
    if "cluster" not in items.column_names:
        return rows, None
    names = items["cluster"].cast(pa.string()).combine_chunks().dictionary_encode().indices
    codes = names.to_numpy(zero_copy_only=False)
    alone = np.isnan(codes.astype(np.float64))
    known = int(codes[~alone].max(initial=-1)) + 1
    codes = np.where(alone, known + np.cumsum(alone) - 1, codes).astype(np.int64)
    count = known + int(alone.sum())
    if count == items.num_rows:
        return rows, None
    sums = sparse.csr_array((np.ones(len(codes)), (codes, np.arange(len(codes)))), shape=(count, len(codes)))
    return sums @ rows, count


def finite(rows: Rows) -> bool:
    """No item adds what is not a number: a sum with one is not one either."""
    return bool(np.isfinite(rows.data if sparse.issparse(rows) else rows).all())


def is_binary(rows: Rows) -> bool:
    """Each item is right or wrong: what it adds first is 0 or 1."""
    return isinstance(rows, np.ndarray) and bool(np.isin(rows[:, 0], (0.0, 1.0)).all())


def _mean(name: str, *, higher_is_better: bool = True, ideal: float | None = None) -> Metric:
    return Metric((name,), beside_one(name), ratio, higher_is_better=higher_is_better, ideal=ideal, share=True)


def _f1(what: str) -> Metric:
    counts = tuple(f"{what}_{name}" for name in ("found", "right", "gold"))
    return Metric(counts, columns(*counts), f1)


_BBQ = ("ambiguous", "accuracy", "answered", "biased")
METRICS: dict[str, Metric] = {
    "bits_per_byte": Metric(("nats", "bytes"), columns("nats", "bytes"), bits, higher_is_better=False),
    "byte_perplexity": Metric(("nats", "bytes"), columns("nats", "bytes"), perplexity, higher_is_better=False),
    "word_perplexity": Metric(("nats", "words"), columns("nats", "words"), perplexity, higher_is_better=False),
    "token_perplexity": Metric(("nats", "tokens"), columns("nats", "tokens"), perplexity, higher_is_better=False),
    "token_accuracy": Metric(("greedy_tokens", "tokens"), columns("greedy_tokens", "tokens"), ratio),
    "accuracy": _mean("accuracy"),
    "accuracy_normalized": _mean("accuracy_normalized"),
    "word_accuracy": Metric(("words_right", "words"), columns("words_right", "words"), ratio),
    "macro_f1": Metric(("gold", "predicted"), confusion, macro_f1, together=True),
    "matthews": Metric(("gold", "predicted"), confusion, matthews, together=True),
    "pearson": Metric(("gold_value", "predicted_value"), moments, correlation),
    "spearman": Metric(("gold_value", "predicted_value"), rank_moments, correlation),
    "calibration_error": Metric(("confidence", "accuracy"), bins, calibration, higher_is_better=False),
    "f1": _f1("positive"),
    "span_f1": _f1("spans"),
    "accuracy_pro": _mean("accuracy_pro"),
    "accuracy_anti": _mean("accuracy_anti"),
    "coreference_gap": Metric(
        ("accuracy_pro", "accuracy_anti"),
        beside_one("accuracy_pro", "accuracy_anti"),
        gap,
        higher_is_better=False,
        ideal=0.0,
    ),
    "accuracy_ambiguous": Metric(_BBQ, of_context(ambiguous=True), ratio),
    "accuracy_disambiguated": Metric(_BBQ, of_context(ambiguous=False), ratio),
    "bias_ambiguous": Metric(_BBQ, of_context(ambiguous=True), ambiguous_bias, higher_is_better=False, ideal=0.0),
    "bias_disambiguated": Metric(_BBQ, of_context(ambiguous=False), bias, higher_is_better=False, ideal=0.0),
    "stereotype_gap": Metric(
        ("stereotype_preferred",), beside_one("stereotype_preferred"), distance_from_half, higher_is_better=False
    ),
    "stereotype_share": _mean("stereotype_preferred", higher_is_better=False, ideal=0.5),
    **{
        name: Metric((name, "swapped"), columns(name, "swapped"), ratio, higher_is_better=False, ideal=ideal)
        for name, ideal in (
            ("counterfactual_distance", None),
            ("counterfactual_difference", 0.0),
            ("counterfactual_share", 0.5),
        )
    },
    "toxicity": _mean("toxicity", higher_is_better=False),
    "toxic_share": _mean("toxic", higher_is_better=False),
    "exact_match": _mean("exact_match"),
    "token_f1": _mean("token_f1"),
    "bleu": Metric(("hypothesis", "references"), ngrams("bleu"), score("bleu")),
    "chrf": Metric(("hypothesis", "references"), ngrams("chrf"), score("chrf")),
    "rouge1": _mean("rouge1"),
    "rouge2": _mean("rouge2"),
    "rougeL": _mean("rougeL"),
}


def signatures(items: pa.Table) -> dict[str, str]:
    """Sacrebleu's signatures of the metrics that it computes: what makes two scores comparable."""
    if "references" not in items.column_names:
        return {}
    counts = set(map(len, items["references"].to_pylist()))
    found: dict[str, str] = {}
    for name in ("bleu", "chrf"):
        scorer = sacrebleu(name)
        scorer.num_refs = counts.pop() if len(counts) == 1 else -1
        counts = {scorer.num_refs}
        found[name] = str(scorer.get_signature())
    return found
