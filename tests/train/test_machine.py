from __future__ import annotations

import json
import time
from dataclasses import replace

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
    began = time.perf_counter()
    peak = matmul_peak(CPU, torch.float32, seconds=0.1)
    assert 1e8 < peak < 1e14
    assert time.perf_counter() - began < 5


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
