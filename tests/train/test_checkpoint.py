"""Checkpoints are whole or not there, hold every bit, and are read by any number of processes."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import threading

import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from curate.errors import CurateError, ResumableError
from curate.train.parallel.world import joined
from curate.train.weights import checkpoint
from curate.train.weights.checkpoint import (
    Checkpoints,
    checkpoints,
    load_checkpoint,
    parameters_hash,
    read_checkpoint,
    tensor_shapes,
)


@pytest.fixture(scope="module")
def world():
    with joined(0, 1, device="cpu") as world:
        yield world


def tensors(seed):
    """Sharded ones, whole ones, a number, and a half one."""
    generator = torch.Generator().manual_seed(seed)
    mesh = init_device_mesh("cpu", (1,))
    matrix, vector = torch.randn(6, 4, generator=generator), torch.randn(1, generator=generator)
    return {
        "matrix": distribute_tensor(matrix, mesh, [Shard(0)]),
        "vector": distribute_tensor(vector, mesh, [Shard(0)]),
        "number": torch.tensor(float(seed)),
        "half": torch.randn(3, 5, generator=generator).bfloat16(),
    }


def change(tensors):
    for tensor in tensors.values():
        (tensor.to_local() if isinstance(tensor, DTensor) else tensor).add_(1)


@pytest.fixture
def save(world, tmp_path):
    """Save at a step, and give the folder: `save(1, keep=2, protect=None)`."""

    def save(step, given=None, *, keep=2, protect=None, asynchronous=False):
        saved = Checkpoints(tmp_path, world, keep=keep, asynchronous=asynchronous)
        saved.save(step, given or tensors(1), {"data": {}}, protect=protect)
        saved.finish()
        return tmp_path / f"step-{step:06}"

    return save


# ---- what is saved


@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_is_loaded_is_what_was_saved(save, world, asynchronous):
    path, loaded = save(1, tensors(1), asynchronous=asynchronous), tensors(2)
    read_checkpoint(path)
    load_checkpoint(path, loaded, world)
    assert parameters_hash(loaded) == parameters_hash(tensors(1))
    assert loaded["number"].item() == 1


def test_tensors_may_change_while_they_are_saved(world, tmp_path, monkeypatch):
    changed = threading.Event()
    write = checkpoint.save
    monkeypatch.setattr(checkpoint, "save", lambda *given, **named: (changed.wait(), write(*given, **named)))
    saved, given = Checkpoints(tmp_path, world, keep=2, asynchronous=True), tensors(1)
    saved.save(1, given, {})
    change(given)
    changed.set()
    saved.finish()
    load_checkpoint(tmp_path / "step-000001", given, world)
    assert parameters_hash(given) == parameters_hash(tensors(1))


def test_the_next_save_waits_for_the_one_under_way(world, tmp_path):
    saved, given = Checkpoints(tmp_path, world, keep=5, asynchronous=True), tensors(1)
    for step in (1, 2, 3):
        saved.save(step, given, {})
        assert len(checkpoints(tmp_path)) >= step - 1
        change(given)
    saved.finish()
    load_checkpoint(tmp_path / "step-000003", given, world)
    assert given["number"].item() == 3


def test_the_description_has_facts_step_and_shapes(save):
    path = save(7)
    assert read_checkpoint(path)["data"] == {}
    assert read_checkpoint(path)["step"] == 7
    assert tensor_shapes(path) == {"matrix": (6, 4), "vector": (1,), "number": (), "half": (3, 5)}


def test_some_tensors_of_a_checkpoint_can_be_loaded_alone(save, world):
    half = torch.zeros(3, 5, dtype=torch.bfloat16)
    load_checkpoint(save(1), {"half": half}, world)
    assert torch.equal(half, tensors(1)["half"])


def test_a_tensor_that_the_checkpoint_lacks_is_named(save, world):
    with pytest.raises(CurateError, match=r"`more` of shape \(2,\) is not in the checkpoint"):
        load_checkpoint(save(1), {"more": torch.zeros(2)}, world)


def test_a_tensor_of_another_shape_is_named(save, world):
    with pytest.raises(CurateError, match=r"`half` of shape \(2,\) has the shape \(3, 5\) in the checkpoint"):
        load_checkpoint(save(1), {"half": torch.zeros(2)}, world)


# ---- which are kept


def test_older_checkpoints_are_removed_beyond_those_to_keep(save, tmp_path):
    for step in (1, 2, 3):
        save(step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000002", "step-000003"]


def test_a_protected_checkpoint_stays_beside_those_to_keep(save, tmp_path):
    for step in (1, 2, 3, 4):
        save(step, protect=1)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-000001", "step-000003", "step-000004"]


def test_a_checkpoint_half_written_does_not_count_and_is_removed(save, tmp_path):
    save(1)
    (tmp_path / "writing-step-000002").mkdir()
    (tmp_path / "step-000003").mkdir()
    assert [path.name for path in checkpoints(tmp_path)] == ["step-000001"]
    save(4)
    assert not (tmp_path / "writing-step-000002").exists()


def test_a_checkpoint_of_the_same_step_is_replaced(save, world):
    save(1, tensors(1))
    path, loaded = save(1, tensors(2)), tensors(3)
    load_checkpoint(path, loaded, world)
    assert parameters_hash(loaded) == parameters_hash(tensors(2))


# ---- what is refused


def test_no_file_of_a_checkpoint_is_a_pickle(save):
    for path in save(1).iterdir():
        assert path.suffix in (".json", ".safetensors")
        with pytest.raises((pickle.UnpicklingError, ValueError, EOFError, KeyError)):
            pickle.loads(path.read_bytes())


@pytest.mark.parametrize("name", [".metadata", "__0_0.distcp", "model.pt", "pytorch_model.bin"])
def test_a_checkpoint_with_a_pickle_is_refused(save, world, name):
    path = save(1)
    (path / name).write_bytes(pickle.dumps({"weights": 1}))
    for read in (lambda: read_checkpoint(path), lambda: load_checkpoint(path, tensors(1), world)):
        with pytest.raises(CurateError, match=f"`{name}` of the checkpoint may be a pickle, which can run any code"):
            read()


def test_a_pickle_that_is_named_like_a_shard_is_refused(save, world):
    path = save(1)
    shard = next(path.glob("*.safetensors"))
    shard.write_bytes(pickle.dumps({"weights": 1}))
    description = json.loads((path / "checkpoint.json").read_text())
    files = {shard.name: checkpoint.file_hash(shard)}
    (path / "checkpoint.json").write_text(json.dumps({**description, "files": files}))
    read_checkpoint(path)
    with pytest.raises(CurateError, match=r"the checkpoint cannot be read: .*header"):
        load_checkpoint(path, tensors(1), world)


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


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"schema": 2}',
        b"\x80\x04",
        b'{"schema": 2, "step": 1, "files": {"../x.safetensors": "0"}, "tensors": {}}',
        b'{"schema": 2, "step": 1, "files": {"x.json": "0"}, "tensors": {}}',
        b'{"schema": 2, "step": "1", "files": {}, "tensors": {}}',
    ],
)
def test_a_folder_with_a_broken_description_is_no_checkpoint(tmp_path, content):
    (tmp_path / "checkpoint.json").write_bytes(content)
    with pytest.raises(CurateError, match="this is not a checkpoint"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(("schema", "words"), [(99, "made by a newer curate"), (1, "made by an older curate")])
def test_a_checkpoint_of_another_version_is_refused(save, schema, words):
    path = save(1)
    description = json.loads((path / "checkpoint.json").read_text())
    (path / "checkpoint.json").write_text(json.dumps({**description, "schema": schema}))
    with pytest.raises(CurateError, match=words):
        read_checkpoint(path)


# ---- a full disk


def full(*_, **__):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("part", ["_finish", "HuggingFaceStorageWriter.write_data"])
def test_a_full_disk_leaves_the_checkpoint_before_intact(save, tmp_path, monkeypatch, part, asynchronous):
    save(1)
    monkeypatch.setattr(f"curate.train.weights.checkpoint.{part}", full)
    with pytest.raises(ResumableError, match=r"checkpoint 2 cannot be written: .*No space left") as error:
        save(2, asynchronous=asynchronous)
    assert "make room" in error.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]
    assert read_checkpoint(tmp_path / "step-000001")["step"] == 1


def test_an_asynchronous_save_that_failed_is_told_by_the_next(world, tmp_path, monkeypatch):
    saved = Checkpoints(tmp_path, world, keep=2, asynchronous=True)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_finish", full)
        saved.save(1, tensors(1), {})
        saved.thread.join()
    with pytest.raises(ResumableError, match="checkpoint 1 cannot be written"):
        saved.save(2, tensors(1), {})
    saved.save(3, tensors(1), {})
    saved.finish()
    assert [path.name for path in checkpoints(tmp_path)] == ["step-000003"]


def test_closing_waits_for_a_save_and_tells_no_error(world, tmp_path, monkeypatch):
    saved = Checkpoints(tmp_path, world, keep=2, asynchronous=True)
    saved.save(1, tensors(1), {})
    saved.close()
    assert len(checkpoints(tmp_path)) == 1
    monkeypatch.setattr(checkpoint, "_finish", full)
    saved.save(2, tensors(1), {})
    saved.close()


FULL = """
import sys
from pathlib import Path
import torch
from curate.errors import ResumableError
from curate.train.weights.checkpoint import Checkpoints, read_checkpoint
from curate.train.parallel.world import joined

