"""C4's rules of whole documents, paragraphs and bad words, decided as datatrove's blocks decide."""

from __future__ import annotations

import random
import re

import pytest

from curate.errors import CurateError
from curate.filter.c4_bad_words import C4BadWords
from curate.filter.c4_paragraph import C4Paragraph

WORDS = ["darn", "heck", "son of a gun", "a.s.s", "\u00e4rger", "sm", "sm\u00e4ll", "\u7cde", "c++", "Capital", "x y"]
AROUND = ["", " ", "\n", "_", "-", "\u00e9", "9", "\u0301", "\u4e2d", "(", "\u2003", ".", "\u0130", "s", "\x00"]


@pytest.fixture
def words(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("\n".join(WORDS) + "\n\n")
    return str(path)


def dropped(apply_stage, stage, texts):
    return set(apply_stage(stage, texts)[0])


def bad_words_block(*, between: bool):
    """datatrove's block with our list: it would download its own."""
    from datatrove.pipeline.filters.c4_filters import C4BadWordsFilter

    block = C4BadWordsFilter()
    pattern = "|".join(re.escape(word) for word in sorted({*WORDS} - {"sm"}))
    block._badwords_regex["en"] = re.compile(rf"(?:\W|^)({pattern})(?:\W|$)" if between else pattern)
    return block


@pytest.mark.parametrize("between", [True, False])
def test_bad_words_among_anything_are_found_as_datatroves_block_finds_them(words, apply_stage, between):
    from datatrove.data import Document

    chance, block = random.Random(4), bad_words_block(between=between)
    texts = []
    for _ in range(5000):
        word = chance.choice(WORDS)
        pieces = [chance.choice([word, word.upper(), word.title(), word[:-1], "plain words"]) for _ in range(3)]
        texts.append("".join(chance.choice(AROUND) + piece + chance.choice(AROUND) for piece in pieces))
    expected = {row for row, text in enumerate(texts) if block.filter(Document(text, "")) is not True}
    assert dropped(apply_stage, C4BadWords(words=words, between_words=between), texts) == expected
    assert 500 < len(expected) < 4900


def test_of_documents_with_bad_words_a_share_may_stay_the_same_one_however_they_are_cut(words, apply_stage):
    texts = ["What the heck."] * 400 + ["Fine."] * 10
    half = C4BadWords(words=words, keep_fraction=0.5)
    gone = dropped(apply_stage, half, texts)
    assert 150 < len(gone) < 250
    assert max(gone) < 400
    assert gone == dropped(apply_stage, half, texts[:410])
    assert gone != dropped(apply_stage, C4BadWords(words=words, keep_fraction=0.5, seed=1), texts)
    assert dropped(apply_stage, C4BadWords(words=words, keep_fraction=1), texts) == set()


def test_more_words_than_re2_takes_are_found_all_the_same(tmp_path, apply_stage):
    path = tmp_path / "many.txt"
    path.write_text("\n".join(f"word{number:06}{'x' * 40}" for number in range(20_000)))
    texts = ["word000017" + "x" * 40, "word000017", "a word000017" + "x" * 41]
    assert dropped(apply_stage, C4BadWords(words=str(path)), texts) == {0}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "the list of bad words cannot be read"),
        (b"\xff\xfe", "the list of bad words cannot be read"),
        (b"\nsm\n", "the list of bad words is empty"),
    ],
)
def test_a_list_that_is_none_is_an_error_that_names_it(tmp_path, content, problem):
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CurateError, match=problem) as raised:
        C4BadWords(words=str(path)).facts()
    assert raised.value.where == str(path)


def test_paragraphs_are_counted_as_datatroves_block_counts_them(apply_stage):
    from datatrove.pipeline.filters.c4_filters import C4ParagraphFilter

    chance, block = random.Random(6), C4ParagraphFilter()
    lines = [
        "",
        "x" * 199,
        "x" * 200,
        "\u4e2d" * 200,
        "\u4e2d" * 199,
        "word " * 60,
        "x" * 200 + "\r",
        "x\u2028" * 100,
        "\U0001f600" * 199,
    ]
    texts = ["\n".join(chance.choices(lines, k=chance.randint(0, 7))) for _ in range(5000)]
    expected = {row for row, text in enumerate(texts) if not block.paragraph_filter(text)}
    assert dropped(apply_stage, C4Paragraph(), texts) == expected
    assert 500 < len(expected) < 4900
    rows, features = apply_stage(C4Paragraph(min_paragraphs=1, min_characters=3), ["ab\nabc\nabcd", "ab"])
    assert features == {"paragraphs": [2, 0]}
    assert [rows[1][name] for name in ("reason", "value", "threshold")] == ["too_few_paragraphs", 0, 1]
