from __future__ import annotations

import copy
import json
from collections import defaultdict
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer, decoders
from tokenizers.models import WordLevel

from curate.errors import CurateError
from curate.train.data.batch import IGNORED
from curate.train.models.decoder import Decoder
from curate.train.models.families import LLAMA
from curate.train.models.lora import add_lora
from curate.train.objectives.reference import Reference
from curate.train.objectives.reinforcement import Reinforcement
from curate.train.settings.architecture import Architecture
from curate.train.settings.methods import LoraSettings, ReinforcementSettings
from tests.oracles import library

CHARACTERS = ["<end>", *"0123456789", *"abc "]
END = 0
SIZES = Architecture(layers=2, width=16, heads=2, key_value_heads=1, head_width=8, feed_forward=32, tied=False)


def tokenizer():
    """One token for each character."""
    made = Tokenizer(WordLevel({character: token for token, character in enumerate(CHARACTERS)}, unk_token="<end>"))
    made.decoder = decoders.Fuse()
    made.add_special_tokens(["<end>"])
    return made


def tokens_of(text):
    return [CHARACTERS.index(character) for character in text]


def decoder(seed=1, sizes=SIZES, deviation=0.3):
    trunk = Decoder(sizes, vocabulary=len(CHARACTERS), length=64)
    generator = torch.Generator().manual_seed(seed)
    for parameter in trunk.parameters():
        torch.nn.init.normal_(parameter, 0.0, deviation, generator=generator)
    return trunk


def build(trunk=None, *, reference=None, seed=1, **settings):
    rewards = {} if "rewards" in settings else {"reward": "contains"}
    settings = {**rewards, "group": 4, "new_tokens": 6, **settings}
    made = Reinforcement(
        trunk or decoder(),
        ReinforcementSettings(**settings),
        tokenizer=tokenizer(),
        ends=[END],
        seed=seed,
        reference=reference,
    )
    OPEN.append(made)
    return made


OPEN = []


@pytest.fixture(autouse=True)
def closed():
    """Ends the processes that judge."""
    yield
    while OPEN:
        OPEN.pop().close()


LENGTH_AND_A = "tests.train.reward_functions:length_and_a"
"""Differs in each group."""


def questions(texts, answers, length=5):
    """A batch of prompts as the source gives it; an empty text is an empty row."""
    rows = len(texts)
    batch = {
        "tokens": torch.zeros(rows, length, dtype=torch.int64),
        "documents": torch.full((rows, length), -1),
        "answers": torch.full((rows, 6), -1),
        "samples": torch.arange(rows),
        "numbers": 100 + torch.arange(rows),
    }
    for row, (text, answer) in enumerate(zip(texts, answers, strict=True)):
        if text:
            batch["tokens"][row, -len(text) :] = torch.tensor(tokens_of(text))
            batch["documents"][row, -len(text) :] = 0
        if answer:
            batch["answers"][row, : len(answer)] = torch.tensor(tokens_of(answer))
    return batch


QUESTIONS = questions(["12a", "3", "bc 4"], ["1", "2", "c"])


def texts_of(batch):
    return ["".join(CHARACTERS[token] for token in row.tolist() if token != IGNORED) for row in batch["targets"]]


# ---- sampling


def test_each_prompt_has_as_many_completions_as_the_group():
    batch = build(group=4, new_tokens=6).prepare(QUESTIONS, step=0)
    assert batch["tokens"].shape == batch["targets"].shape == batch["documents"].shape == (12, 5 + 6 - 1)
    assert len(set(texts_of(batch)[:4])) > 1


def test_targets_are_the_sampled_tokens_and_follow_the_prompt():
    batch = build().prepare(QUESTIONS, step=0)
    assert (batch["targets"][:, :4] == IGNORED).all()
    assert (batch["targets"][:, 4] != IGNORED).all()
    valid = batch["targets"][:, :-1] != IGNORED
    assert torch.equal(batch["targets"][:, :-1][valid], batch["tokens"][:, 1:][valid])


