"""Work that stages share, and how long a process was at it."""

from __future__ import annotations

import pyarrow as pa

from curate.stages.preparation import SPENT, preparing
from curate.stages.words import EnglishWords


def test_a_block_within_another_counts_once():
    before = SPENT.seconds
    with preparing():
        with preparing():
            pass
        assert SPENT.seconds == before
    assert SPENT.seconds > before


def test_texts_are_cut_for_all_stages_and_only_once():
    words, texts = EnglishWords(), pa.array(["Some words that nobody has cut."])
    before = SPENT.seconds
    words.cut(texts)
    first = SPENT.seconds
    assert first > before
    words.cut(texts)
    assert SPENT.seconds == first
