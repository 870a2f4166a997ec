"""Labeling functions: what they say of documents, and what is wrong with a file of them."""

import json

import pytest

from curate.errors import CurateError
from curate.labeling.functions import load_functions, votes
from curate.labeling.task import load_task


def functions(messages, *given):
    path = messages.project.root / "labeling" / "spam" / "functions.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"functions": list(given)}))
    return path


def said(messages, *given):
    task, path = load_task(messages.task()), functions(messages, *given)
    data = messages.project.open("sms")
    return votes(data, task, load_functions(path, task), path.parent)


def test_each_means_says_its_label_and_abstains_otherwise(messages):
    (messages.project.root / "labeling" / "spam").mkdir(parents=True)
    rules = messages.project.root / "labeling" / "spam" / "rules.py"
    rules.write_text(
        "def short(text):\n    return len(text) < 30\n\ndef own(text):\n    return 'spam' if 'FREE' in text.upper() else None\n"
    )
    found = said(
        messages,
        {"name": "words", "label": "spam", "words": ["free", "prize"]},
        {"name": "regex", "label": "spam", "regex": "[0-9]{5,}"},
        {"name": "short", "label": "ham", "python": "rules:short"},
        {"name": "own", "python": "rules:own"},
        {"name": "odd", "label": "ham", "column": "half", "above": 1},
        {"name": "even", "label": "spam", "column": "half", "below": 1},
    )
    assert found.votes.shape == (60, 6)
    rows = {key[0]: row.tolist() for key, row in zip(found.keys, found.votes, strict=True)}
    for row in messages.rows:
        words, regex, short, own, odd, even = rows[row["id"]]
        assert short == (0 if len(row["text"]) < 30 else -1)
        assert own == (1 if "FREE" in row["text"].upper() else -1)
        assert (odd, even) == ((0, -1) if row["half"] else (-1, 1))
        assert regex in (-1, 1)
        assert words in (-1, 1)
    assert {row[0] for row in rows.values()} == {-1, 1}


def test_words_are_whole_ones(messages):
    messages.rows = [
        {**row, "text": ["freedom", "FREE!", "a free entry"][number % 3]} for number, row in enumerate(messages.rows)
    ]
    messages.write()
    messages.project.run()
    found = said(messages, {"name": "words", "label": "spam", "words": ["free"]})
    rows = {key[0]: row[0] for key, row in zip(found.keys, found.votes, strict=True)}
    assert [rows[f"sms-{number}"] for number in range(3)] == [-1, 1, 1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "a", "label": "spam"}, "needs one of words, regex, python, column, and has none"),
        ({"name": "a", "label": "spam", "words": ["x"], "regex": "x"}, "and has words, regex"),
        ({"name": "a", "words": ["x"]}, "needs a `label`"),
        ({"name": "a", "label": "spam", "regex": "("}, "`regex` of `a`"),
        ({"name": "a", "label": "spam", "column": "half"}, "needs `above` or `below`"),
        ({"name": "a", "label": "spm", "words": ["x"]}, "`spm` is no label"),
        ({"name": "a", "label": "spam", "word": ["x"]}, "no setting"),
    ],
)
def test_what_is_wrong_in_the_file_is_said_with_its_place(messages, given, message):
    task, path = load_task(messages.task()), functions(messages, given)
    with pytest.raises(CurateError) as caught:
        load_functions(path, task)
    assert message in str(caught.value)
    assert "functions.yaml:1:" in str(caught.value)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def rule(text):\n    return 1 / 0\n", "raised ZeroDivisionError"),
        ("def rule(text):\n    return 'eggs'\n", "said `eggs`, which is no label"),
        ("", "has no function `rule`"),
        ("import nothing_here", "`rules.py` raised ModuleNotFoundError"),
        (None, "there is no file `rules.py`"),
    ],
)
def test_what_is_wrong_with_a_function_names_it(messages, code, message):
    folder = messages.project.root / "labeling" / "spam"
    folder.mkdir(parents=True)
    if code is not None:
        (folder / "rules.py").write_text(code)
    with pytest.raises(CurateError) as caught:
        said(messages, {"name": "mine", "label": "spam", "python": "rules:rule"})
    assert message in str(caught.value)


def test_a_column_of_texts_is_refused(messages):
    with pytest.raises(CurateError, match="holds no numbers"):
        said(messages, {"name": "a", "label": "spam", "column": "question", "above": 1})