def test_what_comes_after_the_end_is_padding():
    batch = build().prepare(QUESTIONS, step=0)
    ended = batch["ended"]
    assert ended.any() and not ended.all()
    for row in ended.nonzero().flatten():
        last = (batch["targets"][row] == END).nonzero().item()
        assert (batch["targets"][row, last + 1 :] == IGNORED).all()
        assert (batch["documents"][row, last + 2 :] == -1).all()


def test_the_same_samples_give_the_same_texts_however_they_are_shared():
    whole = texts_of(build().prepare(QUESTIONS, step=0))
    rows = [{name: values[row : row + 1] for name, values in QUESTIONS.items()} for row in range(3)]
    assert [text for row in rows for text in texts_of(build().prepare(row, step=0))] == whole


def test_another_seed_and_other_samples_give_other_texts():
    first = texts_of(build().prepare(QUESTIONS, step=0))
    assert texts_of(build(seed=2).prepare(QUESTIONS, step=0)) != first
    assert texts_of(build().prepare(QUESTIONS | {"samples": torch.arange(3, 6)}, step=0)) != first


def test_texts_are_sampled_without_dropout():
    objective = build(decoder(sizes=replace(SIZES, dropout=0.5))).train()
    first, second = (objective.prepare(QUESTIONS, step=0) for _ in range(2))
    assert torch.equal(first["targets"], second["targets"])
    assert objective.model.training


# ---- rewards


def test_the_reward_is_given_prompt_completion_and_answer_as_texts():
    objective = build(reward=LENGTH_AND_A)
    batch = objective.prepare(QUESTIONS, step=0)
    seen = objective.judging.seen
    assert [one["prompt"] for one in seen] == ["12a"] * 4 + ["3"] * 4 + ["bc 4"] * 4
    assert [one["completion"] for one in seen] == [text.replace("<end>", "") for text in texts_of(batch)]
    assert [one["answer"] for one in seen] == ["1"] * 4 + ["2"] * 4 + ["c"] * 4
    assert batch["rewards"].tolist() == [len(one["completion"]) + one["completion"].count("a") for one in seen]


@pytest.mark.slow
def test_advantages_equal_those_of_trl():
    nanstd = library("trl.trainer.utils").nanstd
    objective = build(reward="tests.train.reward_functions:squared_length")
    batch = objective.prepare(QUESTIONS, step=0)
    rewards = batch["rewards"].view(3, 4)
    wanted = (rewards - rewards.mean(1, keepdim=True)) / (nanstd(rewards, dim=1)[:, None] + 1e-4)
    torch.testing.assert_close(batch["advantages"], wanted.flatten())


def test_reinforce_does_not_divide_by_the_deviation():
    objective = build(method="reinforce")
    batch = objective.prepare(QUESTIONS, step=0)
    rewards = batch["rewards"].view(3, 4)
    torch.testing.assert_close(batch["advantages"], (rewards - rewards.mean(1, keepdim=True)).flatten())


def test_a_reward_that_fails_names_the_number_of_the_prompt():
    objective = build(reward="number")
    with pytest.raises(CurateError, match="the answer holds no number") as error:
        objective.prepare(questions(["1", "2"], ["1", "a"]), step=0)
    assert error.value.where == "prompt 101"


def test_several_rewards_are_summed_by_weight_and_logged_by_name():
    objective = build(
        rewards=[{"reward": "exact", "weight": 2}, {"reward": LENGTH_AND_A, "weight": -0.5, "name": "long"}]
    )
    batch = objective.prepare(QUESTIONS, step=0)
    torch.testing.assert_close(batch["rewards"], batch["parts"] @ torch.tensor([2, -0.5]))
    sums = {name: value.item() for name, value in objective(batch).sums.items()}
    measures = objective.measures(sums, objective.size(batch))
    assert measures["rewards/long"] == pytest.approx(batch["parts"][:, 1].mean().item())
    assert measures["reward"] == pytest.approx(2 * measures["rewards/exact"] - 0.5 * measures["rewards/long"])
    summary = objective.summary(objective.score(QUESTIONS))
    assert summary["reward"] == pytest.approx(2 * summary["rewards/exact"] - 0.5 * summary["rewards/long"])


