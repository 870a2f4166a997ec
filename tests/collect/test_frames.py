"""One compressed file in several parts: the documents are those of the file without compression, however it is cut."""

from __future__ import annotations

import gzip
import lzma
import struct
import zlib
from itertools import pairwise

import pytest
import yaml
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

import curate
from curate.collect.files import Files
from curate.collect.frames import cuts
from curate.stages.contract import Rejected, SourceContext

LINES = [b'{"id": "%d", "text": "%s"}\n' % (number, b"word " * (number % 40)) for number in range(400)]
TEXT = b"".join(LINES)


def zstd(pieces: list[bytes], *, sized: bool = True, table: bool = False) -> bytes:
    """A frame for each piece; `table` puts zstd's seek table behind them."""
    compressor = zstandard.ZstdCompressor(write_content_size=sized, write_checksum=True)
    frames = [compressor.compress(piece) for piece in pieces]
    if not table:
        return b"".join(frames)
    entries = b"".join(struct.pack("<II", len(frame), len(piece)) for frame, piece in zip(frames, pieces, strict=True))
    body = entries + struct.pack("<IBI", len(frames), 0, 0x8F92EAB1)
    return b"".join(frames) + struct.pack("<II", 0x184D2A5E, len(body)) + body


def bgzf(pieces: list[bytes]) -> bytes:
    blocks = []
    for piece in [*pieces, b""]:
        deflate = zlib.compressobj(wbits=-15)
        data = deflate.compress(piece) + deflate.flush()
        head = b"\x1f\x8b\x08\x04" + bytes(4) + b"\0\xff" + struct.pack("<HBBHH", 6, 66, 67, 2, len(data) + 25)
        blocks.append(head + data + struct.pack("<II", zlib.crc32(piece), len(piece)))
    return b"".join(blocks)


WRITERS = {
    "sized.jsonl.zst": zstd,
    "table.jsonl.zst": lambda pieces: zstd(pieces, sized=False, table=True),
    "blocks.jsonl.gz": bgzf,
}


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def parts_of(path, shard_bytes, **options):
    return Files(paths=[path.name], **options).plan(SourceContext(path.parent, shard_bytes, str))


def read(path, shard_bytes=1 << 30, **options):
    """Documents without the file's name, and rejects."""
    documents, rejects = [], []
    source = Files(paths=[path.name], **options)
    for part in source.plan(SourceContext(path.parent, shard_bytes, str)):
        for piece in source.read(part):
            if isinstance(piece, Rejected):
                rejects.append(piece)
            else:
                documents += [
                    (row["id"], row["text"], row["source_uri"].partition("#")[2]) for row in piece.to_pylist()
                ]
    return documents, rejects


line = st.one_of(
    st.builds(lambda text: b'{"text": "%s"}' % text.encode(), st.from_regex(r"[a-z ]{0,60}", fullmatch=True)),
    st.sampled_from([b"", b"  ", b"not JSON", b'{"text": null}', b'{"text": "\xff"}']),
)


@pytest.mark.parametrize("name", WRITERS)
@settings(derandomize=True, deadline=None, max_examples=25)
@given(
    lines=st.lists(line, min_size=1, max_size=30),
    ended=st.booleans(),
    places=st.lists(st.integers(0, 1500), max_size=12),
    shard_bytes=st.integers(1, 400),
)
def test_documents_are_those_of_the_uncompressed_file(tmp_path_factory, name, lines, ended, places, shard_bytes):
    data = b'{"text": "first"}\n' + b"\n".join(lines) + (b"\n" if ended else b"")
    bounds = sorted({0, len(data), *(place for place in places if place < len(data))})
    pieces = [data[start:stop] for start, stop in pairwise(bounds)]
    folder = tmp_path_factory.mktemp("frames")
    (folder / name).write_bytes(WRITERS[name](pieces))
    (folder / "plain.jsonl").write_bytes(data)
    assert read(folder / name, shard_bytes) == read(folder / "plain.jsonl")


