"""The encoder: BERT (Devlin et al. 2019), every token from all others.

Embeddings of tokens, positions and segments are summed and normed; each sublayer is normed after it was added. Hidden
states, masked-token logits and pooled states equal those of transformers' BERT with the same weights (tested).
Dropout is applied to the embedded tokens and to what each sublayer adds; not to attention's weights.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from curate.train.models.family import Config, Family, HeadKind, Source, activation, keys_of, theirs
from curate.train.models.feed_forward import activate
from curate.train.models.layers import (
    Block,
    attention_mask,
    build_norm,
    check_room,
    first_weights,
    pool,
)
from curate.train.models.positions import document_positions, rotation
from curate.train.settings.architecture import Activation, Architecture

__all__ = ["BERT", "Encoder", "MaskedHead"]


class Encoder(nn.Module):
    """Tokens to hidden states that know the whole text.

    Its parameters are made but not filled, and there are no buffers: it may be built on the meta device.

    Args:
        sizes: The architecture.
        vocabulary: Number of tokens.
        length: Most tokens in a sequence.
        pooler: Give the first token's state a dense layer and tanh before it stands for the text (BERT).
    """

    accepts: ClassVar[frozenset[str]] = frozenset({"documents", "positions", "segments", "noise"})

    def __init__(self, sizes: Architecture, *, vocabulary: int, length: int, pooler: bool = False) -> None:
        super().__init__()
        self.sizes, self.length = sizes, length
        self.width = self.sentence_width = sizes.width
        self.embedding = nn.Embedding(vocabulary, sizes.width)
        if sizes.positions == "learned":
            self.position_embedding = nn.Embedding(length, sizes.width)
        if sizes.segments:
            self.segment_embedding = nn.Embedding(sizes.segments, sizes.width)
        self.embedding_norm = build_norm(sizes)
        self.blocks = nn.ModuleList(Block(sizes, causal=False) for _ in range(sizes.layers))
        self.norm = nn.Identity() if sizes.norm_after else build_norm(sizes)
        self.pooler = nn.Linear(sizes.width, sizes.width) if pooler else None
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
        segments: Tensor | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Hidden states, (rows, length, width).

        Args:
            tokens: (rows, length).
            documents: (rows, length); attention stays inside a document, -1 is padding. None: each row is one.
            positions: (rows, length); None: from 0 in each document.
            segments: (rows, length), 0 in the first text of a pair and 1 in the second; None: 0.
            noise: (rows, length, width), added to the embedded tokens.

        Raises:
            CurateError: More tokens than learned positions.
        """
        if positions is None and documents is not None:
            positions = document_positions(documents)
        elif positions is None:
            positions = torch.arange(tokens.shape[1], device=tokens.device)
        states = self._embed(tokens, positions, segments, noise)
        turn = rotation(positions, self.sizes) if self.sizes.positions == "rotary" else None
        mask = None
        if documents is not None:
            mask = attention_mask(documents, causal=False, queries=tokens.shape[1], dtype=states.dtype)
        for block in self.blocks:
            states = block(states, turn, mask)
        return self.norm(states)

    def _embed(self, tokens: Tensor, positions: Tensor, segments: Tensor | None, noise: Tensor | None) -> Tensor:
        states = self.embedding(tokens)
        if noise is not None:
            states = states + noise.to(states.dtype)
        if self.sizes.segments:
            states = states + self.segment_embedding(torch.zeros_like(tokens) if segments is None else segments)
        if self.sizes.positions == "learned":
            check_room(tokens.shape[1], self.length)
            states = states + self.position_embedding(positions)
        return functional.dropout(self.embedding_norm(states), self.sizes.dropout, self.training)

    def sentence(
        self,
        tokens: Tensor,
        *,
        documents: Tensor | None = None,
        positions: Tensor | None = None,
        segments: Tensor | None = None,
        noise: Tensor | None = None,
        pooling: Literal["first", "last", "mean"] | None = None,
    ) -> Tensor:
        """One state for each row, (rows, width): by default that of its first token, through the pooler if it has one."""
        states = self(tokens, documents=documents, positions=positions, segments=segments, noise=noise)
        pooled = pool(states, documents, pooling or "first")
        if self.pooler is not None and pooling in (None, "first"):
            pooled = self.pooler(pooled).tanh()
        return pooled

    def first_weights(self, name: str, tensor: Tensor, generator: torch.Generator) -> None:
        """Fill the whole of the parameter `name`, on the CPU, with its first value."""
        # sums that are normed at once do not grow from block to block
        first_weights(name, tensor, generator, writers=1 if self.sizes.norm_after else 2 * self.sizes.layers)


class MaskedHead(nn.Module):
    """Hidden states to what the unembedding compares with all tokens; `bias` (vocabulary,) is added to the logits.

    Args:
        sizes: The architecture of the encoder.
        vocabulary: Number of tokens.
    """

    def __init__(self, sizes: Architecture, vocabulary: int) -> None:
        super().__init__()
        self.activation: Activation = sizes.activation
        self.dense = nn.Linear(sizes.width, sizes.width)
        self.norm = build_norm(sizes)
        self.bias = nn.Parameter(torch.empty(vocabulary))

    def forward(self, states: Tensor) -> Tensor:
        """(..., width) to the same: logits are this @ unembedding.T + bias."""
        return self.norm(activate(self.dense(states), self.activation))


