from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from curate.train.runs import machine
from curate.train.runs.folder import RunFolder
from curate.train.runs.machine import flops_per_token, matmul_peak, measured_peak, memory_used, utilization
from curate.train.settings.architecture import Architecture

CPU = torch.device("cpu")
SIZES = Architecture(layers=2, width=64, heads=4, key_value_heads=2, head_width=16, feed_forward=128)


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path)


@pytest.mark.slow
def test_flop_of_a_token_are_those_that_torch_counts():
    """Of a Llama of the same shape: matrices and unembedding, and attention over the whole length."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=500,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        attn_implementation="eager",
        use_cache=False,
    )
    model = LlamaForCausalLM(config)
    tokens = torch.zeros(1, 32, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        model(tokens, labels=tokens).loss.backward()
    assert counter.get_total_flops() / 32 == pytest.approx(flops_per_token(SIZES, 500, 32), rel=0.002)


@pytest.mark.parametrize("kind", ["encoder_decoder", "lstm", "cnn", "pretrained"])
def test_kinds_that_the_formula_does_not_tell_have_none(kind):
    assert flops_per_token(replace(SIZES, kind=kind), 500, 32) is None


def test_the_peak_is_that_of_products_that_were_timed():
    assert 1e6 < matmul_peak(CPU, torch.float32, seconds=0.01) < 1e14


@pytest.mark.parametrize("speed", [1e10, 1e11, 1e13])
def test_measuring_a_machine_of_any_speed_keeps_within_its_time(monkeypatch, speed):
    now, sizes = [0.0], []

    def timed(size, device):
        sizes.append(size)
        now[0] += 2 * size**3 / speed
        return 2 * size**3 / speed

    monkeypatch.setattr(machine, "_product", lambda size, device, dtype: size)
    monkeypatch.setattr(machine, "_timed", timed)
    monkeypatch.setattr(machine, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    assert matmul_peak(CPU, torch.float32, seconds=0.1) == pytest.approx(speed)
    assert now[0] <= 0.1
    assert now[0] + 8 * (machine._REPEATS + 1) * 2 * max(sizes) ** 3 / speed > 0.1  # the next size would not fit


def test_measuring_leaves_training_s_random_numbers_as_they_are():
    before = torch.random.get_rng_state()
    matmul_peak(CPU, torch.float32, seconds=0.01)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_peak_is_measured_once_a_run_and_kept_in_its_environment(folder, monkeypatch):
    folder.write("environment.json", {"python": "3"})
    measured = []
    monkeypatch.setattr(machine, "matmul_peak", lambda device, dtype, seconds: measured.append(dtype) or 5.0)
    assert [measured_peak(folder, CPU, torch.float32) for _ in range(2)] == [5.0, 5.0]
    assert measured_peak(folder, CPU, torch.bfloat16) == 5.0
    assert measured == [torch.float32, torch.bfloat16]
    environment = json.loads((folder.path / "environment.json").read_text())
    assert environment["python"] == "3"
    assert len(environment["matmul_peaks"]) == 2


def test_utilization_is_the_share_of_all_devices_together():
    assert utilization(100.0, 5e9, 1e12, 2) == 0.25


def test_memory_grows_with_what_is_held():
    before = memory_used(CPU)
    held = torch.ones(50_000_000, dtype=torch.uint8)
    assert memory_used(CPU) - before > 40_000_000
    del held
