"""Differential tests: our quality filters against datatrove's own, on prose, lists, code, and nasty texts."""

from __future__ import annotations

import random
from functools import cache
from pydoc_data import topics

import pytest

from curate.filter.c4 import C4
from curate.filter.fineweb import FineWeb
from curate.filter.gopher import GopherQuality, GopherRepetition

pytestmark = pytest.mark.slow

NASTY = [
    "",
    " ",
    "\n\n\n",
    "\u2026",
    "...",
    "#" * 60,
    "- a\n" * 70,
    "\u2022 item of the list\n" * 70,
    "word " * 60,
    "the and " * 40,
    "one line.\n" * 30,
    "para graph.\n\n" * 20,
    "x" * 2000,
    ("a" * 1001 + " b c d. ") * 3,
    "1 2 3 4 5 " * 20,
    "lorem ipsum dolor sit. " * 9,
    "\u4e2d\u6587\u6587\u672c\u3002" * 60,
    "\u0645\u0631\u062d\u0628\u0627 " * 80,
    "\u00e9t\u00e9 na\u00efve \u2019s don\u2019t can't " * 20,
    "\ud7ff\U0001f600 " * 60,
    "\x00\x07 \x1c \x85 " * 30,
    "a\r\nb\rc\x0bd\x0ce\u2028f\u2029g " * 20,
    "if (x) { return y; }\n" * 20,
    "I use JavaScript here. It is so good.\n" * 9,
    "We have cookies. Our terms of use apply here.\n" * 6,
    'He said "stop." Then he went [1] home [citation needed]. Is it so? It is!\n' * 8,
    ": ) :-( ' s 8 ) ; ) the of and to be " * 20,
    "First of all... and then...\n" * 20,
    "Menu\nHome\nAbout\nContact\n" * 8,
    "[1][2][edit]\n" * 5,
    "A.B. C.D. e.g. U.S. is that of the. " * 20,
]


@cache
def corpus(size: int = 1100) -> list[str]:
    """Pieces of Python's documentation, cut and mixed at random, and nasty texts alone and within others."""
    chance = random.Random(7)
    prose = "\n".join(topics.topics[name] for name in sorted(topics.topics))
    texts = list(NASTY)
    while len(texts) < size:
        start = chance.randrange(len(prose) - 4000)
        text = prose[start : start + chance.choice([40, 150, 300, 600, 1200])]
        kind = chance.randrange(6)
        if kind == 0:
            text = text.replace("\n", chance.choice([" ", "\n\n", "...\n", ".\n", "\n- "]))
        elif kind == 1:
            text = text[: len(text) // 2] * chance.choice([2, 3])
        elif kind == 2:
            text += chance.choice(NASTY)[:400]
        elif kind == 3:
            text = " ".join(chance.sample(text.split(), len(text.split())))
        elif kind == 4:
            text = " ".join(text.split()) + ". It is so. Here is more of that."
        texts.append(text)
    return texts


def reference(block):
    """What datatrove's block says of every text: kept, reason, and the text after it."""
    from datatrove.data import Document

    said = []
    for text in corpus():
        document = Document(text, "")
        result = block.filter(document)
        kept, reason = result if isinstance(result, tuple) else (result, None)
        said.append((bool(kept), reason, document.text if kept else text))
    return said


def ours(stage, apply_stage):
    rows, _ = apply_stage(stage, corpus())
    return [
        (False, row["reason"], text)
        if (row := rows.get(i)) and row["verdict"] == "dropped"
        else (True, None, row["text"] if row else text)
        for i, text in enumerate(corpus())
    ], rows


def pairs():
    from datatrove.pipeline import filters

    return {
        "gopher_quality": (GopherQuality(), filters.GopherQualityFilter()),
        "gopher_quality_low": (
            GopherQuality(min_words=5, max_mean_word_length=None, min_alphabetic=0.5, stop_words=("of", "in")),
            filters.GopherQualityFilter(
                min_doc_words=5, max_avg_word_length=None, max_non_alpha_words_ratio=0.5, stop_words=["of", "in"]
            ),
        ),
        "gopher_repetition": (GopherRepetition(), filters.GopherRepetitionFilter()),
        "gopher_repetition_high": (
            GopherRepetition(max_repeated_paragraphs=None, max_repeated_lines=0.9, max_repeated_line_characters=0.9),
            filters.GopherRepetitionFilter(dup_para_frac=None, dup_line_frac=0.9, dup_line_char_frac=0.9),
        ),
        "fineweb": (FineWeb(), filters.FineWebQualityFilter()),
        "fineweb_zero": (
            FineWeb(keep_unpunctuated=True, stop_characters=(".", ","), max_repeated_line_characters=0.2),
            filters.FineWebQualityFilter(
                line_punct_exclude_zero=True, stop_chars=(".", ","), char_duplicates_ratio=0.2
            ),
        ),
        "c4": (C4(min_sentences=2), filters.C4QualityFilter(min_num_sentences=2)),
        "c4_loose": (
            C4(require_terminal_punctuation=False, min_words_per_line=None, drop_curly_bracket=False),
            filters.C4QualityFilter(filter_no_terminal_punct=False, min_words_per_line=-1, filter_curly_bracket=False),
        ),
        "c4_sentence": (
            C4(unit="sentence", min_sentences=3),
            filters.C4QualityFilter(split_paragraph=False, min_num_sentences=3),
        ),
    }


NAMES = [
    "gopher_quality",
    "gopher_quality_low",
    "gopher_repetition",
    "gopher_repetition_high",
    "fineweb",
    "fineweb_zero",
    "c4",
    "c4_loose",
    "c4_sentence",
]


@pytest.mark.parametrize("name", NAMES)
def test_decisions_reasons_and_texts_are_those_of_datatrove(name, apply_stage):
    stage, block = pairs()[name]
    mine, _ = ours(stage, apply_stage)
    assert mine == reference(block)


@pytest.mark.parametrize("name", NAMES)
def test_the_corpus_meets_several_reasons_and_keeps_some_documents(name, apply_stage):
    said, _ = ours(pairs()[name][0], apply_stage)
    assert len({reason for _, reason, _ in said}) >= 3
    assert 0.02 < sum(kept for kept, _, _ in said) / len(said) < 0.98


@pytest.mark.parametrize("name", NAMES)
def test_every_drop_tells_a_value_on_the_wrong_side_of_its_threshold(name, apply_stage):
    stage = pairs()[name][0]
    _, rows = ours(stage, apply_stage)
    minimums = (
        {rule.reason for rule in stage.rules() if rule.minimum is not None}
        if stage.kind == "filter"
        else {"too_few_sentences"}
    )
    for row in rows.values():
        if row["verdict"] == "dropped" and row["value"] is not None:
            below = row["value"] < row["threshold"]
            assert below if row["reason"] in minimums else row["value"] > row["threshold"]


def test_the_sentences_counted_are_those_that_datatrove_would_accept(apply_stage):
    from datatrove.data import Document
    from datatrove.pipeline.filters import C4QualityFilter

    _, rows = ours(C4(), apply_stage)
    counted = [(row["row"], int(row["value"])) for row in rows.values() if row["reason"] == "too_few_sentences"][:200]
    assert counted
    for index, value in counted:
        assert C4QualityFilter(min_num_sentences=value).filter(Document(corpus()[index], "")) is True
