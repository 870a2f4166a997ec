from __future__ import annotations

import pytest
import torch

from curate.train.config import Architecture
from curate.train.model import Decoder

SIZES = Architecture(layers=2, width=64, heads=4, key_value_heads=2, feed_forward=96)


@pytest.fixture
def decoder():
    return Decoder(SIZES, vocabulary=101, length=32, seed=3)


@pytest.fixture
def tokens():
    return torch.randint(0, 101, (3, 32), generator=torch.Generator().manual_seed(0))


def llama_weights(decoder):
    """Our parameters by the names that Hugging Face's Llama has for them."""
    names = {
        "embedding.weight": "model.embed_tokens.weight",
        "norm.weight": "model.norm.weight",
        "attention_norm": "input_layernorm",
        "feed_forward_norm": "post_attention_layernorm",
        "attention.query": "self_attn.q_proj",
        "attention.key": "self_attn.k_proj",
        "attention.value": "self_attn.v_proj",
        "attention.output": "self_attn.o_proj",
        "feed_forward.gate": "mlp.gate_proj",
        "feed_forward.up": "mlp.up_proj",
        "feed_forward.down": "mlp.down_proj",
    }
    weights = {}
    for name, value in decoder.state_dict().items():
        block, _, part = name.removeprefix("blocks.").partition(".")
        if not name.startswith("blocks."):
            weights[names[name]] = value
            continue
        weights[f"model.layers.{block}.{names[part.removesuffix('.weight')]}.weight"] = value
    return weights


@pytest.mark.slow
def test_its_logits_are_those_of_llama_with_the_same_weights(decoder, tokens):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=101,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        rope_theta=10_000.0,
    )
    llama = LlamaForCausalLM(config).eval()
    missing, unexpected = llama.load_state_dict(llama_weights(decoder), strict=False)
    assert (set(missing) <= {"lm_head.weight"}, unexpected) == (True, [])
    llama.tie_weights()
    with torch.no_grad():
        torch.testing.assert_close(decoder(tokens), llama(tokens).logits, rtol=0, atol=1e-5)


def test_a_token_changes_no_logits_before_it(decoder, tokens):
    changed = tokens.clone()
    changed[:, 20] = (changed[:, 20] + 1) % 101
    with torch.no_grad():
        before, after = decoder(tokens), decoder(changed)
    assert torch.equal(before[:, :20], after[:, :20])
    assert not torch.equal(before[:, 20:], after[:, 20:])


def test_it_has_as_many_parameters_as_its_architecture_says(decoder):
    assert sum(parameter.numel() for parameter in decoder.parameters()) == SIZES.parameters(101)


def test_its_first_weights_are_a_function_of_the_seed(decoder):
    same, other = (Decoder(SIZES, vocabulary=101, length=32, seed=seed) for seed in (3, 4))
    assert torch.equal(decoder.embedding.weight, same.embedding.weight)
    assert not torch.equal(decoder.embedding.weight, other.embedding.weight)


def test_with_targets_it_gives_their_summed_cross_entropy(decoder, tokens):
    with torch.no_grad():
        logits = decoder(tokens)
        total = decoder(tokens, tokens)
    wanted = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten(), reduction="sum")
    assert total.item() == pytest.approx(wanted.item(), rel=1e-6)
