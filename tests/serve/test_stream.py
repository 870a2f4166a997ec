"""What of a text is told while it is written."""

from __future__ import annotations

import pytest

from curate.serve.stream import Stream
from tests.evaluation.language_model import byte_tokenizer

TEXTS = [
    "plain words",
    "na\u00efve, \u00dcbermut",
    "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8",
    "a\U0001f469\u200d\U0001f469\u200d\U0001f467b",
    "\ufffd there \ufffd",
    "e\u0301 x",
]
TOKENIZER = byte_tokenizer()


def told(tokens, stop=()):
    stream, pieces = Stream(TOKENIZER, stop), []
    for token in tokens:
        pieces.append(stream.take(token))
        if stream.stopped:
            break
    return [*pieces, stream.end()], stream


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_are_whole_characters_and_make_the_text(text):
    pieces, stream = told(TOKENIZER.encode(text).ids)
    assert "".join(pieces) == stream.text == text
    assert all(one in text for one in pieces)


def test_bytes_that_are_no_characters_are_told_as_the_tokenizer_decodes_them():
    import random

    numbers = random.Random(1)
    for _ in range(200):
        tokens = [numbers.choice([*range(30, 60), *range(120, 256)]) for _ in range(numbers.randrange(12))]
        pieces, _ = told(tokens)
        assert "".join(pieces) == TOKENIZER.decode(tokens)


@pytest.mark.parametrize("stop", ["lazy", " dog", "z", "\u65e5\u672c"])
@pytest.mark.parametrize("text", ["the lazy dog", "la lazlazy", "\u65e5\u65e5\u672c\u8a9e dog", "zz"])
def test_a_text_ends_before_a_stop_string_over_tokens_and_nothing_of_it_is_told(text, stop):
    pieces, stream = told(TOKENIZER.encode(text).ids, [stop])
    assert "".join(pieces) == text.partition(stop)[0]
    assert stream.stopped == (stop in text)


def test_what_may_become_a_stop_string_is_held_back_and_told_when_it_does_not():
    stream = Stream(TOKENIZER, ["\n\nEnd"])
    numbers = TOKENIZER.encode("a\n\nEn d").ids
    assert [stream.take(one) for one in numbers] == ["a", "", "", "", "", "\n\nEn ", "d"]


def test_of_several_stop_strings_the_first_one_to_be_whole_ends_it():
    assert told(TOKENIZER.encode("one two three").ids, ["two three", "two"])[1].text == "one "


def test_a_stop_string_in_a_token_of_many_characters_cuts_it():
    tokenizer = byte_tokenizer((("b", "c"), ("a", "bc"), ("abc", "d")))
    stream = Stream(tokenizer, ["c"])
    [token] = tokenizer.encode("abcd").ids
    assert (stream.take(token), stream.stopped, stream.end()) == ("ab", True, "")


def test_long_stop_strings_cost_a_token_what_short_ones_cost():
    from time import process_time

    stop, tokens = [chr(97 + number) * 1000 for number in range(16)], TOKENIZER.encode("abcdefgh" * 100).ids
    began = process_time()
    pieces, _ = told(tokens, stop)
    assert "".join(pieces) == "abcdefgh" * 100
    assert process_time() - began < 0.5  # 4 s where each beginning of each is compared


def test_a_stop_string_that_begins_again_within_itself_is_found_where_it_stands():
    for text, stop in [("aaab", "aab"), ("ababac!", "abac"), ("xaabaabaac", "aabaac"), ("aaaa", "aaab")]:
        pieces, stream = told(TOKENIZER.encode(text).ids, [stop])
        assert "".join(pieces) == text.partition(stop)[0] and stream.stopped == (stop in text)


def test_bytes_that_never_make_a_character_are_told_on_the_way_and_cost_what_others_cost():
    broken = [TOKENIZER.token_to_id("\u0122")] * 30  # a byte 0x80 at a time
    emoji = TOKENIZER.encode("\U0001f469").ids
    tokens = broken + emoji + broken + emoji[:3] + broken + TOKENIZER.encode("end").ids
    sizes = []

    class Measured:
        def decode(self, ids, skip_special_tokens=True):
            sizes.append(len(ids))
            return TOKENIZER.decode(ids, skip_special_tokens)

    stream = Stream(Measured())
    pieces = [stream.take(one) for one in tokens]
    assert "".join(pieces[:30]) and max(sizes) < 40
    assert "".join([*pieces, stream.end()]) == TOKENIZER.decode(tokens)
