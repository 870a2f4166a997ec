"""What is told apart without spaCy, and what is cut once for several stages."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest

WORDS = ["word", "Word", "a", "m", "D", "dont", "I", "goin", "xD", "we", "cannot", "NASA", "co", "O"]
TEXTS = ["Here it is.", "", "It isn't: (see there)", "\u4e2d\u6587 a\x85b\u2028c\x1fd", "Here it is."]


@pytest.fixture(scope="module")
def tokenizer():
    from curate.stages.words import EnglishWords

    return EnglishWords()


def test_plain_chunks_are_cut_as_spacy_cuts_them(tokenizer):
    chance, english, special = random.Random(5), tokenizer._english, tokenizer._english.special
    words = [*WORDS * 30, *sorted(english._rules.cases)]
    around, marks = ["", '"', "'", "("], ["", *",;:!?)."]
    chunks = [
        chance.choice(around) + chance.choice(words) + chance.choice(marks) + chance.choice(["", '"', "'", ")"])
        for _ in range(3000)
    ]
    chunks = [chunk for chunk in chunks if not any(map(str.isspace, chunk))]
    plain = [chunk for chunk in chunks if special.plain(chunk)]
    assert len(plain) > 200
    assert [special.plain(chunk) for chunk in plain] == english.lengths(plain)


def test_with_other_patterns_of_spacy_every_chunk_is_asked_for(tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer._english._rules, "known", False)
    assert tokenizer._english.special.plain("word") is None


def test_a_text_that_one_stage_had_cut_is_not_cut_again(tokenizer, monkeypatch):
    first = tokenizer.cut(pa.chunked_array([TEXTS]))
    monkeypatch.setattr(tokenizer, "_cut", None)
    again = tokenizer.cut(pa.chunked_array([TEXTS[3:], TEXTS[:2]]))
    ids = [first.ids[first.bounds[row] : first.bounds[row + 1]].tolist() for row in (3, 4, 0, 1)]
    assert [again.ids[again.bounds[row] : again.bounds[row + 1]].tolist() for row in range(4)] == ids


def test_what_c4_leaves_of_a_text_is_cut_for_the_stage_behind_it(monkeypatch):
    from curate.filter.c4 import C4
    from curate.filter.gopher import GopherQuality
    from curate.stages.words import english_tokenizer

    text = "Menu\n" + "It was a sunny day. The bells rang. " * 3 + "All was well."
    edited = C4().open()(pa.table({"text": pa.chunked_array([[text]])})).verdicts.column("text")
    monkeypatch.setattr(type(english_tokenizer()), "_cut", None)
    assert GopherQuality().open()(pa.table({"text": edited})).column("words").to_pylist() == [27]


def test_a_table_begun_anew_in_the_middle_gives_the_same_tokens(tokenizer, monkeypatch):
    def words(cut):
        return [cut.vocabulary.strings.text(number) for number in cut.ids.tolist()]

    expected = words(tokenizer.cut(pa.chunked_array([[*TEXTS, "New ones here."]])))
    tokenizer.cut(pa.chunked_array([TEXTS]))
    monkeypatch.setattr("curate.stages.words._CACHED_BYTES", 1)
    assert words(tokenizer.cut(pa.chunked_array([[*TEXTS, "New ones here."]]))) == expected


@pytest.mark.parametrize(
    ("text", "words"), [("foo xIS_ALPHAy", ["foo", "xIS_ALPHAy"]), ("IS_ALPHA. xIS_ALPHAy", [".", "xy"])]
)
def test_the_word_that_breaks_spacy_goes_only_where_it_is_a_word_by_itself(tokenizer, text, words):
    assert tokenizer.word_tokenize(text) == words


def test_n_grams_of_other_tokens_but_the_same_letters_repeat_each_other():
    from curate.filter.repetition import repeated_n_grams
    from curate.stages.tokens import Vocabulary, joined

    vocabulary = Vocabulary()
    ids = vocabulary.number_texts(["ab", "c", "d", "e", "f", "x", "y", "z", "w", "v", "a", "bc", "d", "e", "f"])
    counted = repeated_n_grams(joined([ids], vocabulary))
    assert counted[0].tolist() == [6, 10, 8, 6, 0, 0, 0, 0, 0]
