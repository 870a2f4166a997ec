from __future__ import annotations

import copy
import math
import warnings
from collections import defaultdict
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from curate.train.data.batch import IGNORED
from curate.train.models.decoder import Decoder
from curate.train.models.families import LLAMA
from curate.train.models.lora import add_lora
from curate.train.objectives.preference import Preference
from curate.train.objectives.reference import Reference
from curate.train.settings.architecture import Architecture
from curate.train.settings.methods import LoraSettings, PreferenceSettings
from tests.oracles import library

VOCABULARY = 30
SIZES = Architecture(layers=2, width=16, heads=2, key_value_heads=1, head_width=8, feed_forward=32, tied=False)
# prompt, chosen, rejected
PAIRS = [([3, 4, 5], [6, 7, 8, 9], [10]), ([11, 12], [13], [14, 15, 16]), ([17], [18, 19], [20, 21])]


def filled(trunk, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in trunk.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.3, generator=generator)
    return trunk


def decoder(seed):
    return filled(Decoder(SIZES, vocabulary=VOCABULARY, length=64), seed)


@pytest.fixture
def build():
    """A policy and a reference with different weights: `build(beta=0.2)`."""

    def make(**settings):
        return Preference(decoder(1), PreferenceSettings(**settings), reference=Reference(decoder(2)))

    return make


def paired(pairs, length=8):
    """Tokens, targets and documents, (rows, 2, length)."""
    shape = len(pairs), 2, length
    batch = {
        "tokens": torch.zeros(shape, dtype=torch.int64),
        "targets": torch.full(shape, IGNORED),
        "documents": torch.full(shape, -1),
    }
    for row, (prompt, *answers) in enumerate(pairs):
        for side, answer in enumerate(answers):
            text = prompt + answer
            batch["tokens"][row, side, : len(text) - 1] = torch.tensor(text[:-1])
            batch["documents"][row, side, : len(text) - 1] = 0
            batch["targets"][row, side, len(prompt) - 1 : len(text) - 1] = torch.tensor(answer)
    return batch


def prepared(objective, batch):
    return objective.prepare(batch, step=0)


def means(objective, batch):
    loss = objective(batch)
    size = objective.size(batch)
    return {name: value.item() / size for name, value in {"loss": loss.total, **loss.sums}.items()}


class Alone:
    """The accelerator of a single process."""

    device = torch.device("cpu")

    def gather(self, values):
        return values

    gather_for_metrics = gather


def trl_trainer(policy, reference, **settings):
    """What trl's loss reads of its trainer."""
    plain = {"loss_types": ["sigmoid"], "beta": 0.1, "label_smoothing": 0.0}
    return SimpleNamespace(
        **{**plain, **settings},
        model=policy,
        ref_model=reference,
        accelerator=Alone(),
        args=SimpleNamespace(gradient_checkpointing_kwargs=None),
        loss_weights=[1.0],
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=False,
        f_divergence_type="reverse_kl",
        use_weighting=False,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )


