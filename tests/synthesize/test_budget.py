"""What is paid, and counted: each question once, every try that may cost something, and never more than the budget."""

import json

import pytest

import curate.endpoint
from curate.dataset.store import Store
from curate.errors import GateError, ResumableError
from curate.synthesize.ask import Asker, Budget, Prompt
from tests.synthesize.stub import Stub

ANSWER, PROMPT = 20, 100  # tokens that the stub says it counted


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(curate.endpoint, "time", type("", (), {"sleep": staticmethod(lambda seconds: None)}))
    return Store.open(tmp_path / "store", create=True)


def asker(store, stub, *, tries=3, **budget):
    parameters = {"model": "m", "temperature": 0.7, "max_tokens": 50}
    place = f"{stub.url}/chat/completions"
    return Asker(store, place, None, parameters, Budget(**budget), 1, 5.0, tries)


def prompts(*texts):
    return [Prompt(str(number), 0, [{"role": "user", "content": text}]) for number, text in enumerate(texts)]


def test_equal_prompts_are_asked_once_and_count_once(store):
    with Stub(lambda body: "one answer") as stub:
        asks = asker(store, stub)
        first = asks.answers(prompts("same", "same", "same"))
        again = asks.answers(prompts("same", "other"))
        assert len(stub.seen) == 2
    assert {answer.text for answer in (*first, *again)} == {"one answer"}
    assert (asks.budget.read, asks.budget.written) == (2 * PROMPT, 2 * ANSWER)


def test_answers_of_no_valid_form_count_by_their_usage_and_the_budget_ends_them(store):
    with Stub(lambda body: [{"type": "text", "text": "parts"}]) as stub:
        asks = asker(store, stub, tokens=400)
        with pytest.raises(GateError, match="the budget does not reach"):
            asks.answers(prompts(*map(str, range(40))))
        billed = len(stub.seen) * (PROMPT + ANSWER)
    assert asks.budget.read + asks.budget.written == billed <= 400


@pytest.mark.parametrize("fault", ["half", "garbage"])
def test_a_try_that_may_have_been_billed_counts_as_the_most_also_after_a_kill(store, fault):
    with Stub(lambda body: "well", lambda number: fault if number == 1 else None) as stub:
        asks = asker(store, stub)
        most = asks.most(prompts("a question")[0])
        asks.answers(prompts("a question"))
        assert (asks.budget.read, asks.budget.written) == (most[0] + PROMPT, most[1] + ANSWER)
        later = asker(store, stub)
        later.answers(prompts("a question"))
        assert later.budget == asks.budget
        assert len(stub.seen) == 2


def test_a_prompt_that_always_fails_stops_no_fetch_whose_others_were_answered_before(store):
    with Stub(lambda body: "well" if "good" in str(body) else None, lambda number: None) as stub:
        asker(store, stub).answers(prompts("good one"))
        stub.faults = lambda number: "500"
        found = asker(store, stub).answers(prompts("good one", "bad one"))
        assert [answer.problem for answer in found] == [None, "endpoint_failed"]
        with pytest.raises(ResumableError, match="answers none of 1 prompts"):
            asker(store, stub).answers(prompts("bad one"))


def test_an_endpoint_that_is_busy_or_away_stops_the_fetch_whatever_was_answered_before(store):
    with Stub(lambda body: "well") as stub:
        asker(store, stub).answers(prompts("good one"))
        stub.faults = lambda number: "503"
        with pytest.raises(ResumableError):
            asker(store, stub).answers(prompts("good one", "another"))
    with pytest.raises(ResumableError):
        asker(store, stub).answers(prompts("good one", "another"))


def test_an_estimate_counts_what_known_answers_cost_as_a_fetch_does(lab):
    lab.seeds([{"id": "a", "text": "Tides."}, {"id": "b", "text": "Tides."}, {"id": "c", "text": "Moons."}])
    with Stub(lambda body: "Of the sea.") as stub:
        lab.run(stub.url, task="paraphrase", limit=2)
        from curate.synthesize.source import Synthesize

        settings = json.loads(lab.file(stub.url, task="paraphrase", max_tokens=50).read_text())["sources"][0]
        given = {key: value for key, value in settings.items() if key not in ("stage", "id")}
        store = Store.open(lab.root / ".curate")
        said = Synthesize(**given, budget={"tokens": 10_000}).estimate(store)
        assert "3 prompts, 0 of them answered before;" in said  # other parameters
        given |= {"max_tokens": 1024, "budget": {"tokens": PROMPT + ANSWER + 1024}}
        said = Synthesize(**given).estimate(store)
    assert "3 prompts, 2 of them answered before (100 tokens read, 20 written); at most" in said
    assert said.endswith("that is more than the budget")
