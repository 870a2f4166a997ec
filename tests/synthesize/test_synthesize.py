"""Documents that a model writes: each prompt is paid once, and what is no answer is named."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

import curate
from curate.errors import GateError, ResumableError
from tests.synthesize.stub import Stub

END = "which everybody who lives by the sea has heard of at least once."
DOCUMENTS = [
    {"id": f"d{number}", "text": f"Fact number {number} about tides and the moon, {END}"} for number in range(6)
]


def told(body):
    return body["messages"][-1]["content"]


def echo(body):
    return f"In other words: {told(body)[5:]}"


def test_every_document_gets_a_paraphrase_that_says_where_it_is_from(lab):
    lab.seeds(DOCUMENTS)
    with Stub(echo) as stub:
        result = lab.run(stub.url, task="paraphrase", temperature=0.5)
    assert result.documents["kept"] == 6
    row = next(row for row in lab.rows() if row["generated_from"] == "d3")
    assert row["text"] == f"In other words: number 3 about tides and the moon, {END}"
    assert (row["id"], row["generated_by"], row["generated_task"]) == ("paraphrase/d3/0", "stub-1", "paraphrase")
    assert json.loads(row["generated_parameters"]) == {"model": "m", "temperature": 0.5, "max_tokens": 1024}
    assert len(row["generated_prompt"]) == 64
    assert row["generated_at"].startswith("20")


def faults(number):
    """Two of ten fail, others ramble, break off or ask to wait; no prompt does so for ever."""
    return {3: "500", 5: "garbage", 7: "half", 9: "busy"}.get(number % 10)


def test_a_bad_endpoint_costs_tries_and_no_answer_and_a_rerun_asks_nobody(lab):
    lab.seeds(DOCUMENTS)
    with Stub(echo, faults) as stub:
        first = lab.run(stub.url, task="paraphrase", samples=3, seed=1)
        asked = len(stub.seen)
        again = lab.run(stub.url, task="paraphrase", samples=3, seed=1)
    assert first.documents["kept"] == 18
    assert again.version == first.version
    assert len(stub.seen) == asked > 18
    assert sum(stub.paid.values()) == 18


def test_another_threshold_or_another_fetch_of_the_same_asks_nobody_again(lab):
    lab.seeds(DOCUMENTS)
    with Stub(echo) as stub:
        lab.run(stub.url, task="paraphrase")
        assert lab.run(stub.url, task="paraphrase", max_copied=0.1).documents["quarantined"] == 6
        (lab.root / "made.lock").unlink()
        assert lab.run(stub.url, task="paraphrase").documents["kept"] == 6
        assert len(stub.seen) == 6
        (lab.root / "made.lock").unlink()
        assert lab.run(stub.url, task="paraphrase", samples=2).documents["kept"] == 12
        assert len(stub.seen) == 12
        (lab.root / "made.lock").unlink()
        lab.run(stub.url, task="paraphrase", temperature=0.1)
        assert len(stub.seen) == 18


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (("A text that", "length"), "cut_answer"), ("", "empty_answer"), (None, "empty_answer"),
        ("I'm sorry, but I can't help with that.", "refusal"),
    ],
)  # fmt: skip
def test_cut_empty_and_refusing_answers_are_quarantined(lab, said, reason):
    lab.seeds(DOCUMENTS[:1])
    with Stub(lambda body: said) as stub:
        assert lab.run(stub.url, task="paraphrase").documents == {"in": 1, "kept": 0, "dropped": 0, "quarantined": 1}
    assert lab.rejected() == {reason: 1}


def test_a_question_that_the_endpoint_refuses_is_quarantined_and_the_others_are_answered(lab):
    lab.seeds(DOCUMENTS[:3])
    with Stub(echo, lambda number: "400" if number == 1 else None) as stub:
        assert lab.run(stub.url, task="paraphrase", concurrency=1).documents["kept"] == 2
    assert lab.rejected() == {"endpoint_refused_400": 1}


def test_an_endpoint_that_answers_nothing_stops_the_fetch_and_the_same_command_goes_on(lab):
    lab.seeds(DOCUMENTS)
    down = [True]
    with Stub(echo, lambda number: "503" if down[0] else None) as stub:
        with pytest.raises(ResumableError, match="the endpoint answers none of 6 prompts"):
            lab.run(stub.url, task="paraphrase", tries=2)
        down[0] = False
        assert lab.run(stub.url, task="paraphrase", tries=2).documents["kept"] == 6


def test_the_budget_is_held_before_a_prompt_is_sent_and_a_larger_one_goes_on(lab):
    lab.seeds(DOCUMENTS)
    with Stub(echo) as stub:
        with pytest.raises(
            GateError, match=r"the budget does not reach for the next prompt: \d+ tokens read"
        ) as stopped:
            lab.run(stub.url, task="paraphrase", max_tokens=50, budget={"tokens": 850}, concurrency=2)
        assert stopped.value.exit_code == 3
        sent = len(stub.seen)
        assert 0 < sent < 6
        lab.run(stub.url, task="paraphrase", max_tokens=50, budget={"tokens": 100_000}, concurrency=2)
        assert len(stub.seen) == 6
        assert max(stub.paid.values()) == 1


def test_money_needs_prices_and_a_dry_run_tells_the_most_and_asks_nobody(lab, monkeypatch, capsys):
    from pydantic import ValidationError

    from curate.cli import main
    from curate.synthesize.source import Budget

    with pytest.raises(ValidationError, match="needs `read_price` and `write_price`"):
        Budget(money=1.0)
    with pytest.raises(ValueError, match="write_price"):  # what is written would be free to the budget
        Budget(money=1.0, read_price=1.0)
    lab.seeds(DOCUMENTS)
    with Stub(echo) as stub:
        budget = {"money": 0.001, "read_price": 2.0, "write_price": 8.0}
        path = lab.file(stub.url, task="paraphrase", max_tokens=100, budget=budget)
        monkeypatch.setattr(sys, "argv", ["curate", "collect", str(path), "--dry-run"])
        with pytest.raises(SystemExit) as done:
            main()
        assert done.value.code in (0, None)
        assert stub.seen == []
    said = capsys.readouterr().out
    assert "6 prompts, 0 of them answered before; at most" in said
    assert "600 to write, at most 0.00" in said
    assert "that is more than the budget" in said


def test_the_token_goes_to_the_endpoint_and_is_nowhere_else(lab, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "very-secret-token")
    lab.seeds(DOCUMENTS[:2])
    with Stub(echo) as stub:
        lab.run(stub.url, task="paraphrase", token_from="MY_TOKEN")
        assert {headers["Authorization"] for headers, _ in stub.seen} == {"Bearer very-secret-token"}
    held = [path for path in lab.root.rglob("*") if path.is_file() and b"very-secret-token" in path.read_bytes()]
    assert held == []


# ---- tasks


def test_questions_become_a_conversation_for_each_pair(lab):
    lab.seeds(DOCUMENTS[:1])
    pairs = {"pairs": [{"question": "What?", "answer": "Tides."}, {"question": "Why?", "answer": "The moon."}]}
    with Stub(lambda body: f"```json\n{json.dumps(pairs)}\n```") as stub:
        lab.run(stub.url, task="questions")
        assert stub.seen[0][1]["response_format"]["type"] == "json_schema"
    rows = lab.rows()
    assert [row["id"] for row in rows] == ["questions/d0/0.0", "questions/d0/0.1"]
    assert [turn["content"] for turn in json.loads(rows[1]["messages"])] == ["Why?", "The moon."]


@pytest.mark.parametrize("said", ["no json", "{}", '{"pairs": [{"question": 1, "answer": "x"}]}', '{"pairs": {}}'])
def test_an_answer_that_is_not_of_the_schema_is_quarantined(lab, said):
    lab.seeds(DOCUMENTS[:1])
    with Stub(lambda body: said) as stub:
        lab.run(stub.url, task="questions")
    assert lab.rejected() == {"bad_answer": 1}


def test_instructions_and_critiques_have_their_columns(lab):
    lab.seeds(DOCUMENTS[:1])
    with Stub(lambda body: '{"instruction": "Do", "response": "Done"}') as stub:
        lab.run(stub.url, task="instructions")
        assert [turn["content"] for turn in json.loads(lab.rows()[0]["messages"])] == ["Do", "Done"]
    (lab.root / "made.lock").unlink()
    with Stub(lambda body: '{"critique": "Too short", "revision": "Longer"}') as stub:
        lab.run(stub.url, task="critique")
    assert {name: lab.rows()[0][name] for name in ("text", "critique")} == {"text": "Longer", "critique": "Too short"}


def test_a_judge_is_asked_in_both_orders_and_one_who_prefers_a_place_is_not_believed(lab):
    lab.seeds([{"id": one, "prompt": one, "chosen": "bad", "rejected": "good"} for one in ("fair", "biased")])

    def judge(body):
        first = told(body).partition("First answer:\n")[2].startswith("good")
        return json.dumps({"better": "first" if "biased" in told(body) or first else "second"})

    with Stub(judge) as stub:
        lab.run(stub.url, task="judge", on="prompt")
        assert len(stub.seen) == 4
    (row,) = lab.rows()
    assert {name: row[name] for name in ("prompt", "chosen", "rejected", "judged")} == {
        "prompt": "fair", "chosen": "good", "rejected": "bad", "judged": "second",
    }  # fmt: skip
    assert lab.rejected() == {"disagreement": 1}


def test_a_template_of_ones_own_has_columns_and_a_schema(lab):
    lab.seeds([{"id": "a", "text": "x", "topic": "tides"}])
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    with Stub(lambda body: '{"n": 3}') as stub:
        lab.run(stub.url, task="template", prompt="About {{ topic }}: {{ text }}", response_schema=schema)
        assert told(stub.seen[0][1]) == "About tides: x"
    assert json.loads(lab.rows()[0]["answer"]) == {"n": 3}
    with pytest.raises(curate.CurateError, match="`seeds` has no column `subject`"):
        (lab.root / "made.lock").unlink()
        lab.run("http://127.0.0.1:9/v1", task="template", prompt="{{ subject }}")


def test_of_several_samples_the_first_that_the_verifier_accepts_stays(lab, monkeypatch):
    monkeypatch.syspath_prepend(str(lab.root))
    (lab.root / "checks_of_sums.py").write_text("def right(source, made):\n    return made['text'].endswith('4')\n")
    lab.seeds([{"id": "sum", "text": "2 + 2"}])
    with Stub(lambda body: str(body["seed"])) as stub:
        settings = {
            "task": "template",
            "prompt": "{{ text }}",
            "samples": 6,
            "seed": 2,
            "accept": "first",
            "concurrency": 1,
        }
        result = lab.run(stub.url, **settings, verifier="checks_of_sums:right")
        assert [body["seed"] for _, body in stub.seen] == [2, 3, 4, 5, 6, 7]
    assert [(row["text"], row["id"]) for row in lab.rows()] == [("4", "template/sum/2")]
    assert lab.rejected() == {"not_verified": 2}
    assert result.documents["kept"] == 1


def test_erasing_somebody_removes_the_answers_that_name_them(lab):
    lab.seeds([{"id": "a", "text": "Tides."}])
    with Stub(lambda body: "Jane Doe wrote of tides, jane.doe@example.com.") as stub:
        lab.run(stub.url, task="paraphrase")
    (lab.root / "subject.yaml").write_text("emails: [jane.doe@example.com]\n")
    command = [sys.executable, "-m", "curate.cli", "data", "erase", "--subject-file", "subject.yaml"]
    done = subprocess.run(command, cwd=lab.root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list((lab.root / ".curate" / "answers").rglob("*.json"))
    (row,) = lab.rows()
    assert row["text"] == "Jane Doe wrote of tides, <EMAIL>."


# ---- killed


@pytest.mark.slow
def test_after_kill_9_no_answered_prompt_is_paid_again(lab):
    lab.seeds([{"id": f"d{number}", "text": f"Fact {number}."} for number in range(40)])
    with Stub(echo, lambda number: {4: "500", 8: "busy"}.get(number % 10)) as stub:
        path = lab.file(stub.url, task="paraphrase", concurrency=4)
        command = [sys.executable, "-m", "curate.cli", "run", str(path), "--workers", "1"]
        for enough in (8, 20):
            process = subprocess.Popen(command, cwd=lab.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while sum(stub.paid.values()) < enough and process.poll() is None:
                time.sleep(0.005)
            stub.gate.clear()  # what is under way stays there
            answers = lab.root / ".curate" / "answers"
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            kept = {one.stem for one in answers.rglob("*.json")}
            assert len(kept) >= enough - 4
            stub.gate.set()
        before = sum(stub.paid.values())
        result = lab.run(stub.url, task="paraphrase", concurrency=4)
    assert result.documents["kept"] == 40
    assert len(stub.paid) == 40
    twice = sum(count - 1 for count in stub.paid.values())
    assert twice <= 2 * 4, "only what was under way at a kill may be asked again"
    assert sum(stub.paid.values()) - before <= 40 - len(kept) + 4, "those under way at the kill may be counted late"
