"""The next token: its loss, its gradients, and what is told of a validation split."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from curate.train.data.batch import IGNORED
from curate.train.models.recurrent import Recurrent
from curate.train.objectives.language import Causal
from curate.train.settings.methods import CausalSettings
from tests.train.language_models import BYTES, END, LENGTH, SIZES, TEXT, WORDS, decoder, filled, gradients, three_rows


@pytest.fixture
def batch():
    return three_rows()


@pytest.fixture
def causal():
    return filled(Causal(decoder(), CausalSettings(z_loss=0.01), **TEXT))


def causal_reference(causal, batch, weights):
    logits = causal.model(batch["tokens"], documents=batch["documents"]) @ causal.model.unembedding.T
    losses = functional.cross_entropy(logits.transpose(1, 2), batch["targets"], reduction="none")
    squares = logits.logsumexp(-1).square() * (batch["targets"] != IGNORED)
    return ((losses + 0.01 * squares) * weights).sum()


def test_causal_loss_and_gradients_are_those_of_weighted_cross_entropy_and_z_loss(causal, batch):
    weights = torch.rand(3, LENGTH, generator=torch.Generator().manual_seed(2))
    found = causal({**batch, "weights": weights}).total
    wanted = causal_reference(causal, batch, weights)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0)
    torch.testing.assert_close(gradients(causal, found), gradients(causal, wanted), rtol=1e-5, atol=1e-4)


def test_a_weight_of_a_row_counts_for_all_its_targets(causal, batch):
    rows = torch.tensor([0.5, 0.0, 2.0])
    found = causal({**batch, "weights": rows})
    wanted = causal({**batch, "weights": rows[:, None].expand(3, LENGTH)})
    torch.testing.assert_close(found.total, wanted.total)
    assert causal.size({**batch, "weights": rows}) == 0.5 * LENGTH + 2 * 20


@torch.no_grad()
def test_bits_per_byte_are_those_of_the_text_without_ends_of_documents(causal, batch):
    logits = causal.model(batch["tokens"], documents=batch["documents"]) @ causal.model.unembedding.T
    targets = batch["targets"].masked_fill(batch["targets"] == END, IGNORED)
    nats = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum").item()
    counted = targets[targets != IGNORED].numpy()
    found = causal.summary(causal.score(batch))
    assert found == {
        "bits_per_byte": pytest.approx(nats / math.log(2) / BYTES[counted].sum(), rel=1e-6),
        "loss": pytest.approx(nats / len(counted), rel=1e-6),
        "perplexity": pytest.approx(math.exp(nats / len(counted)), rel=1e-5),
        "tokens": len(counted),
        "bytes": int(BYTES[counted].sum()),
    }
    assert causal.watch == "bits_per_byte"


@torch.no_grad()
def test_without_bytes_of_tokens_the_loss_is_watched(batch):
    causal = filled(Causal(decoder(), CausalSettings(), token_bytes=None, end_of_text=END))
    assert causal.watch == "loss"
    assert set(causal.summary(causal.score(batch))) == {"loss", "perplexity", "tokens"}


@torch.no_grad()
def test_scores_of_batches_add_up(causal, batch):
    rows = [{name: values[row : row + 1] for name, values in batch.items()} for row in range(3)]
    scores = [causal.score(row) for row in rows]
    added = {name: sum(score[name] for score in scores) for name in scores[0]}
    assert causal.summary(added) == pytest.approx(causal.summary(causal.score(batch)), rel=1e-6)


@torch.no_grad()
def test_rows_without_targets_score_nothing(causal, batch):
    empty = {**batch, "targets": torch.full_like(batch["targets"], IGNORED)}
    assert {name: value.item() for name, value in causal.score(empty).items()} == {"nats": 0, "tokens": 0, "bytes": 0}
    assert causal.summary(causal.score(empty))["bits_per_byte"] == 0


def test_an_lstm_is_a_language_model_too(batch):
    causal = filled(Causal(Recurrent(SIZES, **WORDS), CausalSettings(), **TEXT))
    causal(batch).total.backward()
    assert all(parameter.grad.abs().sum() > 0 for name, parameter in causal.named_parameters() if "bias" not in name)
