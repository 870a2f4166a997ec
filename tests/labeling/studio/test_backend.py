"""Predictions while people work: the protocol, and a real Label Studio that asks."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request

import pytest

from curate.errors import CurateError
from curate.labeling.studio.backend import Model, register, serving
from curate.labeling.studio.client import find_project
from curate.labeling.studio.interface import studio_task
from curate.labeling.values import shown


def model(version="v1", value="spam") -> Model:
    return Model(version, lambda documents: [(value, 0.9)] * len(documents))


def ask(url, body=None, raw=None):
    content = raw if raw is not None else None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, content)) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def never(id, digest) -> bool:
    return False


def test_the_protocol(make_task):
    task = make_task()
    trained = threading.Event()
    tasks = [studio_task(task, id, "0" * 64, 1, {"text": id}) for id in ("a", "b")]
    with serving(
        task, model(), train=lambda: model("v2"), blind=lambda id, digest: id == "b", say=lambda text: trained.set()
    ) as url:
        assert ask(f"{url}/health") == (200, {"status": "UP", "model_class": "curate"})
        assert ask(f"{url}/setup", {"project": "1", "access_token": "x"}) == (200, {"model_version": "v1"})
        _, found = ask(f"{url}/predict", {"tasks": [*tasks, {"data": {}}, None]})
        value = {"choices": ["spam"]}
        result = [{"id": "answer0", "from_name": "answer", "to_name": "text", "type": "choices", "value": value}]
        assert found["results"] == [[{"result": result, "score": 0.9, "model_version": "v1"}], [], [], []]
        assert ask(f"{url}/webhook", {"action": "ANNOTATION_CREATED"}) == (200, {})
        assert ask(f"{url}/webhook", {"action": "START_TRAINING"}) == (200, {})
        assert trained.wait(60)
        assert ask(f"{url}/versions")[1] == {"versions": ["v1", "v2"]}
        assert ask(f"{url}/predict", {"tasks": tasks})[1]["results"][0][0]["model_version"] == "v2"
        assert [ask(f"{url}/{path}", {})[0] for path in ("other", "setup")] == [404, 200]
        assert [ask(f"{url}/predict", raw=raw)[0] for raw in (b"{", b"[]")] == [400, 400]


def test_sides_and_context_come_to_the_model_as_the_document_has_them(make_task):
    task = make_task("preference", context=["topic"])
    document = {"chosen": "c", "rejected": "r", "topic": "t"}
    seen = []

    def predict(documents):
        seen.extend(documents)
        return [("first", None)] * len(documents)

    data = shown(task, document)
    with serving(task, Model("v", predict), train=model, blind=never) as url:
        tasks = [studio_task(task, "a", digest * 64, 1, data) for digest in ("0", "1")]
        _, found = ask(f"{url}/predict", {"tasks": tasks})
    assert seen == [data, data]
    assert [one[0]["result"][0]["value"]["choices"] for one in found["results"]] == [["left"], ["right"]]


def test_an_answer_that_does_not_fit_is_an_error_and_nothing_else(make_task):
    said = []
    task = make_task()
    with serving(task, model(value="nope"), train=model, blind=never, say=said.append) as url:
        tasks = [studio_task(task, "a", "0" * 64, 1, {"text": "a"})]
        assert ask(f"{url}/predict", {"tasks": tasks})[0] == 500
    assert "`nope` is no label" in said[0]


def test_training_that_fails_keeps_the_model(make_task):
    said, done = [], threading.Event()

    def train():
        raise CurateError("too few labels")

    def say(text):
        said.append(text)
        done.set()

    with serving(make_task(), model(), train=train, blind=never, say=say) as url:
        ask(f"{url}/webhook", {"action": "START_TRAINING"})
        assert done.wait(60)
        assert ask(f"{url}/setup", {})[1] == {"model_version": "v1"}
    assert said == ["not trained: too few labels"]


def test_a_port_that_is_taken_is_named(make_task):
    with serving(make_task(), model(), train=model, blind=never) as url:
        port = int(url.rpartition(":")[2])
        with (
            pytest.raises(CurateError, match=f"port {port} is taken"),
            serving(make_task(), model(), train=model, blind=never, port=port),
        ):
            pass


@pytest.mark.slow
def test_label_studio_asks_the_model_but_not_for_blind_items(world):
    one = world()
    one.push(items=one.round(["d0", "d1"]) + one.round(["d2"], round=2, role="audit", blind=True))
    project, trained = find_project(one.client, one.task), threading.Event()
    with serving(
        one.task,
        model(),
        train=lambda: model("v2"),
        blind=lambda id, digest: id == "d2",
        say=lambda text: trained.set(),
    ) as url:
        number = register(one.client, project, url)
        assert register(one.client, project, url) != number
        one.client.api.actions.create(
            id="retrieve_tasks_predictions", project=project.number, selected_items={"all": True, "excluded": []}
        )
        found = {id: [(row.model_version, row.score) for row in task.predictions] for id, task in one.tasks().items()}
        assert found == {"d0": [("v1", 0.9)], "d1": [("v1", 0.9)], "d2": []}
        [backend] = one.client.api.ml.list(project=project.number)
        one.client.api.ml.train(id=backend.id)
        assert trained.wait(60)