def test_what_stands_for_a_reward_that_fails_is_counted():
    objective = build(reward="number", reward_limits={"failed": -1.0})
    batch = objective.prepare(questions(["1", "2"], ["1", "a"]), step=0)
    assert batch["failed"].tolist() == [False] * 4 + [True] * 4
    assert batch["rewards"].tolist()[4:] == [-1.0] * 4
    sums = {name: value.item() for name, value in objective(batch).sums.items()}
    assert objective.measures(sums, objective.size(batch))["failed"] == 0.5


@pytest.mark.parametrize("order", [["number", "exact"], ["exact", "number"]])
def test_a_completion_has_failed_where_any_of_its_rewards_has(order):
    objective = build(rewards=[{"reward": name} for name in order], reward_limits={"failed": 0.0})
    batch = objective.prepare(questions(["1", "2"], ["1", "a"]), step=0)
    assert batch["failed"].tolist() == [False] * 4 + [True] * 4


def test_a_reward_is_given_the_columns_that_it_asks_for():
    told = {"reward": "tests.train.reward_functions:columns_told", "columns": ["tests", "level"]}
    objective = build(rewards=[told])
    texts = [["assert f(1) == 2", "\u00e9"], ["", "hard"], ["x", ""]]
    columns = torch.full((3, 2, 20), -1)
    for row, both in enumerate(texts):
        for column, text in enumerate(both):
            content = torch.tensor(list(text.encode()))
            columns[row, column, : len(content)] = content
    objective.prepare(QUESTIONS | {"columns": columns}, step=0)
    wanted = [len(json.dumps({"tests": first, "level": second})) for first, second in texts for _ in range(4)]
    assert [one["reward"] for one in objective.judging.seen] == wanted


def test_an_unknown_reward_is_refused_when_the_objective_is_made():
    with pytest.raises(CurateError, match="there is no reward named `contain`"):
        build(reward="contain")


# ---- learning


def prepared(objective, batch=QUESTIONS):
    """With completions and rewards."""
    return objective.prepare(batch, step=0)


def gradients(objective, loss):
    objective.zero_grad()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in objective.model.named_parameters()}


def test_the_gradient_is_that_of_reinforce_written_out():
    objective = build(method="reinforce", reward=LENGTH_AND_A)
    batch = prepared(objective)
    found = gradients(objective, objective(batch).total)
    total = torch.zeros(())
    for row in range(12):
        there = batch["documents"][row] >= 0
        targets = batch["targets"][row][there]
        logits = objective.model(batch["tokens"][row][there][None])[0] @ objective.model.unembedding.T
        sampled = targets != IGNORED
        picked = logits.log_softmax(-1)[sampled].gather(-1, targets[sampled][:, None])
        total = total - batch["advantages"][row] * picked.sum()
    torch.testing.assert_close(found, gradients(objective, total), rtol=1e-4, atol=1e-5)


class Alone:
    """The accelerator of a single process."""

    device, num_processes, is_main_process = torch.device("cpu"), 1, True

    def autocast(self):
        return nullcontext()

    def gather(self, values):
        return values

    def reduce(self, values, reduction):
        return values


def llama(trunk, temperature):
    """The same model in transformers, with trl's head."""
    transformers = library("transformers")
    from trl.trainer.utils import add_fused_lm_head

    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA.config(SIZES, len(CHARACTERS), 64)))
    names = LLAMA.names(SIZES)
    model.load_state_dict({names[name].name: tensor for name, tensor in trunk.state_dict().items()})
    add_fused_lm_head(model, temperature=temperature, outputs=("log_probs", "entropy"))
    return model


