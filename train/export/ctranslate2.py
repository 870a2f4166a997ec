"""A trained decoder in CTranslate2's files, 8 bits a weight and activations in 8 bits while it computes.

Its own converter reads a Hugging Face folder that is written for it and removed. It converts twice: in float32, whose logits
must be those of our own forward pass, so that it computes the same model; then in int8, which must lie near them, and
whose distance is told. Costs the memory and the disk of two float32 models while it works.
"""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from curate.errors import CurateError
from curate.train.export.formats import Form, Made
from curate.train.export.forward import TOLERANCE, Forward, check_tokens, head_of, refuse_difference
from curate.train.export.huggingface import write_whole
from curate.train.models.backbone import quiet
from curate.train.models.trunk import families_of
from curate.train.weights.export import Trained, plain
from curate.train.weights.origin import Stored

__all__ = ["refuse", "write"]

_FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "gpt2")
"""Those that its converter and we both have."""
_BESIDE = ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja")
FARTHEST = 0.3
"""Most that int8 may be from float32, as a share of the spread of the logits: 0.05 to 0.12 are usual of small models."""


def refuse(stored: Stored, path: Path) -> None:
    """Refuse a model that CTranslate2's converter does not read, before it is read.

    Raises:
        CurateError: It says which it reads.
    """
    sizes, objective = stored.sizes, stored.config.objective.kind
    families = families_of(sizes) if sizes.kind == "decoder" else []
    if head_of(objective) != "causal" or not families or families[0].model_type not in _FAMILIES:
        family = families[0].model_type if families else sizes.kind
        raise CurateError(
            f"models of the family {family} trained for `{objective}` are not written for CTranslate2 here",
            str(path),
            f"decoders that write text are, of the families {', '.join(_FAMILIES)}",
        )


def write(trained: Trained, path: Path, folder: Path, form: Form) -> Made:
    """Write CTranslate2's folder, and compare it with the model.

    Raises:
        CurateError: What was written is not the model.
    """
    trained, between = plain(trained), folder / "between"
    write_whole(trained, between / "hf")
    tokens = check_tokens(trained)
    with torch.no_grad():
        logits = Forward(trained)(tokens)
    _convert(between / "hf", between / "float32", None)
    largest = refuse_difference(_logits(between / "float32", tokens, "float32"), logits, what="CTranslate2 in float32")
    shutil.rmtree(between / "float32")
    _convert(between / "hf", between / "int8", "int8")
    for name in _BESIDE:
        if (between / "hf" / name).is_file():
            shutil.copyfile(between / "hf" / name, folder / name)
    for file in (between / "int8").iterdir():
        file.rename(folder / file.name)
    shutil.rmtree(between)
    check = {
        "compared": "logits",
        "by": f"ctranslate2 {version('ctranslate2')}, in float32",
        "tokens": tokens.numel(),
        "largest_difference": largest,
        "tolerance": TOLERANCE,
        "type": "int8",
        **_rounding(_logits(folder, tokens, "int8"), logits),
    }
    return Made(trained, check)


def _convert(source: Path, target: Path, quantization: str | None) -> None:
    from ctranslate2.converters import TransformersConverter

    with quiet():
        TransformersConverter(str(source)).convert(str(target), quantization=quantization)


def _logits(folder: Path, tokens: Tensor, kind: str) -> Tensor:
    import ctranslate2

    generator = ctranslate2.Generator(str(folder), device="cpu", compute_type=kind)
    return torch.from_numpy(np.array(generator.forward_batch(tokens.tolist())))


def _rounding(found: Tensor, exact: Tensor) -> dict[str, float]:
    """How far int8 is from the model: as a share of the spread of the logits, and where the likeliest token is the same."""
    spread = exact - exact.mean(-1, keepdim=True)
    distance = float((found - found.mean(-1, keepdim=True) - spread).norm() / spread.norm())
    if not distance <= FARTHEST:
        raise CurateError(
            f"in int8 the model's logits are {distance:.2g} of their spread away from its own: it does not bear 8 bits",
            hint="export it as gguf, f16; nothing was written",
        )
    return {"rounding": distance, "same_likeliest": float((found.argmax(-1) == exact.argmax(-1)).float().mean())}
