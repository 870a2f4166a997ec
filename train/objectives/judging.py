"""From sampled tokens to rewards: texts are decoded and judged, and their rewards summed by weight.

Rules judge in processes of their own, one completion at a time. Reward models score all completions of a step at once, here,
where the device is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer
from torch import Tensor

from curate.errors import CurateError
from curate.train.data.batch import IGNORED, Batch
from curate.train.parallel.agree import any_of_all
from curate.train.rewards.completion import Completion
from curate.train.rewards.judges import Judges
from curate.train.rewards.load import WHERE, Verdict
from curate.train.settings.methods import ReinforcementSettings
from curate.train.settings.rewards import ModelReward

__all__ = ["Judged", "Judging", "Scorer"]

Scorer = Callable[[Sequence[str], Sequence[str]], list[float]]
"""From prompts (texts, or messages as JSON) and completions to scores; it raises CurateError."""


class Judged(NamedTuple):
    """What completions are worth; 0 for empty rows.

    Attributes:
        rewards: (rows,) float32: the sum of their rewards by weight.
        parts: (rows, rewards) float32: each before its weight.
        failed: (rows,) bool: a reward failed, and `reward_limits.failed` stands for it.
    """

    rewards: Tensor
    parts: Tensor
    failed: Tensor


class Judging:
    """The rewards of an objective.

    Args:
        settings: Rewards and their limits.
        tokenizer: Turns tokens into texts; special tokens are left out.
        ends: The tokens that end a completion.
        folder: Of the run, for what rewards keep.
        models: The reward models, by their places among the rewards.

    Attributes:
        beat: Called while rewards are computed, every two seconds or so.
        seen: The completions that were judged last, with their rewards by name; empty rows are left out.
    """

    def __init__(
        self,
        settings: ReinforcementSettings,
        *,
        tokenizer: Tokenizer,
        ends: Sequence[int],
        folder: Path | None = None,
        models: Mapping[int, Scorer] | None = None,
    ) -> None:
        self.limits, self.entries, self.columns = settings.reward_limits, settings.entries, settings.columns
        self.tokenizer, self.ends = tokenizer, tuple(ends)
        self.models = dict(models or {})
        rules = [one for place, one in enumerate(self.entries) if place not in self.models]
        self.judges = Judges(rules, self.limits, folder=folder) if rules else None
        self.beat: Callable[[], None] = lambda: None
        self.seen: list[dict[str, Any]] = []

    @property
    def names(self) -> tuple[str, ...]:
        """Of the rewards, in their order."""
        return tuple(one.called for one in self.entries)

    def listen(self, beat: Callable[[], None]) -> None:
        """Call `beat` from now on, and wait until the rewards are loaded.

        Raises:
            CurateError: One cannot be loaded.
        """
        self.beat = beat
        if self.judges:
            self.judges.wait(beat)

    def close(self) -> None:
        """End the processes."""
        if self.judges:
            self.judges.close()

    def __call__(self, prompts: Batch, sampled: Batch) -> Judged:
        """Judge sampled texts; called by all processes, each with its own.

        Args:
            prompts: `tokens`, `documents`, `answers`, `samples`, `columns` where rewards read some, and `numbers`.
            sampled: `targets` and `ended`, of the same rows.

        Raises:
            CurateError: A reward failed, and nothing stands for it; its place is the number of the prompt.
        """
        there = (prompts["documents"] >= 0).any(-1).nonzero().flatten().tolist()
        numbers = prompts.get("numbers", prompts["samples"]).tolist()
        samples = prompts["samples"].tolist()
        given = self._completions(prompts, sampled)
        found = self._verdicts([given[row] for row in there], [samples[row] for row in there])
        while self._tick(False):
            """Others still judge: they beat together, or whoever waits for them would seem to hang."""
        parts = torch.zeros(len(given), len(self.entries))
        failed = torch.zeros(len(given), dtype=torch.bool)
        self.seen = []
        for row, verdicts in zip(there, found, strict=True):
            for reward, verdict in enumerate(verdicts):
                if verdict.value is None and self.limits.failed == "error":
                    hint = verdict.hint or "`objective.reward_limits.failed: 0` counts it, and goes on"
                    raise CurateError(str(verdict.problem), f"prompt {numbers[row]}", hint)
                failed[row] |= verdict.value is None
                parts[row, reward] = self.limits.failed if verdict.value is None else verdict.value  # pyright: ignore
        rewards = (parts.double() @ torch.tensor([one.weight for one in self.entries], dtype=torch.float64)).float()
        for row in there:
            self.seen.append(self._shown(numbers[row], given[row], rewards[row], parts[row], failed[row]))
        device = sampled["targets"].device
        return Judged(rewards.to(device), parts.to(device), failed.to(device))

    def _verdicts(self, given: list[Completion], samples: list[int]) -> list[list[Verdict]]:
        """Of each completion a verdict by each reward, in their order."""
        ruled: list[list[Verdict]] = [[] for _ in given]
        if self.judges:
            ruled = self.judges(given, samples, beat=lambda: self._tick(True))
        scores = {place: self._scored(place, model, given) for place, model in self.models.items()}
        found: list[list[Verdict]] = []
        for number, verdicts in enumerate(ruled):
            rest = iter(verdicts)
            places = range(len(self.entries))
            found.append([scores[place][number] if place in scores else next(rest) for place in places])
        return found

    def _scored(self, place: int, model: Scorer, given: list[Completion]) -> list[Verdict]:
        self.beat()
        entry = self.entries[place]
        assert isinstance(entry, ModelReward)
        try:
            found = model([one.columns[entry.prompt] for one in given], [one.completion for one in given])
        except CurateError as error:
            raise CurateError(f"the reward `{entry.called}`: {error.problem}", WHERE, error.hint) from None
        strange = f"the reward `{entry.called}` gave a score that is not finite"
        return [Verdict(one) if math.isfinite(one) else Verdict(None, strange) for one in found]

    def _tick(self, going: bool) -> bool:
        """A sign of life that all processes give together; whether one of them still judges."""
        self.beat()
        return any_of_all(torch.tensor(going))

    def _shown(self, number: int, given: Completion, reward: Tensor, parts: Tensor, failed: Tensor) -> dict[str, Any]:
        return {
            "prompt_number": number, "prompt": given.prompt, "completion": given.completion, "answer": given.answer,
            "ended": given.ended, "reward": reward.item(), "failed": bool(failed),
            "rewards": dict(zip(self.names, parts.tolist(), strict=True)),
        }  # fmt: skip

    # ---- texts

    def _completions(self, prompts: Batch, sampled: Batch) -> list[Completion]:
        rows = zip(
            self._texts(prompts["tokens"], prompts["documents"] >= 0),
            self._texts(sampled["targets"], sampled["targets"] != IGNORED),
            self._texts(prompts["answers"], prompts["answers"] >= 0),
            _columns(prompts, self.columns),
            (sampled["targets"] != IGNORED).sum(-1).tolist(),
            sampled["ended"].tolist(),
            strict=True,
        )
        return [Completion(*row) for row in rows]

    def _texts(self, tokens: Tensor, valid: Tensor) -> list[str]:
        """The text of each row's valid tokens, without special ones and the end."""
        ends = torch.tensor(self.ends)
        rows = [
            row[there & ~torch.isin(row, ends)].tolist() for row, there in zip(tokens.cpu(), valid.cpu(), strict=True)
        ]
        return self.tokenizer.decode_batch(rows, skip_special_tokens=True)


def _columns(prompts: Batch, names: Sequence[str]) -> list[dict[str, str]]:
    """The further columns of each row, from their bytes."""
    if not names:
        return [{} for _ in prompts["tokens"]]
    rows = prompts["columns"].cpu().numpy()
    return [
        {name: bytes(part[part >= 0].astype("uint8")).decode() for name, part in zip(names, row, strict=True)}
        for row in rows
    ]
