"""Hidden tokens: which are hidden, and the loss of guessing them."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from torch.nn import functional

from curate.train.data.batch import IGNORED
from curate.train.models.encoder import BERT, Encoder
from curate.train.models.recurrent import Recurrent
from curate.train.objectives.language import Masked
from curate.train.settings.architecture import Architecture, ModelSettings
from curate.train.settings.methods import MaskedSettings
from tests.train.language_models import END, LENGTH, SIZES, VOCABULARY, WORDS, filled, gradients, three_rows

MASK, SPECIAL = 1, (END, 1, 2)


@pytest.fixture
def batch():
    return three_rows()


def bert(**settings):
    sizes = ModelSettings(kind="encoder", layers=2, width=32, heads=2).architecture
    return Masked(
        Encoder(sizes, **WORDS),
        MaskedSettings(**settings),
        vocabulary=VOCABULARY,
        mask_token=MASK,
        special_tokens=SPECIAL,
        seed=7,
    )


@pytest.fixture
def masked():
    return filled(bert()).eval()


@pytest.fixture
def many():
    """2,000 rows of 50 ordinary tokens and 10 special ones, and the last row is padding."""
    tokens = torch.randint(3, VOCABULARY, (2000, 60), generator=torch.Generator().manual_seed(3))
    tokens[:, ::6] = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
    documents = torch.zeros_like(tokens)
    documents[-1] = -1
    return {"tokens": tokens, "targets": tokens, "documents": documents, "samples": torch.arange(2000)}


@pytest.mark.slow
def test_masked_loss_and_gradients_are_those_of_bert(masked, batch):
    from transformers import BertConfig, BertForMaskedLM

    sizes = masked.model.sizes
    theirs = BertForMaskedLM(BertConfig(**BERT.config(sizes, VOCABULARY, LENGTH), pad_token_id=None)).eval()
    names = {f"model.{ours}": source.name for ours, source in BERT.names(sizes).items() if "pooler" not in ours}
    names |= {f"head.{ours}": source.name for ours, source in BERT.heads("masked", sizes).items()}
    weights = {its: masked.state_dict()[ours] for ours, its in names.items()}
    theirs.load_state_dict(weights, strict=False)
    theirs.tie_weights()
    prepared = masked.prepare({**batch, "documents": torch.zeros_like(batch["tokens"])}, step=0)
    found = masked(prepared).total / masked.size(prepared)
    wanted = theirs(input_ids=prepared["tokens"], labels=prepared["targets"]).loss
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0)
    wanted.backward()
    found = gradients(masked, found)
    for ours, its in names.items():
        torch.testing.assert_close(found[ours], theirs.get_parameter(its).grad, rtol=1e-4, atol=1e-6, msg=ours)


def test_of_the_text_15_percent_are_predicted_and_of_these_80_masked_10_replaced_and_10_left(masked, many):
    prepared = masked.prepare(many, step=5)
    before, after, chosen = many["tokens"], prepared["tokens"], prepared["targets"] != IGNORED
    count = int(chosen.sum())
    hidden = (after == MASK) & chosen
    replaced = (after != before) & ~hidden
    assert torch.equal(prepared["targets"][chosen], before[chosen])
    assert torch.equal(after[~chosen], before[~chosen])
    shares = count / (1999 * 50), hidden.sum() / count, replaced.sum() / count
    # within 4 deviations; a 57th of the replaced tokens is replaced by itself
    wanted = (0.15, 0.8, 0.1 * 56 / 57)
    for found, share, of in zip(shares, wanted, (1999 * 50, count, count), strict=True):
        assert abs(found - share) < 4 * math.sqrt(share * (1 - share) / of)


def test_replacements_are_uniform_over_ordinary_tokens(masked, many):
    prepared = masked.prepare(many, step=5)
    replaced = (prepared["tokens"] != many["tokens"]) & (prepared["tokens"] != MASK)
    counts = Counter(prepared["tokens"][replaced].tolist())
    assert set(counts) == set(range(3, VOCABULARY))
    expected = replaced.sum().item() / 57
    chi_square = sum((counts[token] - expected) ** 2 / expected for token in range(3, VOCABULARY))
    assert chi_square < 95  # 56 degrees of freedom: above it in one of 1,000 cases


def test_special_tokens_and_padding_are_never_hidden(masked, many):
    chosen = masked.prepare(many, step=5)["targets"] != IGNORED
    assert not chosen[torch.isin(many["tokens"], torch.tensor(SPECIAL))].any()
    assert not chosen[-1].any()


def test_a_mask_is_a_function_of_seed_and_sample(masked, many):
    rows = {name: values[10:20] for name, values in many.items()}
    whole, part = masked.prepare(many, step=5), masked.prepare(rows, step=6)
    assert torch.equal(part["tokens"], whole["tokens"][10:20])
    another_epoch = masked.prepare({**many, "samples": many["samples"] + 2000}, step=9)
    assert not torch.equal(another_epoch["tokens"], whole["tokens"])


def test_masks_of_validation_are_the_same_for_every_seed(masked, many):
    other = bert()
    other.seed = 8
    assert not torch.equal(masked.prepare(many, step=0)["tokens"], other.prepare(many, step=0)["tokens"])
    assert torch.equal(masked.prepare(many, step=-1)["tokens"], other.prepare(many, step=-1)["tokens"])


@torch.no_grad()
def test_validation_gives_loss_accuracy_and_perplexity_of_hidden_tokens(masked, batch):
    prepared = masked.prepare(batch, step=-1)
    states = masked.head(masked.model(prepared["tokens"], documents=batch["documents"]))
    logits = states @ masked.model.unembedding.T + masked.head.bias
    chosen = prepared["targets"] != IGNORED
    loss = functional.cross_entropy(logits[chosen], prepared["targets"][chosen]).item()
    assert masked.summary(masked.score(prepared)) == {
        "loss": pytest.approx(loss, rel=1e-6),
        "accuracy": pytest.approx((logits[chosen].argmax(-1) == prepared["targets"][chosen]).float().mean().item()),
        "masked_perplexity": pytest.approx(math.exp(loss), rel=1e-5),
        "tokens": int(chosen.sum()),
    }


def test_masks_of_other_trunks_need_no_head(batch):
    trunk = Recurrent(
        Architecture(**{**{n: getattr(SIZES, n) for n in SIZES.__slots__}, "bidirectional": True}), **WORDS
    )
    settings = {"vocabulary": VOCABULARY, "mask_token": MASK, "special_tokens": SPECIAL, "seed": 0}
    masked = filled(Masked(trunk, MaskedSettings(), **settings))
    assert masked.head is None
    assert masked(masked.prepare(batch, step=0)).total > 0


def test_a_step_without_a_hidden_token_has_no_loss_and_zero_gradients(masked, batch):
    empty = {**batch, "targets": torch.full_like(batch["targets"], IGNORED)}
    total = masked(empty).total
    assert total.item() == 0
    assert not any(gradient.any() for gradient in gradients(masked, total).values())
