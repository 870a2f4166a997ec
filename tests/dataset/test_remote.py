"""Blobs in an object store: what only there can go wrong: the network, the server, two writers at once."""

from __future__ import annotations

import hashlib
import os
import secrets
import subprocess
import sys

import pytest

from curate.dataset import ranges, refs, remote
from curate.dataset.leases import lease
from curate.dataset.remote import S3Blobs
from curate.dataset.store import Store, object_name
from curate.errors import CurateError, DamagedError, ResumableError
from tests.conftest import document_table

pytestmark = pytest.mark.slow


@pytest.fixture
def kind_of_place():
    return "s3"


@pytest.fixture
def blobs(place):
    return S3Blobs(place.store("store"))


@pytest.fixture
def store(place):
    return Store.open(place.store("store"), create=True)


def through(store, bucket):
    """The same store behind a bucket's fault."""
    return store.location.replace("s3://bucket/", f"s3://{bucket}/")


# ---- what is told


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(CurateError, match="needs the package obstore") as caught:
        Store.open("s3://bucket/x")
    assert caught.value.hint == "pip install 'curate-lm[s3]'"


@pytest.mark.parametrize("url", ["gs://bucket/x", "s3://", "s3:///x", "https://example.org/x"])
def test_a_url_that_is_no_place_for_a_store_is_refused(url):
    with pytest.raises(CurateError, match="a store stands in a folder or at s3://BUCKET/PREFIX"):
        Store.open(url)


@pytest.mark.parametrize("create", [True, False])
def test_a_bucket_that_is_not_there_is_told(place, create):
    with pytest.raises(CurateError, match="there is no bucket `nowhere`") as caught:
        Store.open("s3://nowhere/x", create=create)
    assert "AWS_ENDPOINT_URL" in caught.value.hint


@pytest.mark.parametrize("create", [True, False])
def test_who_is_not_let_in_is_told_which_variables_count(store, create):
    with pytest.raises(CurateError, match="the object store does not let you in") as caught:
        Store.open(through(store, "denied"), create=create)
    assert "AWS_ACCESS_KEY_ID" in caught.value.hint


def test_who_may_only_read_reads_and_runs_nothing(store):
    name = store.write_table(document_table(["a text"]))
    reader = Store.open(through(store, "reading"))
    with lease(reader, "read", "v"):
        assert reader.read_table(name).num_rows == 1
    with pytest.raises(CurateError, match=r"the store cannot be written: permission denied .AccessDenied."):
        Store.open(through(store, "reading"), create=True)


def test_without_credentials_the_variables_are_named(place, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(CurateError, match="there are no credentials for the object store") as caught:
        Store.open(place.store("store"))
    assert "AWS_SECRET_ACCESS_KEY" in caught.value.hint


def test_a_server_that_is_not_there_is_told_and_can_be_tried_again(place, monkeypatch):
    monkeypatch.setattr(remote, "RETRIES", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(ResumableError, match="the object store does not answer"):
        Store.open(place.store("store"))


def test_http_must_be_allowed(place, monkeypatch):
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    with pytest.raises(CurateError, match="no https:// URL") as caught:
        Store.open(place.store("store"))
    assert caught.value.hint == "for http://, set AWS_ALLOW_HTTP=true"


@pytest.mark.parametrize("bucket", ["careless", "incapable"])
def test_a_server_without_conditional_writes_is_refused_and_the_store_is_left_as_it_was(store, bucket, monkeypatch):
    monkeypatch.setattr(remote, "RETRIES", 0)
    before = store.blobs.read("store.json")
    with pytest.raises(CurateError, match="knows no conditional writes"):
        Store.open(through(store, bucket), create=True)
    assert store.blobs.read("store.json") == before


# ---- reading


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(remote, "TAIL", 1000)
    monkeypatch.setattr(ranges, "READ_AHEAD", 4000)
    monkeypatch.setattr(ranges, "JUMP_AHEAD", 300)


def test_a_large_blob_reads_like_a_file_wherever_one_jumps(blobs, small_pieces):
    content = os.urandom(25_000)
    blobs.write("objects/large", content)
    with blobs.open("objects/large") as stream:
        assert stream.size() == len(content)
        for place, count in ((0, 10), (10, 5000), (24_990, 100), (3, 1), (23_500, 1500), (0, 25_000), (25_000, 5)):
            stream.seek(place)
            assert stream.read(count) == content[place : place + count], (place, count)
        stream.seek(20_000)
        assert stream.read() == content[20_000:]
    assert blobs.hash("objects/large") == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 5000])
def test_blobs_of_any_size_are_read_whole(blobs, small_pieces, size):
    content = os.urandom(size)
    blobs.write("objects/one", content)
    with blobs.open("objects/one") as stream:
        assert stream.read() == content


def test_of_a_large_object_only_what_is_asked_for_is_fetched(store, small_pieces, object_store):
    texts = [secrets.token_hex(500) for _ in range(4000)]  # two row groups
    name = store.write_table(document_table(texts))
    store = Store.open(store.location)
    object_store.requests()
    with store.parquet(name) as file:
        assert file.read_row_group(1, columns=["id"]).num_rows == 2000
    size = store.size(name)
    told = [path for method, path in object_store.requests() if method == "GET"]
    assert len(told) < 40 < size // ranges.READ_AHEAD


