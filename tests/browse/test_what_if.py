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
        leaving = sum(one["leave"] for one in told["stages"])
        assert int(leave.sum()) == leaving - told["documents"]["earlier"] == before_and_not_now(columns, told)
        assert all(columns.verdict[leave] == 0)
        assert int(stay.sum()) == sum(one["stay"] for one in told["stages"])


def before_and_not_now(columns, told):
    """How many that were kept would not be, where what is let in is followed by a stage, or is counted as it is kept."""
    documents = told["documents"]
    let_in = sum(one["stay"] for one in told["stages"]) - documents["unknown"]
    return documents["before"] - documents["now"] + let_in


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
        ({"first.min_words": float("nan")}, "`first.min_words` is no number: `nan`"),
        ({"first.min_words": float("inf")}, "`first.min_words` is no number: `inf`"),
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


@pytest.fixture(scope="module")
def skewed(make):
    """Ninety short texts and one very long one; a filter with thresholds of all kinds, and a stage that compares all."""
    texts = [" ".join(["word"] * (number % 30 + 1)) + f" {number}" for number in range(90)] + ["word " * 60_000]
    stages = [
        stage("Short", "first", ", min_words: 4"),
        "{stage: gopher_repetition, id: again}",
        "{stage: near_duplicates, id: dedup, similarity: 0.99}",
    ]
    return make("skewed", {"texts/a.jsonl": texts}, stages)


def test_the_steps_of_a_slider_are_even_shares_of_the_documents(skewed):
    (one,) = [one for one in WhatIf(opened(skewed)[1]).sliders() if one["setting"] == "min_words"]
    assert one["most"] == 60_000 and 4 in one["steps"]
    assert len([step for step in one["steps"] if step <= 31]) > 25 and len(one["steps"]) < 35


def test_thresholds_without_a_slider_are_listed_with_the_reason(skewed):
    asking = WhatIf(opened(skewed)[1])
    fixed = {(one["stage"], one["setting"]): one["why"] for one in asking.fixed()}
    assert fixed["again", "max_top_n_gram"] == "it is no single number"
    assert asking.why_not == {"dedup": "it decides over all documents together"}
    pages = client(skewed.store)
    page = pages.get(f"/v/{version_of(skewed.store)}/what-if").text
    assert "it decides over all documents together" in page and "it is no single number" in page


def test_the_command_has_what_the_file_says_otherwise_than_the_version(make, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", STAGES, prepend=os.pathsep)
    project = make("other", {"texts/a.jsonl": ["one two three four five six"] * 3}, [stage("Short", "first")])
    path = project.root / "pipeline.yaml"
    path.write_text(path.read_text().replace("id: first", "id: first, min_words: 2"))
    run(path, overrides=["first.min_words=3"], workers=1)
    version = version_of(project.store)
    pages = client(project.store)
    told = pages.get(f"/v/{version}/what-if.json?set.first.min_words=6").json()
    assert told["command"] == "curate run pipeline.yaml --set first.min_words=6" and told["compared"]
    assert pages.get(f"/v/{version}/what-if.json").json()["command"].endswith(" --set first.min_words=3")
    (older,) = [one for one in pages.get("/index.json").json()["datasets"][0]["versions"] if one["name"] != version]
    assert pages.get(f"/v/{older['name']}/what-if.json").json()["tell"] is None
    other = path.rename(project.root / "other.yaml")
    path.write_text(other.read_text().replace("dataset: ", "dataset: else-"))
    told = pages.get(f"/v/{version}/what-if.json?set.first.min_words=6").json()
    assert told["command"] == "curate run other.yaml --set first.min_words=6"
    other.unlink()
    path.write_text("stages: []\n")
    told = pages.get(f"/v/{version}/what-if.json?set.first.min_words=6").json()
    assert not told["compared"]
    assert "stands for the file" in pages.get(f"/v/{version}/what-if").text
