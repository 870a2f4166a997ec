from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from curate.errors import CurateError
from curate.tokenize.pack import Fields, pack_dataset
from curate.tokenize.tokenizer import TokenizerSettings, load_tokenizer

SETTINGS = TokenizerSettings(vocabulary=300)
PAIRS = {"text": ["ein Haus", "", "zwei Hunde"], "target": ["a house", "nothing", "two dogs"], "id": ["a", "b", "c"]}
WORDS = {"words": [["The", "old", "man"], [], ["runs"]], "tags": [["D", "A", "N"], [], ["V"]]}


def text(pack, tokens):
    return load_tokenizer(pack.tokenizer_path).decode(tokens.tolist(), skip_special_tokens=False)


def labelled(**splits):
    return {split: {"text": ["some text"] * len(labels), "label": labels} for split, labels in splits.items()}


# ---- texts


def test_each_column_is_a_stream_of_its_own(dataset):
    pack = pack_dataset(dataset(train=PAIRS), SETTINGS, Fields(texts={"text": "text", "target": "target"}))
    assert {"train-00000.ds", "train.target-00000.ds", "train.target-00000.ds.index"} <= {
        path.name for path in pack.folder.iterdir()
    }
    rows = pack.rows("train")
    assert len(rows) == 3
    assert [text(pack, rows.tokens("text", number)) for number in range(3)] == PAIRS["text"]
    assert [text(pack, rows.tokens("target", number)) for number in range(3)] == PAIRS["target"]


def test_a_dataset_without_texts_says_which_columns_there_are(dataset):
    with pytest.raises(CurateError, match="`tiny` has no column `text`") as caught:
        pack_dataset(dataset(train={"id": ["a"], "messages": ["[]"]}), SETTINGS)
    assert "there are: id, messages" in str(caught.value)


def test_tokens_are_read_over_many_shards(dataset, monkeypatch):
    monkeypatch.setattr("curate.tokenize.streams.TOKENS_PER_SHARD", 5)
    pack = pack_dataset(dataset(train=PAIRS), SETTINGS, Fields(texts={"text": "text", "target": "target"}))
    rows = pack.rows("train")
    assert len({shard["file"] for shard in pack.manifest["splits"]["train"]["shards"]}) > 4
    assert [text(pack, rows.tokens("target", number)) for number in range(3)] == PAIRS["target"]
    assert rows.lengths("target").tolist() == [len(rows.tokens("target", number)) for number in range(3)]


def test_the_tokenizer_learns_from_all_columns_that_are_packed(dataset):
    columns = {"text": ["x"] * 9, "target": ["abababab"] * 9}
    alone, both = (
        pack_dataset(dataset(train=columns), SETTINGS, Fields(texts=texts))
        for texts in ({"text": "text"}, {"text": "text", "target": "target"})
    )
    assert "abab" in load_tokenizer(both.tokenizer_path).get_vocab()
    assert "abab" not in load_tokenizer(alone.tokenizer_path).get_vocab()


def test_packs_of_other_columns_lie_apart(dataset):
    made = dataset(train=PAIRS)
    assert pack_dataset(made, SETTINGS).folder != pack_dataset(made, SETTINGS, Fields(texts={"text": "target"})).folder


def test_a_column_that_is_not_there_is_told_with_those_that_are(dataset):
    with pytest.raises(CurateError, match="has no column `targets`") as error:
        pack_dataset(dataset(train=PAIRS), SETTINGS, Fields(texts={"target": "targets"}))
    assert error.value.hint == "did you mean `target`?"


def test_a_column_of_another_type_is_refused_with_those_that_fit(dataset):
    with pytest.raises(CurateError, match="column `label` holds int64, not text") as error:
        pack_dataset(dataset(train={**PAIRS, "label": [1, 2, 3]}), SETTINGS, Fields(texts={"text": "label"}))
    assert error.value.hint == "columns that could: text, target, id"


def test_a_document_without_the_text_is_refused_by_its_number_and_id(dataset):
    columns = {**PAIRS, "target": ["a house", None, "two dogs"]}
    with pytest.raises(CurateError, match="a document has no `target`") as error:
        pack_dataset(dataset(train=columns), SETTINGS, Fields(texts={"target": "target"}))
    assert error.value.where == "document 1 of the split `train`, id `b`"


