"""Which model: its kind, its sizes by preset or one by one, and the switches that tell one family from another.

    decoder          the next token from those before it: Llama (Touvron et al. 2023), GPT-2 (Radford et al. 2019), and
                     of existing models all families in curate.train.models.families
    encoder          every token from all others: BERT (Devlin et al. 2019)
    encoder_decoder  a text from a text: T5 (Raffel et al. 2020)
    lstm             recurrent: Hochreiter and Schmidhuber 1997
    mlp              layers over the numbers of a table, for classification: Gorishniy et al. 2021
    cnn              convolutions over words for classification: Kim 2014
    pretrained       any model that `transformers.AutoModel` can load

Nothing here imports torch: `curate train --plan` and the checks of a file need sizes only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["PRESETS", "Architecture", "Kind", "ModelSettings", "RopeScaling"]

Kind = Literal["decoder", "encoder", "encoder_decoder", "lstm", "cnn", "mlp", "pretrained"]
Norm = Literal["rms", "layer"]
Positions = Literal["rotary", "learned", "relative"]
Activation = Literal["swiglu", "geglu", "gelu", "gelu_tanh", "relu"]
Preset = Literal["1m", "3m", "10m", "30m", "100m", "124m", "350m", "1b", "3b", "7b"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeScaling:
    """How rotary frequencies were changed so that a model reads longer texts than it was first trained on.

    Attributes:
        kind: All frequencies divided (Chen et al. 2023), or only slow ones (YaRN, Peng et al. 2023; Llama 3.1).
        factor: What they are divided by.
        original_length: Positions that the model had before (yarn, llama3).
        slow: Turns in the original length up to which a frequency is divided.
        fast: Turns from which on it stays; between both it is a mixture.
        whole: The mixture begins and ends at whole numbers of frequencies (yarn).
        attention_factor: Cosines and sines are multiplied by it (yarn).
    """

    kind: Literal["linear", "llama3", "yarn"]
    factor: float
    original_length: int = 0
    slow: float = 1.0
    fast: float = 1.0
    whole: bool = True
    attention_factor: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """All that decides the shape of a model but its vocabulary.

    Attributes:
        kind: The family.
        layers: Blocks; of an encoder-decoder, in each of both.
        width: Size of the hidden states.
        heads: Query heads.
        key_value_heads: Key and value heads, shared by groups of query heads.
        head_width: Size of a head.
        feed_forward: Hidden size of the feed-forward layers.
        norm: Root-mean-square (Zhang and Sennrich 2019) or layer norm.
        norm_epsilon: Added under its root.
        norm_after: Norms stand after each sublayer's sum (BERT) and not before the sublayer.
        positions: Rotated queries and keys, a learned table, or learned biases by distance (T5).
        activation: Of the feed-forward layers; swiglu and geglu are gated.
        bias: Linear layers have biases.
        tied: Output and embedding are one matrix.
        dropout: Share of activations set to zero in training.
        rope_theta: Base of the rotary frequencies.
        segments: Kinds of segments that are embedded (BERT: 2); 0 is none.
        kernels: Widths of the convolutions (cnn).
        bidirectional: A text is read in both directions, half of the width each (lstm).
        family: Type of the Hugging Face model that it came from and is written as, where several would do; it changes
            nothing that is computed.
        projection_bias: Queries, keys and values have biases, whatever `bias` says of the rest (Qwen 2).
        norm_inputs: A norm of what each sublayer reads.
        norm_outputs: A norm of what each sublayer adds (OLMo 2, Gemma 2).
        norm_offset: Norms multiply by 1 + weight (Gemma).
        query_key_norm: A norm of queries and keys: in each head (Qwen 3), or over all heads (OLMo 2).
        rope_scaling: Frequencies of rotation that were changed for longer texts.
        unrotated: Layers, by number, without positions (SmolLM 3).
        windowed: Layers, by number, that see the last `window` tokens only, their own included.
        window: See `windowed`.
        window_theta: Rotary base of windowed layers, which is not scaled; None: as in the others.
        query_scalar: Attention's scores are divided by the root of it; None: of the head's width (Gemma).
        attention_cap: Scores become cap * tanh(score / cap) (Gemma 2).
        logit_cap: So do logits.
        embedding_scale: Embedded tokens are multiplied by the root of the width (Gemma).
        experts: Feed-forward layers of a block of which a router chooses some for each token; 0: one that all have.
        active_experts: How many of them a token has.
        experts_normed: Their shares are made to sum to 1.
        balance: What an uneven choice of experts costs in training.
    """

    kind: Kind = "decoder"
    layers: int
    width: int
    heads: int
    key_value_heads: int
    head_width: int
    feed_forward: int
    norm: Norm = "rms"
    norm_epsilon: float = 1e-5
    norm_after: bool = False
    positions: Positions = "rotary"
    activation: Activation = "swiglu"
    bias: bool = False
    tied: bool = True
    dropout: float = 0.0
    rope_theta: float = 10_000.0
    segments: int = 0
    kernels: tuple[int, ...] = (3, 4, 5)
    bidirectional: bool = False
    family: str | None = None
    projection_bias: bool = False
    norm_inputs: bool = True
    norm_outputs: bool = False
    norm_offset: bool = False
    query_key_norm: Literal["head", "width"] | None = None
    rope_scaling: RopeScaling | None = None
    unrotated: tuple[int, ...] = ()
    windowed: tuple[int, ...] = ()
    window: int | None = None
    window_theta: float | None = None
    query_scalar: int | None = None
    attention_cap: float | None = None
    logit_cap: float | None = None
    embedding_scale: bool = False
    experts: int = 0
    active_experts: int = 0
    experts_normed: bool = False
    balance: float = 0.0

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Architecture:
        """From what `dataclasses.asdict` and JSON made of one, perhaps of an older version with fewer fields.

        Raises:
            TypeError: It has a field that is not known here.
        """
        given = dict(stored)
        for name in ("kernels", "unrotated", "windowed"):
            if name in given:
                given[name] = tuple(given[name])
        if given.get("rope_scaling"):
            given["rope_scaling"] = RopeScaling(**given["rope_scaling"])
        return cls(**given)

    @property
    def gated(self) -> bool:
        """The feed-forward layers have a gate."""
        return self.activation in ("swiglu", "geglu")

    def block_parameters(self, *, active: bool = False) -> int:
        """Matrix parameters of one transformer block, without norms and biases; or those that one token meets."""
        attention = 2 * self.width * self.head_width * (self.heads + self.key_value_heads)
        feed_forward = (3 if self.gated else 2) * self.width * self.feed_forward
        if self.experts:
            feed_forward *= self.active_experts if active else self.experts
        return attention + feed_forward + self.width * self.experts

    def parameters(self, vocabulary: int) -> int:
        """Parameters of a decoder of the style of Llama; a tied embedding counts once, norms of queries and keys do not."""
        embedding = vocabulary * self.width * (1 if self.tied else 2)
        return embedding + self.layers * (self.block_parameters() + 2 * self.width) + self.width


# layers, width, heads, key_value_heads, feed_forward (gated; layers without a gate are 4 x width)
_SIZES: dict[str, tuple[int, int, int, int, int]] = {
    "1m": (4, 128, 4, 2, 384),
    "3m": (4, 192, 6, 2, 512),
    "10m": (4, 384, 6, 2, 1152),
    "30m": (8, 512, 8, 4, 1536),
    "100m": (12, 768, 12, 4, 2048),
    "124m": (12, 768, 12, 12, 2048),
    "350m": (24, 1024, 16, 16, 2816),
    "1b": (22, 2048, 32, 4, 5632),
    "3b": (28, 3072, 24, 8, 8192),
    "7b": (32, 4096, 32, 32, 11008),
}
_TABLE = (2, 128, 1, 1, 256)
"""Of a table: what a few thousand rows can teach."""
PRESETS = tuple(_SIZES)
"""Named by their parameters as decoders: to 10m with a few thousand tokens, from 30m with 32 thousand or more."""

_STYLES: dict[str, dict[str, object]] = {
    "llama": {},
    "qwen3": {"query_key_norm": "head", "norm_epsilon": 1e-6, "family": "qwen3"},
    "olmo2": {"query_key_norm": "width", "norm_inputs": False, "norm_outputs": True, "family": "olmo2"},
    "gpt2": {"norm": "layer", "positions": "learned", "activation": "gelu_tanh", "bias": True},
    "bert": {
        "norm": "layer",
        "norm_epsilon": 1e-12,
        "norm_after": True,
        "positions": "learned",
        "activation": "gelu",
        "bias": True,
        "segments": 2,
    },
    "t5": {"norm_epsilon": 1e-6, "positions": "relative", "activation": "relu", "tied": False},
}
_STYLE_OF: dict[str, str] = {"decoder": "llama", "encoder": "bert", "encoder_decoder": "t5"}


class ModelSettings(BaseModel):
    """The model: a kind, a preset of sizes, and whatever replaces the preset's; or an existing model to go on from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind = Field(default="decoder", description="family of the model")
    style: Literal["llama", "qwen3", "olmo2", "gpt2"] = Field(
        default="llama", description="switches of a new decoder, all at once"
    )
    preset: Preset = Field(default="10m", description="sizes by name, about the number of parameters of a decoder")
    path: str | None = Field(
        default=None,
        description="begin with the weights of this folder: a run of ours, or a Hugging Face model; its sizes count then",
    )
    layers: int | None = Field(default=None, ge=1, description="blocks (encoder_decoder: in each of both)")
    width: int | None = Field(default=None, ge=2, description="size of the hidden states")
    heads: int | None = Field(default=None, ge=1, description="query heads")
    key_value_heads: int | None = Field(default=None, ge=1, description="key and value heads; divides `heads`")
    feed_forward: int | None = Field(default=None, ge=1, description="hidden size of the feed-forward layers")
    norm: Norm | None = Field(default=None, description="rms or layer norm; by default the style's")
    positions: Literal["rotary", "learned"] | None = Field(default=None, description="by default the style's")
    activation: Activation | None = Field(
        default=None, description="of the feed-forward layers; by default the style's"
    )
    bias: bool | None = Field(default=None, description="linear layers have biases; by default as in the style")
    tied: bool | None = Field(
        default=None, description="output and embedding are one matrix; by default yes, of an encoder_decoder no"
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="share of activations set to zero in training")
    rope_theta: float = Field(default=10_000.0, gt=1, description="base of the rotary position frequencies")
    kernels: tuple[int, ...] = Field(default=(3, 4, 5), min_length=1, description="widths of the convolutions (cnn)")
    bidirectional: bool = Field(
        default=False, description="a text is read in both directions, half of the width each (lstm)"
    )

    @property
    def architecture(self) -> Architecture:
        """The sizes, the preset's where none is given; of a model with `path`, what the file says without it."""
        layers, width, heads, narrow, gated = _TABLE if self.kind == "mlp" else _SIZES[self.preset]
        style = _STYLES.get(self.style if self.kind == "decoder" else _STYLE_OF.get(self.kind, "llama"), {})
        names = {field.name for field in fields(Architecture)}
        given = {name: getattr(self, name) for name in names & set(type(self).model_fields)}
        given = {name: value for name, value in given.items() if value is not None}
        plain = self.kind == "encoder_decoder" or style.get("norm") == "layer"
        base = Architecture(
            layers=layers,
            width=width,
            heads=heads,
            key_value_heads=given.get("heads", heads) if plain else narrow,
            head_width=1,
            feed_forward=gated,
        )
        sizes = replace(base, **{**style, **given})
        if "feed_forward" not in given and not sizes.gated and self.kind != "mlp":
            sizes = replace(sizes, feed_forward=4 * sizes.width)
        return replace(sizes, head_width=max(1, sizes.width // sizes.heads))

    @model_validator(mode="after")
    def _divides(self) -> Self:
        sizes = self.architecture
        if self.kind == "pretrained" and self.path is None:
            raise ValueError("a `pretrained` model needs its `path`")
        if self.kind == "mlp" and (self.path or self.preset != type(self).model_fields["preset"].default):
            raise ValueError("a model of the kind mlp has no `preset` and no `path`: `layers`, `width`, `feed_forward`")
        if self.kind in ("lstm", "cnn", "mlp"):
            return self
        even = 2 if sizes.positions == "rotary" else 1
        if sizes.width % (even * sizes.heads):
            raise ValueError(
                f"width {sizes.width} must be a multiple of {'twice ' if even == 2 else ''}the {sizes.heads} heads"
            )
        if sizes.heads % sizes.key_value_heads:
            raise ValueError(f"{sizes.heads} heads must be a multiple of {sizes.key_value_heads} key_value_heads")
        return self
