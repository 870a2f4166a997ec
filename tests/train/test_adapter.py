"""PEFT's files that cannot be read, and adapters that they cannot hold."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from curate.errors import CurateError
from curate.train.settings.architecture import ModelSettings
from curate.train.settings.methods import LoraSettings
from curate.train.weights.adapter import read_adapter, write_adapter

LLAMA = ModelSettings(layers=1, width=16, heads=2, key_value_heads=2, feed_forward=24).architecture
LORA = LoraSettings(rank=3, alpha=12.0, targets=("query",))
ADAPTER = {
    "model.blocks.0.attention.query.lora_down": torch.ones(3, 16),
    "model.blocks.0.attention.query.lora_up": torch.ones(16, 3),
}


@pytest.fixture
def adapter(tmp_path):
    write_adapter(tmp_path / "adapter", LLAMA, ADAPTER, LORA, head="causal")
    return tmp_path / "adapter"


def test_what_is_written_is_read_again(adapter):
    settings, tensors = read_adapter(adapter, LLAMA, head="causal")
    assert settings == LORA
    assert {name: value.tolist() for name, value in tensors.items()} == {
        name: value.tolist() for name, value in ADAPTER.items()
    }


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ({"use_dora": True}, "`use_dora: True` of this adapter is not computed here"),
        ({"bias": "all"}, "`bias: all` of this adapter is not computed here"),
        (
            {"init_lora_weights": "pissa_niter_4"},
            "`init_lora_weights: pissa_niter_4` of this adapter is not computed here",
        ),
        ({"alpha_pattern": {"(a+)+b": 1}}, "`alpha_pattern: {'(a+)+b': 1}` of this adapter is not computed here"),
        ({"alpha_pattern": ["query"]}, "`alpha_pattern: ['query']` of this adapter is not computed here"),
        ({"lora_alpha": "much"}, "`lora_alpha: much` of this adapter is not computed here"),
        ({"lora_dropout": 1.5}, "`lora_dropout: 1.5` of this adapter is not computed here"),
        ({"peft_type": "LOHA"}, "adapters of the type `LOHA` are not computed here"),
    ],
)
def test_an_adapter_that_is_computed_in_another_way_is_refused(adapter, setting, problem):
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **setting}))
    with pytest.raises(CurateError) as found:
        read_adapter(adapter, LLAMA, head="causal")
    assert found.value.problem == problem


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"peft_type": "LORA"}'])
def test_a_config_that_is_none_is_refused(adapter, text):
    (adapter / "adapter_config.json").write_text(text)
    with pytest.raises(CurateError):
        read_adapter(adapter, LLAMA, head="causal")


def test_a_pickled_adapter_is_refused(adapter):
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(CurateError, match="pickled"):
        read_adapter(adapter, LLAMA, head="causal")


def test_an_adapter_that_is_cut_short_is_refused(adapter):
    path = adapter / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CurateError, match="cannot be read"):
        read_adapter(adapter, LLAMA, head="causal")


def test_an_adapter_of_another_model_is_refused_with_the_layers(adapter):
    path = adapter / "adapter_model.safetensors"
    name = "base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight"
    save_file({**load_file(path), name: torch.zeros(3, 16)}, path)
    with pytest.raises(CurateError, match=r"has other layers than the model: model\.layers\.7\.self_attn\.q_proj"):
        read_adapter(adapter, LLAMA, head="causal")


def test_matrices_that_do_not_fit_each_other_are_refused(adapter):
    path = adapter / "adapter_model.safetensors"
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"
    save_file({**load_file(path), name: torch.zeros(16, 2)}, path)
    with pytest.raises(CurateError, match=r"other layers than the model: model\.layers\.0\.self_attn\.q_proj"):
        read_adapter(adapter, LLAMA, head="causal")


def test_the_head_of_a_masked_model_is_no_part_of_an_adapter(tmp_path):
    bert = ModelSettings(kind="encoder", layers=1, width=16, heads=2, feed_forward=24).architecture
    with pytest.raises(CurateError, match="trained parts that PEFT's files cannot hold: a head for masked tokens"):
        write_adapter(tmp_path / "adapter", bert, ADAPTER, LORA, head="masked")
    assert not (tmp_path / "adapter").exists()


def test_heads_of_several_tokens_are_no_part_of_an_adapter(tmp_path):
    tensors = {**ADAPTER, "heads.0.attention.query.weight": torch.zeros(16, 16)}
    with pytest.raises(CurateError, match=r"cannot hold: heads\.0\.attention\.query\.weight"):
        write_adapter(tmp_path / "adapter", LLAMA, tensors, LORA, head="causal")
