"""Metrics against libraries that people know them from, and what is told where there is little to tell."""

from __future__ import annotations

import math
import random as chance

import numpy as np
import pyarrow as pa
import pytest

from curate.evaluation.metrics import METRICS, group_measures, measure, measures, signatures
from curate.train.objectives.texts import judged
from tests.oracles import library

SAID = ["the cat sat on the mat", "a dog runs", "", "It is raining cats and dogs.", "nothing at all like it"]
RIGHT = [
    ["the cat sat on a mat", "a cat sat on the mat"],
    ["the dogs run"],
    ["empty"],
    ["It rains cats and dogs."],
    ["all"],
]


def _labels(n=300, names=("a", "b", "c")):
    random = chance.Random(n)
    gold = [random.choice(names) for _ in range(n)]
    return gold, [one if random.random() < 0.6 else random.choice((*names, "never")) for one in gold]


def test_macro_f1_and_matthews_are_those_of_scikit_learn():
    metrics, (gold, predicted) = library("sklearn.metrics"), _labels()
    found = measures(pa.table({"gold": gold, "predicted": predicted}))
    assert found["macro_f1"].value == pytest.approx(metrics.f1_score(gold, predicted, average="macro", zero_division=0))
    assert found["matthews"].value == pytest.approx(metrics.matthews_corrcoef(gold, predicted))
    assert found["macro_f1"].low < found["macro_f1"].value < found["macro_f1"].high


@pytest.mark.parametrize("scale", [1.0, 1e9, 1e-9])
def test_correlations_are_those_of_scipy_at_any_scale(scale):
    from scipy.stats import pearsonr, spearmanr

    random = np.random.default_rng(3)
    gold = scale * (1000 + random.standard_normal(200).round(1))
    predicted = gold + scale * random.standard_normal(200)
    found = measures(pa.table({"gold_value": gold, "predicted_value": predicted}))
    assert found["pearson"].value == pytest.approx(pearsonr(gold, predicted).statistic, abs=1e-9)
    assert found["spearman"].value == pytest.approx(spearmanr(gold, predicted).statistic, abs=1e-9)


def test_bleu_and_chrf_are_those_of_the_corpus():
    library("sacrebleu")
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    facts = judged(SAID, RIGHT, ("bleu", "chrf"))
    found = measures(pa.table(facts))
    streams = [[one[place] if place < len(one) else None for one in RIGHT] for place in range(2)]
    assert found["bleu"].value == pytest.approx(BLEU().corpus_score(SAID, streams).score)
    assert found["chrf"].value == pytest.approx(CHRF().corpus_score(SAID, streams).score)


def test_rouge_is_the_mean_of_the_best_reference():
    library("rouge_score")
    from rouge_score.rouge_scorer import RougeScorer

    names = ["rouge1", "rouge2", "rougeL"]
    found = measures(pa.table(judged(SAID, RIGHT, tuple(names))))
    scorer = RougeScorer(names, use_stemmer=True)
    for name in names:
        best = [
            max(scorer.score(right, said)[name].fmeasure for right in some)
            for said, some in zip(SAID, RIGHT, strict=True)
        ]
        assert found[name].value == pytest.approx(np.mean(best))


def test_perplexities_are_of_the_corpus_and_not_the_mean_of_documents():
    table = pa.table({"nats": [10.0, 300.0], "bytes": [10, 1000], "words": [2, 200], "tokens": [4, 400]})
    found = measures(table)
    bits = 310 / 1010 / math.log(2)
    assert found["bits_per_byte"].value == pytest.approx(bits)
    assert found["byte_perplexity"].value == pytest.approx(2**bits)
    assert found["word_perplexity"].value == pytest.approx(math.exp(310 / 202))
    assert found["token_perplexity"].value == pytest.approx(math.exp(310 / 404))


def test_calibration_error_is_the_mean_gap_of_bins():
    confidence, right = np.array([0.1, 0.12, 0.95, 0.99, 0.5]), np.array([0.0, 1.0, 1.0, 1.0, 0.0])
    bins = np.minimum((confidence * 15).astype(int), 14)
    gaps = [(bins == one).mean() * abs(confidence[bins == one].mean() - right[bins == one].mean()) for one in set(bins)]
    table = pa.table({"confidence": confidence, "accuracy": right})
    assert measure("calibration_error", table).value == pytest.approx(sum(gaps))


