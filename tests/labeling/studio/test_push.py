"""Pushing to a real Label Studio."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from curate.errors import CurateError, ResumableError
from curate.labeling.studio.client import connect, find_project
from curate.labeling.studio.push import delete_tasks, push
from tests.labeling.studio.conftest import choice

pytestmark = pytest.mark.slow


def test_pushing_twice_adds_nothing(world):
    one = world()
    suggested = one.suggest({"d0": "ham", "d1": "spam"})
    first, second = one.push(suggested), one.push(suggested)
    assert (first.tasks, first.predictions, first.there) == (4, 2, 0)
    assert (second.tasks, second.predictions, second.there) == (0, 0, 4)


def test_two_pushes_at_one_moment_leave_one_project_and_each_task_once(world, studio):
    one = world(count=40)
    start = Barrier(2)

    def pushed(_):
        with connect(studio.url, studio.token) as mine:
            start.wait()
            return one.push(client=mine)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(pushed, range(2)))
    assert len(one.tasks()) == 40  # which asserts that each stands there once
    assert projects(one) == 1
    assert one.push().tasks == 0


def test_a_project_that_label_studio_makes_twice_is_one(world, monkeypatch):
    one = world()
    create = one.client.api.projects.create

    def twice(**given):  # as it does by itself where its database is locked at the wrong moment
        create(**given)
        return create(**given)

    monkeypatch.setattr(one.client.api.projects, "create", twice)
    one.push()
    assert projects(one) == 1
    assert len(one.tasks()) == 4


def projects(one) -> int:
    described = [project.description for project in one.client.api.projects.list(include="id,description")]
    return sum(f'"task":"{one.task.name}"' in text.replace(" ", "") for text in described)


def test_a_second_round_adds_what_is_new_and_asks_more_people(world):
    one = world()
    one.push()
    again = one.round(["d1"], round=2, role="review", annotators=3)
    items = one.round(["d0", "d1", "d2", "d3"]) + again
    pushed = one.push(items=items)
    assert (pushed.tasks, pushed.overlaps) == (0, 1)
    assert {id: task.overlap for id, task in one.tasks().items()} == {"d0": 1, "d1": 3, "d2": 1, "d3": 1}
    assert one.push(items=items).overlaps == 0


def test_tasks_stand_in_the_order_of_their_round(world):
    one = world()
    one.push(items=one.round(["d2", "d0", "d3", "d1"]))
    assert [task.meta["document"] for task in sorted(one.tasks().values(), key=lambda task: task.id)] == [
        "d2", "d0", "d3", "d1",
    ]  # fmt: skip


def test_predictions_come_later_and_those_of_the_last_model_are_shown(world):
    one = world()
    one.push(one.suggest({"d0": "ham"}))
    pushed = one.push(one.suggest({"d0": "ham", "d1": "ham"}, model="model-2"))
    assert (pushed.tasks, pushed.predictions) == (0, 2)
    project = one.client.api.projects.get(id=one.number)
    assert project.model_version == "model-2"
    shown = one.client.api.predictions.list(task=one.tasks()["d0"].id)
    assert {(row.model_version, row.score) for row in shown} == {("model-1", 0.75), ("model-2", 0.75)}


def test_blind_items_have_no_prediction(world):
    one = world()
    items = one.round(["d0", "d1"]) + one.round(["d2", "d3"], round=2, role="audit", blind=True)
    pushed = one.push(one.suggest({"d0": "ham", "d2": "ham"}), items=items)
    assert (pushed.predictions, pushed.blind) == (1, 1)
    assert [len(one.tasks()[id].predictions) for id in ("d0", "d2")] == [1, 0]


def test_an_item_that_becomes_blind_loses_its_prediction(world):
    one = world()
    suggested = one.suggest({"d0": "ham", "d1": "ham"})
    one.push(suggested)
    pushed = one.push(suggested, items=one.items + one.round(["d0"], round=2, role="audit", blind=True))
    assert (pushed.removed, pushed.blind) == (1, 1)
    assert [len(one.tasks()[id].predictions) for id in ("d0", "d1")] == [0, 1]


def test_a_suggestion_that_does_not_fit_stops_the_push_before_anything_is_sent(world):
    one = world()
    with pytest.raises(CurateError, match="`nope` is no label of the task"):
        one.push(one.suggest({"d0": "ham", "d1": "nope"}))
    assert find_project(one.client, one.task) is None


def test_odd_texts_are_pushed_as_they_are(world):
    texts = ["", "x" * 1_000_000, "<View><Text value='$text'/></View>", "$text ${text} \x00 \u202e", "s3://bucket/key"]
    one = world(documents={f"d{place}": {"text": text} for place, text in enumerate(texts)})
    assert one.push().tasks == len(texts)
    assert [one.tasks()[id].data["text"] for id in one.documents] == texts


@pytest.mark.parametrize("kind", ["classification", "multilabel", "spans", "preference", "answer", "rating", "rewrite"])
def test_label_studio_takes_the_configuration_of_every_kind(world, kind):
    turns = [{"role": "user", "content": "a <b>"}, {"role": "assistant", "content": ""}]
    document = {"text": "t", "prompt": "p", "chosen": "c", "rejected": "r", "messages": turns}
    assert world(kind, documents={"d0": document}).push().tasks == 1


def test_names_of_two_and_forty_letters_make_a_title(world):
    for name in ("ab", "a" * 40):
        one = world(count=1, task=name)
        one.push()
        assert one.client.api.projects.get(id=one.number).title == f"curate: {name}"


def test_a_document_that_is_not_known_stops_the_push(world):
    one = world()
    with pytest.raises(CurateError, match="what is shown of 1 documents is not known, of `d0`"):
        push(one.client, one.task, one.items, {id: one.shown[id] for id in ("d1", "d2", "d3")})


def test_labels_of_the_task_can_be_added_and_taken_away(world):
    one = world()
    one.push()
    one.answer("d0", choice("spam"))
    for labels, outside in ((["ham", "spam", "other"], 0), (["ham", "other"], 1)):
        one.task = type(one.task).model_validate(one.task.model_dump(by_alias=True) | {"labels": labels})
        assert one.push().there == 4
        assert one.pull().counts["outside"] == outside


def test_a_configuration_that_was_changed_there_is_named_and_can_be_put_back(world):
    one = world()
    one.push()
    api, number = one.client.api, one.number
    given = api.projects.get(id=number).label_config
    api.projects.update(id=number, label_config=given.replace('value="ham"', 'value="egg"'))
    with pytest.raises(CurateError, match="was changed at Label Studio") as caught:
        one.push()
    assert f"/projects/{number}/" in caught.value.where and "task.yaml" in caught.value.hint
    assert one.pull().configuration_changed
    one.push(restore=True)
    assert api.projects.get(id=number).label_config == given


def test_a_project_that_was_deleted_is_made_again(world):
    one = world()
    one.push()
    one.client.api.projects.delete(id=one.number)
    assert one.push().tasks == 4


def test_erased_documents_go_with_their_answers(world):
    one = world()
    one.push()
    one.answer("d1", choice("ham"))
    assert delete_tasks(one.client, one.task, lambda identity, digest: identity in ("d1", "elsewhere")) == 1
    assert sorted(one.tasks()) == ["d0", "d2", "d3"]
    assert one.pull().answers == []


# ---- interrupted


class Failing:
    """The SDK's client, whose imports fail after the first one, perhaps once it is done."""

    def __init__(self, projects, error, *, late: bool) -> None:
        self.projects, self.error, self.late, self.calls = projects, error, late, 0

    def __getattr__(self, name):
        return getattr(self.projects, name)

    def import_tasks(self, **given):
        self.calls += 1
        done = self.projects.import_tasks(**given) if self.calls == 1 or self.late else None
        if self.calls > 1:
            raise self.error
        return done


