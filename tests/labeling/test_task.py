"""A task file says what is asked; what is wrong in it is said with its place."""

import json

import pytest

from curate.errors import CurateError
from curate.labeling.task import find_task, load_task
from curate.labeling.values import checked, shown

GOOD = {"task": "spam", "dataset": "sms", "kind": "classification", "labels": ["ham", "spam"]}


def write(folder, **changed):
    path = folder / "task.yaml"
    path.write_text(json.dumps({key: value for key, value in {**GOOD, **changed}.items() if value is not None}))
    return path


def test_labels_are_names_or_maps(tmp_path):
    task = load_task(write(tmp_path, labels=["ham", {"name": "spam", "description": "advertising", "key": "s"}]))
    assert task.label_names == ("ham", "spam")
    assert [label.key for label in task.labels] == [None, "s"]
    assert (task.columns, task.on) == (("text",), ("text",))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": ["ham"]}, "needs two labels at least"),
        ({"labels": ["ham", "ham"]}, "the label `ham` stands twice"),
        ({"labels": [{"name": "a", "key": "x"}, {"name": "b", "key": "x"}]}, "the key `x` stands twice"),
        ({"labels": [{"name": "a", "key": "xy"}, "b"]}, "labels"),
        ({"turn": 1}, "`turn` is for `rating` and `rewrite`"),
        ({"kind": "rating"}, "`rating` has no labels: its answers are 1 to 5"),
        ({"kind": "answer", "labels": None}, "`answer` needs `prompt`"),
        ({"kind": "classify"}, "kind"),
        ({"task": "../spam"}, "is not a name"),
        ({"lables": ["a"]}, "the task has no setting `lables`"),
        ({"dataset": None}, "the task needs the setting `dataset`"),
        ({"column": "a b"}, "column"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path, changed, message):
    with pytest.raises(CurateError) as caught:
        load_task(write(tmp_path, **changed))
    assert message in str(caught.value)
    assert "task.yaml:1:" in str(caught.value)


def test_the_only_task_is_found_and_several_are_named(tmp_path):
    with pytest.raises(CurateError, match=r"there is no task\.yaml here"):
        find_task(None, tmp_path)
    for name in ("one", "two"):
        (tmp_path / "labeling" / name).mkdir(parents=True)
        (tmp_path / "labeling" / name / "task.yaml").touch()
        if name == "one":
            assert find_task(None, tmp_path).parent.name == "one"
    with pytest.raises(CurateError, match="several labeling tasks: labeling/one, labeling/two"):
        find_task(None, tmp_path)
    assert find_task(tmp_path / "labeling" / "two", tmp_path).parent.name == "two"
    with pytest.raises(CurateError, match="there is no task file"):
        find_task(tmp_path / "nothing", tmp_path)


KINDS = {
    "classification": (["spam"], ["eggs", 1, None, ["spam"]]),
    "multilabel": ([[], ["spam", "ham"]], ["spam", ["eggs"], None]),
    "spans": ([[], [{"start": 0, "end": 3, "label": "ham"}]],
              ["x", [{"start": 3, "end": 3, "label": "ham"}], [{"start": 0, "end": 99, "label": "ham"}],
               [{"start": 0, "end": 1, "label": "eggs"}], [{"start": True, "end": 2, "label": "ham"}], [1],
               [{"start": -1, "end": 2, "label": "ham"}]]),
    "preference": (["first", "second", "tie"], ["third", None]),
    "rating": ([1, 5], [0, 6, True, "3", 2.5]),
    "answer": (["yes"], ["", "  ", None, 3, "x" * 1_000_001]),
    "rewrite": (["yes"], [""]),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_takes_its_answers_and_no_others(tmp_path, kind):
    labels = GOOD["labels"] if kind in ("classification", "multilabel", "spans") else None
    task = load_task(write(tmp_path, kind=kind, labels=labels, prompt="question"))
    good, bad = KINDS[kind]
    for value in good:
        once = checked(task, value, {"text": "some words"})
        assert checked(task, once, {"text": "some words"}) == once
    for value in bad:
        with pytest.raises(CurateError, match=r"is no (answer|label)"):
            checked(task, value, {"text": "some words"})


def test_labels_come_in_the_order_of_the_task_and_spans_in_that_of_the_text(tmp_path):
    task = load_task(write(tmp_path, kind="multilabel"))
    assert checked(task, ["spam", "ham", "spam"]) == ["ham", "spam"]
    task = load_task(write(tmp_path, kind="spans"))
    spans = [{"start": 4, "end": 6, "label": "ham", "more": 1}, {"start": 0, "end": 2, "label": "spam"}]
    assert [one["start"] for one in checked(task, [*spans, spans[0]])] == [0, 4]


def test_what_is_shown_is_what_is_judged_and_its_context(tmp_path):
    task = load_task(write(tmp_path, kind="rewrite", labels=None, context=["half"]))
    turns = [{"role": "user", "content": None, "more": 1}, {"role": "assistant", "content": "No."}]
    seen = shown(task, {"messages": turns, "half": 1, "other": 2})
    assert seen["messages"] == [{"role": "user", "content": ""}, {"role": "assistant", "content": "No."}]
    assert seen["context"] == {"half": "1"}
    assert task.on == ("messages[].content",)
