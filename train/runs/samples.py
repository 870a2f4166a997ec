"""completions.jsonl: what the model said on the way, so that it is seen what it learns, and a reward that is won by a trick.

A line a completion: step, split, number of the prompt, the texts, rewards by name, whether it came to its end. These are
texts of the data and of the model: an erasure names the file, and the model card holds nothing of it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.files import write_durably
from curate.train.runs.metrics import read_metrics
from curate.train.settings.config import TrainConfig

if TYPE_CHECKING:
    from curate.train.trainer import Trainer

__all__ = ["Samples", "shown"]


class Samples:
    """The lines of completions.jsonl, up to the step from which the run goes on; later ones are written again.

    Args:
        path: The file; it is made with its first line.
        config: The run's settings.
        trainer: Of the run.
        after: The step.
    """

    def __init__(self, path: Path, config: TrainConfig, trainer: Trainer, *, after: int) -> None:
        self.path, self.config, self.trainer = path, config, trainer
        if path.is_file():
            kept = [line for line in read_metrics(path) if line["step"] <= after]
            write_durably(path, b"".join(json.dumps(line).encode() + b"\n" for line in kept))

    def of(self, step: int, split: str, found: Sequence[dict[str, Any]] = ()) -> list[dict[str, Any]]:
        """What was sampled last, and found by `said`, where it is to be written; it is asked for later no more."""
        log, last = self.config.log, step == self.config.steps
        found = [*self.trainer.objective.samples(), *found]
        due = split == "validation" or last or step % log.samples_every == 0
        numbers = list(dict.fromkeys(one["prompt_number"] for one in found))[: log.samples if due else 0]
        return [{"step": step, "split": split, **one} for one in found if one["prompt_number"] in numbers]

    def add(self, lines: Sequence[dict[str, Any]]) -> None:
        """Write lines."""
        if lines:
            with self.path.open("a") as stream:
                stream.writelines(f"{json.dumps(line)}\n" for line in lines)


def shown(lines: Sequence[dict[str, Any]]) -> str:
    """Lines as Markdown, texts as blocks of code, for TensorBoard."""
    parts: list[str] = []
    for line in lines:
        rewards = ", ".join(f"{name} {value:g}" for name, value in line.get("rewards", {}).items())
        worth = f": reward {line['reward']:g} ({rewards})" if rewards else ""
        parts.append(f"**{line['split']}, prompt {line['prompt_number']}**{worth}{'' if line['ended'] else ', cut'}")
        parts += [
            "\n".join(f"    {row}" for row in line[name].splitlines()) for name in ("prompt", "completion", "answer")
        ]
    return "\n\n".join(parts)
