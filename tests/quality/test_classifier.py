"""The stage: what it scores, what a threshold does, and what it says of files that are no models."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

import curate
from curate.errors import CurateError
from curate.labeling.classifier import fit, fit_matrix, load, save
from curate.labeling.features import hashed
from curate.quality.classifier import QualityClassifier
from curate.quality.linear import scorer
from curate.stages.buffers import text_buffer
from tests.quality.fasttext_files import write_model

GOOD, BAD = "a careful proof of the theorem follows", "click here to win cheap pills now"
TEXTS = [f"{GOOD} {number}" if number % 2 else f"{BAD} {number}" for number in range(40)]
LABELS = np.arange(40) % 2


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A fitted model of words alone."""
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save(fit(hashed(TEXTS, characters=False), LABELS, 2, seed=0).model, path, ["bad", "good"])
    return path


@pytest.mark.parametrize("characters", [False, True])
@pytest.mark.parametrize("multilabel", [False, True])
def test_scores_are_those_of_the_model_that_was_fitted(characters, multilabel):
    labels = np.stack([LABELS, np.arange(40) % 3 == 0], axis=1).astype(np.int64) if multilabel else LABELS
    made = fit(hashed(TEXTS, characters=characters), labels, 2, seed=0).model
    asked = [*TEXTS, "", "of of of", "\u4f60\u597d caf\u00e9 \U0001f600", GOOD * 50, "nothing known"]
    found = scorer(made, "model").probabilities(*text_buffer(pa.array(asked)))
    assert found == pytest.approx(made.predict_proba(asked), abs=1e-6)


def test_a_document_below_the_threshold_leaves_with_its_score(apply_stage, model):
    stage = QualityClassifier(model=str(model), label="good", min_score=0.5)
    verdicts, features = apply_stage(stage, [GOOD, BAD])
    assert list(verdicts) == [1]
    assert (verdicts[1]["reason"], verdicts[1]["value"]) == ("low_score", features["quality"][1])
    assert features["quality"][0] > 0.9
    assert apply_stage(QualityClassifier(model=str(model), label="good"), [GOOD, BAD])[0] == {}
    assert QualityClassifier.thresholds == {"min_score", "max_score"}


def test_a_document_that_the_model_knows_nothing_of_has_no_score(apply_stage, tmp_path):
    path = write_model(tmp_path / "m.bin", words=["cat"], labels=["good", "bad"])
    content = path.read_bytes().replace(b"</s>\0", b"<//>\0")  # without an end of line an empty text is nothing
    path.write_bytes(content)
    verdicts, features = apply_stage(
        QualityClassifier(model=str(path), label="good", min_score=0.1, column="score"), ["cat", ""]
    )
    assert features["score"][1] is None
    assert (list(verdicts), verdicts[1]["value"]) == ([1], None)


@pytest.mark.slow
def test_a_run_stores_scores_as_a_column_and_why_tells_them(tmp_path, model):
    (tmp_path / "in.jsonl").write_text("\n".join(json.dumps({"id": str(n), "text": t}) for n, t in enumerate(TEXTS)))
    (tmp_path / "p.yaml").write_text(
        "dataset: d\nsources: [{stage: files, paths: [in.jsonl]}]\n"
        f"stages: [{{stage: quality_classifier, model: {model}, label: good, min_score: 0.5, column: prose}}]\n"
    )
    curate.run(tmp_path / "p.yaml", workers=1)
    dataset = curate.open_dataset("d", tmp_path / ".curate")
    assert min(dataset.arrow()["prose"].to_pylist()) > 0.5
    assert len(dataset) == 20


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"some vectors 3 4\n", "the file is no fastText model, and none of `curate label fit`"),
        (b"", "the file is no fastText model, and none of `curate label fit`"),
        (b'\x08\0\0\0\0\0\0\0{"a":1}', "the file is no model"),
        (b"\xba\x16\x4f\x2f\x0c\0\0\0\0\0", "the fastText model is damaged: it ends after 10 bytes"),
    ],
)
def test_a_file_that_is_no_model_is_told_before_anything_runs(tmp_path, content, said):
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    with pytest.raises(CurateError) as caught:
        QualityClassifier(model=str(path), label="good").facts()
    assert caught.value.problem.startswith(said)
    assert caught.value.where == str(path)


def test_a_label_that_the_model_has_not_is_told_with_those_that_it_has(model, tmp_path):
    with pytest.raises(CurateError, match="the model has no label `god`") as caught:
        QualityClassifier(model=str(model), label="god").facts()
    assert caught.value.hint == "did you mean `good`?"
    path = write_model(tmp_path / "m.bin", words=["cat"], labels=["hq", "cc"])
    with pytest.raises(CurateError) as caught:
        QualityClassifier(model=str(path), label="__label__nothing").facts()
    assert caught.value.hint == "it has: hq, cc"
    with pytest.raises(CurateError, match=r"there is no model `nowhere\.bin`"):
        QualityClassifier(model="nowhere.bin", label="a").facts()


def test_a_model_of_embeddings_and_one_without_names_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save(fit_matrix(np.random.default_rng(0).normal(size=(40, 3)), LABELS, 2, seed=0).model, path)
    with pytest.raises(CurateError, match="does not name its labels"):
        QualityClassifier(model=str(path), label="good").facts()
    with pytest.raises(CurateError, match="one of embeddings"):
        scorer(load(path), str(path))
