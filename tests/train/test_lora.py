from __future__ import annotations

import json
import os

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn import functional

from curate.errors import CurateError
from curate.train.models.lora import Lora, add_lora, disabled, first_weights, is_adapter, merged
from curate.train.models.trunk import build_trunk
from curate.train.optimization.optimizer import build_optimizer
from curate.train.parallel.world import joined
from curate.train.settings.architecture import ModelSettings
from curate.train.settings.blocks import OptimizerSettings
from curate.train.settings.methods import LoraSettings
from curate.train.weights.adapter import read_adapter, write_adapter
from curate.train.weights.huggingface import write_huggingface

os.environ["HF_HUB_OFFLINE"] = "1"

VOCABULARY, LENGTH = 24, 16
LORA = LoraSettings(rank=3, alpha=12.0)
OLD = "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"
"""peft asks transformers for what it is about to drop."""
TOKENS = torch.arange(20).view(2, 10) % VOCABULARY


def sizes_of(kind="decoder", style="llama", **given):
    return ModelSettings(
        kind=kind, style=style, layers=2, width=16, heads=2, key_value_heads=None, feed_forward=24, **given
    ).architecture


def filled(trunk, *, adapters=True):
    """Random values in all parameters, adapters' too (or their first values)."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in trunk.named_parameters():
        if is_adapter(name) and not adapters:
            first_weights(name, parameter.data, generator)
        else:
            parameter.data.normal_(0, 0.3, generator=generator)
    return trunk.eval()


def trunk_of(sizes, lora=LORA, **given):
    trunk = build_trunk(sizes, vocabulary=VOCABULARY, length=LENGTH)
    if lora:
        add_lora(trunk, lora)
    return filled(trunk, **given)


def tensors_of(trunk):
    return {f"model.{name}": parameter.detach() for name, parameter in trunk.named_parameters()}


def logits_of(trunk, tokens=TOKENS):
    return trunk(tokens) @ trunk.unembedding.T


# ---- the layers


def test_a_layer_with_an_adapter_adds_a_scaled_product_of_low_rank():
    torch.manual_seed(0)
    linear = nn.Linear(5, 4)
    layer = Lora(linear, LoraSettings(rank=2, alpha=6.0))
    nn.init.normal_(layer.lora_down)
    nn.init.normal_(layer.lora_up)
    values = torch.randn(3, 5)
    wanted = linear(values) + 3.0 * values @ layer.lora_down.T @ layer.lora_up.T
    torch.testing.assert_close(layer(values), wanted)


def test_a_rank_stabilized_update_is_scaled_by_the_root_of_the_rank():
    assert LoraSettings(rank=4, alpha=8.0).scale == 2.0
    assert LoraSettings(rank=4, alpha=8.0, scaling="rank_stabilized").scale == 4.0


def test_a_layer_with_learned_lengths_has_rows_of_them():
    torch.manual_seed(0)
    linear = nn.Linear(5, 4)
    layer = Lora(linear, LoraSettings(rank=2, alpha=6.0, dora=True))
    for part in (layer.lora_down, layer.lora_up, layer.lora_magnitude):
        nn.init.normal_(part, 0.0, 0.1)
    total = linear.weight + 3.0 * layer.lora_up @ layer.lora_down
    lengths = linear.weight.norm(dim=1) + layer.lora_magnitude
    values = torch.randn(3, 5)
    wanted = functional.linear(values, lengths[:, None] * total / total.norm(dim=1, keepdim=True), linear.bias)
    torch.testing.assert_close(layer(values), wanted)


@pytest.mark.parametrize("dora", [False, True])
def test_the_first_weights_leave_the_model_as_it_was(dora):
    trunk = trunk_of(sizes_of(), LORA.model_copy(update={"dora": dora}), adapters=False)
    with disabled(trunk):
        wanted = trunk(TOKENS)
    assert torch.equal(trunk(TOKENS), wanted)
    down = trunk.blocks[0].attention.query.lora_down
    assert 0.2 < down.abs().max() <= 0.25


def test_only_adapters_are_trained():
    trunk = trunk_of(sizes_of())
    assert {name for name, parameter in trunk.named_parameters() if parameter.requires_grad} == {
        f"blocks.{block}.attention.{layer}.lora_{side}"
        for block in range(2)
        for layer in ("query", "value")
        for side in ("down", "up")
    }


def test_a_frozen_model_gets_no_gradients_and_no_optimizer_state():
    trunk = trunk_of(sizes_of())
    optimizer = build_optimizer(trunk, OptimizerSettings())
    logits_of(trunk).square().sum().backward()
    optimizer.step()
    graded = {name for name, parameter in trunk.named_parameters() if parameter.grad is not None}
    assert graded == {name for name in dict(trunk.named_parameters()) if is_adapter(name)}
    assert len(optimizer.state) == len(graded)


def test_adapters_can_be_added_on_the_meta_device():
    with torch.device("meta"):
        trunk = build_trunk(sizes_of(), vocabulary=VOCABULARY, length=LENGTH)
        add_lora(trunk, LORA)
    assert all(parameter.is_meta for parameter in trunk.parameters())


def test_names_of_the_models_own_parameters_stay():
    plain = build_trunk(sizes_of(), vocabulary=VOCABULARY, length=LENGTH)
    names = [name for name, _ in trunk_of(sizes_of()).named_parameters() if not is_adapter(name)]
    assert set(names) == {name for name, _ in plain.named_parameters()}


def test_a_target_that_no_layer_has_is_refused_with_the_names_that_exist():
    trunk = build_trunk(sizes_of(), vocabulary=VOCABULARY, length=LENGTH)
    with pytest.raises(CurateError) as found:
        add_lora(trunk, LoraSettings(targets=("query", "q_proj")))
    assert found.value.problem == "no linear layer of the model is named `q_proj`"
    assert found.value.where == "lora.targets"
    assert found.value.hint == "names that exist: down, gate, key, output, query, up, value"


def test_all_linear_layers_of_the_blocks_can_be_adapted_at_once():
    trunk = trunk_of(sizes_of(tied=False), LoraSettings(targets="all-linear"))
    assert all(isinstance(layer, Lora) for layer in trunk.blocks.modules() if isinstance(layer, nn.Linear))
    assert not isinstance(trunk.output, Lora)


def test_a_model_without_linear_layers_has_none_to_adapt():
    trunk = build_trunk(sizes_of("lstm"), vocabulary=VOCABULARY, length=LENGTH)
    with pytest.raises(CurateError, match="the model has no linear layers") as found:
        add_lora(trunk, LoraSettings(targets="all-linear"))
    assert found.value.hint == "this model has no linear layers in its blocks"


def test_the_matrix_of_the_logits_gets_no_adapter_though_its_name_is_that_of_a_target():
    trunk = trunk_of(sizes_of(tied=False), LoraSettings(targets=("output",)))
    assert not isinstance(trunk.output, Lora)
    assert isinstance(trunk.blocks[1].attention.output, Lora)


def test_disabled_adapters_do_not_count_and_count_again_after_an_error():
    trunk, plain = trunk_of(sizes_of()), build_trunk(sizes_of(), vocabulary=VOCABULARY, length=LENGTH)
    plain.load_state_dict({name: value for name, value in trunk.state_dict().items() if not is_adapter(name)})
    with_adapters = trunk(TOKENS)
    with pytest.raises(KeyError), disabled(trunk):
        assert torch.equal(trunk(TOKENS), plain.eval()(TOKENS))
        raise KeyError
    assert torch.equal(trunk(TOKENS), with_adapters)


@pytest.mark.parametrize("given", [{}, {"dora": True, "scaling": "rank_stabilized"}])
def test_a_merged_model_computes_the_same_without_adapters(given):
    settings = LoraSettings(rank=3, alpha=12.0, targets=("query", "output", "down"), **given)
    trunk, plain = trunk_of(sizes_of(), settings), build_trunk(sizes_of(), vocabulary=VOCABULARY, length=LENGTH)
    tensors = merged(dict(trunk.named_parameters()), settings)
    plain.load_state_dict(tensors)
    torch.testing.assert_close(plain.eval()(TOKENS), trunk(TOKENS), rtol=1e-5, atol=1e-5)


def test_merging_leaves_the_given_tensors_as_they_are():
    tensors = dict(trunk_of(sizes_of()).named_parameters())
    before = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    merged(tensors, LORA)
    assert all(torch.equal(tensors[name], before[name]) for name in before)


def test_dropout_is_of_the_adapters_inputs_alone_and_only_in_training():
    torch.manual_seed(0)
    layer = Lora(nn.Linear(50, 4), LoraSettings(rank=2, alpha=2.0, dropout=0.5))
    nn.init.normal_(layer.lora_down)
    nn.init.normal_(layer.lora_up)
    values = torch.randn(1, 50)
    torch.manual_seed(1)
    found = layer(values)
    torch.manual_seed(1)
    kept = functional.dropout(values, 0.5)
    wanted = functional.linear(values, layer.weight, layer.bias) + kept @ layer.lora_down.T @ layer.lora_up.T
    torch.testing.assert_close(found, wanted)
    assert not torch.equal(layer.eval()(values), found)


def test_a_sharded_model_trains_its_adapters_as_a_whole_one():
    settings = LORA.model_copy(update={"dora": True})
    whole, shards = trunk_of(sizes_of(), settings), trunk_of(sizes_of(), settings)
    logits_of(whole).square().sum().backward()
    with joined(0, 1, device="cpu"):
        for block in (*shards.blocks, shards):
            fully_shard(block)
        shards.register_forward_hook(lambda module, _, states: states @ module.unembedding.T)
        shards(TOKENS).square().sum().backward()
        found = {name: p.grad.full_tensor() for name, p in shards.named_parameters() if p.grad is not None}
    wanted = {name: p.grad for name, p in whole.named_parameters() if p.grad is not None}
    torch.testing.assert_close(found, wanted)


# ---- against peft


METHODS = {
    "lora": {},
    "rank_stabilized": {"scaling": "rank_stabilized"},
    "dora": {"dora": True},
    "dora on all": {"dora": True, "scaling": "rank_stabilized", "targets": "all-linear"},
}
NAMES = {
    "q_proj": "query", "k_proj": "key", "v_proj": "value", "o_proj": "output",
    "gate_proj": "gate", "up_proj": "up", "down_proj": "down",
}  # fmt: skip


def peft_config(settings, **given):
    from peft import LoraConfig

    targets = settings.targets
    names = targets if targets == "all-linear" else [theirs for theirs, own in NAMES.items() if own in targets]
    config = {
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "use_dora": settings.dora,
        "use_rslora": settings.scaling == "rank_stabilized",
        "target_modules": names,
    }
    return LoraConfig(**{**config, "task_type": "CAUSAL_LM", **given})


@pytest.fixture
def peft_llama(tmp_path):
    """A tiny Llama of ours with adapters, and the same in transformers and peft, with the same values."""
    from peft import get_peft_model

    def build(**given):
        settings = LORA.model_copy(update=given)
        trunk = trunk_of(sizes_of(), settings)
        model = get_peft_model(exported(trunk, tmp_path / "llama"), peft_config(settings))
        values = dict(trunk.named_parameters())
        for name, parameter in model.named_parameters():
            if "lora_magnitude" in name:  # theirs is the length, ours the change of it: it was that of the weights
                parameter.data.add_(values[ours(name)])
            elif "lora_" in name:
                parameter.data.copy_(values[ours(name)])
        return settings, trunk, model.eval()

    return build


def ours(name):
    """Our name of an adapter's parameter of peft's."""
    block, rest = name.split(".layers.")[1].split(".", 1)
    part, layer, *_ = rest.split(".")
    kind = {"lora_A": "lora_down", "lora_B": "lora_up", "lora_magnitude_vector": "lora_magnitude"}
    found = next(kind[word] for word in rest.split(".") if word in kind)
    return f"blocks.{block}.{'attention' if part == 'self_attn' else 'feed_forward'}.{NAMES[layer]}.{found}"


def exported(trunk, folder):
    """The model without its adapters, as transformers reads it."""
    from transformers import AutoModelForCausalLM

    tensors = {name: tensor for name, tensor in tensors_of(trunk).items() if not is_adapter(name)}
    write_huggingface(folder, trunk.sizes, tensors, head="causal", vocabulary=VOCABULARY, length=LENGTH)
    return AutoModelForCausalLM.from_pretrained(folder).eval()


@pytest.mark.slow
@pytest.mark.filterwarnings(OLD)
@pytest.mark.parametrize("method", METHODS)
def test_outputs_loss_and_gradients_are_those_of_peft(peft_llama, method):
    _, trunk, model = peft_llama(**METHODS[method])
    targets = TOKENS.roll(-1, 1)
    logits = logits_of(trunk)
    torch.testing.assert_close(logits, model(TOKENS).logits, rtol=1e-5, atol=1e-5)
    loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    loss.backward()
    wanted = functional.cross_entropy(model(TOKENS).logits.flatten(0, 1), targets.flatten())
    wanted.backward()
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-6)
    gradients = {ours(name): p.grad for name, p in model.named_parameters() if p.grad is not None}
    found = {name: p.grad for name, p in trunk.named_parameters() if p.grad is not None}
    torch.testing.assert_close(found, gradients, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings(OLD)
@pytest.mark.parametrize("method", METHODS)
def test_merged_weights_are_those_of_peft(peft_llama, method, tmp_path):
    settings, trunk, model = peft_llama(**METHODS[method])
    folder = tmp_path / "merged"
    values = merged(tensors_of(trunk), settings)
    write_huggingface(folder, trunk.sizes, values, head="causal", vocabulary=VOCABULARY, length=LENGTH)
    wanted = model.merge_and_unload().state_dict()
    for name, value in load_file(folder / "model.safetensors").items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-6, atol=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings(OLD)
@pytest.mark.parametrize(
    ("style", "targets", "method"),
    [
        ("llama", ("query", "value"), "lora"),
        ("llama", ("gate", "down", "output"), "dora"),
        ("llama", "all-linear", "rank_stabilized"),
        ("gpt2", ("query", "value"), "rank_stabilized"),
        ("gpt2", ("query", "value"), "dora"),
        ("gpt2", ("key", "up", "output"), "lora"),
        ("gpt2", "all-linear", "dora"),
    ],
)
def test_what_is_written_loads_in_peft_with_equal_logits_and_reads_back(style, targets, method, tmp_path):
    from peft import PeftModel

    settings = LoraSettings(**{"rank": 3, "alpha": 12.0, "dropout": 0.25, **METHODS[method], "targets": targets})
    trunk = trunk_of(sizes_of(style=style), settings)
    base = exported(trunk, tmp_path / "model")
    write_adapter(tmp_path / "adapter", trunk.sizes, tensors_of(trunk), settings, head="causal", base="some/model")
    model = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    torch.testing.assert_close(model(TOKENS).logits, logits_of(trunk), rtol=1e-5, atol=1e-5)

    read, tensors = read_adapter(tmp_path / "adapter", trunk.sizes, head="causal", weight=tensors_of(trunk).__getitem__)
    adapted = {name.split(".")[-2] for name in tensors_of(trunk) if is_adapter(name)}
    together = {"query", "key", "value"} if style == "gpt2" else set()
    assert (set(read.targets), read.dropout) == ({*adapted, *together}, 0.25)
    again = build_trunk(trunk.sizes, vocabulary=VOCABULARY, length=LENGTH)
    add_lora(again, read)
    own = {name: tensor for name, tensor in tensors_of(trunk).items() if not is_adapter(name)}
    again.load_state_dict({name.removeprefix("model."): tensor for name, tensor in {**own, **tensors}.items()})
    torch.testing.assert_close(again.eval()(TOKENS), trunk(TOKENS), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings(OLD)
@pytest.mark.parametrize("dora", [False, True])
def test_what_peft_writes_is_read_with_equal_logits(dora, tmp_path):
    """Some layers have another rank and scale, and only some have adapters at all."""
    from peft import get_peft_model

    trunk = trunk_of(sizes_of())
    settings = LoraSettings(rank=2, alpha=3, targets=("query", "down"), scaling="rank_stabilized", dora=dora)
    patterns = {
        "rank_pattern": {"down_proj": 4},
        "alpha_pattern": {"down_proj": 5, "mlp.down_proj": 7},
        "layers_to_transform": [1],
    }
    model = get_peft_model(exported(trunk, tmp_path / "model"), peft_config(settings, **patterns))
    generator = torch.Generator().manual_seed(3)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data.add_(torch.empty_like(parameter).normal_(0, 0.3, generator=generator))
    model.save_pretrained(tmp_path / "adapter")
    weight = tensors_of(trunk).__getitem__
    read, tensors = read_adapter(tmp_path / "adapter", trunk.sizes, head="causal", weight=weight)
    assert (read.rank, read.alpha, read.scaling, read.dora) == (4, 3.0, "rank_stabilized", dora)
    assert read.targets == ("down", "query")
    again = build_trunk(trunk.sizes, vocabulary=VOCABULARY, length=LENGTH)
    plain = {name: value for name, value in tensors_of(trunk).items() if not is_adapter(name)}
    values = merged({**plain, **tensors}, read)
    again.load_state_dict({name.removeprefix("model."): value for name, value in values.items()})
    torch.testing.assert_close(logits_of(again.eval()), model.eval()(TOKENS).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings(OLD)
def test_a_head_that_was_trained_is_written_beside_the_adapters(tmp_path):
    from peft import PeftModel
    from transformers import LlamaConfig, LlamaForSequenceClassification

    trunk = trunk_of(sizes_of())
    head = torch.randn(3, 16, generator=torch.Generator().manual_seed(5))
    tensors = {**tensors_of(trunk), "head.weight": head}
    write_adapter(tmp_path / "adapter", trunk.sizes, tensors, LORA, head="classification")
    base = exported(trunk, tmp_path / "model")
    config = LlamaConfig.from_pretrained(tmp_path / "model", num_labels=3, pad_token_id=0)
    classifier = LlamaForSequenceClassification(config)
    classifier.model.load_state_dict(base.model.state_dict())
    model = PeftModel.from_pretrained(classifier, tmp_path / "adapter").eval()
    wanted = trunk(TOKENS)[:, -1] @ head.T
    torch.testing.assert_close(model(TOKENS).logits, wanted, rtol=1e-5, atol=1e-5)
    _, read = read_adapter(tmp_path / "adapter", trunk.sizes, head="classification", weight=tensors.__getitem__)
    assert torch.equal(read["head.weight"], head)


@pytest.mark.slow
@pytest.mark.filterwarnings(OLD)
@pytest.mark.parametrize("kind", ["encoder", "encoder_decoder"])
def test_adapters_of_bert_and_t5_have_the_names_that_peft_gives_them(kind, tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import BertConfig, BertForTokenClassification, T5Config, T5ForConditionalGeneration

    trunk = trunk_of(sizes_of(kind=kind))
    if kind == "encoder":
        head, targets = "token_classification", ["query", "value"]
        shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
        model = BertForTokenClassification(BertConfig(vocab_size=VOCABULARY, **shape))
    else:
        head, targets = "seq2seq", ["q", "v"]
        shape = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}
        model = T5ForConditionalGeneration(T5Config(vocab_size=VOCABULARY, **shape))
    write_adapter(tmp_path / "ours", trunk.sizes, tensors_of(trunk), LORA, head=head)
    model = get_peft_model(model, LoraConfig(r=3, lora_alpha=12, target_modules=targets))
    model.save_pretrained(tmp_path / "theirs")
    found, wanted = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("ours", "theirs"))
    assert {name: value.shape for name, value in found.items()} == {name: value.shape for name, value in wanted.items()}
    config = json.loads((tmp_path / "ours" / "adapter_config.json").read_text())
    assert config["target_modules"] == targets
