"""Formats for training at scale (WebDataset, MDS, Arrow), and splits cut into files of a size: each read back, equal."""

from __future__ import annotations

import json
import math
import struct
import tarfile
from itertools import pairwise
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as parquet
import pytest

from curate.dataset.export import export
from curate.errors import CurateError
from tests.dataset.exported import NULLS, ROWS, decoded, document, make_dataset, read_lines
from tests.oracles import library


@pytest.fixture
def dataset(tmp_path):
    return make_dataset(tmp_path, {"train": [*ROWS, NULLS], "test": [document(20, "test")]})


@pytest.fixture
def many(tmp_path):
    """250 documents of about 1,000 bytes."""
    return make_dataset(tmp_path, {"train": [document(n, f"{n:04}" * 200) for n in range(250)]})


# ---- WebDataset


def members(path: Path) -> list[tuple[str, bytes]]:
    with tarfile.open(path) as tar:
        return [(one.name, tar.extractfile(one).read()) for one in tar]


def test_a_sample_of_webdataset_is_a_text_and_an_object_with_the_other_columns(dataset, tmp_path):
    export(dataset, "webdataset", tmp_path / "out")
    found = members(tmp_path / "out/train.tar")
    assert [name for name, _ in found[:2]] == ["train-000000000.txt", "train-000000000.json"]
    texts = [content.decode() for name, content in found if name.endswith(".txt")]
    others = [orjson.loads(content) for name, content in found if name.endswith(".json")]
    assert [{**other, "text": text} for other, text in zip(others, texts, strict=True)] == [
        decoded(row) for row in [*ROWS, NULLS]
    ]


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # it leaves files open
def test_webdataset_s_own_reader_gives_the_same_samples(dataset, tmp_path):
    webdataset = library("webdataset")
    export(dataset, "webdataset", tmp_path / "out")
    samples = list(webdataset.WebDataset(str(tmp_path / "out/train.tar"), shardshuffle=False).decode())
    assert [one["txt"] for one in samples] == [row["text"] for row in [*ROWS, NULLS]]
    assert [one["json"]["id"] for one in samples] == [row["id"] for row in [*ROWS, NULLS]]
    assert len({one["__key__"] for one in samples}) == len(samples)


def test_headers_of_webdataset_have_no_time_and_no_owner(dataset, tmp_path):
    export(dataset, "webdataset", tmp_path / "out")
    with tarfile.open(tmp_path / "out/train.tar") as tar:
        assert {(one.mtime, one.uid, one.gid, one.uname, one.mode) for one in tar} == {(0, 0, 0, "", 0o644)}


def test_a_document_without_a_text_has_no_text_member(tmp_path):
    one = make_dataset(tmp_path, {"train": [document(0, None, tags=[])]})
    export(one, "webdataset", tmp_path / "out.tar")
    assert [name for name, _ in members(tmp_path / "out.tar")] == ["out-000000000.json"]


# ---- MDS


def read_mds(folder: Path) -> list[dict]:
    """A reader after the format's description, which knows nothing of how it was written."""
    of = {
        "str": lambda value: value.decode(), "bytes": bytes, "json": json.loads, "uint8": lambda value: value[0],
        "int64": lambda value: struct.unpack("<q", value)[0], "float64": lambda value: struct.unpack("<d", value)[0],
    }  # fmt: skip
    rows = []
    for shard in json.loads((folder / "index.json").read_text())["shards"]:
        content = (folder / shard["raw_data"]["basename"]).read_bytes()
        assert (len(content), shard["version"], shard["format"]) == (shard["raw_data"]["bytes"], 2, "mds")
        [count] = struct.unpack_from("<I", content)
        assert count == shard["samples"]
        offsets = struct.unpack_from(f"<{count + 1}I", content, 4)
        assert json.loads(content[4 * (count + 2) : offsets[0]])["column_names"] == shard["column_names"]
        assert offsets[-1] == len(content)
        for begin, end in pairwise(offsets):
            rows.append(read_sample(content[begin:end], shard, of))
    return rows


def read_sample(sample: bytes, shard: dict, of: dict) -> dict:
    sizes, at = [], 0
    for fixed in shard["column_sizes"]:
        sizes.append(fixed or struct.unpack_from("<I", sample, at)[0])
        at += 0 if fixed else 4
    row = {}
    for name, encoding, size in zip(shard["column_names"], shard["column_encodings"], sizes, strict=True):
        row[name] = of[encoding](sample[at : at + size])
        at += size
    assert at == len(sample)
    return row


def test_mds_has_the_documents_of_each_split(dataset, tmp_path):
    export(dataset, "mds", tmp_path / "out")
    told = [{**row, "meta": json.loads(row["meta"])} for row in ROWS]
    assert read_mds(tmp_path / "out/train")[: len(ROWS)] == told
    assert [row["id"] for row in read_mds(tmp_path / "out/test")] == ["d20"]


