"""From sizes to a trunk, its logits, and the families that Hugging Face has of them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from curate.train.models.family import Family
from curate.train.models.layers import soft_cap
from curate.train.settings.architecture import Architecture

__all__ = ["build_trunk", "families", "families_of", "logits_of"]


def build_trunk(sizes: Architecture, *, vocabulary: int, length: int, pooler: bool = False) -> nn.Module:
    """The trunk that these sizes describe, its parameters not filled; it may be built on the meta device.

    Args:
        sizes: The architecture; not of a `pretrained` model, which transformers builds.
        vocabulary: Number of tokens.
        length: Most tokens in a sequence.
        pooler: An encoder gets BERT's pooler.
    """
    match sizes.kind:
        case "decoder":
            from curate.train.models.decoder import Decoder

            return Decoder(sizes, vocabulary=vocabulary, length=length)
        case "encoder":
            from curate.train.models.encoder import Encoder

            return Encoder(sizes, vocabulary=vocabulary, length=length, pooler=pooler)
        case "encoder_decoder":
            from curate.train.models.encoder_decoder import EncoderDecoder

            return EncoderDecoder(sizes, vocabulary=vocabulary, length=length)
        case "lstm":
            from curate.train.models.recurrent import Recurrent

            return Recurrent(sizes, vocabulary=vocabulary, length=length)
        case "cnn":
            from curate.train.models.convolution import Convolutional

            return Convolutional(sizes, vocabulary=vocabulary, length=length)
        case "mlp":
            from curate.train.models.perceptron import Perceptron

            return Perceptron(sizes, vocabulary=vocabulary, length=length)
        case "pretrained":
            raise AssertionError("a pretrained model is built by transformers")


def families() -> tuple[Family, ...]:
    """All that can be read from Hugging Face's files, and written."""
    from curate.train.models.decoder import GPT2
    from curate.train.models.encoder import BERT
    from curate.train.models.encoder_decoder import T5
    from curate.train.models.families import FAMILIES

    return *FAMILIES, GPT2, BERT, T5


def families_of(sizes: Architecture) -> list[Family]:
    """Those that compute just what these sizes describe; first the one that the model came from."""
    found = [family for family in families() if family.accepts(sizes)]
    return sorted(found, key=lambda family: family.model_type != sizes.family)


def logits_of(trunk: Any, states: Tensor) -> Tensor:
    """Logits (..., vocabulary) float32 of a trunk's states (..., width)."""
    return soft_cap((states @ trunk.unembedding.T).float(), trunk.sizes.logit_cap)
