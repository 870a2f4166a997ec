from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from curate.errors import CurateError
from curate.tokenize.tokenizer import (
    TokenizerSettings,
    load_tokenizer,
    token_bytes,
    tokenizer_hash,
    train_tokenizer,
)


@pytest.fixture
def path(dataset, topics, tmp_path):
    """A tokenizer of 400 tokens."""
    path = tmp_path / "tokenizer.json"
    path.write_text(train_tokenizer(dataset(train=topics[:20]), TokenizerSettings(vocabulary=400)))
    return path


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|endoftext|>"]
    made.train_from_iterator(
        ["the quick brown fox " * 9],
        trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    made.save(str(path))
    return load_tokenizer(path), token_bytes(path)


HARD = [
    "",
    " ",
    "\r\n\t \x00",
    "\u200d\ufeff\U0001f9d1\u200d\U0001f680",
    "e\u0301 \u1100\u1161",
    "<|endoftext|>",
    "don't  \n\n stop",
]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200) | st.sampled_from(HARD)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(text=TEXTS)
def test_any_text_comes_back_unchanged(tokenizer, text):
    encoder, _ = tokenizer
    assert encoder.decode(encoder.encode(text).ids, skip_special_tokens=False) == text


@settings(derandomize=True, max_examples=300, deadline=None)
@given(text=TEXTS)
def test_the_bytes_of_a_texts_tokens_are_the_bytes_of_the_text(tokenizer, text):
    encoder, lengths = tokenizer
    assert lengths[encoder.encode(text).ids].sum() == len(text.encode())


def test_a_special_token_written_in_a_text_does_not_end_the_document(tokenizer):
    encoder, _ = tokenizer
    assert encoder.token_to_id("<|endoftext|>") not in encoder.encode("a <|endoftext|> b").ids


def test_special_tokens_stand_for_no_bytes(path):
    encoder = load_tokenizer(path)
    assert token_bytes(path)[encoder.token_to_id("<|endoftext|>")] == 0
    assert (token_bytes(path) == 0).sum() == 1


def test_it_has_the_vocabulary_asked_for(path):
    assert load_tokenizer(path).get_vocab_size() == 400


def test_it_is_named_by_the_hash_of_its_file(path):
    assert tokenizer_hash(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_special_tokens_are_added_in_their_order(dataset):
    settings = TokenizerSettings(vocabulary=300, special_tokens=("<end>", "<user>"))
    from tokenizers import Tokenizer

    made = Tokenizer.from_str(train_tokenizer(dataset(train=["some text"]), settings))
    assert [made.token_to_id(token) for token in ("<end>", "<user>")] == [0, 1]


def test_a_pair_below_the_minimum_frequency_is_not_merged(dataset):
    from tokenizers import Tokenizer

    text = dataset(train=["abab ab zq"])
    few, many = (
        Tokenizer.from_str(
            train_tokenizer(text, TokenizerSettings(vocabulary=300, minimum_frequency=least))
        ).get_vocab_size()
        for least in (1, 3)
    )
    assert few > many > 257


def test_a_sample_takes_every_nth_document(dataset):
    texts = dataset(train=["abababab" * 1000, "cdcdcdcd" * 1000] * 5)
    from tokenizers import Tokenizer

    sampled = train_tokenizer(texts, TokenizerSettings(vocabulary=300, sample_megabytes=0.04))
    vocabulary = Tokenizer.from_str(sampled).get_vocab()
    assert "ab" in vocabulary
    assert "cd" not in vocabulary


@pytest.mark.parametrize("texts", [{}, {"train": []}, {"train": [""]}, {"test": ["words"]}])
def test_a_dataset_without_text_to_learn_from_is_refused(dataset, texts):
    with pytest.raises(CurateError, match="has no text in its train split"):
        train_tokenizer(dataset(**texts), TokenizerSettings())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vocabulary": 256}, "vocabulary must be at least 257"),
        ({"special_tokens": []}, "at least 1 item"),
        ({"special_tokens": ["<a>", "<a>"]}, "must differ"),
        ({"vocab_size": 300}, "Extra inputs"),
    ],
)
def test_settings_that_make_no_tokenizer_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        TokenizerSettings.model_validate(settings)


TRAIN = """
import hashlib
from pydoc_data.topics import topics
from types import SimpleNamespace
from curate.tokenize.tokenizer import TokenizerSettings, train_tokenizer
import pyarrow as pa

texts = [topics[name] for name in sorted(topics)]
dataset = SimpleNamespace(
    name="tiny", splits={"train": len(texts)}, manifest={"splits": {"train": {"text_bytes": 1}}},
    batches=lambda *_, **__: [pa.RecordBatch.from_pydict({"text": texts})],
)
print(hashlib.sha256(train_tokenizer(dataset, TokenizerSettings(vocabulary=2000)).encode()).hexdigest())
"""


@pytest.mark.slow
def test_the_same_texts_give_the_same_tokenizer_in_every_process():
    hashes = {
        subprocess.run([sys.executable, "-c", TRAIN], capture_output=True, text=True, check=True).stdout
        for _ in range(3)
    }
    assert len(hashes) == 1
