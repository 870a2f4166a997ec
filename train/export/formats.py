"""The table of formats, and what is refused before a model is read.

    huggingface   config.json, safetensors, tokenizer, template: transformers, vLLM, SGLang, `curate serve`
    gguf          one file of 16 or 8 bits a weight: llama.cpp and what is built on it
    ctranslate2   8 bits a weight and activation: CTranslate2
    onnx          our own forward pass as a graph: ONNX Runtime

Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.errors import CurateError, did_you_mean

if TYPE_CHECKING:
    from curate.train.weights.export import Trained

__all__ = ["FORMATS", "Form", "Made", "check_form", "refuse_present"]

FORMATS: dict[str, tuple[str, ...]] = {
    "huggingface": (),
    "gguf": ("gguf",),
    "ctranslate2": ("ctranslate2", "transformers"),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
}
"""Packages that each needs, beside torch."""
QUANTIZED = ("f16", "q8_0")
"""Types of the weights in a GGUF file."""


@dataclass(frozen=True, slots=True)
class Form:
    """What an export is asked to be.

    Attributes:
        format: Of the table.
        adapter: Only the adapters of a LoRA run, in PEFT's files (huggingface).
        half: bfloat16 and not float32 (huggingface).
        quantize: Type of the weights (gguf).
    """

    format: str = "huggingface"
    adapter: bool = False
    half: bool = False
    quantize: str | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """What a format's `write` made.

    Attributes:
        trained: The model that is in the files.
        check: How it was compared.
        notes: What is not seen from the files.
        facts: What whoever uses them must know besides.
    """

    trained: Trained
    check: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def check_form(form: Form) -> None:
    """Refuse what no export can be, and what a package is missing for.

    Raises:
        CurateError: It says which, and how to install it.
    """
    if form.format not in FORMATS:
        near = did_you_mean(form.format, dict.fromkeys(FORMATS))
        raise CurateError(
            f"there is no format `{form.format}`", "--format", near or f"formats are {', '.join(FORMATS)}"
        )
    for name, given in (("--adapter", form.adapter), ("--half", form.half)):
        if given and form.format != "huggingface":
            raise CurateError(f"{name} is for Hugging Face folders, not for {form.format}", name, "leave it out")
    if form.quantize is not None and form.format != "gguf":
        raise CurateError(f"--quantize is for gguf, not for {form.format}", "--quantize", "leave it out")
    if form.quantize not in (None, *QUANTIZED):
        near = did_you_mean(form.quantize, dict.fromkeys(QUANTIZED))
        raise CurateError(
            f"there is no type `{form.quantize}`",
            "--quantize",
            near or f"types are {', '.join(QUANTIZED)}; llama.cpp's own llama-quantize makes smaller ones of f16",
        )
    missing = [name for name in FORMATS[form.format] if find_spec(name) is None]
    if missing:
        raise CurateError(
            f"{form.format} needs {', '.join(missing)}, which is not installed",
            "--format",
            "pip install 'curate-lm[export]'",
        )


def refuse_present(path: Path) -> None:
    """Refuse a place where something stands.

    Raises:
        CurateError: It names it.
    """
    if path.exists() or path.is_symlink():
        raise CurateError("the folder is there already", str(path), "name another one, or remove it")
