"""How a language model goes on with some validation examples, for people to look at beside the numbers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from curate.tokenize.chat import ChatTemplate
from curate.tokenize.pack import Pack
from curate.tokenize.tokenizer import load_tokenizer
from curate.train.data.batch import IGNORED, filled
from curate.train.settings.config import TrainConfig
from curate.train.trainer import Trainer

__all__ = ["said"]

Integers = NDArray[np.int64]
BEGIN, NEW_TOKENS = 16, 48
"""Tokens of a text that are given, and most that are written."""
_WRITES = ("causal", "sft", "preference")


def said(trainer: Trainer, config: TrainConfig, pack: Pack, beat: Callable[[], None]) -> list[dict[str, Any]]:
    """How the model goes on with the begins of some validation examples, the likeliest token each time; of all processes.

    Of a conversation or a preference that is what comes before the first answer, of a text its first words; `answer` is how it
    goes on in the data. Empty where a model does not write, or is compiled for the lengths of its training.
    """
    sources, fast = trainer.parts.validation, config.compile or config.precision == "fp8" or config.parallel.tensor > 1
    writes = config.objective.kind in _WRITES and config.model.kind in ("decoder", "lstm")
    if not (config.log.samples and sources and writes) or config.tasks or fast:
        return []
    source = next(iter(sources.values()))
    batch = source.read(np.arange(min(config.log.samples, len(source))))
    rows = [
        _begin(*(batch[name][row] for name in ("tokens", "targets", "documents")))
        for row in range(len(batch["tokens"]))
    ]
    room = getattr(trainer.objective.model, "length", None) or NEW_TOKENS + max(len(prompt) for prompt, _ in rows)
    most = max(1, min(NEW_TOKENS, room // 2))
    prompts = [prompt[-(room - most) :] for prompt, _ in rows]
    zeros: list[Integers | None] = [np.zeros_like(prompt) for prompt in prompts]
    tokens = filled([*prompts], value=pack.roles["padding"], left=True)
    documents = filled(zeros, value=-1, left=True)
    device, tokenizer = trainer.world.device, load_tokenizer(pack.tokenizer_path)
    ends = _ends(pack, tokenizer)
    beat()
    trainer.objective.eval()
    with torch.no_grad(), trainer.average.swapped() if trainer.average else nullcontext():
        found, mask = trainer.objective.continued(
            torch.from_numpy(tokens).to(device), torch.from_numpy(documents).to(device), new_tokens=most, ends=ends
        )
    trainer.objective.train()
    written = [row[here].tolist() for row, here in zip(found.cpu(), mask.cpu(), strict=True)]
    return [
        {
            "prompt_number": number, "prompt": tokenizer.decode(prompt.tolist(), skip_special_tokens=False),
            "completion": tokenizer.decode(text), "answer": tokenizer.decode(answer[:most].tolist()),
            "ended": bool(text) and text[-1] in ends,
        }
        for number, (prompt, (_, answer), text) in enumerate(zip(prompts, rows, written, strict=True))
    ]  # fmt: skip


def _ends(pack: Pack, tokenizer: Tokenizer) -> tuple[int, ...]:
    """The tokens that end an answer; of conversations the end of a turn, too."""
    template = pack.chat_template
    if template is None or pack.has_turns:
        return pack.ends
    turn = ChatTemplate.of(tokenizer, pack.roles, template).turn_end
    return pack.ends if turn is None else (turn, *pack.ends)


def _begin(tokens: Integers, targets: Integers, documents: Integers) -> tuple[Integers, Integers]:
    """What comes before the first answer in the first document of a row (of pairs: of the chosen one), and the answer."""
    if tokens.ndim > 1:
        tokens, targets, documents = tokens[0], targets[0], documents[0]
    inside = int((documents == documents[0]).cumprod().sum())
    learned = targets[:inside] != IGNORED
    start = int(learned.argmax())
    if learned[:1].all():  # all of a text is learned
        start = min(BEGIN, inside // 2)
    stop = start + int(learned[start:].cumprod().sum())
    return tokens[: start + 1], targets[start:stop]