# ---- little to tell


def test_one_item_has_a_value_and_no_interval():
    found = measure("bits_per_byte", pa.table({"nats": [7.0], "bytes": [10]}))
    assert (found.value, found.low, found.n) == (pytest.approx(0.7 / math.log(2)), None, 1)


def test_one_right_item_may_be_luck():
    found = measure("accuracy", pa.table({"accuracy": [1.0]}))
    assert (found.value, found.high) == (1.0, 1.0) and found.low == pytest.approx(0.2065, abs=1e-3)


def test_no_items_have_no_value():
    empty = {
        name: pa.array([], pa.float64()) for name in ("nats", "bytes", "accuracy", "gold_value", "predicted_value")
    }
    strings = {name: pa.array([], pa.string()) for name in ("gold", "predicted", "hypothesis")}
    table = pa.table({**empty, **strings, "references": pa.array([], pa.list_(pa.string()))})
    assert {(one.value, one.low, one.high, one.n) for one in measures(table).values()} == {(None, None, None, 0)}


def test_a_model_that_says_one_thing_has_no_interval_of_width_zero():
    found = measures(pa.table({"gold": ["a", "b"] * 20, "predicted": ["a"] * 40}))
    assert (found["matthews"].value, found["matthews"].low) == (0.0, None)
    assert found["macro_f1"].value == pytest.approx(1 / 3)


def test_one_class_everywhere_is_right_and_tells_nothing_of_others():
    found = measures(pa.table({"gold": ["a"] * 9, "predicted": ["a"] * 9}))
    assert (found["macro_f1"].value, found["macro_f1"].low, found["matthews"].value) == (1.0, None, 0.0)


def test_equal_values_have_no_correlation():
    found = measures(pa.table({"gold_value": [1.0] * 9, "predicted_value": list(range(9))}))
    assert (found["pearson"].value, found["spearman"].value) == (None, None)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_item_without_a_number_is_seen_and_hides_nothing(bad):
    table = pa.table({
        "nats": [1.0, bad, 3.0], "bytes": [1, 1, 1], "token_f1": [0.5, bad, 0.5], "confidence": [0.5, bad, 0.5],
        "accuracy": [1.0, 0.0, 1.0], "gold_value": [1.0, bad, 2.0], "predicted_value": [1.0, 2.0, 3.0],
    })  # fmt: skip
    found = measures(table, ("bits_per_byte", "token_f1", "calibration_error", "pearson"))
    assert all(one.low is None and (one.value is None or one.value == bad) for one in found.values())


def test_a_label_that_is_missing_is_a_wrong_one():
    found = measure("macro_f1", pa.table({"gold": ["a", "b"], "predicted": ["a", None]}))
    assert found.value == pytest.approx(1 / 3)


