"""Detoxify's models (Hanu and Unitary 2020) from a file on this machine.

A checkpoint is a dict of `config` (names of the classes, arguments of the model) and `state_dict`. Detoxify's own loader asks
the network for the configuration and unpickles whatever the file holds; here the file is read as tensors only
(`weights_only=True`), and model and tokenizer come from a local folder. Its prediction cuts a text at what the tokenizer allows
and pads all texts to the longest; here a text is read in windows of at most 512 tokens that overlap by an eighth, and windows
of about one length are batched. Every batch has one of nine shapes, about 512 tokens each, whoever is in it: so what is said of
a text does not depend on the others. On short texts the scores are Detoxify's own (a differential test).
"""

from __future__ import annotations

import json
import pickle
import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from curate.errors import CurateError

__all__ = ["Classifier", "load_classifier"]

LENGTHS = (32, 48, 64, 96, 128, 192, 256, 384, 512)
"""Lengths that windows are padded to, in tokens."""
NAMES = {"toxic": "toxicity", "identity_hate": "identity_attack", "severe_toxic": "severe_toxicity"}
"""What Detoxify calls the classes of its first models today."""
_FORMAT = "a Detoxify checkpoint is a dict of `config` and `state_dict`"


class Classifier(NamedTuple):
    """A loaded model; called with texts, it gives the greatest and the mean score over their windows, texts by classes.

    Attributes:
        classes: Names of the classes.
        model: transformers' model for sequence classification.
        tokenizer: Its tokenizer, a fast one.
        length: Most tokens of a window.
        max_windows: Most windows of a text.
    """

    classes: list[str]
    model: Any
    tokenizer: Any
    length: int
    max_windows: int

    def __call__(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (float32), texts by classes: the greatest over the windows of each text, and the mean."""
        greatest = np.zeros((len(texts), len(self.classes)), np.float32)
        total, counts = np.zeros_like(greatest), np.zeros((len(texts), 1), np.float32)
        by_length: dict[int, list[tuple[int, list[int]]]] = defaultdict(list)
        for row, text in enumerate(texts):
            for tokens in self._windows(text):
                fits = next((one for one in LENGTHS if one >= len(tokens)), self.length)
                by_length[min(fits, self.length)].append((row, tokens))
        for length, windows in sorted(by_length.items()):
            size = max(1, LENGTHS[-1] // length)
            for start in range(0, len(windows), size):
                part = windows[start : start + size]
                for (row, _), scores in zip(part, self._scores([one for _, one in part], length, size), strict=False):
                    greatest[row] = np.maximum(greatest[row], scores)
                    total[row] += scores
                    counts[row] += 1
        return greatest, total / np.maximum(counts, 1)

    def _windows(self, text: str) -> list[list[int]]:
        cut = self.tokenizer(
            text, truncation=True, max_length=self.length, stride=self.length // 8, return_overflowing_tokens=True
        )["input_ids"]
        if len(cut) <= self.max_windows:
            return cut
        return [cut[place] for place in np.linspace(0, len(cut) - 1, self.max_windows).round().astype(int)]

    def _scores(self, windows: list[list[int]], length: int, size: int) -> np.ndarray:
        """Scores of at most `size` windows, in a batch of `size` rows and `length` tokens."""
        import torch

        ids = torch.full((size, length), self.tokenizer.pad_token_id, dtype=torch.long)
        mask = torch.zeros((size, length), dtype=torch.long)
        mask[:, 0] = 1
        for row, tokens in enumerate(windows):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        with torch.inference_mode():
            logits = self.model(input_ids=ids, attention_mask=mask).logits
        return torch.sigmoid(logits).numpy()[:, : len(self.classes)]


def load_classifier(checkpoint: Path, folder: Path, *, max_windows: int = 16) -> Classifier:
    """Load a checkpoint.

    Args:
        checkpoint: `.ckpt` of torch, or `NAME.safetensors` with `{"config": ...}` in `NAME.json`.
        folder: Has config.json and the tokenizer of the model that was trained.
        max_windows: Most windows of a text.

    Raises:
        CurateError: The file is no such checkpoint, holds code, or does not fit the model of the folder.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    config, state = _read(checkpoint)
    classes, outputs = _classes(config, checkpoint)
    try:
        local = {"local_files_only": True, "trust_remote_code": False}
        settings = AutoConfig.from_pretrained(folder, num_labels=outputs, **local)
        model = AutoModelForSequenceClassification.from_config(settings, trust_remote_code=False).float()
        tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, **local)
    except (OSError, ValueError, KeyError) as error:
        raise CurateError(
            f"no model can be made of `{folder}`: {' '.join(str(error).split())[:200]}",
            hint="it needs config.json and tokenizer files of a model that transformers knows",
        ) from None
    _fill(model, state, checkpoint, folder)
    if not tokenizer.is_fast or tokenizer.pad_token_id is None:
        raise CurateError(
            f"the tokenizer in `{folder}` has no fast form or no padding", hint="it needs a tokenizer.json"
        )
    positions = settings.max_position_embeddings - (2 if "roberta" in settings.model_type else 0)
    return Classifier(classes, model.eval(), tokenizer, min(LENGTHS[-1], positions), max_windows)


