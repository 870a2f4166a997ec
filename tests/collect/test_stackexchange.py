"""Dumps of Stack Exchange: a document a question, with its answers wherever they stand, and every row counted."""

from __future__ import annotations

from collections import Counter
from xml.sax.saxutils import quoteattr

import pytest

import curate.collect.dumps.posts as posts
from curate.collect.dumps.stackexchange import StackExchange
from curate.stages.parts import Passed, Rejected, SourceContext


def row(number, kind=1, **fields):
    said = {
        "Id": number,
        "PostTypeId": kind,
        "CreationDate": "2015-01-02T03:04:05.678",
        "Score": 0,
        "OwnerUserId": 10 + number,
    }
    said |= {"Body": f"<p>body {number}</p>"} | fields
    written = " ".join(f"{name}={quoteattr(str(value), {chr(10): '&#xA;'})}" for name, value in said.items())
    return f"  <row {written} />"


def dump(*rows):
    return ('\ufeff<?xml version="1.0" encoding="utf-8"?>\n<posts>\n' + "\n".join(rows) + "\n</posts>\n").encode()


QUESTION = row(
    5, Title="How & why?", Tags="<c++><rivers>", Score=7, AcceptedAnswerId=9,
    Body="<p>Say <code>x &lt; 1</code></p>\n<pre><code>a\n  b\n</code></pre>",
)  # fmt: skip
ROWS = [
    row(2, 2, ParentId=5, Score=1), QUESTION, row(8, 2, ParentId=5, Score=-3), row(9, 2, ParentId=5, Score=40),
    row(11, 2, ParentId=5, Score=1), row(6, Title="No answers", Tags="|a|b|"), row(12, 2, ParentId=777), row(13, 5), row(14, 4),
]  # fmt: skip


@pytest.fixture
def read(tmp_path):
    def of(content, name="Posts.xml", **settings):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
        stage = StackExchange(paths=name, **settings)
        rows, rejected, passed = [], [], Counter()
        (part,) = stage.plan(SourceContext(tmp_path, 1 << 20, str))
        for item in stage.read(part):
            if isinstance(item, Rejected):
                rejected.append((item.offset, item.reason))
            elif isinstance(item, Passed):
                passed[item.kind] += item.count
            else:
                rows += item.to_pylist()
        return rows, rejected, passed

    return of


def test_a_question_is_a_document_with_its_answers_by_score_wherever_they_stand(read):
    (first, second), rejected, passed = read(dump(*ROWS), "rivers.stackexchange.com/Posts.xml")
    assert first["text"] == ("How & why?\n\nSay x < 1\n\na\n  b\n\nbody 9\n\nbody 2\n\nbody 11\n\nbody 8")
    assert (first["tags"], second["tags"], second["answers"], second["text"]) == (
        ["c++", "rivers"], ["a", "b"], 0, "No answers\n\nbody 6",
    )  # fmt: skip
    assert [first[name] for name in ("question_id", "score", "answers", "accepted_answer", "url")] == [
        5, 7, 4, 9, "https://rivers.stackexchange.com/q/5",
    ]  # fmt: skip
    assert first["attribution"].startswith(
        "user 15 (https://rivers.stackexchange.com/users/15, https://rivers.stackexchange.com/q/5); user 19 ("
    )
    assert passed == {"answer in its question": 4, "answer without its question": 1, "post of another kind": 2}
    assert (rejected, 2 + passed.total()) == ([], len(ROWS))
    assert first["source_uri"] == f"rivers.stackexchange.com/Posts.xml#{dump(*ROWS).index(QUESTION.encode())}"


def test_the_licence_is_the_one_that_is_named_else_that_of_the_day_and_all_of_a_document_hold(read):
    rows, _, _ = read(dump(
        row(1, CreationDate="2011-04-07T23:59:59.999"), row(2, CreationDate="2011-04-08T00:00:00.000"),
        row(3, CreationDate="2018-05-02T00:00:00.000"), row(4, ContentLicense="CC BY-SA 3.0"),
        row(5, 2, ParentId=1, CreationDate="2019-01-01T00:00:00"),
    ))  # fmt: skip
    assert [(one["license"], one["license_evidence"]) for one in rows] == [
        ("CC-BY-SA-2.5 AND CC-BY-SA-4.0", "day of the post"), ("CC-BY-SA-3.0", "day of the post"),
        ("CC-BY-SA-4.0", "day of the post"), ("CC-BY-SA-3.0", "ContentLicense"),
    ]  # fmt: skip
    assert rows[1]["url"] is None and rows[1]["attribution"] == "user 12"


