"""From a version to Label Studio and back, by the commands that people type."""

import json
import signal
from urllib.request import Request, urlopen

import pytest

from curate.labeling.studio.client import find_project
from curate.labeling.studio.interface import to_result
from curate.labeling.task import load_task
from curate.labeling.values import shown

pytestmark = pytest.mark.slow


@pytest.fixture
def there(messages, studio, monkeypatch):
    """The messages, and commands that find the suite's Label Studio."""
    monkeypatch.setenv("CURATE_LABEL_STUDIO_URL", studio.url)
    monkeypatch.setenv("CURATE_LABEL_STUDIO_TOKEN", studio.token)
    return messages


def answer_all(client, messages, file, *, user=None):
    """Answer what is there as the data says."""
    task = load_task(file)
    project = find_project(client, task)
    done = 0
    for one in client.api.tasks.list(project=project.number, page_size=100, fields="all"):
        row = next(row for row in messages.rows if row["id"] == one.meta["document"])
        if not one.annotations:
            result = to_result(task, messages.truth[row["id"]], shown(task, row), one.meta["hash"])
            client.api.annotations.create(
                id=one.id, result=result, lead_time=2.5, **({"completed_by": user} if user else {})
            )
            done += 1
    return done


def test_what_is_drawn_is_pushed_once_answered_pulled_once_and_committed(there, client):
    file = there.task(name="spam-commands")
    first = there.json("push", "-n", 6)
    assert (first["tasks"], first["there"]) == (6, 0)
    again = there.json("push", "-n", 6)
    assert (again["tasks"], again["there"]) == (0, 6)
    assert there.json("status")["items"] == 6
    assert answer_all(client, there, file) == 6
    assert there.json("pull")["answers"] == 6
    assert there.json("pull")["answers"] == 0
    assert there.json("push")["tasks"] == 0
    state = there.json("status")
    assert (state["left"], state["annotators"][0]["median_seconds"]) == (0, 2.5)
    told = there.json("commit")
    assert told["sources"] == {"human": 6}
    again = there.json("push", "-n", 6)  # the same words, of the version that has labels now
    assert (again["tasks"], len(there.json("status")["rounds"])) == (0, 1)
    given = {name: row["label"] for name, row in there.rows_of().items() if row["label"]}
    assert given == {name: there.truth[name] for name in given}


def test_two_pushes_of_a_task_at_one_moment_draw_one_round_and_leave_no_task_twice(there, client):
    file = there.task(name="spam-twice")
    both = [there.project.start("label", "push", "-n", 20, "--json") for _ in range(2)]
    for process in both:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0 or "is being pushed by another process" in err, err
    there.json("push", "-n", 20)
    assert [one["documents"] for one in there.json("status")["rounds"]] == [20]
    project = find_project(client, load_task(file))
    listed = [one.meta["document"] for one in client.api.tasks.list(project=project.number, fields="all")]
    assert (len(listed), len(set(listed))) == (20, 20)


def test_what_is_no_answer_is_told_once_and_counted_later(there, client):
    file = there.task(name="spam-refused")
    there.json("push", "-n", 2)
    project = find_project(client, load_task(file))
    one, other = client.api.tasks.list(project=project.number, fields="all")
    wrong = [{"from_name": "answer", "to_name": "text", "type": "choices", "value": {"choices": ["eggs"]}}]
    client.api.annotations.create(id=one.id, result=wrong)
    told = there.json("pull")
    assert ([row["id"] for row in told["refused"]], told["refused_before"]) == ([one.meta["document"]], 0)
    client.api.annotations.create(id=other.id, result=wrong)
    told = there.json("pull")
    assert ([row["id"] for row in told["refused"]], told["refused_before"]) == ([other.meta["document"]], 1)
    outcome = there.cli("pull")
    assert "2 more are no answers, as told before" in outcome.err
    assert "not taken" not in outcome.err


def test_suggestions_go_with_the_tasks_but_not_with_blind_ones_nor_with_an_audit(there, client):
    file = there.task(name="spam-suggested")
    there.json("next", "-n", 20)
    there.json("annotate", "--as", "ann", typed="1\n2\n" * 10)
    there.json("fit")
    there.json("next", "-n", 3)
    there.json("next", "-n", 3, "--blind", "--seed", 2)
    there.json("preannotate")
    told = there.json("push")
    assert (told["tasks"], told["predictions"]) == (6, 3)  # what was answered in the terminal is not asked there
    project = find_project(client, load_task(file))
    shown_there = [len(one.predictions) for one in client.api.tasks.list(project=project.number, fields="all")]
    assert sorted(shown_there) == [0, 0, 0, 1, 1, 1]


