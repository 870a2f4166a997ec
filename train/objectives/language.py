"""Language modelling: the next token, hidden tokens, or several next tokens at once.

The losses are sums over targets, made for a chunk of positions at a time (objectives/loss.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from curate.errors import CurateError
from curate.train.data.batch import IGNORED, Batch
from curate.train.data.middle import FillTokens, rearranged
from curate.train.data.order import uniforms
from curate.train.models.decoder import Decoder
from curate.train.models.encoder import Encoder, MaskedHead
from curate.train.models.layers import Block
from curate.train.objectives.contract import Loss, Objective, flat_weights, trunk_inputs
from curate.train.objectives.loss import linear_cross_entropy
from curate.train.objectives.metrics import TextMeasure, perplexity, predicted
from curate.train.settings.methods import CausalSettings, MaskedSettings, MultiTokenSettings

__all__ = ["Causal", "Masked", "MultiToken", "one_by_one", "shifted"]

MASKED, REPLACED = 0.8, 0.9
"""Of the chosen tokens 80% become the mask, the next 10% another token, and the rest stay (Devlin et al. 2019)."""


class Causal(Objective):
    """The next token from those before it.

    Args:
        trunk: A trunk whose states at a position know nothing of later ones.
        settings: Weight of the z-loss.
        token_bytes: Bytes of text of each token; None where nobody knows.
        end_of_text: The token that ends a document.
        fill: Tokens for documents whose middle is put last; None where there are none.
        seed: Of the draws which these are, and where they are cut.

    Validation gives bits per byte (which `watch` is, or else the loss), loss and perplexity of the text.
    """

    def __init__(
        self,
        trunk: nn.Module,
        settings: CausalSettings,
        *,
        token_bytes: np.ndarray | None,
        end_of_text: int,
        fill: FillTokens | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.model, self.settings, self.z_loss = trunk, settings, settings.z_loss
        self.fill, self.seed = fill, seed
        self.text = TextMeasure(token_bytes, end_of_text)
        self.watch = self.text.watch

    def prepare(self, batch: Batch, *, step: int) -> Batch:
        """The batch with the middle of some documents last: a function of (seed, sample), and never of what is validated."""
        if self.fill is None or step < 0:
            return batch
        tokens, targets = (batch[name].cpu().numpy() for name in ("tokens", "targets"))
        draws = uniforms(self.seed, "middles", batch["samples"].clamp(min=0).cpu().numpy(), 4 * tokens.shape[1])
        settings = self.settings
        made = rearranged(
            tokens, targets, draws,
            share=settings.fill_in_the_middle, suffix_first=settings.suffix_first, special=self.fill,
        )  # fmt: skip
        found = (torch.from_numpy(one).to(batch["tokens"].device) for one in made)
        return {**batch, **dict(zip(("tokens", "targets"), found, strict=True))}

    def forward(self, batch: Batch) -> Loss:
        """Summed cross entropy in nats, each target by its weight."""
        hidden = self.model(batch["tokens"], **trunk_inputs(self.model, batch)).flatten(0, 1)
        total = linear_cross_entropy(
            hidden,
            self.model.unembedding,
            batch["targets"].flatten(),
            weights=flat_weights(batch),
            z_loss=self.z_loss,
            cap=self.model.sizes.logit_cap,
        )
        return Loss(total, {})

    def score(self, batch: Batch) -> dict[str, Tensor]:
        """Nats, tokens and bytes of the text."""
        hidden = self.model(batch["tokens"], **trunk_inputs(self.model, batch)).flatten(0, 1)
        cap = self.model.sizes.logit_cap
        return self.text.sums(hidden, self.model.unembedding, batch["targets"].flatten(), cap=cap)

    def summary(self, sums: dict[str, Tensor]) -> dict[str, Any]:
        """The metrics of `TextMeasure`."""
        return dict(self.text.summary(sums))


class Masked(Objective):
    """Tokens that were hidden, from all others.

    The tokens of a window are the text; its targets (the next tokens) are not used. Special tokens are neither hidden
    nor put in another's place, padding is not hidden. Masks are a function of (seed, sample), so another epoch hides
    other tokens; on the validation split they are a function of the example alone, for every run and seed the same.

    Args:
        trunk: A trunk whose states know the whole text.
        settings: Share of the tokens that are predicted.
        vocabulary: Number of tokens.
        mask_token: Stands for a hidden token.
        special_tokens: All tokens that are no text, padding among them.
        seed: Of the masks.

    Validation gives `loss` and `accuracy` over hidden tokens, and `masked_perplexity`, e to that loss: it hides many
    tokens at once and so is not the pseudo-perplexity of Salazar et al. (2020), which hides one at a time.
    """

    def __init__(
        self,
        trunk: nn.Module,
        settings: MaskedSettings,
        *,
        vocabulary: int,
        mask_token: int,
        special_tokens: Sequence[int],
        seed: int,
    ) -> None:
        super().__init__()
        self.model, self.share, self.seed, self.mask_token = trunk, settings.share, seed, mask_token
        self.head = MaskedHead(trunk.sizes, vocabulary) if isinstance(trunk, Encoder) else None
        self.special = np.array(sorted(special_tokens), dtype=np.int64)
        self.ordinary = np.setdiff1d(np.arange(vocabulary), self.special)

    def prepare(self, batch: Batch, *, step: int) -> Batch:
        """The batch with tokens hidden, and the hidden ones as targets."""
        tokens = batch["tokens"]
        drawn = self._uniforms(batch, validation=step < 0).to(tokens.device)
        text = ~torch.isin(tokens, torch.from_numpy(self.special).to(tokens.device))
        if "documents" in batch:
            text &= batch["documents"] >= 0
        chosen = text & (drawn < self.share)
        # below the share the number is uniform too: it says what becomes of the token, and then which one it becomes
        fate = drawn / self.share
        place = ((fate - MASKED) / (REPLACED - MASKED)).clamp(0, 1 - 1e-9) * len(self.ordinary)
        others = torch.from_numpy(self.ordinary).to(tokens.device)[place.long()]
        hidden = torch.where(fate < MASKED, torch.full_like(tokens, self.mask_token), others)
        return {
            **batch,
            "tokens": torch.where(chosen & (fate < REPLACED), hidden, tokens),
            "targets": tokens.masked_fill(~chosen, IGNORED),
        }

    def forward(self, batch: Batch) -> Loss:
        """Summed cross entropy in nats over the hidden tokens of a prepared batch."""
        states, targets, bias = self._hidden_states(batch)
        weights = flat_weights(batch)
        if weights is not None:
            weights = weights[batch["targets"].flatten() != IGNORED]
        return Loss(linear_cross_entropy(states, self.model.unembedding, targets, bias=bias, weights=weights), {})

    def score(self, batch: Batch) -> dict[str, Tensor]:
        """Nats, number and right guesses of the hidden tokens."""
        states, targets, bias = self._hidden_states(batch)
        weight = self.model.unembedding
        return {
            "nats": linear_cross_entropy(states, weight, targets, bias=bias).double(),
            "right": (predicted(states, weight, bias) == targets).sum().double(),
            "tokens": torch.tensor(float(len(targets)), dtype=torch.float64),
        }

    def summary(self, sums: dict[str, Tensor]) -> dict[str, Any]:
        """`loss` in nats, `accuracy`, `masked_perplexity` and `tokens`, over the hidden tokens."""
        count = max(sums["tokens"].item(), 1.0)
        loss, accuracy = sums["nats"].item() / count, sums["right"].item() / count
        return {
            "loss": loss,
            "accuracy": accuracy,
            "masked_perplexity": perplexity(loss),
            "tokens": int(sums["tokens"]),
        }

    def _uniforms(self, batch: Batch, *, validation: bool) -> Tensor:
        """(rows, length) float64 in [0, 1)."""
        keys, length = batch["samples"].clamp(min=0).cpu().numpy(), batch["tokens"].shape[1]
        drawn = (
            uniforms(0, "validation masks", keys, length) if validation else uniforms(self.seed, "masks", keys, length)
        )
        return torch.from_numpy(drawn)

    def _hidden_states(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
        """States (n, width) and targets (n,) of the hidden tokens, and the bias of the output."""
        hidden = batch["targets"] != IGNORED
        states = self.model(batch["tokens"], **trunk_inputs(self.model, batch))[hidden]
        if self.head is None:
            return states, batch["targets"][hidden], None
        return self.head(states), batch["targets"][hidden], self.head.bias


class MultiToken(Objective):
    """The next n tokens at each position, a transformer block for each (Gloeckle et al. 2024).

    All heads read the states of the trunk before its last norm; that norm and the unembedding are shared, as in the
    authors' models. So the trunk with the first head is a decoder with one more block, which is what validation
    measures and what is left when the other heads are dropped. The loss is the sum over heads of the cross entropies,
    divided by the number of next tokens. A head has no target where its token is in another document or row.

    Heads are computed one after the other, forward and backward: their activations are held for one head at a time.

    Args:
        trunk: A decoder, with as many blocks as there should be less the heads.
        settings: Number of heads.
        token_bytes: Bytes of text of each token; None where nobody knows.
        end_of_text: The token that ends a document.

    Raises:
        CurateError: The trunk is no decoder.

    Validation gives the metrics of `TextMeasure` for the next token, and `loss_2`, `loss_3`, ... for those after it.
    """

    def __init__(
        self, trunk: nn.Module, settings: MultiTokenSettings, *, token_bytes: np.ndarray | None, end_of_text: int
    ) -> None:
        super().__init__()
        if not isinstance(trunk, Decoder):
            raise CurateError("`multi_token` adds layers to a decoder", "objective.kind", "use `model.kind: decoder`")
        if trunk.sizes.windowed or trunk.sizes.unrotated:
            raise CurateError(
                "`multi_token` adds layers like the others, and the layers of this model differ (windows, positions)",
                "objective.kind",
                "begin with a model whose layers are all alike",
            )
        self.model = trunk
        self.heads = nn.ModuleList(Block(trunk.sizes, causal=True) for _ in range(settings.heads))
        self.text = TextMeasure(token_bytes, end_of_text)
        self.watch = self.text.watch

    def first_weights(self, name: str, tensor: Tensor, generator: torch.Generator) -> None:
        """Fill a parameter; those of heads as those of blocks."""
        if name.startswith("heads."):
            name = "model.blocks." + name.removeprefix("heads.")
        super().first_weights(name, tensor, generator)

    def forward(self, batch: Batch) -> Loss:
        """Summed cross entropies in nats of all heads, each target by its weight."""
        states, turn, mask = self._trunk_states(batch)

        def loss(number: int, states: Tensor) -> Tensor:
            hidden = self._head_states(number, states, turn, mask)
            targets, weights = shifted(batch, number)
            cap = self.model.sizes.logit_cap
            return linear_cross_entropy(hidden, self.model.unembedding, targets, weights=weights, cap=cap)

        shared = [*self.model.norm.parameters(), self.model.unembedding]
        learned = [parameter for parameter in (*self.heads.parameters(), *shared) if parameter.requires_grad]
        total, losses = one_by_one(loss, len(self.heads), states, learned)
        return Loss(total, {"next_token_loss": losses[0]})

    def score(self, batch: Batch) -> dict[str, Tensor]:
        """Nats, tokens and bytes of the text by the first head, nats and tokens of the others."""
        states, turn, mask = self._trunk_states(batch)
        sums = {}
        for number in range(len(self.heads)):
            hidden = self._head_states(number, states, turn, mask)
            cap = self.model.sizes.logit_cap
            found = self.text.sums(hidden, self.model.unembedding, shifted(batch, number)[0], cap=cap)
            sums |= found if number == 0 else {f"{name}_{number + 1}": value for name, value in found.items()}
        return sums

    def summary(self, sums: dict[str, Tensor]) -> dict[str, Any]:
        """The metrics of `TextMeasure` for the next token, and the loss in nats of each head after the first."""
        others = range(2, len(self.heads) + 1)
        losses = {
            f"loss_{number}": sums[f"nats_{number}"].item() / max(sums[f"tokens_{number}"].item(), 1.0)
            for number in others
        }
        return {**self.text.summary(sums), **losses}

    def _trunk_states(self, batch: Batch) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """What the heads read: states (rows, length, width), rotation and mask."""
        states, beside = self.model.begin(batch["tokens"], **trunk_inputs(self.model, batch))
        for block, (turn, mask) in zip(self.model.blocks, beside, strict=True):
            states = block(states, turn, mask)
        return states, *beside[0]  # that of all blocks

    def _head_states(self, number: int, states: Tensor, turn: Tensor | None, mask: Tensor | None) -> Tensor:
        """(rows * length, width)."""
        return self.model.norm(self.heads[number](states, turn, mask)).flatten(0, 1)


def shifted(batch: Batch, places: int) -> tuple[Tensor, Tensor | None]:
    """Targets `places` after each position's own, and their weights, (rows * length,) both.

    There is none (IGNORED) where the position of that target is in another document than this one, or in no row.
    """
    targets = _after(batch["targets"], places, IGNORED)
    if "documents" in batch:
        documents = batch["documents"]
        targets = targets.masked_fill(_after(documents, places, -1) != documents, IGNORED)
    weights = flat_weights(batch)
    if weights is not None:
        weights = _after(weights.view_as(targets), places, 0).flatten()
    return targets.flatten(), weights


def _after(values: Tensor, places: int, fill: int) -> Tensor:
    return functional.pad(values[:, places:], (0, places), value=fill)


def one_by_one(
    loss: Callable[[int, Tensor], Tensor], count: int, states: Tensor, parameters: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """The sum of losses that all read the same states, with memory for the activations of one of them.

    Each loss is computed and its gradients with it, in the forward pass; what is held for the backward pass is the sum of
    the gradients.

    Args:
        loss: From its number and the states to a scalar; float32.
        count: Number of losses.
        states: What all of them read.
        parameters: All that they read besides and that gets gradients.

    Returns:
        Their sum, and the losses, (count,), without gradients.
    """
    if not torch.is_grad_enabled():
        losses = torch.stack([loss(number, states) for number in range(count)])
        return losses.sum(), losses
    return _OneByOne.apply(loss, count, states, *parameters)  # pyright: ignore[reportReturnType]


def _added(total: Tensor | None, value: Tensor | None) -> Tensor | None:
    """In place."""
    if total is None or value is None:
        return value if total is None else total
    return total.add_(value)


class _OneByOne(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, loss: Callable[[int, Tensor], Tensor], count: int, states: Tensor, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        leaf = states.detach().requires_grad_()
        read = (leaf, *parameters)
        sums: list[Tensor | None] = [None] * len(read)
        losses = []
        for number in range(count):
            with torch.enable_grad():
                value = loss(number, leaf)
            gradients = torch.autograd.grad(value, read, allow_unused=True)
            sums = [_added(before, gradient) for before, gradient in zip(sums, gradients, strict=True)]
            losses.append(value.detach())
            del value, gradients  # before the next one is computed
        ctx.save_for_backward(*sums)
        found = torch.stack(losses)
        ctx.mark_non_differentiable(found)
        return found.sum(), found

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, outer: Tensor, _: Any) -> tuple[Tensor | None, ...]:  # pyright: ignore
        gradients = (None if saved is None else saved * outer.to(saved.dtype) for saved in ctx.saved_tensors)
        return None, None, *gradients
