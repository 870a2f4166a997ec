"""Evaluation texts are found in documents, verbatim or changed, and dropped or cut; what is not there is not flagged."""

from __future__ import annotations

import bz2
import json
import random
import re
import tarfile

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import curate
from curate.config.pipeline import load_pipeline
from curate.contamination.decontaminate import MOST_MATCHES, Decontaminate
from curate.contamination.index import MOST_TEXTS, build_index, find_texts
from curate.contamination.items import evaluation_texts
from curate.dataset.why import why as explain
from curate.errors import CurateError
from curate.pipeline.preview import preview
from curate.stages.buffers import text_buffer

QUESTION = "A robe takes two bolts of blue fiber and half that much white fiber; how many bolts in total does it take?"
SHORT = "Which planet of ours has the most moons?"
TINY = "Who wrote it?"
FILLER = " ".join(f"filler{number}" for number in range(60))


@pytest.fixture
def evaluation(tmp_path):
    path = tmp_path / "quiz.jsonl"
    rows = [{"question": QUESTION, "answer": TINY}, {"question": SHORT, "answer": "Saturn"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def found_in(texts, documents, ngram=13, shortest=8):
    index = build_index(texts, ngram=ngram, shortest=shortest)
    return find_texts(*text_buffer(pa.array(documents, pa.string())), index)


# ---- against plain Python


def brute_force(texts, document, ngram, shortest):
    """{text: (share, longest run)} by sets of tuples of words; words here are runs of letters."""
    has = re.findall("[a-z]+", document.lower())
    expected = {}
    for number, text in enumerate(texts):
        words = re.findall("[a-z]+", text.lower())
        length = min(len(words), ngram)
        if len(words) < shortest:
            continue
        grams = {tuple(has[place : place + length]) for place in range(len(has) - length + 1)}
        own = [tuple(words[place : place + length]) in grams for place in range(len(words) - length + 1)]
        runs = max(map(len, "".join("x" if one else " " for one in own).split()), default=0)
        if runs:
            expected[number] = (sum(own) / len(own), runs + length - 1)
    return expected


WORDS = st.lists(st.sampled_from(["a", "b", "c"]), max_size=14).map(" ".join)


@given(st.lists(WORDS, min_size=1, max_size=5), st.lists(st.text("abc .\n", max_size=60), max_size=3))
def test_shares_and_runs_are_those_of_plain_sets_of_words(texts, documents):
    found = found_in(texts, documents, ngram=4, shortest=2)
    told = [{} for _ in documents]
    for document, text, share, longest in zip(*(one.tolist() for one in found[:4]), strict=True):
        told[document][text] = (share, longest)
    assert told == [brute_force(texts, one, 4, 2) for one in documents]


def test_a_document_longer_than_a_window_is_looked_through_whole():
    words = [f"word{number}" for number in range(10_000)]
    texts = [" ".join(words[start : start + 20]) for start in range(0, 10_000, 20)]
    found = found_in(texts, ["before " + " ".join(words)])
    assert found.texts.tolist() == list(range(500))
    assert (found.shares == 1).all()
    assert (found.longest == 20).all()


def test_a_phrase_of_many_texts_finds_the_document_by_the_first_of_them():
    template = " ".join(f"choose{number}" for number in range(20))
    texts = [f"{template} item{number}" for number in range(3 * MOST_TEXTS)]
    found = found_in(texts, [template, texts[-1]])
    assert np.bincount(found.documents).tolist() == [MOST_TEXTS, MOST_TEXTS + 1]
    assert found.shares.max() == 1


@pytest.mark.parametrize("place", [0, MOST_TEXTS + 20])
def test_an_item_that_begins_many_longer_ones_is_found_wherever_it_stands_among_them(place):
    passage = " ".join(f"passage{number}" for number in range(30))
    texts = [f"{passage} {' '.join(f'tail{row}x{number}' for number in range(100))}" for row in range(MOST_TEXTS + 20)]
    texts.insert(place, passage)
    found = found_in(texts, [f"{FILLER} {passage} {FILLER}"])
    assert found.shares[found.texts == place].tolist() == [1]


# ---- what is decided


def test_a_document_with_an_item_is_dropped_and_the_item_is_named(apply_stage, evaluation):
    stage = Decontaminate(evaluation=[str(evaluation)])
    verdicts, features = apply_stage(stage, [f"x y {QUESTION.upper()} z", FILLER])
    (verdict,) = verdicts.values()
    assert (verdict["row"], verdict["verdict"], verdict["reason"]) == (0, "dropped", "contaminated")
    assert (verdict["value"], verdict["threshold"]) == (1.0, 0.2)
    assert verdict["detail"] == f"{evaluation}:1 question: share 1.00, 22 words, at characters 4-109"
    assert features["contamination"] == [1.0, 0.0]
    assert features["contaminated_by"] == [f"{evaluation}:1 question", None]


def test_an_item_shorter_than_an_ngram_is_found_as_a_whole_alone(apply_stage, evaluation):
    stage = Decontaminate(evaluation=[str(evaluation)])
    verdicts, _ = apply_stage(stage, [f"so: {SHORT.lower()}", SHORT.replace("most", "fewest"), TINY])
    assert list(verdicts) == [0]
    assert verdicts[0]["detail"].startswith(f"{evaluation}:2 question: share 1.00, 8 words")


def test_texts_that_are_too_short_are_counted(evaluation):
    facts = Decontaminate(evaluation=[str(evaluation)]).facts()
    assert facts == {"evaluation_texts": "2", "evaluation_texts_too_short": "2"}


def test_a_part_is_kept_up_to_the_share_and_the_run_that_are_set(apply_stage, evaluation):
    part = " ".join(QUESTION.split()[:14])
    features = apply_stage(Decontaminate(evaluation=[str(evaluation)]), [part])[1]
    assert (features["contamination"], features["contamination_words"]) == ([2 / 10], [14])
    for settings, dropped in [({}, []), ({"max_share": 0.1}, [0]), ({"max_share": None, "max_words": 13}, [0])]:
        stage = Decontaminate(evaluation=[str(evaluation)], **settings)
        assert list(apply_stage(stage, [part])[0]) == dropped


def test_cutting_takes_out_the_words_of_the_items_alone(apply_stage, evaluation):
    stage = Decontaminate(evaluation=[str(evaluation)], action="cut")
    text = f"{FILLER} {QUESTION} and {SHORT} {FILLER}"
    (verdict,) = apply_stage(stage, [text])[0].values()
    assert verdict["verdict"] == "edited"
    assert [text[span["start"] : span["end"]] for span in verdict["spans"]] == [QUESTION[:-1], SHORT[:-1]]


def test_a_document_of_which_little_is_left_is_dropped(apply_stage, evaluation):
    stage = Decontaminate(evaluation=[str(evaluation)], action="cut", min_left=5)
    verdicts, _ = apply_stage(stage, [f"abc {QUESTION}", f"ab {QUESTION}"])
    assert verdicts[0]["verdict"] == "edited"  # `abc ` and the question mark
    assert (verdicts[1]["reason"], verdicts[1]["value"], verdicts[1]["threshold"]) == ("contaminated_left", 4, 5)


def test_a_document_of_more_texts_than_are_noted_is_dropped_whole(apply_stage, tmp_path):
    rows = [" ".join(f"w{number}x{place}" for place in range(8)) for number in range(MOST_MATCHES + 5)]
    path = tmp_path / "many.txt"
    path.write_text("\n".join(rows))
    stage = Decontaminate(evaluation=[str(path)], action="cut", min_left=0)
    (verdict,) = apply_stage(stage, [f"{FILLER} {' '.join(rows)}"])[0].values()
    assert verdict["verdict"] == "dropped"


def test_the_text_with_the_longest_run_is_noted_whatever_its_share(apply_stage, tmp_path):
    phrases = [
        " ".join(f"phrase{number}x{place}" for place in range(13)) for number in range(MOST_MATCHES // MOST_TEXTS)
    ]
    rows = [f"{one} {' '.join(f'own{place}x{n}' for n in range(9))}" for one in phrases for place in range(MOST_TEXTS)]
    book = [f"book{place}" for place in range(3000)]
    path = tmp_path / "many.txt"
    path.write_text("\n".join([*rows, " ".join(book)]))
    text = " | ".join([*phrases, " ".join(book[:70])])
    verdicts, features = apply_stage(Decontaminate(evaluation=[str(path)]), [text])
    assert (verdicts[0]["reason"], verdicts[0]["value"]) == ("contaminated_span", 70)
    assert verdicts[0]["detail"].startswith(f"{path}:{MOST_MATCHES + 1} ")
    assert len(features["matches"][0]) == MOST_MATCHES


# ---- what is looked for


def test_fields_are_those_that_are_named_or_all_texts_of_a_row(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(
        json.dumps(
            {"q": "one two", "choices": {"text": ["x y", "z w"], "label": ["A", "B"]}, "url": "https://a.b/c", "n": 1}
        )
    )
    assert [(one.name, one.text) for one in evaluation_texts([str(path)], ())] == [
        (f"{path}:1 q", "one two"), (f"{path}:1 choices.text[0]", "x y"), (f"{path}:1 choices.text[1]", "z w"),
        (f"{path}:1 choices.label", "A B"),
    ]  # fmt: skip
    stage = Decontaminate(evaluation=[{"files": [str(path)], "fields": ["q"]}])
    assert [one.text for one in evaluation_texts(stage.evaluation, ())] == ["one two"]


def test_task_files_name_the_files_seen_from_their_folder(evaluation, tmp_path):
    tasks = tmp_path / "tasks.yaml"
    tasks.write_text("tasks:\n  - {name: q, kind: choice, files: [quiz.jsonl], prompt: '{{ question }}'}\n")
    stage = Decontaminate(tasks=[str(tasks)])
    assert stage.model_files() == [tasks, evaluation]
    assert stage.facts()["evaluation_texts"] == "2"


def test_a_task_that_asks_about_a_version_is_refused_with_its_place(tmp_path):
    tasks = tmp_path / "tasks.yaml"
    tasks.write_text("tasks:\n  - {name: q, kind: perplexity, data: books}\n")
    with pytest.raises(CurateError, match=r"tasks that name their `files`\n.*tasks.yaml:2:\d+\n.*export"):
        Decontaminate(tasks=[str(tasks)]).model_files()


def test_a_field_that_is_not_there_is_named_with_its_row(evaluation):
    stage = Decontaminate(evaluation=[{"files": [str(evaluation)], "fields": ["questions"]}])
    with pytest.raises(CurateError, match=r"no field `questions`\n.*quiz.jsonl:1\n.*did you mean `question`"):
        stage.open()


def test_files_whose_texts_are_all_too_short_are_refused(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("yes\nno\n")
    with pytest.raises(CurateError, match="no evaluation text has 8 words"):
        Decontaminate(evaluation=[str(path)]).open()


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({}, "name what is looked for"),
        ({"evaluation": ["a"], "ngram": 5}, "`shortest: 8` is more than `ngram: 5`"),
        ({"evaluation": ["a"], "action": "cut", "on": ["prompt"]}, "cuts the column `text`"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, problem):
    with pytest.raises(ValidationError, match=problem):
        Decontaminate(**settings)


# ---- through the engine


@pytest.mark.slow
def test_cut_texts_are_published_and_neither_threshold_nor_action_measures_again(tmp_path, evaluation, monkeypatch):
    import curate

    monkeypatch.chdir(tmp_path)
    rows = [
        {"id": "a", "text": f"{FILLER} {QUESTION} {FILLER}"},
        {"id": "b", "text": FILLER},
        {"id": "c", "text": QUESTION},
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    stages = [{"stage": "decontaminate", "id": "eval", "evaluation": ["quiz.jsonl"]}]
    pipeline = {"dataset": "d", "sources": [{"stage": "files", "paths": ["in.jsonl"]}], "stages": stages}
    (tmp_path / "p.yaml").write_text(json.dumps(pipeline))

    def kept(*overrides, workers=1):
        result = curate.run(tmp_path / "p.yaml", overrides=overrides, workers=workers)
        table = curate.open_dataset("d", tmp_path / ".curate").arrow()
        return result, dict(zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True))

    assert kept()[1] == {"b": FILLER}
    again, texts = kept("eval.action=cut")
    assert texts == {"a": f"{FILLER} ? {FILLER}", "b": FILLER}
    fresh = curate.run(tmp_path / "p.yaml", overrides=["eval.action=cut"], workers=2, store=str(tmp_path / "other"))
    assert again.version == fresh.version


# ---- on real data


def changed(text, draw):
    """Other case, punctuation and lines; words are the same."""
    words = [word.strip('.,;:!?"()') for word in text.split()]
    words = [word.upper() if draw.random() < 0.3 else f"{word}," if draw.random() < 0.1 else word for word in words]
    return "".join(word + ("\n" if place % 7 == 6 else "  ") for place, word in enumerate(words))


@pytest.fixture(scope="module")
def real(shared_data):
    """300 items of two benchmarks, and 200 pieces of books."""
    folder = shared_data / "gsm8k"
    items = [json.loads(line)["question"] for line in (folder / "test.jsonl").read_text().splitlines()[:150]]
    lines = (
        bz2.decompress((shared_data / "hellaswag" / "hellaswag_val_full.txt.bz2").read_bytes()).decode().splitlines()
    )
    items += lines[: 150 * 6 : 6]
    pieces = []
    with tarfile.open(shared_data / "books_sample" / "books.tar.xz") as archive:
        for member in archive:
            if member.isfile() and member.name.endswith(".md") and len(pieces) < 200:
                words = archive.extractfile(member).read().decode().split(" ")
                pieces += [" ".join(words[start : start + 400]) for start in range(1000, 9000, 400)]
    return items, pieces[:200]


@pytest.mark.parametrize(
    ("change", "least"), [(lambda text, draw: text, 0.99), (changed, 0.95)], ids=["verbatim", "changed"]
)
def test_planted_items_are_found_and_books_are_not_flagged(real, change, least):
    items, pieces = real
    draw = random.Random(1)
    planted = [
        f"{pieces[number % 200]} {change(item, draw)} {pieces[number % 200]}" for number, item in enumerate(items)
    ]
    found = found_in(items, [*pieces, *planted])
    over = found.shares > 0.2
    assert not (found.documents[over] < 200).any()
    hits = set(zip(found.documents[over].tolist(), found.texts[over].tolist(), strict=True))
    long = [number for number, item in enumerate(items) if len(item.split()) >= 10]
    assert np.mean([(200 + number, number) in hits for number in long]) >= least


# ---- where its files are


def pipeline(folder, stage):
    """A pipeline in a folder of its own, with one document that has the evaluation text."""
    folder.mkdir(parents=True)
    (folder / "in.jsonl").write_text(json.dumps({"id": "a", "text": ITEM}))
    (folder / "evaluation").mkdir()
    (folder / "evaluation" / "items.jsonl").write_text(json.dumps({"question": ITEM}))
    (folder / "evaluation" / "tasks.yaml").write_text("tasks:\n  - {name: t, files: [items.jsonl]}\n")
    path = folder / "p.yaml"
    path.write_text(
        "dataset: d\nmin_documents: 0\nsources:\n  - {stage: files, paths: [in.jsonl]}\nstages:\n"
        f"  - {{stage: decontaminate, {stage}}}\n"
    )
    return path


ITEM = " ".join(f"word{number}" for number in range(30))


@pytest.mark.parametrize("stage", ["evaluation: [evaluation/items.jsonl]", "tasks: [evaluation/tasks.yaml]"])
def test_paths_start_at_the_pipeline_file_wherever_curate_is_started(tmp_path, monkeypatch, stage):
    path = pipeline(tmp_path / "project", stage)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    done = curate.run(path, workers=1)
    assert done.documents["dropped"] == 1
    story = explain(curate.open_dataset(f"d@{done.version}", path.parent / ".curate"), "a")
    assert story["detail"].startswith("evaluation/items.jsonl:1 question: share 1.00")


@pytest.mark.parametrize(
    ("stage", "problem", "hint"),
    [
        ("evaluation: [evaluation/item.jsonl]", "`evaluation`: there is no file", "did you mean `items.jsonl`?"),
        ("tasks: [evaluation/task.yaml]", "`tasks`: there is no file of tasks", "did you mean `tasks.yaml`?"),
        ("tasks: [nowhere/x.yaml]", "`tasks`: there is no file of tasks", "as `curate eval --tasks` takes it"),
    ],
)
def test_a_file_that_is_not_there_is_told_with_the_place_in_the_pipeline_file(tmp_path, stage, problem, hint):
    path = pipeline(tmp_path / "project", stage)
    for look in (lambda: curate.run(path, workers=1), lambda: raising(preview(load_pipeline(path)).errors)):
        with pytest.raises(CurateError, match=problem) as caught:
            look()
        assert caught.value.where == f"{path}:6:5"
        assert hint in caught.value.hint


def raising(errors):
    raise errors[0]