def test_an_object_is_fetched_once_by_a_process(store, object_store):
    name = store.write_table(document_table(["a text"]))
    object_store.requests()
    for _ in range(5):
        store.read_table(name)
        store.read_schema(name)
    assert [method for method, _ in object_store.requests()] == ["GET"]


def test_a_large_object_that_is_opened_again_is_fetched_once_more_and_kept(store, small_pieces, object_store):
    name = store.write_table(document_table([secrets.token_hex(500) for _ in range(100)]))
    object_store.requests()
    for _ in range(5):
        with store.blobs.open(object_name(name)):
            pass
    assert [method for method, _ in object_store.requests()] == ["GET", "GET"]
    assert len(store.read_table(name)) == 100
    assert object_store.requests() == []


def other_bytes(store):
    """A sound object under another one's name, in a store that has not seen it."""
    name, other = (store.write_table(document_table([text])) for text in ("a text", "other text"))
    store.blobs.write(object_name(name), store.blobs.read(object_name(other)))
    return Store.open(store.location), name


def test_an_object_with_other_bytes_is_not_read_where_all_of_it_comes(store):
    store, name = other_bytes(store)
    with pytest.raises(DamagedError, match=f"object {name[:12]} is damaged"):
        store.read_table(name)


def test_a_large_object_with_other_bytes_is_not_read_when_it_is_opened_again(store, small_pieces, monkeypatch):
    monkeypatch.setattr(remote, "TAIL", 100)
    store, name = other_bytes(store)
    assert store.read_schema(name).names == ["id", "text", "source_uri"]
    with pytest.raises(DamagedError, match=f"object {name[:12]} is damaged"):
        store.read_table(name)


def test_what_is_kept_of_objects_has_a_bound(blobs, monkeypatch):
    monkeypatch.setattr(remote, "CACHE", 1000)
    for number in range(5):
        blobs.write(f"objects/{number}", bytes(400))
        blobs.open(f"objects/{number}").close()
    assert sorted(blobs._opened) == ["objects/3", "objects/4"]


def test_many_questions_whether_objects_are_there_become_a_listing(blobs, monkeypatch, object_store):
    monkeypatch.setattr(remote, "LISTS", 3)
    names = [f"objects/aa/{number}.parquet" for number in range(50)]
    for name in names:
        blobs.write(name, b"")
    object_store.requests()
    assert all(blobs.exists(name) for name in names)
    assert not blobs.exists("objects/aa/other.parquet")
    # beside a renewed lease of whoever else uses the server: that one goes by the clock
    assert len([path for _, path in object_store.requests() if "/leases/" not in path]) == 4


def test_files_of_a_folder_that_was_copied_here_are_no_names(store):
    store.blobs.write("refs/.lock", b"")
    refs.commit(store, "books", "a" * 64)
    assert refs.datasets(store) == ["books"]


def test_more_is_deleted_than_one_request_holds(blobs, monkeypatch):
    monkeypatch.setattr(remote, "AT_ONCE", 2)
    for number in range(5):
        blobs.write(f"a/{number}", b"")
    blobs.delete_folder("a")
    assert list(blobs.list("a")) == []


# ---- writers at once


def test_a_write_whose_answer_was_lost_counts_once(store):
    forgetful = Store.open(through(store, "forgetful"))
    assert refs.commit(forgetful, "books", "a" * 64) == "v1"
    assert len(refs.log(store, "books")) == 1
    with lease(forgetful, "run"):
        assert refs.commit(forgetful, "books", "b" * 64) == "v2"
    assert len(refs.log(store, "books")) == 2


COUNTS = """
import sys
from curate.dataset.remote import S3Blobs

blobs = S3Blobs(sys.argv[1])
for _ in range(40):
    while True:
        seen = blobs.read("counter")
        if blobs.swap("counter", seen, str(int(seen) + 1).encode()):
            break
"""
PUBLISHES = """
import sys
from curate.dataset.store import Store
from tests.conftest import document_table

store = Store.open(sys.argv[1], create=True)
for number in range(20):
    print(store.write_table(document_table([f"text {number}"])))
"""


def processes(code, *arguments, count=3):
    command = [sys.executable, "-c", code, *arguments]
    return [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]


def test_processes_that_count_at_once_lose_no_count(blobs):
    blobs.write("counter", b"0")
    for process in processes(COUNTS, blobs.location):
        process.communicate()
    assert blobs.read("counter") == b"120"


def test_processes_that_publish_the_same_objects_at_once_give_one_of_each(place):
    told = {process.communicate()[0] for process in processes(PUBLISHES, place.store("new"))}
    [names] = told
    store = Store.open(place.store("new"))
    assert {blob.name for blob in store.blobs.list("objects")} == {object_name(name) for name in names.split()}
    assert all(store.problem(name) is None for name in names.split())
