from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from curate.train.data.batch import IGNORED
from curate.train.models.families import LLAMA
from curate.train.objectives.reward import OutcomeReward, PairReward
from curate.train.settings.methods import RewardModelSettings
from tests.oracles import library
from tests.train.test_preference import SIZES, VOCABULARY, decoder

PAIRS = [([3, 4, 6, 7], [3, 4, 8]), ([9, 10], [9, 11, 12, 13]), ([14, 15, 16], [14, 17])]
PADDING = 0


def scored(objective):
    """The objective with a head of its own weights."""
    torch.nn.init.normal_(objective.head.weight, 0.0, 0.3, generator=torch.Generator().manual_seed(5))
    return objective


def texts(rows, width=8):
    tokens = torch.tensor([[*row, *[PADDING] * (width - len(row))] for row in rows])
    documents = torch.tensor([[0] * len(row) + [-1] * (width - len(row)) for row in rows])
    return {"tokens": tokens, "documents": documents}


def compared(pairs=PAIRS):
    flat = texts([text for pair in pairs for text in pair])
    return {name: values.view(len(pairs), 2, -1) for name, values in flat.items()}


def transformers_model(objective):
    """The same model in transformers."""
    transformers = library("transformers")
    config = transformers.LlamaConfig(**LLAMA.config(SIZES, VOCABULARY, 64), num_labels=1)
    config.pad_token_id = PADDING
    model = transformers.LlamaForSequenceClassification(config)
    names = LLAMA.names(SIZES)
    state = objective.model.state_dict()
    wanted = {names[name].name: tensor for name, tensor in state.items() if names[name].name in model.state_dict()}
    model.load_state_dict({**wanted, "score.weight": objective.head.weight.detach()})
    return model, names


@pytest.mark.slow
@pytest.mark.parametrize("margins", [None, [0.5, 0.0, 2.0]])
def test_loss_and_gradients_of_pairs_equal_those_of_trl(margins):
    trl = library("trl")
    objective = scored(PairReward(decoder(1), RewardModelSettings(centering=0.1)))
    model, names = transformers_model(objective)
    chosen, rejected = ([pair[side] for pair in PAIRS] for side in (0, 1))
    rows = texts([*chosen, *rejected])
    inputs = {"input_ids": rows["tokens"], "attention_mask": (rows["documents"] >= 0).long()}
    batch = compared()
    if margins:
        inputs["margin"] = batch["margins"] = torch.tensor(margins)
    trainer = SimpleNamespace(
        model=model.train(),
        accelerator=SimpleNamespace(gather=lambda x: x, gather_for_metrics=lambda x: x),
        args=SimpleNamespace(center_rewards_coefficient=0.1),
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    # `margin` is popped by nobody: the model takes it as one more argument, which Llama's class passes on
    wanted = trl.RewardTrainer.compute_loss(trainer, WithoutMargin(model), inputs)
    wanted.backward()
    found = objective(batch)
    loss = found.total / objective.size(batch)
    loss.backward()
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    torch.testing.assert_close(objective.head.weight.grad, model.score.weight.grad, rtol=1e-4, atol=1e-6)
    for name, source in names.items():
        if source.name in dict(model.named_parameters()):
            found_gradient = objective.model.get_parameter(name).grad
            wanted_gradient = model.get_parameter(source.name).grad
            torch.testing.assert_close(found_gradient, wanted_gradient, rtol=1e-4, atol=1e-6)
    metrics = {name: values[-1] for name, values in trainer._metrics["train"].items()}
    assert found.sums["accuracy"].item() / 3 == pytest.approx(metrics["accuracy"])
    assert found.sums["lead"].item() / 3 == pytest.approx(metrics["margin"], rel=1e-5)


class WithoutMargin:
    """A model that is not told of the margin."""

    def __init__(self, model):
        self.model = model

    def __call__(self, **inputs):
        return self.model(**{name: value for name, value in inputs.items() if name != "margin"})


def test_outcomes_have_the_binary_cross_entropy_of_their_labels():
    objective = scored(OutcomeReward(decoder(1)))
    batch = {**texts([pair[0] for pair in PAIRS]), "labels": torch.tensor([1, 0, IGNORED])}
    shares = torch.sigmoid(objective.scores(batch))
    wanted = -(shares[0].log() + (1 - shares[1]).log())
    loss = objective(batch)
    assert objective.size(batch) == 2
    assert loss.total.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert loss.sums["right"].item() == 1


def test_the_score_is_that_of_the_last_token_whatever_the_padding():
    objective = scored(OutcomeReward(decoder(1)))
    narrow, wide = texts([[3, 4, 5]], width=3), texts([[3, 4, 5]], width=16)
    assert objective.scores(narrow).item() == pytest.approx(objective.scores(wide).item(), rel=1e-5)


def test_empty_pairs_do_not_count():
    objective = scored(PairReward(decoder(1), RewardModelSettings()))
    plain, more = compared(), compared([*PAIRS, ([], [])])
    assert objective.size(more) == 3
    assert objective(more).total.item() == pytest.approx(objective(plain).total.item(), rel=1e-5)