def trl_loss(objective, batch, *, beta, kind="dapo"):
    """Loss and model of trl's GRPOTrainer on the same completions and advantages, and its metrics."""
    trainer_class = library("trl.trainer.grpo_trainer").GRPOTrainer
    policy = llama(objective.model, objective.settings.temperature)
    trainer = SimpleNamespace(
        model=policy,
        accelerator=Alone(),
        args=SimpleNamespace(use_bias_correction_kl=False, delta=None, steps_per_generation=1),
        beta=beta,
        loss_type=kind,
        importance_sampling_level=objective.settings.ratio,
        epsilon_low=objective.settings.clip,
        epsilon_high=objective.settings.clip_high or objective.settings.clip,
        max_completion_length=objective.settings.new_tokens,
        top_entropy_quantile=1.0,
        aux_loss_enabled=False,
        off_policy_mask_threshold=None,
        use_vllm=False,
        current_gradient_accumulation_steps=1,
        _entropy_bonus_enabled=False,
        _metrics={"train": defaultdict(list)},
    )
    trainer._get_per_token_logps_and_entropies = partial(trainer_class._get_per_token_logps_and_entropies, trainer)
    mask = (batch["targets"][:, 4:] != IGNORED).long()
    if objective.settings.truncated == "mask":
        mask = mask * batch["ended"][:, None]
    inputs = {
        "prompt_ids": batch["tokens"][:, :5],
        "prompt_mask": (batch["documents"][:, :5] >= 0).long(),
        "completion_ids": batch["targets"][:, 4:].clamp(min=0),
        "completion_mask": mask,
        "advantages": batch["advantages"],
        "num_items_in_batch": mask.sum(),
    }
    if "old" in batch:
        inputs["old_per_token_logps"] = batch["old"][:, 4:]
    if beta:
        inputs["ref_per_token_logps"] = batch["references"][:, 4:]
    policy.train()
    loss = trainer_class._compute_loss(trainer, policy, inputs)
    return loss, policy, {name: values[-1] for name, values in trainer._metrics["train"].items()}


@pytest.mark.slow
@pytest.mark.parametrize("kl", [0.0, 0.3])
def test_loss_and_gradients_equal_those_of_trl(kl):
    reference = Reference(decoder(2), temperature=0.7) if kl else None
    objective = build(temperature=0.7, kl=kl, reference=reference, reward=LENGTH_AND_A)
    batch = prepared(objective)
    wanted, policy, metrics = trl_loss(objective, batch, beta=kl)
    wanted.backward()
    loss = objective(batch)
    found = gradients(objective, loss.total / objective.size(batch))
    assert loss.total.item() / objective.size(batch) == pytest.approx(wanted.item(), rel=1e-4, abs=1e-6)
    for name, source in LLAMA.names(SIZES).items():
        torch.testing.assert_close(found[name], policy.get_parameter(source.name).grad, rtol=1e-3, atol=1e-6)
    if kl:
        assert loss.sums["divergence"].item() / objective.size(batch) == pytest.approx(metrics["kl"], rel=1e-5)


def test_at_the_beginning_there_is_no_divergence():
    trunk = decoder()
    objective = build(trunk, reward=LENGTH_AND_A, kl=0.1, reference=Reference(copy.deepcopy(trunk)))
    batch = prepared(objective)
    assert objective(batch).sums["divergence"].item() == pytest.approx(0, abs=1e-5)


def test_with_adapters_the_divergence_is_from_the_model_without_them():
    trunk = decoder()
    plain = Reference(copy.deepcopy(trunk))
    add_lora(trunk, LoraSettings(rank=2))
    for name, parameter in trunk.named_parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(len(name)))
    objective = build(trunk, reward=LENGTH_AND_A, kl=0.1)
    batch = prepared(objective)
    torch.testing.assert_close(batch["references"], plain.respond(batch))
    assert objective(batch).sums["divergence"].item() > 0.01


