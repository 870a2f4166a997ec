from __future__ import annotations

import warnings
from collections import defaultdict
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from curate.train.data.batch import IGNORED
from curate.train.models.families import LLAMA
from curate.train.objectives.kto import Kto
from curate.train.objectives.reference import Reference
from curate.train.settings.methods import PreferenceSettings
from tests.oracles import library
from tests.train.test_preference import SIZES, Alone, decoder, llama, paired, with_adapters

# prompt, its answer, the answer of the next
ANSWERS = [([3, 4, 5], [6, 7, 8], [13]), ([11, 12], [13], [18, 19]), ([17], [18, 19], [6, 7, 8])]
LABELS = [1, 0, 1]


@pytest.fixture
def build():
    """A policy and a reference with different weights: `build(beta=0.2)`."""

    def make(**settings):
        given = PreferenceSettings(method="kto", **settings)
        return Kto(decoder(1), given, reference=Reference(decoder(2)), total=alone)

    return make


def alone(*values):
    """The sums over one process."""
    return list(values)


def judged(answers=ANSWERS, labels=LABELS):
    return {**paired(answers), "labels": torch.tensor(labels)}


def prepared(objective, batch):
    return objective.prepare(batch, step=0)


def trl_loss(objective, answers, labels, **settings):
    """Loss, model and metrics of trl's KTOTrainer."""
    trl = library("trl")
    policy, reference = llama(objective.model), llama(objective.outside[0].model)
    trainer = SimpleNamespace(
        model=policy,
        ref_model=reference,
        accelerator=Alone(),
        args=SimpleNamespace(gradient_checkpointing_kwargs=None),
        loss_type="kto",
        aux_loss_enabled=False,
        precompute_ref_logps=False,
        calculate_KL=True,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
        **settings,
    )
    trainer._compute_kl_logps = partial(trl.KTOTrainer._compute_kl_logps, trainer)
    inputs = {"label": torch.tensor(labels, dtype=torch.bool)}
    for place, prefix in ((1, ""), (2, "KL_")):
        texts = [(row[0], row[place]) for row in answers]
        width = max(len(prompt) + len(answer) for prompt, answer in texts)
        for name, values in {
            "input_ids": [prompt + answer for prompt, answer in texts],
            "attention_mask": [[1] * (len(prompt) + len(answer)) for prompt, answer in texts],
            "completion_mask": [[0] * len(prompt) + [1] * len(answer) for prompt, answer in texts],
        }.items():
            inputs[prefix + name] = torch.tensor([one + [0] * (width - len(one)) for one in values])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        loss = trl.KTOTrainer._compute_loss(trainer, policy, inputs, False)
    return loss, policy, {name: values[-1] for name, values in trainer._metrics["train"].items()}


@pytest.mark.slow
@pytest.mark.parametrize("turned", [False, True])
def test_loss_gradients_and_divergence_equal_those_of_trl(build, turned):
    """Turned round the mean log-ratio is below 0 on one side: there it counts as 0."""
    objective = build(beta=0.3, desirable_weight=1.5, undesirable_weight=0.5)
    if turned:
        policy, (reference,) = objective.model, objective.outside
        objective.model, reference.model = reference.model.requires_grad_(), policy.requires_grad_(False)
    weights = {"desirable_weight": 1.5, "undesirable_weight": 0.5}
    wanted, policy, metrics = trl_loss(objective, ANSWERS, LABELS, beta=0.3, **weights)
    wanted.backward()
    batch = prepared(objective, judged())
    loss = objective(batch).total / objective.size(batch)
    loss.backward()
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert batch["z0"].tolist() == pytest.approx([metrics["kl"]] * 3, rel=1e-5)
    for name, source in LLAMA.names(SIZES).items():
        found = objective.model.get_parameter(name).grad
        torch.testing.assert_close(found, policy.get_parameter(source.name).grad, rtol=1e-4, atol=1e-6)


def test_a_model_that_is_still_its_reference_has_half_the_weights_as_its_loss():
    trunk = decoder(1)
    settings = PreferenceSettings(method="kto", desirable_weight=2.0)
    objective = Kto(trunk, settings, reference=Reference(decoder(1)), total=alone)
    batch = prepared(objective, judged())
    assert objective(batch).total.item() == pytest.approx(0.5 * (2 + 1 + 2), rel=1e-5)


def test_answers_without_label_and_empty_rows_do_not_count(build):
    objective = build()
    more = judged([*ANSWERS, ([3], [4], [5]), ([0], [], [])], [*LABELS, IGNORED, IGNORED])
    found, plain = prepared(objective, more), prepared(objective, judged())
    assert objective.size(found) == 3
    assert found["z0"][0].item() == pytest.approx(plain["z0"][0].item(), rel=1e-5)
    assert objective(found).total.item() == pytest.approx(objective(plain).total.item(), rel=1e-5)


def test_pieces_of_a_prepared_batch_share_its_divergence(build):
    objective = build()
    batch = prepared(objective, judged())
    pieces = [objective({name: values[row : row + 1] for name, values in batch.items()}).total for row in range(3)]
    assert sum(pieces).item() == pytest.approx(objective(batch).total.item(), rel=1e-5)


def test_with_adapters_the_reference_is_the_model_without_them():
    plain = Kto(decoder(1), PreferenceSettings(method="kto"), reference=Reference(decoder(1)), total=alone)
    adapted = Kto(with_adapters(decoder(1)), PreferenceSettings(method="kto"), reference=None, total=alone)
    wanted, found = (prepared(one, judged())["references"] for one in (plain, adapted))
    torch.testing.assert_close(found, wanted)


def test_validation_gives_the_rewards_of_good_and_of_bad_answers(build):
    objective = build()
    batch = prepared(objective, judged())
    with torch.no_grad():
        found = objective.summary(objective.score(batch))
    assert found["count"] == 3
    assert found["margin"] == pytest.approx(found["desirable_reward"] - found["undesirable_reward"], rel=1e-5)


def test_without_bad_answers_their_reward_is_not_told(build):
    objective = build()
    batch = prepared(objective, judged(labels=[1, 1, 1]))
    with torch.no_grad():
        found = objective.summary(objective.score(batch))
    assert "undesirable_reward" not in found and "margin" not in found