# ---- BERT

_EMBEDDING_NAMES = {
    "embedding.weight": "word_embeddings.weight",
    "position_embedding.weight": "position_embeddings.weight",
    "segment_embedding.weight": "token_type_embeddings.weight",
    "embedding_norm.weight": "LayerNorm.weight",
    "embedding_norm.bias": "LayerNorm.bias",
}
_BLOCK_NAMES = {
    "attention.query": "attention.self.query",
    "attention.key": "attention.self.key",
    "attention.value": "attention.self.value",
    "attention.output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "feed_forward.up": "intermediate.dense",
    "feed_forward.down": "output.dense",
    "feed_forward_norm": "output.LayerNorm",
}


def _names(sizes: Architecture) -> dict[str, Source]:
    names = {ours: Source(f"bert.embeddings.{its}") for ours, its in _EMBEDDING_NAMES.items()}
    for block in range(sizes.layers):
        for ours, its in _BLOCK_NAMES.items():
            for kind in ("weight", "bias"):
                names[f"blocks.{block}.{ours}.{kind}"] = Source(f"bert.encoder.layer.{block}.{its}.{kind}")
    for kind in ("weight", "bias"):
        names[f"pooler.{kind}"] = Source(f"bert.pooler.dense.{kind}")
    if not sizes.tied:
        names["output.weight"] = Source("cls.predictions.decoder.weight")
    return names


def _heads(head: HeadKind, sizes: Architecture) -> dict[str, Source]:
    if head != "masked":
        return {"weight": Source("classifier.weight"), "bias": Source("classifier.bias")}
    its = "cls.predictions.transform"
    return {
        "dense.weight": Source(f"{its}.dense.weight"),
        "dense.bias": Source(f"{its}.dense.bias"),
        "norm.weight": Source(f"{its}.LayerNorm.weight"),
        "norm.bias": Source(f"{its}.LayerNorm.bias"),
        "bias": Source("cls.predictions.bias"),
    }


def _architecture(config: Config) -> Architecture:
    width, heads = config["hidden_size"], config["num_attention_heads"]
    return Architecture(
        kind="encoder",
        layers=config["num_hidden_layers"],
        width=width,
        heads=heads,
        key_value_heads=heads,
        head_width=width // heads,
        feed_forward=config["intermediate_size"],
        norm="layer",
        norm_epsilon=config.get("layer_norm_eps", 1e-12),
        norm_after=True,
        positions="learned",
        activation=activation(config, "hidden_act", "gelu"),
        bias=True,
        tied=config.get("tie_word_embeddings", True),
        dropout=config.get("hidden_dropout_prob", 0.1),
        segments=config.get("type_vocab_size", 2),
    )


def _config(sizes: Architecture, vocabulary: int, length: int) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary,
        "max_position_embeddings": length,
        "hidden_size": sizes.width,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "intermediate_size": sizes.feed_forward,
        "hidden_act": theirs(sizes.activation),
        "layer_norm_eps": sizes.norm_epsilon,
        "hidden_dropout_prob": sizes.dropout,
        "attention_probs_dropout_prob": 0.0,
        "type_vocab_size": sizes.segments,
        "position_embedding_type": "absolute",
        "tie_word_embeddings": sizes.tied,
    }


def _is_bert(sizes: Architecture) -> bool:
    shape = (sizes.kind, sizes.norm, sizes.norm_after, sizes.positions, sizes.gated, sizes.bias, sizes.tied)
    plain = sizes.key_value_heads == sizes.heads and sizes.head_width * sizes.heads == sizes.width
    # untied, BERT of transformers 5 has a second bias, which we do not have
    return plain and sizes.segments > 0 and shape == ("encoder", "layer", True, "learned", False, True, True)


BERT = Family(
    model_type="bert",
    classes={
        "masked": "BertForMaskedLM",
        "classification": "BertForSequenceClassification",
        "token_classification": "BertForTokenClassification",
    },
    architecture=_architecture,
    config=_config,
    accepts=_is_bert,
    names=_names,
    heads=_heads,
    prefix="bert.",
    used=keys_of(
        """
        hidden_size num_attention_heads num_hidden_layers intermediate_size layer_norm_eps hidden_act
        hidden_dropout_prob type_vocab_size
        """
    ),
    fixed={
        "position_embedding_type": ("absolute",),
        "is_decoder": (False,),
        "add_cross_attention": (False,),
        "tie_word_embeddings": (True,),
    },
    inert=keys_of(
        """
        attention_probs_dropout_prob classifier_dropout directionality pooler_fc_size pooler_num_attention_heads
        pooler_num_fc_layers pooler_size_per_head pooler_type
        """
    ),
    optional=(r"pooler\..*",),
    ignored=(r".*\.?embeddings\.position_ids", r"cls\.seq_relationship\..*"),
    same={
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
)