def test_items_of_a_cluster_count_as_one_for_the_interval():
    alone = pa.table({"accuracy": [1.0, 0.0] * 50})
    found = measure("accuracy", alone.append_column("cluster", [[f"{at // 10}" for at in range(100)]]))
    whole = measure(
        "accuracy", pa.table({"accuracy": [1.0] * 50 + [0.0] * 50, "cluster": [str(at // 10) for at in range(100)]})
    )
    assert (found.value, found.clusters, whole.clusters) == (0.5, 10, 10)
    plain = measure("accuracy", alone)
    assert whole.high - whole.low > 2 * (plain.high - plain.low)


def test_groups_have_names_also_where_there_is_none():
    table = pa.table({"accuracy": [1.0, 0.0, 1.0], "kind": ["x", None, "x"]})
    assert {name: one["accuracy"].n for name, one in group_measures(table, "kind").items()} == {"(none)": 1, "x": 2}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "n"), [("bits_per_byte", 20), ("token_f1", 15), ("macro_f1", 60), ("pearson", 60)])
def test_an_interval_holds_the_truth(name, n):
    random, tries, held = np.random.default_rng(n), 300, 0
    truth = float(
        METRICS[name].value(
            np.asarray(METRICS[name].rows(_drawn(name, random, 100_000)).sum(axis=0), float).reshape(1, -1)
        )[0]
    )
    for seed in range(tries):
        found = measure(name, _drawn(name, random, n), seed=seed)
        held += found.low <= truth <= found.high
    assert 0.91 <= held / tries <= 0.98


def _drawn(name, random, n):
    if name == "bits_per_byte":
        sizes = random.gamma(4, 100, n)
        return pa.table({"nats": sizes * random.gamma(20, 0.05, n), "bytes": sizes})
    if name == "token_f1":
        return pa.table({"token_f1": random.beta(0.5, 0.5, n)})
    if name == "pearson":
        x = random.standard_normal(n)
        return pa.table({"gold_value": x, "predicted_value": x + random.standard_normal(n)})
    gold = random.integers(0, 3, n)
    predicted = np.where(random.random(n) < 0.7, gold, random.integers(0, 3, n))
    return pa.table({"gold": [str(one) for one in gold], "predicted": [str(one) for one in predicted]})


def test_n_are_the_items_that_a_metric_is_a_function_of():
    bbq = pa.table(
        {"ambiguous": [1.0, 0.0] * 6, "accuracy": [1.0, 0.0] * 6, "answered": [0.0, 1.0] * 6, "biased": [0.0] * 12}
    )
    found = measures(bbq)
    assert {name: one.n for name, one in found.items()} == {
        "accuracy": 12, "accuracy_ambiguous": 6, "accuracy_disambiguated": 6, "bias_ambiguous": 6, "bias_disambiguated": 6,
    }  # fmt: skip
    swapped = {"swapped": [1.0, 0.0] * 5, "counterfactual_difference": [0.5, 0.0] * 5}
    assert measure("counterfactual_difference", pa.table(swapped)).n == 5
    none = {"swapped": [0.0] * 5, "counterfactual_difference": [0.0] * 5}
    assert measure("counterfactual_difference", pa.table(none)) == (
        measure("accuracy", pa.table({"accuracy": pa.array([], "f8")}))
    )


def test_items_without_a_cluster_are_alone_and_a_share_of_all_clusters_has_an_interval():
    items = {"accuracy": [1.0, 0.0] * 6, "cluster": ["a", "a", None, None, "b", "b", *[None] * 6]}
    found = measure("accuracy", pa.table(items))
    assert (found.n, found.clusters) == (12, 10)
    all_right = measure("accuracy", pa.table({"accuracy": [1.0] * 12, "cluster": list("aabbccddeeff")}))
    alone = measure("accuracy", pa.table({"accuracy": [1.0] * 6}))
    assert (all_right.value, all_right.low, all_right.high) == (1.0, alone.low, alone.high) and all_right.low < 0.7


def test_an_interval_of_clusters_is_not_that_of_items():
    items = {"accuracy": [1.0] * 20 + [0.0] * 20}
    alone = measure("accuracy", pa.table(items))
    together = measure("accuracy", pa.table({**items, "cluster": [str(at // 10) for at in range(40)]}))
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


def test_intervals_of_few_items_are_wider_than_the_percentiles():
    values = [0.1, 0.2, 0.4, 0.8, 0.9]
    found = measure("token_f1", pa.table({"token_f1": values}))
    draws = np.random.default_rng(0).choice(values, (20_000, 5)).mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    assert found.high - found.low > 1.15 * (high - low)


def test_a_label_that_is_nowhere_in_a_draw_does_not_count_in_it():
    gold = ["a"] * 99 + ["b"]
    found = measure("macro_f1", pa.table({"gold": gold, "predicted": gold}))
    assert found.value == 1.0 and found.low is None  # 1 in every draw, with b or without


def test_signatures_tell_how_many_references_there_are():
    library("sacrebleu")
    facts = judged(SAID, RIGHT, ("bleu", "chrf"))
    assert "nrefs:var" in signatures(pa.table(facts))["bleu"]
    one = judged(SAID, [some[:1] for some in RIGHT], ("bleu", "chrf"))
    assert all("nrefs:1|" in words for words in signatures(pa.table(one)).values())
    assert signatures(pa.table({"accuracy": [1.0]})) == {}
