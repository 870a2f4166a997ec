"""The embedded classifier: scikit-learn's solutions, what it does with hard input, calibration, files."""

from __future__ import annotations

import numpy as np
import pytest

from curate.errors import CurateError
from curate.labeling import logistic
from curate.labeling.calibration import brier, expected_calibration_error, log_loss, probabilities, temperature
from curate.labeling.classifier import fit, fit_matrix, folds, load, save
from curate.labeling.features import hashed, rarity, weighted
from curate.labeling.learning_curve import learning_curve, macro_f1, outcomes
from curate.labeling.logistic import Problem, rotate, solve
from tests.oracles import library

ANIMALS, TOOLS = ["cat", "dog", "horse", "sparrow"], ["hammer", "saw", "drill", "chisel"]


def sentences(count, seed=0):
    """Sentences about animals (0) and tools (1)."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count)
    texts = [
        f"The {random.choice(TOOLS if one else ANIMALS)} number {random.integers(1000)} is here today."
        for one in labels
    ]
    return texts, labels


@pytest.mark.parametrize("penalty", [1.0, 0.05])
@pytest.mark.parametrize("multilabel", [False, True])
def test_weights_are_scikit_learns(penalty, multilabel):
    random = np.random.default_rng(0)
    features, labels = random.standard_normal((200, 12)), random.integers(0, 3, 200)
    features[:, 0] += labels
    theirs = library("sklearn.linear_model").LogisticRegression(C=1 / penalty, tol=1e-8, max_iter=5000)
    weights = np.array([1.0, 2.0, 0.5])
    if multilabel:
        theta = solve(features, Problem(np.eye(3)[labels], np.ones(3), True), penalty)
        theirs.fit(features, labels == 1)
        assert theta[:, 1] == pytest.approx([*theirs.coef_[0], theirs.intercept_[0]], abs=5e-3)
    else:
        theta = solve(features, Problem(np.eye(3)[labels], weights, False), penalty)
        theirs.fit(features, labels, sample_weight=weights[labels])
        expected = theirs.predict_proba(features)
        assert probabilities(features @ theta[:-1] + theta[-1]) == pytest.approx(expected, abs=5e-3)


def test_rotated_features_give_the_same_model(monkeypatch):
    texts, labels = sentences(60)
    one = fit(texts + texts[:5], np.concatenate([labels, labels[:5]]), 2, seed=0)
    monkeypatch.setattr(logistic, "MOST_ROTATED", 0)
    other = fit(texts + texts[:5], np.concatenate([labels, labels[:5]]), 2, seed=0)
    assert one.out_of_fold() == pytest.approx(other.out_of_fold(), abs=0.01)
    assert one.model.predict_proba(texts) == pytest.approx(other.model.predict_proba(texts), abs=0.01)


def test_rotation_keeps_inner_products():
    features = np.random.default_rng(0).standard_normal((20, 50))
    rotated, back = rotate(features)
    assert rotated @ rotated.T == pytest.approx(features @ features.T, abs=1e-5)
    weights = np.random.default_rng(1).standard_normal((20, 2))
    assert features @ back(weights) == pytest.approx(rotated @ weights, abs=1e-4)


def test_tf_idf_of_words_is_scikit_learns():
    texts = ["the cat sat", "the dog sat on the mat", "a bird", "the cat and the dog"]
    ours = weighted(hashed(texts), rarity(hashed(texts))).toarray()
    words = library("sklearn.feature_extraction.text").TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+"
    ).fit_transform(texts)  # fmt: skip
    characters = library("sklearn.feature_extraction.text").TfidfVectorizer(
        analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True
    ).fit_transform(texts)  # fmt: skip
    half = ours.shape[1] // 2
    assert ours[:, :half] @ ours[:, :half].T == pytest.approx((words @ words.T).toarray(), abs=1e-5)
    # char_wb counts a word that is shorter than an n-gram once more, whole; no two words here differ by it
    assert ours[:, half:] @ ours[:, half:].T == pytest.approx((characters @ characters.T).toarray(), abs=0.02)


def test_it_learns_and_its_held_out_probabilities_are_calibrated():
    texts, labels = sentences(200)
    fitted = fit(texts, labels, 2, seed=0)
    new, truth = sentences(300, seed=1)
    predicted = fitted.model.predict_proba(new)
    assert (predicted.argmax(1) == truth).mean() > 0.98
    assert predicted.sum(1) == pytest.approx(1)
    assert fitted.out_of_fold().shape == (200, 2)


def test_a_text_may_have_several_labels():
    texts, first = sentences(200)
    labels = np.column_stack([first, [int("1" in text) for text in texts]])
    fitted = fit(texts, labels, 2, seed=0)
    assert fitted.model.multilabel
    assert ((fitted.out_of_fold()[:, 0] > 0.5) == first).mean() > 0.95
    assert fitted.model.predict_proba(["A hammer"]).shape == (1, 2)


def test_embeddings_take_the_place_of_texts():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 300)
    embeddings = random.standard_normal((300, 16)) * 1000 + 500
    embeddings[np.arange(300), labels] += 4000
    fitted = fit_matrix(embeddings, labels, 3, seed=0)
    assert (fitted.model.predict_proba(embeddings).argmax(1) == labels).mean() > 0.95


def test_equal_data_and_seed_give_equal_bytes(tmp_path):
    texts, labels = sentences(80)
    for name in ("one", "other"):
        save(fit(texts, labels, 2, seed=3).model, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


@pytest.mark.parametrize("kind", ["texts", "embeddings"])
def test_a_saved_model_predicts_the_same(tmp_path, kind):
    texts, labels = sentences(80)
    inputs = texts if kind == "texts" else np.random.default_rng(0).standard_normal((80, 5))
    model = (fit if kind == "texts" else fit_matrix)(inputs, labels, 2, seed=3).model
    save(model, tmp_path / "model.safetensors")
    assert (load(tmp_path / "model.safetensors").predict_proba(inputs) == model.predict_proba(inputs)).all()


@pytest.mark.parametrize("content", [b"", b"no tensors", None])
def test_a_file_that_is_no_model_is_told(tmp_path, content):
    path = tmp_path / "model.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CurateError, match="the file is no model"):
        load(path)


def test_tensors_of_something_else_are_no_model(tmp_path):
    from safetensors.numpy import save_file

    save_file({"weights": np.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(CurateError, match="no model of format 1"):
        load(tmp_path / "other.safetensors")


def test_one_class_alone_teaches_nothing():
    with pytest.raises(CurateError, match="nothing to learn from 3 labels: they are of 1 of 2 classes"):
        fit(["a", "b", "c"], np.ones(3, int), 2, seed=0)
    with pytest.raises(CurateError, match="each is on all texts or on none"):
        fit(["a", "b", "c"], np.array([[1, 0]] * 3), 2, seed=0)
    with pytest.raises(CurateError, match="nothing to learn from 0 labels"):
        fit([], np.zeros(0, int), 2, seed=0)


def test_a_class_with_one_text_and_one_with_none_are_no_trouble():
    texts, labels = sentences(40)
    labels[0] = 2
    predicted = fit(texts, labels, 4, seed=0).model.predict_proba(texts)
    assert np.isfinite(predicted).all()
    assert predicted[:, 3].max() < 0.1


@pytest.mark.parametrize(
    "text", ["", "   ", "\x00", "\ud800", "\U0001f600 \u4e2d\u6587", "<View>&lt;</View>", "a" * 1_000_000, "!" * 50]
)
def test_any_text_has_a_prediction(text):
    texts, labels = sentences(40)
    model = fit([*texts, text], np.append(labels, 0), 2, seed=0).model
    assert np.isfinite(model.predict_proba([text, *texts])).all()
    assert model.predict_proba([]).shape == (0, 2)


def test_folds_have_each_class_and_every_text_once():
    labels = np.repeat([0, 1, 2], [50, 10, 5])
    parts = folds(labels, 5, seed=0)
    assert np.sort(np.concatenate(parts)).tolist() == list(range(65))
    assert all(np.bincount(labels[part], minlength=3).tolist() == [10, 2, 1] for part in parts)


# ---- calibration


def test_temperature_mends_logits_that_are_too_sure():
    random = np.random.default_rng(0)
    logits = random.standard_normal((3000, 3)) * 2
    labels = np.array([random.choice(3, p=one) for one in probabilities(logits)])
    assert temperature(logits * 4, labels) == pytest.approx(4, rel=0.1)
    before, after = probabilities(logits * 4), probabilities(logits * 4 / temperature(logits * 4, labels))
    assert expected_calibration_error(after, labels) < 0.03 < expected_calibration_error(before, labels)
    assert brier(after, labels) < brier(before, labels)


def test_calibration_errors_are_those_of_written_out_examples():
    probable, labels = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]]), np.array([0, 1, 1, 1])
    assert expected_calibration_error(probable, labels) == pytest.approx((0.4 * 2 + 0.4 * 2) / 4)
    assert brier(probable, labels) == pytest.approx((0.02 + 1.62 + 0.32 + 0.32) / 4)
    assert expected_calibration_error(probable, np.eye(2)[labels].astype(int)) is not None
    assert log_loss(np.log(probable), labels) == pytest.approx(-np.log([0.9, 0.1, 0.6, 0.6]).mean())


def test_without_labels_there_is_no_calibration_error():
    assert expected_calibration_error(np.zeros((0, 2)), np.zeros(0, int)) is None
    assert brier(np.zeros((0, 2)), np.zeros(0, int)) is None
    assert temperature(np.zeros((0, 2)), np.zeros(0, int)) == 1


def test_a_model_that_is_always_right_has_a_finite_temperature():
    assert 0 < temperature(np.eye(2) * 9, np.array([0, 1])) < 1


# ---- learning curve


def test_accuracy_grows_with_labels_and_has_an_interval():
    texts, labels = sentences(200)
    points = learning_curve(texts, labels, 2, sizes=[500, 5, 150], penalty=0.01, seed=0)
    assert [point.labels for point in points] == [5, 150]
    assert points[0].accuracy.value < points[1].accuracy.value
    assert points[0].accuracy.low < points[0].accuracy.value < points[0].accuracy.high
    assert points[0].macro_f1.low < points[0].macro_f1.value


def test_macro_f1_is_scikit_learns():
    random = np.random.default_rng(0)
    labels, predicted = random.integers(0, 4, 100), random.integers(0, 3, 100)
    ours = macro_f1(outcomes(labels, predicted, 6).sum(0)[None])[0]
    assert ours == pytest.approx(library("sklearn.metrics").f1_score(labels, predicted, average="macro"))
