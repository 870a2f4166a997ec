import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.dedup import minhash
from curate.dedup.words import ALONE, CODE, WORD, character_table
from curate.stages.buffers import text_buffer


def words_of(text: str) -> list[str]:
    """The words by the rule of curate/dedup/words.py, in plain Python over the table's entries."""
    table, words, run = character_table(), [], ""
    for character in text:
        code = ord(character)
        alone = code >= 0x20000 or 0x1F000 <= code <= 0x1FBFF
        entry = int(table[code]) if code < 0x10000 else code | WORD | (ALONE if alone else 0)
        if entry & ALONE or not entry:
            words += [run] if run else []
            run = ""
            words += [chr(entry & CODE)] if entry else []
        else:
            run += chr(entry & CODE)
    return words + ([run] if run else [])


def shingles_of(text: str, ngram: int) -> set:
    words = words_of(text)
    if not words:
        return {text}
    return {tuple(words[i : i + ngram]) for i in range(max(1, len(words) - ngram + 1))}


def kernel_sets(texts, ngram):
    data, offsets = text_buffer(pa.array(texts, pa.string()))
    values, sizes = minhash.shingle_sets(data, offsets, table=character_table(), ngram=ngram)
    values.setflags(write=False)
    return values, np.concatenate([[0], np.cumsum(sizes)])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't stop\u2014NOW!", ["don", "t", "stop", "now"]),
        ("\u00c9t\u00e9 \u03a3\u03a6 \u0416\u0443\u043a", ["\u00e9t\u00e9", "\u03c3\u03c6", "\u0436\u0443\u043a"]),
        ("\u6211\u7231\u4f60\u3002GPT4\u4e5f", ["\u6211", "\u7231", "\u4f60", "gpt4", "\u4e5f"]),
        ("\uc548\ub155 \ud558\uc138\uc694", ["\uc548\ub155", "\ud558\uc138\uc694"]),
        ("fine\U0001f600\U0001f601", ["fine", "\U0001f600", "\U0001f601"]),
        ("\u0915\u093f\u0924\u093e\u092c \u0939\u0948", ["\u0915\u093f\u0924\u093e\u092c", "\u0939\u0948"]),
        (" \t\n..., \u00a0\u2026", []),
    ],
)  # fmt: skip
def test_words_are(text, words):
    assert words_of(text) == words


def test_english_words_are_those_of_a_regular_expression():
    text = "It was 1984, re-read: the BEST_OF times; (see p. 12)."
    assert words_of(text) == re.findall(r"[a-z0-9]+", text.lower())


NASTY = st.text(
    alphabet=st.sampled_from("aAb1 .,\u00e9\u00c9\u4e2d\u56fd\u0e01\u200b\u0301\ud55c\U0001f600\U00020000\U00010400")
)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(one=NASTY | st.text(), other=NASTY | st.text(), ngram=st.integers(1, 5))
def test_the_similarity_is_that_of_python_sets(one, other, ngram):
    values, bounds = kernel_sets([one, other], ngram)
    first, second = shingles_of(one, ngram), shingles_of(other, ngram)
    expected = len(first & second) / len(first | second)
    assert minhash.jaccard(values, bounds, np.array([0]), np.array([1])).tolist() == [expected]


@settings(derandomize=True, max_examples=100, deadline=None)
@given(texts=st.lists(NASTY, max_size=6), cut=st.integers(0, 6))
def test_a_signature_depends_on_its_document_alone(texts, cut):
    multipliers, increments = minhash.permutations(7, 12)

    def sign(part):
        data, offsets = text_buffer(pa.array(part, pa.string()))
        hashes, sequences = minhash.sign(
            data,
            offsets,
            table=character_table(),
            ngram=3,
            bands=4,
            multipliers=multipliers,
            increments=increments,
        )
        return np.vstack([hashes, sequences[None]])

    apart = np.hstack([sign(texts[:cut]), sign(texts[cut:])])
    assert np.array_equal(sign(texts), apart)


def test_permutations_are_those_of_splitmix64():
    multipliers, increments = minhash.permutations(1, 2)
    assert (multipliers.tolist(), increments.tolist()) == ([2433363437, 4170425071], [3203108257, 1908508304])


def test_bytes_that_are_not_utf8_are_read_without_leaving_the_buffer():
    data = np.frombuffer(b"ab \xff\xfe\xf0", dtype=np.uint8)
    offsets = np.frombuffer(np.array([0, 6]).tobytes(), dtype=np.int64)
    values, sizes = minhash.shingle_sets(data, offsets, table=character_table(), ngram=2)
    assert len(values) == sizes.sum() > 0
