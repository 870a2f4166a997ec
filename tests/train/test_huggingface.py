"""Against transformers, with tiny random models, in both directions."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from curate.train.models.encoder import MaskedHead
from curate.train.settings.architecture import ModelSettings
from curate.train.weights import huggingface
from curate.train.weights.huggingface import read_huggingface, write_huggingface
from tests.train.tiny_models import BERT, GPT2, LENGTH, LLAMA, T5, VOCABULARY, change, filled, tensors_of, written

os.environ["HF_HUB_OFFLINE"] = "1"

TINY = {"layers": 2, "width": 32, "heads": 4, "key_value_heads": 2, "feed_forward": 48}
DECODERS = {
    "llama": LLAMA,
    "llama untied": replace(LLAMA, tied=False),
    "gpt2": GPT2,
    "qwen3": ModelSettings(style="qwen3", **TINY).architecture,
    "olmo2": ModelSettings(style="olmo2", **TINY).architecture,
}
LABELS = ["bad", "good", "neither"]


def load(module, folder):
    """Fill a module of ours from a folder; all of its parameters must be there."""
    module.load_state_dict(dict(read_huggingface(folder).tensors))
    return module.eval()


def saved(theirs, folder):
    """A transformers model with random weights in a folder."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in theirs.parameters():
            torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    theirs.save_pretrained(folder)
    return theirs.eval()


def close(one, other):
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


@pytest.fixture
def tokens():
    return torch.randint(3, VOCABULARY, (3, 20), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def llama(tmp_path):
    """A folder with a tiny Llama, and a function that changes its config.json."""
    written(tmp_path / "llama", LLAMA, filled(LLAMA), "causal")
    return tmp_path / "llama"


# ---- what transformers wrote


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
@torch.no_grad()
def test_llama_is_read_with_its_logits(tmp_path, tokens, tied):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=LENGTH,
        tie_word_embeddings=tied,
        rope_parameters={"rope_type": "default", "rope_theta": 5e4},
    )
    theirs = saved(LlamaForCausalLM(config), tmp_path)
    found = read_huggingface(tmp_path)
    assert found.sizes == replace(LLAMA, tied=tied, norm_epsilon=1e-6)
    assert (found.head, found.vocabulary, found.length) == ("causal", VOCABULARY, LENGTH)
    ours = load(filled(found.sizes), tmp_path)
    close(ours.model(tokens) @ ours.model.unembedding.T, theirs(tokens).logits)


@pytest.mark.slow
@torch.no_grad()
def test_gpt2_is_read_with_its_logits(tmp_path, tokens):
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=LENGTH, n_inner=48)
    theirs = saved(GPT2LMHeadModel(config), tmp_path)
    found = read_huggingface(tmp_path)
    assert found.sizes == replace(GPT2, dropout=0.1)
    ours = load(filled(found.sizes), tmp_path)
    close(ours.model(tokens) @ ours.model.unembedding.T, theirs(tokens).logits)


def bert_config(**settings):
    from transformers import BertConfig

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40}
    return BertConfig(vocab_size=VOCABULARY, max_position_embeddings=LENGTH, **sizes, **settings)


@pytest.mark.slow
@torch.no_grad()
def test_bert_is_read_with_its_logits_beside_padding(tmp_path, tokens):
    from transformers import BertForMaskedLM

    theirs = saved(BertForMaskedLM(bert_config()), tmp_path)
    found = read_huggingface(tmp_path)
    assert (found.sizes, found.head) == (replace(BERT, dropout=0.1), "masked")
    ours = load(filled(found.sizes, MaskedHead(found.sizes, VOCABULARY)), tmp_path)
    documents = torch.where(torch.arange(20) < torch.tensor([[20], [13], [5]]), 0, -1)
    segments = (torch.arange(20) >= 4).long().expand(3, -1)
    states = ours.model(tokens, documents=documents, segments=segments)
    logits = ours.head(states) @ ours.model.unembedding.T + ours.head.bias
    wanted = theirs(tokens, attention_mask=(documents >= 0).long(), token_type_ids=segments).logits
    close(logits[documents >= 0], wanted[documents >= 0])


