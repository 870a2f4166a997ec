"""The cached English tokenizer gives datatrove's own words and sentences."""

from __future__ import annotations

import copy
import pickle
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.errors import CurateError

PIECES = [
    ":",
    ")",
    "(",
    ":)",
    ":-(",
    ":'(",
    "'",
    "'s",
    "s",
    "don't",
    "dont",
    "8",
    "8)",
    "a.m.",
    "10a.m.",
    ".",
    "...",
    "!",
    '?"',
    "U.S.",
    "e.g.",
    "http://a.b/c?d=e#f",
    "x@y.zz",
    "$5",
    "10km",
    "C++",
    "\u2019s",
    "\u201d",
    "\u2026",
    "\u4e2d\u3002",
    "\u00e4.",
    "co-op",
    "and/or",
    "\u00af\\(\u30c4)/\u00af",
    "O.o",
    "><(((*>",
    "IS_ASCII",
    " ",
    " ",
    " ",
    "  ",
    "\n",
    " \n ",
    "\t",
    "\xa0",
    "\u2028",
    "\x1c",
    "\x85",
]


@pytest.fixture(scope="module")
def tokenizers():
    from datatrove.utils.word_tokenizers import SpaCyTokenizer

    from curate.stages.words import EnglishWords

    return EnglishWords(), SpaCyTokenizer("en")


@pytest.mark.slow
@settings(
    derandomize=True,
    deadline=None,
    max_examples=400,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(pieces=st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=6)), max_size=14))
def test_words_and_sentences_of_any_text_are_those_of_datatrove(tokenizers, pieces):
    mine, theirs = tokenizers
    text = "".join(pieces)
    assert mine.word_tokenize(text) == theirs.word_tokenize(text)
    assert mine.span_tokenize(text) == theirs.span_tokenize(text)
    assert mine.sent_tokenize(text) == theirs.sent_tokenize(text)


@pytest.mark.slow
def test_special_cases_that_lie_across_spaces_are_cut_as_spacy_cuts_them(tokenizers):
    mine, theirs = tokenizers
    cases, chance = list(mine._english._rules.cases), random.Random(3)
    joints = [*cases, " ", " ", " ", "(", ")", ":", "'", "-"]
    for _ in range(1500):
        text = "".join(chance.choice(joints) for _ in range(chance.randint(2, 8)))
        assert mine.word_tokenize(text) == theirs.word_tokenize(text), text


def test_a_word_that_breaks_spacy_is_left_out_every_time(tokenizers):
    mine, _ = tokenizers
    assert [mine.word_tokenize("foo IS_ALPHA bar") for _ in range(2)] == [["foo", "bar"]] * 2


def test_the_cache_is_begun_anew_when_it_is_full(tokenizers, monkeypatch):
    monkeypatch.setattr("curate.stages.words._CACHED_BYTES", 50)
    mine, theirs = tokenizers
    for number in range(30):
        text = f"word{number} is new, isn't it{number}?"
        assert mine.word_tokenize(text) == theirs.word_tokenize(text)
    assert mine.chunks.strings.bytes < 100


def test_copies_and_pickles_are_the_one_tokenizer_of_the_process():
    from curate.stages.words import english_tokenizer

    tokenizer = english_tokenizer()
    assert pickle.loads(pickle.dumps(tokenizer)) is tokenizer
    assert copy.deepcopy(tokenizer) is tokenizer


def test_other_languages_are_datatroves_own():
    from datatrove.utils.word_tokenizers import load_word_tokenizer

    from curate.stages.words import word_tokenizer

    assert word_tokenizer("deu") is load_word_tokenizer("deu")


def test_a_language_without_tokenizer_is_an_error_that_says_so():
    from curate.stages.words import word_tokenizer

    with pytest.raises(CurateError, match="no tokenizer for the language `xxy`"):
        word_tokenizer("xxy")
