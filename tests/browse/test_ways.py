"""Ways through the pages: lists that are walked document by document, all names of a column, lists of a difference."""

from __future__ import annotations

import os

import pytest

from curate.browse.query import Query, Selection
from tests.browse.conftest import STAGES, client, opened, version_of
from tests.reports.conftest import LONG, stage


@pytest.fixture(scope="module")
def many(make):
    """Documents of thirty names, every third too short; and a version after it with another threshold and an edit."""
    from curate import run

    rows = [
        {
            "id": f"d{number:02}",
            "text": f"{LONG} {number}" if number % 3 else f"number {number}",
            "tongue": f"t{number:02}",
        }
        for number in range(30)
    ]
    rows[4]["text"] = f"{LONG} write to ann@example.org or call \u200bZebulon"
    rows[7]["text"] = f"{LONG} one two three four"
    project = make(
        "many", {"texts/a.jsonl": rows}, [stage("Hide", "pii", ", pattern: NOBODY"), stage("Short", "short")]
    )
    before = version_of(project.store)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", STAGES, prepend=os.pathsep)
        run(project.root / "pipeline.yaml", overrides=["short.min_words=14", "pii.pattern=one two"], workers=1)
    pages = client(project.store)
    return pages, before, version_of(project.store), project


def test_next_and_previous_stay_among_the_documents_of_the_list(many):
    pages, version, _, _ = many
    told = pages.get(f"/v/{version}/documents.json?is.stage=short").json()
    at, seen = told["listed"][0]["place"], []
    while at:
        one = pages.get(f"/v/{version}/d/{at}.json?is.stage=short").json()
        seen, at = [*seen, one["story"]["id"]], one["beside"]["next"]
    assert seen == [f"d{number:02}" for number in range(0, 30, 3)]
    page = pages.get(f"/v/{version}/documents?is.stage=short").text
    assert "/d/0-3?is.stage=short" in page
    page = pages.get(f"/v/{version}/d/0-3?is.stage=short").text
    assert "/d/0-6?is.stage=short" in page and "/documents?is.stage=short" in page


def test_beside_follows_the_order_of_the_list(many):
    _, columns = opened(many[3])
    chosen = Selection(columns, Query(sort="length", down=True))
    order = chosen.first(30)
    for number, row in enumerate(order):
        expected = {
            "previous": order[number - 1] if number else None,
            "next": order[number + 1] if number < 29 else None,
        }
        assert chosen.beside(row) == expected
    assert Selection(columns, Query(names={"tongue": ("t03", "t09")})).beside(5) is None


def test_all_names_of_a_column_can_be_reached(many):
    pages, version, _, _ = many
    short, whole = (
        {one["column"]: one for one in pages.get(f"/v/{version}/documents.json{end}").json()["facets"]}["tongue"]
        for end in ("", "?names=tongue")
    )
    assert (len(short["names"]), short["others"]["names"]) == (12, 18)
    assert (len(whole["names"]), whole["others"]["names"]) == (30, 0)
    assert "?names=tongue#filters" in pages.get(f"/v/{version}/documents").text


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ("nonsense=1", "`nonsense` asks for nothing here"),
        ("none.tongue=1", "`none.tongue` asks for nothing here"),
        ("down=1", "`down` asks for nothing here"),
        ("order=less", "there is no order `less`"),
        ("page=3", "there is no page 3"),
    ],
)
def test_an_address_that_is_written_wrong_is_told_and_shows_nothing(many, asked, problem):
    pages, version, _, _ = many
    answer = pages.get(f"/v/{version}/documents.json?{asked}")
    assert answer.status_code in (400, 404) and answer.json()["errors"][0]["problem"] == problem


def test_a_difference_leads_to_all_of_its_documents_with_the_reason(many):
    pages, before, after, _ = many
    told = pages.get(f"/v/{after}/diff.json?with={before}").json()
    assert told["removed"] == 18 and len(told["examples"]["removed"]) == 10
    seen = []
    page = pages.get(f"/v/{after}/diff.json?with={before}&list=removed").json()["lists"]
    seen = [one["id"] for one in page["listed"]]
    assert (page["documents"], page["pages"], len(seen)) == (18, 1, 18)
    assert {(one["verdict"], one["stage"], one["version"]) for one in page["listed"]} == {("dropped", "short", after)}
    (reason,) = told["reasons"]["removed"]
    end = f"with={before.replace('@', '%40')}&amp;list=removed&amp;stage=short&amp;reason={reason['reason']}"
    assert end in pages.get(f"/v/{after}/diff?with={before}").text
    some = pages.get(f"/v/{after}/diff.json?{end.replace('&amp;', '&')}").json()["lists"]
    assert some["documents"] == reason["documents"]
    back = pages.get(f"/v/{before}/diff.json?with={after}&list=added").json()["lists"]
    assert sorted(one["id"] for one in back["listed"]) == sorted(seen)
    assert {one["version"] for one in back["listed"]} == {after}


def test_what_changed_is_shown_word_by_word_and_masked(many):
    pages, before, after, _ = many
    page = pages.get(f"/v/{after}/diff?with={before}&list=changed")
    assert page.status_code == 200 and "<mark>&lt;EMAIL&gt;</mark>" in page.text
    assert "three four" in page.text and "one two three" not in page.text  # what one version found is hidden in both
    assert "ann@example.org" not in page.text
    assert pages.get(f"/v/{after}/diff?with={before}&list=else").status_code == 404


def test_runs_on_different_versions_are_not_shown_as_comparable(many):
    from curate.dataset.refs import resolve
    from curate.dataset.runs import records

    pages, before, after, project = many
    for name, version in (("one", before), ("two", after)):
        full = resolve(project.store, version).version
        project.train(name, [{"step": 1, "loss": 2.0}], version=full, project=name)
    ids = [one["id"] for one in sorted(records(project.store, "training"), key=lambda one: one["name"])]
    told = pages.get(f"/runs.json?id={ids[0]}&id={ids[1]}").json()
    assert told["measured_on_different"] and [one["data"] for one in told["chosen"]] == [before, after]
    page = pages.get(f"/runs?id={ids[0]}&id={ids[1]}").text
    assert "cannot be compared" in page and f"/v/{after.replace('@', '%40')}/diff?with=" in page
    assert not pages.get(f"/runs.json?id={ids[0]}").json()["measured_on_different"]
