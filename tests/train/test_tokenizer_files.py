from __future__ import annotations

import json

import pytest

from curate.errors import CurateError
from tests.train.tiny_models import LENGTH, LLAMA, VOCABULARY, filled, written


@pytest.fixture
def tokenizer(tmp_path):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|endoftext|>", "<|padding|>", "<|mask|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    made.train_from_iterator(["the cat sat on the mat, and the dog sat on the cat"] * 3, trainer)
    (tmp_path / "tokens").mkdir()
    made.save(str(tmp_path / "tokens" / "tokenizer.json"))
    return tmp_path / "tokens" / "tokenizer.json"


@pytest.mark.slow
def test_the_tokenizer_is_loaded_with_its_roles_and_template(tmp_path, tokenizer):
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer, GenerationConfig

    template = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    folder = written(tmp_path / "m", LLAMA, filled(LLAMA), "causal", tokenizer=tokenizer, chat_template=template)
    theirs = AutoTokenizer.from_pretrained(folder)
    text = "the dog sat on the mat\n  and  Zoe"
    assert theirs(text)["input_ids"] == Tokenizer.from_file(str(tokenizer)).encode(text).ids
    assert theirs.decode(theirs(text)["input_ids"]) == text
    assert (theirs.eos_token, theirs.pad_token, theirs.mask_token) == ("<|endoftext|>", "<|padding|>", "<|mask|>")
    assert theirs.model_max_length == LENGTH
    assert theirs.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False) == "user: Hi\n"
    assert GenerationConfig.from_pretrained(folder).eos_token_id == 0


def test_given_roles_go_before_usual_names(tmp_path, tokenizer):
    folder = written(
        tmp_path / "m", LLAMA, filled(LLAMA), "causal", tokenizer=tokenizer, roles={"end_of_text": 0, "padding": 0}
    )
    config = json.loads((folder / "tokenizer_config.json").read_text())
    assert (config["eos_token"], config["pad_token"], "mask_token" in config) == (
        "<|endoftext|>",
        "<|endoftext|>",
        False,
    )


def test_settings_beside_the_tokenizer_are_taken_over(tmp_path, tokenizer):
    said = {"tokenizer_class": "GPT2Tokenizer", "eos_token": {"content": "<|mask|>"}, "pad_token": None}
    tokenizer.with_name("tokenizer_config.json").write_text(json.dumps(said))
    folder = written(tmp_path / "m", LLAMA, filled(LLAMA), "causal", tokenizer=tokenizer.parent)
    assert json.loads((folder / "tokenizer_config.json").read_text()) == said
    config = json.loads((folder / "config.json").read_text())
    assert (config["eos_token_id"], config["pad_token_id"]) == (2, 1)


def test_a_damaged_tokenizer_is_refused(tmp_path, tokenizer):
    tokenizer.write_text("{")
    with pytest.raises(CurateError, match="the tokenizer cannot be read"):
        written(tmp_path / "m", LLAMA, filled(LLAMA), "causal", tokenizer=tokenizer)
