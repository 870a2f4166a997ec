from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch

from curate.train.data.batch import IGNORED
from curate.train.models.encoder import BERT, Encoder
from curate.train.models.trunk import build_trunk
from curate.train.objectives.labels import Classification, TokenClassification
from curate.train.objectives.metrics import class_metrics, confusion, moments, pearson
from curate.train.settings.architecture import ModelSettings
from curate.train.settings.methods import ClassificationSettings, TokenClassificationSettings


@pytest.fixture
def guesses():
    """200 classes of 4 and guesses of them, the third class never guessed and the fourth never there."""
    numbers = np.random.default_rng(0)
    truth, guess = numbers.integers(0, 3, 200), numbers.integers(0, 3, 200)
    guess[guess == 2] = 3
    return torch.from_numpy(np.where(numbers.random(200) < 0.4, truth % 2, truth)), torch.from_numpy(guess)


def test_accuracy_and_macro_f1_are_those_of_their_definitions(guesses):
    truth, guess = (column.numpy() for column in guesses)
    found = class_metrics(confusion(*guesses, 4))
    scores = []
    for label in sorted(set(truth) | set(guess)):
        true = ((truth == label) & (guess == label)).sum()
        scores.append(2 * true / ((truth == label).sum() + (guess == label).sum()))
    assert found["accuracy"] == pytest.approx((truth == guess).mean())
    assert found["macro_f1"] == pytest.approx(np.mean(scores))


def test_matthews_correlation_is_the_correlation_of_the_indicators(guesses):
    truth, guess = (torch.nn.functional.one_hot(column, 4).double().numpy() for column in guesses)
    truth, guess = truth - truth.mean(0), guess - guess.mean(0)
    wanted = (truth * guess).sum() / math.sqrt((truth**2).sum() * (guess**2).sum())
    assert class_metrics(confusion(*guesses, 4))["matthews_correlation"] == pytest.approx(wanted)


def test_matthews_correlation_of_two_classes_is_pearsons():
    truth, guess = torch.tensor([0, 0, 1, 1, 1, 0]), torch.tensor([0, 1, 1, 1, 0, 0])
    wanted = scipy.stats.pearsonr(truth.numpy(), guess.numpy()).statistic
    assert class_metrics(confusion(truth, guess, 2))["matthews_correlation"] == pytest.approx(wanted)


def test_metrics_that_are_not_defined_are_zero():
    assert class_metrics(torch.zeros(3, 3, dtype=torch.float64)) == {
        "accuracy": 0.0,
        "macro_f1": 0.0,
        "matthews_correlation": 0.0,
    }
    assert pearson(moments(torch.ones(4), torch.arange(4))) == 0


def test_pearsons_correlation_from_summed_moments_is_that_of_scipy():
    numbers = np.random.default_rng(1)
    first = numbers.normal(3, 1, 50)
    second = first + numbers.normal(0, 1, 50)
    pieces = [
        moments(torch.from_numpy(first[some]), torch.from_numpy(second[some])) for some in np.split(np.arange(50), 5)
    ]
    assert pearson(sum(pieces)) == pytest.approx(scipy.stats.pearsonr(first, second).statistic)


# ---- labels of texts and words

WORDS = {"vocabulary": 60, "length": 16}
SIZES = ModelSettings(kind="encoder", layers=2, width=32, heads=2).architecture


def filled(objective):
    """With its first weights, ten times as large, and without dropout."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in objective.named_parameters():
        objective.first_weights(name, parameter.data, generator)
        parameter.data *= 10 if parameter.ndim > 1 else 1
    return objective.eval()


@pytest.fixture
def batch():
    """Four pairs of texts of different lengths."""
    lengths, places = torch.tensor([[16], [12], [9], [5]]), torch.arange(16)
    return {
        "tokens": torch.randint(0, 60, (4, 16), generator=torch.Generator().manual_seed(1)),
        "documents": torch.where(places < lengths, 0, -1),
        "segments": (places >= lengths // 2).long(),
        "labels": torch.tensor([2, 0, 1, 2]),
    }


def bert(kind, objective, labels, **settings):
    """Hugging Face's model with the objective's weights, and its names for the objective's."""
    import transformers

    config = BERT.config(SIZES, 60, 16)
    theirs = getattr(transformers, kind)(
        transformers.BertConfig(**config, num_labels=labels, pad_token_id=None, **settings)
    )
    names = {f"model.{ours}": source.name for ours, source in BERT.names(SIZES).items()}
    names |= {f"head.{ours}": source.name for ours, source in BERT.heads("classification", SIZES).items()}
    names = {ours: its for ours, its in names.items() if ours in objective.state_dict()}
    found = theirs.load_state_dict({its: objective.state_dict()[ours] for ours, its in names.items()}, strict=False)
    assert not [name for name in found.missing_keys if "pooler" not in name]
    return theirs.eval(), names


