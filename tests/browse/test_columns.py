"""Columns, facets and queries are what the ledger says, however the cache came about."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from curate.browse.cache import Cache
from curate.browse.columns import Columns, Place
from curate.browse.query import PAGE, Query, Selection, read_query
from curate.dataset.care import collect_garbage
from curate.dataset.reader import open_dataset
from curate.dataset.why import why
from curate.errors import CurateError
from tests.browse.conftest import opened


@pytest.fixture(params=["books_once", "measured", "archive", "chats", "hostile", "empty"])
def any_project(request):
    return request.getfixturevalue(request.param)


def facet(columns, name, query=None):
    found = {one["column"]: one for one in Selection(columns, query or Query()).facets()}
    return {row["name"]: row["documents"] for row in found[name]["names"]} if name in found else {}


def test_facets_sum_to_what_the_ledger_counts(any_project):
    dataset, columns = opened(any_project)
    counts = dataset.manifest["documents"]
    assert columns.rows == counts["in"] + counts.get("made", 0)
    verdicts = facet(columns, "verdict")
    assert {name: verdicts.get(name, 0) for name in ("kept", "dropped", "quarantined")} == {
        name: counts[name] for name in ("kept", "dropped", "quarantined")
    }
    for one in Selection(columns, Query()).facets():
        rows = [row["documents"] for row in one["names"]]
        assert sum(rows) + one["others"]["documents"] + one["none"]["documents"] == columns.rows


def test_every_reason_of_every_stage_has_as_many_documents_as_the_manifest_says(any_project):
    dataset, columns = opened(any_project)
    for stage in dataset.manifest["stages"]:
        for verdict in ("dropped", "quarantined", "expanded"):
            for reason, count in stage["reasons"].get(verdict, {}).items():
                names = {"stage": (stage["id"],), "verdict": (verdict,), "reason": (reason,)}
                assert len(Selection(columns, Query(names=names))) == count


def test_what_passed_a_stage_is_what_went_on(any_project):
    dataset, columns = opened(any_project)
    for stage in dataset.manifest["stages"]:
        assert len(Selection(columns, Query(past=stage["id"]))) == stage["kept"]


def test_names_are_counted_under_the_filters_of_the_other_columns(measured):
    _, columns = opened(measured)
    query = read_query([("is.language.language", "de"), ("is.verdict", "kept"), ("min.quality.words", "72")])
    rows = [row for row in range(columns.rows) if columns.feature("quality.words")[row] >= 72]
    language, verdict = (columns.facet(name) for name in ("language.language", "verdict"))
    expected = Counter(
        language.names[language.codes[row]] for row in rows if verdict.names[verdict.codes[row]] == "kept"
    )
    assert facet(columns, "language.language", query) == expected and expected["de"]
    assert len(Selection(columns, query)) == expected["de"]


@pytest.mark.parametrize("down", [False, True])
def test_documents_are_sorted_by_a_number_and_those_without_one_stand_last(measured, down):
    _, columns = opened(measured)
    values = columns.feature("ambiguous.words")  # three were dropped before
    chosen = Selection(columns, Query(sort="ambiguous.words", down=down))
    known = sorted((row for row in range(100) if values[row] == values[row]), key=lambda row: (values[row], row))
    known = sorted(known, key=lambda row: -values[row]) if down else known
    expected = known + [row for row in range(100) if values[row] != values[row]]
    assert len(expected) - len(known) == 3
    assert chosen.first(100) == expected
    assert chosen.first(7) == expected[:7]
    assert [Selection(columns, Query(sort="ambiguous.words", down=down, page=page)).page() for page in (1, 2)] == [
        expected[:PAGE],
        expected[PAGE : 2 * PAGE],
    ]


def test_a_query_is_an_address_and_back():
    pairs = [("is.a", "x"), ("is.a", "\u202e&="), ("no.b", "1"), ("min.c", "0.1"), ("past", "d"), ("sort", "e")]
    assert read_query([*pairs, ("page", "3"), ("q", "other")]).pairs() == pairs


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ([("min.length", "many")], "`min.length` is no number: `many`"),
        ([("min.length", "nan")], "`min.length` is no number: `nan`"),
        ([("is.languag", "de")], "there is no column `languag`"),
        ([("sort", "quality.word")], "there is no column `quality.word`"),
        ([("past", "qualit")], "there is no stage `qualit`"),
    ],
)
def test_what_is_not_there_is_named(measured, asked, problem):
    _, columns = opened(measured)
    with pytest.raises(CurateError) as error:
        Selection(columns, read_query(asked)).page()
    assert error.value.problem == problem


def test_places_lead_to_rows_and_back(any_project):
    _, columns = opened(any_project)
    for row in range(columns.rows):
        place = columns.place(row)
        assert columns.row(Place.read(str(place))) == row


@pytest.mark.parametrize("text", ["", "1", "1-", "-1", "1--1", "0-x", "9-0", "0-999", "0-r9", "1-1-1", "\u0661-0"])
def test_a_place_that_is_none_is_told(books_once, text):
    _, columns = opened(books_once)
    with pytest.raises(CurateError):
        columns.row(Place.read(text))


# ---- the cache


def cache_files(project):
    return sorted(Path(project.store.root, "browse").rglob("*.arrow"))


def told(project, name="toy"):
    dataset = open_dataset(name, project.store)
    cache = Cache(project.store)
    columns = Columns(dataset, cache)
    facets = Selection(columns, Query()).facets()
    return cache.made, (facets, columns.value.tobytes(), columns.length.tobytes(), columns.other.tobytes())


def test_a_second_look_reads_no_object_and_a_second_version_only_new_ones(done):
    first, before = told(done)
    assert first == len(cache_files(done)) > 0
    assert told(done) == (0, before)
    done.run("long.minimum=8")
    made, _ = told(done)
    assert 0 < made < first


def test_a_cache_that_is_cut_damaged_or_half_there_gives_the_same_answers(done):
    _, before = told(done)
    files = cache_files(done)
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:-9])
    whole = bytearray(files[2].read_bytes())
    whole[-20] ^= 1
    files[2].write_bytes(whole)
    files[3].write_bytes(b"")
    assert told(done) == (4, before)
    assert told(done) == (0, before)


def test_nobody_else_can_read_the_cache(done):
    told(done)
    assert (done.store.root / "browse").stat().st_mode & 0o077 == 0


def test_garbage_collection_removes_the_cache_of_objects_that_are_gone(done, place):
    told(done)
    done.run("long.minimum=8")
    told(done)
    old = {one.stem for one in cache_files(done)}
    place.age(done.store)
    found = collect_garbage(done.store, keep_days=1, keep_last=1, dry_run=False)
    left = {one.stem for one in cache_files(done)}
    assert found["browse"] == len(old - left) > 0
    assert all(done.store.has_object(name) for name in left)
    assert told(done)[0] == 0


def test_two_that_ask_at_once_are_told_the_same(done):
    with ThreadPoolExecutor(4) as several:
        answers = list(several.map(lambda _: told(done)[1], range(4)))
    assert all(one == answers[0] for one in answers)


def test_a_column_of_very_many_values_is_told_and_not_counted(make):
    rows = [{"text": f"words {number}", "site": f"site{number}", "kind": f"k{number % 3}"} for number in range(1200)]
    _, columns = opened(make("varied", {"texts/a.jsonl": rows}, []))
    assert columns.left_out == {"site"}
    assert "site" not in columns.facets
    assert facet(columns, "kind") == {"k0": 400, "k1": 400, "k2": 400}


def test_a_column_with_a_value_that_looks_personal_is_told_and_not_counted(make):
    rows = [{"text": "words", "author": one, "kind": "book"} for one in ("Ann", "bob@example.org")]
    project = make("personal", {"texts/a.jsonl": rows}, [])
    _, columns = opened(project)
    assert columns.left_out == {"author"} and "author" not in columns.facets
    assert b"bob@" not in b"".join(path.read_bytes() for path in cache_files(project))


def test_columns_called_as_those_of_the_engine_stand_beside_them(make):
    rows = [{"text": "words", "verdict": "guilty", "length": 7}]
    _, columns = opened(make("called", {"texts/a.jsonl": rows}, []))
    assert facet(columns, "column.verdict") == {"guilty": 1}
    assert columns.feature("column.length").tolist() == [7.0]


def test_neighbours_are_those_that_the_ledger_names(books_once):
    dataset, columns = opened(books_once)
    rows = range(columns.rows)
    ids = {
        row: one["id"]
        for row in rows
        for place in [columns.place(row)]
        if place.row >= 0
        for one in [
            dataset.store.read_table(columns.shards[place.shard].object, ["id"]).slice(place.row, 1).to_pylist()[0]
        ]
    }
    copies = {row: why(dataset, name)["duplicate_of"] for row, name in ids.items()}
    assert any(copies.values())
    for row, name in ids.items():
        like = dict(columns.like(row))
        assert {ids[one] for one in like.get("is duplicated by", ())} == {
            ids[one] for one, of in copies.items() if of == name
        }
        assert {ids[one] for one in like.get("duplicates", ())} == ({copies[row]} if copies[row] else set())


def test_random_queries_are_what_brute_force_finds(measured):
    _, columns = opened(measured)
    draw = random.Random(1)
    names = {name: columns.facet(name) for name in ("verdict", "language.language", "reason")}
    words = columns.feature("quality.words")
    for _ in range(50):
        pairs = [(f"is.{name}", draw.choice(facet.names)) for name, facet in names.items() if draw.random() < 0.5]
        low, high = sorted(draw.uniform(0, 110) for _ in range(2))
        pairs += [("min.quality.words", str(low)), ("max.quality.words", str(high))]
        query = read_query(pairs)
        expected = [
            row
            for row in range(columns.rows)
            if low <= words[row] <= high
            and all(
                facet.codes[row] >= 0 and facet.names[facet.codes[row]] in query.names[name]
                for name, facet in names.items()
                if name in query.names
            )
        ]
        assert Selection(columns, query).rows.tolist() == expected