def test_nothing_is_left_of_a_pack_that_was_refused(dataset, tmp_path):
    columns = {**PAIRS, "target": ["a house", None, "two dogs"]}
    with pytest.raises(CurateError):
        pack_dataset(dataset(train=columns), SETTINGS, Fields(texts={"target": "target"}))
    assert [path.suffix for path in (tmp_path / "tokens").iterdir()] == [".lock"]


def test_a_split_without_documents_has_no_rows(dataset):
    pack = pack_dataset(dataset(train=PAIRS, test={name: [] for name in PAIRS}), SETTINGS)
    with pytest.raises(CurateError, match="no tokens in a split `test`") as error:
        pack.rows("test")
    assert error.value.hint == "its splits: test, train"


def test_a_role_that_was_not_packed_is_told_with_those_that_were(dataset):
    with pytest.raises(CurateError, match="no column was packed as `target`") as error:
        pack_dataset(dataset(train=PAIRS), SETTINGS).rows("train").tokens("target", 0)
    assert error.value.hint == "there are: text"


# ---- numbers


def test_numbers_come_back(dataset):
    columns = {**PAIRS, "weight": [0.5, 0.0, 3.25], "score": [1, 2, 3]}
    fields = Fields(numbers={"weight": "weight", "label": "score"})
    rows = pack_dataset(dataset(train=columns), SETTINGS, fields).rows("train")
    assert rows.numbers("weight").tolist() == [0.5, 0.0, 3.25]
    assert rows.numbers("label").tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("value", "problem"),
    [(None, "`weight` is null"), (float("nan"), "`weight` is nan"), (-1.0, "`weight` is -1.0")],
)
def test_a_weight_that_is_no_weight_is_refused_by_its_document(dataset, value, problem):
    columns = {**PAIRS, "weight": [1.0, value, 1.0]}
    with pytest.raises(CurateError, match=problem) as error:
        pack_dataset(dataset(train=columns), SETTINGS, Fields(numbers={"weight": "weight"}))
    assert error.value.where == "document 1 of the split `train`, id `b`"


# ---- labels


@pytest.mark.parametrize("labels", [["pos", "neg", "pos"], [4, 2, 4], [4.0, 2.0, 4.0], [True, False, True]])
def test_labels_are_numbered_in_their_order(dataset, labels):
    pack = pack_dataset(dataset(**labelled(train=labels)), SETTINGS, Fields(labels="label"))
    assert pack.labels == sorted(set(labels))
    assert pack.rows("train").labels().tolist() == [1, 0, 1]


def test_a_label_that_nobody_knows_is_counted(dataset):
    pack = pack_dataset(dataset(**labelled(train=["a", None], test=[None, None])), SETTINGS, Fields(labels="label"))
    assert pack.rows("test").labels().tolist() == [-100, -100]
    assert pack.manifest["splits"]["train"]["columns"]["labels"]["missing"] == 1


def test_a_label_that_the_train_split_has_not_is_refused_with_those_that_it_has(dataset):
    splits = labelled(train=["neg", "pos"], validation=["pos", "neutral"])
    with pytest.raises(CurateError, match="label `neutral` of column `label` is not among the labels") as error:
        pack_dataset(dataset(**splits), SETTINGS, Fields(labels="label"))
    assert error.value.where == "document 1 of the split `validation`"
    assert error.value.hint == "those of the train split: `neg`, `pos`; a label that nobody knows is null"


def test_many_labels_are_not_all_listed(dataset):
    splits = labelled(train=list(range(50)), validation=[99])
    with pytest.raises(CurateError) as error:
        pack_dataset(dataset(**splits), SETTINGS, Fields(labels="label"))
    assert "`19` and 30 more" in error.value.hint


def test_labels_that_are_fractions_are_refused_with_the_way_to_learn_numbers(dataset):
    with pytest.raises(CurateError, match="`label` holds something else than labels") as error:
        pack_dataset(dataset(**labelled(train=[1.0, 0.5])), SETTINGS, Fields(labels="label"))
    assert "objective.regression" in error.value.hint


def test_a_train_split_without_labels_is_refused(dataset):
    with pytest.raises(CurateError, match="no labels in the train split"):
        pack_dataset(
            dataset(train={"text": ["a"], "label": pa.array([None], pa.string())}), SETTINGS, Fields(labels="label")
        )