def inputs(batch):
    return {
        "input_ids": batch["tokens"],
        "attention_mask": (batch["documents"] >= 0).long(),
        "token_type_ids": batch["segments"],
    }


def compare(objective, found, theirs, wanted, names):
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0)
    found.backward()
    wanted.backward()
    for ours, its in names.items():
        found, wanted = objective.get_parameter(ours).grad, theirs.get_parameter(its).grad
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6, msg=ours)


@pytest.mark.slow
def test_classification_loss_and_gradients_are_those_of_bert(batch):
    objective = filled(Classification(Encoder(SIZES, **WORDS, pooler=True), ClassificationSettings(), labels=3))
    theirs, names = bert("BertForSequenceClassification", objective, 3)
    found = objective(batch).total / objective.size(batch)
    compare(objective, found, theirs, theirs(**inputs(batch), labels=batch["labels"]).loss, names)


@pytest.mark.slow
def test_regression_loss_and_gradients_are_those_of_bert(batch):
    settings = ClassificationSettings(regression=True)
    objective = filled(Classification(Encoder(SIZES, **WORDS, pooler=True), settings, labels=1))
    theirs, names = bert("BertForSequenceClassification", objective, 1, problem_type="regression")
    labels = torch.tensor([0.5, 2.0, -1.0, 0.0])
    found = objective({**batch, "labels": labels})
    compare(objective, found.total / 4, theirs, theirs(**inputs(batch), labels=labels).loss, names)
    assert found.sums == {}


@pytest.mark.slow
def test_token_classification_loss_and_gradients_are_those_of_bert(batch):
    objective = filled(TokenClassification(Encoder(SIZES, **WORDS), TokenClassificationSettings(), labels=5))
    theirs, names = bert("BertForTokenClassification", objective, 5)
    targets = torch.randint(0, 5, (4, 16), generator=torch.Generator().manual_seed(2))
    targets[batch["documents"] < 0] = IGNORED
    targets[:, ::3] = IGNORED
    found = objective({**batch, "targets": targets}).total / (targets != IGNORED).sum()
    compare(objective, found, theirs, theirs(**inputs(batch), labels=targets).loss, names)


def test_weights_count_in_loss_size_and_accuracy(batch):
    objective = filled(Classification(Encoder(SIZES, **WORDS), ClassificationSettings(), labels=3))
    weighted = {**batch, "weights": torch.tensor([1.0, 0.0, 0.0, 0.5])}
    rows = [objective({name: values[row : row + 1] for name, values in batch.items()}) for row in (0, 3)]
    found = objective(weighted)
    torch.testing.assert_close(found.total, rows[0].total + 0.5 * rows[1].total)
    torch.testing.assert_close(found.sums["accuracy"], rows[0].sums["accuracy"] + 0.5 * rows[1].sums["accuracy"])
    assert objective.size(weighted) == 1.5


@torch.no_grad()
def test_validation_of_classes_adds_up_over_batches_and_leaves_empty_rows_out(batch):
    objective = filled(Classification(Encoder(SIZES, **WORDS), ClassificationSettings(), labels=3))
    batch["labels"][1] = IGNORED
    guesses = objective.head(
        objective.model.sentence(batch["tokens"], documents=batch["documents"], segments=batch["segments"])
    )
    loss = torch.nn.functional.cross_entropy(guesses, batch["labels"]).item()
    rows = [objective.score({name: values[row : row + 1] for name, values in batch.items()}) for row in range(4)]
    found = objective.summary({name: sum(row[name] for row in rows) for name in rows[0]})
    some = [0, 2, 3]
    assert found["loss"] == pytest.approx(loss, rel=1e-6)
    assert found["accuracy"] == pytest.approx((guesses.argmax(-1) == batch["labels"])[some].float().mean().item())
    assert found["count"] == 3
    assert set(found) == {"loss", "accuracy", "macro_f1", "matthews_correlation", "count"}
    assert (objective.watch, objective.higher_is_better) == ("accuracy", True)