@pytest.mark.parametrize("late", [False, True])
def test_a_failure_in_the_middle_goes_on_without_duplicates(world, monkeypatch, late):
    from label_studio_sdk.core.api_error import ApiError

    one = world(count=5)
    monkeypatch.setattr("curate.labeling.studio.push.MOST_TASKS", 2)
    with monkeypatch.context() as patch:
        failing = Failing(one.client.api.projects, ApiError(status_code=502, body="<html>"), late=late)
        patch.setattr(one.client.api, "_projects_ext", failing)
        with pytest.raises(ResumableError, match="failed \\(502\\) while it was to take tasks"):
            one.push()
    pushed = one.push(one.suggest({"d4": "ham"}))
    assert (pushed.there, pushed.tasks) == ((4, 1) if late else (2, 3))
    assert sorted(one.tasks()) == ["d0", "d1", "d2", "d3", "d4"]


def test_a_request_that_the_server_finishes_late_leaves_no_duplicates(world):
    one = world()
    one.push()
    twice = one.tasks()["d1"]
    one.answer("d2", choice("ham"))
    for id in ("d1", "d2"):
        meta = {"document": id, "hash": one.hashes[id], "round": 1}
        one.client.api.projects.import_tasks(id=one.number, request=[{"data": twice.data, "meta": meta}])
    assert one.push().removed == 2
    assert sorted(one.tasks()) == ["d0", "d1", "d2", "d3"]
    assert len(one.tasks()["d2"].annotations) == 1


KILLED = """
import os, signal, sys
from curate.labeling.studio import push as module
from curate.labeling.studio.client import connect
from curate.labeling.log import Item
from curate.labeling.task import Task

module.MOST_TASKS = 10
task = Task.model_validate_json(sys.argv[3])
documents = {f"d{place}": {"text": f"text {place}"} for place in range(100)}
items = [Item(id, "a" * 64, 1, "label", 1, False, place, "random") for place, id in enumerate(documents)]


def progress(done, of):
    if done == int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)


with connect(sys.argv[1], sys.argv[2]) as client:
    print(module.push(client, task, items, documents, progress=progress).tasks)
"""


def test_a_push_that_is_killed_goes_on_where_it_was(world, studio):
    one = world()

    def run(kill_at: int) -> subprocess.CompletedProcess:
        given = [studio.url, studio.token, one.task.model_dump_json(by_alias=True), str(kill_at)]
        root = Path(__file__).resolve().parents[3]
        environ = {**os.environ, "PYTHONPATH": f"{root}:{os.environ['PYTHONPATH']}"}
        return subprocess.run([sys.executable, "-c", KILLED, *given], capture_output=True, text=True, env=environ)

    assert run(30).returncode == -signal.SIGKILL
    assert run(60).returncode == -signal.SIGKILL
    last = run(-1)
    assert last.stdout == "40\n", last.stderr
    assert sorted(one.tasks()) == sorted(f"d{place}" for place in range(100))