def llama(trunk):
    """The same model in transformers, with trl's head."""
    transformers = library("transformers")
    from trl.trainer.utils import add_fused_lm_head

    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA.config(SIZES, VOCABULARY, 64)))
    names = LLAMA.names(SIZES)
    model.load_state_dict({names[name].name: tensor for name, tensor in trunk.state_dict().items()})
    add_fused_lm_head(model, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
    return model


def trl_loss(objective, pairs, **settings):
    """Loss, model and metrics of trl's DPOTrainer."""
    dpo_trainer = library("trl.trainer.dpo_trainer")
    policy, reference = llama(objective.model), llama(objective.outside[0].model)
    trainer = trl_trainer(policy, reference, **settings)
    keys = ("prompt_ids", "chosen_ids", "rejected_ids")
    examples = [dict(zip(keys, pair, strict=True)) for pair in pairs]
    inputs = dpo_trainer.DataCollatorForPreference(pad_token_id=0)(examples)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        loss = dpo_trainer.DPOTrainer._compute_loss(trainer, policy, inputs, return_outputs=False)
    return loss, policy, {name: values[-1] for name, values in trainer._metrics["train"].items()}


@pytest.mark.slow
def test_loss_and_gradients_equal_those_of_trl(build):
    objective = build(beta=0.3)
    wanted, policy, _ = trl_loss(objective, PAIRS, beta=0.3)
    wanted.backward()
    batch = prepared(objective, paired(PAIRS))
    loss = objective(batch).total / objective.size(batch)
    loss.backward()
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    for name, source in LLAMA.names(SIZES).items():
        found = objective.model.get_parameter(name).grad
        torch.testing.assert_close(found, policy.get_parameter(source.name).grad, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_rewards_equal_those_of_trl(build):
    objective = build(beta=0.3)
    _, _, metrics = trl_loss(objective, PAIRS, beta=0.3)
    found = means(objective, prepared(objective, paired(PAIRS)))
    assert found["chosen_reward"] == pytest.approx(metrics["rewards/chosen"], rel=1e-5)
    assert found["rejected_reward"] == pytest.approx(metrics["rewards/rejected"], rel=1e-5)
    assert found["margin"] == pytest.approx(metrics["rewards/margins"], rel=1e-5)
    assert found["accuracy"] == pytest.approx(metrics["rewards/accuracies"], rel=1e-5)


@pytest.mark.slow
def test_label_smoothing_equals_that_of_trl(build):
    # trl has the conservative loss under the name `aot`, which is it for a single pair
    objective = build(beta=0.3, label_smoothing=0.2)
    wanted, _, _ = trl_loss(objective, PAIRS[:1], beta=0.3, label_smoothing=0.2, loss_types=["aot"])
    found = means(objective, prepared(objective, paired(PAIRS[:1])))
    assert found["loss"] == pytest.approx(wanted.item(), rel=1e-5)


@pytest.mark.slow
def test_ipo_equals_that_of_trl_on_answers_of_several_tokens(build):
    objective = build(method="ipo", tau=0.3)
    wanted, policy, _ = trl_loss(objective, PAIRS, beta=0.3, loss_types=["ipo"])
    wanted.backward()
    batch = prepared(objective, paired(PAIRS))
    loss = objective(batch).total / objective.size(batch)
    loss.backward()
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    for name, source in LLAMA.names(SIZES).items():
        found = objective.model.get_parameter(name).grad
        torch.testing.assert_close(found, policy.get_parameter(source.name).grad, rtol=1e-4, atol=1e-5)


def answer_means(objective):
    """(pairs, 2) mean log-probability of an answer's tokens, from whole logits."""
    found = []
    for prompt, *answers in PAIRS:
        for answer in answers:
            tokens = torch.tensor(prompt + answer)
            states = objective.model(tokens[None, :-1])[0]
            shares = (states @ objective.model.unembedding.T).log_softmax(-1)
            found.append(shares[torch.arange(len(tokens) - 1), tokens[1:]][len(prompt) - 1 :].mean())
    return torch.stack(found).view(-1, 2)


def test_simpo_is_the_formula_of_the_paper_on_means_over_tokens(build):
    objective = build(method="simpo", gamma_beta_ratio=0.3)
    chosen, rejected = answer_means(objective).unbind(1)
    wanted = -(1 / (1 + torch.exp(-(2.0 * chosen - 2.0 * rejected - 0.6)))).log()
    found = means(objective, paired(PAIRS))
    assert found["loss"] == pytest.approx(wanted.mean().item(), rel=1e-5)
    assert found["chosen_reward"] == pytest.approx(2 * chosen.mean().item(), rel=1e-5)


def test_orpo_is_the_formula_of_the_paper_on_means_over_tokens(build):
    objective = build(method="orpo", odds_weight=0.5)
    chosen, rejected = answer_means(objective).unbind(1)
    odds = (chosen.exp() / (1 - chosen.exp())) / (rejected.exp() / (1 - rejected.exp()))
    wanted = -chosen - 0.5 * (odds / (1 + odds)).log()
    assert means(objective, paired(PAIRS))["loss"] == pytest.approx(wanted.mean().item(), rel=1e-5)


@pytest.mark.parametrize("method", ["simpo", "orpo"])
def test_a_method_without_a_reference_asks_for_none(method):
    objective = Preference(decoder(1), PreferenceSettings(method=method), reference=None)
    batch = paired(PAIRS)
    assert "references" not in prepared(objective, batch)
    assert objective(batch).total.requires_grad


def test_a_model_that_is_still_its_reference_has_a_loss_of_log_2():
    trunk = decoder(1)
    objective = Preference(trunk, PreferenceSettings(), reference=Reference(copy.deepcopy(trunk)))
    found = means(objective, prepared(objective, paired(PAIRS)))
    assert found["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert found["margin"] == pytest.approx(0, abs=1e-6)


def test_the_reference_is_no_part_of_the_objective(build):
    objective = build()
    assert len(list(objective.parameters())) == len(list(objective.model.parameters()))
    assert not any(parameter.requires_grad for parameter in objective.outside[0].parameters())


def test_the_reference_stays_as_it_is_when_the_model_learns(build):
    objective = build()
    before = prepared(objective, paired(PAIRS))["references"]
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.1)
    objective(prepared(objective, paired(PAIRS))).total.backward()
    optimizer.step()
    assert torch.equal(prepared(objective, paired(PAIRS))["references"], before)


def with_adapters(trunk):
    """The trunk with adapters that change what it computes."""
    add_lora(trunk, LoraSettings(rank=2, dropout=0.5))
    for name, parameter in trunk.named_parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(len(name)))
    return trunk


@pytest.mark.parametrize("adapters", [False, True])
def test_the_reference_has_no_dropout(adapters):
    trunk = filled(Decoder(replace(SIZES, dropout=0.5), vocabulary=VOCABULARY, length=64), 1)
    reference = None if adapters else Reference(copy.deepcopy(trunk))
    trunk = with_adapters(trunk) if adapters else trunk
    objective = Preference(trunk, PreferenceSettings(), reference=reference).train()
    first, second = (prepared(objective, paired(PAIRS))["references"] for _ in range(2))
    assert torch.equal(first, second)
    assert objective.training and trunk.training


def test_without_adapters_a_reference_is_needed():
    with pytest.raises(AssertionError, match="without adapters"):
        prepared(Preference(decoder(1), PreferenceSettings(), reference=None), paired(PAIRS))


def test_with_adapters_the_reference_is_the_model_without_them():
    trunk = decoder(1)
    wanted = prepared(Preference(trunk, PreferenceSettings(), reference=Reference(copy.deepcopy(trunk))), paired(PAIRS))
    objective = Preference(with_adapters(trunk), PreferenceSettings(), reference=None)
    batch = prepared(objective, paired(PAIRS))
    torch.testing.assert_close(batch["references"], wanted["references"])
    assert abs(means(objective, batch)["margin"]) > 1e-4


def test_training_makes_the_chosen_answers_likelier_than_the_rejected():
    trunk = decoder(1)
    objective = Preference(trunk, PreferenceSettings(), reference=Reference(copy.deepcopy(trunk)))
    batch = prepared(objective, paired(PAIRS))
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-2)
    for _ in range(20):
        optimizer.zero_grad()
        objective(batch).total.backward()
        optimizer.step()
    found = means(objective, batch)
    assert found["accuracy"] == 1
    assert found["loss"] < 0.5