@pytest.mark.slow
@torch.no_grad()
def test_bert_is_read_with_its_labels_and_pooler(tmp_path, tokens):
    from transformers import BertForSequenceClassification

    theirs = saved(BertForSequenceClassification(bert_config(id2label=dict(enumerate(LABELS)))), tmp_path)
    found = read_huggingface(tmp_path)
    assert (found.head, found.labels) == ("classification", tuple(LABELS))
    ours = load(filled(found.sizes, torch.nn.Linear(32, 3), pooler=True), tmp_path)
    close(ours.head(ours.model.sentence(tokens)), theirs(tokens).logits)


@pytest.mark.slow
@torch.no_grad()
def test_a_bare_trunk_of_bert_is_read_without_its_prefix(tmp_path, tokens):
    from transformers import BertModel

    theirs = saved(BertModel(bert_config()), tmp_path)
    found = read_huggingface(tmp_path)
    assert found.head is None
    ours = load(filled(found.sizes, pooler=True), tmp_path)
    close(ours.model(tokens), theirs(tokens).last_hidden_state)
    close(ours.model.sentence(tokens), theirs(tokens).pooler_output)


@pytest.mark.slow
@torch.no_grad()
def test_bert_for_pretraining_is_read_without_its_head_for_pairs(tmp_path):
    from transformers import BertForPreTraining

    saved(BertForPreTraining(bert_config()), tmp_path)
    found = read_huggingface(tmp_path)
    assert found.head == "masked"
    assert found.ignored == ("cls.seq_relationship.bias", "cls.seq_relationship.weight")
    assert "model.pooler.weight" in found.places


@pytest.mark.slow
@torch.no_grad()
def test_a_sharded_llama_for_labels_is_read(tmp_path, tokens):
    from transformers import LlamaConfig, LlamaForSequenceClassification

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
        num_labels=3,
        pad_token_id=0,
    )
    theirs = LlamaForSequenceClassification(config).eval()
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    found = read_huggingface(tmp_path)
    ours = load(filled(found.sizes, torch.nn.Linear(32, 3, bias=False)), tmp_path)
    close(ours.head(ours.model.sentence(tokens)), theirs(tokens).logits)


def test_old_names_of_norms_and_old_buffers_are_understood(tmp_path):
    ours = filled(BERT, MaskedHead(BERT, VOCABULARY))
    written(tmp_path / "m", BERT, ours, "masked")
    path = tmp_path / "m" / "model.safetensors"
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in load_file(path).items()
    }
    save_file({**renamed, "bert.embeddings.position_ids": torch.arange(LENGTH)[None]}, path)
    found = dict(read_huggingface(tmp_path / "m").tensors)
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors_of(ours).items())


def test_a_config_of_transformers_4_has_its_theta_beside_the_rest(llama):
    change(llama, rope_parameters=None, rope_scaling=None, rope_theta=123.0)
    assert read_huggingface(llama).sizes.rope_theta == 123.0


# ---- what we write


@pytest.mark.slow
@pytest.mark.parametrize("name", DECODERS)
@torch.no_grad()
def test_a_decoder_is_written_with_its_logits(tmp_path, tokens, name):
    from transformers import AutoModelForCausalLM

    sizes = DECODERS[name]
    ours = filled(sizes)
    written(tmp_path / "m", sizes, ours, "causal")
    theirs, report = AutoModelForCausalLM.from_pretrained(tmp_path / "m", output_loading_info=True)
    assert not any(report.values())
    assert theirs.config.model_type == name.partition(" ")[0]
    close(theirs(tokens).logits, ours.model(tokens) @ ours.model.unembedding.T)
    assert read_huggingface(tmp_path / "m").sizes == sizes


@pytest.mark.slow
@torch.no_grad()
def test_an_encoder_is_written_with_its_logits(tmp_path, tokens):
    from transformers import AutoModelForMaskedLM

    ours = filled(BERT, MaskedHead(BERT, VOCABULARY), pooler=True)
    written(tmp_path / "m", BERT, ours, "masked")
    theirs = AutoModelForMaskedLM.from_pretrained(tmp_path / "m")
    close(theirs(tokens).logits, ours.head(ours.model(tokens)) @ ours.model.unembedding.T + ours.head.bias)