@torch.no_grad()
def test_validation_of_numbers_gives_pearsons_correlation(batch):
    objective = filled(Classification(Encoder(SIZES, **WORDS), ClassificationSettings(regression=True), labels=1))
    labels = torch.tensor([0.5, 2.0, IGNORED, -3.0])
    features = objective.model.sentence(batch["tokens"], documents=batch["documents"], segments=batch["segments"])
    guesses, some = objective.head(features)[:, 0], [0, 1, 3]
    found = objective.summary(objective.score({**batch, "labels": labels}))
    assert found == {
        "loss": pytest.approx((guesses - labels)[some].square().mean().item()),
        "pearson": pytest.approx(scipy.stats.pearsonr(guesses[some], labels[some]).statistic, rel=1e-5),
        "spearman": pytest.approx(scipy.stats.spearmanr(guesses[some], labels[some]).statistic),
        "count": 3,
    }
    assert (objective.watch, objective.higher_is_better) == ("pearson", True)


@torch.no_grad()
def test_validation_of_words_counts_their_first_tokens_only(batch):
    objective = filled(TokenClassification(Encoder(SIZES, **WORDS), TokenClassificationSettings(), labels=5))
    targets = torch.full((4, 16), IGNORED)
    targets[:, 1:5:2] = torch.tensor([3, 4])
    states = objective.model(batch["tokens"], documents=batch["documents"], segments=batch["segments"])
    right = (objective.head(states).argmax(-1) == targets).sum().item()
    found = objective.summary(objective.score({**batch, "targets": targets}))
    assert (found["accuracy"], found["count"]) == (right / 8, 8)


def test_pooling_is_that_of_the_settings(batch):
    trunk = Encoder(SIZES, **WORDS)
    found = []
    for pooling in ("first", "last", "mean", None):
        objective = filled(Classification(trunk, ClassificationSettings(pooling=pooling), labels=3))
        found.append(objective(batch).total.item())
    assert len(set(found[:3])) == 3
    assert found[3] == found[0]


def test_dropout_is_of_training_only(batch):
    settings = ClassificationSettings(dropout=0.5)
    objective = filled(Classification(Encoder(SIZES, **WORDS), settings, labels=3))
    sure = objective(batch).total
    torch.manual_seed(0)
    trained = objective.train()(batch).total
    torch.manual_seed(0)
    assert torch.equal(objective(batch).total, trained)
    assert not torch.equal(trained, sure)


@pytest.mark.parametrize("kind", ["decoder", "encoder", "encoder_decoder", "lstm", "cnn"])
def test_every_trunk_learns_to_tell_two_texts_apart(kind, batch):
    sizes = ModelSettings(kind=kind, layers=1, width=16, heads=2, key_value_heads=2).architecture
    settings = ClassificationSettings(dropout=0.0)
    objective = filled(Classification(build_trunk(sizes, **WORDS), settings, labels=3)).train()
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.02)
    for _ in range(30):
        optimizer.zero_grad()
        objective(batch).total.backward()
        optimizer.step()
    assert objective(batch).sums["accuracy"] == 4


def test_the_first_weights_of_a_head_are_small_and_its_biases_zero():
    objective = Classification(Encoder(SIZES, **WORDS), ClassificationSettings(), labels=3)
    for name in ("head.weight", "head.bias"):
        objective.first_weights(name, objective.get_parameter(name).data, torch.Generator().manual_seed(0))
    assert 0.015 < objective.head.weight.std() < 0.025
    assert not objective.head.bias.any()


@torch.no_grad()
def test_words_that_do_not_fit_into_the_row_are_wrong_and_their_spans_not_found(batch):
    names = ["B-PER", "I-PER", "O"]
    objective = filled(
        TokenClassification(Encoder(SIZES, **WORDS), TokenClassificationSettings(), labels=3, names=names)
    )
    targets = torch.full((4, 16), IGNORED)
    guess = objective._outputs(batch).argmax(-1)
    targets[0, 1:4] = guess[0, 1:4]
    beyond = torch.tensor([[0, 1, 2], [IGNORED] * 3, [IGNORED] * 3, [IGNORED] * 3])
    read = objective.summary(objective.score({**batch, "targets": targets}))
    found = objective.summary(objective.score({**batch, "targets": targets, "beyond": beyond}))
    assert (read["accuracy"], read["count"], found["accuracy"], found["count"]) == (1.0, 3, 0.5, 6)
    assert objective.watch == "span_f1"
    assert found["span_recall"] < read["span_recall"] or read["span_recall"] == 0
