"""fastText's files, against fastText itself (fasttext-predict), for all that the format knows."""

from __future__ import annotations

import zipfile

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import CurateError
from curate.quality.fasttext import fasttext_labels, read_fasttext
from curate.stages.buffers import text_buffer
from tests.oracles import library
from tests.quality.fasttext_files import write_model

WORDS = ["the", "cat", "a", "of", "sat", "caf\u00e9", "\u4f60\u597d", "x", "\U0001f600", "<a>"]
NASTY = [
    "", " ", "the cat", "a </s> cat", "__label__a cat", "__label__ b", "\0the\0cat", "caf\u00e9 Caf\u00e9",
    "\U0001f600\U0001f600", "the\tcat\rsat\x0bon\x0ca", "\u4f60\u597d\u4f60\u597d", "the  cat ", "<", "x" * 300,
    "e\u0301 \u0915\u094d\u0937",
]  # fmt: skip
KINDS = {
    "words": {},
    "pairs": {"ngrams": 2},
    "triples and characters": {"ngrams": 3, "characters": (2, 4)},
    "single characters": {"characters": (1, 3), "buckets": 17},
    "hierarchical": {"loss": "hs", "ngrams": 2, "labels": list("abcdefghijk")},
    "hierarchical, few labels": {"loss": "hs", "labels": ["a", "b"]},
    "one against all": {"loss": "ova", "ngrams": 2},
    "quantized": {"ngrams": 2, "quantized": 2},
    "quantized, uneven parts": {"ngrams": 2, "quantized": (4, "norm"), "labels": list("abcdefghijk")},
    "quantized, outputs too": {"quantized": (2, "norm", "output"), "characters": (2, 3), "dim": 7},
    "pruned": {"ngrams": 2, "characters": (3, 5), "quantized": (2, "norm"), "kept": 40},
    "pruned to words": {"ngrams": 2, "quantized": 2, "kept": 0},
    "version 11": {"version": 11, "characters": (3, 6)},
}


def asked(model, texts) -> np.ndarray:
    return model.probabilities(*text_buffer(pa.array(texts, pa.string())))


def oracle(path, labels, texts) -> np.ndarray:
    """What fastText says, cut at 1 (it adds 1e-5)."""
    theirs = library("fasttext").load_model(str(path)).f
    found = np.full((len(texts), len(labels)), np.nan)
    for row, text in enumerate(texts):
        for score, label in theirs.predict(text.replace("\n", " ") + "\n", -1, 0.0, "strict"):
            found[row, labels.index(label.removeprefix("__label__"))] = min(score, 1)
    return found


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """One of each kind: its path, it, and fastText's."""
    folder = tmp_path_factory.mktemp("models")
    made = {}
    for name, settings_ in KINDS.items():
        path = write_model(folder / name, **{"words": WORDS, "labels": ["good", "bad", "ugly"], **settings_})
        made[name] = path, read_fasttext(path)
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_are_fasttexts_for_every_kind_of_model(models, kind):
    path, model = models[kind]
    assert fasttext_labels(path) == model.labels
    assert asked(model, NASTY) == pytest.approx(oracle(path, model.labels, NASTY), abs=1e-5)


@settings(max_examples=60)
@given(
    texts=st.lists(
        st.text(st.sampled_from("theca \n\t</s>_lbx\u00e9\u4f60\U0001f600"), max_size=30), min_size=1, max_size=5
    )
)
def test_whatever_is_written_is_read_as_fasttext_reads_it(models, texts):
    path, model = models["triples and characters"]
    assert asked(model, texts) == pytest.approx(oracle(path, model.labels, texts), abs=1e-5)


def test_2000_real_texts_have_the_scores_of_fasttexts_model_of_languages(shared_data):
    from curate.filter.language import Language

    (path,) = Language().model_files()
    texts = [
        line
        for file in sorted((shared_data / "lid_sentences").glob("??.txt"))
        for line in file.read_text("utf-8").split("\n")[:80]
    ]
    with zipfile.ZipFile(shared_data / "nltk_corpora" / "movie_reviews.zip") as reviews:
        texts += [reviews.read(name).decode("utf-8", "replace")[:500] for name in reviews.namelist()[5:105]]
    assert len(texts) > 2000
    model = read_fasttext(path)
    ours, theirs = asked(model, texts), oracle(path, model.labels, texts)
    told = ~np.isnan(theirs)  # of a tree fastText tells the likelier labels alone
    assert told.any(axis=1).all()
    assert np.abs(ours - theirs)[told].max() < 1e-5
    assert ours[~told].max() < 1e-4


def test_a_text_says_the_same_whatever_stands_beside_it(models):
    _, model = models["pruned"]
    alone = np.concatenate([asked(model, [text]) for text in NASTY])
    assert (alone == asked(model, NASTY)).all()
    assert asked(model, []).shape == (0, 3)


def wrong(path) -> str:
    with pytest.raises(CurateError) as caught:
        read_fasttext(path)
    assert str(caught.value.where) == str(path)
    return caught.value.problem


def test_what_is_no_model_says_what_it_is(tmp_path):
    for name, content in {"text": b"a text of some length, and no model", "nothing": b"", "short": b"\xba\x16"}.items():
        (tmp_path / name).write_bytes(content)
        assert wrong(tmp_path / name) == "the file is no fastText model"
    words = write_model(tmp_path / "words", words=WORDS, labels=["a"], kind=2)
    assert "one of words alone (cbow or skipgram)" in wrong(words)
    newer = write_model(tmp_path / "newer", words=WORDS, labels=["a"], version=13)
    assert wrong(newer) == "the fastText model is of version 13"
    with pytest.raises(CurateError, match=r"there is no model `nowhere\.bin`"):
        read_fasttext(tmp_path.joinpath("nowhere.bin").relative_to(tmp_path))


@pytest.mark.parametrize("kind", ["pairs", "pruned", "quantized, outputs too"])
def test_a_model_that_is_cut_off_is_damaged_wherever_it_is_cut(models, tmp_path, kind):
    whole = models[kind][0].read_bytes()
    cut = tmp_path / "cut.bin"
    for size in [*range(4, len(whole), max(len(whole) // 60, 1)), len(whole) - 1]:
        cut.write_bytes(whole[:size])
        assert wrong(cut).startswith("the fastText model is damaged: ")


@settings(max_examples=150)
@given(place=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_a_model_with_one_wrong_byte_is_refused_or_answers(models, tmp_path_factory, place, byte):
    content = bytearray(models["pruned"][0].read_bytes())
    content[place % len(content)] = byte
    path = tmp_path_factory.getbasetemp() / "damaged.bin"
    path.write_bytes(content)
    try:
        model = read_fasttext(path)
    except CurateError:
        return
    assert asked(model, NASTY).shape == (len(NASTY), len(model.labels))
