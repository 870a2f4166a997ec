"""spaCy's rules for English, applied without spaCy, give spaCy's tokens."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.stages import affixes
from curate.stages.affixes import load_affixes

JOINTS = [
    "", " ", "  ", "\n", "\t", "\u2003", "-", "--", "\u2014", ".", "..", "\u2026", ",", ":", "(", ")", "'", "'s", "\u2019S",
    "\"", "x", "A", "9", "10km", "US$", "5%", "+1", "C++", "well-known", "a/b", "U.S.A.", "x@y.zz", "http://a.b/c?d=e#f",
    "10.0.0.1", "v1.2",    "\u4e2d\u6587\u3002", "\U0001f600", "e\u0301", "\xb0C.", "\u0645\u0645", "IS_ASCII",
]  # fmt: skip


@pytest.fixture(scope="module")
def spacy():
    """The tokenizer of spaCy's English."""
    from curate.stages.lean import without

    with without("torch", "transformers"):
        import spacy

    return spacy.blank("en").tokenizer


def words(spacy, text):
    return [token.text for token in spacy(text)]


def test_the_installed_spacy_is_one_whose_rules_are_known():
    assert load_affixes() is not None


def test_special_cases_and_stop_marks_are_spacys(spacy):
    from spacy.attrs import ORTH
    from spacy.pipeline import Sentencizer

    rules = load_affixes()
    assert dict(rules.cases) == {case: tuple(one[ORTH] for one in tokens) for case, tokens in spacy.rules.items()}
    assert rules.stop_marks == Sentencizer.default_punct_chars
    assert [case for case in rules.cases if rules.cut(case) != words(spacy, case)] == []


def test_special_cases_among_anything_are_cut_as_spacy_cuts_them(spacy):
    rules, chance = load_affixes(), random.Random(3)
    joints = [*rules.cases, *JOINTS * 30]
    for _ in range(3000):
        text = "".join(chance.choice(joints) for _ in range(chance.randint(2, 8)))
        assert rules.cut(text) == words(spacy, text), text


@pytest.mark.slow
@settings(derandomize=True, deadline=None, max_examples=1000, suppress_health_check=list(HealthCheck))
@given(pieces=st.lists(st.one_of(st.sampled_from(JOINTS), st.text(max_size=8)), max_size=12))
def test_any_text_is_cut_as_spacy_cuts_it(spacy, pieces):
    text = "".join(pieces)
    assert load_affixes().cut(text) == words(spacy, text)


def test_a_spacy_that_is_not_known_is_asked_itself(monkeypatch):
    from curate.stages.english import English

    text = "It isn't well-known (see U.S. law, 10km off): x :) y"
    expected = English().whole(text)
    load_affixes.cache_clear()
    monkeypatch.setattr(affixes, "KNOWN", frozenset())
    other = English()
    load_affixes.cache_clear()
    assert type(other._rules).__name__ == "_Spacy"
    assert other.whole(text) == expected
    assert (other.special.tokens, other.special.pairs) == (English().special.tokens, English().special.pairs)
    assert other.special.candidates == English().special.candidates