def _read(path: Path) -> tuple[Any, Any]:
    """The `config` and the tensors of a checkpoint; no code of it is run."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    where = str(path)
    if path.suffix == ".safetensors":
        described = path.with_suffix(".json")
        try:
            return json.loads(described.read_text("utf-8")).get("config"), load_file(path)
        except (OSError, ValueError, AttributeError) as error:
            raise CurateError(f"`{described}` is no JSON object with `config`: {error}", where, _FORMAT) from None
        except SafetensorError as error:
            raise CurateError(f"the file is no safetensors file: {error}", where) from None
    try:
        with warnings.catch_warnings():  # of pickle's protocol, which the errors below are about, too
            warnings.simplefilter("ignore")
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "GLOBAL" in str(error):
            raise CurateError(
                "the checkpoint carries code, or objects that are no tensors; nothing of it was run", where,
                "take it only from whom you trust, and save its tensors again: as safetensors, with `config` as JSON",
            ) from None  # fmt: skip
        raise CurateError("the file is no checkpoint of torch", where, _FORMAT) from None
    except (RuntimeError, EOFError, ValueError, OSError, KeyError) as error:
        raise CurateError(f"the file is no checkpoint of torch: {type(error).__name__}", where, _FORMAT) from None
    if not isinstance(loaded, dict) or not {"config", "state_dict"} <= loaded.keys():
        raise CurateError("the checkpoint lacks `config` or `state_dict`", where, _FORMAT)
    return loaded["config"], loaded["state_dict"]


def _classes(config: Any, path: Path) -> tuple[list[str], int]:
    """Names of the first outputs, and how many outputs there are (models for less bias have some for groups beside)."""
    try:
        classes = config["dataset"]["args"]["classes"]
        count = config["arch"]["args"]["num_classes"]
    except (KeyError, TypeError):
        raise CurateError(
            "the checkpoint's `config` lacks `dataset.args.classes` or `arch.args.num_classes`", str(path), _FORMAT
        ) from None
    if not isinstance(classes, list | tuple) or not all(isinstance(one, str) and one.isidentifier() for one in classes):
        raise CurateError("the checkpoint's classes are no list of names", str(path), _FORMAT)
    named = [NAMES.get(str(one), str(one)) for one in classes]
    if not isinstance(count, int) or len(named) > count or "toxicity" not in named:
        raise CurateError(
            f"the checkpoint has {count} outputs for the classes {', '.join(named)}", str(path),
            "one of them must be `toxicity` (or `toxic`)",
        )  # fmt: skip
    return named, count


def _fill(model: Any, state: Any, path: Path, folder: Path) -> None:
    """Put the tensors into the model; what it makes itself (`position_ids`) may be there or not."""
    import torch

    if not isinstance(state, dict) or not all(isinstance(one, torch.Tensor) for one in state.values()):
        raise CurateError("the checkpoint's `state_dict` is no dict of tensors", str(path), _FORMAT)
    hint = f"is `{folder}` the model that was trained?"
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        line = str(error).splitlines()[-1].strip()
        raise CurateError(f"the checkpoint does not fit the model: {line[:200]}", str(path), hint) from None
    unexpected = [name for name in unexpected if not name.endswith("position_ids")]
    if missing or unexpected:
        odd = [f"`{name}` is missing" for name in missing[:2]] + [f"`{name}` is not of it" for name in unexpected[:2]]
        raise CurateError(f"the checkpoint does not fit the model: {', '.join(odd)}", str(path), hint)
