"""Distillation (Hinton et al. 2015): the next token as a teacher predicts it, mixed with the text itself.

    loss = (1 - weight) * cross entropy + weight * temperature^2 * KL(teacher || student), both softened by the temperature

The teacher sees the same batch as the student, in the same step: no logits are kept on disk, which would be the
vocabulary's size times that of the text. It costs one forward pass of the teacher a step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from curate.errors import CurateError
from curate.train.data.batch import Batch
from curate.train.objectives.contract import Loss, Objective, flat_weights, trunk_inputs
from curate.train.objectives.loss import linear_cross_entropy, linear_distillation
from curate.train.objectives.metrics import TextMeasure
from curate.train.settings.methods import DistillationSettings

__all__ = ["Distillation"]


class Distillation(Objective):
    """The next token, as the text has it and as a teacher predicts it.

    Args:
        trunk: The student.
        settings: Temperature, and the share of the teacher.
        teacher: A trunk with its weights. It is frozen here, and no part of the module: it is neither sharded nor saved.
        token_bytes: Bytes of text of each token; None where nobody knows.
        end_of_text: The token that ends a document.

    Raises:
        CurateError: The teacher has another number of tokens.

    Validation gives the metrics of `TextMeasure`, of the student.
    """

    def __init__(
        self,
        trunk: nn.Module,
        settings: DistillationSettings,
        *,
        teacher: nn.Module,
        token_bytes: np.ndarray | None,
        end_of_text: int,
    ) -> None:
        super().__init__()
        self.model, self.settings = trunk, settings
        # a tuple, so that it is no submodule
        self.teacher: tuple[Any] = (teacher.eval().requires_grad_(False),)
        tokens, taught = len(self.model.unembedding), len(self.teacher[0].unembedding)
        if tokens != taught:
            raise CurateError(
                f"the teacher has {taught} tokens and the model {tokens}",
                "objective.teacher",
                "teacher and model must have the same tokenizer",
            )
        self.text = TextMeasure(token_bytes, end_of_text)
        self.watch = self.text.watch

    def forward(self, batch: Batch) -> Loss:
        """Summed loss in nats, each target by its weight."""
        hidden = self.model(batch["tokens"], **trunk_inputs(self.model, batch)).flatten(0, 1)
        teacher_hidden, teacher_weight = self._taught(batch, hidden.dtype)
        targets, weights = batch["targets"].flatten(), flat_weights(batch)
        share, weight = self.settings.weight, self.model.unembedding
        cap = self.model.sizes.logit_cap
        text = linear_cross_entropy(hidden, weight, targets, weights=weights, cap=cap)
        taught = linear_distillation(
            hidden,
            weight,
            teacher_hidden,
            teacher_weight,
            targets,
            temperature=self.settings.temperature,
            weights=weights,
            cap=cap,
            teacher_cap=self.teacher[0].sizes.logit_cap,
        )
        return Loss((1 - share) * text + share * taught, {"text_loss": text.detach(), "teacher_loss": taught.detach()})

    def score(self, batch: Batch) -> dict[str, Tensor]:
        """Nats, tokens and bytes of the text."""
        hidden = self.model(batch["tokens"], **trunk_inputs(self.model, batch)).flatten(0, 1)
        cap = self.model.sizes.logit_cap
        return self.text.sums(hidden, self.model.unembedding, batch["targets"].flatten(), cap=cap)

    def summary(self, sums: dict[str, Tensor]) -> dict[str, Any]:
        """The metrics of `TextMeasure`."""
        return dict(self.text.summary(sums))

    @torch.no_grad()
    def _taught(self, batch: Batch, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """The teacher's states, (positions, width), and the matrix that makes logits of them; in `dtype`."""
        (teacher,) = self.teacher
        tokens = batch["tokens"]
        teacher.to(tokens.device)
        inputs = {name: value for name, value in trunk_inputs(teacher, batch).items() if name != "noise"}
        with torch.autocast(tokens.device.type, dtype=dtype, enabled=dtype != torch.float32):
            states = teacher(tokens, **inputs)
        return states.flatten(0, 1).to(dtype), teacher.unembedding.to(dtype)
