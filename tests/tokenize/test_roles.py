from __future__ import annotations

import json

import pytest

from curate.errors import CurateError
from curate.tokenize.pack import pack_dataset
from curate.tokenize.roles import roles
from curate.tokenize.tokenizer import TokenizerSettings, load_tokenizer, token_bytes

SETTINGS = TokenizerSettings(vocabulary=300)


def made(path, special, **parts):
    """A tokenizer of characters with these special tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    names = [*special, *pre_tokenizers.ByteLevel.alphabet()]
    tokenizer = Tokenizer(models.BPE({name: number for number, name in enumerate(names)}, []))
    tokenizer.pre_tokenizer = parts.pop("pre_tokenizer", pre_tokenizers.ByteLevel(add_prefix_space=False))
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    tokenizer.add_special_tokens(list(special))
    path.mkdir(exist_ok=True)
    tokenizer.save(str(path / "tokenizer.json"))
    return path


@pytest.mark.parametrize(
    ("special", "wanted"),
    [
        (
            ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
            {"padding": 0, "unknown": 1, "start": 2, "separator": 3, "end_of_text": 3, "mask": 4},
        ),
        (
            ["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
            {"start": 0, "padding": 1, "end_of_text": 2, "separator": 2, "unknown": 3, "mask": 4},
        ),
        (["<|endoftext|>"], {"end_of_text": 0, "start": 0, "separator": 0, "padding": 0}),
        (
            ["<|begin_of_text|>", "<|end_of_text|>"],
            {"end_of_text": 1, "start": 0, "separator": 1, "padding": 1},
        ),
    ],
    ids=["BERT", "RoBERTa", "GPT-2", "Llama 3"],
)
def test_roles_are_found_by_the_usual_names(tmp_path, special, wanted):
    assert roles(load_tokenizer(made(tmp_path, special) / "tokenizer.json")) == wanted


def test_an_end_of_text_of_another_name_is_named(tmp_path, dataset):
    path = made(tmp_path / "given", ["<fin>", "<|mask|>"])
    with pytest.raises(CurateError, match="no token that ends a text") as error:
        pack_dataset(dataset(train=["ab"]), TokenizerSettings(path=str(path)))
    assert error.value.where == "tokenizer.end_of_text"
    assert error.value.hint == "name it here; its special tokens: `<fin>`, `<|mask|>`"
    pack = pack_dataset(dataset(train=["ab"]), TokenizerSettings(path=str(path), end_of_text="<fin>"))
    assert pack.rows("train").stream("text").tokens(0, 3)[-1] == pack.end_of_text == 0


def test_an_end_of_text_that_the_tokenizer_has_not_is_refused(tmp_path):
    tokenizer = load_tokenizer(made(tmp_path, ["<fin>"]) / "tokenizer.json")
    with pytest.raises(CurateError, match="has no token `<fine>`") as error:
        roles(tokenizer, "<fine>")
    assert error.value.hint == "did you mean `<fin>`?"


# ---- what objectives need


def test_a_tokenizer_that_is_trained_gets_the_tokens_that_are_needed(dataset):
    pack = pack_dataset(dataset(train=["some text"]), SETTINGS, needs=("mask", "separator", "mask"))
    tokenizer = load_tokenizer(pack.tokenizer_path)
    assert [tokenizer.id_to_token(number) for number in pack.special_tokens] == [
        "<|endoftext|>", "<|mask|>", "<|separator|>"
    ]  # fmt: skip
    assert pack.roles["mask"] == 1


def test_a_token_that_was_asked_for_by_another_usual_name_is_not_added(dataset):
    settings = TokenizerSettings(vocabulary=300, special_tokens=("<|endoftext|>", "[MASK]"))
    pack = pack_dataset(dataset(train=["some text"]), settings, needs=("mask",))
    assert (pack.roles["mask"], len(pack.special_tokens)) == (1, 2)


def test_a_given_tokenizer_that_lacks_a_token_is_refused(dataset, tmp_path):
    path = made(tmp_path / "given", ["<|endoftext|>"])
    with pytest.raises(CurateError, match="no special token for: mask") as error:
        pack_dataset(dataset(train=["ab"]), TokenizerSettings(path=str(path)), needs=("start", "mask"))
    assert error.value.where == str(path / "tokenizer.json")
    assert "`<|mask|>`" in error.value.hint


def test_a_pack_that_is_found_is_checked_too(dataset, tmp_path):
    settings = TokenizerSettings(path=str(made(tmp_path / "given", ["<|endoftext|>"])))
    pack_dataset(dataset(train=["ab"]), settings)
    with pytest.raises(CurateError, match="no special token for: mask"):
        pack_dataset(dataset(train=["ab"]), settings, needs=("mask",))


def test_a_vocabulary_too_small_for_the_tokens_that_are_needed_is_refused(dataset):
    with pytest.raises(CurateError, match="a vocabulary of 257 tokens is too small") as error:
        pack_dataset(dataset(train=["ab"]), TokenizerSettings(vocabulary=257), needs=("mask",))
    assert error.value.hint == "at least 258"


# ---- given tokenizers


def test_a_given_tokenizer_is_copied_and_recorded_by_its_hash(dataset, tmp_path):
    path = made(tmp_path / "given", ["<|endoftext|>"])
    by_folder = pack_dataset(dataset(train=["ab"]), TokenizerSettings(path=str(path)))
    by_file = pack_dataset(dataset(train=["ab"]), SETTINGS, tokenizer=path / "tokenizer.json")
    assert by_folder.folder == by_file.folder
    assert by_folder.tokenizer_path.read_bytes() == (path / "tokenizer.json").read_bytes()
    assert not by_folder.manifest["tokenizer"]["trained"]


def test_packs_share_a_tokenizer(dataset):
    first = pack_dataset(dataset(train=["some words"]), SETTINGS, needs=("mask",))
    second = pack_dataset(dataset(train=["other words"]), SETTINGS, needs=("mask",), tokenizer=first.tokenizer_path)
    assert (second.tokenizer, second.roles) == (first.tokenizer, first.roles)


@pytest.mark.parametrize(("content", "problem"), [(None, "there is no tokenizer"), ("{}", "cannot be read")])
def test_what_is_no_tokenizer_is_refused(dataset, tmp_path, content, problem):
    if content:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(CurateError, match=problem):
        pack_dataset(dataset(train=["ab"]), TokenizerSettings(path=str(tmp_path)))


def test_what_a_tokenizers_file_says_of_cutting_and_padding_is_not_used(dataset, tmp_path):
    from tokenizers import Tokenizer

    path = made(tmp_path / "given", ["<|endoftext|>"]) / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=9)
    tokenizer.save(str(path))
    pack = pack_dataset(dataset(train=["abcdef", "a"]), SETTINGS, tokenizer=path)
    assert pack.rows("train").lengths("text").tolist() == [6, 1]


def test_a_vocabulary_with_gaps_counts_to_its_last_token(dataset, tmp_path):
    path = made(tmp_path / "given", ["<|endoftext|>"]) / "tokenizer.json"
    description = json.loads(path.read_text())
    description["model"]["vocab"]["zz"] = 999
    path.write_text(json.dumps(description))
    assert pack_dataset(dataset(train=["ab"]), SETTINGS, tokenizer=path).vocabulary == 1000


def test_long_documents_of_other_tokenizers_are_encoded_whole(dataset, tmp_path, monkeypatch):
    from tokenizers import pre_tokenizers

    monkeypatch.setattr("curate.tokenize.streams.CHARACTERS", 4)
    path = made(tmp_path / "given", ["</s>", "\u2581"], pre_tokenizer=pre_tokenizers.Metaspace())
    pack = pack_dataset(dataset(train=["ab cd ef gh"]), SETTINGS, tokenizer=path / "tokenizer.json")
    tokenizer = load_tokenizer(pack.tokenizer_path)
    found = [tokenizer.id_to_token(number) for number in pack.rows("train").tokens("text", 0)]
    assert "".join(found) == "\u2581ab\u2581cd\u2581ef\u2581gh"


# ---- bytes


def test_bytes_are_known_of_byte_level_tokenizers_only(tmp_path):
    from tokenizers import normalizers, pre_tokenizers

    words = made(tmp_path / "words", ["</s>"], pre_tokenizer=pre_tokenizers.Metaspace())
    spaced = made(tmp_path / "spaced", ["</s>"], pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True))
    lower = made(tmp_path / "lower", ["</s>"], normalizer=normalizers.Lowercase())
    assert [token_bytes(path / "tokenizer.json") for path in (words, spaced, lower)] == [None] * 3
    plain = token_bytes(made(tmp_path / "plain", ["</s>"]) / "tokenizer.json")
    assert plain is not None and plain.tolist() == [0, *[1] * 256]


def test_a_word_that_was_added_stands_for_its_bytes(tmp_path):
    from tokenizers import AddedToken, Tokenizer

    path = made(tmp_path, ["</s>"]) / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.add_tokens([AddedToken("<thi\u00f1k>")])
    tokenizer.save(str(path))
    assert token_bytes(path)[-1] == 8
