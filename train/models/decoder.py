"""The decoder: Llama (Touvron et al. 2023) and its kin, or GPT-2 (Radford et al. 2019), as the switches of `Architecture` say.

Blocks of causal attention and feed-forward, normed and added to the residual stream. The logits equal those of the
classes of transformers with the same weights, GPT-2's below and those of families.py (tested).
Dropout is applied to the embedded tokens and to what each sublayer adds; not to attention's weights, which no fast
attention allows.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from curate.train.models.cache import Cache
from curate.train.models.family import Config, Family, HeadKind, Source, activation, keys_of, theirs
from curate.train.models.layers import Block, attention_mask, build_norm, check_room, first_weights, pool
from curate.train.models.positions import document_positions, rotation
from curate.train.settings.architecture import Architecture

__all__ = ["GPT2", "Beside", "Decoder"]

Beside = tuple[Tensor | None, Tensor | None]
"""What a block reads beside the states: rotation and mask."""


class Decoder(nn.Module):
    """Tokens to hidden states that know what came before; their product with `unembedding` gives the next token's logits.

    Its parameters are made but not filled, and there are no buffers: it may be built on the meta device.

    Args:
        sizes: The architecture.
        vocabulary: Number of tokens.
        length: Most tokens in a sequence.
    """

    accepts: ClassVar[frozenset[str]] = frozenset({"documents", "positions", "noise"})

    def __init__(self, sizes: Architecture, *, vocabulary: int, length: int) -> None:
        super().__init__()
        self.sizes, self.length = sizes, length
        self.width = self.sentence_width = sizes.width
        self.embedding = nn.Embedding(vocabulary, sizes.width)
        if sizes.positions == "learned":
            self.position_embedding = nn.Embedding(length, sizes.width)
        windows = (sizes.window if number in sizes.windowed else None for number in range(sizes.layers))
        self.blocks = nn.ModuleList(Block(sizes, causal=True, window=window) for window in windows)
        self.norm = build_norm(sizes)
        if not sizes.tied:
            self.output = nn.Linear(sizes.width, vocabulary, bias=False)

    @property
    def unembedding(self) -> Tensor:
        """The matrix of the logits, (vocabulary, width)."""
        return self.embedding.weight if self.sizes.tied else self.output.weight

    def forward(
        self,
        tokens: Tensor,
        *,
        documents: Tensor | None = None,
        positions: Tensor | None = None,
        noise: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Hidden states after the last norm, (rows, length, width).

        Args:
            tokens: (rows, length).
            documents: (rows, length); attention stays inside a document, -1 is padding. None: each row is one.
            positions: (rows, length); None: from 0 in each document, after what is in the cache.
            noise: (rows, length, width), added to the embedded tokens.
            cache: Holds what was seen before `tokens`, and them afterwards.

        Raises:
            CurateError: More tokens than learned positions.
        """
        states, beside = self.begin(tokens, documents=documents, positions=positions, noise=noise, cache=cache)
        read = documents >= 0 if self.sizes.experts and documents is not None else None
        for number, (block, (turn, mask)) in enumerate(zip(self.blocks, beside, strict=True)):
            states = block(states, turn, mask, None if cache is None else cache.memory(number), read)
        return self.norm(states)

    def begin(
        self,
        tokens: Tensor,
        *,
        documents: Tensor | None = None,
        positions: Tensor | None = None,
        noise: Tensor | None = None,
        cache: Cache | None = None,
    ) -> tuple[Tensor, list[Beside]]:
        """What the first block reads, and what each block reads beside it.

        Args: as for `forward`.
        """
        length = tokens.shape[1]
        if cache is not None:
            documents = cache.extend(torch.zeros_like(tokens) if documents is None else documents)
        if positions is None and documents is not None:
            positions = document_positions(documents)[:, -length:]
        elif positions is None:
            positions = torch.arange(length, device=tokens.device)
        states = self.embedded(tokens)
        if noise is not None:
            states = states + noise.to(states.dtype)
        if self.sizes.positions == "learned":
            check_room(length if documents is None else documents.shape[1], self.length)
            states = states + self.position_embedding(positions)
        beside = self._beside(tokens, documents, positions, states.dtype)
        return functional.dropout(states, self.sizes.dropout, self.training), beside

    def embedded(self, tokens: Tensor) -> Tensor:
        """Tokens as vectors, (rows, length, width), which positions are added to."""
        states = self.embedding(tokens)
        if self.sizes.embedding_scale:
            # rounded to the type of the weights, as transformers does
            states = states * torch.tensor(self.width**0.5, dtype=states.dtype)
        return states

    def _beside(self, tokens: Tensor, documents: Tensor | None, positions: Tensor, dtype: torch.dtype) -> list[Beside]:
        """Rotation and mask of each block; those of a kind share theirs."""
        sizes, length = self.sizes, tokens.shape[1]
        dense = sizes.attention_cap is not None

        def mask(documents: Tensor, window: int | None = None) -> Tensor:
            return attention_mask(documents, causal=True, queries=length, dtype=dtype, window=window, dense=dense)

        wide = near = None if documents is None else mask(documents)
        if sizes.windowed and sizes.window and (length if documents is None else documents.shape[1]) > sizes.window:
            near = mask(torch.zeros_like(tokens) if documents is None else documents, sizes.window)
        turn = near_turn = rotation(positions, sizes) if sizes.positions == "rotary" else None
        if sizes.windowed and sizes.window_theta:
            near_turn = rotation(positions, sizes, windowed=True)
        kinds = [(near_turn, near) if number in sizes.windowed else (turn, wide) for number in range(sizes.layers)]
        return [(None if number in sizes.unrotated else turn, mask) for number, (turn, mask) in enumerate(kinds)]

    def new_cache(self) -> Cache:
        """An empty cache, to generate with."""
        return Cache()

    def sentence(
        self,
        tokens: Tensor,
        *,
        documents: Tensor | None = None,
        positions: Tensor | None = None,
        noise: Tensor | None = None,
        pooling: Literal["first", "last", "mean"] | None = None,
    ) -> Tensor:
        """One state for each row, (rows, width): by default that of its last token, which has seen all."""
        states = self(tokens, documents=documents, positions=positions, noise=noise)
        return pool(states, documents, pooling or "last")

    def first_weights(self, name: str, tensor: Tensor, generator: torch.Generator) -> None:
        """Fill the whole of the parameter `name`, on the CPU, with its first value."""
        if self.sizes.norm_offset and "norm" in name:
            tensor.zero_()  # a norm multiplies by 1 more
        else:
            first_weights(name, tensor, generator, writers=2 * self.sizes.layers)


