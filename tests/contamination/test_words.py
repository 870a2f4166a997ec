"""What a word is for decontamination: the same, however Unicode, case and punctuation write it."""

from __future__ import annotations

from unicodedata import normalize

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.contamination.words import MOST, characters, next_words


def words_of(text, room=10_000):
    data = np.frombuffer(text.encode(), np.uint8)
    words, places = np.empty(room + MOST, np.uint64), np.empty((room + MOST, 2), np.int64)
    position = character = 0
    found, spans = [], []
    while position < len(data):
        count, position, character = next_words(
            data, position, len(data), character, *characters(), words, places, 0, room
        )
        found += words[:count].tolist()
        spans += [text[start:end] for start, end in places[:count].tolist()]
    return found, spans


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("don't stop", "DON\u2019T, stop!"),
        ("Stra\u00dfe", "STRASSE"),
        ("caf\u00e9 na\u00efve", "cafe\u0301 nai\u0308ve"),
        ("\uff28\uff45\uff4c\uff4c\uff4f 12", "hello 12"),
        ("e\ufb03cient \ufb01ne", "efficient fine"),
        ("\U0001d407\U0001d41e\U0001d425\U0001d425\U0001d428", "hello"),
        ("soft\u00adhyphen zero\u200bwidth", "softhyphen zerowidth"),
        ("\ud55c\uad6d\uc5b4", normalize("NFD", "\ud55c\uad6d\uc5b4")),
        ("\uff76\uff9e\uff77", "\u30ac\u30ad"),
        ("two\nlines\ttabs", "two lines  tabs"),
    ],
)
def test_forms_of_a_text_have_the_same_words(one, other):
    assert words_of(one)[0] == words_of(other)[0]


def test_other_words_are_other_words():
    found, spans = words_of("alpha beta, \u6f22\u5b57 alphabeta alpha")
    assert spans == ["alpha", "beta", "\u6f22", "\u5b57", "alphabeta", "alpha"]
    assert len(set(found)) == 5
    assert found[0] == found[-1]


KNOWN = st.characters(max_codepoint=0x1FFF, exclude_categories=("Cn", "Cs", "Co"))


@given(st.text(st.sampled_from("aB\u00e9 \u0130\u00df\ufb01\uff21\uac00.'\n\u0301") | KNOWN, max_size=30))
def test_words_are_where_they_are_said_to_be_however_the_text_is_cut_into_windows(text):
    whole, spans = words_of(text)
    assert words_of(text, room=1) == (whole, spans)
    assert [one for span in spans for one in words_of(span)[0]].__len__() >= len(whole)


@given(st.text(st.sampled_from("aB\u00e9\u00c7\u0130\u00df\ufb01\uff21\u2460\uac00\u212b\u01c4 .'\n"), max_size=30))
def test_normal_forms_have_the_same_words(text):
    expected = words_of(text)[0]
    assert all(words_of(normalize(form, text))[0] == expected for form in ("NFC", "NFD", "NFKC", "NFKD"))
