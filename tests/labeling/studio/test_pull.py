"""Pulling from a real Label Studio."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC

import pytest

from curate.errors import CurateError
from curate.labeling.log import value_of
from tests.labeling.studio.conftest import choice

pytestmark = pytest.mark.slow


def sources(pulled) -> set[str]:
    return {one.source for one in pulled.answers}


def test_an_answer_says_who_gave_it_when_and_how_long_it_took(world):
    one = world()
    one.push()
    number = one.answer("d1", choice("spam"))
    [answer] = one.pull().answers
    assert (answer.id, answer.hash, value_of(answer)) == ("d1", one.hashes["d1"], "spam")
    assert (answer.annotator, answer.seconds, answer.origin) == ("admin@curate.local", 2.5, "manual")
    assert answer.created.tzinfo is UTC and f"/{number}/" in answer.source


def test_pulling_twice_gives_nothing_new(world):
    one = world()
    one.push()
    one.answer("d1", choice("spam"))
    again = one.pull(sources(one.pull()))
    assert again.answers == [] and again.counts["known"] == 1


def test_an_answer_that_was_changed_there_is_a_new_one(world):
    one = world()
    one.push()
    number = one.answer("d1", choice("spam"))
    first = one.pull()
    one.client.api.annotations.update(id=number, result=choice("ham"))
    second = one.pull(sources(first))
    assert [value_of(row) for row in (*first.answers, *second.answers)] == ["spam", "ham"]
    assert second.counts["updated"] == 1


def test_an_answer_that_was_deleted_there_is_counted_and_kept(world):
    one = world()
    one.push()
    number = one.answer("d1", choice("spam"))
    before = sources(one.pull())
    one.client.api.annotations.delete(id=number)
    after = one.pull(before)
    assert after.answers == [] and after.counts["deleted"] == 1


@pytest.mark.parametrize(
    ("given", "origin"), [("ham", "prediction"), ("spam", "prediction-changed")], ids=["taken", "changed"]
)
def test_an_answer_to_a_suggestion_says_which_and_whether_it_was_taken(world, given, origin):
    one = world()
    one.push(one.suggest({"d0": "ham"}))
    one.answer("d0", choice(given), parent_prediction=one.tasks()["d0"].predictions[0].id)
    [answer] = one.pull().answers
    assert (answer.origin, json.loads(answer.suggested), answer.model) == (origin, "ham", "model-1")


def test_who_skips_everything_gives_answers_without_values(world):
    one = world()
    one.push()
    for id in one.documents:
        one.answer(id, [], was_cancelled=True)
    pulled = one.pull()
    assert [answer.value for answer in pulled.answers] == [None] * 4
    assert pulled.counts["skipped"] == 4


def test_what_is_no_answer_is_reported_and_the_rest_is_taken(world):
    one = world()
    one.push()
    one.answer("d0", choice("nope"))
    one.answer("d1", [])
    one.answer("d2", choice("ham"))
    pulled = one.pull()
    assert [value_of(answer) for answer in pulled.answers] == ["ham"]
    assert [(row.id, row.annotator) for row in pulled.refused] == [
        ("d0", "admin@curate.local"), ("d1", "admin@curate.local"),
    ]  # fmt: skip
    assert "`nope` is no label of the task" in pulled.refused[0].problem and pulled.counts["outside"] == 2


def test_answers_on_what_is_shown_otherwise_now_are_taken_and_counted(world):
    one = world()
    one.push()
    one.answer("d0", choice("ham"))
    pulled = one.pull(current={**one.hashes, "d0": "f" * 64})
    assert pulled.counts["changed"] == 1 and pulled.answers[0].hash == one.hashes["d0"]


def test_answers_on_erased_documents_are_not_taken(world):
    one = world()
    one.push()
    one.answer("d0", choice("ham"))
    pulled = one.pull(erased=lambda id: id == "d0")
    assert pulled.answers == [] and pulled.counts["erased"] == 1


def test_tasks_that_somebody_made_there_are_counted(world):
    one = world()
    one.push()
    api = one.client.api
    [number] = api.projects.import_tasks(
        id=one.number, request=[{"data": {"text": "by hand"}}], return_task_ids=True
    ).task_ids
    api.annotations.create(id=number, result=choice("ham"))
    pulled = one.pull()
    assert pulled.answers == [] and pulled.counts["unknown"] == 1


def test_unknown_fields_of_an_export_do_no_harm(world, monkeypatch):
    one = world()
    one.push()
    one.answer("d0", choice("ham"))
    export = one.client.api.projects.exports
    [row] = json.loads(b"".join(export.download_sync(one.number, export_type="JSON")))
    odd = {"id": 1, "annotations": [{"id": 7, "result": choice("ham"), "updated_at": "yesterday", "completed_by": 99}]}
    row |= {"new": {"field": 1}}
    row["annotations"][0] |= {"lead_time": "slow", "completed_by": {"id": 5, "email": "eve@curate.local"}, "more": []}
    odd |= {"meta": row["meta"], "data": None}
    content = json.dumps([row, odd, None, 3, {"annotations": [None]}, {"meta": []}]).encode()
    monkeypatch.setattr(export, "download_sync", lambda *given, **named: [content])
    pulled = one.pull()
    assert [(answer.annotator, answer.seconds) for answer in pulled.answers] == [("eve@curate.local", None)]
    assert [(row.annotator, row.problem) for row in pulled.refused] == [("user 99", "`yesterday` is no time")]


def test_a_task_that_was_not_pushed_says_so(world):
    with pytest.raises(CurateError, match="has no project at Label Studio") as caught:
        world().pull()
    assert "what was pulled before is kept" in caught.value.hint


def test_two_people_answer_at_once_and_nothing_is_lost(world, other):
    one = world(count=12)
    one.push(items=one.round(one.documents, annotators=2))
    numbers = [task.id for task in one.tasks().values()]

    def answer(api, label):
        for number in numbers:
            api.annotations.create(id=number, result=choice(label))

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(answer, one.client.api, "ham"), pool.submit(answer, other.api, "spam")]:
            done.result()
    pulled = one.pull()
    found = {(answer.id, answer.annotator): value_of(answer) for answer in pulled.answers}
    people = {"admin@curate.local": "ham", "carol@curate.local": "spam"}
    assert found == {(id, who): label for id in one.documents for who, label in people.items()}
    assert all(task.is_labeled for task in one.tasks().values())
