from __future__ import annotations

import json

import pytest

from curate.errors import CurateError
from curate.train.folder import Metrics, held, prepare, read_metrics


@pytest.fixture
def folder(tmp_path):
    with held(tmp_path / "small") as folder:
        yield folder


@pytest.fixture
def begun(folder, tiny, pack):
    """A run with a checkpoint."""
    prepare(folder, tiny(), pack)
    (folder.checkpoints / "step-000004").mkdir(parents=True)
    return folder


def test_the_same_settings_and_data_go_on(begun, tiny, pack):
    prepare(begun, tiny(), pack)


def test_changed_settings_are_refused_by_name(begun, tiny, pack):
    with pytest.raises(CurateError, match=r"batch.length was 32, is 64; seed was 1, is 2") as error:
        prepare(begun, tiny(seed=2, batch={"sequences": 4, "length": 64}), pack)
    assert "--fresh" in error.value.hint


def test_changed_data_is_refused_by_name(begun, tiny, text_pack):
    with pytest.raises(CurateError, match=r"data.tokenizer was \w{12}, is \w{12}; data.tokens was .* data.version was"):
        prepare(begun, tiny(), text_pack(train=["other text"]))


def test_processes_and_checkpoints_may_change(begun, tiny, pack):
    prepare(begun, tiny(processes=2, checkpoint_every=1, keep_checkpoints=5), pack)


def test_a_run_without_a_checkpoint_may_begin_again_with_other_settings(folder, tiny, pack):
    prepare(folder, tiny(), pack)
    prepare(folder, tiny(seed=2), pack)
    assert json.loads((folder.path / "config.json").read_text())["config"]["seed"] == 2


def test_the_folder_tells_settings_data_and_environment(begun, pack):
    config = json.loads((begun.path / "config.json").read_text())
    assert config["config"]["steps"] == 12
    assert config["data"] == {
        "dataset": "tiny",
        "version": pack.manifest["version"],
        "tokenizer": pack.tokenizer,
        "tokens": pack.hash,
    }
    assert "torch" in json.loads((begun.path / "environment.json").read_text())["versions"]
    assert (begun.path / "tokenizer.json").read_bytes() == pack.tokenizer_path.read_bytes()


def test_a_run_that_another_process_trains_is_refused(folder):
    with pytest.raises(CurateError, match="run `small` is being trained by another process"), held(folder.path):
        pass


def test_fresh_removes_an_earlier_run_and_nothing_else(begun):
    (begun.path / "notes.txt").write_text("mine")
    path = begun.path
    with pytest.raises(CurateError, match="another process"), held(path, fresh=True):
        pass
    assert begun.checkpoints.exists()


def test_fresh_keeps_files_that_are_not_the_runs(tmp_path, tiny, pack):
    with held(tmp_path / "run") as folder:
        prepare(folder, tiny(), pack)
        (folder.path / "notes.txt").write_text("mine")
    with held(tmp_path / "run", fresh=True) as folder:
        assert sorted(path.name for path in folder.path.iterdir()) == ["lock", "notes.txt"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CurateError, match="the run folder cannot be written"), held(tmp_path / "file" / "run"):
        pass


def test_metrics_after_the_checkpoint_are_forgotten(folder):
    lines = [{"step": step, "seconds": 0.5, "tokens": 10 * step} for step in (1, 2, 3)]
    folder.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 4, "sec')
    with Metrics(folder.metrics, after=2) as metrics:
        assert (metrics.tokens, metrics.seconds) == (20, 1.0)
        metrics.add({"step": 3, "seconds": 0.1, "tokens": 30})
    assert [record["step"] for record in read_metrics(folder.metrics)] == [1, 2, 3]
