"""Reinforcement by verifiable rewards: REINFORCE (Williams 1992), GRPO (Shao et al. 2024) and its kin, generation in the loop.

A step samples `group` completions of each of its prompts from the model as it is, has them rewarded (judging.py), and
learns from them: once, on-policy, so that there is no ratio to clip; or in `epochs` times `minibatches` updates, with the
clipped ratio to the model that sampled. The advantage of a completion is its reward less the mean of its group, divided by
the group's deviation (GRPO) or not. What the loss of a token is, and how losses are summed, is in policy.py; `kl` times the
divergence from the model as it began (Schulman's k3 estimate) comes to it.

    GRPO        aggregate: sequence
    DAPO        aggregate: token (the default), clip_high: 0.28, truncated: mask, flat: skip, and the reward `overlong`
    Dr. GRPO    method: reinforce, aggregate: constant
    GSPO        ratio: sequence, aggregate: sequence, clip: 3.0e-4, clip_high: 4.0e-4

A step is a rollout with all its updates, so a checkpoint never falls between two of them, and holds no texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from curate.train.data.batch import IGNORED, Batch
from curate.train.data.order import uniforms
from curate.train.objectives.contract import Loss, Objective
from curate.train.objectives.judging import Judging, Scorer
from curate.train.objectives.policy import aggregated, clipped, divergence, group_advantages, policy_loss, ratios
from curate.train.objectives.reference import Reference, as_it_began, evaluating, log_probabilities
from curate.train.objectives.rollout import Continuation, sample
from curate.train.settings.methods import ReinforcementSettings

__all__ = ["Reinforcement"]

SAMPLED = 64
"""Completions of a validation that are kept for people to look at."""
_OF_TOKENS = ("entropy", "divergence", "clipped")
"""Sums that are divided by the sampled tokens; all others but the loss by the completions."""


class Reinforcement(Objective):
    """Texts that a rule rewards become likelier.

    Args:
        trunk: A trunk that can go on with a text, token by token.
        settings: Method, reward, group, length, temperature, weight of the divergence.
        tokenizer: Turns tokens into the texts that are rewarded; special tokens are left out.
        ends: The tokens that end a completion.
        seed: Of the sampling.
        reference: The model as it began, with the temperature of the settings; None if `kl` is 0, or if only adapters
            are trained: then it is the trunk without them.
        folder: Of the run, for what rewards keep.
        models: The reward models, by their places among the rewards.

    Training logs for each completion `reward`, `length`, `ended` (share that came to its end), `flat` (share in groups whose
    rewards are all the same), of several rewards each as `rewards/NAME`, and `failed` where something stands for rewards that
    fail; for each token `entropy` (estimated from the sampled ones), `divergence`, and `clipped` where a rollout has
    several updates. Validation takes the likeliest token each time and gives the same but `flat`.

    Raises:
        CurateError: There is no such reward; later, that one cannot be loaded, or failed, with the number of the prompt.
    """

    watch = "reward"
    higher_is_better = True

    def __init__(
        self,
        trunk: nn.Module,
        settings: ReinforcementSettings,
        *,
        tokenizer: Tokenizer,
        ends: Sequence[int],
        seed: int,
        reference: Reference | None,
        folder: Path | None = None,
        models: Mapping[int, Scorer] | None = None,
    ) -> None:
        super().__init__()
        self.model, self.settings = trunk, settings
        self.ends, self.seed = tuple(ends), seed
        self.judging = Judging(settings, tokenizer=tokenizer, ends=ends, folder=folder, models=models)
        self.sampled: list[dict[str, Any]] = []
        self.outside = (reference,)  # in a tuple: no part of this module's tree

    def samples(self) -> list[dict[str, Any]]:
        """Completions that were judged since the last call: all of a step, the first of a validation."""
        found, self.sampled = self.sampled, []
        return found

    def close(self) -> None:
        """End the processes that judge."""
        self.judging.close()

    def listen(self, beat: Callable[[], None]) -> None:
        """Call `beat` while completions are judged, and wait until the rewards are loaded."""
        self.judging.listen(beat)

    # ---- sampling

    def prepare(self, batch: Batch, *, step: int) -> Batch:
        """Sampled and rewarded completions, `group` rows for each prompt; prompts of the validation split stay so."""
        if step < 0:
            return batch
        prompts = self._grouped(batch)
        sampled = self.respond(prompts, greedy=False)
        (reference,) = self.outside
        if self.settings.kl and reference is not None:
            sampled["references"] = reference.respond(sampled)
        judged = self.judging(prompts, sampled)._asdict()
        self.sampled = self.judging.seen
        grouped = judged["rewards"].view(-1, self.settings.group)
        advantages = group_advantages(grouped, scaled=self.settings.method == "grpo").flatten()
        flat = (grouped == grouped[:, :1]).all(1).repeat_interleave(self.settings.group)
        kept = {name: prompts[name] for name in ("samples", "numbers", "weights") if name in prompts}
        return {**kept, **sampled, **judged, "advantages": advantages, "flat": flat}

    def updates(self, batch: Batch) -> Iterator[Batch]:
        """The prepared batch, cut by its prompts into minibatches, as many times as it is learned from."""
        count, rows = self.settings.minibatches, len(batch["rewards"])
        for _ in range(self.settings.epochs):
            for part in range(count):
                yield {
                    name: values[rows * part // count : rows * (part + 1) // count] for name, values in batch.items()
                }

    def respond(self, prompts: Batch, *, greedy: bool) -> Batch:
        """Go on with prompts; called by all processes.

        Args:
            prompts: `tokens` and `documents` (rows, length), the prompt at the right end; `samples`.
            greedy: Take the likeliest token each time; else draw them.

        Returns:
            `tokens`, `targets`, `documents` (rows, length + new_tokens - 1), the targets being what was sampled, and
            `ended` (rows,) bool. With `kl` also `references`, if the model as it began is the trunk without adapters,
            and with several updates `old`, the log-probabilities by the model that sampled.
        """
        tokens, documents = prompts["tokens"], prompts["documents"]
        empty = (documents < 0).all(-1)
        begun = documents.clone()
        begun[:, -1] = 0  # an empty row goes on from one token, for all rows take as many steps
        with evaluating(self):
            completions, mask = sample(
                Continuation(self.model),
                tokens,
                begun,
                new_tokens=self.settings.new_tokens,
                temperature=self.settings.temperature,
                ends=self.ends,
                uniforms=None if greedy else self._uniforms(prompts),
            )
        mask = mask & ~empty[:, None]
        nothing = torch.full_like(tokens[:, 1:], IGNORED)
        sampled = {
            "tokens": torch.cat([tokens, completions], dim=1)[:, :-1],
            "targets": torch.cat([nothing, completions.masked_fill(~mask, IGNORED)], dim=1),
            "documents": torch.cat([documents, mask.long() - 1], dim=1)[:, :-1],
            "ended": (mask & self._is_end(completions)).any(-1),
        }
        if not greedy and self.settings.kl and self.outside == (None,):
            with as_it_began(self):
                sampled["references"] = self._log_probabilities(sampled)
        if not greedy and self.settings.epochs * self.settings.minibatches > 1:
            with evaluating(self):
                sampled["old"] = self._log_probabilities(sampled)
        return sampled

    def _uniforms(self, prompts: Batch) -> Tensor:
        """(rows, new_tokens) float64 in [0, 1)."""
        samples = prompts["samples"]
        drawn = uniforms(self.seed, "rollout", samples.cpu().numpy(), self.settings.new_tokens)
        return torch.from_numpy(drawn).to(samples.device)

    def _grouped(self, batch: Batch) -> Batch:
        """Each row `group` times, with a sample number for each."""
        group = self.settings.group
        prompts = {name: values.repeat_interleave(group, 0) for name, values in batch.items()}
        within = torch.arange(len(prompts["samples"]), device=prompts["samples"].device) % group
        return {**prompts, "samples": prompts["samples"] * group + within}

    def _is_end(self, tokens: Tensor) -> Tensor:
        return torch.isin(tokens, torch.tensor(self.ends, device=tokens.device))

    # ---- learning

    def size(self, batch: Batch) -> float:
        """What the summed loss is divided by: sampled tokens, completions, or all tokens that these might have had."""
        if self.settings.aggregate == "token":
            return float((self._mask(batch) * self._weights(batch)[:, None]).sum())
        longest = self.settings.new_tokens if self.settings.aggregate == "constant" else 1
        return float(self._weights(batch).sum()) * longest

    def forward(self, batch: Batch) -> Loss:
        """Summed loss of a prepared batch, or of some rows of it."""
        settings, advantages = self.settings, batch["advantages"][:, None]
        found = self._log_probabilities(batch)
        sampled, mask, weights = _sampled(batch), self._mask(batch), self._weights(batch)
        ratio = ratios(found, batch.get("old"), mask=sampled, of=settings.ratio)
        high = settings.clip if settings.clip_high is None else settings.clip_high
        losses = policy_loss(ratio, advantages, low=settings.clip if "old" in batch else None, high=high)
        measures = {"entropy": -found.detach()}
        if "old" in batch:
            measures["clipped"] = clipped(ratio.detach(), advantages, low=settings.clip, high=high).expand_as(found)
        if settings.kl:
            apart = divergence(found, batch["references"])
            losses = losses + settings.kl * apart
            measures["divergence"] = apart.detach()
        total = (aggregated(losses, mask, by=settings.aggregate) * weights).sum()
        counted = sampled * _prompt_weights(batch)[:, None]
        sums = {name: (value * counted).sum() for name, value in measures.items()}
        return Loss(total, {**sums, "tokens": counted.sum(), **self._of_completions(batch)})

    def measures(self, sums: dict[str, float], size: float) -> dict[str, float]:
        """Loss, what is of each token, and what is of each completion."""
        tokens, completions = sums["tokens"], sums["completions"]
        counts = {name: tokens if name in _OF_TOKENS else size if name == "loss" else completions for name in sums}
        left = [name for name in sums if name not in ("tokens", "completions")]
        return {name: sums[name] / max(counts[name], 1e-12) for name in left}

    def score(self, batch: Batch) -> dict[str, Tensor]:
        """Rewards of the likeliest completions of the prompts."""
        sampled = self.respond(batch, greedy=True)
        sums = self._of_completions({**sampled, **self.judging(batch, sampled)._asdict()})
        self.sampled = [*self.sampled, *self.judging.seen][:SAMPLED]
        return {name: value.double() for name, value in sums.items()}

    def summary(self, sums: dict[str, Tensor]) -> dict[str, Any]:
        """What is logged of completions, for each prompt, and `count`, the prompts."""
        count = int(sums["completions"])
        means = {name: value.item() / max(count, 1) for name, value in sums.items() if name != "completions"}
        return {**means, "count": count}

    def _of_completions(self, batch: Batch) -> dict[str, Tensor]:
        """Sums over completions, and how many there are; empty rows have none."""
        lengths = _sampled(batch).sum(-1)
        there = lengths > 0
        sums = {
            "reward": (batch["rewards"] * there).sum(),
            "length": lengths.sum(),
            "ended": (batch["ended"] & there).sum(),
            "completions": there.sum(),
        }
        if "flat" in batch:
            sums["flat"] = (batch["flat"] & there).sum()
        if self.settings.rewards:
            each = (batch["parts"] * there[:, None]).sum(0)
            sums |= {f"rewards/{name}": value for name, value in zip(self.judging.names, each, strict=True)}
        if self.settings.reward_limits.failed != "error":
            sums["failed"] = (batch["failed"] & there).sum()
        return sums

    def _mask(self, batch: Batch) -> Tensor:
        """(rows, length) float32: 1 where a sampled token is learned from."""
        mask = _sampled(batch).float()
        return mask * batch["ended"][:, None] if self.settings.truncated == "mask" else mask

    def _weights(self, batch: Batch) -> Tensor:
        """(rows,) float32: how much a completion counts; 0 of an empty row, and where all of its group are worth the same."""
        weights = _prompt_weights(batch) * (_sampled(batch).any(-1))
        return weights * ~batch["flat"] if self.settings.flat == "skip" else weights

    def _log_probabilities(self, batch: Batch) -> Tensor:
        return log_probabilities(self.model, batch, temperature=self.settings.temperature)


def _sampled(batch: Batch) -> Tensor:
    """(rows, length) bool: where a token was sampled."""
    return batch["targets"] != IGNORED


def _prompt_weights(batch: Batch) -> Tensor:
    """(rows,) float32."""
    return batch["weights"] if "weights" in batch else torch.ones(len(batch["targets"]), device=batch["targets"].device)
