"""Our trunk, transformers and a server give the same numbers; a server that does not is told of."""

from __future__ import annotations

import http.client
import json
import shutil

import numpy as np
import pytest

from curate.errors import CurateError, ResumableError
from curate.evaluation.models import endpoint
from curate.evaluation.models.endpoint import open_endpoint
from curate.evaluation.models.opened import open_model
from curate.evaluation.run import evaluate
from curate.evaluation.tasks.settings import ChoiceTask, GenerationTask, PerplexityTask
from tests.evaluation.language_model import llama_folder
from tests.evaluation.server import completions, serving

ROWS = [
    {"text": "The cat sat on the mat, and the dog lay by the door of the old house. " * (1 + number % 4), "question": q,
     "answers": ["yes", "no", "perhaps so"], "right": number % 3}
    for number, q in enumerate(["Is it", "Will she go", "Who \u00e9", "A", "Was he there at all in the end"] * 5)
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return llama_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def ours(folder):
    return open_model(str(folder), backend="ours")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(endpoint, "time", type("", (), {"sleep": staticmethod(lambda seconds: None)}))


def measured(model, folder):
    rows = folder / "rows.jsonl"
    folder.mkdir()
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    tasks = [
        PerplexityTask(name="texts", files=(str(rows),)),
        ChoiceTask(name="choice", files=(str(rows),), prompt="{{ question }}?", choices="answers", answer="right"),
        GenerationTask(
            name="answers", files=(str(rows),), prompt="{{ question }}?", answer="{{ answers[0] }}", most=12,
            metrics=("exact_match", "token_f1"), stop=("\n", "Z"),
        ),
    ]  # fmt: skip
    return evaluate(lambda: model, tasks, folder / "evaluation", store=None, samples=True, say=lambda words: None)


def test_three_ways_to_compute_a_model_give_the_same_numbers(folder, ours, tmp_path):
    by_trunk = measured(ours, tmp_path / "ours")
    by_transformers = measured(open_model(str(folder), backend="transformers"), tmp_path / "transformers")
    with serving(completions(ours), [{"id": "small", "max_model_len": 66}]) as url:
        by_server = measured(open_model(url, endpoint_tokenizer=str(folder)), tmp_path / "server")
    for other in (by_transformers, by_server):
        for task, metrics in by_trunk.result["tasks"].items():
            for name, one in metrics.items():
                assert other.result["tasks"][task][name]["value"] == pytest.approx(one["value"], abs=1e-4, rel=1e-5), (
                    task,
                    name,
                )
        for task in ("texts", "choice"):
            np.testing.assert_allclose(
                other.items(task).table["nats"].to_numpy(), by_trunk.items(task).table["nats"].to_numpy(), rtol=1e-5
            )
        written = [found.items("answers").table["generated"].to_pylist() for found in (by_trunk, other)]
        assert written[0] == written[1]
        assert other.items("choice").table["cut"].to_pylist() == by_trunk.items("choice").table["cut"].to_pylist()


def test_a_continuation_longer_than_the_context_costs_the_same_however_the_model_is_computed(folder, ours):
    pairs = [("Question?", " " + "word " * 40), ("Question?", " no")]
    wanted = ours.score(pairs)
    with serving(completions(ours), [{"id": "small", "max_model_len": 66}]) as url:
        for model in (open_model(str(folder), backend="transformers"), open_model(url, endpoint_tokenizer=str(folder))):
            for one, other in zip(model.score(pairs), wanted, strict=True):
                assert one.nats == pytest.approx(other.nats, rel=1e-5)
                assert (one.tokens, one.cut) == (other.tokens, other.cut)


def test_likeliest_continuations_are_known_however_the_model_is_computed(folder, ours):
    pairs = [(context, chr(letter)) for context in "abcdefgh" for letter in range(33, 127)]
    greedy = [one.greedy for one in ours.score(pairs)]
    assert 0 < sum(greedy) <= 8
    with serving(completions(ours)) as url:
        for model in (open_model(str(folder), backend="transformers"), open_endpoint(url, "a", tokenizer=str(folder))):
            assert [one.greedy for one in model.score(pairs)] == greedy


def test_a_family_that_our_trunks_do_not_know_is_computed_by_transformers(folder, tmp_path):
    import transformers

    config = transformers.BloomConfig(
        vocab_size=257, hidden_size=32, n_layer=2, n_head=2, bos_token_id=256, eos_token_id=256
    )
    transformers.BloomForCausalLM(config).save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    model = open_model(str(tmp_path), length=32)
    assert type(model).__name__ == "TransformersModel"
    alone = [model.complete([text], most=5)[0] for text in ("abc", "a longer one")]
    assert model.complete(["abc", "a longer one"], most=5) == alone  # padding changes nothing


@pytest.mark.parametrize(
    ("missing", "message"),
    [("tokenizer.json", "no tokenizer.json beside it"), ("model.safetensors", "transformers cannot load it")],
)
def test_a_folder_that_lacks_a_file_is_told_of(folder, tmp_path, missing, message):
    for path in folder.iterdir():
        if path.name != missing:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(CurateError, match=message):
        open_model(str(tmp_path), backend="transformers")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"choices": [{"index": 0, "text": "x"}]}, "ignores `echo` or `logprobs`"),
        ({"choices": [{"index": 0, "logprobs": {"token_logprobs": [-1.0]}}]}, "ignores `echo` or `logprobs`"),
        ({"choices": []}, "answers 0 of 1 prompts"),
        ({"object": "error"}, "is no completion"),
        (b"<html>", "is no JSON"),
    ],
)
def test_a_server_without_log_probabilities_of_prompts_is_told_of(folder, said, message):
    with serving(lambda headers, body: (200, said)) as url:
        model = open_endpoint(url, "small", tokenizer=str(folder))
        with pytest.raises(CurateError, match=message) as raised:
            model.score([("a", "b")])
    assert "vLLM" in raised.value.hint


