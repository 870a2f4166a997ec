from __future__ import annotations

import json

import pytest
import torch
from torch import nn
from torch.distributed.fsdp import fully_shard

from curate.errors import CurateError
from curate.train.models.encoder_decoder import T5, EncoderDecoder
from curate.train.models.family import refuse_unknown
from curate.train.parallel.world import joined
from curate.train.settings.architecture import Architecture, ModelSettings

VOCABULARY = 61
SIZES = Architecture(
    kind="encoder_decoder",
    layers=2,
    width=32,
    heads=3,
    key_value_heads=3,
    head_width=8,
    feed_forward=48,
    norm_epsilon=1e-6,
    positions="relative",
    activation="relu",
)
SWITCHES = {
    "1.0": {"tied": True, "activation": "relu"},
    "1.1": {"tied": False, "activation": "geglu"},
}
CLOSE = {"rtol": 0, "atol": 1e-5}


def build(sizes=SIZES):
    trunk = EncoderDecoder(sizes, vocabulary=VOCABULARY, length=12)
    with torch.no_grad():
        for number, (name, parameter) in enumerate(trunk.named_parameters()):
            trunk.first_weights(name, parameter, torch.Generator().manual_seed(number))
    return trunk.eval()


@pytest.fixture
def trunk():
    return build()


