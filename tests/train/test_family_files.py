"""A config.json as its makers wrote it, older forms, and what of one is not computed here."""

from __future__ import annotations

import pytest

from curate.errors import CurateError
from curate.train.models.family import refuse_unknown
from curate.train.models.trunk import families, families_of
from curate.train.settings.architecture import Architecture, RopeScaling
from curate.train.weights.pretrained import _check_sizes

SIZES = {
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 4,
    "intermediate_size": 96,
    "vocab_size": 100,
}
GQA = {**SIZES, "num_key_value_heads": 2, "attention_dropout": 0.0, "torch_dtype": "bfloat16", "use_cache": True}
LLAMA3 = {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192}
OLMO_YARN = {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 8192, "attention_factor": 1.2}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
MADE = {
    "llama-3.2": (
        {**GQA, "model_type": "llama", "head_dim": 16, "mlp_bias": False, "rope_theta": 5e5, "tie_word_embeddings": True,
         "rope_scaling": {**LLAMA3, "rope_type": "llama3"}, "eos_token_id": [1, 2]},
        {"rope_scaling": RopeScaling(kind="llama3", factor=32.0, original_length=8192, slow=1.0, fast=4.0)},
    ),
    "smollm2": (
        {**GQA, "model_type": "llama", "is_llama_config": True, "rope_interleaved": False, "rope_scaling": None,
         "transformers.js_config": {"dtype": "q4"}, "rope_theta": 1e5, "pretraining_tp": 1},
        {"rope_theta": 1e5, "family": None},
    ),
    "qwen2.5": (
        {**GQA, "model_type": "qwen2", "max_window_layers": 2, "sliding_window": 32768, "use_sliding_window": False,
         "use_mrope": False, "rope_theta": 1e6},
        {"projection_bias": True, "windowed": (), "window": None, "head_width": 16},
    ),
    "qwen3": (
        {**GQA, "model_type": "qwen3", "attention_bias": False, "head_dim": 32, "max_window_layers": 4,
         "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}},
        {"head_width": 32, "query_key_norm": "head"},
    ),
    "mistral-0.1": (
        {**GQA, "model_type": "mistral", "sliding_window": 4096},
        {"window": 4096, "windowed": (0, 1, 2, 3)},
    ),
    "mistral-0.3": ({**GQA, "model_type": "mistral", "sliding_window": None}, {"window": None, "family": "mistral"}),
    "smollm3": (
        {**GQA, "model_type": "smollm3", "no_rope_layers": [1, 1, 1, 0], "no_rope_layer_interval": 4,
         "use_sliding_window": False, "sliding_window": None, "layer_types": ["full_attention"] * 4,
         "max_window_layers": 28, "pretraining_tp": 2, "mlp_bias": False, "rope_theta": 5e6},
        {"unrotated": (3,), "tied": True},
    ),
    "olmo-2": ({**GQA, "model_type": "olmo2", "rms_norm_eps": 1e-6, "rope_theta": 5e5}, {"norm_inputs": False}),
    "olmo-3": (
        {**GQA, "model_type": "olmo3", "rope_theta": 5e5, "rope_scaling": OLMO_YARN, "sliding_window": 4096,
         "layer_types": [*["sliding_attention"] * 3, "full_attention"]},
        {"windowed": (0, 1, 2), "window_theta": 5e5},
    ),
    "gemma-2": (
        {**GQA, "model_type": "gemma2", "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh",
         "head_dim": 16, "query_pre_attn_scalar": 144, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
         "sliding_window": 4096, "cache_implementation": "hybrid"},
        {"windowed": (0, 2), "query_scalar": 144, "attention_cap": 50.0, "logit_cap": 30.0, "tied": True},
    ),
    "gemma-3": (
        {**GQA, "model_type": "gemma3_text", "hidden_activation": "gelu_pytorch_tanh", "head_dim": 16,
         "query_pre_attn_scalar": 16, "attn_logit_softcapping": None, "final_logit_softcapping": None,
         "rope_local_base_freq": 10000, "rope_theta": 1000000, "rope_scaling": None, "sliding_window": 512,
         "sliding_window_pattern": 2},
        {"windowed": (0, 2), "window_theta": 1e4, "rope_theta": 1e6, "query_scalar": None},
    ),
    "olmoe": (
        {**GQA, "model_type": "olmoe", "clip_qkv": None, "norm_topk_prob": False, "num_experts": 64,
         "num_experts_per_tok": 8, "output_router_logits": False, "router_aux_loss_coef": 0.01},
        {"experts": 64, "active_experts": 8, "balance": 0.01},
    ),
    "qwen3-moe": (
        {**GQA, "model_type": "qwen3_moe", "decoder_sparse_step": 1, "mlp_only_layers": [], "head_dim": 32,
         "moe_intermediate_size": 24, "norm_topk_prob": True, "num_experts": 128, "num_experts_per_tok": 8,
         "output_router_logits": False, "router_aux_loss_coef": 0.001, "max_window_layers": 48},
        {"experts": 128, "experts_normed": True, "feed_forward": 24},
    ),
}  # fmt: skip


def read(config):
    family = next(one for one in families() if one.model_type == config["model_type"])
    refuse_unknown(family, config, "config.json")
    sizes = family.architecture(config)
    _check_sizes(sizes, 100, 64)
    return sizes


@pytest.mark.parametrize("name", MADE)
def test_a_file_of_its_makers_is_read_and_belongs_to_its_family(name):
    config, wanted = MADE[name]
    sizes = read(config)
    assert {field: getattr(sizes, field) for field in wanted} == wanted
    assert families_of(sizes)[0].model_type == config["model_type"]


@pytest.mark.parametrize(
    ("name", "changed", "named"),
    [
        ("llama-3.2", {"rope_scaling": {"rope_type": "longrope", "factor": 2.0}}, "longrope"),
        ("llama-3.2", {"rope_scaling": {**LLAMA3, "rope_type": "llama3", "turn": 3}}, "'turn': 3"),
        ("qwen2.5", {"attention_bias": True}, "`attention_bias: True`"),
        ("qwen2.5", {"use_mrope": True}, "`use_mrope: True`"),
        ("qwen3", {"layer_types": ["sliding_attention"] * 4}, "no size of them"),
        ("mistral-0.1", {"layer_types": ["full_attention"] * 4}, "`layer_types:"),
        ("smollm3", {"no_rope_layers": [1, 0]}, "has 2 of 4 layers"),
        ("olmo-3", {"layer_types": ["chunked_attention"] * 4}, "chunked_attention"),
        ("olmo-3", {"rope_scaling": {**OLMO_YARN, "truncate": False}}, "'truncate': False"),
        ("olmo-3", {"layer_types": ["full_attention"]}, "`layer_types: ['full_attention']`"),
        ("gemma-2", {"hidden_activation": "gelu"}, "`hidden_activation: gelu`"),
        ("gemma-3", {"use_bidirectional_attention": True}, "`use_bidirectional_attention: True`"),
        ("gemma-3", {"rope_parameters": {"sliding_attention": {"rope_type": "linear", "factor": 2.0}}}, "with windows"),
        ("gemma-3", {"attn_logit_softcapping": 50.0}, "`attn_logit_softcapping: 50.0`"),
        ("gemma-3", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}, "for some layers or none"),
        ("gemma-3", {"rope_scaling": {"full_attention": {"factor": 8.0}}}, "`rope_scaling: {'full_attention'"),
        ("olmo-3", {"rope_scaling": None, "rope_parameters": OLMO_YARN}, "`rope_parameters: {'rope_type': 'yarn'"),
        ("olmo-3", {"rope_theta": 1e4}, "`rope_theta: 10000.0`"),
        ("olmo-3", {"rope_parameters": {"full_attention": {"rope_theta": 5e5}}}, "say different things"),
        ("qwen3", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}, "say different things"),
        ("qwen3", {"rope_parameters": {**YARN, "rope_theta": 1e6}}, "say different things"),
        ("olmoe", {"clip_qkv": 8.0}, "`clip_qkv: 8.0`"),
        ("qwen3-moe", {"mlp_only_layers": [1]}, "`mlp_only_layers: [1]`"),
        ("qwen3-moe", {"decoder_sparse_step": 2}, "`decoder_sparse_step: 2`"),
    ],
)
def test_what_is_not_computed_here_is_named(name, changed, named):
    with pytest.raises(CurateError) as caught:
        read({**MADE[name][0], **changed})
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("mistral-0.1", {"sliding_window": -3}),
        ("gemma-2", {"query_pre_attn_scalar": -1}),
        ("olmoe", {"num_experts_per_tok": 65}),
        ("llama-3.2", {"rope_scaling": {**LLAMA3, "rope_type": "llama3", "factor": 0}}),
        ("llama-3.2", {"rope_scaling": {**LLAMA3, "rope_type": "llama3", "high_freq_factor": 1.0}}),
    ],
)
def test_a_value_that_is_no_size_is_none(name, changed):
    with pytest.raises(ValueError, match=r"."):
        read({**MADE[name][0], **changed})


