from __future__ import annotations

import json
from functools import partial

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.utils.checkpoint import checkpoint

from curate.errors import CurateError
from curate.train.models.backbone import Backbone, pretrained_limits
from curate.train.parallel.world import joined
from curate.train.weights.backbone_files import pretrained_tensors

VOCABULARY = 61
CLOSE = {"rtol": 0, "atol": 1e-5}
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 40,
}
CAUSAL = ("qwen2", "gpt_neox", "gpt2")
ENCODERS = ("distilbert", "roberta")


def make(kind):
    """A tiny random model of transformers."""
    import transformers as t

    torch.manual_seed(0)
    if kind == "qwen2":
        return t.Qwen2ForCausalLM(t.Qwen2Config(**SIZES, num_key_value_heads=2, tie_word_embeddings=True))
    if kind == "gpt_neox":
        return t.GPTNeoXForCausalLM(t.GPTNeoXConfig(**SIZES, tie_word_embeddings=False))
    if kind == "gpt2":  # its positions are learned: they must not count padding, nor other documents
        given = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 40}
        return t.GPT2LMHeadModel(t.GPT2Config(**given, bos_token_id=0, eos_token_id=0))
    if kind == "roberta":
        return t.RobertaForMaskedLM(t.RobertaConfig(**SIZES, type_vocab_size=1, pad_token_id=1))
    given = {"vocab_size": VOCABULARY, "dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4}
    return t.DistilBertForMaskedLM(t.DistilBertConfig(**given, max_position_embeddings=40))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    found = {}
    for kind in (*CAUSAL, *ENCODERS):
        found[kind] = tmp_path_factory.mktemp(kind)
        make(kind).save_pretrained(found[kind])
    return found


def load(path, length=40):
    """A backbone as a run makes it: on the meta device, then emptied, then filled."""
    trunk = Backbone(path, length=length)
    trunk.to_empty(device="cpu")
    parameters = dict(trunk.named_parameters())
    with torch.no_grad():
        for name, stored in pretrained_tensors(path):
            parameters.pop(name).copy_(stored.whole())
    assert not parameters
    return trunk.eval()


def theirs(path):
    from transformers import AutoModel

    return AutoModel.from_pretrained(path, local_files_only=True).eval()


@pytest.fixture
def tokens():
    return torch.randint(3, VOCABULARY, (3, 12), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def padded():
    documents = torch.zeros(3, 12, dtype=torch.int64)
    documents[1, 7:] = documents[2, 11:] = -1
    return documents


@pytest.mark.parametrize("kind", (*CAUSAL, *ENCODERS))
@torch.no_grad()
def test_its_states_are_those_of_transformers(folders, tokens, padded, kind):
    trunk, model = load(folders[kind]), theirs(folders[kind])
    assert torch.equal(trunk(tokens), model(tokens).last_hidden_state)
    pad = trunk.transformer.config.pad_token_id
    given = tokens if pad is None else tokens.masked_fill(padded < 0, pad)
    wanted = model(given, attention_mask=(padded >= 0).long()).last_hidden_state
    real = padded >= 0
    torch.testing.assert_close(trunk(tokens, documents=padded)[real], wanted[real], **CLOSE)


@pytest.mark.parametrize("kind", CAUSAL)
@torch.no_grad()
def test_its_logits_are_those_of_the_causal_model(folders, tokens, kind):
    from transformers import AutoModelForCausalLM

    trunk, model = (
        load(folders[kind]),
        AutoModelForCausalLM.from_pretrained(folders[kind], local_files_only=True).eval(),
    )
    torch.testing.assert_close(trunk(tokens) @ trunk.unembedding.T, model(tokens).logits, **CLOSE)


@pytest.mark.parametrize("kind", (*CAUSAL, *ENCODERS))
@torch.no_grad()
def test_padding_changes_no_sentence(folders, tokens, kind):
    trunk = load(folders[kind])
    padding = torch.full((3, 4), 7)
    documents = torch.cat((torch.zeros_like(tokens), padding.new_full((3, 4), -1)), 1)
    for pooling in (None, "first", "last", "mean"):
        alone = trunk.sentence(tokens, pooling=pooling)
        after = trunk.sentence(torch.cat((tokens, padding), 1), documents=documents, pooling=pooling)
        torch.testing.assert_close(after, alone, **CLOSE)


@pytest.mark.parametrize("kind", (*CAUSAL, "roberta"))
@torch.no_grad()
def test_padding_before_a_text_changes_no_sentence(folders, tokens, kind):
    trunk = load(folders[kind])
    padding = torch.full((3, 4), 7)
    documents = torch.cat((padding.new_full((3, 4), -1), torch.zeros_like(tokens)), 1)
    before = trunk.sentence(torch.cat((padding, tokens), 1), documents=documents, pooling="mean")
    torch.testing.assert_close(before, trunk.sentence(tokens, pooling="mean"), **CLOSE)


@pytest.mark.parametrize("kind", CAUSAL)
@torch.no_grad()
def test_a_packed_row_of_a_causal_model_gives_what_its_documents_give_alone(folders, tokens, kind):
    trunk = load(folders[kind])
    documents = torch.tensor([[0] * 5 + [1] * 7, [0] * 12, [0] * 3 + [1] * 6 + [-1] * 3])
    packed = trunk(tokens, documents=documents)
    for row, start, end in [(0, 0, 5), (0, 5, 12), (1, 0, 12), (2, 0, 3), (2, 3, 9)]:
        alone = trunk(tokens[row : row + 1, start:end])
        torch.testing.assert_close(packed[row : row + 1, start:end], alone, **CLOSE)
    assert packed.isfinite().all()


def test_a_packed_row_is_refused_where_documents_would_not_be_kept_apart(folders, tokens):
    documents = torch.tensor([[0] * 5 + [1] * 7] * 3)
    with pytest.raises(CurateError, match="does not keep several documents of a row apart"):
        load(folders["roberta"])(tokens, documents=documents)


@pytest.mark.parametrize("kind", CAUSAL)
@torch.no_grad()
def test_reading_on_from_a_cache_gives_what_reading_at_once_gives(folders, tokens, kind):
    trunk = load(folders[kind])
    documents = torch.zeros_like(tokens)
    documents[1, :4] = -1  # a shorter prompt stands at the right end
    cache = trunk.new_cache()
    whole = trunk(tokens, documents=documents)
    parts = [trunk(tokens[:, :6], documents=documents[:, :6], cache=cache)]
    parts += [trunk(tokens[:, place : place + 1], cache=cache) for place in range(6, 12)]
    real = documents >= 0
    torch.testing.assert_close(torch.cat(parts, 1)[real], whole[real], **CLOSE)


@pytest.mark.parametrize("kind", (*CAUSAL, *ENCODERS))
@torch.no_grad()
def test_noise_is_added_to_the_embedded_tokens(folders, tokens, kind):
    trunk = load(folders[kind])
    other = tokens.flip(0)
    noise = trunk.embedding(other) - trunk.embedding(tokens)
    torch.testing.assert_close(trunk(tokens, noise=noise), trunk(other), **CLOSE)


class Squares(nn.Module):
    """The root, as an objective is."""

    def __init__(self, trunk):
        super().__init__()
        self.model = trunk

    def forward(self, tokens, documents):
        return self.model(tokens, documents=documents)[documents >= 0].square().sum()


@pytest.mark.parametrize("kind", ("gpt_neox", "distilbert"))
def test_sharded_and_recomputed_blocks_give_the_same_gradients(folders, tokens, padded, kind):
    plain = Squares(load(folders[kind]))
    plain(tokens, padded).backward()
    wanted = {name: parameter.grad for name, parameter in plain.named_parameters()}
    with joined(0, 1, device="cpu"):
        sharded = Squares(Backbone(folders[kind], length=40)).eval()
        for block in sharded.model.get_submodule("blocks").children():
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
            fully_shard(block)
        fully_shard(sharded)
        sharded.to_empty(device="cpu")
        with torch.no_grad():
            for name, stored in pretrained_tensors(folders[kind]):
                sharded.get_parameter(f"model.{name}").to_local().copy_(stored.whole())
        sharded(tokens, padded).backward()
        for name, parameter in sharded.named_parameters():
            if wanted[name] is not None:
                torch.testing.assert_close(parameter.grad.full_tensor(), wanted[name], **CLOSE)


def test_it_is_made_on_the_meta_device_without_touching_random_numbers(folders):
    before = torch.get_rng_state()
    trunk = Backbone(folders["qwen2"], length=12)
    list(pretrained_tensors(folders["qwen2"]))
    assert {parameter.device.type for parameter in trunk.parameters()} == {"meta"}
    assert torch.equal(torch.get_rng_state(), before)


def test_buffers_keep_their_values_when_parameters_are_emptied(folders):
    trunk = Backbone(folders["qwen2"], length=12)
    values = {name: buffer.clone() for name, buffer in trunk.named_buffers()}
    assert values
    trunk.to("meta").to_empty(device="cpu")
    for name, buffer in trunk.named_buffers():
        assert torch.equal(buffer, values[name])


def test_blocks_and_embedding_are_the_models_own_and_counted_once(folders):
    trunk = Backbone(folders["gpt_neox"], length=12)
    assert [type(block).__name__ for block in trunk.blocks] == ["GPTNeoXLayer"] * 2
    assert trunk.embedding.weight.shape == (VOCABULARY, 32)
    assert set(trunk.state_dict()) == {name for name, _ in trunk.named_parameters()}
    assert (trunk.sizes.layers, trunk.sizes.heads, trunk.width) == (2, 4, 32)


@pytest.mark.parametrize(("kind", "most"), [("qwen2", 40), ("roberta", 38)])
def test_its_limits_are_known_before_training(folders, tokens, kind, most):
    assert pretrained_limits(folders[kind]) == (VOCABULARY, most)
    with pytest.raises(CurateError, match=f"longer than the {most} positions"):
        load(folders[kind])(tokens.repeat(1, 4))


def test_segments_are_read_by_models_that_have_some(folders, tmp_path):
    import transformers

    transformers.ElectraModel(transformers.ElectraConfig(**SIZES, embedding_size=16)).save_pretrained(tmp_path)
    assert Backbone(tmp_path, length=12).accepts == {"documents", "noise", "segments"}
    assert Backbone(folders["roberta"], length=12).accepts == {"documents", "noise"}


def test_an_encoder_has_no_logits_of_next_tokens(folders):
    with pytest.raises(CurateError, match="predicts no next token"):
        Backbone(folders["roberta"], length=12).unembedding  # noqa: B018
    with pytest.raises(CurateError, match="does not generate here"):
        Backbone(folders["roberta"], length=12).new_cache()


def changed(folder, into, **settings):
    """A copy of a model with other settings in its config.json."""
    config = json.loads((folder / "config.json").read_bytes())
    (into / "config.json").write_text(json.dumps({**config, **settings}))
    (into / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    return into


def test_a_bare_untied_model_has_no_logits(folders, tmp_path):
    path = changed(folders["gpt_neox"], tmp_path, architectures=["GPTNeoXModel"])
    with pytest.raises(CurateError, match="no matrix of the logits"):
        Backbone(path, length=12).unembedding  # noqa: B018


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"model_type": "no_such_model"}, "cannot read the model"),
        ({"is_encoder_decoder": True}, "follows an encoder"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "is quantized"),
        ({"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.Own"}}, "cannot read the model"),
    ],
)
def test_a_model_that_cannot_be_trained_is_refused(folders, tmp_path, settings, problem):
    (tmp_path / "own.py").write_text("raise SystemExit('code of a model was run')")
    with pytest.raises(CurateError, match=problem):
        Backbone(changed(folders["qwen2"], tmp_path, **settings), length=12)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(CurateError, match="cannot read the model"):
        Backbone(tmp_path, length=12)


def test_pickled_weights_are_refused(folders, tmp_path):
    path = changed(folders["qwen2"], tmp_path)
    torch.save(load_file(path / "model.safetensors"), path / "pytorch_model.bin")
    (path / "model.safetensors").unlink()
    with pytest.raises(CurateError, match="the weights are pickled"):
        list(pretrained_tensors(path))


def test_a_file_cut_short_is_refused(folders, tmp_path):
    path = changed(folders["qwen2"], tmp_path) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CurateError, match="the file of tensors cannot be read"):
        list(pretrained_tensors(tmp_path))


def test_a_file_without_all_parameters_is_refused(folders, tmp_path):
    path = changed(folders["qwen2"], tmp_path) / "model.safetensors"
    tensors = load_file(path)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(
        CurateError, match=r"no values in .* for `transformer.layers.1.mlp.up_proj.weight` \(1 in all\)"
    ):
        list(pretrained_tensors(tmp_path))
