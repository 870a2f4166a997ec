"""The families of decoders in Hugging Face's files that are built as Llama is, each a table (table.py).

    llama        Llama 1 to 3.3, SmolLM            gemma2       norms on both sides, caps, windows in every other layer
    qwen2        biases of queries, keys, values   gemma3_text  norms of queries and keys, two rotary bases
    qwen3        norms of queries and keys         olmo2        norms after the sublayers
    mistral      a window in all layers            olmo3        and windows in three of four layers
    smollm3      layers without positions          olmoe        experts, and norms of queries and keys
                                                   qwen3_moe    experts

What counts where a file does not say is from the classes of transformers 5; models that people share say nearly all.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from curate.train.models.family import Config, HeadKind, keys_of
from curate.train.models.table import Table, family_of_table, has_positions

__all__ = ["FAMILIES", "LLAMA"]

_WINDOWS = "sliding_window layer_types "


def _classes(name: str, *, tokens: bool = True) -> dict[HeadKind, str]:
    both: dict[HeadKind, str] = {
        "causal": f"{name}ForCausalLM",
        "classification": f"{name}ForSequenceClassification",
    }
    return {**both, "token_classification": f"{name}ForTokenClassification"} if tokens else both


def _late(told: Config, number: int) -> bool:
    return number >= told.get("max_window_layers", 28)


def _all_but_every(key: str, every: int, told: Config, number: int) -> bool:
    return (number + 1) % (told.get(key) or every) != 0


_GEMMA: dict[str, Any] = {
    "norm_outputs": True,
    "norm_offset": True,
    "activation": "geglu",
    "embedding_scale": True,
}
_GEMMA_DEFAULTS: dict[str, Any] = {
    "head_dim": 256,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "tie_word_embeddings": True,
}
_GEMMA_KEYS = _WINDOWS + "head_dim hidden_activation query_pre_attn_scalar final_logit_softcapping "
_EXPERTS = "num_experts num_experts_per_tok norm_topk_prob router_aux_loss_coef "
_OLMO: dict[str, Any] = {"norm_inputs": False, "norm_outputs": True, "query_key_norm": "width"}

_TABLES = (
    Table(model_type="llama", classes=_classes("Llama"), keys=keys_of("head_dim hidden_act mlp_bias")),
    Table(
        model_type="qwen2",
        classes=_classes("Qwen2"),
        switches={"projection_bias": True},
        keys=keys_of(_WINDOWS + "hidden_act use_sliding_window max_window_layers"),
        defaults={"num_key_value_heads": 32, "use_sliding_window": False, "sliding_window": 4096},
        windowed=_late,
        length=32768,
    ),
    Table(
        model_type="qwen3",
        classes=_classes("Qwen3"),
        switches={"query_key_norm": "head"},
        keys=keys_of(_WINDOWS + "head_dim hidden_act use_sliding_window max_window_layers"),
        defaults={"head_dim": 128, "num_key_value_heads": 32, "use_sliding_window": False, "sliding_window": 4096},
        windowed=_late,
        length=32768,
    ),
    Table(
        model_type="mistral",
        classes=_classes("Mistral"),
        keys=keys_of("head_dim hidden_act sliding_window"),
        defaults={"num_key_value_heads": 8, "sliding_window": 4096},
        windowed=lambda told, number: True,
        length=131072,
    ),
    Table(
        model_type="smollm3",
        classes=_classes("SmolLM3"),
        keys=keys_of(_WINDOWS + "hidden_act mlp_bias use_sliding_window no_rope_layers"),
        defaults={"num_key_value_heads": 4, "use_sliding_window": False, "tie_word_embeddings": True},
        windowed=lambda told, number: not has_positions(told, number),
        theta=2e6,
        length=32768,
    ),
    Table(
        model_type="olmo2",
        classes=_classes("Olmo2", tokens=False),
        switches=_OLMO,
        keys=keys_of("hidden_act"),
        defaults={"rms_norm_eps": 1e-5},
    ),
    Table(
        model_type="olmo3",
        classes=_classes("Olmo3", tokens=False),
        switches=_OLMO,
        keys=keys_of(_WINDOWS + "hidden_act"),
        defaults={"rms_norm_eps": 1e-5, "sliding_window": 4096},
        windowed=partial(_all_but_every, "", 4),
        apart=True,
        theta=5e5,
    ),
    Table(
        model_type="gemma2",
        classes=_classes("Gemma2"),
        switches=_GEMMA,
        keys=keys_of(_GEMMA_KEYS + "attn_logit_softcapping"),
        defaults={
            **_GEMMA_DEFAULTS,
            "num_key_value_heads": 4,
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
        },
        windowed=partial(_all_but_every, "", 2),
        length=8192,
    ),
    Table(
        model_type="gemma3_text",
        classes={"causal": "Gemma3ForCausalLM", "classification": "Gemma3TextForSequenceClassification"},
        switches={**_GEMMA, "query_key_norm": "head"},
        keys=keys_of(_GEMMA_KEYS + "rope_local_base_freq"),
        defaults={**_GEMMA_DEFAULTS, "num_key_value_heads": 4, "rope_local_base_freq": 10_000.0},
        windowed=partial(_all_but_every, "sliding_window_pattern", 6),
        apart=True,
        theta=1e6,
        length=131072,
    ),
    Table(
        model_type="olmoe",
        classes={"causal": "OlmoeForCausalLM"},
        switches={"query_key_norm": "width"},
        keys=keys_of(_EXPERTS + "hidden_act"),
        defaults={"rms_norm_eps": 1e-5, "num_experts_per_tok": 8, "router_aux_loss_coef": 0.01},
        length=4096,
    ),
    Table(
        model_type="qwen3_moe",
        classes=_classes("Qwen3Moe"),
        switches={"query_key_norm": "head"},
        keys=keys_of(
            _EXPERTS + "hidden_act head_dim sliding_window use_sliding_window moe_intermediate_size decoder_sparse_step"
        ),
        defaults={
            "num_key_value_heads": 4,
            "use_sliding_window": False,
            "sliding_window": 4096,
            "num_experts_per_tok": 8,
            "router_aux_loss_coef": 0.001,
        },
        windowed=lambda told, number: True,
        length=32768,
    ),
)

FAMILIES = tuple(map(family_of_table, _TABLES))
"""All of them; where several would do for a new model, the first."""
LLAMA = FAMILIES[0]
