"""Planted contamination is found, verbatim or changed, and text that is not there is not."""

from __future__ import annotations

import json
import lzma
import random
import tarfile
import textwrap

import pytest

from curate.dataset.reader import open_dataset
from curate.evaluation.contamination import SHARE, Overlaps, contamination
from curate.evaluation.tasks.data import read_rows
from curate.evaluation.tasks.settings import PerplexityTask


def paragraphs(text):
    return [" ".join(part.split()) for part in text.split("\n\n") if len(part.split()) >= 20]


@pytest.fixture(scope="module")
def books(shared_data):
    """Two halves of paragraphs: of books that are trained on, and of others."""
    with lzma.open(shared_data / "books_sample" / "books.tar.xz") as stream, tarfile.open(fileobj=stream) as archive:
        found = []
        for member in archive:
            if member.isfile() and len(found) < 8:
                found.append(paragraphs(archive.extractfile(member).read().decode())[:200])
    return [part for book in found[::2] for part in book], [part for book in found[1::2] for part in book]


def rewrapped(text):
    return "\n".join(textwrap.wrap(text, 40))


def changed(text):
    draw = random.Random(text)
    words = (word.strip(".,;:!?\"()'") for word in text.split())
    return " ".join(
        word.upper() if draw.random() < 0.3 else f"{word}," if draw.random() < 0.1 else word for word in words
    )


@pytest.mark.parametrize(("change", "least"), [(str, 0.99), (rewrapped, 0.95), (changed, 0.95), (str.upper, 0.95)])
def test_planted_items_are_found(books, change, least):
    train, _ = books
    overlaps = Overlaps([change(part) for part in train])
    for start in range(0, len(train), 50):
        overlaps.see("\n\n".join(train[start : start + 50]))
    shares, longest = overlaps.found()
    assert (shares >= SHARE).mean() >= least
    assert change is not str or (longest == overlaps.words).all()


def test_text_that_is_not_there_is_not_flagged(books):
    train, others = books
    overlaps = Overlaps(others)
    overlaps.see("\n\n".join(train))
    shares, _ = overlaps.found()
    assert (shares >= SHARE).mean() <= 0.01


def test_an_item_is_contaminated_from_a_fifth_of_its_runs_on(project, tmp_path):
    """Of 60 words, in 48 runs of 13, the first 23 stand there (11 runs: 23%), or the first 17 (5: a tenth)."""
    dataset = open_dataset("rows", str(project / ".curate"))
    planted = max(dataset.arrow("train", ["text"])["text"].to_pylist(), key=lambda one: len(one.split())).split()
    lines = [" ".join([*planted[:part], *(f"w{part}x{at}" for at in range(60 - part))]) for part in (23, 17)]
    (tmp_path / "b.jsonl").write_text("\n".join(json.dumps({"text": line}) for line in lines))
    task = PerplexityTask(name="half", files=(str(tmp_path / "b.jsonl"),))
    found = contamination([(task, read_rows(task, None))], dataset, tmp_path, tell=lambda share: None)["half"]
    assert found["longest"].to_pylist() == [23, 17]
    assert found["contaminated"].to_pylist() == [True, False]


def test_texts_of_fewer_words_than_eight_cannot_be_told():
    overlaps = Overlaps(["one two three four five six seven", "one two three four five six seven eight"])
    overlaps.see("Zero. One two, three four five six seven -- EIGHT; nine")
    shares, longest = overlaps.found()
    assert str(shares[0]) == "nan"
    assert (shares[1], longest[1]) == (1.0, 8)


def test_the_items_of_a_task_are_looked_for_once_and_then_known(project, tmp_path):
    dataset = open_dataset("rows", str(project / ".curate"))
    planted = max(dataset.arrow("train", ["text"])["text"].to_pylist(), key=len)
    lines = [planted.upper(), "nothing of this was ever seen by any model in the whole wide world before now"]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": line}) for line in lines))
    task = PerplexityTask(name="held", files=(str(tmp_path / "a.jsonl"),))
    asked = [(task, read_rows(task, None))]
    told = []
    first = contamination(asked, dataset, tmp_path, tell=told.append)["held"]
    assert first["contaminated"].to_pylist() == [True, False]
    assert told
    told.clear()
    assert contamination(asked, dataset, tmp_path, tell=told.append)["held"].equals(first)
    assert not told
