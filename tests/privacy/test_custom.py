"""Recognizers that the pipeline file names: Presidio's, patterns, and the user's own classes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from curate.errors import CurateError
from curate.privacy import limits
from curate.privacy.custom import PRESIDIO, trigger_of
from curate.privacy.limits import PatternTimeout
from curate.privacy.pii import Pii

EMPLOYEE = {"name": "employee", "entity": "EMPLOYEE_ID", "patterns": [r"\bEMP-\d{6}\b"], "context": ["employee"]}


@pytest.fixture
def edited(documents):
    """What stands in the version for a text, and its spans."""

    def edit(text, *recognizers, **settings):
        stage = Pii.model_validate({"recognizers": recognizers, **settings})
        rows = stage.open()(documents([text])).verdicts.to_pylist()
        return (rows[0]["text"], rows[0]["spans"]) if rows else (text, [])

    return edit


# ---- what is found


def test_a_pattern_needs_no_python(edited):
    text, spans = edited("ask EMP-123456 or emp-654321, not XEMP-1234567", EMPLOYEE)
    assert text == "ask <EMPLOYEE_ID> or <EMPLOYEE_ID>, not XEMP-1234567"
    assert [(span["type"], span["rule"]) for span in spans] == [("EMPLOYEE_ID", "employee: pattern 1")] * 2


def test_a_pattern_is_found_beside_other_scripts_and_in_full_width_forms(edited):
    assert edited("\u54e1\u5de5EMP-123456\u7684", EMPLOYEE)[0] == "\u54e1\u5de5<EMPLOYEE_ID>\u7684"
    wide = "".join(chr(ord(one) + 0xFEE0) for one in "EMP-123456")
    assert edited(wide, EMPLOYEE)[0] == "<EMPLOYEE_ID>"


def test_context_raises_a_weak_pattern_over_the_threshold(edited):
    weak = EMPLOYEE | {"patterns": [r"\b\d{6}\b"], "score": 0.1}
    assert edited("the employee 123456 and many more words until 654321", weak)[0].count("<EMPLOYEE_ID>") == 1


def test_a_recognizer_of_presidio_is_named_by_its_class(edited):
    text, spans = edited("NINO: AB 12 34 56 C", "UkNinoRecognizer")
    assert (text, spans[0]["type"]) == ("NINO: <UK_NINO>", "UK_NINO")
    assert spans[0]["rule"].startswith("UkNinoRecognizer: ")


def test_operators_placeholders_and_thresholds_are_by_its_entity(edited):
    text = "ask EMP-123456"
    assert edited(text, EMPLOYEE, operators={"EMPLOYEE_ID": "mask"})[0] == "ask ***-******"
    assert edited(text, EMPLOYEE, placeholders={"EMPLOYEE_ID": "[WHO]"})[0] == "ask [WHO]"
    assert edited(text, EMPLOYEE, min_scores={"EMPLOYEE_ID": 0.9})[0] == text


def test_a_pattern_may_find_more_of_what_is_looked_for_anyway(edited):
    text, [span] = edited("at desk 7-1234", {"entity": "phone", "patterns": [r"desk \d-\d{4}"]})
    assert (text, span["type"]) == ("at <PHONE>", "PHONE_NUMBER")


def test_nothing_but_the_users_patterns_may_be_looked_for(edited):
    assert edited("ann@example.co.uk EMP-123456", EMPLOYEE, entities=[])[0] == "ann@example.co.uk <EMPLOYEE_ID>"


@pytest.mark.slow
def test_every_recognizer_of_presidio_that_may_be_named_loads_and_finds_its_entity():
    import presidio_analyzer.predefined_recognizers as theirs

    stage = Pii.model_validate({"entities": [], "recognizers": list(PRESIDIO)})
    assert set(stage.types()) == set(PRESIDIO.values())
    stage.finder()
    for name, entity in PRESIDIO.items():
        assert getattr(theirs, name)().supported_entities == [entity], name


# ---- triggers


@pytest.mark.parametrize(
    ("pattern", "trigger"),
    [
        (r"EMP-\d{6}", r"(?ims:EMP-[\pN]{6})"),
        (r"(?<!x)EMP(?=\d)", r"(?ims:(?:)EMP(?:))"),
        (r"a\\b", r"(?ims:a\\b)"),
        (r"(a)\1", None),
        (r"[^\W\d]+", None),
        (r"(?<!a(b))c", None),
        (r"a++", None),
    ],
)
def test_a_trigger_is_made_of_a_pattern_or_every_text_is_looked_at(pattern, trigger):
    assert trigger_of([pattern]) == trigger
    stage = Pii.model_validate({"recognizers": [{"entity": "MY_ID", "patterns": [pattern]}]})
    assert stage.facts() == ({} if trigger else {"looked for in every text": "MY_ID"})


PATTERNS = (r"\bEMP-\d{6}\b", r"[\w.-]{2}@(?=y)\w", r"(?<![A-Z])Nr\.?\s?\d+", r"x(?:ab|\s)y", r"\w\sK\B.")


@given(st.sampled_from(PATTERNS).flatmap(lambda one: st.tuples(st.just(one), st.from_regex(re.compile(one)))))
def test_a_text_in_which_a_pattern_is_found_has_its_trigger(drawn):
    import pyarrow as pa
    import pyarrow.compute as compute

    pattern, text = drawn
    assert compute.match_substring_regex(pa.array([text]), trigger_of([pattern])).to_pylist() == [True]


# ---- limits


@pytest.mark.slow
def test_a_pattern_that_takes_too_long_quarantines_the_document_and_says_so(project):
    project.write(
        "in.jsonl", json.dumps({"text": "ab12 " + "ab" * 40}) + "\n" + json.dumps({"text": "harmless"}) + "\n"
    )
    slow = r"{entity: MY_ID, patterns: ['(?:[ab]|a\w)+\d\d']}"
    project.pipeline(
        "{dataset: toy, sources: [{stage: files, paths: in.jsonl}], stages: [{stage: pii, recognizers: ["
        + slow
        + "]}]}"
    )
    project.cli("run", "pipeline.yaml")
    told = project.cli("why", "in.jsonl#0").out
    assert "quarantined system_failed" in told
    assert "PatternTimeout" in told


def test_presidios_own_recognizers_have_the_limit_too(monkeypatch, documents):
    monkeypatch.setattr(limits, "SECONDS", 1e-9)
    with pytest.raises(PatternTimeout, match="takes more than"):
        Pii(entities=("email",)).open()(documents(["a@b.org " * 20_000]))


# ---- the user's own class

MODULE = """
from presidio_analyzer import Pattern, PatternRecognizer


