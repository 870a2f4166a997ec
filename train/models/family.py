"""How a model of ours is written in Hugging Face's files: its config.json and the names of its tensors.

Each family (Llama, GPT-2, BERT, T5) stands beside the trunk that computes it, as a `Family`. A config.json is taken only
if everything in it that changes the computation is computed here in the same way; every other value is refused by name,
and so is a key that nobody here knows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from curate.errors import CurateError
from curate.train.settings.architecture import Architecture

__all__ = [
    "ACTIVATIONS",
    "LABELED",
    "Config",
    "Family",
    "HeadKind",
    "Source",
    "activation",
    "few",
    "keys_of",
    "matches",
    "refuse_unknown",
    "theirs",
]

Config = Mapping[str, Any]
HeadKind = Literal["causal", "masked", "classification", "token_classification", "seq2seq"]


def keys_of(text: str) -> frozenset[str]:
    """Words between spaces."""
    return frozenset(text.split())


LABELED: tuple[HeadKind, ...] = ("classification", "token_classification")
"""Heads that tell classes apart."""
ACTIVATIONS: dict[str, Any] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}
"""Their names of activations without a gate, and ours."""

_INERT = keys_of(
    """
    _name_or_path architectures attn_implementation bad_words_ids bos_token_id cache_implementation chunk_size_feed_forward
    cls_token_id decoder_start_token_id diversity_penalty do_sample dtype early_stopping eos_token_id
    encoder_no_repeat_ngram_size exponential_decay_length_penalty finetuning_task forced_bos_token_id
    forced_eos_token_id gradient_checkpointing id2label initializer_factor initializer_range keys_to_ignore_at_inference
    label2id length_penalty mask_token_id max_length min_length model_type no_repeat_ngram_size num_beam_groups num_beams
    num_labels num_return_sequences output_attentions output_hidden_states output_past output_scores pad_token_id
    prefix pretraining_tp problem_type remove_invalid_values repetition_penalty return_dict return_dict_in_generate
    sep_token_id suppress_tokens begin_suppress_tokens task_specific_params temperature tokenizer_class top_k top_p
    torch_dtype torchscript transformers_version typical_p unk_token_id use_cache
    """
)
"""Keys of any model that do not change what it computes (pretraining_tp cuts the same sums into pieces)."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a tensor of ours is in their file.

    Attributes:
        name: Their name.
        transposed: Theirs is (inputs, outputs), as in GPT-2's Conv1D.
        part: Which of `parts` equal pieces of theirs it is, along the outputs.
        parts: Pieces; GPT-2 has query, key and value in one.
    """

    name: str
    transposed: bool = False
    part: int = 0
    parts: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A family of models in Hugging Face's files.

    Attributes:
        model_type: Of the config.json.
        classes: The class in transformers for each kind of head that it can have.
        architecture: From a config.json, already checked by `refuse_unknown`, to sizes; raises CurateError.
        config: From (sizes, vocabulary, length) to a config.json, without architectures and special tokens.
        accepts: These sizes are computed by this family exactly.
        names: From sizes to where each parameter of the trunk (without `model.`) is in a file with a head.
        heads: From a kind of head and sizes to where each parameter of the head (without `head.`) is.
        prefix: What the trunk's names begin with in a file with a head; a file of a bare trunk has them without it.
        used: Keys of the config.json that `architecture` reads.
        fixed: Keys whose value must be one of these, since we compute nothing else.
        inert: Further keys that do not change what is computed.
        length_key: Key of the most positions.
        length: The most positions where the file does not say.
        optional: Patterns (regular expressions, whole names of ours) of tensors that may be absent.
        ignored: Patterns (whole names of theirs) of tensors that are no parameters of ours.
        same: Their names that must hold the same as another of their names, in models whose output is tied.
    """

    model_type: str
    classes: Mapping[HeadKind, str]
    architecture: Callable[[Config], Architecture]
    config: Callable[[Architecture, int, int], dict[str, Any]]
    accepts: Callable[[Architecture], bool]
    names: Callable[[Architecture], dict[str, Source]]
    heads: Callable[[HeadKind, Architecture], dict[str, Source]]
    prefix: str
    used: frozenset[str]
    fixed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    inert: frozenset[str] = frozenset()
    length_key: str = "max_position_embeddings"
    length: int = 512
    optional: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    same: Mapping[str, str] = field(default_factory=dict)


def refuse_unknown(family: Family, config: Config, where: str) -> None:
    """Refuse a config.json with a value that changes the computation to one that is not ours.

    A key that is not known here passes when it is null, false, or empty: it is off.

    Raises:
        CurateError: It names the key and the value.
    """
    known = family.used | family.inert | _INERT | {"vocab_size", family.length_key}
    for key, value in config.items():
        if key in family.fixed:
            if value not in family.fixed[key]:
                raise _refused(family, key, value, where)
        elif key not in known and value not in (None, False, {}, [], ""):
            raise _refused(family, key, value, where)


def _refused(family: Family, key: str, value: Any, where: str) -> CurateError:
    return CurateError(
        f"`{key}: {value}` of this {family.model_type} model is not computed here",
        where,
        "with `model.kind: pretrained` the model is loaded and computed by transformers",
    )


def activation(config: Config, key: str, default: str) -> Any:
    """Our name of an activation without a gate.

    Raises:
        CurateError: We do not have it.
    """
    name = config.get(key, default)
    if name not in ACTIVATIONS:
        raise CurateError(
            f"`{key}: {name}` is not computed here", hint=f"activations that are: {', '.join(ACTIVATIONS)}"
        )
    return ACTIVATIONS[name]


def theirs(name: str) -> str:
    """Their name of an activation of ours; the inverse of `activation`."""
    return {"gelu": "gelu", "gelu_tanh": "gelu_new", "relu": "relu"}[name]


def matches(name: str, patterns: tuple[str, ...], prefix: str = "") -> bool:
    """The whole name is the prefix and one of the patterns."""
    return any(re.fullmatch(re.escape(prefix) + pattern, name) for pattern in patterns)


def few(names: list[str]) -> str:
    """The first names of many, for a message."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
