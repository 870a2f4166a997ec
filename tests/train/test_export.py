"""What is exported loads in transformers and PEFT with the logits that the run's model has."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from curate.errors import CurateError
from curate.tokenize.tokenizer import load_tokenizer
from curate.train.data.packed import Packed
from curate.train.export.export import export_run
from curate.train.weights.export import load_trained, translate_texts
from tests.train.tiny_tasks import CASES, config_of

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

CLASSES = {
    "causal": "AutoModelForCausalLM",
    "causal-gpt2": "AutoModelForCausalLM",
    "multi_token": "AutoModelForCausalLM",
    "sft": "AutoModelForCausalLM",
    "masked": "AutoModelForMaskedLM",
    "classification": "AutoModelForSequenceClassification",
    "classification-decoder": "AutoModelForSequenceClassification",
    "token_classification": "AutoModelForTokenClassification",
    "seq2seq": "AutoModelForSeq2SeqLM",
}
SHORT = {"steps": 4, "checkpoint_every": 4, "validation": {"every": 4}}
TOKENS = torch.randint(20, 250, (2, 9), generator=torch.Generator().manual_seed(0))


def loaded(folder, name):
    import transformers

    return getattr(transformers, CLASSES[name]).from_pretrained(folder, local_files_only=True).eval()


@torch.no_grad()
def own_logits(trained, name):
    """Logits of TOKENS from our trunk and head."""
    trunk, tensors = trained.trunk(), trained.tensors
    if name == "seq2seq":
        return trunk(TOKENS, inputs=TOKENS) @ trunk.unembedding.T
    if name.startswith("classification"):
        return trunk.sentence(TOKENS) @ tensors["head.weight"].T + tensors.get("head.bias", 0)
    if name == "token_classification":
        return trunk(TOKENS) @ tensors["head.weight"].T + tensors["head.bias"]
    if name == "masked":
        from curate.train.models.encoder import MaskedHead

        head = MaskedHead(trained.sizes, trained.vocabulary)
        head.load_state_dict({key[5:]: value for key, value in tensors.items() if key.startswith("head.")})
        return head(trunk(TOKENS)) @ trunk.unembedding.T + head.bias
    return trunk(TOKENS) @ trunk.unembedding.T


@pytest.mark.parametrize("name", CLASSES)
def test_an_exported_model_has_the_logits_of_the_run(trained, tmp_path, name):
    folder = trained(name, **SHORT)
    export_run(folder.path, tmp_path / "export")
    model = loaded(tmp_path / "export", name)
    inputs = {"decoder_input_ids": TOKENS} if name == "seq2seq" else {}
    with torch.no_grad():
        logits = model(input_ids=TOKENS, **inputs).logits
    torch.testing.assert_close(logits, own_logits(load_trained(folder.path), name), rtol=0, atol=1e-5)


def test_an_exported_model_has_its_tokenizer_and_labels(trained, tmp_path):
    import transformers

    folder = trained("classification", **SHORT)
    export_run(folder.path, tmp_path / "export")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "export", local_files_only=True)
    assert tokenizer.decode(tokenizer("the small cat", add_special_tokens=False).input_ids) == "the small cat"
    config = json.loads((tmp_path / "export" / "config.json").read_text())
    assert config["id2label"] == {"0": "happy", "1": "sad"}


def test_an_exported_chat_model_has_its_template(trained, tmp_path):
    folder = trained("sft", **SHORT)
    export_run(folder.path, tmp_path / "export")
    assert "assistant" in (tmp_path / "export" / "chat_template.jinja").read_text()


def test_an_exported_chat_model_ends_where_a_turn_ends(trained, tmp_path):
    folder = trained("sft", **SHORT)
    export_run(folder.path, tmp_path / "export")
    model = loaded(tmp_path / "export", "sft")
    tokenizer = load_tokenizer(folder.path / "tokenizer.json")
    ends = [tokenizer.token_to_id(name) for name in ("<|end|>", "<|endoftext|>")]
    assert model.generation_config.eos_token_id == ends
    with torch.no_grad():  # whatever it reads, it says that the turn ends
        model.lm_head.weight[ends[0]] = 100 * model.model(TOKENS[:1]).last_hidden_state[0, -1]
    given = model.generate(TOKENS[:1], max_new_tokens=20, do_sample=False)
    assert given.shape[1] < TOKENS.shape[1] + 20 and int(given[0, -1]) == ends[0]


def test_fine_tuning_on_short_texts_does_not_shorten_a_model(trained, tmp_path):
    base = trained("causal", **SHORT)
    export_run(base.path, tmp_path / "base")
    config = tmp_path / "base" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "max_position_embeddings": 2048}))
    path = str(tmp_path / "base")
    for name in ("tuned", "again"):
        path = str(trained("causal", name, **SHORT, model={"path": path}).path)
        export_run(Path(path), tmp_path / f"{name}-export")
        found = json.loads((tmp_path / f"{name}-export" / "config.json").read_text())
        assert found["max_position_embeddings"] == 2048
        assert (
            json.loads((tmp_path / f"{name}-export" / "tokenizer_config.json").read_text())["model_max_length"] == 2048
        )


def test_half_numbers_are_half_the_size(trained, tmp_path):
    folder = trained("causal", **SHORT)
    whole, half = (export_run(folder.path, tmp_path / f"{half}", half=half)["bytes"] for half in (False, True))
    assert half < 0.8 * whole


LORA = {"lora": {"rank": 4, "alpha": 64.0, "targets": ["query", "value", "up"]}}


DORA = {"lora": {**LORA["lora"], "targets": "all-linear", "dora": True, "scaling": "rank_stabilized"}}


@pytest.mark.parametrize("adapters", [LORA, DORA])
def test_adapters_are_merged_into_an_exported_model(trained, tmp_path, adapters):
    folder = trained("causal", **SHORT, **adapters)
    export_run(folder.path, tmp_path / "export")
    with torch.no_grad():
        logits = loaded(tmp_path / "export", "causal")(input_ids=TOKENS).logits
    torch.testing.assert_close(logits, own_logits(load_trained(folder.path), "causal"), rtol=0, atol=1e-5)


@pytest.mark.parametrize("adapters", [LORA, DORA])
def test_adapters_load_in_peft_on_the_model_that_they_began_with(trained, tmp_path, adapters):
    import peft

    base = trained("causal", **SHORT)
    export_run(base.path, tmp_path / "base")
    adapted = trained("causal", "adapted", **SHORT, **adapters, model={"path": str(tmp_path / "base")})
    written = export_run(adapted.path, tmp_path / "adapter", adapter=True)
    assert written["parameters"] < 10_000
    model = peft.PeftModel.from_pretrained(loaded(tmp_path / "base", "causal"), str(tmp_path / "adapter")).eval()
    assert (tmp_path / "adapter" / "tokenizer.json").read_bytes() == (tmp_path / "base" / "tokenizer.json").read_bytes()
    with torch.no_grad():
        logits = model(input_ids=TOKENS).logits
    torch.testing.assert_close(logits, own_logits(load_trained(adapted.path), "causal"), rtol=0, atol=1e-5)


def test_a_run_on_4_bits_is_exported_as_it_was_validated_and_its_adapters_beside_the_original(on_base, tmp_path):
    """Merged, it is what was trained; on the original model adapters are off by what 4 bits lose."""
    folder = on_base("first", lora={**DORA["lora"], "base": "nf4"})
    held = "the model under the adapters was held in nf4 (`lora.base`)"
    (note,) = export_run(folder.path, tmp_path / "merged")["notes"]
    assert note == f"{held}: all weights are those so rounded, not the original's, with what was learned added"
    (note,) = export_run(folder.path, tmp_path / "adapter", adapter=True)["notes"]
    assert note == f"{held}: beside a finer one these give other logits than were trained; load it in nf4"
    with torch.no_grad():
        logits = loaded(tmp_path / "merged", "causal")(input_ids=TOKENS).logits
    torch.testing.assert_close(logits, own_logits(load_trained(folder.path), "causal"), rtol=0, atol=1e-5)
    still = {**SHORT, "steps": 1, "validation": {"every": 1}, "optimizer": {"learning_rate": 1e-12}}
    found = {}
    for base in ("nf4", "full"):
        lora = {**DORA["lora"], "base": base, "path": str(tmp_path / "adapter")}
        found[base] = on_base(base, still, lora=lora).result()["validation"]["loss"]
    wanted = folder.result()["validation"]["loss"]
    assert found["nf4"] == pytest.approx(wanted, abs=1e-6)
    assert found["full"] != wanted
    assert found["full"] == pytest.approx(wanted, rel=0.01)


@pytest.fixture
def on_base(trained, tmp_path):
    """A run with adapters on one and the same base."""
    path = trained("causal", "base", **SHORT).path

    def train(name, steps=SHORT, **settings):
        return trained("causal", name, **steps, model={"path": str(path)}, **settings)

    return train


@pytest.mark.parametrize("adapters", [LORA, DORA])
def test_a_run_goes_on_with_adapters_from_a_file(on_base, tmp_path, adapters):
    first = on_base("first", **adapters)
    export_run(first.path, tmp_path / "adapter", adapter=True)
    still = {**SHORT, "steps": 1, "validation": {"every": 1}, "optimizer": {"learning_rate": 1e-12}}
    begun = {"lora": {**adapters["lora"], "path": str(tmp_path / "adapter")}}
    again = on_base("again", still, **begun)
    one, two = (folder.result()["validation"]["loss"] for folder in (first, again))
    assert two == pytest.approx(one, abs=1e-6)


@pytest.mark.parametrize(
    ("given", "problem", "hint"),
    [
        (
            {"rank": 2, "dora": True},
            "the adapters in the folder have other settings than `lora`",
            "set `lora.rank: 4`, `lora.dora: false`",
        ),
        (
            {"targets": ["query", "up"]},
            "the folder has adapters of `value`, and the run has none",
            "add it to `lora.targets`",
        ),
    ],
)
def test_adapters_of_other_settings_are_refused_with_those_that_fit(on_base, tmp_path, given, problem, hint):
    export_run(on_base("first", **LORA).path, tmp_path / "adapter", adapter=True)
    lora = {**LORA["lora"], "path": str(tmp_path / "adapter"), **given}
    with pytest.raises(CurateError) as found:
        on_base("again", lora=lora)
    assert (found.value.problem, found.value.hint) == (problem, hint)


def test_a_run_without_adapters_has_none_to_export(trained, tmp_path):
    folder = trained("causal", **SHORT)
    with pytest.raises(CurateError, match="the run has trained no adapters"):
        export_run(folder.path, tmp_path / "export", adapter=True)


def test_a_folder_that_is_there_is_left_alone(trained, tmp_path):
    folder = trained("causal", **SHORT)
    (tmp_path / "export").mkdir()
    with pytest.raises(CurateError, match="the folder is there already"):
        export_run(folder.path, tmp_path / "export")


def test_a_full_disk_leaves_nothing(trained, tmp_path, monkeypatch):
    def full(tensors, path, **_settings):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    folder = trained("causal", **SHORT)
    monkeypatch.setattr("curate.train.weights.huggingface.save_file", full)
    with pytest.raises(CurateError, match=r"the model cannot be written: .*No space left on device"):
        export_run(folder.path, tmp_path / "export")
    assert list(tmp_path.glob("*export*")) == list(tmp_path.glob(".writing-*")) == []


def test_all_files_can_be_read_by_whom_the_umask_lets(trained, tmp_path):
    export_run(trained("causal", **SHORT).path, tmp_path / "export")
    (tmp_path / "plain").write_text("")
    modes = {path.name: path.stat().st_mode for path in (tmp_path / "export").iterdir()}
    assert set(modes.values()) == {(tmp_path / "plain").stat().st_mode}, modes


def test_adapters_name_a_base_that_peft_can_load_and_no_other(trained, tmp_path):
    base = trained("causal", **SHORT)
    export_run(base.path, tmp_path / "base")
    for name, path, told in (("on-export", tmp_path / "base", str(tmp_path / "base")), ("on-run", base.path, None)):
        adapted = trained("causal", name, **SHORT, **LORA, model={"path": str(path)})
        written = export_run(adapted.path, tmp_path / f"{name}-adapter", adapter=True)
        config = json.loads((tmp_path / f"{name}-adapter" / "adapter_config.json").read_bytes())
        assert written["base"] == config["base_model_name_or_path"] == told


def test_a_model_that_transformers_does_not_have_is_refused(trained, tmp_path):
    folder = trained("causal-lstm", **SHORT)
    with pytest.raises(CurateError, match="transformers has no model"):
        export_run(folder.path, tmp_path / "export")


# ---- models that transformers computes


def folder_of(tmp_path, kind):
    """A tiny model of a type that we do not implement."""
    import transformers

    torch.manual_seed(0)
    sizes = {"vocab_size": 300, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    if kind == "qwen2":
        config = transformers.Qwen2Config(**sizes, intermediate_size=32, num_key_value_heads=1)
        transformers.Qwen2ForCausalLM(config).save_pretrained(tmp_path / "begun")
    elif kind == "mistral":  # with a window shorter than a conversation
        config = transformers.MistralConfig(**sizes, intermediate_size=32, num_key_value_heads=1, sliding_window=6)
        transformers.MistralForCausalLM(config).save_pretrained(tmp_path / "begun")
    else:
        config = transformers.RobertaConfig(**sizes, intermediate_size=32, max_position_embeddings=64, pad_token_id=1)
        transformers.RobertaModel(config).save_pretrained(tmp_path / "begun")
    return {"path": str(tmp_path / "begun"), "kind": "pretrained"}


@pytest.fixture
def pretrained(run, tiny_packs, tmp_path):
    """Train a case on such a model."""

    def train(case, kind, **settings):
        config = config_of(
            CASES[case], model=folder_of(tmp_path, kind), batch={"document_mask": False}, **SHORT, **settings
        )
        return run(config, "run", tiny_packs(config, None))

    return train


ADAPTED = {"rank": 2, "alpha": 64.0, "targets": ["q_proj", "up_proj"]}


@pytest.mark.parametrize("case", ["causal", "sft"])
def test_a_model_of_another_type_is_exported_in_its_own_class(pretrained, tmp_path, case):
    import transformers

    folder = pretrained(case, "qwen2")
    export_run(folder.path, tmp_path / "export")
    config = json.loads((tmp_path / "export" / "config.json").read_text())
    assert (config["architectures"], config["use_cache"]) == (["Qwen2ForCausalLM"], True)
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "export").eos_token == "<|endoftext|>"
    assert ((tmp_path / "export" / "chat_template.jinja").is_file()) == (case == "sft")
    if case == "sft":
        tokenizer = load_tokenizer(folder.path / "tokenizer.json")
        ends = json.loads((tmp_path / "export" / "generation_config.json").read_text())["eos_token_id"]
        assert [tokenizer.id_to_token(end) for end in ends] == ["<|end|>", "<|endoftext|>"]


def test_a_model_with_sliding_windows_learns_conversations_as_transformers_computes_them(run, tiny_packs, tmp_path):
    import transformers

    every = {"validation": {"every": 4, "sequences": None}}
    config = config_of(CASES["sft"], model=folder_of(tmp_path, "mistral"), **{**SHORT, **every})
    packs = tiny_packs(config, None)
    folder = run(config, "run", packs)
    export_run(folder.path, tmp_path / "export")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "export").eval()
    source = Packed(packs[""], "validation", config.batch.length, alone=True)
    losses = []
    for number in range(len(source)):
        batch = {name: torch.from_numpy(values) for name, values in source.read(np.array([number])).items()}
        size = int((batch["documents"] >= 0).sum())
        with torch.no_grad():
            logits = model(batch["tokens"][:, :size]).logits[0]
        losses.append(torch.nn.functional.cross_entropy(logits, batch["targets"][0, :size], reduction="none"))
    loss = torch.cat(losses)
    found = folder.result()["validation"]
    wanted = loss[loss != 0].mean().item()  # targets that do not count cost nothing
    assert found["loss"] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("lora", [None, ADAPTED])
def test_a_model_of_another_type_that_was_exported_validates_as_its_run(pretrained, run, tiny_packs, tmp_path, lora):
    folder = pretrained("causal", "qwen2", lora=lora)
    export_run(folder.path, tmp_path / "export")
    model = {"path": str(tmp_path / "export"), "kind": "pretrained"}
    still = {"optimizer": {"learning_rate": 1e-12}, "validation": {"every": 1, "sequences": 9}, "steps": 1}
    config = config_of(CASES["causal"], model=model, batch={"document_mask": False}, **still)
    again = run(config, "again", tiny_packs(config, None))
    losses = [
        json.loads((path / "result.json").read_text())["validation"]["loss"] for path in (folder.path, again.path)
    ]
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)


def test_a_model_of_another_type_with_labels_is_refused(pretrained, tmp_path):
    folder = pretrained("classification", "roberta")
    with pytest.raises(CurateError, match="a head for classification has no form that transformers reads"):
        export_run(folder.path, tmp_path / "export")


def test_a_model_of_another_type_needs_the_folder_that_it_began_with(pretrained, tmp_path):
    folder = pretrained("causal", "qwen2")
    (tmp_path / "begun").rename(tmp_path / "elsewhere")
    with pytest.raises(CurateError, match="the model that training began with is not in its folder any more"):
        export_run(folder.path, tmp_path / "export")


# ---- others


def test_a_run_without_checkpoint_has_nothing_to_export(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(CurateError, match="the run has no checkpoint yet"):
        export_run(tmp_path, tmp_path / "export")


def test_texts_are_translated_as_the_run_has_learned(trained):
    folder = trained("seq2seq", steps=60, checkpoint_every=60)
    assert "Katze" in " ".join(translate_texts(folder.path, ["the cat sings", "the small cat runs"], beams=2))
