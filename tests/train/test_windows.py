from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.errors import CurateError
from curate.tokenize.pack import Fields
from curate.train.data.batch import IGNORED
from curate.train.data.windows import Windows

TEXTS = ["some words", "", "and some more words of text", "x"]


def stream(pack, split):
    dtype = pack.manifest["dtype"]
    return np.concatenate([
        np.fromfile(pack.folder / shard["file"], dtype) for shard in pack.manifest["splits"][split]["shards"]
    ])  # fmt: skip


def whole(windows):
    return windows.read(np.arange(len(windows)))


# ---- tokens


def test_every_token_of_a_split_is_a_target_once(text_pack):
    pack = text_pack(train=TEXTS)
    targets = whole(Windows(pack, "train", 8))["targets"]
    assert targets[targets != IGNORED].tolist() == stream(pack, "train").tolist()


def test_inputs_are_the_targets_one_before_and_the_first_is_an_end_of_text(text_pack):
    pack = text_pack(train=TEXTS)
    windows = Windows(pack, "train", 8)
    batch, count = whole(windows), windows.tokens
    wanted = [pack.end_of_text, *batch["targets"].ravel()[: count - 1].tolist()]
    assert batch["tokens"].ravel()[:count].tolist() == wanted


@pytest.mark.parametrize("length", [1, 5, 8, 200])
@pytest.mark.parametrize("document_mask", [True, False])
def test_a_document_begins_with_the_start_token_where_the_tokenizer_has_one(column_pack, length, document_mask):
    pack = column_pack(Fields(), needs=("start",), train={"text": TEXTS})
    start, end = pack.roles["start"], pack.end_of_text
    assert start != end
    batch = whole(Windows(pack, "train", length, document_mask=document_mask))
    targets = batch["targets"].ravel()
    count = int((targets != IGNORED).sum())
    assert targets[:count].tolist() == stream(pack, "train").tolist()  # the end of a text is learned as before
    before = [start, *(start if token == end else token for token in targets[: count - 1].tolist())]
    assert batch["tokens"].ravel()[:count].tolist() == before


def test_windows_read_over_the_borders_of_shards(text_pack, monkeypatch):
    texts = [f"document {number} has a few words" for number in range(20)]
    uncut = text_pack(train=texts)
    monkeypatch.setattr("curate.tokenize.streams.TOKENS_PER_SHARD", 30)
    cut = text_pack(train=texts, validation=["x"])
    assert len(cut.manifest["splits"]["train"]["shards"]) > 3
    found, wanted = (whole(Windows(pack, "train", 16)) for pack in (cut, uncut))
    assert {name: values.tolist() for name, values in found.items()} == {
        name: values.tolist() for name, values in wanted.items()
    }


def test_a_window_numbered_minus_one_is_empty(text_pack):
    batch = Windows(text_pack(train=TEXTS), "train", 4).read(np.array([-1, 0]))
    assert (batch["targets"][0] == IGNORED).all()
    assert (batch["documents"][0] == -1).all()
    assert batch["numbers"].tolist() == [-1, 0]


def test_a_split_that_is_not_there_is_told_with_those_that_are(text_pack):
    with pytest.raises(CurateError, match=r"no tokens in a split `test`") as error:
        Windows(text_pack(train=["some words"]), "test", 4)
    assert error.value.hint == "its splits: train"


# ---- documents


@pytest.mark.parametrize("length", [3, 8, 200])
def test_the_end_of_text_before_a_document_is_its_first_input(text_pack, length):
    pack = text_pack(train=TEXTS)
    batch = whole(Windows(pack, "train", length))
    for row in range(len(batch["tokens"])):
        count = int((batch["targets"][row] != IGNORED).sum())
        document = place = 0
        for column in range(count):
            begins = batch["tokens"][row, column] == pack.end_of_text
            document, place = (document + 1, 0) if begins and column else (document, place)
            assert (batch["documents"][row, column], batch["positions"][row, column]) == (document, place)
            place += 1
        assert (batch["documents"][row, count:] == -1).all()


@settings(derandomize=True, max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text("ab ", max_size=12), min_size=1, max_size=8).filter(any), length=st.integers(1, 20))
def test_documents_and_their_places_follow_from_the_index(text_pack, texts, length):
    pack = text_pack(train=texts)
    windows = Windows(pack, "train", length)
    batch, ends = whole(windows), pack.rows("train").stream("text").ends
    places = np.arange(windows.tokens)
    document = np.searchsorted(ends, places, side="right")
    starts = np.concatenate([[0], ends])[document]
    window = places // length
    first = document[window * length]
    assert batch["documents"].ravel()[: windows.tokens].tolist() == (document - first).tolist()
    wanted = places - np.maximum(starts, window * length)
    assert batch["positions"].ravel()[: windows.tokens].tolist() == wanted.tolist()


def test_without_document_masks_a_batch_has_no_documents(text_pack):
    batch = whole(Windows(text_pack(train=TEXTS), "train", 8, document_mask=False))
    assert set(batch) == {"tokens", "targets", "numbers"}


# ---- weights and difficulty


def test_every_target_has_the_weight_of_its_document(column_pack):
    columns = {"text": TEXTS, "weight": [1.0, 2.0, 3.0, 4.0]}
    pack = column_pack(Fields(numbers={"weight": "weight"}), train=columns)
    batch = whole(Windows(pack, "train", 8))
    lengths = pack.rows("train").stream("text").lengths
    found = batch["weights"][batch["targets"] != IGNORED]
    assert found.tolist() == np.repeat(columns["weight"], lengths).tolist()
    assert found.dtype == np.float32


def test_a_windows_difficulty_is_the_mean_of_its_targets(column_pack):
    columns = {"text": TEXTS, "level": [1.0, 5.0, 2.5, 9.0]}
    pack = column_pack(Fields(numbers={"difficulty": "level"}), train=columns)
    windows = Windows(pack, "train", 8)
    each = np.repeat(columns["level"], pack.rows("train").stream("text").lengths)
    wanted = [each[start : start + 8].mean() for start in range(0, len(each), 8)]
    assert windows.difficulty() == pytest.approx(np.array(wanted))


def test_difficulty_needs_its_column(text_pack):
    with pytest.raises(CurateError, match="no column was packed as `difficulty`"):
        Windows(text_pack(train=TEXTS), "train", 8).difficulty()
