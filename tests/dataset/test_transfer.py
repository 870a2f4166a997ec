"""Versions pushed to another store and pulled from it: only what is missing, all of it checked, names swapped last."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from curate.dataset import refs, transfer
from curate.dataset.care import verify
from curate.dataset.leases import lease
from curate.dataset.manifest import objects_of
from curate.dataset.prune import outdated, prune
from curate.dataset.reader import open_dataset
from curate.dataset.store import Store, object_name
from curate.dataset.transfer import Transferred
from curate.dataset.transfer import transfer as push
from curate.errors import CurateError, DamagedError
from tests.dataset.exported import document, make_dataset

anywhere = pytest.mark.anywhere


def version(root, *texts):
    """A version of `books` in the store of a folder, with a fragment for each text."""
    return make_dataset(root, {f"split{n}": [document(n, text)] for n, text in enumerate(texts)})


@pytest.fixture
def mine(tmp_path) -> Store:
    return version(tmp_path / "mine", "one", "two").store


@pytest.fixture
def there(place) -> Store:
    return Store.open(place.store("there"), create=True)


def texts(store, name="books"):
    return [row["text"] for row in open_dataset(name, store).arrow().to_pylist()]


def whole(store):
    """All objects are what their names say; the counts of these versions, which no run has made, do not add up."""
    return all(one["object"] == "manifest" for one in verify(open_dataset("books", store))["problems"])


# ---- what is copied


@anywhere
def test_a_version_that_is_pushed_and_pulled_is_the_same_and_whole(mine, there, tmp_path):
    pushed = push(mine, there, "books")
    back = Store.open(tmp_path / "back", create=True)
    pulled = push(there, back, "books")
    assert pushed.reference == pulled.reference == refs.resolve(mine, "books")
    assert texts(back) == ["one", "two"] and whole(back)


@anywhere
def test_a_push_copies_only_what_is_missing(mine, there, tmp_path):
    first = push(mine, there, "books")
    version(tmp_path / "mine", "one", "two", "three")
    second = push(mine, there, "books")
    assert first.there == 0 and second.copied < first.copied and second.there > 0
    third = push(mine, there, "books")
    assert (third.copied, third.bytes, third.there) == (0, 0, second.copied + second.there)
    assert texts(there) == ["one", "two", "three"]


@anywhere
def test_an_object_of_another_size_is_written_again(mine, there):
    push(mine, there, "books")
    name = object_name(open_dataset("books", mine).fragments[0].object)
    there.blobs.write(name, b"half")
    assert push(mine, there, "books").copied == 1
    assert there.blobs.read(name) == mine.blobs.read(name)


@anywhere
def test_a_version_that_is_damaged_at_its_source_names_the_object_and_publishes_nothing(mine, there, tmp_path):
    push(mine, there, "books")
    damaged, missing = (open_dataset("books", there).fragments[n].object for n in (0, 1))
    good = there.blobs.read(object_name(damaged)), there.blobs.read(object_name(missing))
    there.blobs.write(object_name(damaged), good[0][:-1] + b"?")
    there.blobs.delete(object_name(missing))
    there, back = Store.open(there.location), Store.open(tmp_path / "back", create=True)
    with pytest.raises(DamagedError) as caught:
        push(there, back, "books")
    assert f"object {damaged[:12]} is damaged" in caught.value.problem
    assert f"object {missing[:12]} is missing" in caught.value.problem
    assert (refs.datasets(back), list(back.blobs.list("versions"))) == ([], [])
    assert not back.has_object(damaged) and len(list(back.blobs.list("objects"))) > 0
    for name, content in zip((damaged, missing), good, strict=True):
        there.blobs.write(object_name(name), content)
    assert push(there, back, "books").copied == 2 and texts(back) == ["one", "two"]


def test_a_damaged_manifest_is_told(mine, there):
    name = f"versions/{refs.resolve(mine, 'books').version}.json"
    mine.blobs.write(name, mine.blobs.read(name).replace(b'"books"', b'"bookz"'))
    with pytest.raises(DamagedError, match=r"the manifest of version [0-9a-f]{12} is damaged"):
        push(mine, there, "books")
    assert refs.datasets(there) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind_of_place", ["s3"], indirect=True)
def test_a_store_that_one_may_only_read_can_be_pulled_from_and_not_pushed_to(mine, there, tmp_path):
    push(mine, there, "books")
    read_only = Store.open(there.location.replace("s3://bucket/", "s3://reading/"))
    back = Store.open(tmp_path / "back", create=True)
    assert push(read_only, back, "books").copied > 0 and texts(back) == ["one", "two"]
    with pytest.raises(CurateError, match="the store cannot be written"):
        push(mine, read_only, "books")


# ---- names


@anywhere
def test_a_newest_version_that_the_pusher_does_not_know_stays_and_that_is_told(mine, there, tmp_path):
    push(version(tmp_path / "other", "else").store, there, "books")
    with pytest.raises(CurateError, match="somebody else has made the newest version of `books` there") as caught:
        push(mine, there, "books")
    assert "bring it here first" in str(caught.value.hint)
    assert texts(there) == ["else"]


@anywhere
def test_of_two_that_publish_the_second_pulls_beside_its_own_and_pushes(mine, there, tmp_path):
    other = version(tmp_path / "other", "else").store
    push(other, there, "books")
    pulled = push(there, mine, "books", pull=True)
    assert pulled.beside == refs.resolve(mine, "books").version != pulled.reference.version
    assert texts(mine) == ["one", "two"]
    assert texts(mine, f"books@{pulled.reference.tag}") == ["else"]
    push(mine, there, "books")
    assert texts(there) == ["one", "two"]
    pulled = push(there, other, "books", pull=True)
    assert pulled.beside is None and texts(other) == ["one", "two"]


@anywhere
def test_of_two_that_push_at_once_the_one_that_loses_is_told_and_copies_nothing_twice(
    mine, there, tmp_path, monkeypatch
):
    other, copy = version(tmp_path / "other", "else").store, transfer.copy_version

    def meanwhile(*arguments, **more):
        copy(*arguments, **more)
        monkeypatch.setattr(transfer, "copy_version", copy)
        push(other, there, "books")

    monkeypatch.setattr(transfer, "copy_version", meanwhile)
    with pytest.raises(CurateError, match="somebody else has published another version of `books` there meanwhile"):
        push(mine, there, "books")
    assert texts(there) == ["else"]
    push(there, Store.open(tmp_path / "third", create=True), "books")


def test_an_older_version_is_pushed_by_the_tag_that_somebody_gave_it(mine, there, tmp_path):
    first = refs.resolve(mine, "books")
    version(tmp_path / "mine", "three")
    push(mine, there, "books")
    with pytest.raises(CurateError, match="there is a newer version of `books` than") as caught:
        push(mine, there, "books@v1")
    assert "tag it" in str(caught.value.hint)
    refs.set_tag(mine, first, "release")
    assert push(mine, there, "books@release").reference == refs.Reference("books", first.version, "release")
    assert (texts(there), texts(there, "books@release")) == (["three"], ["one", "two"])


def test_a_version_that_failed_a_gate_is_not_pushed(mine, there, tmp_path):
    one = version(tmp_path / "aside", "bad")
    done = Transferred(refs.resolve(mine, "books"))
    transfer.copy_version(one.store, mine, one.version, transfer.sizes_of(one.store), {}, done)
    refs.refuse(mine, "books", one.version, "too few")
    with pytest.raises(CurateError, match="failed a gate"):
        push(mine, there, f"books@{one.version}")


# ---- erasure follows


def erased(store, root):
    """A version without `two`, which an erasure has put in the place of the one before, gone here."""
    before = refs.resolve(store, "books").version
    after = version(root, "one").version
    refs.succeed(store, "books", {before: after}, "e" * 32)
    return before, after


def said(store):
    blobs = [blob.name for folder in ("objects", "versions", "refs") for blob in store.blobs.list(folder)]
    return any(b"SECRET" in store.blobs.read(name) for name in blobs)


@pytest.fixture
def secret(tmp_path, there):
    """A store whose newest version was pushed, and then lost a document."""
    mine = version(tmp_path / "mine", "one", "SECRET" * 3).store
    push(mine, there, "books")
    assert said(there)
    before, after = erased(mine, tmp_path / "mine")
    return mine, before, after


@anywhere
def test_what_an_erasure_has_replaced_leaves_the_other_store(secret, there):
    mine, before, after = secret
    done = push(mine, there, "books")
    assert outdated(mine, there, "books") == {before: after}
    prune(mine, there, "books", done)
    assert done.pruned["versions"] == 1 and done.pruned["objects"] > 0
    assert not said(there) and texts(there) == ["one"] and whole(there)
    assert refs.resolve(there, f"books@{before}").version == after
    assert outdated(mine, there, "books") == {}


@anywhere
def test_a_prune_that_dies_is_finished_by_the_next(secret, there, monkeypatch):
    mine, *_ = secret
    done = push(mine, there, "books")
    delete, calls = there.blobs.delete, []

    def dies(*names):
        if names and names[0].startswith(("objects/", "versions/")):
            calls.append(names)
            if len(calls) in (1, 3, 5):  # before the first, the second and the third that each attempt does
                raise KeyboardInterrupt
        delete(*names)

    for _ in range(3):
        monkeypatch.setattr(there.blobs, "delete", dies)
        with pytest.raises(KeyboardInterrupt):
            prune(mine, there, "books", done)
    monkeypatch.setattr(there.blobs, "delete", delete)
    prune(mine, there, "books", done)
    assert not said(there) and texts(there) == ["one"] and whole(there)
    needed = dict(objects_of(there, open_dataset("books", there).manifest))
    assert transfer.sizes_of(there).keys() == needed.keys()


def test_a_version_that_is_being_read_there_is_not_pruned(secret, there):
    mine, before, _ = secret
    done = push(mine, there, "books")
    with (
        lease(there, "read", before),
        pytest.raises(CurateError, match="which an erasure has replaced, is being read there"),
    ):
        prune(mine, there, "books", done)
    assert said(there)


# ---- commands


@pytest.mark.slow
@pytest.mark.parametrize("kind_of_place", ["s3"], indirect=True)
def test_a_push_that_is_killed_goes_on_with_what_is_left(mine, there, place, object_store):
    prefix = place.root.removeprefix("s3://bucket/")
    command = [
        sys.executable,
        "-m",
        "curate.cli",
        "data",
        "push",
        there.location,
        "books",
        "--store",
        mine.location,
        "--json",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    object_store.kill(process.pid, f"{prefix}/there/objects/", 3)
    assert process.wait() < 0
    object_store.kill(0, "-", 0)
    assert refs.datasets(there) == [] and list(there.blobs.list("versions")) == []
    left = len(list(there.blobs.list("objects")))
    object_store.requests()
    done = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    puts = [path for method, path in object_store.requests() if method == "PUT" and "/there/objects/" in path]
    assert left == 3 and done["objects"]["there"] == 3 and len(puts) == done["objects"]["copied"]
    assert texts(Store.open(there.location)) == ["one", "two"]


@pytest.mark.slow
@pytest.mark.parametrize("kind_of_place", ["folder", "s3"], indirect=True)
def test_of_two_processes_that_push_different_versions_one_wins_and_the_other_is_told(mine, there, tmp_path):
    other = version(tmp_path / "other", "else").store
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "curate.cli", "data", "push", there.location, "books", "--store", store.location],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        for store in (mine, other)
    ]  # fmt: skip
    ends = [(process.communicate()[1], process.returncode) for process in started]
    assert sorted(code for _, code in ends) == [0, 2]
    [told] = [error for error, code in ends if code]
    assert "it is not known to" in told or "somebody else has published" in told
    winner = [code for _, code in ends].index(0)
    assert texts(Store.open(there.location)) == ([["one", "two"], ["else"]][winner])


def test_a_store_is_made_by_a_pull_and_both_ends_must_differ(mine, tmp_path, monkeypatch, capsys):
    from curate.commands.data_transfer import pull, push

    (tmp_path / "fresh").mkdir()
    monkeypatch.chdir(tmp_path / "fresh")
    monkeypatch.delenv("CURATE_STORE", raising=False)
    pull(mine.location, "books")
    assert texts(Store.open(tmp_path / "fresh/.curate")) == ["one", "two"]
    assert capsys.readouterr().out.startswith("books@v1 (")
    with pytest.raises(CurateError, match="both ends are the same store"):
        push(mine.location, "books", store=mine.location)


def test_an_older_version_takes_no_place_from_one_that_an_erasure_here_has_replaced(mine, there, tmp_path):
    version(tmp_path / "mine", "one", "two", "three")
    push(mine, there, "books")
    erased(mine, tmp_path / "mine")
    with pytest.raises(CurateError, match="there is a newer version of `books` than"):
        push(mine, there, "books@v1")
    assert texts(there) == ["one", "two", "three"]


def test_a_tag_that_names_another_version_there_is_told_before_the_newest_one_changes(mine, there, tmp_path):
    push(mine, there, "books")
    refs.set_tag(there, refs.resolve(there, "books"), "release")
    version(tmp_path / "mine", "three")
    refs.set_tag(mine, refs.resolve(mine, "books"), "release")
    with pytest.raises(CurateError, match="tag `release` names version"):
        push(mine, there, "books@release")
    assert texts(there) == ["one", "two"]


def test_a_pull_copies_a_damaged_object_of_the_right_size_again(mine, tmp_path):
    back = Store.open(tmp_path / "back", create=True)
    push(mine, back, "books")
    name = object_name(open_dataset("books", mine).fragments[0].object)
    back.blobs.write(name, bytes(len(mine.blobs.read(name))))
    assert push(mine, back, "books").copied == 0
    assert push(mine, Store.open(back.location), "books", pull=True).copied == 1
    assert back.blobs.read(name) == mine.blobs.read(name)
