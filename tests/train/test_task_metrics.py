"""Metrics that tasks are known by, of the validation split: spans, a positive class, correlations, texts."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sklearn.metrics import f1_score

from curate.errors import CurateError
from curate.train.data.tasks import positive_of
from curate.train.objectives.metrics import class_metrics, confusion, spearman
from curate.train.objectives.spans import span_counts, spans
from curate.train.objectives.texts import exact_match, summed, text_scores, token_f1


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (["O", "B-PER", "I-PER", "O"], {(1, 3, "PER")}),
        (["B-PER", "B-PER", "I-LOC"], {(0, 1, "PER"), (1, 2, "PER"), (2, 3, "LOC")}),
        (["I-PER", "O", "I-PER"], {(0, 1, "PER"), (2, 3, "PER")}),
        (["S-PER", "S-PER", "B-LOC", "E-LOC"], {(0, 1, "PER"), (1, 2, "PER"), (2, 4, "LOC")}),
        (["PER", "PER", "O", "LOC"], {(0, 2, "PER"), (3, 4, "LOC")}),
        (["O", "O"], set()),
    ],
)
def test_spans_are_those_of_conlleval(labels, found):
    assert spans(labels) == found


def test_a_span_counts_where_begin_end_and_type_are_right():
    gold = ["B-PER", "I-PER", "O", "B-LOC", "B-ORG"]
    assert span_counts(gold, ["B-PER", "I-PER", "O", "B-ORG", None]) == (3, 2, 1)
    assert span_counts(gold, gold) == (3, 3, 3)


def test_words_are_compared_as_squad_does():
    assert exact_match("The  answer, is: A dog.", "answer is dog") == 1.0
    assert token_f1("a big big dog", "big dog") == pytest.approx(0.8)
    assert token_f1("", "dog") == 0.0


def test_an_answer_of_which_squad_leaves_nothing_is_compared_as_it_is():
    assert exact_match("a", "A") == token_f1("+", "+ ") == 1.0
    assert exact_match("", "A") == token_f1("", "A") == exact_match("-", "+") == token_f1("the", "a") == 0.0


SAID = ["the cat sat on the mat", "a dog", "", "seven owls sleep by day"]
RIGHT = ["the cat sat on a mat", "the dog", "an owl", "seven owls sleep all day"]


def test_scores_of_texts_add_up_over_pieces_and_are_those_of_sacrebleu():
    metrics = ("exact_match", "token_f1", "bleu", "chrf", "rougeL")
    pieces = [summed(SAID[some], RIGHT[some], metrics) for some in (slice(0, 1), slice(1, 1), slice(1, 4))]
    found = text_scores({name: sum(piece[name] for piece in pieces) for name in pieces[0]})
    assert found["bleu"] == pytest.approx(BLEU().corpus_score(SAID, [RIGHT]).score)
    assert found["chrf"] == pytest.approx(CHRF().corpus_score(SAID, [RIGHT]).score)
    assert found["exact_match"] == pytest.approx(
        np.mean([exact_match(*pair) for pair in zip(SAID, RIGHT, strict=True)])
    )
    assert found["token_f1"] == pytest.approx(np.mean([token_f1(*pair) for pair in zip(SAID, RIGHT, strict=True)]))
    assert 0 < found["rougeL"] < 1


def test_f1_of_the_positive_class_is_that_of_scikit_learn():
    truth, guess = torch.tensor([0, 1, 1, 1, 0, 1]), torch.tensor([0, 1, 0, 1, 1, 1])
    found = class_metrics(confusion(truth, guess, 2), positive=1)
    assert found["f1"] == pytest.approx(f1_score(truth, guess))
    assert class_metrics(confusion(truth, guess, 2), positive=0)["f1"] == pytest.approx(
        f1_score(truth, guess, pos_label=0)
    )
    assert "f1" not in class_metrics(confusion(truth, guess, 2))


def test_spearmans_correlation_is_that_of_scipy_with_equal_numbers_too():
    pairs = torch.tensor([[1.0, 2.0], [1.0, 0.5], [3.0, 2.0], [4.0, 9.0], [4.0, 9.0]], dtype=torch.float64)
    assert spearman(pairs) == pytest.approx(scipy.stats.spearmanr(*pairs.T).statistic)
    assert spearman(pairs[:0]) == spearman(pairs[:1]) == 0.0


def test_the_positive_class_is_1_of_0_and_1_or_the_one_that_is_named():
    assert positive_of(None, [0, 1]) == positive_of(None, ["0", "1"]) == 1
    assert positive_of(None, ["no", "yes"]) is positive_of(None, []) is None
    assert positive_of("no", ["no", "yes"]) == 0
    assert positive_of(2, ["1", "2", "3"]) == 1


def test_a_positive_class_that_no_document_has_is_refused():
    with pytest.raises(CurateError, match="no document has the label `ys`") as error:
        positive_of("ys", ["no", "yes"])
    assert (error.value.where, error.value.hint) == ("data.positive", "labels: no, yes")


def test_targets_that_are_too_long_are_compared_whole(column_pack):
    from curate.tokenize.pack import Fields
    from curate.train.data.batch import IGNORED
    from curate.train.data.examples import Pairs

    words = "one two three four five six seven eight nine ten"
    fields = Fields(texts={"text": "text", "target": "target"})
    rows = {"text": ["a b c"] * 4, "target": [words, "one", "one", "one"]}
    pack = column_pack(fields, train=rows)
    source = Pairs(pack, "train", 16, target_length=6)
    read = source.read(np.arange(2))
    whole = np.concatenate([read["targets"], read["beyond"]], 1)
    wanted = [source.rows.tokens("target", number).tolist() for number in (0, 1)]
    found = [[one for one in row.tolist() if one not in (IGNORED, pack.end_of_text)] for row in whole]
    assert found == wanted
    assert "beyond" not in Pairs(pack, "train", 16, target_length=200).read(np.arange(2))


def test_a_package_that_measures_texts_and_is_not_there_is_told(monkeypatch):
    from curate.train.runs import checks
    from tests.train.tiny_tasks import CASES, config_of

    config = config_of(CASES["seq2seq"])
    checks.check_metrics(config)
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    with pytest.raises(CurateError, match="`chrf` is measured by sacrebleu, which is not installed") as error:
        checks.check_metrics(config)
    assert (error.value.where, error.value.hint) == ("objective.metrics", "pip install 'curate-lm[eval]'")
