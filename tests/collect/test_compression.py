"""Compressed files, whole and damaged: what can be read is read."""

import bz2
import gzip
import io
import lzma
import os
import random
import tracemalloc
import zlib

import orjson
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.collect.compression import ByteStream

COMPRESS = {
    "gz": gzip.compress,
    "zst": zstandard.ZstdCompressor(write_checksum=True).compress,
    "xz": lambda data: lzma.compress(data, preset=0),
    "bz2": bz2.compress,
}
NAMES = sorted(COMPRESS)


def records(count, seed=0):
    """Lines that do not compress away."""
    source = random.Random(seed)
    return [orjson.dumps({"text": source.randbytes(150).hex()}) + b"\n" for _ in range(count)]


@pytest.mark.parametrize("name", NAMES)
def test_a_compressed_file_reads_as_the_plain_one(read_files, name):
    lines = records(500)
    plain, _ = read_files({"a.jsonl": b"".join(lines)})
    packed, rejects = read_files({f"b.jsonl.{name}": COMPRESS[name](b"".join(lines))})
    assert [(d["text"], d["source_uri"].partition("#")[2]) for d in packed] == [
        (d["text"], d["source_uri"].partition("#")[2]) for d in plain
    ]
    assert rejects == []


@pytest.mark.parametrize("name", NAMES)
def test_all_members_of_a_file_are_read(read_files, name):
    lines = records(9)
    content = b"".join(COMPRESS[name](b"".join(lines[start : start + 3])) for start in (0, 3, 6))
    documents, rejects = read_files({f"a.jsonl.{name}": content})
    assert len(documents) == 9
    assert rejects == []


@pytest.mark.parametrize("name", NAMES)
def test_zero_padding_after_the_last_member_is_passed_over(read_files, name):
    documents, rejects = read_files({f"a.jsonl.{name}": COMPRESS[name](b"".join(records(3))) + b"\0" * 512})
    assert (len(documents), rejects) == (3, [])


