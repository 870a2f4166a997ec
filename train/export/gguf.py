"""A trained decoder as one GGUF file, for llama.cpp: 16 bits a weight, or 8 and a scale for each 32 (Q8_0).

Names of tensors are the package's own, by those of the Hugging Face family. Vectors stay float32, as llama.cpp has them; of
a matrix whose rows are no multiple of 32 numbers Q8_0 makes F16, and a note says how many. The file is read again by
the package's reader: the weights lie within the type's rounding of the run's, and a forward pass in llama.cpp's convention
over them (gguf_forward.py) gives the logits that our own gives with the same rounded weights. llama.cpp itself: a test that
is asked for by CURATE_LLAMA_CPP. Costs the memory of the float32 model twice.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from curate.errors import CurateError
from curate.tokenize.roles import roles as known_roles
from curate.tokenize.tokenizer import load_tokenizer
from curate.train.export.formats import Form, Made
from curate.train.export.forward import TOLERANCE, Forward, check_tokens, head_of, refuse_difference
from curate.train.export.gguf_forward import GgufFile
from curate.train.export.gguf_tokenizer import check_tokenizer, write_tokens
from curate.train.export.huggingface import turn_end
from curate.train.models.family import Family
from curate.train.models.positions import frequencies_of
from curate.train.models.trunk import families_of
from curate.train.settings.architecture import Architecture
from curate.train.weights.export import Trained, plain
from curate.train.weights.origin import Stored

__all__ = ["refuse", "write"]

_ARCHITECTURES = {"llama": "LLAMA", "mistral": "LLAMA", "qwen2": "QWEN2", "qwen3": "QWEN3", "olmo2": "OLMO2"}
"""Our families, and the package's names of llama.cpp's architectures that compute them."""
FILE = "model.gguf"
_BLOCK = 32
"""Numbers that have a scale together in Q8_0."""


def refuse(stored: Stored, path: Path) -> None:
    """Refuse a model that llama.cpp would compute otherwise, before it is read.

    Raises:
        CurateError: It says why.
    """
    sizes, config = stored.sizes, stored.config
    if sizes.kind != "decoder" or head_of(config.objective.kind) != "causal":
        raise CurateError(
            f"a model of the kind {sizes.kind} trained for `{config.objective.kind}` has no GGUF form",
            str(path),
            "decoders that write text have one",
        )
    family = families_of(sizes)[0].model_type if families_of(sizes) else "unknown"
    if family not in _ARCHITECTURES:
        raise CurateError(
            f"models of the family {family} are not written as GGUF here",
            str(path),
            f"families that are: {', '.join(_ARCHITECTURES)}; of others llama.cpp's own convert_hf_to_gguf.py may make one "
            "from a Hugging Face folder (`curate export` without --format)",
        )
    if sizes.rope_scaling and sizes.rope_scaling.kind == "yarn":
        raise CurateError("YaRN's frequencies are not written as GGUF here", str(path))
    check_tokenizer(stored.tokenizer)


def write(trained: Trained, path: Path, folder: Path, form: Form) -> Made:
    """Write FOLDER/model.gguf, and compare it with the model.

    Raises:
        CurateError: It has no such form, or what was written is not the model.
    """
    trained = plain(trained)
    sizes = trained.sizes
    if sizes.windowed and (sizes.window or 0) < trained.length:
        raise CurateError(
            f"llama.cpp computes this family without windows, and the model has one of {sizes.window} tokens",
            str(path),
            "a Hugging Face folder has them (`curate export` without --format)",
        )
    family, quantize = families_of(sizes)[0], form.quantize or "f16"
    notes = _write(trained, family, folder / FILE, quantize)
    return Made(trained, {**_compare(trained, family, folder / FILE), "type": quantize}, notes)


# ---- writing


def _write(trained: Trained, family: Family, file: Path, quantize: str) -> list[str]:
    import gguf

    writer = gguf.GGUFWriter(file, gguf.MODEL_ARCH_NAMES[_architecture(family)])
    _write_sizes(writer, trained, quantize)
    roles = known_roles(load_tokenizer(trained.tokenizer))
    write_tokens(
        writer,
        trained.tokenizer,
        vocabulary=trained.vocabulary,
        chat_template=trained.chat_template,
        turn_end=turn_end(trained, roles),
    )
    coarse = gguf.GGMLQuantizationType[quantize.upper()]
    odd = 0
    for name, ours in _names(trained, family).items():
        array = _permuted(trained.sizes, family, ours, trained.tensors[ours]).contiguous().float().numpy()
        kind = gguf.GGMLQuantizationType.F32 if array.ndim == 1 else coarse
        if kind == gguf.GGMLQuantizationType.Q8_0 and array.shape[-1] % _BLOCK:
            kind, odd = gguf.GGMLQuantizationType.F16, odd + 1
        writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
    scaling = trained.sizes.rope_scaling
    if scaling and scaling.kind == "llama3":
        plainly = frequencies_of(replace(trained.sizes, rope_scaling=None))
        writer.add_tensor("rope_freqs.weight", (plainly / frequencies_of(trained.sizes)).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return [f"{odd} matrices have rows that are no multiple of {_BLOCK} numbers: they are F16"] if odd else []


def _architecture(family: Family) -> Any:
    import gguf

    return gguf.MODEL_ARCH[_ARCHITECTURES[family.model_type]]


def _write_sizes(writer: Any, trained: Trained, quantize: str) -> None:
    import gguf

    sizes = trained.sizes
    writer.add_name(trained.config.run)
    writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{quantize.upper()}"])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(trained.vocabulary)
    writer.add_context_length(trained.length)
    writer.add_embedding_length(sizes.width)
    writer.add_block_count(sizes.layers)
    writer.add_feed_forward_length(sizes.feed_forward)
    writer.add_head_count(sizes.heads)
    writer.add_head_count_kv(sizes.key_value_heads)
    writer.add_key_length(sizes.head_width)
    writer.add_value_length(sizes.head_width)
    writer.add_layer_norm_rms_eps(sizes.norm_epsilon)
    writer.add_rope_dimension_count(sizes.head_width)
    writer.add_rope_freq_base(sizes.rope_theta)
    if sizes.rope_scaling and sizes.rope_scaling.kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(sizes.rope_scaling.factor)


def _names(trained: Trained, family: Family) -> dict[str, str]:
    """llama.cpp's names of all tensors, and ours."""
    import gguf

    table = gguf.get_tensor_name_map(_architecture(family), trained.sizes.layers)
    found: dict[str, str] = {}
    for ours, source in family.names(trained.sizes).items():
        name = table.get_name(source.name, try_suffixes=(".weight", ".bias"))
        assert name is not None, f"no name for {source.name}"
        found[name] = f"model.{ours}"
    return found