# ---- GPT-2


def _gpt2_names(sizes: Architecture) -> dict[str, Source]:
    names = {
        "embedding.weight": Source("transformer.wte.weight"),
        "position_embedding.weight": Source("transformer.wpe.weight"),
    }
    for block in range(sizes.layers):
        ours, its = f"blocks.{block}", f"transformer.h.{block}"
        for kind in ("weight", "bias"):
            names[f"{ours}.attention_norm.{kind}"] = Source(f"{its}.ln_1.{kind}")
            for part, projection in enumerate(("query", "key", "value")):
                fused = Source(f"{its}.attn.c_attn.{kind}", kind == "weight", part, 3)
                names[f"{ours}.attention.{projection}.{kind}"] = fused
            names[f"{ours}.attention.output.{kind}"] = Source(f"{its}.attn.c_proj.{kind}", kind == "weight")
            names[f"{ours}.feed_forward_norm.{kind}"] = Source(f"{its}.ln_2.{kind}")
            names[f"{ours}.feed_forward.up.{kind}"] = Source(f"{its}.mlp.c_fc.{kind}", kind == "weight")
            names[f"{ours}.feed_forward.down.{kind}"] = Source(f"{its}.mlp.c_proj.{kind}", kind == "weight")
    names["norm.weight"] = Source("transformer.ln_f.weight")
    names["norm.bias"] = Source("transformer.ln_f.bias")
    if not sizes.tied:
        names["output.weight"] = Source("lm_head.weight")
    return names


def _gpt2_heads(head: HeadKind, sizes: Architecture) -> dict[str, Source]:
    if head == "classification":
        return {"weight": Source("score.weight")}
    both = {"weight": Source("classifier.weight"), "bias": Source("classifier.bias")}
    return both if head == "token_classification" else {}


def _gpt2_architecture(config: Config) -> Architecture:
    width, heads = config["n_embd"], config["n_head"]
    return Architecture(
        layers=config["n_layer"],
        width=width,
        heads=heads,
        key_value_heads=heads,
        head_width=width // heads,
        feed_forward=config.get("n_inner") or 4 * width,
        norm="layer",
        norm_epsilon=config.get("layer_norm_epsilon", 1e-5),
        positions="learned",
        activation=activation(config, "activation_function", "gelu_new"),
        bias=True,
        tied=config.get("tie_word_embeddings", True),
        dropout=config.get("resid_pdrop", 0.1),
    )


def _gpt2_config(sizes: Architecture, vocabulary: int, length: int) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary,
        "n_positions": length,
        "n_embd": sizes.width,
        "n_layer": sizes.layers,
        "n_head": sizes.heads,
        "n_inner": sizes.feed_forward,
        "activation_function": theirs(sizes.activation),
        "layer_norm_epsilon": sizes.norm_epsilon,
        "resid_pdrop": sizes.dropout,
        "embd_pdrop": sizes.dropout,
        "attn_pdrop": 0.0,
        "tie_word_embeddings": sizes.tied,
    }


def _is_gpt2(sizes: Architecture) -> bool:
    shape = (sizes.kind, sizes.norm, sizes.norm_after, sizes.positions, sizes.gated, sizes.bias)
    plain = sizes.key_value_heads == sizes.heads and sizes.head_width * sizes.heads == sizes.width
    return plain and shape == ("decoder", "layer", False, "learned", False, True)


GPT2 = Family(
    model_type="gpt2",
    classes={
        "causal": "GPT2LMHeadModel",
        "classification": "GPT2ForSequenceClassification",
        "token_classification": "GPT2ForTokenClassification",
    },
    architecture=_gpt2_architecture,
    config=_gpt2_config,
    accepts=_is_gpt2,
    names=_gpt2_names,
    heads=_gpt2_heads,
    prefix="transformer.",
    used=keys_of(
        "n_embd n_head n_layer n_inner layer_norm_epsilon activation_function tie_word_embeddings resid_pdrop"
    ),
    fixed={
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "add_cross_attention": (False,),
    },
    inert=keys_of(
        """
        embd_pdrop attn_pdrop n_ctx reorder_and_upcast_attn summary_type summary_use_proj summary_activation
        summary_proj_to_labels summary_first_dropout summary_hidden_size
        """
    ),
    length_key="n_positions",
    length=1024,
    ignored=(r".*\.attn\.(bias|masked_bias)",),
    same={"lm_head.weight": "transformer.wte.weight"},
)