@pytest.fixture
def tokens():
    return torch.randint(0, VOCABULARY, (3, 12), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def inputs():
    return torch.randint(0, VOCABULARY, (3, 9), generator=torch.Generator().manual_seed(1))


def sized(**switches):
    return Architecture(**{**{name: getattr(SIZES, name) for name in SIZES.__slots__}, **switches})


def oracle(version):
    """A tiny random T5 of transformers, and a trunk of ours with its weights."""
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(4)
    sizes = sized(**SWITCHES[version])
    config = T5.config(sizes, VOCABULARY, 12)
    model = T5ForConditionalGeneration(T5Config(**config, decoder_start_token_id=0)).eval()
    if not sizes.tied:
        model.lm_head.weight = nn.Parameter(torch.randn(VOCABULARY, sizes.width) * sizes.width**-0.5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or "relative" in name:  # as built they are all alike, or near to nothing
                parameter.add_(torch.randn_like(parameter))
    trunk = EncoderDecoder(sizes, vocabulary=VOCABULARY, length=12).eval()
    theirs = model.state_dict()
    names = T5.names(sizes)
    assert set(names) == {name for name, _ in trunk.named_parameters()}
    trunk.load_state_dict({ours: theirs[source.name] for ours, source in names.items()})
    return model, trunk


def greedy(trunk, tokens, documents, *, cached):
    """Ten tokens, each the likeliest after those before it."""
    cache = trunk.new_cache() if cached else None
    found = torch.zeros(len(tokens), 1, dtype=torch.int64)
    for _ in range(10):
        new = found[:, -1:] if cached else found
        states = trunk(tokens, inputs=new, documents=documents, cache=cache)
        found = torch.cat((found, (states[:, -1:] @ trunk.unembedding.T).argmax(-1)), 1)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("version", SWITCHES)
@torch.no_grad()
def test_its_logits_are_those_of_t5_with_the_same_weights(version, inputs):
    model, trunk = oracle(version)
    # longer than the farthest distance, and padded
    tokens = torch.randint(0, VOCABULARY, (3, 150), generator=torch.Generator().manual_seed(0))
    long = torch.randint(0, VOCABULARY, (3, 140), generator=torch.Generator().manual_seed(2))
    documents = torch.zeros_like(tokens)
    documents[1, 60:] = documents[2, 140:] = -1
    for given in (inputs, long):
        logits = trunk(tokens, inputs=given, documents=documents) @ trunk.unembedding.T
        wanted = model(input_ids=tokens, attention_mask=(documents >= 0).long(), decoder_input_ids=given).logits
        torch.testing.assert_close(logits, wanted, **CLOSE)


@pytest.mark.slow
@torch.no_grad()
def test_greedy_decoding_gives_the_tokens_that_t5_generates(tokens):
    model, trunk = oracle("1.0")
    documents = torch.zeros_like(tokens)
    documents[1, 7:] = -1
    model.generation_config.eos_token_id = None
    wanted = model.generate(tokens, attention_mask=(documents >= 0).long(), do_sample=False, max_new_tokens=10)
    assert torch.equal(greedy(trunk, tokens, documents, cached=True), wanted)


@torch.no_grad()
def test_decoding_with_a_cache_gives_what_decoding_without_gives(trunk, tokens, inputs):
    documents = torch.zeros_like(tokens)
    documents[2, 5:] = -1
    whole = trunk(tokens, inputs=inputs, documents=documents)
    cache = trunk.new_cache()
    parts = [trunk(tokens, inputs=inputs[:, :4], documents=documents, cache=cache)]
    parts += [trunk(tokens, inputs=inputs[:, at : at + 1], documents=documents, cache=cache) for at in range(4, 9)]
    torch.testing.assert_close(torch.cat(parts, 1), whole, **CLOSE)
    assert torch.equal(greedy(trunk, tokens, documents, cached=True), greedy(trunk, tokens, documents, cached=False))


@torch.no_grad()
def test_padding_of_the_source_changes_nothing(trunk, tokens, inputs):
    padding = torch.full((3, 4), 7)
    documents = torch.cat((torch.zeros_like(tokens), padding.new_full((3, 4), -1)), 1)
    padded = torch.cat((tokens, padding), 1)
    alone = trunk(tokens, inputs=inputs)
    torch.testing.assert_close(trunk(padded, inputs=inputs, documents=documents), alone, **CLOSE)
    for pooling in (None, "first", "last", "mean"):
        one = trunk.sentence(padded, documents=documents, pooling=pooling)
        torch.testing.assert_close(one, trunk.sentence(tokens, pooling=pooling), **CLOSE)


@torch.no_grad()
def test_an_empty_row_gives_finite_states(trunk, tokens, inputs):
    documents = torch.zeros_like(tokens)
    documents[1] = -1
    assert trunk(tokens, inputs=inputs, documents=documents).isfinite().all()
    assert trunk.sentence(tokens, documents=documents).isfinite().all()


@torch.no_grad()
def test_an_input_changes_no_states_before_it(trunk, tokens, inputs):
    changed = inputs.clone()
    changed[:, 5] = (changed[:, 5] + 1) % VOCABULARY
    before, after = trunk(tokens, inputs=inputs), trunk(tokens, inputs=changed)
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.equal(before[:, 5:], after[:, 5:])


@torch.no_grad()
def test_noise_is_added_to_the_embedded_source(trunk, tokens, inputs):
    other = (tokens + 1) % VOCABULARY
    noise = trunk.embedding(other) - trunk.embedding(tokens)
    torch.testing.assert_close(trunk(tokens, inputs=inputs, noise=noise), trunk(other, inputs=inputs), **CLOSE)


@torch.no_grad()
def test_first_states_and_logits_are_of_the_order_of_one(trunk, tokens, inputs):
    assert 0.3 < trunk.encode(tokens).std() < 3
    for tied in (True, False):
        model = build(sized(tied=tied))
        assert 0.3 < (model(tokens, inputs=inputs) @ model.unembedding.T).std() < 3


class Squares(nn.Module):
    """The root, as an objective is."""

    def __init__(self, trunk):
        super().__init__()
        self.model = trunk

    def forward(self, tokens, inputs):
        return self.model(tokens, inputs=inputs).square().sum()


def test_sharded_blocks_give_the_same_gradients(tokens, inputs):
    sharded, plain = Squares(build()), Squares(build())
    plain(tokens, inputs).backward()
    with joined(0, 1, device="cpu"):
        for block in (*sharded.model.blocks, sharded):
            fully_shard(block)
        sharded(tokens, inputs).backward()
        for one, other in zip(sharded.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(one.grad.full_tensor(), other.grad, **CLOSE)


def test_it_is_built_without_memory_and_has_no_buffers():
    with torch.device("meta"):
        trunk = EncoderDecoder(SIZES, vocabulary=VOCABULARY, length=12)
    assert {parameter.device.type for parameter in trunk.parameters()} == {"meta"}
    assert not list(trunk.buffers())


@pytest.mark.parametrize("version", SWITCHES)
def test_its_sizes_come_back_from_the_config_of_its_files(version):
    sizes = sized(**SWITCHES[version])
    config = T5.config(sizes, VOCABULARY, 12)
    refuse_unknown(T5, config, "config.json")
    assert T5.accepts(sizes)
    assert T5.architecture(config) == sizes


@pytest.mark.slow
@pytest.mark.parametrize("version", SWITCHES)
def test_its_sizes_come_from_the_config_that_transformers_writes(version):
    model, trunk = oracle(version)
    config = json.loads(model.config.to_json_string(use_diff=False))
    refuse_unknown(T5, config, "config.json")
    assert T5.architecture(config) == trunk.sizes


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("num_decoder_layers", 3, "2 layers and 3 decoder layers"),
        ("feed_forward_proj", "gated-relu", "gated-relu"),
        ("dense_act_fn", "silu", "is not computed here"),
    ],
)
def test_a_t5_that_is_not_computed_here_is_refused(key, value, problem):
    config = {**T5.config(SIZES, VOCABULARY, 12), key: value}
    with pytest.raises(CurateError, match=problem):
        T5.architecture(config)


def test_settings_that_it_does_not_have_are_refused():
    for settings, problem in [({"positions": "learned"}, "not learned ones"), ({"key_value_heads": 2}, "as many")]:
        sizes = ModelSettings(kind="encoder_decoder", **settings).architecture
        with torch.device("meta"), pytest.raises(CurateError, match=problem):
            EncoderDecoder(sizes, vocabulary=VOCABULARY, length=12)
