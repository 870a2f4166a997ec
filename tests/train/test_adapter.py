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
WEIGHTS = {"model.blocks.0.attention.query.weight": torch.arange(256.0).view(16, 16)}


@pytest.fixture
def adapter(tmp_path):
    write_adapter(tmp_path / "adapter", LLAMA, ADAPTER, LORA, head="causal")
    return tmp_path / "adapter"


def test_what_is_written_is_read_again(adapter):
    settings, tensors = read_adapter(adapter, LLAMA, head="causal", weight=WEIGHTS.__getitem__)
    assert settings == LORA
    assert {name: value.tolist() for name, value in tensors.items()} == {
        name: value.tolist() for name, value in ADAPTER.items()
    }


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ({"use_qalora": True}, "`use_qalora: True` of this adapter is not computed here"),
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
        read_adapter(adapter, LLAMA, head="causal", weight=WEIGHTS.__getitem__)
    assert found.value.problem == problem


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"peft_type": "LORA"}'])
def test_a_config_that_is_none_is_refused(adapter, text):
    (adapter / "adapter_config.json").write_text(text)
    with pytest.raises(CurateError):
        read_adapter(adapter, LLAMA, head="causal", weight=WEIGHTS.__getitem__)


def test_a_pickled_adapter_is_refused(adapter):
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(CurateError, match="pickled"):
        read_adapter(adapter, LLAMA, head="causal", weight=WEIGHTS.__getitem__)


def test_an_adapter_that_is_cut_short_is_refused(adapter):
    path = adapter / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CurateError, match="cannot be read"):
        read_adapter(adapter, LLAMA, head="causal", weight=WEIGHTS.__getitem__)


def test_an_adapter_of_another_model_is_refused_with_the_layers(adapter):
    path = adapter / "adapter_model.safetensors"
    name = "base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight"
    save_file({**load_file(path), name: torch.zeros(3, 16)}, path)
    with pytest.raises(CurateError, match=r"has other layers than the model: model\.layers\.7\.self_attn\.q_proj"):
        read_adapter(adapter, LLAMA, head="causal", weight=WEIGHTS.__getitem__)


def test_matrices_that_do_not_fit_each_other_are_refused(adapter):
    path = adapter / "adapter_model.safetensors"
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"
    save_file({**load_file(path), name: torch.zeros(16, 2)}, path)
    with pytest.raises(CurateError, match=r"other layers than the model: model\.layers\.0\.self_attn\.q_proj"):
        read_adapter(adapter, LLAMA, head="causal", weight=WEIGHTS.__getitem__)


def test_an_adapter_of_a_model_of_another_size_is_refused_with_both(adapter):
    wider = ModelSettings(layers=1, width=32, heads=2, key_value_heads=2, feed_forward=24).architecture
    with pytest.raises(CurateError) as found:
        read_adapter(adapter, wider, head="causal", weight=WEIGHTS.__getitem__)
    assert found.value.problem == (
        "the adapter of `model.layers.0.self_attn.q_proj` is for 16 x 16 weights, and the model has 32 x 32"
    )
    assert found.value.hint == "it belongs to another model"


def test_lengths_are_written_whole_and_read_as_changes(tmp_path):
    settings = LORA.model_copy(update={"dora": True, "scaling": "rank_stabilized"})
    change = torch.linspace(0, 1, 16)
    tensors = {**ADAPTER, **WEIGHTS, "model.blocks.0.attention.query.lora_magnitude": change}
    write_adapter(tmp_path / "adapter", LLAMA, tensors, settings, head="causal")
    stored = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    lengths = stored["base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector"]
    torch.testing.assert_close(lengths, WEIGHTS["model.blocks.0.attention.query.weight"].norm(dim=1) + change)
    found, read = read_adapter(tmp_path / "adapter", LLAMA, head="causal", weight=tensors.__getitem__)
    assert found == settings
    torch.testing.assert_close(read["model.blocks.0.attention.query.lora_magnitude"], change, rtol=0, atol=1e-4)


def test_an_adapter_that_lacks_its_lengths_is_refused(adapter):
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "use_dora": True}))
    with pytest.raises(CurateError, match=r"other layers than the model: model\.layers\.0\.self_attn\.q_proj"):
        read_adapter(adapter, LLAMA, head="causal", weight=WEIGHTS.__getitem__)


def test_the_head_of_a_masked_model_is_no_part_of_an_adapter(tmp_path):
    bert = ModelSettings(kind="encoder", layers=1, width=16, heads=2, feed_forward=24).architecture
    with pytest.raises(CurateError, match="trained parts that PEFT's files cannot hold: a head for masked tokens"):
        write_adapter(tmp_path / "adapter", bert, ADAPTER, LORA, head="masked")
    assert not (tmp_path / "adapter").exists()


def test_heads_of_several_tokens_are_no_part_of_an_adapter(tmp_path):
    tensors = {**ADAPTER, "heads.0.attention.query.weight": torch.zeros(16, 16)}
    with pytest.raises(CurateError, match=r"cannot hold: heads\.0\.attention\.query\.weight"):
        write_adapter(tmp_path / "adapter", LLAMA, tensors, LORA, head="causal")
