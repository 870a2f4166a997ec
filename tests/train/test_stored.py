"""What a process reads of stored tensors: its part, and never the whole model."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

from curate.train.models.backbone import Backbone
from curate.train.models.family import Source
from curate.train.models.trunk import build_trunk
from curate.train.objectives.reference import Reference
from curate.train.parallel.shard import shard_model
from curate.train.parallel.world import joined
from curate.train.settings.config import TrainConfig
from curate.train.weights.origin import fill_first, find_model
from curate.train.weights.stored import StoredTensor, place_stored, stored_tensors
from tests.train.forked import call_each

MATRIX = torch.arange(24, dtype=torch.float32).view(6, 4)


@pytest.mark.parametrize(
    ("stored", "source", "part", "wanted"),
    [
        (MATRIX, Source("w"), (slice(1, 3), slice(0, 4)), MATRIX[1:3]),
        (MATRIX, Source("w", part=1, parts=2), (slice(1, 3), slice(0, 4)), MATRIX[4:6]),
        (MATRIX.T, Source("w", transposed=True), (slice(1, 3), slice(1, 4)), MATRIX[1:3, 1:4]),
        (MATRIX.T, Source("w", True, 2, 3), (slice(0, 2), slice(0, 4)), MATRIX[4:6]),
        (MATRIX[0], Source("w"), (slice(2, 4),), MATRIX[0, 2:4]),
        (torch.tensor(7.0), Source("w"), (), torch.tensor(7.0)),
    ],
)
def test_a_part_is_what_it_is_of_the_whole(tmp_path, stored, source, part, wanted):
    save_file({"w": stored.contiguous()}, tmp_path / "one.safetensors")
    places = {"ours": (tmp_path / "one.safetensors", source)}
    ((name, found),) = ((name, stored.read(part)) for name, stored in stored_tensors(places))
    assert name == "ours"
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("placements", [(Shard(0),), (Shard(1),), (Replicate(),)])
def test_a_shard_is_filled_with_its_part_in_its_own_numbers(placements):
    asked = []

    def read(part):
        asked.append(part)
        return MATRIX.bfloat16()[part]

    with joined(0, 1, device="cpu"):
        mesh = init_device_mesh("cpu", (1,))
        parameter = distribute_tensor(torch.zeros(6, 4), mesh, placements)
        place_stored(parameter, StoredTensor((6, 4), read))
        assert torch.equal(parameter.full_tensor(), MATRIX)
    assert asked == [(slice(0, 6), slice(0, 4))]


# ---- two processes


def model_folder(folder, family):
    """A model of 12 million parameters, 24 MB in bfloat16."""
    import transformers

    sizes = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 10, "num_attention_heads": 4}
    given = {**sizes, "num_key_value_heads": 4, "vocab_size": 4000, "max_position_embeddings": 64}
    torch.manual_seed(0)
    if family == "qwen2":
        model: nn.Module = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**given, tie_word_embeddings=True))
    else:
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**given, tie_word_embeddings=True))
    model.bfloat16().save_pretrained(folder)
    return folder


def held_at_most(compute):
    """Bytes that PyTorch's allocator held at most while `compute` ran, above what was there before."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        compute()
    held = most = 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


def load_a_half(rank, kind, folder):
    """Fill one of two processes' half of a model; writes what it took."""
    given = {"dataset": "tiny", "run": "r", "processes": 2, "batch": {"document_mask": False}}
    config = TrainConfig.model_validate({**given, "model": {"kind": kind, "path": str(folder / "model")}})
    origin = find_model(str(folder / "model"), foreign=kind == "pretrained")
    with joined(rank, 2, device="cpu", meeting=folder / "meeting") as world:
        with torch.device("meta"):
            if kind == "pretrained":
                trunk = Backbone(origin.path, length=64)
            else:
                trunk = build_trunk(origin.sizes, vocabulary=origin.vocabulary, length=64)
        objective = Reference(trunk)
        shard_model(objective, world, config)
        most = held_at_most(lambda: fill_first(objective, origin, seed=1, world=world))
        total = sum(p.to_local().double().sum() for p in objective.parameters())
        own = sum(p.to_local().numel() * 4 for p in objective.parameters())
    torch.save({"most": most, "own": own, "total": total}, folder / f"{rank}.pt")


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "family"), [("decoder", "llama"), ("pretrained", "qwen2")])
def test_two_processes_hold_their_halves_of_a_model_that_is_there_and_nothing_else(tmp_path, kind, family):
    model_folder(tmp_path / "model", family)
    call_each(load_a_half, [(rank, kind, tmp_path) for rank in (0, 1)])
    halves = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    stored = load_file(tmp_path / "model" / "model.safetensors")
    wanted = sum(float(value.double().sum()) for value in stored.values())
    assert float(halves[0]["total"] + halves[1]["total"]) == pytest.approx(wanted, abs=1e-6)
    mapped = (tmp_path / "model" / "model.safetensors").stat().st_size  # counted, though its pages are the file's
    for half in halves:
        assert half["most"] < half["own"] + mapped + (1 << 20)
