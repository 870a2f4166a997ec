"""The language of documents."""

import pyarrow as pa
import pytest
from pydantic import ValidationError

from curate.filter.language import Language

ENGLISH = "The quick brown fox jumps over the lazy dog, and nobody in the village was surprised."
GERMAN = "Der schnelle braune Fuchs springt \u00fcber den faulen Hund, und niemand im Dorf wunderte sich."


def test_documents_of_other_languages_are_dropped_with_their_language(apply_stage):
    verdicts, _ = apply_stage(Language(languages=["en"]), [ENGLISH, GERMAN])
    assert list(verdicts) == [1]
    assert (verdicts[1]["reason"], verdicts[1]["detail"], verdicts[1]["threshold"]) == ("language", "de", None)


def test_a_low_probability_is_a_reason_of_its_own(apply_stage):
    verdicts, features = apply_stage(Language(languages=["en"], min_score=0.9999), [ENGLISH])
    assert (verdicts[0]["reason"], verdicts[0]["detail"]) == ("language_score", "en")
    assert verdicts[0]["value"] == features["language_score"][0] < verdicts[0]["threshold"] == 0.9999


def test_without_languages_documents_are_only_tagged(apply_stage):
    verdicts, features = apply_stage(Language(), [ENGLISH, GERMAN, ""])
    assert verdicts == {}
    assert features["language"] == ["en", "de", None]
    assert Language.carries == ("language", "language_score")


@pytest.mark.parametrize("text", ["", " \n\t", "\0"])
def test_a_document_with_nothing_to_go_by_has_no_language(apply_stage, text):
    verdicts, features = apply_stage(Language(languages=["en"]), [text])
    assert features == {"language": [None], "language_score": [None]}
    assert verdicts[0]["reason"] == "language"


def test_lines_are_read_as_one(apply_stage):
    _, features = apply_stage(Language(), [GERMAN, GERMAN.replace(" ", "\n")])
    assert features["language_score"][0] == features["language_score"][1]


@pytest.mark.parametrize("written", ["no", ["no"], False, [False]])
def test_norwegian_is_a_language(written):
    assert Language(languages=written).languages == ["no"]


def test_an_unknown_language_is_an_error_with_a_hint():
    with pytest.raises(ValidationError, match="no language `eng`; did you mean `en`"):
        Language(languages=["eng"])


@pytest.mark.parametrize(("written", "code"), [("english", "en"), ("German", "de"), ("deu", "de"), ("Greek", "el")])
def test_a_language_by_its_name_or_longer_code_is_refused_with_the_code(written, code):
    with pytest.raises(ValidationError, match=f"no language `{written}`; did you mean `{code}`"):
        Language(languages=[written])


def test_a_changed_threshold_measures_nothing_again():
    assert Language.thresholds == {"languages", "min_score"}
    features = pa.table({"language": ["en", "de"], "language_score": pa.array([0.7, 0.9], pa.float32())})
    assert Language(languages=["en"], min_score=0.6).decide(features).column("row").to_pylist() == [1]
    assert Language(languages=["en"], min_score=0.8).decide(features).column("row").to_pylist() == [0, 1]


def test_the_model_is_a_file_that_is_here():
    (path,) = Language().model_files()
    assert path.name == "lid.176.ftz"
    assert all(asset.present for asset in Language().assets())


def test_26_languages_are_told_apart(shared_data, apply_stage):
    right = total = 0
    for path in sorted((shared_data / "lid_sentences").glob("??.txt")):
        sentences = [line for line in path.read_text("utf-8").split("\n") if line.strip()][:60]
        _, features = apply_stage(Language(), sentences)
        right += features["language"].count(path.stem)
        total += len(sentences)
    assert total == 26 * 60
    assert right / total >= 0.97
