"""The encoder-decoder: T5 (Raffel et al. 2020), a text from a text.

The encoder's tokens see all of the source, the decoder's those before them, and then the whole source. A distance between
tokens adds a learned bias for each head, which all blocks of a side share, and attention is not scaled. Logits equal those
of `transformers.T5ForConditionalGeneration` with the same weights (tested), of T5 1.0 (relu; tied output, states scaled by
width^-0.5) and 1.1 (gated gelu, an own output). Dropout is that of embedded tokens, sublayers and the last states.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from curate.errors import CurateError
from curate.train.models.cache import Cache, Memory
from curate.train.models.family import Config, Family, Source, keys_of
from curate.train.models.feed_forward import FeedForward
from curate.train.models.layers import build_norm, pool
from curate.train.settings.architecture import Architecture

__all__ = ["T5", "EncoderDecoder"]

BUCKETS, FARTHEST = 32, 128
"""Distances of one bias each, or of a logarithmic range; all from FARTHEST on are one."""


def _buckets(distances: Tensor, *, both: bool) -> Tensor:
    """The bias of each distance (key's place less query's), 0 to BUCKETS - 1; `both`: those ahead have half of them."""
    count = BUCKETS // 2 if both else BUCKETS
    ahead = (distances > 0) * count if both else 0
    far = distances.abs() if both else (-distances).clamp(min=0)
    exact = count // 2  # the nearer half has a bucket for each distance
    growth = torch.log(far.clamp(min=1).float() / exact) / math.log(FARTHEST / exact)
    logarithmic = (exact + (growth * (count - exact)).long()).clamp(max=count - 1)
    return ahead + torch.where(far < exact, far, logarithmic)


def _biases(table: nn.Embedding, queries: int, keys: int, *, both: bool) -> Tensor:
    """(1, heads, queries, keys) of the last `queries` of `keys` places; unless `both`, those ahead are not seen."""
    places = torch.arange(keys, device=table.weight.device)
    distances = places - places[keys - queries :, None]
    biases = table(_buckets(distances, both=both)).permute(2, 0, 1)[None]
    return biases if both else _only(distances <= 0, biases)


def _only(mask: Tensor, bias: Tensor) -> Tensor:
    """`bias` where the mask is true, and next to nothing elsewhere; a row that sees nothing sees all alike."""
    return torch.where(mask, bias, torch.finfo(bias.dtype).min)


class _Attention(nn.Module):
    """Attention to the text itself or to another one, with a bias and without scale."""

    def __init__(self, sizes: Architecture) -> None:
        super().__init__()
        self.head_width, inner = sizes.head_width, sizes.heads * sizes.head_width
        self.query = nn.Linear(sizes.width, inner, bias=sizes.bias)
        self.key = nn.Linear(sizes.width, inner, bias=sizes.bias)
        self.value = nn.Linear(sizes.width, inner, bias=sizes.bias)
        self.output = nn.Linear(inner, sizes.width, bias=sizes.bias)

    def forward(
        self, states: Tensor, source: Tensor | None, bias: Tensor | None, memory: Memory | None = None
    ) -> Tensor:
        """(rows, queries, width) to the same; `source` (rows, new keys, width) is None where all keys are in `memory`."""
        query = self._cut(self.query(states))
        if source is None:
            assert memory is not None and memory.keys is not None and memory.values is not None
            key, value = memory.keys, memory.values
        else:
            key, value = self._cut(self.key(source)), self._cut(self.value(source))
            if memory is not None:
                key, value = memory.extend(key, value)
        mixed = functional.scaled_dot_product_attention(
            query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), attn_mask=bias, scale=1.0
        )
        return self.output(mixed.transpose(1, 2).flatten(2))

    def _cut(self, projected: Tensor) -> Tensor:
        return projected.unflatten(-1, (-1, self.head_width))


class _Block(nn.Module):
    """Attention, in a decoder also to the source, and feed-forward: each after a norm, and added to what it read."""

    def __init__(self, sizes: Architecture, *, decoder: bool) -> None:
        super().__init__()
        self.dropout, self.decoder = sizes.dropout, decoder
        self.attention_norm = build_norm(sizes)
        self.attention = _Attention(sizes)
        if decoder:
            self.source_norm = build_norm(sizes)
            self.source_attention = _Attention(sizes)
        self.feed_forward_norm = build_norm(sizes)
        self.feed_forward = FeedForward(sizes)

    def forward(
        self,
        states: Tensor,
        bias: Tensor,
        source: Tensor | None = None,
        source_bias: Tensor | None = None,
        memories: tuple[Memory, Memory] | None = None,
    ) -> Tensor:
        """(rows, length, width) to the same.

        Args:
            states: What is read.
            bias: (rows or 1, heads, length, all places).
            source: States of the encoder (rows, source length, width); None where `memories` have them.
            source_bias: (rows, 1, 1, source length); None: all of it is seen.
            memories: Keys and values of the text and of the source.
        """
        own, others = memories or (None, None)
        normed = self.attention_norm(states)
        states = states + self._drop(self.attention(normed, normed, bias, own))
        if self.decoder:
            states = states + self._drop(self.source_attention(self.source_norm(states), source, source_bias, others))
        return states + self._drop(self.feed_forward(self.feed_forward_norm(states)))

    def _drop(self, states: Tensor) -> Tensor:
        return functional.dropout(states, self.dropout, self.training)


class EncoderDecoder(nn.Module):
    """A source and the target so far to hidden states; their product with `unembedding` gives the next token's logits.

    Its parameters are made but not filled, and there are no buffers: it may be built on the meta device. `blocks` are
    those of the encoder, and then as many of the decoder.

    Args:
        sizes: The architecture; `layers` is the number of blocks on each side.
        vocabulary: Number of tokens.
        length: Most tokens in a sequence; nothing depends on it.

    Raises:
        CurateError: Other positions than relative ones, or grouped key and value heads.
    """

    accepts: ClassVar[frozenset[str]] = frozenset({"documents", "inputs", "noise"})

    def __init__(self, sizes: Architecture, *, vocabulary: int, length: int) -> None:
        super().__init__()
        if sizes.positions != "relative":
            raise CurateError(
                f"an encoder-decoder has relative positions, not {sizes.positions} ones", "model.positions"
            )
        if sizes.key_value_heads != sizes.heads:
            raise CurateError("an encoder-decoder has as many key_value_heads as heads", "model.key_value_heads")
        self.sizes, self.width, self.sentence_width = sizes, sizes.width, sizes.width
        self.embedding = nn.Embedding(vocabulary, sizes.width)
        self.encoder_bias = nn.Embedding(BUCKETS, sizes.heads)
        self.decoder_bias = nn.Embedding(BUCKETS, sizes.heads)
        sides = [False] * sizes.layers + [True] * sizes.layers
        self.blocks = nn.ModuleList(_Block(sizes, decoder=decoder) for decoder in sides)
        self.encoder_norm, self.decoder_norm = build_norm(sizes), build_norm(sizes)
        if not sizes.tied:
            self.output = nn.Linear(sizes.width, vocabulary, bias=False)

    @property
    def unembedding(self) -> Tensor:
        """The matrix of the logits, (vocabulary, width)."""
        return self.embedding.weight if self.sizes.tied else self.output.weight

    def new_cache(self) -> Cache:
        """An empty memory for generation."""
        return Cache()

    def forward(
        self,
        tokens: Tensor,
        *,
        inputs: Tensor,
        documents: Tensor | None = None,
        noise: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """States of the target (rows, target length, width).

        Args:
            tokens: The source (rows, source length).
            inputs: The target one place later (rows, target length); with a cache, what is new of it.
            documents: (rows, source length), -1 is padding.
            noise: (rows, source length, width), added to the embedded source.
            cache: Holds what was seen before `inputs`, and them afterwards; the source is read once, when it is empty.
        """
        first = cache is None or len(cache) == 0
        source = self.encode(tokens, documents=documents, noise=noise) if first else None
        return self.decode(inputs, source, documents=documents, cache=cache)

    def encode(self, tokens: Tensor, *, documents: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
        """States of the source (rows, length, width); arguments as for `forward`."""
        states = self.embedding(tokens)
        if noise is not None:
            states = states + noise.to(states.dtype)
        states = self._drop(states)
        length = tokens.shape[1]
        bias = _biases(self.encoder_bias, length, length, both=True)
        if documents is not None:
            bias = _only(documents[:, None, :, None] == documents[:, None, None, :], bias)
        for block in self.blocks[: self.sizes.layers]:
            states = block(states, bias)
        return self._drop(self.encoder_norm(states))

    def decode(
        self, inputs: Tensor, source: Tensor | None, *, documents: Tensor | None = None, cache: Cache | None = None
    ) -> Tensor:
        """States of the target (rows, length, width), scaled where the output is tied; arguments as for `forward`.

        `source` is what `encode` gave, and None where the cache has it; `documents` are those of the source.
        """
        length, seen = inputs.shape[1], 0
        if cache is not None:
            seen = len(cache)
            cache.extend(torch.zeros_like(inputs))
        bias = _biases(self.decoder_bias, length, seen + length, both=False)
        states, source_bias = self._drop(self.embedding(inputs)), None
        if documents is not None:
            source_bias = _only((documents >= 0)[:, None, None], states.new_zeros(()))
        layers = self.sizes.layers
        for number, block in enumerate(self.blocks[layers:]):
            memories = None if cache is None else (cache.memory(layers + number), cache.memory(number))
            states = block(states, bias, source, source_bias, memories)
        states = self._drop(self.decoder_norm(states))
        return states * self.width**-0.5 if self.sizes.tied else states

    def sentence(
        self,
        tokens: Tensor,
        *,
        documents: Tensor | None = None,
        noise: Tensor | None = None,
        pooling: Literal["first", "last", "mean"] | None = None,
    ) -> Tensor:
        """One state of the encoder for each row, (rows, width): by default the mean of all (Ni et al. 2022).

        The decoder takes no part in it, and gets no gradients.
        """
        return pool(self.encode(tokens, documents=documents, noise=noise), documents, pooling or "mean")

    def first_weights(self, name: str, tensor: Tensor, generator: torch.Generator) -> None:
        """Fill the whole of the parameter `name`, on the CPU, with its first value.

        As in T5: normal, so that what a layer gives has the size of what it reads, and queries smaller by the root of the
        head width, since attention is not scaled; embeddings have deviation 1. An output of its own begins small.
        """
        sizes = self.sizes
        if tensor.ndim < 2:
            tensor.fill_(0.0 if name.endswith("bias") else 1.0)
            return
        deviation = sizes.width**-0.5
        if name == "embedding.weight":
            deviation = 1.0
        elif name.endswith("query.weight"):
            deviation = (sizes.width * sizes.head_width) ** -0.5
        elif name.endswith("attention.output.weight"):
            deviation = (sizes.heads * sizes.head_width) ** -0.5
        elif name.endswith("down.weight"):
            deviation = sizes.feed_forward**-0.5
        tensor.normal_(0.0, deviation, generator=generator)

    def _drop(self, states: Tensor) -> Tensor:
        return functional.dropout(states, self.sizes.dropout, self.training)


# ---- T5 in Hugging Face's files

_ACTIVATIONS: dict[str, Any] = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gated-gelu": "geglu",
    "gated-gelu_new": "geglu",
    "gated-silu": "swiglu",
}
"""Their `feed_forward_proj`, and our activations; in a gate their gelu is the one by tanh."""
_THEIRS = {"relu": "relu", "gelu": "gelu", "gelu_tanh": "gelu_new", "geglu": "gated-gelu", "swiglu": "gated-silu"}
_PROJECTIONS = {"query": "q", "key": "k", "value": "v", "output": "o"}


def _block_names(sizes: Architecture, its: str, *, decoder: bool) -> dict[str, str]:
    sublayers = [("attention", "SelfAttention"), *([("source_attention", "EncDecAttention")] if decoder else [])]
    names: dict[str, str] = {}
    for number, (ours, theirs) in enumerate(sublayers):
        names[ours.replace("attention", "norm") if number else "attention_norm"] = f"{its}.layer.{number}.layer_norm"
        for one, other in _PROJECTIONS.items():
            names[f"{ours}.{one}"] = f"{its}.layer.{number}.{theirs}.{other}"
    last = f"{its}.layer.{len(sublayers)}"
    names["feed_forward_norm"] = f"{last}.layer_norm"
    names["feed_forward.up"] = f"{last}.DenseReluDense.{'wi_1' if sizes.gated else 'wi'}"
    names["feed_forward.down"] = f"{last}.DenseReluDense.wo"
    if sizes.gated:
        names["feed_forward.gate"] = f"{last}.DenseReluDense.wi_0"
    return names


def _t5_names(sizes: Architecture) -> dict[str, Source]:
    names = {"embedding": "shared"}
    for side, decoder in (("encoder", False), ("decoder", True)):
        names[f"{side}_bias"] = f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias"
        names[f"{side}_norm"] = f"{side}.final_layer_norm"
        for number in range(sizes.layers):
            place = number + sizes.layers * decoder
            found = _block_names(sizes, f"{side}.block.{number}", decoder=decoder)
            names.update({f"blocks.{place}.{ours}": its for ours, its in found.items()})
    if not sizes.tied:
        names["output"] = "lm_head"
    return {f"{ours}.weight": Source(f"{its}.weight") for ours, its in names.items()}


def _inner(activation: str) -> str:
    return "gelu_new" if activation == "gated-gelu" else activation.removeprefix("gated-")


def _t5_architecture(config: Config) -> Architecture:
    activation = config.get("feed_forward_proj", "relu")
    if activation not in _ACTIVATIONS or config.get("dense_act_fn", _inner(activation)) != _inner(activation):
        raise CurateError(
            f"`feed_forward_proj: {activation}` is not computed here", hint=f"those that are: {', '.join(_ACTIVATIONS)}"
        )
    layers, heads = config["num_layers"], config["num_heads"]
    if config.get("num_decoder_layers") not in (None, layers):
        raise CurateError(
            f"{layers} layers and {config['num_decoder_layers']} decoder layers: only as many are computed"
        )
    return Architecture(
        kind="encoder_decoder",
        layers=layers,
        width=config["d_model"],
        heads=heads,
        key_value_heads=heads,
        head_width=config["d_kv"],
        feed_forward=config["d_ff"],
        norm_epsilon=config.get("layer_norm_epsilon", 1e-6),
        positions="relative",
        activation=_ACTIVATIONS[activation],
        # transformers from 5 on says that an output is tied when it is not, and tells by the scale
        tied=config.get("scale_decoder_outputs", config.get("tie_word_embeddings", True)),
        dropout=config.get("dropout_rate", 0.1),
    )


def _t5_config(sizes: Architecture, vocabulary: int, length: int) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary,
        "n_positions": length,
        "d_model": sizes.width,
        "d_kv": sizes.head_width,
        "d_ff": sizes.feed_forward,
        "num_layers": sizes.layers,
        "num_heads": sizes.heads,
        "relative_attention_num_buckets": BUCKETS,
        "relative_attention_max_distance": FARTHEST,
        "feed_forward_proj": _THEIRS[sizes.activation],
        "layer_norm_epsilon": sizes.norm_epsilon,
        "dropout_rate": sizes.dropout,
        "tie_word_embeddings": sizes.tied,
        "is_encoder_decoder": True,
    }


def _is_t5(sizes: Architecture) -> bool:
    shape = (sizes.kind, sizes.norm, sizes.norm_after, sizes.positions, sizes.bias, sizes.segments)
    return shape == ("encoder_decoder", "rms", False, "relative", False, 0) and sizes.key_value_heads == sizes.heads


T5 = Family(
    model_type="t5",
    classes={"seq2seq": "T5ForConditionalGeneration"},
    architecture=_t5_architecture,
    config=_t5_config,
    accepts=_is_t5,
    names=_t5_names,
    heads=lambda head, sizes: {},
    prefix="",
    used=keys_of(
        """
        d_model d_kv d_ff num_layers num_decoder_layers num_heads layer_norm_epsilon feed_forward_proj dropout_rate
        tie_word_embeddings scale_decoder_outputs dense_act_fn
        """
    ),
    fixed={
        "relative_attention_num_buckets": (BUCKETS,),
        "relative_attention_max_distance": (FARTHEST,),
        "is_encoder_decoder": (True,),
        "is_decoder": (False,),
    },
    inert=frozenset({"classifier_dropout", "is_gated_act"}),
    length_key="n_positions",
    ignored=(r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",),
    same={
        "lm_head.weight": "shared.weight",
        "encoder.embed_tokens.weight": "shared.weight",
        "decoder.embed_tokens.weight": "shared.weight",
    },
)