def test_poor_answers_go_on_request_and_html_stays_on_request(read):
    (first, _), _, passed = read(dump(*ROWS), min_score=1, html=True, columns=["score"])
    assert first["text"].endswith("<p>body 9</p>\n\n<p>body 2</p>\n\n<p>body 11</p>")
    assert sorted(first) == ["id", "score", "source_uri", "text"]
    assert (passed["answer in its question"], passed["answer below min_score"]) == (3, 1)


def test_damaged_rows_cost_themselves_and_entities_are_not_expanded(read):
    bad = [
        row(1).replace("Body", "Bo dy"),
        row(1, Id="x"),
        row(3, 2),
        row(2**70),
        "<row Id='4' PostTypeId='1' Body='&b;'/>",
        "words",
        row(7),
    ]
    head = b'<!DOCTYPE posts [<!ENTITY b "bbbb">]>\n'
    rows, rejected, _ = read(head + dump(*bad))
    assert [one["question_id"] for one in rows] == [7]
    assert [reason for _, reason in rejected] == ["corrupt"] * 7


def test_a_file_that_is_cut_short_a_long_row_and_a_question_that_is_there_twice(read):
    data = dump(*ROWS)
    rows, rejected, _ = read(data[: data.index(b"No answers")])
    assert ([one["answers"] for one in rows], [reason for _, reason in rejected]) == ([4], ["corrupt", "truncated"])
    _, rejected, passed = read(dump(row(1, Body="x" * 9000), row(2), row(2)), max_document_bytes=1000)
    assert [reason for _, reason in rejected] == ["too_long"]
    assert passed == {"question that is there twice": 1}


def test_what_is_held_at_once_does_not_change_what_is_read(read, monkeypatch):
    expected = read(dump(*ROWS))
    monkeypatch.setattr(posts, "BATCH", 2)
    assert read(dump(*ROWS)) == expected


def test_a_number_of_an_accepted_answer_that_is_none_costs_its_row(read):
    rows, rejected, _ = read(dump(*(row(n, AcceptedAnswerId="9" * size) for n, size in ((1, 25), (2, 5000), (3, 3)))))
    assert [one["accepted_answer"] for one in rows] == [999]
    assert [reason for _, reason in rejected] == ["corrupt", "corrupt"]


def test_an_answer_that_is_there_twice_is_in_its_question_once(read):
    twice = [row(2, 2, ParentId=1, Score=score) for score in (1, 5, 5)]
    others = [row(number, 2, ParentId=1, Score=score) for number, score in ((3, -1), (4, 3))]
    (one,), _, passed = read(dump(row(1, Title="T"), *twice, *others), min_score=0)
    assert (one["text"], one["answers"]) == ("T\n\nbody 1\n\nbody 2\n\nbody 4", 2)
    assert passed == {"answer that is there twice": 2, "answer below min_score": 1, "answer in its question": 2}


def test_answers_of_a_question_that_is_too_long_are_not_told_to_be_in_it(read):
    posts = [row(1, Body="x" * 600), row(2, 2, ParentId=1, Body="y" * 600)]
    rows, rejected, passed = read(dump(*posts), max_document_bytes=1000)
    assert (rows, [reason for _, reason in rejected]) == ([], ["too_long"])
    assert passed == {"answer of a question that is too long": 1}


def test_many_poor_answers_take_time_by_their_number(read):
    answers = [row(n, 2, ParentId=1, Score=-1, Body="") for n in range(2, 6000)]
    _, _, passed = read(dump(row(1), *answers), min_score=0)
    assert passed == {"answer below min_score": 5998}


def test_a_file_without_its_end_is_truncated(read):
    data = dump(*ROWS)
    assert [reason for _, reason in read(data[: data.index(b"</posts>")])[1]] == ["truncated"]
