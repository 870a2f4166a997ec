"""What is refused of Hugging Face's files: to read, and to write."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from curate.errors import CurateError
from curate.train.models.encoder import MaskedHead
from curate.train.weights import huggingface
from curate.train.weights.huggingface import read_huggingface, write_huggingface
from tests.train.tiny_models import BERT, GPT2, LENGTH, LLAMA, VOCABULARY, change, filled, tensors_of, written


@pytest.fixture
def llama(tmp_path):
    """A folder with a tiny Llama, and a function that changes its config.json."""
    written(tmp_path / "llama", LLAMA, filled(LLAMA), "causal")
    return tmp_path / "llama"


def refused(folder):
    with pytest.raises(CurateError) as caught:
        read_huggingface(folder)
    return str(caught.value)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"rope_parameters": {"rope_type": "llama3", "factor": 8.0, "rope_theta": 1e4}}, "rope_parameters"),
        ({"rope_parameters": None, "rope_scaling": {"type": "dynamic", "factor": 2.0}}, "dynamic"),
        ({"attention_bias": True}, "`attention_bias: True`"),
        ({"mlp_bias": True}, "`mlp_bias: True`"),
        ({"hidden_act": "gelu"}, "`hidden_act: gelu`"),
        ({"sliding_window": 4096}, "`sliding_window: 4096`"),
        ({"quantization_config": {"bits": 4}}, "`quantization_config: {'bits': 4}`"),
        ({"auto_map": {"AutoModel": "code.Model"}}, "`auto_map:"),
        ({"model_type": "mamba"}, "`mamba`"),
        ({"model_type": "mamba"}, "families that are: llama, qwen2, qwen3, mistral, smollm3, olmo2"),
        ({"hidden_size": "many"}, "no size"),
        ({"num_attention_heads": 0}, "no size"),
        ({"num_hidden_layers": 3}, "misses tensors: model.layers.2"),
        ({"num_hidden_layers": 1}, "has unknown tensors: model.layers.1"),
        ({"intermediate_size": 64}, "`model.layers.0.mlp.gate_proj.weight` has the shape [48, 32]"),
        ({"vocab_size": 299}, "`model.embed_tokens.weight` has the shape [300, 32]"),
        ({"tie_word_embeddings": False}, "misses tensors: lm_head.weight"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_config_that_is_not_computed_here_is_refused(llama, changed, named):
    change(llama, **changed)
    assert named in refused(llama)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"scale_attn_by_inverse_layer_idx": True}, "`scale_attn_by_inverse_layer_idx: True`"),
        ({"scale_attn_weights": False}, "`scale_attn_weights: False`"),
        ({"activation_function": "swish"}, "`activation_function: swish`"),
        ({"add_cross_attention": True}, "`add_cross_attention: True`"),
    ],
)
def test_a_gpt2_that_is_not_computed_here_is_refused(tmp_path, changed, named):
    folder = tmp_path / "m"
    written(folder, GPT2, filled(GPT2), "causal")
    change(folder, **changed)
    assert named in refused(folder)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"position_embedding_type": "relative_key"}, "`position_embedding_type: relative_key`"),
        ({"is_decoder": True}, "`is_decoder: True`"),
        ({"tie_word_embeddings": False}, "`tie_word_embeddings: False`"),
        ({"hidden_act": "silu"}, "`hidden_act: silu`"),
    ],
)
def test_a_bert_that_is_not_computed_here_is_refused(tmp_path, changed, named):
    folder, ours = tmp_path / "m", filled(BERT, MaskedHead(BERT, VOCABULARY))
    written(folder, BERT, ours, "masked")
    change(folder, **changed)
    assert named in refused(folder)


def test_a_missing_key_is_named(llama):
    path = llama / "config.json"
    config = json.loads(path.read_text())
    del config["hidden_size"]
    path.write_text(json.dumps(config))
    assert "the file does not say 'hidden_size'" in refused(llama)


def test_a_tied_output_with_other_numbers_is_refused(llama):
    path = llama / "model.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"].clone()}, path)
    assert read_huggingface(llama).ignored == ("lm_head.weight",)
    save_file({**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"] + 1}, path)
    assert "`lm_head.weight` is not the same as `model.embed_tokens.weight`" in refused(llama)


def test_pickled_weights_are_refused(llama):
    (llama / "model.safetensors").rename(llama / "pytorch_model.bin")
    assert "the weights are pickled" in refused(llama)


def test_a_folder_without_weights_is_refused(llama):
    (llama / "model.safetensors").unlink()
    assert "there is no model.safetensors" in refused(llama)


def test_weights_that_were_cut_short_are_refused(llama):
    path = llama / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert "cannot be read" in refused(llama)


def test_an_index_cannot_name_files_elsewhere(llama):
    (llama / huggingface.INDEX).write_text(
        json.dumps({"weight_map": {"lm_head.weight": "../../elsewhere.safetensors"}})
    )
    assert str(llama / "elsewhere.safetensors") in refused(llama)


def test_a_damaged_config_is_refused(llama):
    (llama / "config.json").write_text("{")
    assert "cannot be read" in refused(llama)


def not_written(folder, sizes, tensors, head, **settings):
    with pytest.raises(CurateError) as caught:
        write_huggingface(folder, sizes, tensors, head=head, vocabulary=VOCABULARY, length=LENGTH, **settings)
    assert not folder.exists()
    return str(caught.value)


def test_switches_that_transformers_has_no_model_for_are_not_written(tmp_path):
    assert "no model with these switches" in not_written(tmp_path / "m", replace(LLAMA, norm="layer"), {}, "causal")


def test_a_head_that_transformers_has_no_model_for_is_not_written(tmp_path):
    assert "no bert model for causal" in not_written(tmp_path / "m", BERT, {}, "causal")


def test_missing_and_unknown_tensors_are_not_written(tmp_path):
    tensors = tensors_of(filled(LLAMA))
    tensors["model.extra"] = tensors.pop("model.norm.weight")
    assert "other tensors: model.norm.weight, model.extra" in not_written(tmp_path / "m", LLAMA, tensors, "causal")


def test_a_bert_classifier_without_pooler_is_not_written(tmp_path):
    tensors = tensors_of(filled(BERT, torch.nn.Linear(32, 3)))
    assert "has a pooler" in not_written(tmp_path / "m", BERT, tensors, "classification")


def test_a_llama_classifier_with_a_bias_is_not_written(tmp_path):
    tensors = tensors_of(filled(LLAMA, torch.nn.Linear(32, 3)))
    assert "has no bias" in not_written(tmp_path / "m", LLAMA, tensors, "classification")


def test_a_classifier_with_another_pooling_is_not_written(tmp_path):
    problem = not_written(tmp_path / "m", LLAMA, {}, "classification", pooling="mean")
    assert "takes the last token for the text, and this model `mean`" in problem


def test_labels_that_are_not_as_many_as_the_head_has_are_refused(tmp_path):
    tensors = tensors_of(filled(LLAMA, torch.nn.Linear(32, 3, bias=False)))
    problem = not_written(tmp_path / "m", LLAMA, tensors, "classification", labels=["one"])
    assert "1 names of labels for a head of 3" in problem
