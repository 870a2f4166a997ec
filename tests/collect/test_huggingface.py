"""Documents from Hugging Face data sets."""

import logging

import datasets
import orjson
import pytest

from curate.collect.huggingface import HuggingFace
from curate.errors import CurateError
from curate.stages.contract import SourceContext


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def made(count, prefix=""):
    return datasets.Dataset.from_dict({
        "text": [f"{prefix}document {n}" for n in range(count)],
        "label": list(range(count)),
        "tags": [["x", str(n)] for n in range(count)],
    })  # fmt: skip


def test_a_saved_data_set_is_read_with_its_columns(tmp_path, read_source_at):
    made(3).save_to_disk(tmp_path / "saved")
    documents, rejects = read_source_at(HuggingFace(path="saved", split="train"), tmp_path)
    assert documents[1] == {
        "id": None,
        "text": "document 1",
        "source_uri": "saved/train#1",
        "label": 1,
        "tags": '["x","1"]',
    }
    assert (len(documents), rejects) == (3, [])


def test_all_splits_are_read_and_told_apart(tmp_path, read_source_at):
    datasets.DatasetDict(train=made(2), test=made(1, "t")).save_to_disk(tmp_path / "saved")
    documents, _ = read_source_at(HuggingFace(path="saved", columns=[]), tmp_path)
    assert [(document["text"], document["hf_split"]) for document in documents] == [
        ("tdocument 0", "test"),
        ("document 0", "train"),
        ("document 1", "train"),
    ]


def test_a_folder_that_load_dataset_reads_is_read(tmp_path, read_source_at):
    (tmp_path / "folder").mkdir()
    lines = b"".join(orjson.dumps({"body": f"line {n}", "key": n}) + b"\n" for n in range(3))
    (tmp_path / "folder" / "train.jsonl").write_bytes(lines)
    source = HuggingFace(path="folder", split="train", text="body", id_column="key")
    documents, _ = read_source_at(source, tmp_path)
    assert documents[2] == {"id": "2", "text": "line 2", "source_uri": "folder/train#2"}


def test_documents_do_not_depend_on_how_the_rows_are_cut(tmp_path, read_source_at):
    made(50).save_to_disk(tmp_path / "saved")
    source = HuggingFace(path="saved")
    assert len(source.plan(SourceContext(tmp_path, 200, str))) > 5
    assert read_source_at(source, tmp_path, 200) == read_source_at(source, tmp_path)


def test_a_row_without_text_is_rejected_alone(tmp_path, read_source_at):
    datasets.Dataset.from_dict({"text": ["a", None, "c"]}).save_to_disk(tmp_path / "saved")
    documents, rejects = read_source_at(HuggingFace(path="saved", split="train"), tmp_path)
    assert [document["source_uri"] for document in documents] == ["saved/train#0", "saved/train#2"]
    assert [(reject.offset, reject.reason) for reject in rejects] == [(1, "no_text")]


def test_an_unknown_split_is_an_error_that_names_the_splits(tmp_path, read_source_at):
    datasets.DatasetDict(train=made(1), test=made(1)).save_to_disk(tmp_path / "saved")
    with pytest.raises(CurateError, match="no split `tests`; the splits are `test`, `train`"):
        read_source_at(HuggingFace(path="saved", split="tests"), tmp_path)


def test_a_missing_text_column_is_an_error_that_names_the_columns(tmp_path, read_source_at):
    made(1).save_to_disk(tmp_path / "saved")
    with pytest.raises(CurateError, match="no column `body`; the columns are `text`, `label`, `tags`"):
        read_source_at(HuggingFace(path="saved", text="body"), tmp_path)


@pytest.mark.parametrize("path", ["nowhere/at-all", "no/such/folder", "./missing"])
def test_a_data_set_that_is_not_there_is_an_error_with_a_hint(tmp_path, read_source_at, path):
    with pytest.raises(CurateError, match="cannot be loaded") as error:
        read_source_at(HuggingFace(path=path), tmp_path)
    assert "relative to the pipeline file" in (error.value.hint or "")


def test_a_hub_that_is_not_reached_is_told_once_and_not_for_each_attempt(tmp_path, read_source_at, monkeypatch):
    logger, levels = logging.getLogger("huggingface_hub"), []

    def unreachable(*_, **__):
        levels.append(logger.getEffectiveLevel())
        raise ConnectionError("nobody there")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    before = logger.level
    with pytest.raises(CurateError, match="the data set `owner/name` cannot be loaded: nobody there"):
        read_source_at(HuggingFace(path="owner/name"), tmp_path)
    assert (levels, logger.level) == ([logging.ERROR], before)


def test_source_uri_and_a_repeated_id_are_carried_on_under_other_names(tmp_path, read_source_at):
    datasets.Dataset.from_dict({"id": [0], "text": ["a"], "source_uri": ["x.csv#5"]}).save_to_disk(tmp_path / "saved")
    documents, _ = read_source_at(HuggingFace(path="saved", split="train", make_ids=True), tmp_path)
    assert documents == [
        {"id": None, "text": "a", "source_uri": "saved/train#0", "original_id": 0, "original_uri": "x.csv#5"}
    ]


def test_a_column_called_hf_split_is_an_error_where_all_splits_are_read(tmp_path, read_source_at):
    datasets.Dataset.from_dict({"text": ["a"], "hf_split": ["test"]}).save_to_disk(tmp_path / "saved")
    with pytest.raises(CurateError, match="column `hf_split`") as error:
        read_source_at(HuggingFace(path="saved"), tmp_path)
    assert "`split:`" in (error.value.hint or "")
    documents, _ = read_source_at(HuggingFace(path="saved", split="train"), tmp_path)
    assert documents[0]["hf_split"] == "test"
