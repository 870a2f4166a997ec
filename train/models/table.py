"""A family of decoders that are built as Llama is, as a table of names and values, and its config.json from it and to it.

A table says which switches of `Architecture` the family has always, which further keys its config.json may have, and what
counts where the file does not say (the defaults of its class in transformers). Reading and writing are the same for all.
A family accepts sizes if what it writes of them is read as the same sizes again. The tables: families.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from curate.errors import CurateError
from curate.train.models.family import Config, Family, HeadKind, Source, keys_of
from curate.train.settings.architecture import Architecture, RopeScaling

__all__ = ["Table", "family_of_table", "has_positions"]

_KEYS = keys_of(
    """
    hidden_size num_attention_heads num_key_value_heads num_hidden_layers intermediate_size rms_norm_eps
    tie_word_embeddings rope_theta rope_parameters rope_scaling
    """
)
"""What every one of them has."""
_INERT = keys_of(
    """
    attention_dropout rope_interleaved is_llama_config transformers.js_config max_window_layers no_rope_layer_interval
    sliding_window_pattern _sliding_window_pattern output_router_logits num_local_experts
    """
)
_FULL, _SLIDING = "full_attention", "sliding_attention"
_BY_KINDS = keys_of("layer_types use_sliding_window")
_YARN = keys_of(
    "attention_factor beta_fast beta_slow factor mscale mscale_all_dim original_max_position_embeddings truncate"
)
_SCALINGS = {
    "linear": keys_of("factor"),
    "llama3": keys_of("factor low_freq_factor high_freq_factor original_max_position_embeddings"),
    "yarn": _YARN,
}
"""What may stand beside each kind of scaling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A family.

    Attributes:
        model_type: Of the config.json.
        classes: Those of transformers, by head.
        switches: Of `Architecture`, the same in all of its models.
        keys: Of the config.json, beside those that all have.
        defaults: Values of keys that are not there.
        windowed: A layer, by number, has a window where `layer_types` does not say; None: the family has no windows.
        apart: Layers with a window have a rotary base of their own, which is not scaled.
        theta: Rotary base where the file does not say.
        length: Most positions where the file does not say.
    """

    model_type: str
    classes: Mapping[HeadKind, str]
    switches: Mapping[str, Any] = field(default_factory=dict)
    keys: frozenset[str] = frozenset()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    windowed: Callable[[Config, int], bool] | None = None
    apart: bool = False
    theta: float = 10_000.0
    length: int = 2048


# ---- from a config.json


def _architecture(table: Table, config: Config) -> Architecture:
    width, heads, layers = config["hidden_size"], config["num_attention_heads"], config["num_hidden_layers"]
    told: Config = {**table.defaults, **config}
    head_width = told.get("head_dim") or width // heads
    window, windowed = _window(table, told, layers)
    scalar = told.get("query_pre_attn_scalar") if "query_pre_attn_scalar" in table.keys else None
    return Architecture(
        layers=layers,
        width=width,
        heads=heads,
        key_value_heads=told.get("num_key_value_heads") or heads,
        head_width=head_width,
        feed_forward=config["moe_intermediate_size" if "moe_intermediate_size" in table.keys else "intermediate_size"],
        norm_epsilon=told.get("rms_norm_eps", 1e-6),
        tied=told.get("tie_word_embeddings", False),
        family=None if table.model_type == "llama" else table.model_type,
        unrotated=_unrotated(table, told, layers),
        window=window,
        windowed=windowed,
        query_scalar=None if scalar == head_width else scalar,
        **_experts(table, told),
        attention_cap=told.get("attn_logit_softcapping"),
        logit_cap=told.get("final_logit_softcapping"),
        **_rope(table, told),
        **table.switches,
    )


def _window(table: Table, told: Config, layers: int) -> tuple[int | None, tuple[int, ...]]:
    """Tokens that layers with a window see, and which layers those are."""
    window = told.get("sliding_window")
    if table.windowed is None or not window or not told.get("use_sliding_window", True):
        if _SLIDING in (told.get("layer_types") or ()):
            raise CurateError(
                f"`layer_types` of this {table.model_type} model has windows, and the file no size of them"
            )
        return None, ()
    kinds = told.get("layer_types") or [_SLIDING if table.windowed(told, number) else _FULL for number in range(layers)]
    if len(kinds) != layers or set(kinds) - {_FULL, _SLIDING}:
        raise CurateError(f"`layer_types: {kinds}` of this {table.model_type} model is not computed here")
    windowed = tuple(number for number, kind in enumerate(kinds) if kind == _SLIDING)
    return (window, windowed) if windowed else (None, ())


def _experts(table: Table, told: Config) -> dict[str, Any]:
    if "num_experts" not in table.keys:
        return {}
    count = told["num_experts" if "num_experts" in told or "num_local_experts" not in told else "num_local_experts"]
    if not count:
        raise CurateError(f"a {table.model_type} model without experts is not computed here")
    return {
        "experts": count,
        "active_experts": told["num_experts_per_tok"],
        "experts_normed": bool(told.get("norm_topk_prob")),
        "balance": float(told["router_aux_loss_coef"]),
    }


def _unrotated(table: Table, told: Config, layers: int) -> tuple[int, ...]:
    if "no_rope_layers" not in table.keys:
        return ()
    rotated = told.get("no_rope_layers") or [has_positions(told, number) for number in range(layers)]
    if len(rotated) != layers:
        raise CurateError(f"`no_rope_layers` of this {table.model_type} model has {len(rotated)} of {layers} layers")
    return tuple(number for number, has in enumerate(rotated) if not has)


def has_positions(told: Config, number: int) -> bool:
    """Their key `no_rope_layers` is true where a layer has positions."""
    listed = told.get("no_rope_layers")
    return bool(listed[number]) if listed else (number + 1) % told.get("no_rope_layer_interval", 4) != 0


def _rope(table: Table, told: Config) -> dict[str, Any]:
    """Base and scaling of the rotary frequencies; those of layers with a window apart where the family has them apart.

    Of a file that says them twice, transformers takes `rope_scaling`: it must say the same.
    """
    given, scaling = told.get("rope_parameters") or {}, told.get("rope_scaling") or {}
    if (table.apart and given and not {_FULL, _SLIDING} & set(given)) or {_FULL, _SLIDING} & set(scaling):
        raise _unread(table, "rope_parameters" if given else "rope_scaling", given or scaling)
    theta = told.get("rope_theta", table.theta)
    whole = (given.get(_FULL) or {}) if table.apart else given
    found = _scaling(table, told, {**whole, **scaling} if table.apart else scaling or whole, theta)
    if given and found != _scaling(table, told, whole, theta):
        raise CurateError(
            f"`rope_parameters: {dict(given)}` and `rope_scaling: {dict(scaling)}` of this {table.model_type} model say"
            " different things",
            hint="write into `rope_parameters` what it should be, with its `rope_theta`, and leave out `rope_scaling`",
        )
    return {**found, **_near_rope(table, told, given.get(_SLIDING) or {}, theta)} if table.apart else found


def _near_rope(table: Table, told: Config, given: Config, theta: float) -> dict[str, Any]:
    """The base of layers with a window."""
    if "rope_local_base_freq" not in table.keys and "rope_theta" not in given and theta != table.theta:
        raise _unread(table, "rope_theta", theta)  # transformers gives them its default
    near = _scaling(table, told, given, told.get("rope_local_base_freq") or theta)
    if "rope_scaling" in near:
        raise CurateError(f"scaled frequencies of {table.model_type}'s layers with windows are not computed here")
    return {"window_theta": near["rope_theta"]}


def _unread(table: Table, key: str, value: object) -> CurateError:
    return CurateError(
        f"`{key}: {value}` of this {table.model_type} model is read by transformers for some layers or none",
        hint=f"say it in `rope_parameters` for `{_FULL}` and `{_SLIDING}`, each with its `rope_theta`",
    )


def _scaling(table: Table, told: Config, given: Config, theta: float) -> dict[str, Any]:
    kind: Any = given.get("rope_type", given.get("type", "default"))
    beside = {name: value for name, value in given.items() if name not in ("rope_type", "type", "rope_theta")}
    base = {"rope_theta": float(given.get("rope_theta", theta))}
    if kind == "default" and not beside:
        return base
    needed = {"factor", "low_freq_factor", "high_freq_factor"} if kind == "llama3" else {"factor"}
    odd = table.apart and not given.get("truncate", True)  # transformers does not look at it in these families
    if odd or set(beside) - _SCALINGS.get(kind, frozenset()) or needed - set(beside):
        raise CurateError(f"`rope_parameters: {dict(given)}` of this {table.model_type} model is not computed here")
    if kind == "linear" and given["factor"] > 0:
        return {**base, "rope_scaling": RopeScaling(kind="linear", factor=float(given["factor"]))}
    original = given.get("original_max_position_embeddings") or told.get("max_position_embeddings", table.length)
    slow, fast = (
        (given["low_freq_factor"], given["high_freq_factor"])
        if kind == "llama3"
        else (given.get("beta_slow") or 1, given.get("beta_fast") or 32)
    )
    if not (given["factor"] > 0 and 0 < slow < fast and original > 0):
        raise ValueError(f"rope_parameters {dict(given)}")
    scaling = RopeScaling(
        kind="llama3" if kind == "llama3" else "yarn",
        factor=float(given["factor"]),
        original_length=int(original),
        slow=float(slow),
        fast=float(fast),
        whole=bool(given.get("truncate", True)),
        attention_factor=_attention_factor(given) if kind == "yarn" else 1.0,
    )
    return {**base, "rope_scaling": scaling}


def _attention_factor(given: Config) -> float:
    """As given, or 0.1 log(factor) + 1 (Peng et al. 2023), or such a quotient (DeepSeek-AI 2024)."""
    factor, one, other = given["factor"], given.get("mscale"), given.get("mscale_all_dim")

    def grown(scale: float) -> float:
        return 0.1 * scale * math.log(factor) + 1 if factor > 1 else 1.0

    if given.get("attention_factor") is not None:
        return float(given["attention_factor"])
    return grown(one) / grown(other) if one and other else grown(1.0)


# ---- to a config.json


def _config(table: Table, sizes: Architecture, vocabulary: int, length: int) -> dict[str, Any]:
    kinds = [_SLIDING if number in sizes.windowed else _FULL for number in range(sizes.layers)]
    # where `layer_types` alone says that there are none, transformers wants a size of windows all the same
    window = table.defaults["sliding_window"] if table.keys & _BY_KINDS == frozenset({"layer_types"}) else None
    values = {
        "head_dim": sizes.head_width,
        "hidden_act": "silu",
        "hidden_activation": "gelu_pytorch_tanh",
        "mlp_bias": False,
        "sliding_window": sizes.window or window,
        "use_sliding_window": sizes.window is not None,
        "layer_types": kinds,
        "max_window_layers": min(sizes.windowed, default=sizes.layers),
        "no_rope_layers": [int(number not in sizes.unrotated) for number in range(sizes.layers)],
        "query_pre_attn_scalar": sizes.query_scalar or sizes.head_width,
        "attn_logit_softcapping": sizes.attention_cap,
        "final_logit_softcapping": sizes.logit_cap,
        "rope_local_base_freq": sizes.window_theta,
        "num_experts": sizes.experts,
        "num_experts_per_tok": sizes.active_experts,
        "norm_topk_prob": sizes.experts_normed,
        "router_aux_loss_coef": sizes.balance,
        "moe_intermediate_size": sizes.feed_forward,
        "decoder_sparse_step": 1,
    }
    return {
        "vocab_size": vocabulary,
        "max_position_embeddings": length,
        "hidden_size": sizes.width,
        "intermediate_size": sizes.feed_forward,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.key_value_heads,
        "rms_norm_eps": sizes.norm_epsilon,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "tie_word_embeddings": sizes.tied,
        **_rope_config(table, sizes),
        **{key: value for key, value in values.items() if key in table.keys},
    }


def _rope_config(table: Table, sizes: Architecture) -> dict[str, Any]:
    """Transformers 5 reads `rope_parameters`, 4 the others."""
    scaling = sizes.rope_scaling
    told = {"rope_type": "default"} if scaling is None else _scaling_config(scaling)
    whole: dict[str, Any] = {**told, "rope_theta": sizes.rope_theta}
    if table.apart:
        near = {"rope_type": "default", "rope_theta": sizes.window_theta}
        whole = {_FULL: whole, _SLIDING: near}
    older = {} if scaling is None else {"rope_scaling": told}
    return {"rope_parameters": whole, "rope_theta": sizes.rope_theta, **older}


def _scaling_config(scaling: RopeScaling) -> dict[str, Any]:
    told: dict[str, Any] = {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling.kind == "linear":
        return told
    told["original_max_position_embeddings"] = scaling.original_length
    if scaling.kind == "llama3":
        return {**told, "low_freq_factor": scaling.slow, "high_freq_factor": scaling.fast}
    bounds = {"beta_slow": scaling.slow, "beta_fast": scaling.fast}
    return {**told, **bounds, "truncate": scaling.whole, "attention_factor": scaling.attention_factor}


def _accepts(table: Table, sizes: Architecture) -> bool:
    # transformers itself refuses a width that the heads do not divide, whatever their own width
    if sizes.kind != "decoder" or sizes.width % sizes.heads or table.apart != (sizes.window_theta is not None):
        return False
    try:
        again = _architecture(table, _config(table, sizes, 1, 1))
    except CurateError:
        return False
    return again == replace(sizes, family=again.family, dropout=0.0)


# ---- names of tensors


def _names(sizes: Architecture) -> dict[str, Source]:
    norms = {
        "attention_output_norm": "post_attention_layernorm",
        "feed_forward_output_norm": "post_feedforward_layernorm",
    }
    if not sizes.norm_outputs:
        norms = {"attention_norm": "input_layernorm", "feed_forward_norm": "post_attention_layernorm"}
    elif sizes.norm_inputs:
        norms |= {"attention_norm": "input_layernorm", "feed_forward_norm": "pre_feedforward_layernorm"}
    layers = {
        **norms,
        **{f"attention.{ours}": f"self_attn.{ours[0]}_proj" for ours in ("query", "key", "value", "output")},
    }
    if sizes.experts:
        layers["feed_forward.router"] = "mlp.gate"
    for expert in range(sizes.experts) or (None,):
        part = "" if expert is None else f".experts.{expert}"
        layers |= {f"feed_forward{part}.{ours}": f"mlp{part}.{ours}_proj" for ours in ("gate", "up", "down")}
    if sizes.query_key_norm:
        layers |= {"attention.query_norm": "self_attn.q_norm", "attention.key_norm": "self_attn.k_norm"}
    biased = ("query", "key", "value") if sizes.projection_bias else ()
    names = {"embedding.weight": Source("model.embed_tokens.weight")}
    for block in range(sizes.layers):
        for ours, its in layers.items():
            names[f"blocks.{block}.{ours}.weight"] = Source(f"model.layers.{block}.{its}.weight")
        for ours in biased:
            names[f"blocks.{block}.attention.{ours}.bias"] = Source(
                f"model.layers.{block}.self_attn.{ours[0]}_proj.bias"
            )
    names["norm.weight"] = Source("model.norm.weight")
    if not sizes.tied:
        names["output.weight"] = Source("lm_head.weight")
    return names


def _heads(head: HeadKind, sizes: Architecture) -> dict[str, Source]:
    score = {"weight": Source("score.weight")}
    if head == "classification":
        return score
    return {**score, "bias": Source("score.bias")} if head == "token_classification" else {}


# ---- all together


def family_of_table(table: Table) -> Family:
    """What reads and writes the models of a table."""
    gated = ("gelu_pytorch_tanh",) if "hidden_activation" in table.keys else ("silu", "swish")
    fixed = {
        "hidden_act": gated,
        "hidden_activation": gated,
        "attention_bias": (False, None),
        "mlp_bias": (False, None),
        "decoder_sparse_step": (1,),
    }
    return Family(
        model_type=table.model_type,
        classes=table.classes,
        architecture=partial(_architecture, table),
        config=partial(_config, table),
        accepts=partial(_accepts, table),
        names=_names,
        heads=_heads,
        prefix="model.",
        used=_KEYS | table.keys - set(fixed),
        fixed=fixed,
        inert=_INERT,
        length=table.length,
        ignored=(r".*\.rotary_emb\.inv_freq",),
        same={"lm_head.weight": "model.embed_tokens.weight"},
    )
