from __future__ import annotations

import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import CurateError
from curate.tokenize.pack import Fields
from curate.tokenize.tokenizer import load_tokenizer
from curate.train.data.answers import Compared, Judged, Outcomes, Preferences
from curate.train.data.batch import IGNORED
from curate.train.data.examples import Labelled, Pairs, Prompts, Tagged

os.environ["HF_HUB_OFFLINE"] = "1"
MARKED = ("start", "separator", "padding")
TEXTS = ["a", "bcd", "efghijk", "", "lmnopqrstuvwxyz"]
SECOND = ["0123456789", "1", "234567", "89", "0123456789"]


def names(pack, tokens):
    """The text of a row, with a sign for each special token."""
    signs = {"<|start|>": "^", "<|separator|>": "|", "<|padding|>": "_", "<|endoftext|>": "$"}
    tokenizer = load_tokenizer(pack.tokenizer_path)
    parts = (tokenizer.id_to_token(int(token)) for token in tokens)
    return "".join(signs.get(part, part) for part in parts)


@pytest.fixture
def labelled(column_pack):
    def build(**columns):
        given = {"text": TEXTS, "label": ["x", "y", "x", None, "y"], **columns}
        texts = {role: role for role in ("text", "second") if role in given}
        numbers = {role: role for role in ("weight", "difficulty") if role in given}
        return column_pack(Fields(texts=texts, labels="label", numbers=numbers), needs=MARKED, train=given)

    return build


# ---- labels of texts


def test_a_labelled_text_stands_between_start_and_separator(labelled):
    pack = labelled()
    batch = Labelled(pack, "train", 64).read(np.array([1, 2]))
    assert [names(pack, row) for row in batch["tokens"]] == ["^bcd|" + "_" * 11, "^efghijk|" + "_" * 7]
    assert batch["documents"].tolist() == [[0] * 5 + [-1] * 11, [0] * 9 + [-1] * 7]
    assert batch["labels"].tolist() == [1, 0]
    assert "segments" not in batch and "weights" not in batch


def test_a_document_without_a_label_has_none_in_its_batch(labelled):
    assert Labelled(labelled(), "train", 64).read(np.array([3]))["labels"].tolist() == [IGNORED]


def test_the_second_text_of_a_pair_is_the_second_segment(labelled):
    pack = labelled(second=SECOND)
    batch = Labelled(pack, "train", 64).read(np.array([1]))
    assert names(pack, batch["tokens"][0]) == "^bcd|1|" + "_"
    assert batch["segments"].tolist() == [[0, 0, 0, 0, 0, 1, 1, 0]]


def test_texts_that_are_too_long_are_cut_and_counted(labelled):
    pack = labelled()
    source = Labelled(pack, "train", 6)
    batch = source.read(np.array([2, 0]))
    assert [names(pack, row) for row in batch["tokens"]] == ["^efgh|", "^a|___"]
    assert source.cut == 2


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {name: number for number, name in enumerate(["[CLS]", "[SEP]", "[PAD]", "a", "b"])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[PAD]"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    ends = [("[CLS]", 0), ("[SEP]", 1)]
    made.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ends)
    return PreTrainedTokenizerFast(tokenizer_object=made, cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]")


@settings(derandomize=True, max_examples=100, deadline=None)
@given(first=st.integers(1, 20), second=st.integers(1, 20), length=st.integers(4, 24))
def test_pairs_are_cut_as_transformers_cuts_the_longest_first(theirs, first, second, length):
    from curate.train.data.examples import _shares

    row = theirs("a" * first, "b" * second, truncation="longest_first", max_length=length)["input_ids"]
    assert (row.count(3), row.count(4)) == _shares(first, second, length - 3)


def test_numbers_to_learn_are_floats(column_pack):
    fields = Fields(numbers={"label": "score"})
    pack = column_pack(fields, needs=MARKED, train={"text": ["a", "b"], "score": [0.5, -3.0]})
    labels = Labelled(pack, "train", 64, regression=True).read(np.array([1, -1]))["labels"]
    assert labels.tolist() == [-3.0, IGNORED]
    assert labels.dtype == np.float32