def test_rows_of_a_prepared_batch_can_be_cut():
    objective = build(reward=LENGTH_AND_A)
    batch = prepared(objective)
    pieces = [{name: values[start : start + 6] for name, values in batch.items()} for start in (0, 6)]
    assert sum(objective.size(piece) for piece in pieces) == objective.size(batch)
    total = sum(objective(piece).total for piece in pieces)
    torch.testing.assert_close(gradients(objective, total), gradients(objective, objective(batch).total))


def test_empty_rows_are_neither_rewarded_nor_learned_from():
    objective = build(reward=LENGTH_AND_A)
    batch = objective.prepare(QUESTIONS, step=0)
    padded = {name: torch.cat([values, values[:1]]) for name, values in QUESTIONS.items()}
    padded["documents"][3] = -1
    found = objective.prepare(padded, step=0)
    assert len(objective.judging.seen) == 12
    assert objective.size(found) == objective.size(batch)
    assert objective(found).sums["completions"].item() == 12
    assert torch.isfinite(objective(found).total)


def test_a_prompt_of_weight_two_counts_twice():
    objective = build(reward=LENGTH_AND_A)
    batch = prepared(objective, QUESTIONS | {"weights": torch.tensor([1.0, 2.0, 0.0])})
    cut = [{name: values[start : start + 4] for name, values in batch.items() if name != "weights"} for start in (0, 4)]
    losses = [objective(piece).total for piece in cut]
    assert objective(batch).total.item() == pytest.approx((losses[0] + 2 * losses[1]).item(), rel=1e-5)
    assert objective.size(batch) == objective.size(cut[0]) + 2 * objective.size(cut[1])


def test_the_log_has_rewards_for_each_completion_and_entropy_for_each_token():
    objective = build(reward=LENGTH_AND_A)
    batch = prepared(objective)
    loss = objective(batch)
    sums = {name: value.item() for name, value in {"loss": loss.total, **loss.sums}.items()}
    measures = objective.measures(sums, objective.size(batch))
    lengths = (batch["targets"] != IGNORED).sum(1).float()
    assert set(measures) == {"loss", "reward", "length", "ended", "flat", "entropy"}
    assert measures["reward"] == pytest.approx(batch["rewards"].mean().item())
    assert measures["length"] == pytest.approx(lengths.mean().item())
    assert measures["ended"] == pytest.approx(batch["ended"].float().mean().item())
    assert 0 < measures["entropy"] < 2 * torch.tensor(len(CHARACTERS)).log().item()


def test_validation_rewards_the_likeliest_completion_of_each_prompt():
    objective = build(reward=LENGTH_AND_A)
    batch = objective.prepare(QUESTIONS, step=-1)
    summary = objective.summary(objective.score(batch))
    seen = objective.judging.seen
    objective.score(batch)
    assert objective.judging.seen == seen
    assert [one["prompt"] for one in seen] == ["12a", "3", "bc 4"]
    assert summary["reward"] == pytest.approx(sum(one["reward"] for one in seen) / 3)
    assert summary["count"] == 3
    assert set(summary) == {"reward", "length", "ended", "count"}


# ---- its kin


@pytest.mark.slow
@pytest.mark.parametrize(("aggregate", "kind"), [("token", "dapo"), ("sequence", "grpo"), ("constant", "dr_grpo")])
@pytest.mark.parametrize("ratio", ["token", "sequence"])
def test_loss_and_gradients_of_every_kind_equal_those_of_trl_where_cut_completions_are_masked(aggregate, kind, ratio):
    settings = {"aggregate": aggregate, "ratio": ratio, "truncated": "mask", "minibatches": 3, "clip_high": 0.002}
    objective = build(reward=LENGTH_AND_A, clip=0.001, **settings)
    batch = prepared(objective)
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.mul_(1.1)  # else the ratio is 1
    wanted, policy, metrics = trl_loss(objective, batch, beta=0.0, kind=kind)
    wanted.backward()
    loss = objective(batch)
    found = gradients(objective, loss.total / objective.size(batch))
    assert 0 < metrics["clip_ratio/region_mean"] < 1
    assert loss.total.item() / objective.size(batch) == pytest.approx(wanted.item(), rel=1e-4, abs=1e-6)
    for name, source in LLAMA.names(SIZES).items():
        torch.testing.assert_close(found[name], policy.get_parameter(source.name).grad, rtol=1e-3, atol=1e-6)


