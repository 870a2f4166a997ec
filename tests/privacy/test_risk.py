"""`curate privacy risk`: classes of people who look alike, and what a reviewed sample says of the whole."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from curate.privacy.risk import upper_bound

FOLDER = str(Path(__file__).resolve().parent.parent / "pipeline")
if FOLDER not in sys.path:
    sys.path.append(FOLDER)

from toy_project import project  # noqa: E402, F401

PEOPLE = (
    [(30, "10115", "nurse", "flu")] * 4
    + [(30, "10115", "baker", "flu")] * 2
    + [(41, "80331", "nurse", "flu"), (None, "80331", "nurse", "cold")]
)
PIPELINE = 'dataset: toy\nsources: [{stage: files, paths: ["*.jsonl"]}]\nstages: []\n'


@pytest.fixture
def people(project):  # noqa: F811
    rows = [
        {"id": f"p{n}", "text": f"person {n}", "age": age, "zip": area, "job": job, "illness": illness}
        for n, (age, area, job, illness) in enumerate(PEOPLE)
    ]
    (project.root / "people.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    project.pipeline(PIPELINE)
    project.run()
    return project


def risk(project, *options, code=0):  # noqa: F811
    outcome = project.cli("privacy", "risk", "toy", *options, "--json")
    assert outcome.code == code, outcome.err
    return json.loads(outcome.out)


def problem(project, *options):  # noqa: F811
    return risk(project, *options, code=2)["errors"][0]["problem"]


def test_k_anonymity_counts_documents_in_small_classes(people):
    told = risk(people, "--quasi", "age, zip,job")["anonymity"]
    assert (told["documents"], told["classes"], told["k"], told["unique"]) == (8, 4, 1, 2)
    assert told["below"] == {"2": 2, "5": 8, "10": 8}


def test_documents_without_a_quasi_identifier_are_alike_or_alone_or_left_out_and_told(people):
    ways = {}
    for way in ("equal", "unique", "omit"):
        told = risk(people, "--quasi", "age", "--missing", way)["anonymity"]
        ways[way] = [told[key] for key in ("missing", "lacking", "documents", "classes", "unique")]
    assert ways == {"equal": ["equal", 1, 8, 3, 2], "unique": ["unique", 1, 8, 3, 2], "omit": ["omit", 1, 7, 2, 1]}
    said = people.cli("privacy", "risk", "toy", "--quasi", "age").out
    assert "1 documents lack a quasi-identifier: they count as equal where they lack the same" in said
    assert problem(people, "--quasi", "age", "--missing", "alone") == "`--missing` is `alone`"


@pytest.mark.parametrize(("way", "unique", "k"), [("equal", 0, 3), ("unique", 3, 1), ("omit", 0, 3)])
def test_those_who_lack_the_same_are_a_class_only_where_missing_is_equal(people, way, unique, k):
    rows = [{"id": f"p{n}", "text": f"person {n}", "age": 30 if n < 3 else None} for n in range(6)]
    (people.root / "people.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    people.run()
    told = risk(people, "--quasi", "age", "--missing", way)["anonymity"]
    assert (told["unique"], told["k"]) == (unique, k)


def test_l_diversity_counts_documents_whose_class_gives_them_away(people):
    told = risk(people, "--quasi", "zip", "--sensitive", "illness,job")["anonymity"]
    assert told["k"] == 2
    assert told["sensitive"] == {
        "illness": {"l": 1, "classes": 1, "documents": 6},
        "job": {"l": 1, "classes": 1, "documents": 2},
    }


def test_it_is_told_in_words(people):
    said = people.cli("privacy", "risk", "toy", "--quasi", "zip", "--sensitive", "illness").out
    assert said.splitlines()[0] == "k = 2: 8 documents in 2 classes of equal quasi-identifiers"
    assert "`illness`: l = 1; 6 documents are in classes with one value" in said


def test_a_sample_is_drawn_written_reviewed_and_gives_a_bound(people):
    assert risk(people, "--sample", "5", "--out", "s.jsonl")["sample"] == {"file": "s.jsonl", "documents": 5, "seed": 1}
    lines = [json.loads(line) for line in (people.root / "s.jsonl").read_text().splitlines()]
    assert len({line["document"]["id"] for line in lines}) == 5
    assert problem(people, "--reviewed", "s.jsonl") == "this document is not reviewed"
    review(people, lines, [False, 2, False, True, 0])
    told = risk(people, "--reviewed", "s.jsonl")["residual"]
    assert (told["reviewed"], told["found"], told["share"]) == (5, 2, 0.4)
    assert told["upper"] == pytest.approx(0.8534, abs=1e-4)
    risk(people, "--sample", "5", "--out", "again.jsonl")
    assert [json.loads(line)["document"] for line in (people.root / "again.jsonl").read_text().splitlines()] == [
        line["document"] for line in lines
    ]


def review(project, lines, found):  # noqa: F811
    said = [{**line, "found": one} for line, one in zip(lines, found, strict=False)]
    (project.root / "s.jsonl").write_text("".join(json.dumps(line) + "\n" for line in said))


def test_a_text_with_the_ends_of_lines_that_unicode_knows_is_one_line_of_a_sample(people):
    row = {"id": "lines", "text": "one\u2028two\u2029three\x85four"}
    (people.root / "people.jsonl").write_text(json.dumps(row) + "\n")
    people.run()
    risk(people, "--sample", "5", "--out", "s.jsonl")
    file = people.root / "s.jsonl"
    file.write_text(file.read_text(encoding="utf-8").replace('"found": null', '"found": false'), encoding="utf-8")
    assert risk(people, "--reviewed", "s.jsonl")["residual"]["reviewed"] == 1


def test_a_whole_version_that_was_reviewed_has_no_doubt(people):
    risk(people, "--sample", "300", "--out", "s.jsonl")
    lines = [json.loads(line) for line in (people.root / "s.jsonl").read_text().splitlines()]
    review(people, lines, [True] + [False] * 7)
    assert risk(people, "--reviewed", "s.jsonl")["residual"]["upper"] == 1 / 8


@pytest.mark.parametrize(
    ("found", "of", "bound"), [(0, 300, 0.01222), (1, 300, 0.01843), (300, 300, 1.0), (5, 10, 0.8129)]
)
def test_the_bound_is_that_of_clopper_and_pearson(found, of, bound):
    assert upper_bound(found, of) == pytest.approx(bound, abs=1e-4)


def test_bad_samples_are_told(people):
    risk(people, "--sample", "3", "--out", "s.jsonl")
    lines = [json.loads(line) for line in (people.root / "s.jsonl").read_text().splitlines()]
    for change, told in (
        ({"version": "f" * 64}, f"this is a sample of version ffffffffffff, not of {people.open().version[:12]}"),
        ({"found": "yes"}, "`found` is neither true nor false nor a count"),
        ({"found": -1}, "`found` is neither true nor false nor a count"),
        ({"document": lines[1]["document"], "found": False}, "this document is there twice"),
    ):
        review(people, [{**lines[0], **change}, *lines[1:]], [change.get("found", False), False, False])
        assert problem(people, "--reviewed", "s.jsonl") == told
    review(people, lines[:2], [False, False])
    assert problem(people, "--reviewed", "s.jsonl") == "the sample had 3 documents, and here are 2"
    for text, told in (
        ("", "the sample has no documents"),
        ("{", "this line is no JSON"),
        ("[]", "this is no line of a sample"),
    ):
        (people.root / "s.jsonl").write_text(text)
        assert problem(people, "--reviewed", "s.jsonl") == told


def test_bad_questions_are_told(people):
    assert problem(people) == "what is to be estimated?"
    assert problem(people, "--quasi", "age,plz") == "`toy` has no column `plz`"
    assert (
        problem(people, "--quasi", "age", "--sensitive", "age") == "`age` is a quasi-identifier and sensitive at once"
    )
    assert problem(people, "--sensitive", "age") == "`--sensitive` is about classes of quasi-identifiers"
    assert problem(people, "--sample", "3") == "`--sample` and `--out` go together"
    assert problem(people, "--reviewed", "none.jsonl").startswith("the sample cannot be read: No such file")
    (people.root / "s.jsonl").write_text("a review")
    assert problem(people, "--sample", "3", "--out", "s.jsonl") == "`s.jsonl` is there already"


def test_a_version_without_documents_is_told(people):
    people.pipeline(PIPELINE.replace("stages: []", "min_documents: 0\nstages:\n  - {stage: gopher_quality}"))
    people.run()
    assert problem(people, "--quasi", "age").endswith("has no documents")
    assert problem(people, "--sample", "3", "--out", "s.jsonl").endswith("has no documents")