class Badge(PatternRecognizer):
    def __init__(self):
        super().__init__("BADGE", patterns=[Pattern("badge", r"B#\\d{4}", 0.5)])


class Broken(Badge):
    def __init__(self):
        raise RuntimeError("no badge today")


class NotOne:
    pass
"""


def test_the_class_and_the_settings_in_the_guide_work_as_written(project):
    guide = (Path(__file__).resolve().parents[2] / "docs" / "guide.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```text\n(.*?)```", guide, re.DOTALL)
    project.write("badges.py", next(one for one in blocks if "class Badge(" in one))
    (settings,) = (one for one in blocks if one.startswith("    recognizers:"))
    settings = settings.replace("pseudonym", "mask")
    project.write("in.txt", "badge B#1234, employee EMP-123456")
    project.pipeline(
        f"dataset: toy\nsources:\n  - {{stage: files, paths: in.txt}}\nstages:\n  - stage: pii\n{settings}"
    )
    project.run()
    assert project.texts() == ["badge <BADGE>, employee ***-******\n"]


@pytest.fixture
def with_badge(project):
    project.write("badges.py", MODULE)
    project.write("in.txt", "badge B#1234 of ann@example.co.uk")

    def pipeline(use="badges:Badge"):
        one = f"{{use: '{use}', entity: BADGE}}"
        project.pipeline(
            "{dataset: toy, sources: [{stage: files, paths: in.txt}], stages: [{stage: pii, recognizers: ["
            + one
            + "]}]}"
        )
        return project

    return pipeline


def test_a_class_beside_the_pipeline_file_is_a_recognizer_and_its_code_decides_the_version(with_badge):
    project = with_badge()
    first = project.run()
    assert project.texts() == ["badge <BADGE> of <EMAIL>\n"]
    assert project.run().version == first.version
    project.write("badges.py", MODULE.replace("{4}", "{3}"))
    assert project.run().version != first.version


@pytest.mark.parametrize(
    ("use", "problem"),
    [
        ("nowhere:Badge", "there is no module `nowhere`"),
        ("badges:Bagde", "did you mean `Badge`?"),
        ("badges:Broken", "cannot be made: RuntimeError: no badge today"),
        ("badges:NotOne", "has no `analyze`"),
    ],
)
@pytest.mark.parametrize("command", ["validate", "run"])
def test_a_class_that_is_none_is_told(with_badge, use, problem, command):
    done = with_badge(use).cli(command, "pipeline.yaml")
    assert done.code == 2
    assert problem in done.err


# ---- what is wrong


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            {"recognizers": ["UkNhsRecognizer"]},
            "no recognizer is called `UkNhsRecognizer`; did you mean `NhsRecognizer` or `UkNinoRecognizer`",
        ),
        ({"recognizers": [{"entity": "MY_ID", "patterns": ["("]}]}, r"`\(` is no regular expression: missing \)"),
        ({"recognizers": [{"entity": "MY_ID", "patterns": ["a*"]}]}, "found in the empty text"),
        ({"recognizers": [{"entity": "MY_ID"}]}, "has `use:` or `patterns:`"),
        ({"recognizers": [{"patterns": ["a"]}]}, "needs `entity:`"),
        ({"recognizers": [{"use": "m:C"}]}, "needs `entity:`"),
        ({"recognizers": [{"entity": "my id", "patterns": ["a"]}]}, "`my id` is no name of an entity"),
        ({"recognizers": [{"entity": "US_SSN", "patterns": ["a"]}]}, "`US_SSN` is called `ssn` here"),
        ({"recognizers": [{"use": "m:C", "entity": "X", "score": 0.2}]}, "`score` is for `patterns:`"),
        ({"recognizers": [EMPLOYEE | {"trigger": "(?=a)"}]}, "is no regular expression of RE2"),
        ({"operators": {"emial": "mask"}}, "no entity is called `emial`; did you mean `email`"),
        ({"min_scores": {"EMPLOYEE_ID": 0.5}}, "no entity is called `EMPLOYEE_ID`; there are: email"),
        ({"operators": {"email": "hide"}}, "should be 'placeholder', 'mask'"),
        ({"entities": ["emial"]}, "should be 'email', 'phone'"),
        ({"entities": []}, "nothing is looked for"),
    ],
)
def test_settings_that_are_wrong_are_told(settings, problem):
    with pytest.raises(ValidationError, match=problem):
        Pii.model_validate(settings)


def test_a_module_that_raises_is_the_users_to_mend(monkeypatch, tmp_path):
    (tmp_path / "raising.py").write_text("raise RuntimeError('broken')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(CurateError, match="cannot be imported: RuntimeError: broken"):
        Pii.model_validate({"recognizers": [{"use": "raising:One", "entity": "X"}]}).open()