folder = Path(sys.argv[1])
with joined(0, 1, device="cpu") as world:
    saved = Checkpoints(folder, world, keep=5, asynchronous=sys.argv[2] == "async")
    try:
        for step in range(1, 5):
            saved.save(step, {"matrix": torch.full((400, 400), float(step))}, {})
            saved.finish()
    except ResumableError as error:
        print(error.problem)
print(sorted(path.name for path in folder.iterdir()), read_checkpoint(folder / "step-000003")["step"])
"""


def small_disk(folder, megabytes, *command):
    """Run a command where a folder is a disk of a few megabytes; skips where that may not be made."""
    mount = f'mount -t tmpfs -o size={megabytes}m none {folder} && exec "$@"'
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh", *command],
        capture_output=True,
        text=True,
    )
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip("a small disk cannot be mounted here")
    return done


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_disk_that_is_really_full_leaves_the_checkpoints_before_intact(tmp_path, mode):
    done = small_disk(tmp_path, 2, sys.executable, "-c", FULL, str(tmp_path), mode)
    assert done.returncode == 0, done.stderr
    problem, left = done.stdout.splitlines()
    assert problem.startswith("checkpoint 4 cannot be written: ")
    assert "No space left on device" in problem
    assert left == "['step-000001', 'step-000002', 'step-000003'] 3"


# ---- hashes of parameters


def test_the_hash_changes_with_a_bit_a_name_a_shape_or_a_type():
    given = {"a": torch.arange(4.0), "b": torch.zeros(2)}
    others = [
        {"a": given["a"].nextafter(torch.tensor(9.0)), "b": given["b"]},
        {"a": given["a"], "c": given["b"]},
        {"a": given["a"].view(2, 2), "b": given["b"]},
        {"a": given["a"], "b": torch.zeros(2, dtype=torch.int32)},
    ]
    assert len({parameters_hash(some) for some in (given, *others)}) == 5


def test_the_hash_does_not_depend_on_order_or_layout(world):
    given = tensors(1)
    plain = {name: value.full_tensor() if isinstance(value, DTensor) else value for name, value in given.items()}
    assert parameters_hash(dict(reversed(given.items()))) == parameters_hash(plain)
    assert parameters_hash({"a": torch.arange(6.0).view(2, 3).t().t()}) == parameters_hash(
        {"a": torch.arange(6.0).view(2, 3)}
    )
