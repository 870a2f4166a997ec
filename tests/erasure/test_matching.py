"""An identifier is found in any writing, and nobody else's is."""

from __future__ import annotations

import json
import unicodedata

import pyarrow as pa
import pyarrow.compute as compute
import pytest

from curate.erasure.matching import Matcher
from curate.erasure.subject import Named, Subject, read_subject
from curate.errors import CurateError

SUBJECT = Subject(
    ("jane.doe@example.com",),
    ("+49 30 901820", "+1 212-555-0199", "030 1234567"),
    (
        "Jos\u00e9 M\u00fcller",
        "Jane Doe",
        "\u5f20\u4e09",
        "Anna Wei\u00df",
        "\u0130brahim Y\u0131lmaz",
        "Sean O'Brien",
        "Zo\u00eb M\u00fcller-L\u00fcdenscheidt",
        "Mar\u00eda Garc\u00eda L\u00f3pez",
    ),
)
WRITINGS = [
    "jane.doe@example.com", "JANE.DOE@Example.COM", "mailto:jane.doe@example.com.", "<jane.doe@example.com>",
    "\uff4aane.doe\uff20example.com", "jane.doe%40example.com", "ja\u00adne.doe@exam\u200bple.com",
    "\u4e2d\u6587jane.doe@example.com\u4e2d\u6587", json.dumps("x\njane.doe@example.com"), r"jane.doe\u0040example.com",
    "+49 30 901820", "+4930901820", "0049 (0)30 / 90 18 20", "(030) 90-18-20", "030901820", "+49 (0) 30 901820",
    "(212) 555-0199", "+1.212.555.0199", "2125550199", "Tel.212-555-0199",
    "\uff11\uff12\uff11\uff12\uff15\uff15\uff15\uff10\uff11\uff19\uff19",
    "\u0662\u0661\u0662 \u0665\u0665\u0665 \u0660\u0661\u0669\u0669", "030/1234567",
    "Jos\u00e9 M\u00fcller", unicodedata.normalize("NFD", "JOS\u00c9 M\u00dcLLER"), "jos\u00e9\nm\u00fcller",
    json.dumps("Jos\u00e9 M\u00fcller"), "M\u00fcller, Jos\u00e9", "Jos\u00e9\u00a0M\u00fcller",
    "Doe, Jane", "jane-doe", "JANE   DOE's", r"Jane\nDoe", r"\u004aane Doe", "\U0001d409\U0001d41a\U0001d427\U0001d41e Doe",
    "\u6211\u53eb\u5f20\u4e09\u3002", "Anna Wei\u00df", "ANNA WEISS", "Wei\u1e9e, Anna", r"Anna Wei\u00df",
    "\u0130brahim Y\u0131lmaz",
    "Sean O\u2019Brien", "SEAN O'BRIEN", "_Jane Doe_", "user_jane_doe_2020", "Jane\u2011Doe", "Jane\n          Doe",
    "_jane.doe@example.com_", "Doe Jane", "M\u00fcller-L\u00fcdenscheidt, Zo\u00eb", "GARC\u00cdA L\u00d3PEZ, Mar\u00eda",
    "Garc\u00eda L\u00f3pez Mar\u00eda",
    "Jane A. Doe", "Jane A Doe", "JANE A.B. DOE", "Jane M. R. Doe", "Doe, Jane A.", "&#106;ane d&#111;e", "&#x4A;ane Doe",
    "Jos&eacute; M&uuml;ller", "Jane&nbsp;Doe", "Jane Doe's", "Jane Does Haus", "Jane Doe-led", "pro-Jane Doe", "Jane-Doe-CV",
    "jane.doe @ example.com", "jane.doe [at] example.com", "jane.doe (AT) example [dot] com", "jane.doe at example dot com",
    "jane.doe+news@example.com", "jane.doe&#64;example&#46;com", "&#106;ane.doe@example.com",
    "write to jane.doe @ example.com!",
]  # fmt: skip
OTHERS = [
    "xjane.doe@example.com", "jane.doe2@example.com", "12125550199123", "1.030901820", "4930901820.5", "91 212 555 01990",
    "Jane Doerr", "Mary-Jane Doex", "Jose Muller", "jane", "901820",
    "Mary-Jane Doe", "Jane Doe-Smith", "what Jane does", "Jane Abel Doe", "4930 9018 2012 3456",
]  # fmt: skip


@pytest.fixture(scope="module")
def matcher():
    return Matcher(SUBJECT)


def passes(matcher, text):
    return compute.match_substring_regex(pa.array([text]), matcher.pattern)[0].as_py()


@pytest.mark.parametrize("text", WRITINGS)
def test_a_writing_is_found_by_the_scan_and_in_the_text(matcher, text):
    assert passes(matcher, text)
    assert matcher.find(text)


@pytest.mark.parametrize("text", OTHERS)
def test_somebody_else_is_not_found(matcher, text):
    assert matcher.find(text) == []


def test_a_number_in_json_becomes_null_and_a_string_a_placeholder(matcher):
    said = matcher.edits('{"a": 2125550199, "b": "2125550199"}', is_json=True)
    assert [edit.by for edit, _ in said] == ["null", "<PHONE>"]


def test_json_in_which_nothing_can_be_replaced_becomes_null(matcher):
    said = matcher.edits('{"a": -2125550199}', is_json=True)
    assert [(edit.start, edit.by) for edit, _ in said] == [(0, "null")]


def test_other_domains_and_longer_addresses_stay_whole():
    only = Matcher(Subject(("jane.doe@example.com",)))
    assert only.find("jane.doe@example.com.uk jane.doe@example.community mary_jane.doe@example.com") == []
    assert only.find("jane.doe+news@example.com.org jane.doe attends example.com") == []


# ---- the file

BAD = {
    "": "a subject file is a mapping of lists, and this is none or empty",
    "- a": "a subject file is a mapping of lists, and this is none or empty",
    "emails: [": "the subject file is no YAML or JSON",
    "mails: [a@b.org]": "a subject file has a key that means nothing",
    "emails: a@b.org": "`emails` is not a list",
    "emails: [nobody]": "this is no e-mail address",
    "phones: [4930901820]": "an identifier is not a text",
    'phones: ["12345"]': "a phone number has at least 7 digits and no letters",
    "names: [Jo]": "a name as short as this stands in too many texts",
    "emails: []": "the subject file names nobody",
}


@pytest.mark.parametrize("text", BAD)
def test_a_bad_subject_file_is_told_without_what_it_says(tmp_path, text):
    path = tmp_path / "subject.yaml"
    path.write_text(text)
    with pytest.raises(CurateError) as caught:
        read_subject(path)
    assert caught.value.records()[0]["problem"] == BAD[text]
    assert "nobody" not in str(caught.value.records()[0]["where"])


def test_a_subject_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(CurateError, match="the subject file cannot be read: No such file"):
        read_subject(tmp_path / "none.yaml")


def test_a_subject_file_may_be_json(tmp_path):
    path = tmp_path / "subject.json"
    path.write_text(json.dumps({"names": [" Jane Doe ", "Jane Doe"], "documents": ["d1"]}))
    assert read_subject(path) == Subject(names=("Jane Doe",), documents=(Named("d1"),))