def test_an_empty_row_has_neither_document_nor_label_nor_weight(labelled):
    batch = Labelled(labelled(weight=[1.0, 2.0, 3.0, 4.0, 5.0]), "train", 64).read(np.array([-1, 4]))
    assert (batch["documents"][0] == -1).all()
    assert batch["labels"].tolist() == [IGNORED, 1]
    assert batch["weights"].tolist() == [0.0, 5.0]
    assert batch["numbers"].tolist() == [-1, 4]


def test_a_batch_of_empty_rows_can_be_read(labelled):
    batch = Labelled(labelled(), "train", 64).read(np.array([-1, -1]))
    assert batch["tokens"].shape == batch["documents"].shape == (2, 8)


def test_difficulty_is_that_of_the_documents(labelled):
    pack = labelled(difficulty=[3.0, 1.0, 2.0, 0.0, 9.0])
    assert Labelled(pack, "train", 64).difficulty().tolist() == [3.0, 1.0, 2.0, 0.0, 9.0]


def test_a_length_without_room_for_text_is_refused(labelled):
    with pytest.raises(CurateError, match="3 tokens leave no room for text beside 3 special tokens") as error:
        Labelled(labelled(), "train", 3)
    assert error.value.hint == "at least 4"


# ---- labels of words


def test_the_first_token_of_each_word_has_its_label(column_pack):
    columns = {"words": [["ab", "c"], ["d"]], "tags": [["X", "Y"], ["X"]]}
    pack = column_pack(Fields(texts={}, words={"words": "words"}, labels="tags"), needs=MARKED, train=columns)
    batch = Tagged(pack, "train", 32).read(np.array([0, 1, -1]))
    assert names(pack, batch["tokens"][0]).replace("\u0120", " ") == "^ab c|__"
    assert batch["targets"].tolist() == [
        [IGNORED, 0, IGNORED, 1, IGNORED, IGNORED, IGNORED, IGNORED],
        [IGNORED, 0, *[IGNORED] * 6],
        [IGNORED] * 8,
    ]


def test_words_that_are_too_many_are_cut_with_their_labels(column_pack):
    columns = {"words": [["ab", "c"], ["d"]], "tags": [["X", "Y"], ["X"]]}
    pack = column_pack(Fields(texts={}, words={"words": "words"}, labels="tags"), needs=MARKED, train=columns)
    source = Tagged(pack, "train", 4)
    assert source.read(np.array([0]))["targets"].tolist() == [[IGNORED, 0, IGNORED, IGNORED]]
    assert source.cut == 1


# ---- texts from texts


@pytest.fixture
def pairs(column_pack):
    columns = {"text": ["abc", "d"], "target": ["12", "345"]}
    return column_pack(Fields(texts={"text": "text", "target": "target"}), needs=MARKED, train=columns)


def test_the_decoder_reads_the_target_one_place_later(pairs):
    batch = Pairs(pairs, "train", 32, target_length=16).read(np.array([0, 1]))
    assert [names(pairs, row) for row in batch["tokens"]] == ["abc$____", "d$______"]
    assert [names(pairs, row) for row in batch["inputs"]] == ["^12_____", "^345____"]
    assert names(pairs, batch["targets"][1][:4]) == "345$"
    assert (batch["targets"] == IGNORED).tolist() == [[False] * 3 + [True] * 5, [False] * 4 + [True] * 4]


def test_the_decoders_first_token_can_be_another(pairs):
    batch = Pairs(pairs, "train", 32, target_length=16, start=pairs.roles["padding"]).read(np.array([0]))
    assert names(pairs, batch["inputs"][0]) == "_12_____"


def test_sources_and_targets_are_cut_before_their_ends(pairs):
    source = Pairs(pairs, "train", 3, target_length=3)
    batch = source.read(np.array([0, 1]))
    assert [names(pairs, row) for row in batch["tokens"]] == ["ab$", "d$_"]
    assert [names(pairs, row) for row in batch["targets"]] == ["12$", "34$"]
    assert source.cut == 2


