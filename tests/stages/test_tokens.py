"""What was cut is kept for the next stage, and no more of it than there is room for."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from curate.stages.buffers import text_buffer
from curate.stages.tokens import Kept

TEXTS = [f"text {number}" for number in range(1000)]


def test_a_key_is_of_the_text_and_of_this_table_alone():
    one, other = Kept(), Kept()
    keys = one.keys(*text_buffer(pa.array([*TEXTS, "text 0"])))
    assert len(set(keys)) == len(TEXTS)
    assert (keys[0], len(keys[0])) == (keys[-1], 16)
    assert not set(keys) & set(other.keys(*text_buffer(pa.array(TEXTS))))


def test_short_and_empty_texts_take_room_too(monkeypatch):
    monkeypatch.setattr("curate.stages.tokens._KEPT_BYTES", 100_000)
    kept = Kept()
    keys = kept.keys(*text_buffer(pa.array(TEXTS)))
    for key in keys:
        kept.put(key, np.zeros(0, np.int32))
    there = [kept.get(key) is not None for key in keys]
    assert 100 < sum(there) < 300
    assert there == sorted(there)


def test_a_text_that_is_longer_than_the_room_is_not_kept(monkeypatch):
    monkeypatch.setattr("curate.stages.tokens._KEPT_BYTES", 1000)
    kept = Kept()
    kept.put(b"short", np.zeros(100, np.int32))
    kept.put(b"long", np.zeros(200, np.int32))
    assert (kept.get(b"short") is None, kept.get(b"long") is None) == (False, True)
