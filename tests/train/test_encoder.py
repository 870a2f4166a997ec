from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from curate.errors import CurateError
from curate.train.models.encoder import Encoder, MaskedHead
from curate.train.models.trunk import build_trunk
from curate.train.settings.architecture import Architecture

BERT = Architecture(
    kind="encoder",
    layers=2,
    width=32,
    heads=4,
    key_value_heads=4,
    head_width=8,
    feed_forward=48,
    norm="layer",
    norm_epsilon=1e-12,
    norm_after=True,
    positions="learned",
    activation="gelu",
    bias=True,
    segments=2,
)
SWITCHES = {
    "bert": BERT,
    "norm before": replace(BERT, norm_after=False),
    "rotary": replace(BERT, positions="rotary", norm="rms", activation="swiglu", bias=False, segments=0),
}


def filled(sizes, **settings):
    encoder = Encoder(sizes, vocabulary=67, length=24, **settings)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in encoder.named_parameters():
        encoder.first_weights(name, parameter.data, generator)
        if parameter.ndim > 1:
            parameter.data *= 10
    return encoder.eval()


@pytest.fixture(params=SWITCHES)
def encoder(request):
    return filled(SWITCHES[request.param])


@pytest.fixture
def tokens():
    return torch.randint(0, 67, (3, 20), generator=torch.Generator().manual_seed(0))


def close(one, other):
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_token_changes_all_states(encoder, tokens):
    changed = tokens.clone()
    changed[:, 11] = (changed[:, 11] + 1) % 67
    assert not torch.isclose(encoder(tokens), encoder(changed)).all(-1).any()


@torch.no_grad()
def test_documents_in_one_row_are_as_each_alone(encoder, tokens):
    documents = torch.tensor([0] * 7 + [1] * 9 + [-1] * 4).expand(3, -1)
    states = encoder(tokens, documents=documents)
    close(states[:, :7], encoder(tokens[:, :7]))
    close(states[:, 7:16], encoder(tokens[:, 7:16]))
    assert states.isfinite().all()


@torch.no_grad()
def test_segments_change_the_states(tokens):
    encoder = filled(BERT)
    close(encoder(tokens, segments=torch.zeros_like(tokens)), encoder(tokens))
    assert not torch.allclose(encoder(tokens, segments=torch.ones_like(tokens)), encoder(tokens), atol=1e-3)


@torch.no_grad()
def test_noise_is_added_to_the_embedded_tokens(encoder, tokens):
    other = (tokens + 1) % 67
    noise = encoder.embedding(other) - encoder.embedding(tokens)
    close(encoder(tokens, noise=noise), encoder(other))


@torch.no_grad()
def test_a_sentence_is_its_first_token(encoder, tokens):
    documents = torch.tensor([-1] * 3 + [0] * 17).expand(3, -1)
    close(encoder.sentence(tokens, documents=documents), encoder(tokens[:, 3:])[:, 0])


@torch.no_grad()
def test_the_pooler_reads_the_first_token_only(tokens):
    encoder = filled(BERT, pooler=True)
    close(encoder.sentence(tokens), encoder.pooler(encoder(tokens)[:, 0]).tanh())
    close(encoder.sentence(tokens, pooling="mean"), encoder(tokens).mean(1))


def test_the_masked_head_has_a_bias_for_each_token():
    head = MaskedHead(BERT, 67)
    assert head.bias.shape == (67,)
    assert head(torch.zeros(5, 32)).shape == (5, 32)
    assert {name for name, _ in head.named_parameters()} == {
        "bias",
        "dense.weight",
        "dense.bias",
        "norm.weight",
        "norm.bias",
    }


def test_on_the_meta_device_it_has_no_buffers(encoder):
    with torch.device("meta"):
        empty = build_trunk(encoder.sizes, vocabulary=67, length=24, pooler=True)
    assert all(parameter.is_meta for parameter in empty.parameters())
    assert not list(empty.buffers())
    names = {name for name, _ in empty.named_parameters()}
    assert names - {name for name, _ in encoder.named_parameters()} == {"pooler.weight", "pooler.bias"}


def test_its_first_weights_are_not_smaller_where_sums_are_normed():
    encoder, tensor = filled(BERT), torch.empty(64, 64)
    encoder.first_weights("blocks.0.attention.output.weight", tensor, torch.Generator().manual_seed(0))
    assert tensor.std().item() == pytest.approx(0.02, rel=0.05)


def test_more_tokens_than_positions_are_refused():
    with pytest.raises(CurateError, match="30 tokens is longer than the 24 positions"):
        filled(BERT)(torch.zeros(1, 30, dtype=torch.int64))