@pytest.mark.parametrize("name", WRITERS)
def test_parts_begin_with_frames_and_hold_about_as_much_as_a_shard(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(WRITERS[name](cut(TEXT, 1000)))
    parts = parts_of(path, 5000)
    assert [part.start for part in parts] == [0, *range(5001, len(TEXT), 5000)]
    assert [part.stop for part in parts] == [*(part.start for part in parts[1:]), None]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl.gz", gzip.compress(TEXT)),
        ("members.jsonl.gz", b"".join(map(gzip.compress, LINES))),
        ("a.jsonl.xz", lzma.compress(TEXT)),
        ("unsized.jsonl.zst", zstd(cut(TEXT, 1000), sized=False)),
        ("mixed.jsonl.zst", zstd(cut(TEXT, 1000)) + zstd([b""], sized=False)),
        ("short.jsonl.zst", zstd(cut(TEXT, 1000))[:-1]),
        ("short.jsonl.gz", bgzf(cut(TEXT, 1000))[:-1]),
        ("junk.jsonl.zst", zstd(cut(TEXT, 1000)) + b"junk"),
        ("empty.jsonl.zst", b""),
    ],
)
def test_files_that_do_not_tell_their_frames_are_one_part(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert len(parts_of(tmp_path / name, 2000)) == 1


def test_gzip_that_is_to_be_verified_is_one_part(tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(bgzf(cut(TEXT, 1000)))
    assert len(parts_of(tmp_path / "a.jsonl.gz", 2000, verify=True)) == 1


def test_a_file_that_claims_too_much_is_not_cut(tmp_path):
    bomb = struct.pack("<IBQ", 0xFD2FB528, 0xE0, 1 << 60) + b"\x03\0\0a"
    (tmp_path / "a.jsonl.zst").write_bytes(zstd([TEXT]) + bomb + zstd([TEXT]))
    assert cuts(tmp_path / "a.jsonl.zst", "zst", 100, 200) == [(0, 0)]


@pytest.mark.parametrize("name", ["sized.jsonl.zst", "blocks.jsonl.gz"])
def test_damage_costs_the_rest_of_its_part_and_is_told_once(tmp_path, name):
    path, pieces = tmp_path / name, cut(TEXT, 1000)
    whole = bytearray(WRITERS[name](pieces))
    before = len(WRITERS[name](pieces[:7])) - (28 if name.endswith("gz") else 0)
    whole[before + 40] ^= 0xFF
    path.write_bytes(whole)
    documents, rejects = read(path, 5000)
    wanted, _ = read_plain(tmp_path)
    assert [one.reason for one in rejects].count("corrupt") == 1
    assert all(5000 < one.offset <= 10_000 for one in rejects)
    assert elsewhere(documents) == elsewhere(wanted) and len(documents) < len(wanted)


def elsewhere(documents):
    """Those that start outside of the part with the damage."""
    return [one for one in documents if not 5000 < int(one[2]) <= 10_000]


def read_plain(folder):
    (folder / "plain.jsonl").write_bytes(TEXT)
    return read(folder / "plain.jsonl")


def with_length(content: bytes, frame: int, length: int) -> bytes:
    """Another content size in the seek table's entry of a frame."""
    count = struct.unpack_from("<I", content, len(content) - 9)[0]
    place = len(content) - 9 - 8 * (count - frame) + 4
    return content[:place] + struct.pack("<I", length) + content[place + 4 :]


@pytest.mark.parametrize("length", [500, 1500])
def test_a_seek_table_that_is_wrong_is_told_and_nothing_is_read_twice(tmp_path, length):
    (tmp_path / "a.jsonl.zst").write_bytes(with_length(zstd(cut(TEXT, 1000), sized=False, table=True), 7, length))
    documents, rejects = read(tmp_path / "a.jsonl.zst", 5000)
    wanted, _ = read_plain(tmp_path)
    ids = [one[0] for one in documents]
    assert len(set(ids)) == len(ids) and [one.reason for one in rejects] == ["corrupt"]
    assert "holds less or more than the file says" in rejects[0].detail
    assert len(wanted) - 80 < len(ids) < len(wanted)


# ---- the whole way


def run(root, name, content, workers, shard_megabytes=0.01):
    (root / name).write_bytes(content)
    pipeline = {
        "dataset": "one",
        "shard_megabytes": shard_megabytes,
        "sources": [{"stage": "files", "paths": [name]}],
        "stages": [{"stage": "unicode"}],
    }
    (root / "p.yaml").write_text(yaml.safe_dump(pipeline))
    curate.run(root / "p.yaml", workers=workers, store=root / f"store{workers}")
    return curate.open_dataset("one", root / f"store{workers}")


@pytest.mark.parametrize("name", WRITERS)
def test_a_version_does_not_depend_on_how_many_workers_read_its_file(tmp_path, name):
    content = WRITERS[name](cut(TEXT, 1000))
    one, two = (run(tmp_path, name, content, workers) for workers in (1, 2))
    assert one.version == two.version and len(one.fragments) > 3
    assert one.arrow(columns=["id"]).column("id").to_pylist() == [str(number) for number in range(len(LINES))]


def test_a_file_that_cannot_be_cut_is_unpacked_once_into_many_shards(tmp_path):
    large = b"".join(b'{"text": "%d %s"}\n' % (number, b"word " * 800) for number in range(3300))
    dataset = run(tmp_path, "a.jsonl.gz", gzip.compress(large, 1), 1, shard_megabytes=4)
    assert len(parts_of(tmp_path / "a.jsonl.gz", 4_000_000)) == 1
    sizes = [shard.documents for shard in dataset.ledger()]
    assert len(sizes) >= 3 and sum(sizes) == 3300 and max(sizes) < 1500
