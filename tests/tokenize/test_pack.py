from __future__ import annotations

import hashlib
import json
import os
import shutil

import numpy as np
import pytest

from curate.dataset.store import Store
from curate.errors import CurateError, ResumableError
from curate.files import WRITING
from curate.tokenize import pack as module
from curate.tokenize import streams
from curate.tokenize.pack import open_pack, pack_dataset
from curate.tokenize.tokenizer import TokenizerSettings, load_tokenizer

SETTINGS = TokenizerSettings(vocabulary=300)
TEXTS = ["A first document.", "", "Und ein zweites, mit Umlauten: äöü.", "a <|endoftext|> b"]


def read(pack, split):
    tokens, ends = [], []
    for shard in pack.manifest["splits"][split]["shards"]:
        path = pack.folder / shard["file"]
        tokens.append(np.fromfile(path, pack.manifest["dtype"]))
        ends.append(np.fromfile(path.with_name(path.name + ".index"), "<u8"))
    return tokens, ends


def documents(pack, split):
    """The texts again, from tokens and index."""
    tokenizer = load_tokenizer(pack.tokenizer_path)
    texts = []
    for tokens, ends in zip(*read(pack, split), strict=True):
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            assert tokens[end - 1] == pack.end_of_text
            texts.append(tokenizer.decode(tokens[start : end - 1].tolist(), skip_special_tokens=False))
    return texts


def test_the_documents_come_back_from_tokens_and_index(dataset):
    pack = pack_dataset(dataset(train=TEXTS, validation=TEXTS[:1]), SETTINGS)
    assert documents(pack, "train") == TEXTS
    assert documents(pack, "validation") == TEXTS[:1]


def test_the_manifest_counts_documents_tokens_and_bytes(dataset):
    pack = pack_dataset(dataset(train=TEXTS), SETTINGS)
    (tokens,), (ends,) = read(pack, "train")
    facts = pack.manifest["splits"]["train"]
    assert facts["documents"] == len(ends) == 4
    assert facts["tokens"] == len(tokens) == ends[-1]
    assert facts["text_bytes"] == sum(len(text.encode()) for text in TEXTS)


def test_packing_says_what_it_makes(dataset, capsys):
    made = dataset(train=TEXTS, validation=TEXTS[:1])
    pack = pack_dataset(made, SETTINGS)
    tokens = {split: facts["tokens"] for split, facts in pack.manifest["splits"].items()}
    assert capsys.readouterr().err.splitlines() == [
        f"tokenize {made.name}: learning a tokenizer of 300 tokens",
        f"tokenize {made.name}: train: 4 documents, {tokens['train']} tokens",
        f"tokenize {made.name}: validation: 1 documents, {tokens['validation']} tokens",
    ]
    pack_dataset(made, SETTINGS)
    assert capsys.readouterr().err == ""  # it was found


def test_the_manifest_names_dataset_version_and_hashes(dataset):
    made = dataset(train=TEXTS)
    pack = pack_dataset(made, SETTINGS)
    shard = pack.manifest["splits"]["train"]["shards"][0]
    assert (pack.manifest["dataset"], pack.manifest["version"]) == ("tiny", made.version)
    assert pack.tokenizer == hashlib.sha256(pack.tokenizer_path.read_bytes()).hexdigest()
    for name, wanted in shard["sha256"].items():
        assert hashlib.sha256((pack.folder / name).read_bytes()).hexdigest() == wanted