# ---- preferences and prompts


@pytest.fixture
def preferred(column_pack):
    columns = {"prompt": ["abcdef", ""], "chosen": ["12", "3"], "rejected": ["4567", "8"]}
    texts = {name: name for name in columns}
    return column_pack(Fields(texts=texts), needs=MARKED, train=columns)


def test_both_answers_stand_behind_the_prompt_and_only_they_are_targets(preferred):
    batch = Preferences(preferred, "train", 32).read(np.array([0]))
    assert batch["tokens"].shape == batch["targets"].shape == batch["documents"].shape == (1, 2, 16)
    assert [names(preferred, row) for row in batch["tokens"][0]] == ["^abcdef12_______", "^abcdef4567_____"]
    for row, answer in enumerate(["12$", "4567$"]):
        targets = batch["targets"][0, row]
        assert np.flatnonzero(targets != IGNORED).tolist() == list(range(6, 6 + len(answer)))
        assert names(preferred, targets[targets != IGNORED]) == answer


def test_the_beginning_of_a_long_prompt_is_left_out_for_both_answers(preferred):
    source = Preferences(preferred, "train", 8)
    batch = source.read(np.array([0]))
    assert [names(preferred, row) for row in batch["tokens"][0]] == ["^def12__", "^def4567"]
    assert source.cut == 1


def test_an_answer_longer_than_the_row_is_cut(preferred):
    batch = Preferences(preferred, "train", 4).read(np.array([0]))
    assert [names(preferred, row) for row in batch["tokens"][0]] == ["^12_", "^456"]


def test_an_empty_pair_has_no_targets(preferred):
    batch = Preferences(preferred, "train", 8).read(np.array([-1, 1]))
    assert (batch["targets"][0] == IGNORED).all()
    assert (batch["documents"][0] == -1).all()


@pytest.fixture
def judged(column_pack):
    columns = {"prompt": ["abcdef", "g", "h"], "completion": ["12", "3", "4567"], "label": [True, False, None]}
    texts = {"prompt": "prompt", "completion": "completion"}
    return column_pack(Fields(texts=texts, labels="label"), needs=MARKED, train=columns)


def test_an_answer_stands_beside_that_of_the_next_document(judged):
    batch = Judged(judged, "train", 32, good=[False, True]).read(np.array([0, 2, -1]))
    shown = [[names(judged, row).rstrip("_") for row in pair] for pair in batch["tokens"]]
    assert shown == [["^abcdef12", "^abcdef3"], ["^h4567", "^h12"], ["", ""]]
    answers = [[names(judged, row[row != IGNORED]) for row in pair] for pair in batch["targets"]]
    assert answers == [["12$", "3$"], ["4567$", "12$"], ["", ""]]
    assert batch["labels"].tolist() == [1, IGNORED, IGNORED]


def test_what_is_not_its_own_does_not_cut_the_prompt_of_an_answer(judged):
    batch = Judged(judged, "train", 4, good=[False, True]).read(np.array([1]))
    assert [names(judged, row) for row in batch["tokens"][0]] == ["^g3_", "^456"]


def test_texts_that_are_scored_are_whole(preferred):
    source = Compared(preferred, "train", 8)
    batch = source.read(np.array([0, 1]))
    shown = [[names(preferred, row) for row in pair] for pair in batch["tokens"]]
    assert shown == [["^ef12$__", "^ef4567$"], ["^3$_____", "^8$_____"]]
    assert source.cut == 1 and "margins" not in batch


def test_margins_stand_beside_their_pairs(column_pack):
    columns = {"prompt": ["a", "b"], "chosen": ["1", "2"], "rejected": ["3", "4"], "lead": [0.5, 2]}
    texts = {name: name for name in ("prompt", "chosen", "rejected")}
    pack = column_pack(Fields(texts=texts, numbers={"margin": "lead"}), needs=MARKED, train=columns)
    assert Compared(pack, "train", 8).read(np.array([1, -1, 0]))["margins"].tolist() == [2.0, 0.0, 0.5]