def test_pairs_without_an_answer_and_empty_rows_do_not_count(build):
    objective = build()
    batch = prepared(objective, paired([*PAIRS, ([3, 4], [5], []), ([0], [], [])]))
    assert objective.size(batch) == 3
    assert means(objective, batch) == pytest.approx(means(objective, prepared(objective, paired(PAIRS))), rel=1e-5)


def test_a_pair_of_weight_two_counts_twice(build):
    objective = build()
    batch = prepared(objective, paired(PAIRS[:2]) | {"weights": torch.tensor([1.0, 2.0])})
    twice = prepared(objective, paired([*PAIRS[:2], PAIRS[1]]))
    assert means(objective, batch) == pytest.approx(means(objective, twice), rel=1e-5)


def test_rows_of_a_prepared_batch_can_be_cut(build):
    objective = build()
    batch = prepared(objective, paired(PAIRS))
    pieces = [objective({name: values[row : row + 1] for name, values in batch.items()}).total for row in range(3)]
    assert sum(pieces).item() == pytest.approx(objective(batch).total.item(), rel=1e-5)


def test_validation_gives_loss_accuracy_and_rewards_for_each_pair(build):
    objective = build()
    batch = prepared(objective, paired(PAIRS))
    with torch.no_grad():
        summary = objective.summary(objective.score(batch))
    assert summary == pytest.approx({**means(objective, batch), "count": 3}, rel=1e-6)