def test_the_prompts_of_a_step_are_learned_from_in_minibatches_and_again():
    objective = build(epochs=2, minibatches=3)
    batch = objective.prepare(QUESTIONS, step=0)
    parts = list(objective.updates(batch))
    assert [part["samples"].tolist() for part in parts] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]] * 2
    assert len(list(build().updates(batch))) == 1


def test_the_first_of_several_updates_has_a_ratio_of_one():
    once, often = build(reward=LENGTH_AND_A), build(reward=LENGTH_AND_A, epochs=2)
    batch = often.prepare(QUESTIONS, step=0)
    torch.testing.assert_close(
        gradients(often, often(batch).total), gradients(once, once(once.prepare(QUESTIONS, step=0)).total)
    )
    assert often(batch).sums["clipped"].item() == 0


def test_what_has_moved_too_far_is_not_learned_any_more_and_counted():
    objective = build(reward=LENGTH_AND_A, epochs=2, clip=0.001)
    batch = objective.prepare(QUESTIONS, step=0)
    batch["old"] = torch.where(batch["advantages"][:, None] > 0, batch["old"] - 1, batch["old"] + 1)
    loss = objective(batch)
    assert loss.sums["clipped"].item() == (batch["targets"] != IGNORED)[batch["advantages"] != 0].sum().item()
    assert all((gradient == 0).all() for gradient in gradients(objective, loss.total).values())


def test_nothing_is_learned_from_a_completion_that_was_cut():
    objective = build(reward=LENGTH_AND_A, truncated="mask")
    batch = prepared(objective)
    cut = ~batch["ended"]
    assert cut.any() and not cut.all()
    kept = {name: values[~cut] for name, values in batch.items()}
    plain = build(reward=LENGTH_AND_A)
    assert objective.size(batch) == plain.size(kept)
    assert objective(batch).total.item() == pytest.approx(plain(kept).total.item(), rel=1e-5)


@pytest.mark.parametrize("aggregate", ["token", "sequence", "constant"])
def test_groups_without_signal_do_not_count_where_they_are_skipped(aggregate):
    objective = build(reward="contains", flat="skip", aggregate=aggregate)
    batch = prepared(objective, questions(["12a", "3"], ["7", "999999"]))
    assert batch["flat"].view(2, 4).all(1).tolist() == [False, True]
    first = {name: values[:4] for name, values in batch.items()}
    assert objective.size(batch) == objective.size(first) > 0
    assert objective(batch).total.item() == pytest.approx(objective(first).total.item(), rel=1e-5)
    sums = {name: value.item() for name, value in objective(batch).sums.items()}
    assert objective.measures(sums, objective.size(batch))["flat"] == 0.5


@pytest.mark.slow
@pytest.mark.parametrize("method", ["reinforce", "grpo"])
def test_a_tiny_decoder_learns_to_repeat_the_digit(method):
    objective = build(
        decoder(sizes=replace(SIZES, width=32, head_width=16), deviation=0.1),
        new_tokens=2,
        group=8,
        method=method,
        reward="exact",
    )
    digits = list("0123")
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-2)
    rewards = []
    for step in range(100):
        batch = questions(digits, digits) | {"samples": step * 4 + torch.arange(4)}
        batch = objective.prepare(batch, step=step)
        rewards.append(batch["rewards"].mean().item())
        optimizer.zero_grad()
        (objective(batch).total / objective.size(batch)).backward()
        optimizer.step()
    assert sum(rewards[:10]) / 10 < 0.1
    assert sum(rewards[-10:]) / 10 > 0.8
