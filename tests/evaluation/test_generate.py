"""`curate generate`: the same text for the same seed in any company, streams, chats, and what transformers would say."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from curate.cli import app
from curate.evaluation.models.generation import Generation, Sampling, chosen
from tests.evaluation.language_model import small_model

PROMPTS = ["a", "a longer prompt", "of another length", "b", "c and d", "the last but one", "z"]


@pytest.fixture
def typed(project, monkeypatch):
    """`curate generate` with some words, beside the store."""

    def start(*words, typed=None, code=0):
        monkeypatch.chdir(project)
        done = CliRunner().invoke(app, ["generate", *map(str, words)], input=typed)
        assert (done.exit_code == 0) == (code == 0), done.output
        return done

    return start


GREEDY = Sampling()


def continued(model, prompts, rows, sampling=GREEDY, **how):
    made = Generation(model, most=9, end=model.end, sampling=sampling, **how)
    return made.continued([model.encode([one])[0] for one in prompts], rows=rows)


@pytest.mark.parametrize("kind", ["decoder", "lstm"])
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(1.0, seed=3), Sampling(0.7, top_k=40, top_p=0.9, seed=1)])
def test_a_text_is_the_same_in_any_company(kind, sampling):
    model = small_model(length=32, kind=kind)
    model.end = frozenset(range(60, 110))  # texts end at different times, so that others take their places
    alone = continued(model, PROMPTS, 1, sampling)
    assert len({one.tokens for one in alone}) > 2
    for rows in (2, 3, len(PROMPTS)):
        assert continued(model, PROMPTS, rows, sampling) == alone


class _Draws:
    """Uniform numbers one after the other, evenly."""

    def __init__(self, number):
        self.number = number

    def random(self):
        return self.number


@pytest.mark.parametrize("sampling", [Sampling(1.0, top_k=5), Sampling(0.8, top_p=0.6), Sampling(1.3, min_p=0.2),
                                      Sampling(0.9, top_k=12, top_p=0.7, min_p=0.1), Sampling(2.0)])  # fmt: skip
def test_tokens_are_drawn_as_transformers_weighs_them(sampling):
    from transformers import generation

    torch.manual_seed(0)
    logits = torch.randn(1, 30) * 2
    wanted = generation.TemperatureLogitsWarper(sampling.temperature)(None, logits)
    if sampling.top_k:
        wanted = generation.TopKLogitsWarper(sampling.top_k)(None, wanted)
    if sampling.top_p < 1:
        wanted = generation.TopPLogitsWarper(sampling.top_p)(None, wanted)
    if sampling.min_p:
        wanted = generation.MinPLogitsWarper(sampling.min_p)(None, wanted)
    shares = wanted.softmax(-1)[0].numpy()
    draws = [_Draws((number + 0.5) / 4000) for number in range(4000)]
    found = np.bincount(chosen(logits.expand(4000, -1), sampling, draws), minlength=30) / 4000
    np.testing.assert_allclose(found, shares, atol=1e-3)
    assert not found[shares == 0].any()


def test_the_likeliest_token_is_all_that_a_top_k_of_one_leaves():
    model = small_model(length=32)
    assert continued(model, PROMPTS, 4, Sampling(1.0, top_k=1)) == continued(model, PROMPTS, 4)


def test_what_is_told_of_a_text_is_the_text_and_no_half_of_a_character_or_stop_string():
    model = small_model(length=64)
    whole = Generation(model, most=40, end=model.end).continued([model.encode(["once"])[0]], rows=1)[0].text
    stop = whole[20:23]
    told: list[str] = []
    made = Generation(
        model, most=40, end=model.end, stop=[stop], tell=lambda number, text: told.append(text)
    ).continued([model.encode(["once"])[0]], rows=1)[0]  # fmt: skip
    assert "".join(told) == made.text == whole[: whole.index(stop)]
    assert len(told) > 3


def test_texts_are_as_many_as_asked_for_and_the_same_again(typed, trained, tmp_path):
    (tmp_path / "prompts.txt").write_text("the cat\n\nthe dog\n")
    words = (trained("text"), "--file", tmp_path / "prompts.txt", "--new-tokens", 6, "-n", 2, "--seed", 5)
    rows = [json.loads(line) for line in typed(*words).stdout.splitlines()]
    assert [(row["prompt"], row["sample"]) for row in rows] == [
        ("the cat", 0),
        ("the cat", 1),
        ("the dog", 0),
        ("the dog", 1),
    ]
    assert [json.loads(line) for line in typed(*words, "--batch", 1).stdout.splitlines()] == rows
    assert json.loads(typed(*words, "--json").stdout)["completions"] == rows
    typed(*words, "--out", tmp_path / "out.jsonl")
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == rows
    one = typed(trained("text"), "the cat", "--new-tokens", 6, "--temperature", 0).stdout
    both = typed(trained("text"), "the cat", "the dog", "--new-tokens", 6, "--temperature", 0).stdout.splitlines()
    assert json.loads(both[0])["text"] == one.removesuffix("\n")


@pytest.mark.slow
def test_a_chat_model_says_what_its_export_says_in_transformers(typed, trained, tmp_path):
    import transformers

    from curate.train.export.export import export_run

    export_run(trained("chat"), tmp_path / "hf")
    turns = [{"role": "user", "content": "who are you?"}]
    words = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf", dtype=torch.float32)
    asked = words.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    said = model.generate(**asked, max_new_tokens=12, do_sample=False)[0, asked["input_ids"].shape[1] :]
    wanted = words.decode(said, skip_special_tokens=True)
    greedy = ("--temperature", 0, "--new-tokens", 12)
    for place in (trained("chat"), tmp_path / "hf"):
        assert typed(place, "who are you?", *greedy).stdout.removesuffix("\n") == wanted
    assert (
        typed(tmp_path / "hf", "who are you?", *greedy, "--backend", "transformers").stdout.removesuffix("\n") == wanted
    )
    (tmp_path / "turns.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    assert json.loads(typed(trained("chat"), "--file", tmp_path / "turns.jsonl", *greedy).stdout)["text"] == wanted
    assert typed(trained("chat"), "who are you?", *greedy, "--plain").stdout.removesuffix("\n") != wanted


def test_a_conversation_goes_on_until_an_empty_line(typed, trained):
    done = typed(
        trained("chat"), "--chat", "--temperature", 0, "--new-tokens", 8, typed="hello\nand again\n\nnever asked\n"
    )
    first = typed(trained("chat"), "hello", "--temperature", 0, "--new-tokens", 8).stdout
    assert done.stdout.startswith(first) and done.stderr.count("> ") == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["text"], "it is not said what to go on with"),
        (["text", "one", "--chat"], "prompts of two kinds"),
        (["text", "--chat"], "was trained on no conversations"),
        (["text", "one", "--system", "be kind"], "no system's turn in plain text"),
        (["text", "one", "--new-tokens", "5000"], "leave no room for a prompt"),
        (["mood", "one"], "`curate predict`"),
        (["chat", "--file", "wrong.jsonl"], "prompt 1: the prompt ends with a turn of `assistant`"),
        (["text", "--file", "wrong.jsonl"], "prompt 1 is a conversation"),
        (["text", "--file", "empty.txt"], "there is no prompt in this file"),
        (["text", "--file", "gone.txt"], "there is no such file"),
        (["text", "--file", "other.jsonl"], "no column `prompt`"),
        (["text", "--file", "number.jsonl"], "has neither a text nor messages in `prompt`"),
        (["text", "--file", "latin.txt"], "no UTF-8 text: byte 4"),
    ],
)
def test_what_cannot_be_gone_on_with_is_told(typed, trained, project, words, said):
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    (project / "wrong.jsonl").write_text(json.dumps({"messages": turns}))
    (project / "empty.txt").write_text("\n\n")
    (project / "other.jsonl").write_text('{"question": "a"}')
    (project / "number.jsonl").write_text('{"prompt": {"a": 1}}')
    (project / "latin.txt").write_bytes(b"caf\xe9\n")
    error = typed(trained(words[0]), *words[1:], code=2).exception
    assert said in f"{error} {getattr(error, 'hint', '')}"


def test_a_prompt_that_is_too_long_loses_its_begin_and_is_counted(typed, trained):
    done = typed(trained("text"), "the cat " * 400, "--new-tokens", 4)
    assert "1 of 1 prompts were too long" in done.stderr


def test_a_model_without_a_tokenizer_is_named(typed, trained, tmp_path):
    shutil.copytree(trained("text"), tmp_path / "run")
    (tmp_path / "run" / "tokenizer.json").unlink()
    assert "tokenizer" in str(typed(tmp_path / "run", "a", code=2).exception)
