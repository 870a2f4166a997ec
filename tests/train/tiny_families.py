"""A tiny model of each family of decoders, as transformers makes and writes it, with random weights."""

from __future__ import annotations

from functools import cache

import torch

VOCABULARY, LENGTH = 400, 64
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": LENGTH,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
WINDOW = 6
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
    "rope_theta": 5e5,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": 1e4}
WINDOWS = {"use_sliding_window": True, "sliding_window": WINDOW}
GEMMA = {"head_dim": 16, "query_pre_attn_scalar": 24, "sliding_window": WINDOW}
FAMILIES = {
    "llama": ("Llama", {"head_dim": 16, "rope_parameters": LLAMA3}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen2-windows": ("Qwen2", {**WINDOWS, "max_window_layers": 1, "rope_parameters": YARN}),
    "qwen3": ("Qwen3", {"head_dim": 16}),
    "mistral": ("Mistral", {"head_dim": 16, "sliding_window": WINDOW}),
    "smollm3": ("SmolLM3", {**WINDOWS, "no_rope_layer_interval": 2}),
    "olmo2": ("Olmo2", {}),
    "olmo3": ("Olmo3", {"num_hidden_layers": 4, "sliding_window": WINDOW, "rope_scaling": {**YARN}}),
    "gemma2": ("Gemma2", {**GEMMA, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}),
    "gemma3_text": ("Gemma3Text", {**GEMMA, "layer_types": ["sliding_attention", "full_attention"]}),
    "olmoe": ("Olmoe", {"num_experts": 6, "num_experts_per_tok": 2}),
    "qwen3_moe": (
        "Qwen3Moe",
        {
            "head_dim": 16,
            "num_experts": 6,
            "num_experts_per_tok": 2,
            "norm_topk_prob": True,
            "moe_intermediate_size": 24,
        },
    ),
}
"""What all that follows is true of: the beginning of a class's name, and settings beside SIZES."""
ROPES = {
    "linear": ("Llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}),
    "yarn": ("Llama", {"rope_parameters": {**YARN, "truncate": False, "beta_fast": 16, "beta_slow": 2}}),
    "yarn-scales": ("Qwen3", {"head_dim": 16, "rope_parameters": {**YARN, "mscale": 1.0, "mscale_all_dim": 0.5}}),
    "gemma3-linear": (
        "Gemma3Text",
        {**GEMMA, "num_hidden_layers": 6, "rope_scaling": {"rope_type": "linear", "factor": 8.0}},
    ),
    "mistral-without-window": ("Mistral", {"sliding_window": None}),
    "smollm3-without-window": ("SmolLM3", {"num_hidden_layers": 4}),
    "olmoe-one-layer": ("Olmoe", {"num_hidden_layers": 1, "num_experts": 6, "num_experts_per_tok": 2}),
    "gemma2-without-windows": ("Gemma2", {**GEMMA, "layer_types": ["full_attention"] * 2}),
    "gemma3-without-windows": (
        "Gemma3Text",
        {**GEMMA, "layer_types": ["full_attention"] * 2, "final_logit_softcapping": 3.0},
    ),
    "olmo3-without-windows": ("Olmo3", {"layer_types": ["full_attention"] * 2}),
    "gemma3-capped": ("Gemma3Text", {**GEMMA, "final_logit_softcapping": 3.0}),
}
"""More of what a config.json may ask for."""


@cache
def theirs(name):
    """The model of transformers; its weights are larger than a new model's, so that what is wrong is seen."""
    import transformers

    start, settings = {**FAMILIES, **ROPES}[name]
    config = getattr(transformers, f"{start}Config")(**{**SIZES, **settings})
    model = transformers.AutoModelForCausalLM.from_config(config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    return model.eval()
