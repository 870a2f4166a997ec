from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from curate.errors import CurateError
from curate.train.models.decoder import Decoder
from curate.train.models.trunk import build_trunk
from curate.train.settings.architecture import Architecture

LLAMA = Architecture(layers=2, width=32, heads=4, key_value_heads=2, head_width=16, feed_forward=48)
GPT2 = replace(
    LLAMA, key_value_heads=4, head_width=8, norm="layer", positions="learned", activation="gelu_tanh", bias=True
)
SWITCHES = {
    "llama": LLAMA,
    "gpt2": GPT2,
    "untied": replace(LLAMA, tied=False),
    "mixed": replace(LLAMA, norm="layer", activation="geglu", bias=True),
}


def filled(sizes, length=24, scale=10.0):
    decoder = Decoder(sizes, vocabulary=67, length=length)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in decoder.named_parameters():
        decoder.first_weights(name, parameter.data, generator)
        if parameter.ndim > 1:
            parameter.data *= scale  # so that attention tells tokens apart
    return decoder.eval()


@pytest.fixture(params=SWITCHES)
def decoder(request):
    return filled(SWITCHES[request.param])


@pytest.fixture
def tokens():
    return torch.randint(0, 67, (3, 20), generator=torch.Generator().manual_seed(0))


def close(one, other):
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_token_changes_no_state_before_it(decoder, tokens):
    changed = tokens.clone()
    changed[:, 11] = (changed[:, 11] + 1) % 67
    before, after = decoder(tokens), decoder(changed)
    assert torch.equal(before[:, :11], after[:, :11])
    assert not torch.equal(before[:, 11:], after[:, 11:])


@torch.no_grad()
def test_documents_in_one_row_are_as_each_alone(decoder, tokens):
    documents = torch.tensor([0] * 7 + [1] * 9 + [-1] * 4).expand(3, -1)
    states = decoder(tokens, documents=documents)
    close(states[:, :7], decoder(tokens[:, :7]))
    close(states[:, 7:16], decoder(tokens[:, 7:16]))
    assert states.isfinite().all()


@torch.no_grad()
def test_one_document_is_as_none_given(decoder, tokens):
    close(decoder(tokens, documents=torch.zeros_like(tokens)), decoder(tokens))


@torch.no_grad()
def test_given_positions_count(decoder, tokens):
    positions = torch.arange(20).expand(3, -1)
    close(decoder(tokens, positions=positions), decoder(tokens))
    assert not torch.allclose(decoder(tokens, positions=positions.flip(1)), decoder(tokens), atol=1e-3)


def test_a_padding_row_has_finite_gradients(decoder, tokens):
    documents = torch.zeros_like(tokens)
    documents[1] = -1
    decoder(tokens, documents=documents).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in decoder.parameters())


@torch.no_grad()
def test_noise_is_added_to_the_embedded_tokens(decoder, tokens):
    other = (tokens + 1) % 67
    noise = decoder.embedding(other) - decoder.embedding(tokens)
    close(decoder(tokens, noise=noise), decoder(other))


@torch.no_grad()
@pytest.mark.parametrize("piece", [1, 3])
def test_with_a_cache_it_is_as_without(decoder, tokens, piece):
    cache = decoder.new_cache()
    pieces = [decoder(tokens[:, :8], cache=cache)]
    pieces += [decoder(some, cache=cache) for some in tokens[:, 8:].split(piece, 1)]
    close(torch.cat(pieces, 1), decoder(tokens))
    assert len(cache) == 20


@torch.no_grad()
def test_greedy_generation_with_a_cache_is_as_without(decoder, tokens):
    def next_token(states):
        return (states[:, -1:] @ decoder.unembedding.T).argmax(-1)

    cache, grown = decoder.new_cache(), tokens[:, :8]
    new = next_token(decoder(grown, cache=cache))
    for _ in range(10):
        assert torch.equal(new, next_token(decoder(grown)))
        grown = torch.cat((grown, new), 1)
        new = next_token(decoder(new, cache=cache))