@pytest.mark.slow
def test_datatrove_reads_the_shards(dataset, topics):
    from datatrove.utils.dataset import DatatroveFolderDataset

    pack = pack_dataset(dataset(train=topics[:30]), SETTINGS)
    (tokens,), (ends,) = read(pack, "train")
    theirs = DatatroveFolderDataset(
        str(pack.folder), 31, filename_pattern="train-*.ds", recursive=False, return_positions=True
    )
    starts = np.array([0, *ends[:-1].tolist()])
    positions = np.arange(len(tokens)) - np.repeat(starts, ends.astype(np.int64) - starts)
    assert len(theirs) == len(tokens) // 32
    for number in range(len(theirs)):
        window = slice(number * 32, number * 32 + 32)
        item = theirs[number]
        assert item["input_ids"].tolist() == tokens[window].tolist()
        # they count positions from the start of the window for the document that it begins in
        start = positions[window.start]
        head = int(np.argmax(positions[window] == 0)) or 32 if start else 0
        wanted = positions[window] - np.where(np.arange(32) < head, start, 0)
        assert item["positions"].tolist() == wanted.tolist()


def test_packing_again_finds_what_was_packed(dataset, monkeypatch):
    first = pack_dataset(dataset(train=TEXTS), SETTINGS)
    monkeypatch.setattr(module, "_write_pack", lambda *_: pytest.fail("packed again"))
    assert pack_dataset(dataset(train=TEXTS), SETTINGS) == first


@pytest.mark.parametrize("changed", ["vocabulary", "version"])
def test_other_settings_or_another_version_are_packed_apart(dataset, changed):
    texts = TEXTS if changed == "vocabulary" else [*TEXTS, "more"]
    first = pack_dataset(dataset(train=TEXTS), SETTINGS)
    second = pack_dataset(dataset(train=texts), TokenizerSettings(vocabulary=280) if texts is TEXTS else SETTINGS)
    assert first.folder != second.folder


def test_the_same_version_gives_the_same_bytes(dataset):
    first = pack_dataset(dataset(train=TEXTS), SETTINGS)
    shutil.rmtree(first.folder)
    assert pack_dataset(dataset(train=TEXTS), SETTINGS).hash == first.hash


def test_what_a_killed_run_left_behind_is_swept_away(dataset):
    pack = pack_dataset(dataset(train=TEXTS), SETTINGS)
    aside = pack.folder.with_name(f"{WRITING}dead")
    pack.folder.rename(aside)
    (aside / "manifest.json").unlink()
    (aside / "train-00009.ds").write_bytes(b"half")
    os.utime(aside, (0, 0))
    again = pack_dataset(dataset(train=TEXTS), SETTINGS)
    assert again.hash == pack.hash
    assert not (again.folder / "train-00009.ds").exists()
    assert not aside.exists()


@pytest.mark.parametrize("name", ["tokenizer.json", "train-00000.ds", "train-00000.ds.index"])
def test_a_file_that_was_changed_is_refused(dataset, name):
    pack = pack_dataset(dataset(train=TEXTS), SETTINGS)
    content = bytearray((pack.folder / name).read_bytes())
    content[-1] ^= 1
    (pack.folder / name).write_bytes(content)
    with pytest.raises(CurateError, match=f"`{name}` is not the file that was packed") as error:
        pack_dataset(dataset(train=TEXTS), SETTINGS)
    assert "packed again from the dataset" in error.value.hint


def test_a_shard_that_is_missing_is_refused(dataset):
    pack = pack_dataset(dataset(train=TEXTS), SETTINGS)
    (pack.folder / "train-00000.ds").unlink()
    with pytest.raises(CurateError, match=r"`train-00000.ds` is not the file that was packed"):
        pack.verify()


def test_a_pack_of_a_newer_version_is_refused(dataset):
    pack = pack_dataset(dataset(train=TEXTS), SETTINGS)
    manifest = {**pack.manifest, "schema": 99}
    (pack.folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CurateError, match="packed by a newer curate"):
        open_pack(pack.folder)


def test_a_folder_without_a_manifest_is_no_pack(tmp_path):
    with pytest.raises(CurateError, match="cannot be read"):
        open_pack(tmp_path)


def test_a_split_goes_to_several_shards_at_ends_of_documents(dataset, monkeypatch):
    monkeypatch.setattr(streams, "TOKENS_PER_SHARD", 20)
    texts = [f"document number {number}" for number in range(10)]
    pack = pack_dataset(dataset(train=texts), SETTINGS)
    assert len(pack.manifest["splits"]["train"]["shards"]) > 2
    assert documents(pack, "train") == texts


