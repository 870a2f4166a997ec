"""Held-out sets: names that mean something else are refused, and documents that two sets share are told and count once."""

from __future__ import annotations

import json

import pytest

from curate.dataset.reader import open_dataset
from curate.dataset.store import Store
from curate.errors import CurateError
from curate.evaluation.ablation.arms import Arm
from curate.evaluation.ablation.heldout import held_out_sets
from tests.train.rows_project import columns_of, write_dataset


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heldout")
    texts = [f"Row {number} is about {number * 7919} and {number * 104729} only." for number in range(80)]
    write_dataset(folder, columns_of(80, text=texts))
    extra = [f"Row {number} is another one, about {number * 611953}." for number in range(80, 160)]
    write_dataset(folder, columns_of(160, text=[*texts, *extra]))
    return folder


@pytest.fixture
def sets_of(place, tmp_path):
    """Held-out sets of files, `sets_of(a=range(30))`, of two versions whose validation splits share documents."""
    store = Store.open(str(place / ".curate"))

    def read(*versions, **files):
        named = []
        for name, numbers in files.items():
            path = tmp_path / f"{name}.jsonl"
            texts = (f"Nobody else says {number * 15485863}, or {number * 32452843}." for number in numbers)
            path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
            named.append(str(path))
        arms = [Arm(name, open_dataset(name, store)) for name in versions or ("rows@v1",)]
        return held_out_sets(named, arms, store, limit=None, by=None, say=lambda words: None)

    return read


def test_a_set_named_as_the_endpoint_is_refused(sets_of):
    with pytest.raises(CurateError, match="a held-out set cannot be named `macro`: that is the mean over all"):
        sets_of(macro=range(30))


def test_documents_that_two_named_sets_share_count_in_the_first_and_are_told(sets_of):
    first, second, *_ = sets_of(a=range(30), b=range(20, 60))
    assert (len(first.kept), len(second.kept), second.shared) == (30, 30, {"a": 10})
    assert not {*first.kept.values()} & {*second.kept.values()}
    assert "b: of its 40 documents stand in another set, too: 10 in a: each counts once" in second.warnings
    assert second.json()["shared"] == {"a": 10} and first.warnings == []


def test_a_set_that_stands_in_another_one_is_refused(sets_of):
    with pytest.raises(CurateError, match=r"all 20 documents of the held-out set `b` .* in the held-out set `a`"):
        sets_of(a=range(30), b=range(20))


def test_what_the_validation_splits_of_two_arms_share_is_told_and_stays(sets_of):
    first, second = sets_of("rows@v1", "rows@v2")
    assert second.shared == {first.name: first.documents} and len(second.kept) == second.documents
    words = f"of its {second.documents} documents stand in another set, too: {first.documents} in {first.name}"
    assert f"{second.name}: {words}: they count in both" in second.warnings