def test_a_review_asks_one_person_more_and_their_answer_decides(there, client, other):
    file = there.task(name="spam-review")
    there.json("push", "-n", 2, "--annotators", 2, "--overlap", 1)
    task = load_task(file)
    project = find_project(client, task)
    listed = list(client.api.tasks.list(project=project.number, fields="all"))

    def answer(who, one, label):
        row = next(row for row in there.rows if row["id"] == one.meta["document"])
        who.api.annotations.create(id=one.id, result=to_result(task, label, shown(task, row), one.meta["hash"]))

    for one in listed:
        answer(client, one, "ham")
    answer(other, listed[0], "spam")
    answer(other, listed[1], "ham")
    assert there.json("pull")["answers"] == 4
    assert there.json("commit")["ties"] == 1
    assert there.json("review", "--ties")["documents"] == 1
    assert there.json("push")["overlaps"] == 1
    assert client.api.tasks.get(id=str(listed[0].id)).overlap == 3
    answer(client, listed[0], "spam")
    there.json("pull")
    told = there.json("commit")
    assert (told["ties"], told["sources"]) == (0, {"adjudicated": 1, "aggregated": 1})


def test_where_no_label_studio_is_named_or_runs_the_hint_says_how(messages, monkeypatch, tmp_path):
    messages.task()
    monkeypatch.delenv("CURATE_LABEL_STUDIO_URL", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    outcome = messages.cli("pull")
    assert outcome.code == 2
    assert "curate label serve" in outcome.err


def test_a_configuration_that_was_changed_there_is_told_and_put_back_on_demand(there, client):
    file = there.task(name="spam-changed")
    there.json("push", "-n", 2)
    project = find_project(client, load_task(file))
    choices = '<Choices name="label" toName="text"><Choice value="eggs"/></Choices>'
    changed = f'<View><Text name="text" value="$text"/>{choices}</View>'
    client.api.projects.update(id=project.number, label_config=changed)
    refused = there.cli("push")
    assert refused.code == 2
    assert "--restore" in refused.err
    assert there.json("push", "--restore")["there"] == 2
    assert json.loads(there.cli("pull", "--json").out)["configuration_changed"] is False


def test_the_model_answers_label_studio_and_not_for_blind_documents(there, client):
    file = there.task(name="spam-model")
    there.json("next", "-n", 20)
    there.json("annotate", "--as", "ann", typed="1\n2\n" * 10)
    there.json("fit")
    there.json("next", "-n", 2)
    there.json("next", "-n", 2, "--blind", "--seed", 3)
    there.json("push")
    process = there.project.start("label", "backend")
    said = process.stdout.readline()
    place = said.rsplit(" at ", 1)[1].strip()
    project = find_project(client, load_task(file))
    assert [one.url for one in client.api.ml.list(project=project.number)] == [place]
    tasks = [
        {"data": one.data, "meta": one.meta} for one in client.api.tasks.list(project=project.number, fields="all")
    ]
    with urlopen(Request(f"{place}/predict", json.dumps({"tasks": tasks}).encode(), method="POST")) as answered:
        results = json.loads(answered.read())["results"]
    assert sum(bool(one) for one in results) == 2
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, "ended" in err) == (0, True), err


def test_what_was_erased_is_forgotten_there_too_and_nothing_else(there, client):
    file = there.task(name="spam-erased")
    there.json("push", "-n", 5)
    task = load_task(file)
    project = find_project(client, task)
    named = list(client.api.tasks.list(project=project.number, fields="all"))
    gone = named[0].meta["document"]
    assert there.json("forget")["deleted"] == 0
    subject = there.project.write("subject.yaml", f"documents: [{gone}]")
    assert there.project.cli("data", "erase", "--subject-file", subject).code == 0
    assert there.json("forget")["deleted"] == 1
    left = {one.meta["document"] for one in client.api.tasks.list(project=project.number, fields="all")}
    assert left == {one.meta["document"] for one in named} - {gone}
    assert there.json("push")["tasks"] == 0
