from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from curate.train.data.batch import IGNORED
from curate.train.models.decoder import Decoder
from curate.train.models.families import LLAMA
from curate.train.objectives.sft import Sft
from curate.train.settings.architecture import Architecture
from curate.train.settings.methods import SftSettings
from tests.oracles import library

VOCABULARY = 30
SIZES = Architecture(layers=2, width=16, heads=2, key_value_heads=1, head_width=8, feed_forward=32, tied=False)
# tokens of each conversation, and which of them the assistant says
CONVERSATIONS = [
    ([3, 4, 5, 6, 7, 8], [0, 0, 0, 1, 1, 1]),
    ([9, 10, 11], [0, 1, 1]),
    ([12, 13, 14, 15, 16, 17, 18], [0, 0, 1, 1, 0, 0, 1]),
]


@pytest.fixture
def objective():
    trunk = Decoder(SIZES, vocabulary=VOCABULARY, length=64)
    generator = torch.Generator().manual_seed(3)
    for parameter in trunk.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.3, generator=generator)
    return Sft(trunk, SftSettings())


def empty(rows, length):
    return {
        "tokens": torch.zeros(rows, length, dtype=torch.int64),
        "targets": torch.full((rows, length), IGNORED),
        "documents": torch.full((rows, length), -1),
    }


def padded(conversations):
    """A row for each conversation; the last token is a target only."""
    batch = empty(len(conversations), 8)
    for row, (tokens, said) in enumerate(conversations):
        place(batch, row, 0, 0, tokens, said)
    return batch


def packed(conversations):
    """All conversations in one row."""
    batch, start = empty(1, 16), 0
    for document, (tokens, said) in enumerate(conversations):
        place(batch, 0, start, document, tokens, said)
        start += len(tokens) - 1
    return batch


def place(batch, row, start, document, tokens, said):
    there = slice(start, start + len(tokens) - 1)
    batch["tokens"][row, there] = torch.tensor(tokens[:-1])
    batch["documents"][row, there] = document
    batch["targets"][row, there] = torch.tensor(tokens[1:]).masked_fill(torch.tensor(said[1:]) == 0, IGNORED)


def gradients(objective, loss):
    objective.zero_grad()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in objective.model.named_parameters()}


def mean_and_gradients(objective, batch):
    loss = objective(batch).total / objective.size(batch)
    return loss.item(), gradients(objective, loss)


@pytest.mark.slow
def test_loss_and_gradients_equal_those_of_transformers_on_the_batches_of_trl(objective):
    transformers = library("transformers")
    sft_trainer = library("trl.trainer.sft_trainer")
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA.config(SIZES, VOCABULARY, 64)))
    names = {name: source.name for name, source in LLAMA.names(SIZES).items()}
    theirs.load_state_dict({names[name]: tensor for name, tensor in objective.model.state_dict().items()})
    examples = [
        {"input_ids": tokens, "labels": [token if own else IGNORED for token, own in zip(tokens, said, strict=True)]}
        for tokens, said in CONVERSATIONS
    ]
    wanted = theirs(**sft_trainer.DataCollatorForLanguageModeling(pad_token_id=0)(examples)).loss
    wanted.backward()
    loss, found = mean_and_gradients(objective, padded(CONVERSATIONS))
    assert loss == pytest.approx(wanted.item(), rel=1e-6)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, theirs.get_parameter(names[name]).grad, rtol=1e-5, atol=1e-6)


def test_packed_conversations_equal_those_in_rows_of_their_own(objective):
    loss, found = mean_and_gradients(objective, packed(CONVERSATIONS))
    wanted, wanted_gradients = mean_and_gradients(objective, padded(CONVERSATIONS))
    assert loss == pytest.approx(wanted, rel=1e-6)
    torch.testing.assert_close(found, wanted_gradients, rtol=1e-5, atol=1e-6)


def test_what_the_user_says_is_no_target_but_is_read(objective):
    tokens, said = CONVERSATIONS[0]
    loss, _ = mean_and_gradients(objective, padded([(tokens, said)]))
    changed, _ = mean_and_gradients(objective, padded([([20, *tokens[1:]], said)]))
    assert objective.size(padded([(tokens, said)])) == 3
    assert loss != changed


def test_a_conversation_of_weight_two_counts_twice(objective):
    batch = padded(CONVERSATIONS[:2]) | {"weights": torch.tensor([1.0, 2.0])}
    twice = padded([*CONVERSATIONS[:2], CONVERSATIONS[1]])
    assert mean_and_gradients(objective, batch)[0] == pytest.approx(mean_and_gradients(objective, twice)[0], rel=1e-6)


def test_rows_without_targets_give_no_loss_and_no_gradient(objective):
    batch = padded([([3, 4, 5], [0, 0, 0]), ([0], [0])])
    loss = objective(batch).total
    assert loss.item() == 0
    assert not any(gradient.any() for gradient in gradients(objective, loss).values())


def test_validation_gives_loss_perplexity_and_accuracy_of_the_assistants_tokens(objective):
    batch = padded(CONVERSATIONS)
    with torch.no_grad():
        logits = objective.model(batch["tokens"], documents=batch["documents"]) @ objective.model.unembedding.T
        summary = objective.summary(objective.score(batch | {"weights": torch.tensor([1.0, 2.0, 3.0])}))
    valid = batch["targets"] != IGNORED
    loss = functional.cross_entropy(logits[valid], batch["targets"][valid]).item()
    right = (logits.argmax(-1) == batch["targets"])[valid].float().mean().item()
    assert summary == pytest.approx(
        {"loss": loss, "perplexity": math.exp(loss), "accuracy": right, "tokens": int(valid.sum())}, rel=1e-5
    )


def test_a_split_without_targets_has_metrics_too(objective):
    with torch.no_grad():
        summary = objective.summary(objective.score(padded([([3, 4], [0, 0])])))
    assert summary == {"loss": 0.0, "perplexity": 1.0, "accuracy": 0.0, "tokens": 0}
