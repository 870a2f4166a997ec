"""A slider's counts are those of `curate what-if`, and of a real run where no stage comes behind."""

from __future__ import annotations

import json
import os
import random
import shutil

import pytest

from curate import run
from curate.browse.whatif import WhatIf
from curate.config.pipeline import load_pipeline
from curate.dataset.reader import open_dataset
from curate.errors import CurateError
from curate.pipeline.what_if import what_if
from tests.browse.conftest import STAGES, client, opened, version_of
from tests.reports.conftest import Project, stage


@pytest.fixture(scope="module")
def filtered(make):
    """A hundred documents that two filters measured, one after the other, the last stage among them."""
    texts = [" ".join(["word"] * (number % 40 + 1)) + "!" * (number % 7 == 0) for number in range(100)]
    stages = [stage("Short", "first", ", min_words: 4"), stage("Short", "last", ", min_words: 9")]
    return make("filtered", {"texts/a.jsonl": texts[:50], "texts/b.jsonl": [*texts[50:], b"{broken"]}, stages)


def counts(told):
    documents = told["documents"]
    return tuple(documents[key]["documents"] for key in ("before", "now", "unknown"))


def test_random_thresholds_are_counted_as_by_the_command(filtered):
    dataset, columns = opened(filtered)
    draw, asking = random.Random(4), WhatIf(columns)
    for _ in range(30):
        asked = {
            f"{name}.min_words": draw.randint(0, 45) for name in draw.sample(["first", "last"], draw.choice([1, 2]))
        }
        changes = asking.read(asked)
        if not changes:
            continue
        sets = [f"{key}={value}" for key, value in asked.items()]
        expected = what_if(dataset, load_pipeline(filtered.root / "pipeline.yaml", sets))
        told, leave, stay = asking.tell(changes)
        assert tuple(told["documents"][key] for key in ("before", "now", "unknown")) == counts(expected), asked
        assert int(leave.sum()) == sum(one["leave"] for one in told["stages"])
        assert int(stay.sum()) == sum(one["stay"] for one in told["stages"])


def test_documents_that_a_filter_does_not_look_at_stay_as_by_the_command(make):
    texts = [" ".join(["word"] * (number % 40 + 1)) for number in range(60)]
    places = ", ".join(f"'texts/a.jsonl#{place}'" for place in offsets(texts)[::2])
    stages = [stage("Short", "half", f", min_words: 9, where: {{source_uri: [{places}]}}")]
    project = make("where", {"texts/a.jsonl": texts}, stages)
    dataset, columns = opened(project)
    told, _, _ = WhatIf(columns).tell({"half": {"min_words": 20}})
    expected = what_if(dataset, load_pipeline(project.root / "pipeline.yaml", ["half.min_words=20"]))
    assert tuple(told["documents"][key] for key in ("before", "now", "unknown")) == counts(expected)
    assert len(dataset) > told["documents"]["now"] > 30


def offsets(texts):
    lines = [len(json.dumps({"text": text})) + 1 for text in texts]
    return [sum(lines[:number]) for number in range(len(lines))]


@pytest.mark.parametrize("value", [5, 20])
def test_of_a_last_stage_the_count_is_what_a_run_keeps(filtered, tmp_path, monkeypatch, value):
    monkeypatch.setenv("PYTHONPATH", STAGES, prepend=os.pathsep)
    shutil.copytree(filtered.root, tmp_path / "copy")
    project = Project(tmp_path / "copy")
    told, _, _ = WhatIf(opened(project)[1]).tell({"last": {"min_words": value}})
    run(project.root / "pipeline.yaml", overrides=[f"last.min_words={value}"], workers=1)
    assert told["documents"]["now"] == len(open_dataset("books", project.store))
    assert told["documents"]["unknown"] == 0


def test_what_an_earlier_stage_would_let_in_is_not_known(filtered):
    told, _, stay = WhatIf(opened(filtered)[1]).tell({"first": {"min_words": 2}})
    assert told["documents"]["unknown"] == int(stay.sum()) > 0
    assert told["documents"]["now"] == told["documents"]["before"]


def test_the_page_has_ten_that_flip_each_way_nearest_first_and_the_command(filtered):
    pages, version = client(filtered.store), version_of(filtered.store)
    told = pages.get(f"/v/{version}/what-if.json?set.last.min_words=25").json()
    assert told["command"] == "curate run pipeline.yaml --set last.min_words=25"
    assert told["flips"]["leave"]["documents"] == told["documents"]["before"] - told["documents"]["now"]
    nearest = told["flips"]["leave"]["nearest"]
    _, columns = opened(filtered)
    values = [columns.feature("last.words")[columns.row(_place(one))] for one in nearest]
    assert len(values) == 10 and values == sorted(values, reverse=True) and values[0] == 24
    told = pages.get(f"/v/{version}/what-if.json?set.last.min_words=5").json()
    assert told["flips"]["stay"]["documents"] == told["documents"]["now"] - told["documents"]["before"] > 0


def _place(one):
    from curate.browse.columns import Place

    return Place.read(one["place"])


def test_every_slider_names_its_rule_and_begins_where_the_threshold_stood(filtered):
    sliders = WhatIf(opened(filtered)[1]).sliders()
    assert [(one["stage"], one["setting"], one["value"], one["column"]) for one in sliders] == [
        ("first", "min_words", 4, "first.words"),
        ("last", "min_words", 9, "last.words"),
    ]
    assert all(sum(one["counts"]) == one["measured"] for one in sliders)


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ({"first.min_word": 1}, "`first.min_word` cannot be moved here"),
        ({"first.id": 1}, "`first.id` cannot be moved here"),
        ({"first.min_words": 2.5}, "`first` cannot have min_words=2.5"),
    ],
)
def test_what_cannot_be_moved_is_told(filtered, asked, problem):
    with pytest.raises(CurateError) as error:
        WhatIf(opened(filtered)[1]).read(asked)
    assert error.value.problem == problem


def test_where_documents_were_made_of_others_nothing_is_told_but_why(make):
    sources = ['{stage: "report_stages:Archive", id: archive}']
    project = make("made", {}, [stage("Chapters", "chapters"), stage("Short", "short")], sources=sources)
    asking = WhatIf(opened(project)[1])
    assert asking.filters == {}
    assert asking.why_not == {"short": "documents of this version were made of others, which would be made or not"}


def test_a_stage_whose_code_is_not_here_is_told(filtered, monkeypatch):
    from curate.browse import whatif

    def gone(name, settings):
        raise CurateError(f"stage `{name}` cannot be imported")

    monkeypatch.setattr(whatif, "stage_of", gone)
    asking = WhatIf(opened(filtered)[1])
    assert asking.filters == {} and set(asking.why_not) == {"first", "last"}
    pages = client(filtered.store)
    assert "its code or settings are not here" in pages.get(f"/v/{version_of(filtered.store)}/what-if").text
