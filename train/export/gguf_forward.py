"""A GGUF file's logits, from nothing but what is in the file: the small reader that an export is checked with.

It computes as llama.cpp documents its graphs (src/llama-model.cpp, `llama_model_rope_type`): in the architecture `llama` the
rotation turns neighbouring numbers of a head, (2i, 2i + 1), which is why the rows of queries and keys are put in another order;
in the others numbers half a head apart. float32, one text, no cache.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

__all__ = ["GgufFile"]

Floats = NDArray[np.float32]


class GgufFile:
    """What is in a file, its weights as float32.

    Attributes:
        tensors: By llama.cpp's names.
        kinds: The type of each.
    """

    def __init__(self, path: Path) -> None:
        from gguf import GGUFReader
        from gguf.quants import dequantize

        reader = GGUFReader(path)
        self.fields: dict[str, Any] = {name: field.contents() for name, field in reader.fields.items()}
        self.tensors: dict[str, Floats] = {
            tensor.name: np.array(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
            for tensor in reader.tensors
        }
        self.kinds: dict[str, str] = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
        self.architecture: str = self.fields["general.architecture"]

    def key(self, name: str, default: Any = None) -> Any:
        """The value of a key of the architecture's own."""
        return self.fields.get(f"{self.architecture}.{name}", default)

    def logits(self, tokens: NDArray[np.int64]) -> Floats:
        """(length, vocabulary) of a text's tokens (length,)."""
        states = self.tensors["token_embd.weight"][tokens]
        turn = self._turn(len(tokens))
        for number in range(self.key("block_count")):
            states = self._block(f"blk.{number}", states, turn)
        output = self.tensors.get("output.weight", self.tensors["token_embd.weight"])
        return self._norm(states, "output_norm") @ output.T

    def _block(self, name: str, states: Floats, turn: tuple[Floats, Floats]) -> Floats:
        mixed = self._attend(name, self._norm(states, f"{name}.attn_norm"), turn)
        states = states + self._norm(mixed, f"{name}.post_attention_norm")
        read = self._norm(states, f"{name}.ffn_norm")
        gate = self._linear(read, f"{name}.ffn_gate")
        inner = gate / (1 + np.exp(-gate)).astype(np.float32) * self._linear(read, f"{name}.ffn_up")
        return states + self._norm(self._linear(inner, f"{name}.ffn_down"), f"{name}.post_ffw_norm")

    def _attend(self, name: str, states: Floats, turn: tuple[Floats, Floats]) -> Floats:
        length, width = len(states), self.key("attention.key_length")
        parts: dict[str, Floats] = {}
        for part in ("q", "k", "v"):
            made = self._linear(states, f"{name}.attn_{part}")
            norm = self.tensors.get(f"{name}.attn_{part}_norm.weight")
            if norm is not None and len(norm) != width:  # over all heads
                made = self._norm(made, f"{name}.attn_{part}_norm")
            made = made.reshape(length, -1, width)
            if norm is not None and len(norm) == width:
                made = self._norm(made, f"{name}.attn_{part}_norm")
            parts[part] = made if part == "v" else self._rotated(made, turn)
        group = parts["q"].shape[1] // parts["k"].shape[1]
        keys, values = np.repeat(parts["k"], group, axis=1), np.repeat(parts["v"], group, axis=1)
        scores = np.einsum("qhd,khd->hqk", parts["q"], keys) / np.sqrt(np.float32(width))
        scores = np.where(np.tri(length, dtype=bool), scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        mixed = np.einsum("hqk,khd->qhd", weights, values)
        return self._linear(mixed.reshape(length, -1).astype(np.float32), f"{name}.attn_output")

    def _turn(self, length: int) -> tuple[Floats, Floats]:
        """Cosines and sines, (length, 1, half a head)."""
        width = self.key("rope.dimension_count")
        frequencies = self.key("rope.freq_base") ** (-np.arange(0, width, 2, dtype=np.float32) / width)
        frequencies = frequencies / self.tensors.get("rope_freqs.weight", np.float32(1))
        angles = np.arange(length)[:, None, None] * frequencies / self.key("rope.scaling.factor", 1.0)
        return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)

    def _rotated(self, states: Floats, turn: tuple[Floats, Floats]) -> Floats:
        cosines, sines = turn
        neighbours = self.architecture == "llama"
        half = states.shape[-1] // 2
        one, other = (states[..., ::2], states[..., 1::2]) if neighbours else (states[..., :half], states[..., half:])
        turned = (one * cosines - other * sines, other * cosines + one * sines)
        made = np.stack(turned, -1).reshape(states.shape) if neighbours else np.concatenate(turned, -1)
        return cast(Floats, made)

    def _norm(self, states: Floats, name: str) -> Floats:
        """A root-mean-square norm; the states themselves where the file has none of this name."""
        weight = self.tensors.get(f"{name}.weight")
        if weight is None:
            return states
        epsilon = self.key("attention.layer_norm_rms_epsilon")
        return cast(Floats, states / np.sqrt((states**2).mean(-1, keepdims=True) + np.float32(epsilon)) * weight)

    def _linear(self, states: Floats, name: str) -> Floats:
        made = states @ self.tensors[f"{name}.weight"].T
        bias = self.tensors.get(f"{name}.bias")
        return made if bias is None else made + bias
