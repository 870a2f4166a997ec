"""Checkpoints of several processes, read by others on other meshes."""

from __future__ import annotations

import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

from curate.errors import ResumableError
from curate.train.parallel.world import joined
from curate.train.weights import checkpoint
from curate.train.weights.checkpoint import Checkpoints, load_checkpoint, parameters_hash, read_checkpoint
from tests.train.forked import call_each


def tensors(seed, layout, size):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"uneven": (7, 5), "row": (1,), "cube": (2, 3, 4), "both": (8, 6), "number": ()}
    whole = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    mesh = init_device_mesh("cpu", (size,) if layout == "sharded" else (2, size // 2))
    placements = {"sharded": [Shard(0)], "hybrid": [Replicate(), Shard(0)], "tensor": [Shard(0), Replicate()]}[layout]
    found = {n: distribute_tensor(t, mesh, placements, src_data_rank=None) if t.ndim else t for n, t in whole.items()}
    if layout == "tensor":
        found["both"] = distribute_tensor(whole["both"], mesh, [Shard(0), Shard(1)], src_data_rank=None)
    return found


def full_disk_of_the_last(saved, given, world):
    """It fails in all processes, and the next save works."""
    read = checkpoint.file_hash
    if world.rank == world.size - 1:
        checkpoint.file_hash = full
    try:
        saved.save(1, given, {})
        saved.finish()
    except ResumableError as error:
        assert "checkpoint 1 cannot be written: [Errno 28] No space left" in error.problem, error
    else:
        raise AssertionError("it was saved")
    checkpoint.file_hash = read


def full(path):
    raise OSError(28, "No space left on device")


def do(root, rank, size, work):
    """Save and load in one of several processes, which writes the hashes of what was there."""
    torch.set_num_threads(1)
    with joined(rank, size, device="cpu", meeting=root / f"meeting-{size}" if size > 1 else None) as world:
        for one in work:
            verb, name, layout = one.split("-")
            path, given = root / name / "step-000001", tensors(1, layout, size)
            digest = parameters_hash(given)
            if verb == "save":
                saved = Checkpoints(root / name, world, keep=2, asynchronous=True)
                if name == "full":
                    full_disk_of_the_last(saved, given, world)
                saved.save(1, given, {})
                for tensor in given.values():
                    (tensor.to_local() if isinstance(tensor, DTensor) else tensor).zero_()
                saved.finish()
            else:
                loaded = tensors(2, layout, size)
                read_checkpoint(path, world)
                load_checkpoint(path, loaded, world)
                assert parameters_hash(loaded) == digest, one
            with (root / "digests").open("a") as file:
                file.write(f"{digest}\n")


def together(root, size, *work):
    """Do it in `size` processes; gives the hashes that they found."""
    call_each(do, [(root, rank, size, work) for rank in range(size)])
    return set((root / "digests").read_text().split())


@pytest.mark.slow
def test_a_checkpoint_is_read_by_another_number_of_processes_on_another_mesh(tmp_path):
    hashes = together(tmp_path, 2, "save-a-sharded")
    hashes |= together(
        tmp_path, 4, "load-a-tensor", "save-b-hybrid", "save-c-tensor", "load-b-tensor", "load-c-sharded"
    )
    hashes |= together(tmp_path, 1, "load-a-sharded", "load-b-sharded", "load-c-sharded")
    assert len(hashes) == 1


@pytest.mark.slow
def test_a_full_disk_of_one_process_fails_the_save_in_all(tmp_path):
    assert len(together(tmp_path, 2, "save-full-sharded", "load-full-sharded")) == 1