@pytest.mark.parametrize("name", NAMES)
def test_a_truncated_file_gives_its_whole_lines_and_one_reject(read_files, name):
    lines = records(12000)
    whole = COMPRESS[name](b"".join(lines))
    documents, rejects = read_files({f"a.jsonl.{name}": whole[: len(whole) // 2]})
    assert len(documents) > 2000
    assert [document["text"] for document in documents] == [orjson.loads(line)["text"] for line in lines][
        : len(documents)
    ]
    (reject,) = rejects
    assert reject.reason == "truncated"
    assert reject.offset >= sum(map(len, lines[: len(documents)]))


@pytest.mark.parametrize("name", NAMES)
def test_a_corrupt_file_gives_what_comes_before_the_damage(read_files, name):
    lines = records(12000)
    content = bytearray(COMPRESS[name](b"".join(lines)))
    middle = len(content) // 2
    content[middle : middle + 2000] = bytes(2000)
    documents, rejects = read_files({f"a.jsonl.{name}": bytes(content)})
    texts = {orjson.loads(line)["text"] for line in lines}
    assert sum(document["text"] in texts for document in documents) > 2000
    assert rejects[-1].reason in ("corrupt", "truncated")


def test_everything_before_a_corrupt_member_is_read(read_files):
    lines = records(40)
    first, second = (
        gzip.compress(b"".join(lines[:30]), mtime=0),
        bytearray(gzip.compress(b"".join(lines[30:]), mtime=0)),
    )
    second[2:4] = b"\xff\xff"
    documents, rejects = read_files({"a.jsonl.gz": first + second})
    assert len(documents) == 30
    assert [(reject.offset, reject.reason) for reject in rejects] == [(sum(map(len, lines[:30])), "corrupt")]


def test_a_wrong_checksum_is_told_and_the_documents_are_kept(read_files):
    content = bytearray(gzip.compress(b"".join(records(10)), mtime=0))
    content[-8] ^= 0xFF
    documents, rejects = read_files({"a.jsonl.gz": bytes(content)})
    assert len(documents) == 10
    assert [reject.reason for reject in rejects] == ["corrupt"]


def test_a_file_that_is_not_compressed_at_all_is_rejected(read_files):
    documents, rejects = read_files({"a.jsonl.gz": b'{"text": "a"}\n'})
    assert documents == []
    assert [(reject.offset, reject.reason) for reject in rejects] == [(0, "corrupt")]


def test_a_record_cut_off_right_before_its_line_end_is_whole(read_files):
    packer = zlib.compressobj(wbits=31)
    content = packer.compress(b'{"text": "a"}\n{"text": "b"}') + packer.flush(zlib.Z_SYNC_FLUSH)
    documents, rejects = read_files({"a.jsonl.gz": content})
    assert [document["text"] for document in documents] == ["a", "b"]
    assert [reject.reason for reject in rejects] == ["truncated"]


def test_an_empty_compressed_file_gives_nothing(read_files):
    assert read_files({"a.jsonl.gz": b"", "b.jsonl.zst": COMPRESS["zst"](b"")}) == ([], [])


def test_a_large_zstd_window_is_read(read_files):
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=29)
    content = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    documents, rejects = read_files({
        "a.jsonl.zst": content.compress(b"".join(records(3))) + content.flush()
    })  # fmt: skip
    assert (len(documents), rejects) == (3, [])


def bomb(name, megabytes):
    """Some good lines, then `megabytes` of good lines all alike."""
    line = orjson.dumps({"text": "a" * 4000}) + b"\n"
    filler = line * ((megabytes << 20) // len(line))
    return COMPRESS[name](b"".join(records(5)) + filler)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_reading_of_a_bomb_stops_and_tells_where(tmp_path, name):
    path = tmp_path / "a"
    path.write_bytes(bomb(name, 200))
    stream = ByteStream(lambda: path.open("rb"), name, max_expansion=20)
    given = sum(map(len, stream))
    assert stream.damage is not None
    assert stream.damage[0] == "expansion_limit"
    assert stream.position == given < 190 << 20


@pytest.mark.slow
def test_the_documents_before_a_bomb_goes_off_are_kept(read_files):
    documents, rejects = read_files({"a.jsonl.gz": bomb("gz", 100)}, max_expansion=20)
    assert len(documents) > 15000
    assert [reject.reason for reject in rejects] == ["expansion_limit"]
    assert rejects[0].offset >= 64 << 20


@pytest.mark.slow
@pytest.mark.parametrize("name", ["", ".gz"])
def test_a_line_of_200_megabytes_is_rejected_in_bounded_memory(tmp_path, read_source_at, name):
    from curate.collect.files import Files

    opener = gzip.open if name else open
    with opener(tmp_path / f"a.jsonl{name}", "wb") as file:
        file.write(b'{"text": "first"}\n{"text": "')
        for _ in range(200):
            file.write(os.urandom(1 << 19).hex().encode())
        file.write(b'"}\n{"text": "last"}\n')
    tracemalloc.start()
    documents, rejects = read_source_at(Files(paths=[f"a.jsonl{name}"]), tmp_path)
    assert [document["text"] for document in documents] == ["first", "last"]
    assert [(reject.offset, reject.reason) for reject in rejects] == [(18, "too_long")]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 << 20


@pytest.mark.parametrize("place", [-1, -8, 1000])
def test_nothing_of_a_gzip_member_that_fails_its_checksum_is_read(read_files, place):
    lines = records(40)
    first, second = (
        gzip.compress(b"".join(lines[:30]), mtime=0),
        bytearray(gzip.compress(b"".join(lines[30:]), mtime=0)),
    )
    second[place] ^= 0x10
    documents, rejects = read_files({"a.jsonl.gz": first + second}, verify=True)
    assert [document["text"] for document in documents] == [orjson.loads(line)["text"] for line in lines[:30]]
    assert [(reject.offset, reject.reason) for reject in rejects] == [(sum(map(len, lines[:30])), "corrupt")]
    assert "cannot be trusted" in rejects[0].detail


def test_of_a_gzip_member_that_cannot_be_decoded_the_last_megabyte_is_not_read(read_files):
    lines = records(6000)
    packer = zlib.compressobj(wbits=31)
    content = packer.compress(b"".join(lines)) + packer.flush(zlib.Z_FULL_FLUSH) + b"\xff" * 100
    documents, rejects = read_files({"a.jsonl.gz": content}, verify=True)
    (reject,) = rejects
    assert (reject.offset, reject.reason) == (sum(map(len, lines)) - (1 << 20), "corrupt")
    assert len(documents) == reject.offset // len(lines[0])


@settings(derandomize=True, max_examples=60, deadline=None)
@given(place=st.integers(10, 13000), change=st.binary(min_size=1, max_size=40))
def test_whatever_bytes_of_a_gzip_file_are_damaged_no_document_is_invented(tmp_path_factory, place, change):
    path = tmp_path_factory.mktemp("damaged") / "a.gz"
    lines = records(120)
    content = bytearray(b"".join(gzip.compress(b"".join(lines[start : start + 40]), mtime=0) for start in (0, 40, 80)))
    content[place : place + len(change)] = change
    path.write_bytes(content)
    read = b"".join(ByteStream(lambda: path.open("rb"), "gz", verify=True))
    assert b"".join(lines).startswith(read)


def test_a_gzip_file_that_is_not_to_be_verified_is_opened_once():
    opened = []

    def open_file():
        opened.append(1)
        return io.BytesIO(gzip.compress(b"".join(records(3))))

    assert len(list(ByteStream(open_file, "gz"))) == len(opened) == 1