@pytest.mark.parametrize("told", ["logprobs", "usage"])
def test_a_server_that_puts_a_token_before_prompts_is_told_of(folder, ours, told):
    answer = completions(ours)

    def begun(headers, body):
        status, said = answer(headers, {**body, "prompt": [[256, *prompt] for prompt in body["prompt"]]})
        if told == "usage":  # and makes no new token
            for choice in said["choices"]:
                choice["logprobs"] = {name: some[:-1] for name, some in choice["logprobs"].items()}
            said["usage"] = {"prompt_tokens": sum(len(prompt) + 1 for prompt in body["prompt"])}
        return status, said

    with serving(begun) as url, pytest.raises(CurateError, match="a token of its own before each prompt"):
        open_endpoint(url, "small", tokenizer=str(folder)).score([("a", "b"), ("which?", " yes")])


def test_a_server_may_tell_of_the_prompt_alone(folder, ours):
    answer = completions(ours)

    def bare(headers, body):
        status, said = answer(headers, body)
        for choice in said["choices"]:
            choice["logprobs"] = {name: some[:-1] for name, some in choice["logprobs"].items()}
        return status, {**said, "usage": {"prompt_tokens": sum(map(len, body["prompt"]))}}

    with serving(bare) as url:
        found = open_endpoint(url, "small", tokenizer=str(folder)).score([("a", "b")])
    assert found[0].nats == pytest.approx(ours.score([("a", "b")])[0].nats, abs=1e-4)


class Dripping:
    """A body that never ends, a byte a second."""

    length = 100

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now

    def read1(self, size):
        self.now += 1.0
        return b" "


def test_an_answer_that_drips_is_late(monkeypatch):
    body = Dripping()
    monkeypatch.setattr(endpoint, "monotonic", body.monotonic)
    with pytest.raises(TimeoutError):
        endpoint._whole(body, until=5.0)
    assert body.now == 6.0


def test_an_answer_that_breaks_off_is_not_taken_for_whole():
    class Broken(Dripping):
        def read1(self, size):
            return b""

    with pytest.raises(http.client.IncompleteRead):
        endpoint._whole(Broken(), until=float("inf"))


SPELLED = ["a <|endoftext|> b", "<|endoftext|>"]


def test_a_special_token_that_is_spelled_in_a_text_is_text_as_in_the_training(folder, ours):
    import transformers

    wanted = [list(text.encode()) for text in SPELLED]
    with serving(completions(ours), [{"id": "small", "max_model_len": 66}]) as url:
        for model in (
            ours, open_model(str(folder), backend="transformers"), open_model(url, endpoint_tokenizer=str(folder))
        ):  # fmt: skip
            found = model.read(SPELLED)
            assert [len(one.tokens) for one in found] == [len(text) for text in wanted]
            assert all(256 not in one.tokens for one in found)
            assert model.score([("", SPELLED[1])])[0].tokens == len(SPELLED[1])
    # transformers, and so lm-evaluation-harness, read the token
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    assert 256 in theirs(SPELLED[0], add_special_tokens=False).input_ids


