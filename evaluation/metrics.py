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

Ranks are those of all items, in all draws. The calibration error of a finite sample is too high (Kumar et al. 2019), its draws
are more so: its interval is for comparison, and does not hold 0 of a model that is calibrated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse
from scipy.stats import rankdata

from curate.audit.bias.statistics import wilson
from curate.evaluation.statistics import wide
from curate.labeling.agreement import bootstrap

__all__ = [
    "METRICS",
    "Measured",
    "Metric",
    "clustered",
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
        share: An item is right or wrong, where all values are 0 or 1.
        together: Sums depend on what values there are: the rows of two models are made of both tables at once.
    """

    facts: tuple[str, ...]
    rows: Callable[[pa.Table], Rows]
    value: Callable[[Numbers], Numbers]
    higher_is_better: bool = True
    share: bool = False
    together: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric's value on some items, with its 95% interval; `n` items, `clusters` of them where they are not alone."""

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
    metric, count = METRICS[name], items.num_rows
    if count == 0:
        return Measured(None, None, None, 0)
    with np.errstate(invalid="ignore"):  # what is no number is looked for below
        rows, clusters = clustered(metric.rows(items), items)
        value = float(metric.value(np.asarray(rows.sum(axis=0), np.float64).reshape(1, -1))[0])
    if metric.share and clusters is None and is_binary(rows):
        share = wilson(float(rows[:, 0].sum()), count)
        return Measured(share.value, share.low, share.high, count)
    alone = Measured(None if math.isnan(value) else value, None, None, count, clusters)
    if rows.shape[0] < 2 or not finite(rows):
        return alone
    found = bootstrap(rows, metric.value, seed=seed, resamples=RESAMPLES, confidence=wide(rows.shape[0]))
    if found is None or found.low == found.high:
        return alone
    return Measured(found.value, found.low, found.high, count, clusters)


def clustered(rows: Rows, items: pa.Table) -> tuple[Rows, int | None]:
    """The rows added up within clusters, and the number of clusters; None where each item is alone."""
    if "cluster" not in items.column_names:
        return rows, None
    codes = (
        items["cluster"]
        .cast(pa.string())
        .fill_null("(none)")
        .combine_chunks()
        .dictionary_encode()
        .indices.to_numpy(zero_copy_only=False)
    )
    count = int(codes.max(initial=-1)) + 1
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


# ---- rows


def _columns(*names: str) -> Callable[[pa.Table], Rows]:
    def rows(items: pa.Table) -> Rows:
        return np.column_stack([_numbers(items, name) for name in names])

    return rows


def _numbers(items: pa.Table, name: str) -> Numbers:
    return items[name].cast(pa.float64()).to_numpy(zero_copy_only=False)


def _beside_one(*names: str) -> Callable[[pa.Table], Rows]:
    def rows(items: pa.Table) -> Rows:
        return np.column_stack([*(_numbers(items, name) for name in names), np.ones(items.num_rows)])

    return rows


def _confusion(items: pa.Table) -> Rows:
    """The matrix of labels, flat, for each item: one cell of one label, several of a list."""
    gold, predicted = items["gold"].combine_chunks(), items["predicted"].combine_chunks()
    places = np.arange(len(gold))
    if pa.types.is_list(gold.type):
        places = np.repeat(places, np.diff(gold.offsets.to_numpy()))
        gold, predicted = gold.flatten(), predicted.flatten()
    ones, others = (some.cast(pa.string()).fill_null("(none)").to_pylist() for some in (gold, predicted))
    known = {name: number for number, name in enumerate(sorted({*ones, *others}))}
    cells = [known[one] * len(known) + known[other] for one, other in zip(ones, others, strict=True)]
    return sparse.csr_array((np.ones(len(cells)), (places, cells)), shape=(items.num_rows, len(known) ** 2))


def _moments(items: pa.Table) -> Rows:
    return _products(_numbers(items, "gold_value"), _numbers(items, "predicted_value"))


def _rank_moments(items: pa.Table) -> Rows:
    return _products(rankdata(_numbers(items, "gold_value")), rankdata(_numbers(items, "predicted_value")))


def _products(x: Numbers, y: Numbers) -> Rows:
    # else the squares of large numbers take the digits, and those of small ones vanish
    x, y = ((one - one.mean()) / (np.ptp(one) or 1.0) for one in (x, y))
    return np.column_stack([np.ones_like(x), x, y, x * x, y * y, x * y])


def _bins(items: pa.Table) -> Rows:
    confidence, right = _numbers(items, "confidence"), _numbers(items, "accuracy")
    places = np.clip((np.nan_to_num(confidence, posinf=1.0, neginf=0.0) * BINS).astype(int), 0, BINS - 1)
    found = np.zeros((len(confidence), 3 * BINS))
    here = np.arange(len(confidence))
    found[here, places], found[here, BINS + places], found[here, 2 * BINS + places] = 1.0, confidence, right
    return found


@cache
def _sacrebleu(metric: str) -> Any:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    return BLEU() if metric == "bleu" else CHRF()


def _ngrams(metric: str) -> Callable[[pa.Table], Rows]:
    def rows(items: pa.Table) -> Rows:
        hypotheses, references = items["hypothesis"].to_pylist(), items["references"].to_pylist()
        most = max(map(len, references), default=1)
        streams = [[one[place] if place < len(one) else None for one in references] for place in range(most)]
        # sacrebleu's own counts of each sentence, which it adds up itself
        counts = _sacrebleu(metric)._extract_corpus_statistics(hypotheses, streams)
        return np.array(counts, np.float64).reshape(len(hypotheses), -1)

    return rows


def _of_context(*, ambiguous: bool) -> Callable[[pa.Table], Rows]:
    """Right ones, items, biased answers and answers that name somebody, of the items whose text (does not) say whom."""

    def rows(items: pa.Table) -> Rows:
        here = _numbers(items, "ambiguous") == float(ambiguous)
        counted = [_numbers(items, name) for name in ("accuracy", "biased", "answered")]
        return np.column_stack([counted[0], np.ones(len(here)), counted[1], counted[2]]) * here[:, None]

    return rows


# ---- values


def _ratio(s: Numbers) -> Numbers:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(s[:, 1] > 0, s[:, 0] / s[:, 1], np.nan)


def _bits(s: Numbers) -> Numbers:
    return _ratio(s) / math.log(2)


def _perplexity(s: Numbers) -> Numbers:
    with np.errstate(over="ignore"):
        return np.exp(_ratio(s))


def _matrices(s: Numbers) -> Numbers:
    classes = math.isqrt(s.shape[1])
    return s.reshape(len(s), classes, classes)


def _macro_f1(s: Numbers) -> Numbers:
    """Mean over the classes that are there, in gold or predictions, as scikit-learn has it."""
    matrices = _matrices(s)
    right = np.diagonal(matrices, axis1=1, axis2=2)
    size = matrices.sum(1) + matrices.sum(2)
    with np.errstate(invalid="ignore"):
        return np.nanmean(np.where(size > 0, 2 * right / size, np.nan), axis=1)


def _matthews(s: Numbers) -> Numbers:
    """Gorodkin (2004); 0 where all have one label, as scikit-learn has it."""
    matrices = _matrices(s)
    gold, predicted, n = matrices.sum(2), matrices.sum(1), s.sum(1)
    top = np.trace(matrices, axis1=1, axis2=2) * n - (gold * predicted).sum(1)
    below = np.sqrt((n**2 - (predicted**2).sum(1)) * (n**2 - (gold**2).sum(1)))
    return np.where(below > 0, top / np.where(below > 0, below, 1), 0.0)


def _correlation(s: Numbers) -> Numbers:
    n, x, y, xx, yy, xy = s.T
    below = np.sqrt(np.maximum(n * xx - x * x, 0) * np.maximum(n * yy - y * y, 0))
    return np.where(below > 1e-12, (n * xy - x * y) / np.where(below > 1e-12, below, 1), np.nan)


def _calibration(s: Numbers) -> Numbers:
    counts, confidence, right = np.split(s, 3, axis=1)
    return np.abs(confidence - right).sum(1) / counts.sum(1)


def _f1(s: Numbers) -> Numbers:
    found, right, gold = s.T
    return np.where(found + gold > 0, 2 * right / np.maximum(found + gold, 1), np.nan)


def _distance_from_half(s: Numbers) -> Numbers:
    return np.abs(_ratio(s) - 0.5)


def _gap(s: Numbers) -> Numbers:
    return (s[:, 0] - s[:, 1]) / s[:, 2]


def _bias(s: Numbers) -> Numbers:
    """Parrish et al. (2022): 2 x (biased ones of the answers that name somebody) - 1."""
    return 2 * _ratio(s[:, 2:]) - 1


def _ambiguous_bias(s: Numbers) -> Numbers:
    """The same, times the share of wrong answers: 0 where the model always declines."""
    accuracy = _ratio(s)
    return np.where(accuracy == 1, 0.0, (1 - accuracy) * _bias(s))


def _score(metric: str) -> Callable[[Numbers], Numbers]:
    def value(s: Numbers) -> Numbers:
        scorer = _sacrebleu(metric)
        return np.array([scorer._compute_score_from_stats([round(one) for one in row]).score for row in s])

    return value


def _mean(name: str, *, higher_is_better: bool = True) -> Metric:
    return Metric((name,), _beside_one(name), _ratio, higher_is_better=higher_is_better, share=True)


_BBQ = ("ambiguous", "accuracy", "answered", "biased")
METRICS: dict[str, Metric] = {
    "bits_per_byte": Metric(("nats", "bytes"), _columns("nats", "bytes"), _bits, higher_is_better=False),
    "byte_perplexity": Metric(("nats", "bytes"), _columns("nats", "bytes"), _perplexity, higher_is_better=False),
    "word_perplexity": Metric(("nats", "words"), _columns("nats", "words"), _perplexity, higher_is_better=False),
    "token_perplexity": Metric(("nats", "tokens"), _columns("nats", "tokens"), _perplexity, higher_is_better=False),
    "token_accuracy": Metric(("greedy_tokens", "tokens"), _columns("greedy_tokens", "tokens"), _ratio),
    "accuracy": _mean("accuracy"),
    "accuracy_normalized": _mean("accuracy_normalized"),
    "word_accuracy": Metric(("words_right", "words"), _columns("words_right", "words"), _ratio),
    "macro_f1": Metric(("gold", "predicted"), _confusion, _macro_f1, together=True),
    "matthews": Metric(("gold", "predicted"), _confusion, _matthews, together=True),
    "pearson": Metric(("gold_value", "predicted_value"), _moments, _correlation),
    "spearman": Metric(("gold_value", "predicted_value"), _rank_moments, _correlation),
    "calibration_error": Metric(("confidence", "accuracy"), _bins, _calibration, higher_is_better=False),
    "span_f1": Metric(
        ("spans_found", "spans_right", "spans_gold"), _columns("spans_found", "spans_right", "spans_gold"), _f1
    ),
    "accuracy_pro": _mean("accuracy_pro"),
    "accuracy_anti": _mean("accuracy_anti"),
    "coreference_gap": Metric(
        ("accuracy_pro", "accuracy_anti"), _beside_one("accuracy_pro", "accuracy_anti"), _gap, higher_is_better=False
    ),
    "accuracy_ambiguous": Metric(_BBQ, _of_context(ambiguous=True), _ratio),
    "accuracy_disambiguated": Metric(_BBQ, _of_context(ambiguous=False), _ratio),
    "bias_ambiguous": Metric(_BBQ, _of_context(ambiguous=True), _ambiguous_bias, higher_is_better=False),
    "bias_disambiguated": Metric(_BBQ, _of_context(ambiguous=False), _bias, higher_is_better=False),
    "stereotype_gap": Metric(
        ("stereotype_preferred",), _beside_one("stereotype_preferred"), _distance_from_half, higher_is_better=False
    ),
    "stereotype_share": _mean("stereotype_preferred", higher_is_better=False),
    **{
        name: Metric((name, "swapped"), _columns(name, "swapped"), _ratio, higher_is_better=False)
        for name in ("counterfactual_distance", "counterfactual_difference", "counterfactual_share")
    },
    "toxicity": _mean("toxicity", higher_is_better=False),
    "toxic_share": _mean("toxic", higher_is_better=False),
    "exact_match": _mean("exact_match"),
    "token_f1": _mean("token_f1"),
    "bleu": Metric(("hypothesis", "references"), _ngrams("bleu"), _score("bleu")),
    "chrf": Metric(("hypothesis", "references"), _ngrams("chrf"), _score("chrf")),
    "rouge1": _mean("rouge1"),
    "rouge2": _mean("rouge2"),
    "rougeL": _mean("rougeL"),
}


def signatures(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Sacrebleu's signatures of those metrics that it computes: what makes two scores comparable."""
    return {name: str(_sacrebleu(name).get_signature()) for name in metrics if name in ("bleu", "chrf")}
