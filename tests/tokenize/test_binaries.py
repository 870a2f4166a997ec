"""Tokens for Megatron-LM and nanoGPT: read back by what their loaders read, and equal to what the tokenizer says."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from curate.dataset.runs import records
from curate.errors import CurateError
from curate.files import file_hash
from curate.tokenize.binaries import export_tokens
from tests.dataset.exported import document, make_dataset

TEXTS = ["one two", "three", "", "four \U0001f600 five"]


def byte_tokenizer(path, extra=0):
    """A token for each byte, one that ends texts, and some that nothing encodes to."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {name: number for number, name in enumerate(alphabet)}
    vocabulary |= {f"unused{number}": len(alphabet) + number for number in range(extra)}
    made = Tokenizer(models.BPE(vocabulary, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<|endoftext|>"])
    made.save(str(path))
    return str(path)


@pytest.fixture
def tokenizer(tmp_path):
    return byte_tokenizer(tmp_path / "given.json")


@pytest.fixture
def dataset(tmp_path):
    rows = [document(number, text) for number, text in enumerate(TEXTS)]
    return make_dataset(tmp_path, {"train": rows, "validation": [document(9, "valid")], "test": []})


def wanted(path, texts):
    made = Tokenizer.from_file(path)
    end = made.token_to_id("<|endoftext|>")
    return [[*made.encode(text).ids, end] for text in texts]


def read_index(path):
    """After the description of the format, which knows nothing of how it was written."""
    content = path.read_bytes()
    magic, version, code, sequences, documents = struct.unpack_from("<9sQBQQ", content)
    assert (magic, version) == (b"MMIDIDX\0\0", 1)
    at = 34
    lengths = np.frombuffer(content, "<i4", sequences, at)
    pointers = np.frombuffer(content, "<i8", sequences, at + lengths.nbytes)
    ends = np.frombuffer(content, "<i8", documents, at + lengths.nbytes + pointers.nbytes)
    assert len(content) == at + lengths.nbytes + pointers.nbytes + ends.nbytes
    return {4: np.int32, 8: np.uint16}[code], lengths, pointers, ends


def read_megatron(folder, split):
    kind, lengths, pointers, ends = read_index(folder / f"{split}.idx")
    assert ends.tolist() == list(range(len(lengths) + 1))
    tokens = (folder / f"{split}.bin").read_bytes()
    return [np.frombuffer(tokens, kind, count, at).tolist() for count, at in zip(lengths, pointers, strict=True)]


def test_megatron_has_each_document_as_a_sequence(dataset, tokenizer, tmp_path):
    done = export_tokens(dataset, "megatron", tmp_path / "out", tokenizer=tokenizer)
    assert read_megatron(tmp_path / "out", "train") == wanted(tokenizer, TEXTS)
    assert read_megatron(tmp_path / "out", "validation") == wanted(tokenizer, ["valid"])
    assert (done.documents, done.notes) == (5, ["the split `test` has no documents, and no file"])


def test_a_vocabulary_beyond_16_bits_has_tokens_of_32_in_megatron_and_is_refused_for_nanogpt(dataset, tmp_path):
    large = byte_tokenizer(tmp_path / "large.json", extra=1 << 16)
    export_tokens(dataset, "megatron", tmp_path / "out", tokenizer=large)
    assert read_index(tmp_path / "out/train.idx")[0] is np.int32
    assert read_megatron(tmp_path / "out", "train") == wanted(large, TEXTS)
    with pytest.raises(
        CurateError, match="a vocabulary of 65,793 tokens does not fit into the 16 bits that nanoGPT reads"
    ):
        export_tokens(dataset, "nanogpt", tmp_path / "nano", tokenizer=large)


def test_nanogpt_has_one_row_of_tokens_for_a_split_and_calls_validation_val(dataset, tokenizer, tmp_path):
    export_tokens(dataset, "nanogpt", tmp_path / "out", tokenizer=tokenizer)
    for name, texts in (("train", TEXTS), ("val", ["valid"])):
        tokens = np.memmap(tmp_path / f"out/{name}.bin", dtype=np.uint16, mode="r")
        assert tokens.tolist() == [token for row in wanted(tokenizer, texts) for token in row]


@pytest.mark.parametrize("format", ["megatron", "nanogpt"])
def test_two_exports_have_the_same_bytes_with_tokenizer_card_and_record(dataset, tokenizer, tmp_path, format):
    first, second = (export_tokens(dataset, format, tmp_path / name, tokenizer=tokenizer) for name in ("one", "two"))
    assert [file_hash(path) for path in [*first.files, *first.cards]] == [
        file_hash(path) for path in [*second.files, *second.cards]
    ]
    assert {"tokenizer.json", "README.md", "croissant.json"} <= {path.name for path in (tmp_path / "one").iterdir()}
    [_, one] = records(dataset.store, "export")
    assert (one["facts"]["format"], one["facts"]["tokenizer"]) == (format, tokenizer)


def test_a_column_that_is_not_there_and_a_folder_of_something_else_are_refused(dataset, tokenizer, tmp_path):
    with pytest.raises(CurateError, match="has no column `txt`"):
        export_tokens(dataset, "nanogpt", tmp_path / "out", tokenizer=tokenizer, column="txt")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/cat.jpg").write_bytes(b"cat")
    with pytest.raises(CurateError, match="holds something else"):
        export_tokens(dataset, "nanogpt", tmp_path / "photos", tokenizer=tokenizer, overwrite=True)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--format", "megatron"], "`megatron` is made of tokens, and no tokenizer is named"),
        (["--format", "jsonl", "--tokenizer", "x"], "`jsonl` is not made of tokens"),
        (
            ["--format", "nanogpt", "--tokenizer", "x", "--shard-megabytes", "1"],
            "--shard-megabytes has no meaning for `nanogpt`",
        ),
    ],
)
def test_options_that_do_not_go_together_are_told(dataset, options, problem):
    from typer.testing import CliRunner

    from curate.cli import app

    done = CliRunner().invoke(
        app, ["data", "export", "books", "--out", "x", "--store", dataset.store.location, *options]
    )
    assert isinstance(done.exception, CurateError) and problem in done.exception.problem
