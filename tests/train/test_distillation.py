from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from curate.errors import CurateError
from curate.train.data.batch import IGNORED
from curate.train.models.decoder import Decoder
from curate.train.objectives.distillation import Distillation
from curate.train.objectives.language import Causal
from curate.train.settings.architecture import Architecture
from curate.train.settings.methods import CausalSettings, DistillationSettings

VOCABULARY, LENGTH = 50, 16
TEXT = {"token_bytes": np.arange(VOCABULARY) % 5, "end_of_text": 0}


def trunk(width, seed, vocabulary=VOCABULARY):
    sizes = Architecture(layers=1, width=width, heads=2, key_value_heads=1, head_width=width // 2, feed_forward=32)
    model, generator = Decoder(sizes, vocabulary=vocabulary, length=LENGTH), torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        model.first_weights(name, parameter.data, generator)
        parameter.data *= 10 if parameter.ndim > 1 else 1
    return model


def distillation(teacher=None, **settings):
    settings = DistillationSettings(teacher="runs/teacher", **settings)
    return Distillation(trunk(16, 0), settings, teacher=teacher or trunk(32, 1), **TEXT)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randint(0, VOCABULARY, (4, LENGTH + 1), generator=generator)
    targets = tokens[:, 1:].clone()
    targets[:, ::5] = IGNORED
    return {
        "tokens": tokens[:, :-1],
        "targets": targets,
        "documents": torch.arange(LENGTH).div(6, rounding_mode="floor").repeat(4, 1),
        "weights": torch.tensor([1.0, 0.5, 0.0, 2.0]),
    }


@pytest.mark.parametrize(("temperature", "weight"), [(2.0, 0.5), (1.0, 1.0), (4.0, 0.1)])
def test_loss_and_gradients_are_those_of_the_formula(batch, temperature, weight):
    objective = distillation(temperature=temperature, weight=weight)
    student, (teacher,) = objective.model, objective.teacher
    logits, taught = (
        model(batch["tokens"], documents=batch["documents"]) @ model.unembedding.T for model in (student, teacher)
    )
    softened = (logits / temperature).log_softmax(-1), (taught.detach() / temperature).softmax(-1)
    divergence = functional.kl_div(*softened, reduction="none").sum(-1) * temperature**2
    text = functional.cross_entropy(logits.transpose(1, 2), batch["targets"], reduction="none")
    counts = (batch["targets"] != IGNORED) * batch["weights"][:, None]
    wanted = (((1 - weight) * text + weight * divergence) * counts).sum()
    found = objective(batch).total
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=0)
    parameters = list(objective.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(found, parameters), torch.autograd.grad(wanted, parameters), rtol=1e-4, atol=1e-4
    )


def test_the_log_has_both_parts_of_the_loss(batch):
    objective = distillation(weight=0.25)
    found = objective(batch)
    mixed = 0.75 * found.sums["text_loss"] + 0.25 * found.sums["teacher_loss"]
    torch.testing.assert_close(found.total, mixed)
    assert not any(value.requires_grad for value in found.sums.values())


def test_the_teacher_is_no_part_of_the_module_and_gets_no_gradients(batch):
    teacher = trunk(32, 1)
    objective = distillation(teacher)
    objective(batch).total.backward()
    ours = {id(parameter) for parameter in objective.parameters()}
    assert not any(id(parameter) in ours or parameter.requires_grad for parameter in teacher.parameters())
    assert all(name.startswith("model.") for name in objective.state_dict())
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_the_teacher_stays_without_dropout_while_the_student_has_it():
    teacher = trunk(32, 1)
    objective = distillation(teacher.train())
    objective.train()
    assert not teacher.training


def test_noise_of_adversarial_training_is_for_the_student_alone(batch):
    objective = distillation(weight=1.0)
    noise = torch.zeros(4, LENGTH, 16, requires_grad=True)
    found = objective({**batch, "noise": noise}).total
    torch.testing.assert_close(found, objective(batch).total)
    assert torch.autograd.grad(found, noise)[0].any()


@torch.no_grad()
def test_validation_is_that_of_the_student_on_the_text(batch):
    objective = distillation()
    causal = Causal(objective.model, CausalSettings(), **TEXT)
    assert objective.summary(objective.score(batch)) == causal.summary(causal.score(batch))
    assert objective.watch == "bits_per_byte"


def test_a_student_learns_from_its_teacher(batch):
    objective = distillation(weight=1.0, temperature=1.0)
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.01)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = objective(batch).total / objective.size(batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


def test_a_teacher_with_another_vocabulary_is_refused():
    with pytest.raises(CurateError, match="the teacher has 51 tokens and the model 50") as error:
        distillation(trunk(32, 1, vocabulary=51))
    assert error.value.hint == "teacher and model must have the same tokenizer"


def test_a_student_in_bfloat16_is_taught_in_bfloat16(batch):
    objective = distillation().bfloat16()
    (teacher,) = objective.teacher
    exact = distillation()(batch).total
    assert teacher.embedding.weight.dtype == torch.float32
    assert objective(batch).total.item() == pytest.approx(exact.item(), rel=0.05)
