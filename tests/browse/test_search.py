"""Search finds what brute force finds, with an index and without, and says what it covered."""

from __future__ import annotations

import json
import random
import re
import unicodedata

import numpy as np
import pytest

from curate.browse import search as searching
from curate.browse.document import listed, texts_of
from curate.browse.query import Query, Selection
from curate.browse.search import Pattern, objects_of, search
from curate.browse.text import TextIndex
from curate.browse.words import has, needles_of
from curate.errors import CurateError
from tests.browse.conftest import opened

WORDS = [
    "whale", "sea", "White", "H\u00f6hle", "\u043c\u043e\u0440\u0435", "\u041a\u0438\u0442", "\u6d77", "\u5927\u6d77",
    "\u767d\u9be8", "\u0628\u062d\u0631", "\u0938\u092e\u0941\u0926\u094d\u0930", "\u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2",
    "don't", "a-b", "3.14", "ship", "\u0e17\u0e30\u0e40\u0e25", "abc\u6d77x", "...", "SEA",
]  # fmt: skip


@pytest.fixture(scope="module")
def sea(make):
    draw = random.Random(2)
    rows = [{"text": " ".join(draw.choices(WORDS, k=draw.randint(1, 9)))} for _ in range(60)]
    return make("sea", {"one/a.jsonl": rows[:30], "two/b.jsonl": [*rows[30:], b"{broken"]}, [])


