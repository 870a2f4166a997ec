"""Reinforcement by verifiable rewards: REINFORCE (Williams 1992) and GRPO (Shao et al. 2024), generation in the loop.

A step samples `group` completions of each of its prompts from the model as it is, rewards them by a rule, and learns
from each once: on-policy, so there is no ratio to clip. The advantage of a completion is its reward less the mean of
its group, divided by the group's deviation (GRPO) or not. The loss of a token is -advantage x log-probability, plus
`kl` times the divergence from the model as it began (Schulman's k3 estimate); the sum over all tokens of the step is
divided by their number, as in DAPO (Yu et al. 2025). Equal to trl's GRPOTrainer with `loss_type: dapo` and one
iteration (`scale_rewards: group` or `none`), tested.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from curate.train.data.batch import IGNORED, Batch
from curate.train.data.order import uniforms
from curate.train.objectives.contract import Loss, Objective
from curate.train.objectives.loss import divergence, group_advantages, policy_loss
from curate.train.objectives.reference import Reference, as_it_began, evaluating, log_probabilities
from curate.train.objectives.rewards import judge, load_reward
from curate.train.objectives.rollout import Continuation, sample
from curate.train.settings.methods import ReinforcementSettings

__all__ = ["Reinforcement"]

_OF_COMPLETIONS = ("reward", "length", "ended")
"""Sums that are divided by the completions; others by the tokens."""


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

    Training logs `reward`, `length` and `ended` (share that came to its end) for each completion, `entropy` (estimated
    from the sampled tokens) and `divergence` for each token. Validation takes the likeliest token each time and gives
    `reward`, `length` and `ended`.

    Raises:
        CurateError: The reward cannot be loaded; later, that it failed, with the number of the prompt.
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
    ) -> None:
        super().__init__()
        self.model, self.settings = trunk, settings
        self.tokenizer, self.ends, self.seed = tokenizer, tuple(ends), seed
        self.reward = load_reward(settings.reward)
        self.outside = (reference,)  # in a tuple: no part of this module's tree

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
        rewards = self._rewards(prompts, sampled)
        grouped = rewards.view(-1, self.settings.group)
        advantages = group_advantages(grouped, scaled=self.settings.method == "grpo").flatten()
        kept = {name: prompts[name] for name in ("samples", "numbers", "weights") if name in prompts}
        return {**kept, **sampled, "rewards": rewards, "advantages": advantages}

    def respond(self, prompts: Batch, *, greedy: bool) -> Batch:
        """Go on with prompts; called by all processes.

        Args:
            prompts: `tokens` and `documents` (rows, length), the prompt at the right end; `samples`.
            greedy: Take the likeliest token each time; else draw them.

        Returns:
            `tokens`, `targets`, `documents` (rows, length + new_tokens - 1), the targets being what was sampled, and
            `ended` (rows,) bool. With `kl` also `references`, if the model as it began is the trunk without adapters.
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

    # ---- rewards

    def _rewards(self, prompts: Batch, sampled: Batch) -> Tensor:
        """(rows,) float32; 0 for empty rows."""
        names = prompts.get("numbers", prompts["samples"]).tolist()
        rows = zip(
            names,
            self._texts(prompts["tokens"], prompts["documents"] >= 0),
            self._texts(sampled["targets"], sampled["targets"] != IGNORED),
            self._texts(prompts["answers"], prompts["answers"] >= 0),
            (prompts["documents"] >= 0).any(-1).tolist(),
            strict=True,
        )
        rewards = [
            judge(self.reward, prompt, completion, answer, place=f"prompt {name}") if there else 0.0
            for name, prompt, completion, answer, there in rows
        ]
        return torch.tensor(rewards, dtype=torch.float32, device=sampled["tokens"].device)

    def _texts(self, tokens: Tensor, valid: Tensor) -> list[str]:
        """The text of each row's valid tokens, without special ones and the end."""
        rows = [row[there & ~self._is_end(row)].tolist() for row, there in zip(tokens.cpu(), valid.cpu(), strict=True)]
        return self.tokenizer.decode_batch(rows, skip_special_tokens=True)

    def _is_end(self, tokens: Tensor) -> Tensor:
        return torch.isin(tokens, torch.tensor(self.ends, device=tokens.device))

    # ---- learning

    def size(self, batch: Batch) -> float:
        """Sampled tokens, each by the weight of its prompt."""
        return float(_token_weights(batch).sum())

    def forward(self, batch: Batch) -> Loss:
        """Summed loss of the sampled tokens of a prepared batch."""
        found = self._log_probabilities(batch)
        weights = _token_weights(batch)
        losses = policy_loss(found, batch["advantages"][:, None])
        measures = {"entropy": -found.detach()}
        if self.settings.kl:
            apart = divergence(found, batch["references"])
            losses = losses + self.settings.kl * apart
            measures["divergence"] = apart.detach()
        sums = {name: (value * weights).sum() for name, value in measures.items()}
        return Loss((losses * weights).sum(), {**sums, **_of_completions(batch)})

    def measures(self, sums: dict[str, float], size: float) -> dict[str, float]:
        """Loss, `entropy` and `divergence` for each token; `reward`, `length` and `ended` for each completion."""
        completions = sums["completions"]
        counts = {name: completions if name in _OF_COMPLETIONS else size for name in sums}
        return {name: sums[name] / max(count, 1e-12) for name, count in counts.items() if name != "completions"}

    def score(self, batch: Batch) -> dict[str, Tensor]:
        """Rewards of the likeliest completions of the prompts."""
        sampled = self.respond(batch, greedy=True)
        sums = _of_completions({**sampled, "rewards": self._rewards(batch, sampled)})
        return {name: value.double() for name, value in sums.items()}

    def summary(self, sums: dict[str, Tensor]) -> dict[str, Any]:
        """`reward`, `length` and `ended` for each prompt, and `count`, the prompts."""
        count = int(sums["completions"])
        return {**{name: sums[name].item() / max(count, 1) for name in _OF_COMPLETIONS}, "count": count}

    def _log_probabilities(self, batch: Batch) -> Tensor:
        return log_probabilities(self.model, batch, temperature=self.settings.temperature)


def _token_weights(batch: Batch) -> Tensor:
    """(rows, length) float32."""
    valid = (batch["targets"] != IGNORED).float()
    return valid * batch["weights"][:, None] if "weights" in batch else valid


def _of_completions(batch: Batch) -> dict[str, Tensor]:
    """Sums over completions, and how many there are; empty rows have none."""
    lengths = (batch["targets"] != IGNORED).sum(-1)
    there = lengths > 0
    return {
        "reward": (batch["rewards"] * there).sum(),
        "length": lengths.sum(),
        "ended": (batch["ended"] & there).sum(),
        "completions": there.sum(),
    }