@pytest.mark.parametrize(
    ("tags", "problem"),
    [('[["X"]]', "holds something else than labels"), ('["X", 1]', "has strings and integers as labels")],
)
def test_what_is_no_label_is_refused(dataset, tags, problem):
    with pytest.raises(CurateError, match=problem):
        pack_dataset(dataset(train={"words": ['["a", "b"]'], "tags": [tags]}), SETTINGS, TAGGED)


# ---- words

TAGGED = Fields(texts={}, words={"words": "words"}, labels="tags")


@pytest.mark.parametrize("stored", ["lists", "JSON"])
def test_words_keep_their_first_tokens_and_labels(dataset, stored):
    columns = WORDS if stored == "lists" else {name: list(map(json.dumps, some)) for name, some in WORDS.items()}
    pack = pack_dataset(dataset(train=columns), SETTINGS, TAGGED)
    rows = pack.rows("train")
    assert pack.labels == ["A", "D", "N", "V"]
    for number, words in enumerate(WORDS["words"]):
        tokens, first = rows.tokens("words", number), rows.mask("words", number)
        spelled = [text(pack, word) for word in np.split(tokens, np.flatnonzero(first)[1:])] if words else []
        assert spelled == [*words[:1], *(f" {word}" for word in words[1:])]
        assert [pack.labels[label] for label in rows.word_labels(number)] == WORDS["tags"][number]


def test_a_word_that_the_tokenizer_drops_becomes_the_unknown_token(dataset, tmp_path):
    pack = pack_dataset(dataset(train={"words": [["\u200d", "the", "\x00"]]}), *bert(tmp_path))
    tokens = load_tokenizer(pack.tokenizer_path)
    found = pack.rows("train").tokens("words", 0)
    assert [tokens.id_to_token(number) for number in found] == ["[UNK]", "the", "[UNK]"]
    assert pack.rows("train").mask("words", 0).all()


def bert(folder):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    names = [*special, "the", "t", "##h", "##e"]
    made = Tokenizer(models.WordPiece({name: number for number, name in enumerate(names)}, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    made.add_special_tokens(special)
    made.save(str(folder / "bert.json"))
    return TokenizerSettings(path=str(folder / "bert.json")), Fields(texts={}, words={"words": "words"})


def test_words_and_labels_that_do_not_match_are_refused(dataset):
    with pytest.raises(CurateError, match="`tags` has 1 labels for the 2 words of `words`") as error:
        pack_dataset(dataset(train={"words": [["a", "b"]], "tags": [["X"]]}), SETTINGS, TAGGED)
    assert error.value.where == "document 0 of the split `train`"


@pytest.mark.parametrize("words", [["a", ""], ["a", None], None])
def test_words_that_are_no_words_are_refused(dataset, words):
    with pytest.raises(CurateError, match="no list of words, or a word in it is empty"):
        pack_dataset(dataset(train={"words": [["b"], words]}), SETTINGS, Fields(texts={}, words={"words": "words"}))


def test_a_string_that_is_no_list_is_refused(dataset):
    with pytest.raises(CurateError, match="a string that is no JSON") as error:
        pack_dataset(dataset(train={"words": ['["b"]', "b c"]}), SETTINGS, Fields(texts={}, words={"words": "words"}))
    assert error.value.where == "document 1 of the split `train`"


# ---- files


@pytest.mark.parametrize("name", ["train.words-00000.ds.words", "train.labels.i32", "train.labels.i32.index"])
def test_a_file_that_was_changed_is_refused(dataset, name):
    pack = pack_dataset(dataset(train=WORDS), SETTINGS, TAGGED)
    content = bytearray((pack.folder / name).read_bytes())
    content[-1] ^= 1
    (pack.folder / name).write_bytes(content)
    with pytest.raises(CurateError, match=f"`{name}` is not the file that was packed"):
        pack.verify()


@pytest.mark.slow
def test_datatrove_reads_every_stream(dataset):
    from datatrove.utils.dataset import DatatroveFileDataset

    fields = Fields(texts={"text": "text", "target": "target"})
    pack = pack_dataset(dataset(train=PAIRS), SETTINGS, fields)
    stream = pack.rows("train").stream("target")
    theirs = DatatroveFileDataset(str(pack.folder / "train.target-00000.ds"), len(stream) - 1, return_positions=True)
    item = theirs[0]
    assert item["input_ids"].tolist() == stream.tokens(0, len(stream)).tolist()
    starts = np.repeat(np.concatenate([[0], stream.ends[:-1]]), stream.lengths)
    assert item["positions"].tolist() == (np.arange(len(stream)) - starts).tolist()