def test_nulls_which_mds_has_not_are_counted_and_told(dataset, tmp_path):
    done = export(dataset, "mds", tmp_path / "out")
    row = read_mds(tmp_path / "out/train")[-1]
    assert math.isnan(row.pop("score"))
    assert row == {"id": "d9", "text": "nulls", "count": 0, "good": 0, "tags": None, "meta": None}
    assert done.notes == [
        f"column `{name}`: nulls, which MDS has not, are {value} (1 values)"
        for name, value in (("count", "0"), ("good", "0"), ("score", "NaN"))
    ]


def test_mds_is_cut_into_shards_and_none_of_its_documents_is_lost(many, tmp_path, monkeypatch):
    from curate.dataset.export import mds

    monkeypatch.setattr(mds, "SHARD_BYTES", 50_000)
    export(many, "mds", tmp_path / "out")
    shards = sorted((tmp_path / "out/train").glob("*.mds"))
    assert len(shards) > 5 and all(path.stat().st_size <= 50_000 for path in shards)
    assert [row["id"] for row in read_mds(tmp_path / "out/train")] == [f"d{n}" for n in range(250)]


def test_an_integer_that_mds_cannot_hold_is_refused_by_its_column(tmp_path):
    one = make_dataset(tmp_path, {"train": [{"id": 1 << 63}]}, pa.schema([("id", pa.uint64())]))
    with pytest.raises(CurateError, match="column `id` has an integer beyond 63 bits"):
        export(one, "mds", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_else_in_it_is_not_replaced_by_mds(dataset, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/cat.jpg").write_bytes(b"cat")
    with pytest.raises(CurateError, match="holds something else"):
        export(dataset, "mds", tmp_path / "photos", overwrite=True)


# ---- Arrow


def test_arrow_files_are_read_by_feather_and_have_the_same_table(dataset, tmp_path):
    export(dataset, "arrow", tmp_path / "out.arrow", split="train")
    assert feather.read_table(tmp_path / "out.arrow").equals(dataset.arrow("train"))


# ---- files of a size


def read_tar(path):
    return [orjson.loads(content) for name, content in members(path) if name.endswith(".json")]


READ = {
    "jsonl": (".jsonl", lambda path: read_lines(path.read_bytes())),
    "parquet": (".parquet", lambda path: parquet.read_table(path).to_pylist()),
    "arrow": (".arrow", lambda path: feather.read_table(path).to_pylist()),
    "webdataset": (".tar", read_tar),
}


@pytest.mark.parametrize("format", READ)
def test_splits_are_cut_into_files_of_about_a_size_and_hold_each_document_once(many, tmp_path, format):
    ending, read = READ[format]
    done = export(many, format, tmp_path / "out", shard_bytes=1_000)
    assert [path.name for path in done.files] == [f"train-0000{n}{ending}" for n in range(3)]
    assert [row["id"] for path in done.files for row in read(path)] == [f"d{n}" for n in range(250)]
    assert (done.documents, set(done.splits.values())) == (250, {"train"})


def test_a_card_lists_all_files_of_a_split(many, tmp_path):
    export(many, "jsonl", tmp_path / "out", shard_bytes=1_000)
    assert (
        'path: ["train-00000.jsonl", "train-00001.jsonl", "train-00002.jsonl"]'
        in (tmp_path / "out/README.md").read_text()
    )


def test_fewer_files_than_before_leave_none_of_the_old_ones(many, tmp_path):
    export(many, "jsonl", tmp_path / "out", shard_bytes=1_000)
    with pytest.raises(CurateError, match="is there already"):
        export(many, "jsonl", tmp_path / "out", shard_bytes=10**9)
    export(many, "jsonl", tmp_path / "out", shard_bytes=10**9, overwrite=True)
    assert [path.name for path in (tmp_path / "out").glob("*.jsonl")] == ["train-00000.jsonl"]


def test_files_of_a_size_do_not_stand_beside_a_whole_split(many, tmp_path):
    export(many, "jsonl", tmp_path / "out")
    with pytest.raises(CurateError, match=r"holds `train\.jsonl` too"):
        export(many, "jsonl", tmp_path / "out", shard_bytes=1_000, overwrite=True)


@pytest.mark.parametrize(("format", "out", "problem"), [
    ("jsonl", "all.jsonl", "one file is not cut into several"), ("mds", "out", "`mds` cuts its files by itself"),
])  # fmt: skip
def test_a_size_that_has_no_meaning_is_refused(many, tmp_path, format, out, problem):
    with pytest.raises(CurateError, match=problem):
        export(many, format, tmp_path / out, shard_bytes=1_000)


# ---- conversations


@pytest.mark.slow
@pytest.mark.parametrize("format", ["hf", "parquet", "jsonl", "arrow"])
def test_conversations_are_lists_for_datasets_and_trl(tmp_path, format):
    import datasets

    trl = library("trl.data_utils")
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    schema = pa.schema([("id", pa.string()), pa.field("messages", pa.string(), metadata={b"curate.json": b"1"})])
    rows = [{"id": str(n), "messages": json.dumps(turns)} for n in range(3)]
    export(make_dataset(tmp_path, {"train": rows}, schema), format, tmp_path / "out")
    if format == "hf":
        loaded = datasets.load_from_disk(str(tmp_path / "out"))["train"]
    else:
        loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))["train"]
    assert loaded[0]["messages"] == turns and trl.is_conversational(loaded[0])