def test_a_busy_server_is_asked_again(folder, ours):
    waiting = [429, 503, 500]
    answer = completions(ours)
    with serving(lambda *question: (waiting.pop(), {}) if waiting else answer(*question)) as url:
        found = open_endpoint(url, "small", tokenizer=str(folder)).score([("a", "b")])
    assert found[0].nats == pytest.approx(ours.score([("a", "b")])[0].nats, abs=1e-4)


def test_a_server_that_is_not_there_or_too_late_is_told_of_and_the_command_goes_on(folder, monkeypatch):
    monkeypatch.setattr(endpoint, "TRIES", 2)
    with pytest.raises(ResumableError, match="does not answer, 2 times"):
        open_endpoint("http://127.0.0.1:1/v1", "small")
    from threading import Event

    late = Event()
    with serving(lambda *question: (late.wait(20), (200, {}))[1]) as url:
        model = open_endpoint(url, "small")
        model.seconds = 0.05
        with pytest.raises(ResumableError, match=r"no answer within 0\.05 s"):
            model.complete(["a"], most=4)
        late.set()


def test_the_key_goes_to_the_server_and_into_no_message(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    seen = []

    def answer(headers, body):
        seen.append(headers["Authorization"])
        return 400, {"error": "bad key sk-secret"}

    with serving(answer) as url, pytest.raises(CurateError, match="refuses the question") as raised:
        open_endpoint(url, "small").complete(["a"], most=4)
    assert seen == ["Bearer sk-secret"] and "sk-secret" not in str(raised.value)


def test_options_of_a_server_are_checked(folder):
    with serving(lambda *question: (200, {}), [{"id": "one"}, {"id": "two"}]) as url:
        with pytest.raises(CurateError, match="which model of the server"):
            open_model(url)
        with pytest.raises(CurateError, match="has no model `three`"):
            open_model(url, endpoint_model="three")
        with pytest.raises(CurateError, match="tokenizer of the server's model is not known"):
            open_model(url, endpoint_model="one").read(["a"])
    with pytest.raises(CurateError, match="is no server"):
        open_model(str(folder), endpoint_model="one")


def test_numbers_that_are_not_finite_are_told_of(folder):
    told = {"token_logprobs": [None, float("nan"), -1.0], "top_logprobs": [None, {}, {}]}
    with serving(lambda *question: (200, {"choices": [{"index": 0, "logprobs": told}]})) as url:
        model = open_endpoint(url, "small", tokenizer=str(folder))
        with pytest.raises(CurateError, match="not finite"):
            model.score([("a", "b")])


@pytest.mark.parametrize("says", ["tokenizer_config.json", "config.json"])
def test_tokens_of_a_folder_are_those_that_its_files_name(folder, ours, tmp_path, says):
    shutil.copytree(folder, tmp_path / "model")
    path = tmp_path / "model" / "tokenizer.json"
    words = json.loads(path.read_text())
    words["added_tokens"] = []
    words["model"]["vocab"]["<|the end|>"] = 256
    path.write_text(json.dumps(words))
    names = (
        {"eos_token": {"content": "<|the end|>"}, "bos_token": "<|the end|>"} if says == "tokenizer_config.json" else {}
    )
    (tmp_path / "model" / "tokenizer_config.json").write_text(json.dumps(names))
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    if says == "tokenizer_config.json":
        config = {name: value for name, value in config.items() if not name.endswith("_token_id")}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    model = open_model(str(tmp_path / "model"), backend="ours")
    assert (model.prefix, model.end) == (ours.prefix, ours.end) == (256, {256})
    assert model.score([("Is it", " yes")])[0].nats == pytest.approx(ours.score([("Is it", " yes")])[0].nats)


def test_a_folder_that_names_no_end_of_text_says_where_it_would(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "model")
    words = json.loads((tmp_path / "model" / "tokenizer.json").read_text())
    words["added_tokens"] = []
    (tmp_path / "model" / "tokenizer.json").write_text(json.dumps(words))
    (tmp_path / "model" / "tokenizer_config.json").write_text("{}")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(
        json.dumps({name: value for name, value in config.items() if not name.endswith("_token_id")})
    )
    with pytest.raises(CurateError, match="no token that ends a text") as error:
        open_model(str(tmp_path / "model"), backend="ours")
    assert error.value.where.endswith("tokenizer_config.json") and "`eos_token` there" in error.value.hint
