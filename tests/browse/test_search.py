"""Search by words finds what brute force finds, and says what it covered."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from curate.browse import search as searching
from curate.browse.document import texts_of
from curate.browse.query import Query, Selection
from curate.browse.search import search, words_of
from curate.errors import CurateError
from tests.browse.conftest import opened

WORDS = ["whale", "sea", "White", "H\u00f6hle", "\u043c\u043e\u0440\u0435", "\u6d77", "\u0628\u062d\u0631", ".*", "a%b"]


@pytest.fixture(scope="module")
def sea(make):
    draw = random.Random(2)
    rows = [{"text": " ".join(draw.choices(WORDS, k=draw.randint(1, 9)))} for _ in range(60)]
    return make("sea", {"one/a.jsonl": rows[:30], "two/b.jsonl": [*rows[30:], b"{broken"]}, [])


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
def test_it_finds_what_brute_force_finds(project, request):
    dataset, columns = opened(request.getfixturevalue(project))
    texts = everything(dataset, columns)
    draw = random.Random(3)
    some = [word for text in texts for word in text.split()] or ["x"]
    for _ in range(25):
        words = draw.choices([*some, *WORDS], k=draw.choice([1, 1, 2]))
        expected = [row for row, text in enumerate(texts) if all(word.casefold() in text.casefold() for word in words)]
        found = search(columns, dataset, np.arange(columns.rows), words)
        assert found.rows == expected[: searching.HITS], words
        if found.next is None:
            assert found.looked_at == found.of == columns.rows


def test_a_search_that_ran_out_of_time_goes_on_where_it_stopped(sea, monkeypatch):
    dataset, columns = opened(sea)
    monkeypatch.setattr(searching, "AT_ONCE", 7)
    whole = search(columns, dataset, np.arange(columns.rows), ["whale"])
    rows, looked, start, parts = [], 0, 0, 0
    while start is not None:
        found = search(columns, dataset, np.arange(columns.rows), ["whale"], start=start, seconds=0)
        rows, looked, start, parts = rows + found.rows, looked + found.looked_at, found.next, parts + 1
    assert rows[: len(whole.rows)] == whole.rows and looked == columns.rows and parts > 5


def test_a_page_of_hits_goes_on_behind_the_last(sea):
    dataset, columns = opened(sea)
    rows, start = [], 0
    while start is not None:
        found = search(columns, dataset, np.arange(columns.rows), ["e"], start=start)
        assert len(found.rows) <= searching.HITS
        rows, start = rows + found.rows, found.next
    texts = everything(dataset, columns)
    assert rows == [row for row, text in enumerate(texts) if "e" in text.casefold()]


def test_only_the_documents_of_the_filters_are_looked_at(books_once):
    dataset, columns = opened(books_once)
    chosen = Selection(columns, Query(names={"verdict": ("dropped",)}))
    found = search(columns, dataset, chosen.rows, ["short"])
    assert found.of == len(chosen) and set(found.rows) <= set(chosen.rows.tolist()) and found.rows


def test_words_and_phrases_are_told_apart():
    assert words_of('whale "white  sea" x') == ["whale", "white  sea", "x"]
    for bad in ("", "  ", '" "', " ".join(map(str, range(21)))):
        with pytest.raises(CurateError):
            words_of(bad)


def test_a_text_with_no_column_of_texts_is_searched_in_all_its_strings(chats):
    dataset, columns = opened(chats)
    found = search(columns, dataset, np.arange(columns.rows), ["morning"])
    (row,) = found.rows
    place = columns.place(row)
    (one,) = texts_of(dataset.store, columns.shards[place.shard], [place.row])
    assert "good morning" in one.raw and json.dumps(one.raw)