def test_long_documents_are_encoded_in_pieces_to_the_same_tokens(dataset, topics, monkeypatch):
    texts = ["".join(topics[:3]), "no-spaces-" * 300, "ends in a space "]
    whole = pack_dataset(dataset(train=texts), SETTINGS)
    wanted = read(whole, "train")[0][0].tolist()
    shutil.rmtree(whole.folder)
    monkeypatch.setattr(streams, "CHARACTERS", 100)
    assert read(pack_dataset(dataset(train=texts), SETTINGS), "train")[0][0].tolist() == wanted


def test_a_full_disk_leaves_nothing_half_packed(dataset, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(streams._Shard, "add", full)
    with pytest.raises(ResumableError, match="the tokens cannot be written: No space left on device"):
        pack_dataset(dataset(train=TEXTS), SETTINGS)
    monkeypatch.undo()
    assert documents(pack_dataset(dataset(train=TEXTS), SETTINGS), "train") == TEXTS


def test_a_split_without_documents_has_no_shards(dataset):
    pack = pack_dataset(dataset(train=TEXTS, test=[]), SETTINGS)
    assert pack.manifest["splits"]["test"] == {
        "documents": 0, "tokens": 0, "text_bytes": 0, "shards": [], "columns": {}
    }  # fmt: skip


def test_tokens_take_two_bytes_below_65_537_tokens(dataset):
    assert pack_dataset(dataset(train=TEXTS), SETTINGS).manifest["dtype"] == "uint16"


# ---- a store that is in no folder


@pytest.fixture
def machines(place, tmp_path, monkeypatch):
    """Makes this process one on another machine: with a cache of its own."""

    def be(name):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))

    return be


@pytest.fixture
def remote_dataset(place, dataset):
    made = dataset(train=TEXTS, validation=TEXTS[:1])
    made.store = Store.open(place.store("store"), create=True)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("kind_of_place", ["s3"], indirect=True)
def test_tokens_of_a_store_in_an_object_store_are_packed_once_and_fetched_by_other_machines(
    remote_dataset, machines, monkeypatch
):
    machines("first")
    pack = pack_dataset(remote_dataset, SETTINGS)
    blobs = {blob.name for blob in remote_dataset.store.blobs.list("tokens")}
    assert blobs == {f"tokens/{pack.folder.name}/{path.name}" for path in pack.folder.iterdir()}
    machines("second")
    monkeypatch.setattr(module, "_write_pack", None)
    fetched = pack_dataset(remote_dataset, SETTINGS)
    assert fetched.folder != pack.folder
    assert fetched.hash == pack.hash
    assert documents(fetched, "train") == TEXTS


@pytest.mark.slow
@pytest.mark.parametrize("kind_of_place", ["s3"], indirect=True)
def test_tokens_that_were_not_sent_whole_are_made_again(remote_dataset, machines):
    machines("first")
    pack = pack_dataset(remote_dataset, SETTINGS)
    remote_dataset.store.blobs.delete(f"tokens/{pack.folder.name}/manifest.json")
    machines("second")
    again = pack_dataset(remote_dataset, SETTINGS)
    assert again.hash == pack.hash
    assert remote_dataset.store.blobs.exists(f"tokens/{pack.folder.name}/manifest.json")


@pytest.mark.slow
@pytest.mark.parametrize("kind_of_place", ["s3"], indirect=True)
def test_tokens_that_nobody_has_used_for_long_leave_the_cache(remote_dataset, dataset, machines):
    machines("first")
    pack = pack_dataset(remote_dataset, SETTINGS)
    os.utime(pack.folder, (0, 0))
    other = dataset(train=TEXTS[:2])
    other.store = remote_dataset.store
    pack_dataset(other, SETTINGS)
    assert not pack.folder.exists()
