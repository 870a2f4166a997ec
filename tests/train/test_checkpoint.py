from __future__ import annotations

import json
import pickle

import pytest
import torch

from curate.errors import CurateError, ResumableError
from curate.train import checkpoint
from curate.train.checkpoint import checkpoints, load_checkpoint, read_checkpoint, save_checkpoint
from curate.train.shard import joined
from curate.train.trainer import Trainer


@pytest.fixture
def trainer(tiny, pack):
    with joined(0, 1, device="cpu") as world:
        trainer = Trainer(tiny(), pack, world)
        trainer.step(1)
        yield trainer


@pytest.fixture
def save(trainer, tmp_path):
    def save(step, keep=2):
        return save_checkpoint(
            tmp_path, step, trainer.model, trainer.optimizer, trainer.world, facts={"data": {}}, keep=keep
        )

    return save


def test_what_is_loaded_is_what_was_saved(trainer, save):
    path = save(1)
    saved = [parameter.full_tensor().clone() for parameter in trainer.model.parameters()]
    moments = [state["exp_avg"].full_tensor().clone() for state in trainer.optimizer.state.values()]
    trainer.step(2)
    load_checkpoint(path, trainer.model, trainer.optimizer, trainer.world)
    assert all(map(torch.equal, saved, (p.full_tensor() for p in trainer.model.parameters())))
    loaded = (state["exp_avg"].full_tensor() for state in trainer.optimizer.state.values())
    assert all(map(torch.equal, moments, loaded))
    assert {state["step"].item() for state in trainer.optimizer.state.values()} == {1.0}


def test_older_checkpoints_are_removed_beyond_those_to_keep(save, tmp_path):
    for step in (1, 2, 3):
        save(step)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-000002", "step-000003"]
    assert not (tmp_path / "step-000001").exists()


def test_a_checkpoint_half_written_does_not_count(save, tmp_path):
    save(1)
    (tmp_path / "writing-step-000002").mkdir()
    (tmp_path / "step-000003").mkdir()
    assert [path.name for path in checkpoints(tmp_path)] == ["step-000001"]


def test_no_file_of_a_checkpoint_is_a_pickle(save):
    for path in save(1).iterdir():
        assert path.suffix in (".json", ".safetensors")
        with pytest.raises((pickle.UnpicklingError, ValueError, EOFError, KeyError)):
            pickle.loads(path.read_bytes())


def test_a_checkpoint_cut_short_is_refused(save):
    path = save(1)
    shard = next(path.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-10])
    with pytest.raises(CurateError, match="was cut short or changed") as error:
        read_checkpoint(path)
    assert "checkpoint before it" in error.value.hint


def test_a_checkpoint_that_lacks_a_shard_is_refused(save):
    path = save(1)
    next(path.glob("*.safetensors")).unlink()
    with pytest.raises(CurateError, match="was cut short or changed"):
        read_checkpoint(path)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"schema": 1}', b"\x80\x04"])
def test_a_folder_with_a_broken_description_is_no_checkpoint(tmp_path, content):
    (tmp_path / "checkpoint.json").write_bytes(content)
    with pytest.raises(CurateError, match="this is not a checkpoint"):
        read_checkpoint(tmp_path)


def test_a_checkpoint_of_a_newer_version_is_refused(save):
    path = save(1)
    description = json.loads((path / "checkpoint.json").read_text())
    (path / "checkpoint.json").write_text(json.dumps({**description, "schema": 99}))
    with pytest.raises(CurateError, match="made by a newer curate"):
        read_checkpoint(path)


def test_a_full_disk_leaves_the_checkpoint_before_intact(save, tmp_path, monkeypatch):
    save(1)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "_finish", full)
    with pytest.raises(ResumableError, match=r"checkpoint 2 cannot be written: .*No space left") as error:
        save(2)
    assert "make room" in error.value.hint
    assert [path.name for path in checkpoints(tmp_path)] == ["step-000001"]
    assert read_checkpoint(tmp_path / "step-000001")["step"] == 1


def test_an_error_inside_the_writer_is_told_in_words(save, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.HuggingFaceStorageWriter, "write_data", full)
    with pytest.raises(ResumableError, match=r"checkpoint 1 cannot be written: .*No space left"):
        save(1)