def test_outcomes_are_whole_texts_and_whether_they_are_right(judged):
    batch = Outcomes(judged, "train", 32, good=[False, True]).read(np.array([0, 1, -1]))
    assert [names(judged, row).rstrip("_") for row in batch["tokens"]] == ["^abcdef12$", "^g3$", ""]
    assert batch["labels"].tolist() == [1, 0, IGNORED]


def test_an_end_that_is_the_padding_ends_no_text_that_is_scored(column_pack):
    """transformers takes the last token that is no padding."""
    columns = {"prompt": ["a"], "completion": ["1"], "label": [True]}
    texts = {"prompt": "prompt", "completion": "completion"}
    pack = column_pack(Fields(texts=texts, labels="label"), train=columns)
    assert pack.roles["padding"] == pack.roles["end_of_text"]
    batch = Outcomes(pack, "train", 8, good=[True]).read(np.array([0]))
    assert (batch["documents"][0] >= 0).sum() == 3  # the start, `a` and `1`


def test_prompts_stand_at_the_right_end_and_answers_at_the_left(column_pack):
    columns = {"prompt": ["abc", "defghijkl"], "answer": ["12", "3"]}
    pack = column_pack(Fields(texts={"prompt": "prompt", "answer": "answer"}), needs=MARKED, train=columns)
    source = Prompts(pack, "train", 8)
    batch = source.read(np.array([0, 1, -1]))
    assert [names(pack, row) for row in batch["tokens"]] == ["____^abc", "^fghijkl", "________"]
    assert batch["documents"].tolist() == [[-1] * 4 + [0] * 4, [0] * 8, [-1] * 8]
    assert [names(pack, row[row >= 0]) for row in batch["answers"]] == ["12", "3", ""]
    assert source.cut == 1


def test_columns_for_rewards_come_with_prompts_byte_for_byte(column_pack):
    """Whatever the tokenizer makes of them."""
    tests = ["assert f('\u00e9\t') == 1\n", "", None]
    given = {"prompt": ["a", "b", "c"], "answer": ["1", "2", "3"], "tests": tests, "levels": [["x"], [], ["y", "z"]]}
    fields = Fields(texts={"prompt": "prompt", "answer": "answer"}, bytes={"column00": "tests", "column01": "levels"})
    pack = column_pack(fields, needs=MARKED, train=given)
    batch = Prompts(pack, "train", 8).read(np.array([0, 2, -1]))
    texts = [[bytes(part[part >= 0].astype(np.uint8)).decode() for part in row] for row in batch["columns"]]
    assert texts == [[tests[0], '["x"]'], ["", '["y", "z"]'], ["", ""]]
    assert len(Prompts(pack, "train", 8)) == 3


def test_packs_without_such_columns_are_named_as_before():
    assert "bytes" not in Fields(texts={"prompt": "prompt"}).facts()


# ---- all of them


def test_widths_are_multiples_of_8_up_to_the_length(labelled):
    pack = labelled(text=["abcdefghi", "acegikmoqsuwyzxvtrpnljhfdb0123", "c", "d", "e"])
    source = Labelled(pack, "train", 27)
    assert [source.read(np.array([number]))["tokens"].shape[1] for number in range(3)] == [16, 27, 8]


def test_a_column_that_was_not_packed_is_told(text_pack):
    with pytest.raises(CurateError, match="no column was packed as `labels`") as error:
        Labelled(text_pack(train=["a"]), "train", 16)
    assert error.value.hint == "there are: none"


def test_the_manifest_names_all_streams(preferred):
    manifest = json.loads((preferred.folder / "manifest.json").read_text())
    assert [shard["role"] for shard in manifest["splits"]["train"]["shards"]] == ["prompt", "chosen", "rejected"]
