"""A trained model in the files of other engines: each is read by its own reader, and computes what the run's model does."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch

from curate.errors import CurateError
from curate.tokenize.tokenizer import load_tokenizer
from curate.train.export import forward, gguf
from curate.train.export.export import export_run
from curate.train.export.formats import FORMATS, Form
from curate.train.export.forward import Forward
from curate.train.export.gguf_forward import GgufFile
from curate.train.export.gguf_tokenizer import check_tokenizer
from curate.train.settings.architecture import RopeScaling
from curate.train.weights.checkpoint import describe_checkpoint
from curate.train.weights.export import load_trained, stored_in
from curate.train.weights.origin import Origin, model_hash
from tests.train.tiny_tasks import CASES, config_of

os.environ["HF_HUB_OFFLINE"] = "1"
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

WIDE = {"width": 64, "heads": 4, "key_value_heads": 2, "feed_forward": 96}
RATE = {"learning_rate": 0.01}
SHORT = {"steps": 4, "checkpoint_every": 4, "validation": {"every": 4}}


@pytest.fixture(scope="module")
def run_of(tmp_path_factory, tiny_packs):
    """`run_of(case, **settings)`: the folder of a trained run, trained once in this file."""
    from curate.train.runs.folder import held, prepare
    from curate.train.runs.launch import launch

    root, known = tmp_path_factory.mktemp("engines"), {}

    def build(case, **settings):
        key = f"{case} {settings}"
        if key not in known:
            config = config_of(CASES[case], **{"optimizer": RATE, **settings})
            with held(root / str(len(known))) as folder:
                packs = tiny_packs(config, None)
                prepare(folder, config, packs)
                launch(config, folder, packs)
            known[key] = folder.path
        return known[key]

    return build


@pytest.fixture
def chat(run_of):
    return run_of("sft", model=WIDE, steps=64)


def record_of(folder):
    return json.loads((folder / "export.json").read_bytes())


# ---- what every export says of itself


def test_an_export_says_what_it_was_made_of_and_how_it_was_compared(chat, tmp_path):
    written = export_run(chat, tmp_path / "hf")
    record, checkpoint = record_of(tmp_path / "hf"), stored_in(chat).checkpoint
    data = describe_checkpoint(checkpoint)["data"]
    assert record["data"] == [{name: data[name] for name in ("dataset", "version", "tokenizer", "tokens")}]
    assert record["run"] == {
        "name": "tiny", "step": 64, "checkpoint": model_hash(Origin(checkpoint, "run", None, 0, None, None))
    }  # fmt: skip
    assert (
        record["weights"] == model_hash(Origin(tmp_path / "hf", "foreign", None, 0, None, None)) == written["weights"]
    )
    assert record["files"] == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (tmp_path / "hf").iterdir()
        if path.name != "export.json"
    }
    assert {"chat_template.jinja", "generation_config.json"} <= set(record["files"])
    check = record["check"]
    assert (check["compared"], check["tolerance"], check["tokens"]) == ("logits", 1e-4, 32)
    assert check["by"].startswith("transformers ") and check["largest_difference"] < 1e-4


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "onnx"])
def test_the_same_checkpoint_gives_the_same_bytes(chat, tmp_path, format):
    for name in ("one", "two"):
        export_run(chat, tmp_path / name, format=format)
    assert (tmp_path / "one" / "export.json").read_bytes() == (tmp_path / "two" / "export.json").read_bytes()


def test_without_transformers_a_folder_is_compared_by_our_own_reader(chat, tmp_path, monkeypatch):
    monkeypatch.setattr("curate.train.export.huggingface.find_spec", lambda name: None)
    export_run(chat, tmp_path / "hf")
    assert record_of(tmp_path / "hf")["check"]["by"] == "curate"


def test_an_export_that_computes_something_else_is_not_written(chat, tmp_path, monkeypatch):
    monkeypatch.setattr("curate.train.export.huggingface.write_whole", _spoiled)
    with pytest.raises(CurateError, match="the exported model gives other logits than the run's model: up to"):
        export_run(chat, tmp_path / "hf")
    assert list(tmp_path.iterdir()) == []


def _spoiled(trained, folder, *, half):
    from curate.train.weights.huggingface import write_huggingface as write

    tensors = {name: tensor.flip(0) if "query" in name else tensor for name, tensor in trained.tensors.items()}
    write(folder, trained.sizes, tensors, head="causal", vocabulary=trained.vocabulary, length=trained.length)


def test_a_folder_that_was_made_meanwhile_is_left_alone(chat, tmp_path, monkeypatch):
    def meanwhile(*given):
        (tmp_path / "hf").mkdir()
        (tmp_path / "hf" / "mine").write_text("mine")
        return compare(*given)

    compare = gguf._compare
    monkeypatch.setattr(gguf, "_compare", meanwhile)
    with pytest.raises(CurateError, match="the folder is there already"):
        export_run(chat, tmp_path / "hf", format="gguf")
    assert [path.name for path in tmp_path.rglob("*")] == ["hf", "mine"]


@pytest.mark.parametrize(
    ("form", "problem", "hint"),
    [
        ({"format": "guff"}, "there is no format `guff`", "did you mean `gguf`?"),
        ({"format": "gguf", "half": True}, "--half is for Hugging Face folders, not for gguf", "leave it out"),
        ({"quantize": "q8_0"}, "--quantize is for gguf, not for huggingface", "leave it out"),
        ({"format": "gguf", "quantize": "q8"}, "there is no type `q8`", "did you mean `q8_0`?"),
    ],
)
def test_what_no_export_can_be_is_said_before_anything_is_read(tmp_path, form, problem, hint):
    with pytest.raises(CurateError) as found:
        export_run(tmp_path / "nothing", tmp_path / "out", **form)
    assert (found.value.problem, found.value.hint) == (problem, hint)


def test_a_missing_package_is_said_with_the_command_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setattr("curate.train.export.formats.find_spec", lambda name: None)
    with pytest.raises(CurateError) as found:
        export_run(tmp_path / "nothing", tmp_path / "out", format="gguf")
    assert found.value.problem == "gguf needs gguf, which is not installed"
    assert found.value.hint == "pip install 'curate-lm[export]'"


# ---- GGUF


@pytest.mark.parametrize("style", ["llama", "qwen3", "olmo2"])
@pytest.mark.parametrize("quantize", ["f16", "q8_0"])
def test_a_gguf_file_computes_what_the_run_computes(run_of, tmp_path, style, quantize):
    run = run_of("causal", model={**WIDE, "style": style})
    export_run(run, tmp_path / "out", format="gguf", quantize=quantize)
    check = record_of(tmp_path / "out")["check"]
    assert check["type"] == quantize and check["largest_difference"] < 1e-4 and check["same_likeliest"] > 0.9
    trained, file = load_trained(run), GgufFile(tmp_path / "out" / "model.gguf")
    matrices = {file.kinds[name] for name, tensor in file.tensors.items() if tensor.ndim == 2}
    assert matrices == {quantize.upper()}
    assert len(file.tensors) == len(trained.tensors)
    if style == "olmo2":  # transformers cannot read it
        return
    from transformers import AutoModelForCausalLM

    given = {"gguf_file": "model.gguf", "dtype": torch.float32, "head_dim": 16}
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "out", **given).eval()
    tokens = forward.check_tokens(trained)
    with torch.no_grad():
        logits = theirs(tokens).logits[0].numpy()
    np.testing.assert_allclose(file.logits(tokens[0].numpy()), logits, rtol=0, atol=1e-4)


def test_a_gguf_file_has_the_tokenizer_and_the_template(chat, tmp_path):
    export_run(chat, tmp_path / "out", format="gguf")
    fields = GgufFile(tmp_path / "out" / "model.gguf").fields
    tokenizer = load_tokenizer(chat / "tokenizer.json")
    described = json.loads((chat / "tokenizer.json").read_bytes())
    tokens = fields["tokenizer.ggml.tokens"]
    assert tokens == [tokenizer.id_to_token(number) for number in range(len(tokens))]
    assert [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]] == [
        tuple(merge) for merge in described["model"]["merges"]
    ]
    assert (fields["tokenizer.ggml.model"], fields["tokenizer.ggml.pre"]) == ("gpt2", "gpt-2")
    assert tokens[fields["tokenizer.ggml.eos_token_id"]] == "<|endoftext|>"
    assert tokens[fields["tokenizer.ggml.eot_token_id"]] == "<|end|>"
    controls = [tokens[number] for number, kind in enumerate(fields["tokenizer.ggml.token_type"]) if kind == 3]
    assert set(controls) == {token["content"] for token in described["added_tokens"]}
    assert fields["tokenizer.chat_template"] == (chat / "chat_template.jinja").read_text()


def test_queries_in_the_wrong_order_are_found(run_of, tmp_path, monkeypatch):
    monkeypatch.setattr(gguf, "_permuted", lambda sizes, family, ours, tensor, back=False: tensor)
    with pytest.raises(CurateError, match="the GGUF file gives other logits than the run's model"):
        export_run(run_of("causal", model={**WIDE, "style": "llama"}), tmp_path / "out", format="gguf")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "scaling",
    [
        RopeScaling(kind="linear", factor=4.0),
        RopeScaling(kind="llama3", factor=8.0, original_length=16, slow=1.0, fast=4.0),
    ],
)
def test_changed_frequencies_are_in_the_file(run_of, tmp_path, scaling):
    trained = load_trained(run_of("causal", model={**WIDE, "style": "llama"}))
    trained = replace(trained, sizes=replace(trained.sizes, rope_scaling=scaling, rope_theta=500.0))
    check = gguf.write(trained, tmp_path, tmp_path, Form("gguf")).check
    assert check["largest_difference"] < 1e-4


def test_rows_that_q8_0_cannot_hold_are_halves_and_counted(run_of, tmp_path):
    written = export_run(run_of("causal"), tmp_path / "out", format="gguf", quantize="q8_0")
    assert written["notes"] == ["13 matrices have rows that are no multiple of 32 numbers: they are F16"]


@pytest.mark.parametrize(
    ("case", "settings", "problem"),
    [
        ("causal-lstm", {}, "a model of the kind lstm trained for `causal` has no GGUF form"),
        ("classification", {}, "a model of the kind encoder trained for `classification` has no GGUF form"),
        ("causal-gpt2", {}, "models of the family gpt2 are not written as GGUF here"),
    ],
)
def test_a_model_without_a_gguf_form_is_refused(run_of, tmp_path, case, settings, problem):
    with pytest.raises(CurateError) as found:
        export_run(run_of(case, **SHORT), tmp_path / "out", format="gguf")
    assert found.value.problem == problem
    assert list(tmp_path.iterdir()) == []


# ---- CTranslate2


def test_ctranslate2_writes_the_text_that_the_run_writes(chat, tmp_path):
    import ctranslate2

    export_run(chat, tmp_path / "out", format="ctranslate2")
    check = record_of(tmp_path / "out")["check"]
    assert check["largest_difference"] < 1e-4 and check["type"] == "int8" and check["rounding"] < 0.2
    assert (tmp_path / "out" / "chat_template.jinja").is_file()
    tokenizer = load_tokenizer(chat / "tokenizer.json")
    prompt = [tokenizer.token_to_id("<|user|>"), *tokenizer.encode("cat and runs?").ids]
    generator = ctranslate2.Generator(str(tmp_path / "out"), device="cpu", compute_type="int8")
    first = [[tokenizer.id_to_token(number) for number in prompt]]
    settings = {"max_length": 40, "min_length": 40, "sampling_topk": 1, "include_prompt_in_result": False}
    said = generator.generate_batch(first, end_token=[], **settings)[0].sequences_ids[0]
    assert said == likeliest(chat, prompt, 40)


def likeliest(run, tokens, count):
    model, found = Forward(load_trained(run)), list(tokens)
    with torch.no_grad():
        for _ in range(count):
            found.append(int(model(torch.tensor([found]))[0, -1].argmax()))
    return found[len(tokens) :]


@pytest.mark.parametrize(
    ("case", "problem"),
    [
        ("causal-lstm", "models of the family lstm trained for `causal` are not written for CTranslate2 here"),
        (
            "classification",
            "models of the family encoder trained for `classification` are not written for CTranslate2 here",
        ),
    ],
)
def test_a_model_that_ctranslate2_has_not_is_refused(run_of, tmp_path, case, problem):
    with pytest.raises(CurateError) as found:
        export_run(run_of(case, **SHORT), tmp_path / "out", format="ctranslate2")
    assert found.value.problem == problem
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_does_not_bear_8_bits_is_not_written(chat, tmp_path, monkeypatch):
    monkeypatch.setattr("curate.train.export.ctranslate2.FARTHEST", 1e-3)
    with pytest.raises(CurateError, match="it does not bear 8 bits"):
        export_run(chat, tmp_path / "out", format="ctranslate2")
    assert list(tmp_path.iterdir()) == []


# ---- ONNX


def test_a_classifier_as_onnx_reads_pairs_of_any_number_and_length(run_of, tmp_path):
    import onnxruntime

    run = run_of("pairs", objective={"pooling": "first"})
    for name in ("one", "two"):
        export_run(run, tmp_path / name, format="onnx")
    record = record_of(tmp_path / "one")
    assert record == record_of(tmp_path / "two")  # the same checkpoint gives the same bytes
    assert record["check"]["largest_difference"] < 1e-4
    assert record["labels"] == ["happy", "sad"]
    assert b"/train/" not in (tmp_path / "one" / "model.onnx").read_bytes()
    session = onnxruntime.InferenceSession(str(tmp_path / "one" / "model.onnx"), providers=["CPUExecutionProvider"])
    draw = torch.Generator().manual_seed(1)
    tokens = torch.randint(10, 250, (5, 21), generator=draw)
    mask, segments = torch.ones_like(tokens), (torch.arange(21) > 9).long().expand(5, -1)
    mask[1, 15:] = 0
    given = {"input_ids": tokens, "attention_mask": mask, "token_type_ids": segments}
    found = session.run(None, {name: given[name].contiguous().numpy() for name in record["inputs"]})[0]
    with torch.no_grad():
        wanted = Forward(load_trained(run))(tokens, documents=mask - 1, segments=segments).numpy()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)


def test_a_decoder_as_onnx_has_the_logits_of_the_run(run_of, tmp_path):
    export_run(run_of("causal", model={**WIDE, "style": "llama"}), tmp_path / "out", format="onnx")
    assert record_of(tmp_path / "out")["check"]["largest_difference"] < 1e-4


def test_a_graph_that_computes_something_else_is_not_written(run_of, tmp_path, monkeypatch):
    from curate.train.export import onnx

    def other(trained, forward, names, file):
        tensors = {
            name: tensor.flip(0) if name == "model.embedding.weight" else tensor
            for name, tensor in trained.tensors.items()
        }
        return compare(trained, Forward(replace(trained, tensors=tensors)), names, file)

    compare = onnx._compare
    monkeypatch.setattr(onnx, "_compare", other)
    with pytest.raises(CurateError, match="ONNX Runtime gives other logits than the run's model"):
        export_run(run_of("classification-cnn"), tmp_path / "out", format="onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("case", ["causal-lstm", "seq2seq"])
def test_a_model_that_is_not_written_as_onnx_is_refused(run_of, tmp_path, case):
    with pytest.raises(CurateError, match=r"a model of the kind \w+ trained for `\w+` is not written as ONNX here"):
        export_run(run_of(case, **SHORT), tmp_path / "out", format="onnx")
    assert list(tmp_path.iterdir()) == []


# ---- tokenizers


def _tokenizer(tmp_path, chat, **changed):
    described = json.loads((chat / "tokenizer.json").read_bytes())
    model = changed.pop("model", {})
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({**described, **changed, "model": {**described["model"], **model}}))
    return path


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def split(pattern, **more):
    return {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False, **more},
            BYTES,
        ],
    }


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"pre_tokenizer": split(LLAMA3), "model": {"ignore_merges": True}}, "llama-bpe"),
        ({"pre_tokenizer": split(LLAMA3.replace("{1,3}", "")), "normalizer": {"type": "NFC"}}, "qwen2"),
        ({"pre_tokenizer": split(LLAMA3)}, None),
        ({"pre_tokenizer": split("x"), "model": {"ignore_merges": True}}, None),
        ({"normalizer": {"type": "Lowercase"}}, None),
        ({"model": {"byte_fallback": True}}, None),
        ({"pre_tokenizer": {**BYTES, "add_prefix_space": True, "use_regex": True}}, None),
    ],
)
def test_a_tokenizer_has_the_name_of_how_it_cuts_or_is_refused(chat, tmp_path, changed, name):
    path = _tokenizer(tmp_path, chat, **changed)
    if name:
        assert check_tokenizer(path) == name
        return
    with pytest.raises(CurateError, match=r"in a way that llama\.cpp has no name for here"):
        check_tokenizer(path)


@pytest.mark.skipif(
    "CURATE_LLAMA_CPP" not in os.environ, reason="CURATE_LLAMA_CPP names no folder of llama.cpp's programs"
)
def test_llama_cpp_itself_writes_the_likeliest_text(chat, tmp_path):
    export_run(chat, tmp_path / "out", format="gguf")
    program = shutil.which("llama-completion", path=os.environ["CURATE_LLAMA_CPP"])
    text, tokenizer = "cat and runs?", load_tokenizer(chat / "tokenizer.json")
    tokens = tokenizer.encode(text).ids
    given = ["-m", tmp_path / "out" / "model.gguf", "-p", text, "-n", "12", "--temp", "0", "-no-cnv", "--ignore-eos"]
    said = subprocess.run([program, *given], capture_output=True, text=True, check=True).stdout
    assert tokenizer.decode([*tokens, *likeliest(chat, tokens, 12)]) in said
