"""The contract between the loop and what is learned (docs/decisions/0005-trainer.md).

An objective is the root module of a run, because FSDP holds parameters outside the blocks (embedding, norms, heads)
whole only inside the root's `forward` and inside the methods named in `parallel.shard.METHODS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from curate.train.data.batch import IGNORED, Batch
from curate.train.objectives.rollout import Continuation, sample

__all__ = ["Loss", "Objective", "flat_weights", "target_weights", "trunk_inputs"]

DEVIATION = 0.02
"""Standard deviation of the first weights of heads, as in BERT and GPT-2."""


class Loss(NamedTuple):
    """What a batch comes to.

    Attributes:
        total: Summed loss, a float32 scalar to go backward from.
        sums: Other sums for the log (right answers, rewards), scalars without gradient; the log divides by the size.
    """

    total: Tensor
    sums: dict[str, Tensor]


class Objective(nn.Module):
    """Holds a trunk and its heads, and says what is summed.

    Attributes:
        model: The trunk.
        watch: The metric of `summary` that tells better from worse.
        higher_is_better: Of `watch`.
        listed: What of `score` is rows that are put one behind another, and not added up.
    """

    model: Any  # an nn.Module whose attributes the decision names; type checkers see none of them
    watch: str = "loss"
    higher_is_better: bool = False
    listed: ClassVar[frozenset[str]] = frozenset()

    def first_weights(self, name: str, tensor: Tensor, generator: torch.Generator) -> None:
        """Fill a parameter, `model.*` as the trunk does it, of a head: small normal matrices, biases 0 and norms 1."""
        if name.startswith("model."):
            self.model.first_weights(name.removeprefix("model."), tensor, generator)
        elif tensor.ndim > 1:
            tensor.normal_(0.0, DEVIATION, generator=generator)
        else:
            tensor.fill_(0.0 if name.endswith("bias") else 1.0)

    def forward(self, batch: Batch) -> Loss:
        """The summed loss of a batch."""
        raise NotImplementedError

    def size(self, batch: Batch) -> float:
        """What the sum is divided by: the targets that count, each by its weight."""
        return float(target_weights(batch).sum())

    def read(self, batch: Batch) -> int:
        """Tokens, without padding, that the trunk reads in `forward`: what the balance of experts is a mean over."""
        return int((batch["documents"] >= 0).sum()) if "documents" in batch else batch["tokens"].numel()

    def prepare(self, batch: Batch, *, step: int) -> Batch:
        """The batch as it is learned from (masks set, texts sampled); called once a step, by all processes."""
        return batch

    def updates(self, batch: Batch) -> Iterator[Batch]:
        """What the optimizer takes a step for each of, from a prepared batch; in all processes as many."""
        yield batch

    def listen(self, beat: Callable[[], None]) -> None:
        """Call `beat` in what `prepare` and `score` may take long for besides the model: else the run seems to hang."""

    def samples(self) -> list[dict[str, Any]]:
        """Texts that were sampled since the last call, for people to look at: `prompt_number`, texts, rewards."""
        return []

    def close(self) -> None:
        """The run has ended; end what was started for it."""

    def score(self, batch: Batch) -> dict[str, Tensor]:
        """Sums over a batch of the validation split, of any shape, and rows of what is `listed`; without gradient."""
        loss = self(batch)
        size = torch.tensor(self.size(batch), dtype=torch.float64, device=loss.total.device)
        return {"loss": loss.total.detach().double(), "size": size, **loss.sums}

    def respond(self, *arguments: Any, **settings: Any) -> Any:
        """What an objective's `prepare` needs the parameters for (texts sampled, a reference), without gradient."""
        raise NotImplementedError

    def continued(
        self, tokens: Tensor, documents: Tensor, *, new_tokens: int, ends: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Go on with prompts, the likeliest token each time; arguments and results as of `rollout.sample`."""
        return sample(
            Continuation(self.model), tokens, documents,
            new_tokens=new_tokens, temperature=1.0, ends=ends, uniforms=None,
        )  # fmt: skip

    def measures(self, sums: dict[str, float], size: float) -> dict[str, float]:
        """What is logged of a step, from the sums (`loss` among them) of all its pieces and processes."""
        return {name: value / max(size, 1e-12) for name, value in sums.items()}

    def summary(self, sums: dict[str, Tensor]) -> dict[str, Any]:
        """The metrics of the validation split, from the sums of all batches and processes (float64, on the CPU)."""
        size = max(sums["size"].item(), 1e-12)
        metrics = {name: value.item() / size for name, value in sums.items() if name != "size"}
        return {**metrics, "count": int(sums["size"].item())}


def target_weights(batch: Batch) -> Tensor:
    """Weight of every target (0 where none counts), (rows, length) or (rows,) float32."""
    targets = batch["targets"] if "targets" in batch else batch["labels"]
    valid = (targets != IGNORED).float()
    if "weights" not in batch:
        return valid
    weights = batch["weights"]
    return valid * weights.view(weights.shape + (1,) * (valid.ndim - weights.ndim))


def trunk_inputs(trunk: nn.Module, batch: Batch) -> Batch:
    """What of a batch a trunk reads besides its tokens: the keys of the batch that are among `trunk.accepts`."""
    accepts: Any = trunk.accepts
    return {name: batch[name] for name in accepts if name in batch}


def flat_weights(batch: Batch) -> Tensor | None:
    """Weight of every position, (rows * length,) float32; None where all count the same."""
    if "weights" not in batch:
        return None
    weights = batch["weights"]
    rows, length = batch["targets"].shape
    return weights.view(rows, -1).expand(rows, length).flatten()