def _permuted(sizes: Architecture, family: Family, ours: str, tensor: Tensor, *, back: bool = False) -> Tensor:
    """Rows of queries and keys in the order in which llama.cpp turns them: pairs beside each other, not half a head apart."""
    layer = ours.split(".")[-2]
    if _ARCHITECTURES[family.model_type] != "LLAMA" or layer not in ("query", "key"):
        return tensor
    heads = sizes.heads if layer == "query" else sizes.key_value_heads
    halves = (sizes.head_width // 2, 2) if back else (2, sizes.head_width // 2)
    return tensor.unflatten(0, (heads, *halves)).transpose(1, 2).flatten(0, 2)


# ---- comparing


@torch.no_grad()
def _compare(trained: Trained, family: Family, file: Path) -> dict[str, Any]:
    found = GgufFile(file)
    names = _names(trained, family)
    strange = {*found.tensors} ^ {*names} - {"rope_freqs.weight"}
    if strange - {"rope_freqs.weight"}:
        raise CurateError(f"the GGUF file has other tensors than the model: {min(strange)}", hint="nothing was written")
    rounded: dict[str, Tensor] = {}
    for name, ours in names.items():
        wanted = _permuted(trained.sizes, family, ours, trained.tensors[ours]).float().numpy()
        _refuse_rounding(name, found.tensors[name], wanted, found.kinds[name])
        rounded[ours] = _permuted(
            trained.sizes, family, ours, torch.from_numpy(found.tensors[name]), back=True
        ).contiguous()
    tokens = check_tokens(trained)
    theirs = torch.from_numpy(found.logits(tokens[0].numpy()))[None]
    same = Forward(replace(trained, tensors={**trained.tensors, **rounded}))(tokens)
    largest = refuse_difference(theirs, same, what="the GGUF file")
    exact = Forward(trained)(tokens)
    return {
        "compared": "logits",
        "by": "a forward pass in llama.cpp's convention over the file, and our own with the file's weights",
        "tokens": tokens.numel(),
        "largest_difference": largest,
        "tolerance": TOLERANCE,
        "rounding": float((same - exact).abs().max()),
        "same_likeliest": float((same.argmax(-1) == exact.argmax(-1)).float().mean()),
    }


def _refuse_rounding(name: str, found: NDArray[np.float32], wanted: NDArray[np.float32], kind: str) -> None:
    """Each weight lies within its type's rounding: half a step of a half, or of its block's scale, itself a half."""
    if found.shape != wanted.shape:
        raise CurateError(f"`{name}` of the GGUF file has the shape {found.shape}", hint="nothing was written")
    if kind == "F32":
        bound: Any = 0.0
    elif kind == "F16":
        bound = np.abs(wanted) * 2.0**-11 + 2.0**-25
    else:
        scales = np.abs(wanted).reshape(-1, _BLOCK).max(-1, keepdims=True) / 127
        bound = np.broadcast_to(scales * (0.5 + 127 * 2.0**-10) + 2.0**-18, (scales.size, _BLOCK)).reshape(wanted.shape)
    if not (np.abs(found - wanted) <= bound).all():
        raise CurateError(f"`{name}` has numbers that {kind} cannot hold", hint="nothing was written")
