"""What OpenAI's own client is told."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import httpx
import openai
import pytest
import torch

from curate.evaluation.generate import Speaker
from curate.evaluation.models.generation import Sampling
from curate.evaluation.models.opened import open_model
from curate.evaluation.tasks.chat import chat_template
from curate.serve.answers import Words
from tests.serve.conftest import asking, post, serving, until

SAID = "hello there"
TALK = [{"role": "user", "content": "how are you"}]


def ask(client, prompt=SAID, **how):
    return client.completions.create(model="small", prompt=prompt, **{"temperature": 0, "max_tokens": 24, **how})


def test_the_model_is_listed_with_what_it_reads(client):
    [card] = client.models.list().data
    assert (card.id, card.owned_by, card.max_model_len) == ("small", "curate", 256)
    assert client.models.retrieve("small").id == "small"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


def test_a_completion_is_what_the_model_says_elsewhere(client, model):
    [choice], usage = (found := ask(client)).choices, found.usage
    [own] = model.complete([SAID], most=24)
    assert (choice.text, choice.finish_reason) == (own.text, own.finish)
    assert (usage.prompt_tokens, usage.completion_tokens) == (len(SAID), own.tokens)
    assert ask(client, model.encode([SAID])[0]).choices[0].text == own.text
    [drawn] = model.complete([SAID], most=24, temperature=1.0, seed=5)
    assert ask(client, temperature=1, seed=5).choices[0].text == drawn.text
    assert ask(client, temperature=1e-300).choices[0].text == own.text


def test_the_pieces_of_a_stream_make_the_text_and_end_with_the_usage(client):
    *pieces, last = ask(client, stream=True, stream_options={"include_usage": True})
    whole = ask(client)
    assert "".join(one.choices[0].text for one in pieces) == whole.choices[0].text
    assert len(pieces) > 3 and pieces[-1].choices[0].finish_reason == "length"
    assert (last.choices, last.usage.completion_tokens) == ([], whole.usage.completion_tokens)


def test_a_seed_gives_the_same_text_alone_and_in_company_and_none_another_one(client):
    [first] = ask(client, temperature=1, seed=5).choices
    listed = ask(client, ["other", SAID, "x" * 50], temperature=1, seed=5).choices
    assert [one.index for one in listed] == [0, 1, 2]
    assert listed[1].text == first.text
    assert ask(client, temperature=1, seed=6).choices[0].text != first.text
    assert ask(client, temperature=1).choices[0].text != ask(client, temperature=1).choices[0].text


def test_several_texts_for_a_prompt_are_the_same_few_for_a_seed(client):
    found = [one.text for one in ask(client, temperature=1, seed=5, n=3).choices]
    assert len(set(found)) == 3 and found[0] == ask(client, temperature=1, seed=5).choices[0].text
    streamed = ["", "", ""]
    for event in ask(client, temperature=1, seed=5, n=3, stream=True):
        streamed[event.choices[0].index] += event.choices[0].text
    assert streamed == found


def test_top_k_of_one_and_a_narrow_top_p_are_the_likeliest_tokens(client):
    likeliest = ask(client).choices[0].text
    assert ask(client, temperature=2, extra_body={"top_k": 1}).choices[0].text == likeliest
    assert ask(client, temperature=2, top_p=1e-6).choices[0].text == likeliest
    assert ask(client, temperature=2, extra_body={"min_p": 1.0}).choices[0].text == likeliest


def test_a_text_ends_before_its_stop_string_streamed_or_not(client):
    whole = ask(client).choices[0].text
    stop = whole[5:8]
    [choice] = ask(client, stop=[stop, "never said"]).choices
    assert (choice.text, choice.finish_reason) == (whole[: whole.index(stop)], "stop")
    assert "".join(one.choices[0].text for one in ask(client, stop=stop, stream=True)) == choice.text


def test_log_probabilities_are_the_models_own(client, model):
    tokens = model.encode([SAID])[0]
    found = ask(client, logprobs=3, echo=True, max_tokens=4).choices[0]
    told, written = found.logprobs, found.logprobs.token_logprobs[len(tokens) :]
    with torch.inference_mode():
        logs = model.logits(model.states(torch.tensor([tokens]))[0]).double().log_softmax(-1)
    wanted = [float(logs[place, token]) for place, token in enumerate(tokens[1:])]
    assert told.token_logprobs[0] is None and len(written) == 4
    assert told.token_logprobs[1 : len(tokens)] == pytest.approx(wanted, abs=1e-4)
    assert max(told.top_logprobs[1].values()) == pytest.approx(float(logs[0].max()), abs=1e-4)
    assert all(3 <= len(one) <= 4 for one in told.top_logprobs[1:])
    assert told.tokens[: len(SAID)] == list(SAID) and told.text_offset[: len(SAID)] == list(range(len(SAID)))
    assert written[0] == pytest.approx(float(logs[-1].max()), abs=1e-4)


def test_echo_gives_the_prompt_back_and_without_new_tokens_scores_it_alone(client):
    assert ask(client, echo=True).choices[0].text == SAID + ask(client).choices[0].text
    streamed = "".join(one.choices[0].text for one in ask(client, echo=True, stream=True))
    assert streamed == SAID + ask(client).choices[0].text
    found = ask(client, echo=True, logprobs=0, max_tokens=0)
    assert (found.choices[0].text, found.usage.completion_tokens) == (SAID, 0)
    assert len(found.choices[0].logprobs.token_logprobs) == len(SAID)


def test_special_tokens_of_an_echoed_prompt_are_text_in_offsets_too(client, model):
    end = model.tokenizer.id_to_token(model.prefix)
    found = ask(client, [model.prefix, 65, 66], echo=True, logprobs=0, max_tokens=1).choices[0]
    shown = model.tokenizer.decode([model.prefix, 65, 66], skip_special_tokens=False)
    assert shown.startswith(end) and found.text.startswith(shown)
    assert found.logprobs.text_offset == [0, len(end), len(end) + 1, len(end) + 2]
    empty = ask(client, "", echo=True, logprobs=0, max_tokens=1).choices[0]
    assert (len(empty.logprobs.tokens), empty.logprobs.text_offset) == (1, [0])


def test_a_token_is_made_bytes_once_however_often_it_is_told(model):
    asked = list[int]()

    class Asked:
        def __getattr__(self, name):
            return getattr(model.tokenizer, name)

        def id_to_token(self, token):
            asked.append(token)
            return model.tokenizer.id_to_token(token)

    words = Words(Asked())
    assert [words.text(one) for one in [65, 66] * 50] == [model.tokenizer.decode([one]) for one in [65, 66] * 50]
    assert words.content(65) == words.text(65).encode() and asked == [65, 66]


def test_ignore_eos_writes_on(client):
    found = ask(client, max_tokens=200, extra_body={"ignore_eos": True})
    assert (found.usage.completion_tokens, found.choices[0].finish_reason) == (200, "length")


# ---- a model of conversations


@pytest.fixture(scope="module")
def talking(trained, request):
    """A server of a model that was trained on conversations, its client and what it says elsewhere."""
    model = open_model(str(trained("chat")))
    with serving(model, chat_template(model), name="chat") as server, asking(server) as client:
        speaker = Speaker.of(model, plain=False, system=None, most=12, stop=[], sampling=Sampling())
        yield client, speaker


def talk(client, messages=TALK, **how):
    return client.chat.completions.create(
        model="chat", messages=messages, **{"temperature": 0, "max_completion_tokens": 12, **how}
    )


def test_a_chat_is_answered_as_curate_generate_answers_it(talking):
    client, speaker = talking
    found = talk(client)
    [own] = speaker.say(speaker.encode([TALK]))
    assert (found.choices[0].message.content, found.choices[0].finish_reason) == (own.text, own.finish)
    assert found.choices[0].message.role == "assistant"
    assert found.usage.prompt_tokens == len(speaker.encode([TALK])[0])
    parts = [{"role": "user", "content": [{"type": "text", "text": "how are "}, {"type": "text", "text": "you"}]}]
    assert talk(client, parts).choices[0].message.content == own.text


def test_a_chat_streams_who_speaks_then_what_and_its_scores(talking):
    client, _ = talking
    whole = talk(client, logprobs=True, top_logprobs=2)
    events = list(talk(client, stream=True, logprobs=True, top_logprobs=2))
    assert events[0].choices[0].delta.role == "assistant"
    assert "".join(one.choices[0].delta.content or "" for one in events) == whole.choices[0].message.content
    scored = [token for one in events if one.choices[0].logprobs for token in one.choices[0].logprobs.content]
    assert [one.token for one in scored] == [one.token for one in whole.choices[0].logprobs.content]
    assert scored[0].logprob == max(one.logprob for one in scored[0].top_logprobs)
    assert bytes(scored[0].bytes).decode("utf-8", "replace") == scored[0].token or "bytes:" in scored[0].token


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([{"role": "assistant", "content": "yes"}], "the prompt ends with a turn of `assistant`"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], "parts that are no text"),
        ([{"role": "wizard", "content": "x"}], "the role `wizard`; each message has a `role` that"),
        ([{"role": "wizard" * 10_000, "content": "x"}], "message 1 has no `role` of at most 40 characters"),
        ([{"role": "user", "content": "x" * 1_000_000}], "more than can be as few"),
        ([{"role": "user", "content": "x"}] * 1_000, "more than can be as few"),
        ([{"role": "user"}], "message 1 has no text in `content`"),
    ],
)
def test_a_conversation_that_is_none_is_refused(talking, messages, words):
    with pytest.raises(openai.BadRequestError, match=words) as error:
        talk(talking[0], messages)
    assert len(error.value.message) < 600 and "leave" not in error.value.message


def test_a_model_without_a_template_that_is_asked_to_chat_says_what_to_do(client):
    with pytest.raises(openai.BadRequestError, match=r"no chat template.*ask /v1/completions") as error:
        client.chat.completions.create(model="small", messages=TALK)
    assert (error.value.code, error.value.param) == ("no_chat_template", "messages")


# ---- models with a head


@pytest.fixture(scope="module")
def moody(trained):
    from curate.evaluation.predict import open_predictor

    model = open_predictor(str(trained("mood")))
    with serving(model, name="mood") as server:
        yield server, model


def test_classes_are_those_of_curate_predict(moody):
    from curate.evaluation.predict import predicted

    server, model = moody
    texts = ["a good day", "bad", "what a long text this is"]
    rows = [{"id": str(number), "text": one} for number, one in enumerate(texts)]
    own = list(predicted(model, rows, text="text"))
    found = post(server, "classify", {"model": "mood", "input": texts}).json()
    assert [one["label"] for one in found["data"]] == [one["label"] for one in own]
    for one, other in zip(found["data"], own, strict=True):
        assert one["probs"] == pytest.approx(list(other["probabilities"].values()), abs=1e-5)
        assert one["num_classes"] == len(model.labels)
    assert found["usage"]["prompt_tokens"] == sum(map(len, model.encode(texts)))


def test_embeddings_have_the_direction_of_curate_predicts_and_length_1(moody):
    import numpy as np

    server, model = moody
    with asking(server) as client:
        packed = client.embeddings.create(model="mood", input=["a good day", "bad"])  # base64, as the client asks
        plain = client.embeddings.create(model="mood", input="bad", encoding_format="float")
    own = model.embed(["a good day", "bad"], None)[0]
    for one, other in zip(packed.data, own, strict=True):
        assert np.array(one.embedding) == pytest.approx(other / np.linalg.norm(other), abs=1e-5)
    assert plain.data[0].embedding == pytest.approx(packed.data[1].embedding, abs=1e-5)


def test_an_encoder_embeds_and_tells_no_classes(trained):
    model = open_model(str(trained("hidden")), encoders=True)
    with serving(model, name="hidden") as server, asking(server) as client:
        found = client.embeddings.create(model="hidden", input=["one text", "one text", "another"])
        first, again, other = (one.embedding for one in found.data)
        assert first == pytest.approx(again, abs=1e-6) and first != pytest.approx(other, abs=1e-3)
        assert sum(one * one for one in first) == pytest.approx(1)
        assert "no classification head" in post(server, "classify", {"input": "x"}).json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"input": "x " * 200}, "reads 32 tokens"),
        ({"input": []}, "`input` has no text"),
        ({"input": ["a", ""]}, "`input` has an empty text"),
        ({"input": ["a", ["b", "c"]]}, "texts and pairs of texts"),
        ({"input": "a", "encoding_format": "hex"}, "`encoding_format` is one of: float, base64"),
        ({"input": "a", "dimensions": 4}, "`dimensions` is not done"),
        ({"input": ["a"] * 200}, "at most 128 texts"),
    ],
)
def test_what_a_head_cannot_read_is_refused(moody, body, words):
    answer = post(moody[0], "embeddings", body)
    assert (answer.status_code, words in answer.json()["error"]["message"]) == (400, True), answer.text


def test_texts_for_a_head_wait_no_longer_than_a_request_may_and_leave_with_their_clients(moody):
    gate, model = Event(), copy.copy(moody[1])
    model.read = lambda *given: gate.wait() and moody[1].read(*given)
    body = {"input": ["a good day", "bad"]}
    with serving(model, name="mood", queue=2, seconds=0.3) as server, ThreadPoolExecutor(2) as pool:
        work = server.service.work
        try:
            first = pool.submit(post, server, "classify", body)
            until(work._turn.locked)
            assert work.waiting == 0 and httpx.get(f"{server.url[:-3]}/ready").status_code == 200
            second = pool.submit(post, server, "classify", body)
            until(lambda: work.waiting == 2)
            assert post(server, "classify", body).status_code == 429
            assert second.result().status_code == 503 and "waited too long" in second.result().text
            with pytest.raises(httpx.TimeoutException):
                httpx.post(f"{server.url}/classify", json=body, timeout=0.05)
            until(lambda: work.waiting == 0)
            work.drain(0)
            assert "the server is ending" in post(server, "classify", body).text
        finally:
            gate.set()
        assert first.result().status_code == 200


def test_a_model_of_the_other_kind_says_where_to_ask(moody, client, server):
    assert "it has a head" in post(moody[0], "completions", {"prompt": "x"}).json()["error"]["message"]
    with pytest.raises(openai.BadRequestError, match="serve an encoder"):
        client.embeddings.create(model="small", input="x")
    assert "no classification head" in post(server, "classify", {"input": "x"}).json()["error"]["message"]