@pytest.mark.slow
@torch.no_grad()
def test_an_encoder_decoder_is_written_with_its_logits(tmp_path, tokens):
    from transformers import AutoModelForSeq2SeqLM

    ours = filled(T5)
    written(tmp_path / "m", T5, ours, "seq2seq")
    theirs = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "m")
    inputs = tokens.flip(1)[:, :7]
    found = ours.model(tokens, inputs=inputs) @ ours.model.unembedding.T
    close(found, theirs(input_ids=tokens, decoder_input_ids=inputs).logits)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bert", "llama", "gpt2"])
@torch.no_grad()
def test_a_classifier_is_written_with_its_logits_and_labels(tmp_path, tokens, name):
    from transformers import AutoModelForSequenceClassification

    sizes = {"bert": BERT, "llama": LLAMA, "gpt2": GPT2}[name]
    ours = filled(sizes, torch.nn.Linear(32, 3, bias=name == "bert"), pooler=name == "bert")
    written(
        tmp_path / "m",
        sizes,
        ours,
        "classification",
        labels=LABELS,
        roles={"padding": 0},
    )
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "m")
    close(theirs(tokens).logits, ours.head(ours.model.sentence(tokens)))
    assert theirs.config.id2label == dict(enumerate(LABELS))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bert", "llama", "gpt2"])
@torch.no_grad()
def test_a_classifier_of_tokens_is_written_with_its_logits(tmp_path, tokens, name):
    from transformers import AutoModelForTokenClassification

    sizes = {"bert": BERT, "llama": replace(LLAMA, tied=False), "gpt2": GPT2}[name]
    ours = filled(sizes, torch.nn.Linear(32, 3))
    written(
        tmp_path / "m",
        sizes,
        ours,
        "token_classification",
        labels=LABELS,
    )
    theirs = AutoModelForTokenClassification.from_pretrained(tmp_path / "m")
    close(theirs(tokens).logits, ours.head(ours.model(tokens)))
    assert read_huggingface(tmp_path / "m").head == "token_classification"


@pytest.mark.parametrize("sizes", [LLAMA, GPT2], ids=["llama", "gpt2"])
def test_what_is_written_is_read_again_bit_for_bit(tmp_path, monkeypatch, sizes):
    monkeypatch.setattr(huggingface, "SHARD", 20_000)
    ours = tensors_of(filled(sizes))
    write_huggingface(tmp_path / "m", sizes, ours, head="causal", vocabulary=VOCABULARY, length=LENGTH)
    assert len(list((tmp_path / "m").glob("model-*.safetensors"))) > 2
    found = dict(read_huggingface(tmp_path / "m").tensors)
    assert found.keys() == ours.keys()
    assert all(torch.equal(found[name], ours[name]) for name in ours)


def test_a_number_for_a_text_is_a_regression(tmp_path):
    ours = filled(LLAMA, torch.nn.Linear(32, 1, bias=False))
    written(tmp_path / "m", LLAMA, ours, "classification")
    assert json.loads((tmp_path / "m" / "config.json").read_text())["problem_type"] == "regression"


def test_numbers_are_written_in_the_type_asked_for(tmp_path):
    written(
        tmp_path / "m",
        LLAMA,
        filled(LLAMA),
        "causal",
        dtype=torch.bfloat16,
    )
    assert json.loads((tmp_path / "m" / "config.json").read_text())["dtype"] == "bfloat16"
    assert {tensor.dtype for _, tensor in read_huggingface(tmp_path / "m").tensors} == {torch.bfloat16}


def test_a_model_of_ours_to_write_may_have_been_read_with_other_tensors_ignored(llama):
    """Every tensor that is not ours is named, so that nothing is lost without a word."""
    path = llama / "model.safetensors"
    save_file({**load_file(path), "model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4)}, path)
    assert read_huggingface(llama).ignored == ("model.layers.0.self_attn.rotary_emb.inv_freq",)