@torch.no_grad()
def test_prompts_padded_on_the_left_go_on_as_each_alone(decoder, tokens):
    begins = [0, 3, 6]
    documents = torch.stack([torch.where(torch.arange(8) < begin, -1, 0) for begin in begins])
    cache = decoder.new_cache()
    states = [decoder(tokens[:, :8], documents=documents, cache=cache)]
    states += [decoder(one, documents=torch.zeros_like(one), cache=cache) for one in tokens[:, 8:].split(1, 1)]
    together = torch.cat(states, 1)
    for row, begin in enumerate(begins):
        close(together[row, begin:], decoder(tokens[row : row + 1, begin:])[0])


@torch.no_grad()
def test_a_sentence_is_its_last_token(decoder, tokens):
    documents = torch.tensor([0] * 13 + [-1] * 7).expand(3, -1)
    close(decoder.sentence(tokens, documents=documents), decoder(tokens[:, :13])[:, -1])
    close(decoder.sentence(tokens, documents=documents, pooling="mean"), decoder(tokens[:, :13]).mean(1))
    assert decoder.sentence_width == decoder.width == 32


def test_on_the_meta_device_it_has_the_same_parameters_and_no_buffers(decoder):
    with torch.device("meta"):
        empty = build_trunk(decoder.sizes, vocabulary=67, length=24)
    assert all(parameter.is_meta for parameter in empty.parameters())
    shapes = {name: parameter.shape for name, parameter in empty.named_parameters()}
    assert shapes == {name: parameter.shape for name, parameter in decoder.named_parameters()}
    assert not list(empty.buffers())


def test_it_has_as_many_parameters_as_its_architecture_says():
    for sizes in (LLAMA, replace(LLAMA, tied=False)):
        decoder = Decoder(sizes, vocabulary=67, length=24)
        assert sum(parameter.numel() for parameter in decoder.parameters()) == sizes.parameters(67)


def test_the_unembedding_is_the_embedding_unless_untied():
    tied, untied = filled(LLAMA), filled(replace(LLAMA, tied=False))
    assert tied.unembedding is tied.embedding.weight
    assert untied.unembedding is untied.output.weight
    assert untied.unembedding.shape == (67, 32)


def test_first_weights_depend_on_the_generator_only():
    one, other = torch.empty(4, 4), torch.empty(4, 4)
    for tensor, seed in ((one, 1), (other, 1)):
        filled(LLAMA).first_weights("embedding.weight", tensor, torch.Generator().manual_seed(seed))
    assert torch.equal(one, other)


def test_more_tokens_than_learned_positions_are_refused(tokens):
    decoder = filled(GPT2, length=16)
    with pytest.raises(CurateError, match="20 tokens is longer than the 16 positions"):
        decoder(tokens)
    cache = decoder.new_cache()
    decoder(tokens[:, :16], cache=cache)
    with pytest.raises(CurateError, match="17 tokens is longer than the 16 positions"):
        decoder(tokens[:, 16:17], cache=cache)


@torch.no_grad()
def test_in_bfloat16_it_is_near_float32(tokens):
    decoder = filled(LLAMA, scale=1.0)
    states = decoder(tokens, documents=torch.zeros_like(tokens))
    half = decoder.bfloat16()(tokens, documents=torch.zeros_like(tokens))
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), states, rtol=0, atol=0.1)


def test_blocks_can_be_computed_again_instead_of_kept(tokens):
    from functools import partial

    from torch.utils.checkpoint import checkpoint

    decoder = filled(LLAMA)
    documents = torch.zeros_like(tokens)
    decoder(tokens, documents=documents).square().sum().backward()
    kept = [parameter.grad.clone() for parameter in decoder.parameters()]
    decoder.zero_grad()
    for block in decoder.blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    decoder(tokens, documents=documents).square().sum().backward()
    assert all(torch.equal(parameter.grad, was) for parameter, was in zip(decoder.parameters(), kept, strict=True))
