"""Names of versions: the newest, tags, prefixes of ids; several writers at once."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from curate.dataset import refs
from curate.dataset.store import Store
from curate.errors import CurateError

pytestmark = pytest.mark.anywhere


@pytest.fixture
def store(place):
    return Store.open(place.store("store"), create=True)


@pytest.fixture
def books(store):
    """A dataset of two versions."""
    refs.commit(store, "books", "abcd1" + "0" * 59)
    refs.commit(store, "books", "abcd2" + "0" * 59)
    return store


def hint_of(store, name, problem):
    with pytest.raises(CurateError, match=problem) as caught:
        refs.resolve(store, name)
    return caught.value.hint


def test_a_name_alone_is_the_newest_version(books):
    assert refs.resolve(books, "books") == ("books", "abcd2" + "0" * 59, "v2")


def test_versions_get_the_next_tag(books):
    assert refs.commit(books, "books", "f" * 64) == "v3"


def test_committing_the_newest_again_changes_nothing(books):
    assert refs.commit(books, "books", "abcd2" + "0" * 59) == "v2"
    assert len(refs.log(books, "books")) == 2


def test_committing_an_older_version_makes_it_the_newest_under_its_tag(books):
    assert refs.commit(books, "books", "abcd1" + "0" * 59) == "v1"
    assert refs.resolve(books, "books").tag == "v1"


def test_a_tag_or_a_prefix_names_a_version(books):
    assert refs.resolve(books, "books@v1").version.startswith("abcd1")
    assert refs.resolve(books, "books@abcd1") == ("books", "abcd1" + "0" * 59, "v1")


def test_a_prefix_of_two_versions_is_an_error(books):
    assert "`curate data log books` lists them" in hint_of(books, "books@abcd", "`abcd` begins 2 versions")


@pytest.mark.parametrize("name", ["books@abc", "books@", "books@zzzz"])
def test_a_prefix_that_is_too_short_or_of_no_version_is_an_error(books, name):
    hint_of(books, name, "dataset `books` has no tag or version")


def test_an_unknown_tag_hints_at_the_nearest(books):
    refs.set_tag(books, refs.resolve(books, "books"), "release")
    assert hint_of(books, "books@relase", "no tag or version `relase`") == "did you mean `release`?"


def test_an_unknown_dataset_hints_at_the_nearest_or_lists_them(books):
    assert hint_of(books, "book", "there is no dataset named `book`") == "did you mean `books`?"
    assert hint_of(books, "xyz", "there is no dataset named `xyz`") == "there are: books"


def test_an_empty_store_says_so(store):
    assert hint_of(store, "books", "there is no dataset named `books`") == "the store is empty"


@pytest.mark.parametrize("name", ["../x", "", "a/b", ".hidden", "a b"])
def test_what_is_not_a_name_never_becomes_a_path(store, name):
    hint_of(store, name, "is not a dataset name")


def test_a_tag_is_set_and_taken_away(books):
    refs.set_tag(books, refs.resolve(books, "books@v1"), "old")
    assert refs.resolve(books, "books@old").version.startswith("abcd1")
    refs.remove_tag(books, "books", "old")
    with pytest.raises(CurateError):
        refs.resolve(books, "books@old")


def test_a_tag_of_another_version_is_not_taken_over(books):
    with pytest.raises(CurateError, match="tag `v1` names version abcd10000000 already"):
        refs.set_tag(books, refs.resolve(books, "books@v2"), "v1")


def test_a_tag_is_a_name(books):
    with pytest.raises(CurateError, match=r"`\.\./x` is not a tag name"):
        refs.set_tag(books, refs.resolve(books, "books"), "../x")


def test_a_tag_that_is_not_there_is_not_taken_away(books):
    refs.set_tag(books, refs.resolve(books, "books"), "release")
    with pytest.raises(CurateError, match="has no tag `v3`") as caught:
        refs.remove_tag(books, "books", "v3")
    assert caught.value.hint == "it has: release"


# ---- numbers


def test_numbers_are_entries_of_the_log_and_pin_nothing_and_tags_pin(books):
    assert refs.tags_of(books, "books") == {"v1": "abcd1" + "0" * 59, "v2": "abcd2" + "0" * 59}
    assert refs.pinned(books, "books") == {"abcd2" + "0" * 59}
    refs.set_tag(books, refs.resolve(books, "books@v1"), "release")
    assert refs.pinned(books, "books") == {"abcd1" + "0" * 59, "abcd2" + "0" * 59}


def test_a_number_is_not_taken_away_by_hand(books):
    with pytest.raises(CurateError, match="has no tag `v1`"):
        refs.remove_tag(books, "books", "v1")


def test_a_number_of_a_version_that_was_collected_is_not_given_again(books):
    for letter in "ef":
        refs.commit(books, "books", letter * 64)
    refs.commit(books, "books", "abcd1" + "0" * 59)
    refs.forget(books, "books", {"e" * 64, "f" * 64})
    assert hint_of(books, "books@v4", "no tag or version `v4`")
    assert [(entry["action"], entry["tag"]) for entry in refs.log(books, "books")][:2] == [
        ("collect", "v4"),
        ("commit", "v1"),
    ]
    assert refs.commit(books, "books", "e" * 64) == "v5"
    refs.commit(books, "books", "abcd1" + "0" * 59)
    refs.forget(books, "books", {"e" * 64})
    assert refs.commit(books, "books", "c" * 64) == "v6"
    assert refs.resolve(books, "books@v2").version.startswith("abcd2")


def test_forgetting_what_no_dataset_knows_changes_nothing(books):
    refs.forget(books, "books", {"9" * 64})
    assert len(refs.log(books, "books")) == 2


# ---- gates


def test_a_version_that_failed_a_gate_is_not_the_newest_and_is_found_by_its_id(books):
    refs.refuse(books, "books", "ef" * 32, "too many are quarantined")
    assert refs.resolve(books, "books").tag == "v2"
    assert refs.resolve(books, "books@efef") == ("books", "ef" * 32, None)
    entry = refs.log(books, "books")[0]
    assert [entry[key] for key in ("action", "version", "tag", "gate")] == [
        "refuse", "ef" * 32, None, "too many are quarantined",
    ]  # fmt: skip
    refs.refuse(books, "books", "ef" * 32, "too many are quarantined")
    assert len(refs.log(books, "books")) == 3


def test_a_dataset_of_which_no_version_passed_says_so(store):
    refs.refuse(store, "books", "ef" * 32, "nothing is left")
    assert "`books@ID` names one" in hint_of(store, "books", "no version of `books` has passed its gates")
    assert refs.resolve(store, "books@efef").version == "ef" * 32
    assert len(refs.log(store, "books")) == 1
    assert refs.commit(store, "books", "ef" * 32) == "v1"


def test_a_refused_version_gets_a_tag_as_any_other(books):
    refs.refuse(books, "books", "ef" * 32, "gate")
    refs.set_tag(books, refs.resolve(books, "books@efef"), "look")
    assert refs.resolve(books, "books@look") == ("books", "ef" * 32, "look")


def test_a_version_is_called_by_the_tag_that_it_got_first(books):
    refs.set_tag(books, refs.resolve(books, "books"), "release")
    refs.set_tag(books, refs.resolve(books, "books"), "a")
    assert refs.resolve(books, "books").tag == "v2"


def test_the_log_tells_what_happened_newest_first(books):
    refs.set_tag(books, refs.resolve(books, "books"), "x")
    refs.remove_tag(books, "books", "x")
    assert [(entry["action"], entry["tag"]) for entry in refs.log(books, "books")] == [
        ("untag", "x"),
        ("tag", "x"),
        ("commit", "v2"),
        ("commit", "v1"),
    ]


def test_a_damaged_file_of_names_is_an_error(books):
    books.blobs.write("refs/books.json", b"{")
    hint_of(books, "books", "the names of dataset `books` cannot be read")


def test_commits_at_the_same_time_all_count(store):
    versions = [f"{i:064x}" for i in range(40)]
    with ThreadPoolExecutor(8) as pool:
        tags = list(pool.map(lambda version: refs.commit(Store.open(store.location), "books", version), versions))
    assert len(set(tags)) == 40
    assert refs.tags_of(store, "books") == dict(zip(tags, versions, strict=True))


COMMITS = """
import sys
from curate.dataset import refs
from curate.dataset.store import Store

store = Store.open(sys.argv[1])
for number in range(25):
    refs.commit(store, "books", f"{sys.argv[2]}{number:063x}")
    refs.set_tag(store, refs.resolve(store, f"books@{sys.argv[2]}{number:063x}"), f"tag-{sys.argv[2]}-{number}")
"""


def test_two_processes_that_commit_at_once_lose_nothing(store):
    both = [subprocess.Popen([sys.executable, "-c", COMMITS, store.location, letter]) for letter in "ab"]
    assert [process.wait() for process in both] == [0, 0]
    names = refs.tags_of(store, "books")
    assert sorted(names) == sorted(
        [*(f"v{n + 1}" for n in range(50)), *(f"tag-{a}-{n}" for a in "ab" for n in range(25))]
    )
    assert len({names[f"v{n + 1}"] for n in range(50)}) == 50
    assert len(json.loads(store.blobs.read("refs/books.json"))["log"]) == 100


def test_datasets_are_listed_by_name(books):
    refs.commit(books, "a.b-c", "1" * 64)
    assert refs.datasets(books) == ["a.b-c", "books"]
