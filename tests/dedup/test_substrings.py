"""Passages that stand elsewhere are taken out, byte for byte as a plain search finds them."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.dedup.substrings import ExactSubstrings
from curate.dedup.windows import find_anchors
from curate.stages.verdicts import without_spans

SIZE = 16


def left(outcome, texts):
    """Texts after the verdicts, None where the document went."""
    result = list(texts)
    for verdict in outcome.verdicts.values():
        spans = [(span["start"], span["end"]) for span in verdict["spans"] or ()]
        result[verdict["row"]] = without_spans(texts[verdict["row"]], spans) if verdict["verdict"] == "edited" else None
    return result


def brute_force(texts, size, keep):
    """Each text without the whole characters in windows that stand elsewhere (before, where the first is kept)."""
    places = defaultdict(list)
    contents = [text.encode() for text in texts]
    for number, content in enumerate(contents):
        for start in range(len(content) - size + 1):
            places[content[start : start + size]].append((number, start))
    gone = defaultdict(set)
    for some in places.values():
        for number, start in some[1 if keep == "first" else 0 :] if len(some) > 1 else ():
            gone[number] |= set(range(start, start + size))
    result = []
    for number, text in enumerate(texts):
        position, stay = 0, ""
        for character in text:
            width = len(character.encode())
            stay += "" if set(range(position, position + width)) <= gone[number] else character
            position += width
        result.append(stay)
    return result


PIECES = st.sampled_from(
    ["a" * 40, "the quick brown fox jumps over", "\u00e9\u6f22\u5b57" * 7, "0123456789abcdefghij", "x", "y\n", ""]
)


@settings(
    derandomize=True, max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    texts=st.lists(st.lists(PIECES | st.text("ab\u00e9", max_size=20), max_size=5).map("".join), max_size=5),
    cuts=st.lists(st.integers(0, 5), max_size=2),
    keep=st.sampled_from(["first", "none"]),
)
def test_what_stays_is_what_a_plain_search_leaves_however_the_shards_are_cut(deduplicate, texts, cuts, keep):
    stage = ExactSubstrings(min_bytes=SIZE, keep=keep, min_left=0)
    outcome = deduplicate(stage, texts, [min(cut, len(texts)) for cut in cuts])
    assert left(outcome, texts) == brute_force(texts, SIZE, keep)


def test_a_passage_of_an_earlier_document_goes_and_its_length_is_told(deduplicate):
    texts = ["before " + "passage number one, " * 2 + "end", "other words passage number one, passage number one, more"]
    outcome = deduplicate(ExactSubstrings(min_bytes=30), texts, [1])
    (verdict,) = outcome.verdicts.values()
    assert (verdict["row"], verdict["reason"], verdict["value"]) == (1, "repeated_text", 41)
    assert verdict["detail"] == "1 passages of at least 30 bytes"
    assert left(outcome, texts)[1] == "other wordsmore"


def test_a_copy_is_dropped_as_nothing_is_left(deduplicate):
    outcome = deduplicate(ExactSubstrings(min_bytes=20), ["a text that is copied whole"] * 3, [1, 2])
    assert {name: (one["reason"], one["value"], one["threshold"]) for name, one in outcome.verdicts.items()} == {
        "d1": ("repeated_left", 0, 1), "d2": ("repeated_left", 0, 1),
    }  # fmt: skip


@pytest.mark.parametrize("unit", ["a", "ab", "abc"])
def test_a_run_of_one_character_has_two_anchors_and_goes_all_the_same(deduplicate, unit):
    run = (unit * 500)[:500]
    _, bounds = find_anchors(np.frombuffer((run * 2).encode(), np.uint8), np.array([0, 500, 1000]), 200)
    assert bounds.tolist() == [0, 2, 4]
    texts = [run[:200], f"other {run}", run, "none of it"]
    for keep in ("first", "none"):
        for some in ([run], texts):
            outcome = deduplicate(ExactSubstrings(keep=keep, min_left=0), some, [1] if some is texts else [])
            assert left(outcome, some) == brute_force(some, 200, keep)


def test_many_chunks_are_as_one(deduplicate, monkeypatch):
    monkeypatch.setattr("curate.dedup.substrings.BUCKET_RECORDS", 10)
    monkeypatch.setattr("curate.dedup.substrings._SLICE", 7)
    texts = ["0123456789" * 6, "x" + "0123456789" * 3, "abcdefghijklmnopqrstuvwxyz", "-abcdefghijklmnopqrstuvwxyz-"]
    for keep in ("first", "none"):
        outcome = deduplicate(ExactSubstrings(min_bytes=SIZE, keep=keep, min_left=0), texts, [1, 3])
        assert left(outcome, texts) == brute_force(texts, SIZE, keep)


def test_texts_without_a_repetition_are_left_alone(deduplicate):
    assert deduplicate(ExactSubstrings(), ["", "short", "w" * 200, "v" * 199 + "u" * 199]).verdicts == {}


def test_other_columns_are_refused():
    with pytest.raises(ValueError, match="column `text` alone"):
        ExactSubstrings(on=["prompt"])
