"""Documents cut into pieces: sizes, ends, overlap, and where each piece comes from."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from curate.errors import CurateError
from curate.mix.chunk import Chunk

TEXT = "One two three. Four five six seven. Eight nine.\n\nTen eleven twelve thirteen. Fourteen."


def cut(stage, text):
    made = stage.open()(pa.table({"text": [text]})).columns
    assert made["text"].to_pylist() == [
        text[start:end]
        for start, end in zip(made["chunk_start"].to_pylist(), made["chunk_end"].to_pylist(), strict=True)
    ]
    return made["text"].to_pylist()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """One that knows some words, and every byte alone."""
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    made.train_from_iterator(["the cat and the hat and the end"] * 9, trainer)
    made.save(str(path))
    return path


def test_a_piece_ends_at_a_paragraph_or_a_sentence_where_one_fits():
    assert cut(Chunk(size=8), TEXT) == [
        "One two three. Four five six seven.",
        "Eight nine.\n\nTen eleven twelve thirteen. Fourteen.",
    ]
    assert cut(Chunk(size=10), TEXT)[0] == "One two three. Four five six seven. Eight nine."


def test_sentences_are_counted_where_that_is_asked():
    assert cut(Chunk(by="sentences", size=2), TEXT) == [
        "One two three. Four five six seven.", "Eight nine.\n\nTen eleven twelve thirteen.", "Fourteen.",
    ]  # fmt: skip


def test_a_heading_begins_a_piece():
    text = "intro\n# A\nalpha\n## B\nbeta gamma\n"
    assert cut(Chunk(by="headings"), text) == ["intro", "# A\nalpha", "## B\nbeta gamma"]


def test_pieces_overlap_by_so_many_words():
    pieces = [piece.split() for piece in cut(Chunk(size=4, overlap=2), "a b c d e f g h")]
    assert pieces == [["a", "b", "c", "d"], ["c", "d", "e", "f"], ["e", "f", "g", "h"]]


def test_a_last_piece_that_is_too_short_is_joined_to_the_one_before():
    assert cut(Chunk(size=4, min_size=3), "a b c d e f") == ["a b c d e f"]


@pytest.mark.parametrize("text", ["", " \n "])
def test_a_text_without_a_word_gives_no_piece(text):
    assert cut(Chunk(), text) == []


def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(ValidationError, match="leaves nothing new"):
        Chunk(size=5, overlap=5)


@settings(derandomize=True)
@given(
    st.text(alphabet="ab .!\n#", max_size=200), st.integers(1, 9), st.sampled_from(["words", "sentences", "headings"])
)
def test_pieces_hold_every_word_once_and_in_order(text, size, by):
    pieces = cut(Chunk(by=by, size=size), text)
    assert " ".join(pieces).split() == text.split()
    if by != "sentences":
        assert all(len(piece.split()) <= size for piece in pieces)


@settings(derandomize=True, deadline=None)
@given(st.text(alphabet="the cat.\n\u3042\U0001f600\x00", max_size=100), st.integers(1, 9), st.integers(0, 8))
def test_pieces_of_tokens_hold_every_character_once_but_for_the_overlap(tokenizer, text, size, overlap):
    stage = Chunk(by="tokens", size=size, tokenizer=str(tokenizer))
    pieces = cut(stage, text)
    assert "".join("".join(pieces).split()) == "".join(text.split())
    most = max(size, 4)  # the bytes of a character stay together
    for piece in pieces:
        offsets = Tokenizer.from_file(str(tokenizer)).encode(piece).offsets
        counted = [place for place in offsets if piece[slice(*place)].strip()]
        assert len(counted) <= most + 1  # its first word is another one without the space before it
    if overlap < size:
        places = stage.model_copy(update={"overlap": overlap}).open()(pa.table({"text": [text]})).columns
        starts, ends = (places[name].to_pylist() for name in ("chunk_start", "chunk_end"))
        assert starts == sorted(set(starts))
        assert {place for one in zip(starts, ends, strict=True) for place in range(*one)} >= {
            place for place, sign in enumerate(text) if sign.strip()
        }


def test_a_piece_of_tokens_ends_at_a_sentence_or_a_word(tokenizer):
    text = "the cat. and the hat and the end"
    counted = [len(one) for one in Tokenizer.from_file(str(tokenizer)).encode(text).offsets]
    assert cut(Chunk(by="tokens", size=len(counted), tokenizer=str(tokenizer)), text) == [text]
    assert cut(Chunk(by="tokens", size=4, tokenizer=str(tokenizer)), text)[0] == "the cat."


def test_tokens_need_a_tokenizer_and_nothing_else_does(tmp_path):
    with pytest.raises(ValidationError, match="go together"):
        Chunk(by="tokens")
    with pytest.raises(ValidationError, match="go together"):
        Chunk(tokenizer="tokenizer.json")
    (tmp_path / "none.json").write_text("{}")
    with pytest.raises(CurateError, match="the tokenizer cannot be read"):
        Chunk(by="tokens", tokenizer=str(tmp_path / "none.json")).open()
    assert Chunk(by="tokens", tokenizer=str(tmp_path / "none.json")).model_files() == [tmp_path / "none.json"]


def test_pieces_know_their_parent_and_their_place():
    made = Chunk(size=4).open()(pa.table({"text": ["a b c d e", "f"]}))
    assert made.parent.to_pylist() == [0, 0, 1]
    assert [made.columns[name].to_pylist() for name in ("chunk_start", "chunk_end")] == [[0, 8, 0], [7, 9, 1]]


OLD_SENTENCE = re.compile(
    r".+?(?:[.!?]+[\"')\]\u201d\u2019]*(?=\s|\Z)|[\u3002\uff01\uff1f]+[\u300d\u300f]?|\Z)\s*", re.DOTALL
)


@settings(derandomize=True, max_examples=500)
@given(st.text(alphabet="ab.!?\"')] \n\u3002\uff01\u300d", max_size=14))
def test_sentences_end_where_the_plain_definition_says(text):
    plain = [match.group().strip() for match in OLD_SENTENCE.finditer(text) if match.group().strip()]
    assert cut(Chunk(by="sentences", size=1), text) == plain


def test_a_text_of_dots_is_one_sentence():
    text = "." * 300_000 + "x"  # an hour, if every dot looked at all that follow
    assert cut(Chunk(by="sentences", size=3), text) == [text]
