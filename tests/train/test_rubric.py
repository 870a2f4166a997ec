"""A model behind an endpoint grades completions: a real one, which says what a test has it say."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from curate import endpoint
from curate.errors import CurateError
from curate.train.rewards.completion import Completion
from curate.train.rewards.judges import Judges
from curate.train.rewards.rubric import Scores, load_rubric, score_in
from curate.train.settings.rewards import RewardLimits, RubricReward


@pytest.fixture
def model(monkeypatch):
    """An endpoint: what it was asked, and what it says, the last for ever."""
    asked, said = [], []
    monkeypatch.setattr(endpoint, "time", type("", (), {"sleep": staticmethod(lambda seconds: None)}))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            answer = said.pop(0) if len(said) > 1 else said[0]
            content = json.dumps({"choices": [{"message": {"content": answer}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *words):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1", asked, said
        server.shutdown()
        thread.join()


def rubric(url, **settings):
    return RubricReward(endpoint=url, model="large", rubric="Is it polite?", **settings)


def of(completion):
    return Completion("Say it.", completion, "please", {}, 0, True)


def test_the_grade_becomes_a_share_of_the_highest(model):
    url, asked, said = model
    said.append('It is {"score": 3}')
    assert load_rubric(rubric(url, highest=4), None)(of("Please.")) == 0.75
    (body,) = asked
    assert (body["model"], body["temperature"]) == ("large", 0)
    assert "Is it polite?" in body["messages"][0]["content"]
    assert json.loads(body["messages"][1]["content"]) == {
        "prompt": "Say it.",
        "completion": "Please.",
        "answer": "please",
    }


def test_what_was_graded_once_is_not_asked_again_by_any_process(model, tmp_path):
    url, asked, said = model
    said += ['{"score": 7}', '{"score": 1}']
    first, second = (load_rubric(rubric(url), tmp_path) for _ in range(2))
    assert [first(of("a")), second(of("a")), first(of("a"))] == [0.7, 0.7, 0.7]
    assert second(of("b")) == 0.1
    assert len(asked) == 2
    assert "Say it" not in (tmp_path / "scores.jsonl").read_text()


def test_another_rubric_or_scale_is_another_question(model, tmp_path):
    url, asked, said = model
    said.append('{"score": 1}')
    for settings in (rubric(url), rubric(url, highest=5), rubric(url).model_copy(update={"rubric": "Is it short?"})):
        load_rubric(settings, tmp_path)(of("a"))
    assert len(asked) == 3


def test_the_first_score_counts_where_two_processes_asked_at_once(tmp_path):
    one, other = Scores(tmp_path), Scores(tmp_path)
    one.put("key", 3)
    other.put("key", 4)
    assert (one.get("key"), other.get("key"), Scores(tmp_path).get("key")) == (3, 3, 3)


@pytest.mark.parametrize(
    "torn", [b'{"key": "a", "sc', b'{"key"', b"[1]\n", b"\n", b"\xff\n", b'{"key": 1, "score": 2}\n']
)
def test_a_line_that_was_cut_short_costs_its_own_score_alone(tmp_path, torn):
    Scores(tmp_path).put("before", 1)
    with (tmp_path / "scores.jsonl").open("ab") as stream:
        stream.write(torn)
    one = Scores(tmp_path)
    assert (one.get("before"), one.get("a")) == (1, None)
    one.put("a", 4)
    assert (one.get("a"), Scores(tmp_path).get("a"), Scores(tmp_path).get("before")) == (4, 4, 1)


def test_a_line_that_another_process_is_still_writing_is_read_once_it_is_whole(tmp_path):
    one, file = Scores(tmp_path), tmp_path / "scores.jsonl"
    file.write_bytes(b'{"key": "a", "score": 4}')
    assert one.get("a") is None
    with file.open("ab") as stream:
        stream.write(b"\n")
    assert one.get("a") == 4


@pytest.mark.parametrize(
    "said", ["", "7", '{"grade": 7}', '{"score": 11}', '{"score": -1}', '{"score": true}', '{"score": "7"}']
)
def test_what_is_no_score_fails(said):
    with pytest.raises(CurateError, match="the judge gave no score"):
        score_in(said, 10)


def test_a_url_that_is_none_is_refused():
    with pytest.raises(CurateError, match="is no endpoint"):
        load_rubric(rubric("http://user:secret@host/v1"), None)


@pytest.mark.slow
def test_a_judge_that_says_nothing_of_use_costs_one_completion(model, tmp_path):
    url, _, said = model
    said += ['{"score": 10}', "no", '{"score": 5}']
    with Judges([rubric(url)], RewardLimits(), folder=tmp_path) as judges:
        found = [one for (one,) in judges([of("a"), of("b"), of("c")], range(3))]
    assert [one.value for one in found] == [1.0, None, 0.5]
    assert found[1].problem == "the judge gave no score"