def test_a_file_that_says_its_scaling_twice_and_alike_is_read():
    twice = {**MADE["qwen3"][0], "rope_theta": 1e6, "rope_parameters": {**YARN, "rope_theta": 1e6}}
    assert read(twice) == read({**twice, "rope_scaling": None}) == read({**twice, "rope_parameters": None})


def test_a_file_without_a_rotary_base_has_that_of_its_class():
    plain = {key: value for key, value in MADE["smollm3"][0].items() if key != "rope_theta"}
    assert read(plain).rope_theta == 2e6


def test_sizes_that_an_older_version_stored_are_those_of_today():
    stored = {"layers": 2, "width": 32, "heads": 4, "key_value_heads": 2, "head_width": 8, "feed_forward": 48}
    old = {**stored, "kernels": [3, 4, 5], "kind": "decoder", "norm": "rms"}
    assert Architecture.read(old) == Architecture(**stored)


def test_a_switch_that_no_file_can_say_belongs_to_no_family():
    plain = read(MADE["qwen3"][0])
    for changed in ({"attention_cap": 3.0}, {"unrotated": (1,)}, {"norm_offset": True}, {"windowed": (0,)}):
        assert not families_of(Architecture(**{**_fields(plain), **changed}))


def _fields(sizes):
    from dataclasses import fields

    return {field.name: getattr(sizes, field.name) for field in fields(sizes)}
