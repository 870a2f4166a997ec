"""Models with a head: what they predict is measured as their training measured it, and better explained."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from curate.dataset.find import find_store
from curate.errors import CurateError
from curate.evaluation.compare import compare
from curate.evaluation.models.opened import natural_kind, open_model
from curate.evaluation.run import evaluate
from curate.evaluation.tasks.data import Rows
from curate.evaluation.tasks.labels import predictions
from curate.evaluation.tasks.settings import ConversationTask, LabelTask, PerplexityTask, PreferenceTask
from curate.train.export.export import export_run
from curate.train.settings.blocks import DataSettings
from curate.train.weights.export import translate_texts
from tests.evaluation.language_model import byte_tokenizer


@pytest.fixture
def measured(project, tmp_path):
    """Evaluate a folder on a task: the evaluation, and what was said."""

    def start(folder, task):
        said = []
        found = evaluate(
            lambda: open_model(str(folder)), [task], tmp_path / f"out-{folder.name}",
            store=find_store(str(project / ".curate")), say=said.append,
        )  # fmt: skip
        return found, said

    return start


def validation(folder):
    """What the training said at its end."""
    return json.loads((folder / "result.json").read_text())["validation"]


def values(found):
    return {name: one["value"] for name, one in found.result["tasks"]["held"].items()}


def task_of(kind, **settings):
    return kind(name="held", data="rows", split="validation", **settings)


@pytest.mark.parametrize("name", ["mood", "pair"])
def test_accuracy_and_f1_of_labels_are_those_of_the_training(trained, measured, name):
    found, _ = measured(trained(name), task_of(LabelTask))
    expected = validation(trained(name))
    assert values(found)["accuracy"] == pytest.approx(expected["accuracy"])
    assert values(found)["macro_f1"] == pytest.approx(expected["macro_f1"])
    assert values(found)["matthews"] == pytest.approx(expected["matthews_correlation"])
    assert found.result["tasks"]["held"]["accuracy"]["n"] == expected["count"]


def test_the_f1_of_one_label_is_that_of_scikit_learn(trained, measured):
    from sklearn.metrics import f1_score

    label = open_model(str(trained("mood"))).labels[0]
    found, _ = measured(trained("mood"), task_of(LabelTask, positive=label))
    table = found.items("held").table
    wanted = f1_score(table["gold"].to_pylist(), table["predicted"].to_pylist(), pos_label=label)
    assert values(found)["f1"] == pytest.approx(wanted)
    with pytest.raises(CurateError, match="no document has the label `cross`") as error:
        measured(trained("mood"), task_of(LabelTask, positive="cross"))
    assert error.value.where == "task held: positive"


def test_a_confidence_is_a_probability_and_makes_a_calibration_error(trained, measured):
    found, _ = measured(trained("mood"), task_of(LabelTask))
    confidence = found.items("held").table["confidence"].to_pylist()
    assert all(0.5 <= one <= 1 for one in confidence)  # of two classes the likelier
    assert 0 <= values(found)["calibration_error"] <= 1


def test_a_number_correlates_as_in_the_training(trained, measured):
    found, _ = measured(trained("score"), task_of(LabelTask))
    # so few steps make predictions that hardly differ: the last bits of a batch of another shape are seen in them
    for name in ("pearson", "spearman"):
        assert values(found)[name] == pytest.approx(validation(trained("score"))[name], abs=1e-2)


def test_words_are_labelled_as_in_the_training(trained, measured):
    found, _ = measured(trained("tags"), task_of(LabelTask))
    expected = validation(trained("tags"))
    assert values(found)["word_accuracy"] == pytest.approx(expected["accuracy"])
    assert values(found)["macro_f1"] == pytest.approx(expected["macro_f1"])
    assert sum(found.items("held").table["words"].to_pylist()) == expected["count"]


def test_targets_are_those_that_translate_texts_gives(project, trained, measured):
    found, _ = measured(trained("german"), task_of(LabelTask, beams=2))
    rows = [json.loads(line) for line in (project / "rows.jsonl").read_text().splitlines()]
    sources = [row["source"] for row in rows if row["part"] == "validation"]
    assert found.items("held").table["hypothesis"].to_pylist() == translate_texts(trained("german"), sources, beams=2)
    assert {"bleu", "chrf", "rouge1", "rougeL"} <= values(found).keys()


def test_texts_are_scored_as_in_the_training(trained, measured):
    found, _ = measured(trained("german"), task_of(LabelTask))
    expected = validation(trained("german"))
    assert {name: values(found)[name] for name in ("bleu", "chrf", "rougeL")} == pytest.approx(
        {name: expected[name] for name in ("bleu", "chrf", "rougeL")}
    )


def test_what_the_assistant_says_costs_what_it_cost_in_the_training(trained, measured):
    found, _ = measured(trained("chat"), task_of(ConversationTask))
    table, expected = found.items("held").table, validation(trained("chat"))
    assert sum(table["nats"].to_pylist()) / expected["tokens"] == pytest.approx(expected["loss"], rel=1e-4)
    assert sum(table["tokens"].to_pylist()) == expected["tokens"]
    assert values(found)["token_accuracy"] == pytest.approx(expected["accuracy"])
    assert values(found)["bits_per_byte"] > 0


def test_a_preference_is_right_where_the_chosen_answer_is_likelier(trained, measured):
    found, _ = measured(trained("choice"), task_of(PreferenceTask))
    table = found.items("held").table
    assert set(table["accuracy"].to_pylist()) <= {0.0, 1.0}
    assert table.num_rows == 10
    assert found.result["tasks"]["held"]["accuracy"]["low"] is not None


def test_answers_that_are_as_likely_are_half_right(trained, measured, tmp_path):
    rows = [{"question": "q", "chosen": "same", "rejected": "same"},
            {"question": "q", "chosen": "a" * 500 + "b", "rejected": "a" * 500 + "c"}]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found, _ = measured(trained("choice"), PreferenceTask(name="held", files=(str(tmp_path / "rows.jsonl"),)))
    assert found.items("held").table["accuracy"].to_pylist() == [0.5, 0.5]


@pytest.mark.parametrize("name", ["mood", "tags", "german"])
def test_a_hugging_face_folder_says_the_same_as_its_run(trained, measured, tmp_path, name):
    export_run(trained(name), tmp_path / "hf")
    columns = {"mood": {}, "tags": {"label": "tags"}, "german": {"text": "source"}}[name]
    task = task_of(LabelTask, metrics=("chrf",), most=16, **columns)
    assert natural_kind(str(tmp_path / "hf")) == "labels"
    ours, _ = measured(trained(name), task)
    theirs, _ = measured(tmp_path / "hf", task)
    assert values(ours) == values(theirs)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("text", "perplexity"), ("mood", "labels"), ("chat", "conversations"), ("choice", "preferences")],
)
def test_a_run_is_measured_as_it_was_trained(trained, name, kind):
    assert natural_kind(str(trained(name))) == kind


def test_labels_that_the_model_never_saw_count_as_wrong_and_are_told(trained, measured, tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text("text,label\n" + "the merry cat sings,happy\n" * 3 + "the cat sings,bored\n")
    found, _ = measured(trained("mood"), LabelTask(name="held", files=(str(rows),)))
    assert found.result["tasks"]["held"]["accuracy"]["n"] == 4
    assert "held: 1 of 4 have labels that the model never saw: they count as wrong" in found.result["warnings"]
    assert "held: 4 items are too few to tell much: see the intervals" in found.result["warnings"]


def test_labels_may_have_other_names_in_the_data(trained, measured, tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text("text,label\nthe merry cat sings,1\nthe grim cat sings,0\n")
    with pytest.raises(CurateError, match="the model knows none of the labels of the data: 0, 1") as error:
        measured(trained("mood"), LabelTask(name="held", files=(str(rows),)))
    assert error.value.hint.startswith("it tells apart: happy, sad; `labels: {0: happy}`")
    task = LabelTask(name="held", files=(str(rows),), labels={"1": "happy", "0": "sad"})
    assert measured(trained("mood"), task)[0].items("held").table["gold"].to_pylist() == ["happy", "sad"]


def test_text_that_is_too_long_is_cut_and_counted(trained, measured, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"text": "merry " * 500, "label": "happy"}))
    found, _ = measured(trained("mood"), LabelTask(name="held", files=(str(rows),)))
    assert "held: 1 of 1 were too long for the model, and were cut" in found.result["warnings"]


def test_a_word_behind_the_end_of_the_model_counts_as_wrong(trained, tmp_path):
    rows = [{"words": ["cat", "sings"] * half, "tags": ["noun", "verb"] * half} for half in range(1, 20)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task, found = LabelTask(name="held", files=(str(tmp_path / "rows.jsonl"),)), []
    for length in (32, 8):
        model = open_model(str(trained("tags")), length=length)
        found.append(evaluate(lambda model=model: model, [task], tmp_path / str(length), store=None, say=print))
        table = found[-1].items("held").table
        for row, labels, right in zip(
            rows, *(table[name].to_pylist() for name in ("predicted", "words_right")), strict=True
        ):
            assert len(labels) == len(row["words"])
            assert right == sum(one == other for one, other in zip(labels, row["tags"], strict=True))
        last = table["predicted"].to_pylist()[-1]
        assert last[0] and last[-1] is None and last == sorted(last, key=lambda label: label is None)
        assert table["words"].to_pylist() == [len(row["words"]) for row in rows]
    cuts = [one.result["about"]["held"]["cut"] for one in found]
    assert cuts[0] < cuts[1]
    note = f"held: {cuts[0]} items were too long for the first model and were cut, {cuts[1]} for the other"
    assert note in compare(found, metrics=["word_accuracy"]).notes


def test_a_span_behind_the_end_of_the_model_is_missed():
    class Short:
        name, kind, labels, columns, progress = "short", "token_classification", ("O", "B-PER"), DataSettings(), None
        tokenizer = byte_tokenizer()

        def tag(self, rows):
            return [np.array([[0.0, 1.0]]) for _ in rows], [1 for _ in rows]

    row = {"id": "0", "words": ["Ann", "and", "Bo"], "label": ["B-PER", "O", "B-PER"]}
    found = predictions(LabelTask(name="t", files=("x",)), Rows([row], "x", "x", None, None, 1), Short())
    assert found["predicted"] == [["B-PER", None, None]]
    assert (found["words"], found["words_right"]) == ([3], [1])
    assert (found["spans_gold"], found["spans_found"], found["spans_right"]) == ([2], [1], [1])


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"words": "cat sings", "tags": ["noun"]}, "the row r.jsonl:1 has no list in `words`"),
        ({"words": ["cat"], "tags": ["noun", "verb"]}, "the row r.jsonl:1 has 1 words and 2 labels"),
        ({"words": [""], "tags": ["noun"]}, "`words` is no list of words, or a word in it is empty"),
        ({"word": ["cat"], "tags": ["noun"]}, "no row has a column `words`"),
    ],
)
def test_a_row_that_is_no_list_of_words_is_refused(trained, measured, tmp_path, row, problem):
    (tmp_path / "r.jsonl").write_text(json.dumps(row))
    with pytest.raises(CurateError, match=problem):
        measured(trained("tags"), LabelTask(name="held", files=(str(tmp_path / "r.jsonl"),)))


def test_a_label_that_is_no_number_is_refused(trained, measured, tmp_path):
    (tmp_path / "r.jsonl").write_text('{"text": "merry", "score": "much"}')
    with pytest.raises(CurateError, match=r"the row r.jsonl:1 has 'much' where a number should be"):
        measured(trained("score"), LabelTask(name="held", files=(str(tmp_path / "r.jsonl"),)))


def test_a_conversation_without_an_answer_is_named(trained, measured, tmp_path):
    (tmp_path / "r.jsonl").write_text('{"messages": [{"role": "user", "content": "cat?"}]}')
    with pytest.raises(CurateError, match=r"the row r.jsonl:1: the assistant says nothing in this conversation"):
        measured(trained("chat"), ConversationTask(name="held", files=(str(tmp_path / "r.jsonl"),)))


@pytest.mark.parametrize(
    ("name", "kind", "problem"),
    [
        ("mood", PerplexityTask, "does not predict the next token: it was trained for `classification`"),
        ("text", LabelTask, "has no head that predicts labels"),
        ("hidden", PerplexityTask, "does not predict the next token: it was trained for `masked`"),
    ],
)
def test_a_model_that_cannot_answer_is_named(trained, measured, name, kind, problem):
    with pytest.raises(CurateError, match=problem):
        measured(trained(name), task_of(kind))


def test_a_model_without_a_tokenizer_is_refused(trained, measured, tmp_path):
    shutil.copytree(trained("mood"), tmp_path / "bare")
    (tmp_path / "bare" / "tokenizer.json").unlink()
    with pytest.raises(CurateError, match=r"has no tokenizer.json beside it"):
        measured(tmp_path / "bare", task_of(LabelTask))


def test_numbers_that_are_not_finite_are_refused(trained, project, tmp_path):
    model = open_model(str(trained("mood")))
    model.head["weight"] = torch.full_like(model.head["weight"], torch.nan)
    with pytest.raises(CurateError, match="gives numbers that are not finite"):
        evaluate(lambda: model, [task_of(LabelTask)], tmp_path, store=find_store(str(project / ".curate")), say=print)


@pytest.mark.parametrize("beams", [1, 2])
def test_targets_of_a_model_that_diverged_are_refused(trained, project, tmp_path, beams):
    model, task = open_model(str(trained("german"))), task_of(LabelTask, beams=beams)
    with torch.no_grad():
        model.trunk.unembedding.fill_(torch.nan)
    with pytest.raises(CurateError, match="gives numbers that are not finite"):
        evaluate(lambda: model, [task], tmp_path, store=find_store(str(project / ".curate")), say=print)