def plain_words(text):
    """Words in plain Python, without tantivy: letters, marks that are part of them, numbers; some scripts by character."""
    scripts = ("CJK UNIFIED", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")
    found, word = [], ""
    for letter in text:
        name = unicodedata.name(letter, "")
        alone = name.startswith(scripts)
        marks = unicodedata.category(letter) in ("Mn", "Mc") and not name.endswith("SIGN VIRAMA")
        if not alone and (letter.isalnum() or (marks and name.startswith("DEVANAGARI"))):
            word += letter.lower()
            continue
        found += [word] if word else []
        found += [letter] if alone else []
        word = ""
    return found + ([word] if word else [])


def fits(text, query):
    words = plain_words(text)
    for piece in re.findall(r'"[^"]+"|\S+', query):
        wanted = plain_words(piece)
        if not any(words[at : at + len(wanted)] == wanted for at in range(len(words))):
            return False
    return True


def everything(dataset, columns):
    """The final text of what is kept, and the raw one of all else."""
    texts = []
    for row in range(columns.rows):
        place = columns.place(row)
        if place.row < 0:
            texts.append("")
            continue
        (one,) = texts_of(dataset.store, columns.shards[place.shard], [place.row])
        texts.append(one.final if columns.verdict[row] == 0 else one.raw)
    return texts


@pytest.mark.parametrize("project", ["sea", "books_once", "chats", "archive"])
def test_it_finds_what_brute_force_finds_with_an_index_and_without(project, request, monkeypatch):
    dataset, columns = opened(request.getfixturevalue(project))
    index = TextIndex(dataset.store)
    index.folder = request.getfixturevalue("tmp_path") / "browse" / "index"  # the store is others', too
    for name in {one for pair in objects_of(columns, dataset) for one in pair if one}:
        assert index.make(name)
    texts, everyone = everything(dataset, columns), np.arange(columns.rows)
    draw = random.Random(3)
    some = [word for text in texts for word in text.split() if plain_words(word)] or ["x"]
    for _ in range(200 if project == "sea" else 30):
        pieces = draw.choices([*some, *(one for one in WORDS if plain_words(one))], k=draw.choice([1, 1, 2, 3]))
        query = (
            f'"{" ".join(pieces)}"'
            if draw.random() < 0.3 and '"' not in "".join(pieces)
            else " ".join(pieces).replace('"', " ")
        )
        if not all(plain_words(one) for one in re.findall(r'"[^"]+"|\S+', query)) or not query.strip():
            continue
        expected = [row for row, text in enumerate(texts) if fits(text, query)]
        scanned = search(columns, dataset, everyone, Pattern(query), seconds=99, first_seconds=99)
        looked_up = search(columns, dataset, everyone, Pattern(query), index=index)
        assert scanned.rows == looked_up.rows == expected[: searching.HITS], query
        assert (looked_up.documents, looked_up.looked_at, looked_up.next) == (len(expected), columns.rows, scanned.next)


def test_a_search_among_filters_counts_those_alone(books_once, tmp_path):
    dataset, columns = opened(books_once)
    index = TextIndex(dataset.store)
    index.folder = tmp_path / "browse" / "index"
    chosen = Selection(columns, Query(names={"verdict": ("dropped",)}))
    half = search(columns, dataset, chosen.rows, Pattern("short"), index=index)
    assert half.documents is None and half.of == len(chosen)
    for name in {one for pair in objects_of(columns, dataset) for one in pair if one}:
        index.make(name)
    found = search(columns, dataset, chosen.rows, Pattern("short"), index=index)
    assert (
        found.rows == half.rows
        and found.documents == len(found.rows) > 0
        and set(found.rows) <= set(chosen.rows.tolist())
    )


def test_where_some_objects_are_indexed_the_others_are_scanned(sea, tmp_path):
    dataset, columns = opened(sea)
    index = TextIndex(dataset.store)
    index.folder = tmp_path / "browse" / "index"
    everyone = np.arange(columns.rows)
    whole = search(columns, dataset, everyone, Pattern("whale"))
    objects = [one for one, _ in objects_of(columns, dataset)]
    assert len(objects) == 2
    index.make(objects[1])
    found = search(columns, dataset, everyone, Pattern("whale"), index=index)
    assert (found.rows, found.documents) == (whole.rows, None)


def test_a_search_that_ran_out_of_time_goes_on_where_it_stopped(sea, monkeypatch):
    dataset, columns = opened(sea)
    monkeypatch.setattr(searching, "AT_ONCE", 7)
    everyone = np.arange(columns.rows)
    whole = search(columns, dataset, everyone, Pattern("whale"), seconds=99, first_seconds=99)
    rows, start, parts = [], 0, 0
    while start is not None:
        found = search(columns, dataset, everyone, Pattern("whale"), start=start, seconds=0, first_seconds=0)
        rows, start, parts = rows + found.rows, found.next, parts + 1
        assert found.documents is None
    assert rows[: len(whole.rows)] == whole.rows and parts > 5


def test_a_page_of_hits_goes_on_behind_the_last(sea, tmp_path):
    dataset, columns = opened(sea)
    index = TextIndex(dataset.store)
    index.folder = tmp_path / "browse" / "index"
    texts = everything(dataset, columns)
    for _ in range(2):
        rows, start = [], 0
        while start is not None:
            found = search(columns, dataset, np.arange(columns.rows), Pattern("sea"), index=index, start=start)
            assert len(found.rows) <= searching.HITS
            rows, start = rows + found.rows, found.next
        assert rows == [row for row, text in enumerate(texts) if fits(text, "sea")] and len(rows) > searching.HITS
        for name in {one for pair in objects_of(columns, dataset) for one in pair if one}:
            index.make(name)


def test_words_phrases_and_expressions_are_told_apart():
    assert needles_of('whale "white  sea" x A-B') == (("whale",), ("white", "sea"), ("x",), ("a", "b"))
    assert needles_of("\u5927\u6d77") == (("\u5927", "\u6d77"),)
    for bad in ("", "  ", '" "', " ".join(map(str, range(21))), "...", "a" * 1001):
        with pytest.raises(CurateError):
            needles_of(bad)
    for bad in ("", "(", r"(a)\1", "(?=a)", "a{1001}", "x" * 501):
        with pytest.raises(CurateError):
            Pattern(bad, regex=True)


def test_a_part_of_a_word_is_none():
    assert not has("the zebra", needles_of("zebr"), spaced=True)
    assert has("the Zebra!", needles_of("zebra"), spaced=True)


@pytest.mark.parametrize(
    "expression", [r"wh[aei]le", r"(?i)SEA \S+", r"^White", r"\d\.\d+", r"(x+x+)+y", r"\p{Greek}+", "$"]
)
def test_a_regular_expression_finds_what_python_finds(sea, expression):
    dataset, columns = opened(sea)
    texts = everything(dataset, columns)
    python = expression.replace(r"\p{Greek}", "[\u0370-\u03ff]")
    found = search(
        columns, dataset, np.arange(columns.rows), Pattern(expression, regex=True), seconds=99, first_seconds=99
    )
    expected = [row for row, text in enumerate(texts) if re.search(python, text) and columns.place(row).row >= 0]
    assert [row for row in found.rows if columns.place(row).row >= 0] == expected[: searching.HITS]


def test_an_expression_that_explodes_elsewhere_is_looked_for_in_linear_time():
    import pyarrow as pa

    assert Pattern(r"(x+x+)+y", regex=True).fits(pa.array(["x" * 100_000])).tolist() == [False]


def test_hits_are_shown_where_they_stand(make):
    text = "word " * 400 + "the White whale is here" + " word" * 100
    dataset, columns = opened(make("far", {"far/a.jsonl": [{"text": text}, {"text": "nothing"}]}, []))
    for pattern in (Pattern('"white whale"'), Pattern("[Ww]hite wha.e", regex=True)):
        (one,) = listed(columns, dataset, [0], pattern.places)
        assert [one["text"][start:end] for start, end in one["marks"]] == ["White whale"]
        assert len(one["text"]) < 400


def test_marks_are_right_where_letters_change_their_length():
    text = "\u0130stanbul \u5927\u6d77 SEA sea"
    found = Pattern("sea").places(text)
    assert [text[start:end] for start, end in found] == ["SEA", "sea"]
    assert [text[start:end] for start, end in Pattern("\u5927\u6d77").places(text)] == ["\u5927\u6d77"]


def test_a_text_with_no_column_of_texts_is_searched_in_all_its_strings(chats):
    dataset, columns = opened(chats)
    found = search(columns, dataset, np.arange(columns.rows), Pattern("morning"))
    (row,) = found.rows
    place = columns.place(row)
    (one,) = texts_of(dataset.store, columns.shards[place.shard], [place.row])
    assert "good morning" in one.raw and json.dumps(one.raw)
