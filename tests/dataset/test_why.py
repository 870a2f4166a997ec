"""`why` tells the whole story of a document, and `diff` what became of all of them."""

from __future__ import annotations

import pytest

from curate.dataset.diff import diff
from curate.dataset.why import why
from curate.errors import CurateError


def test_a_kept_document_with_its_edits(done):
    told = why(done.open(), "one.txt#0")
    assert told == {
        "id": "one.txt#0",
        "source": "one.txt#0",
        "verdict": "kept",
        **dict.fromkeys(("stage", "reason", "value", "threshold", "duplicate_of", "detail")),
        "edits": [
            {
                "stage": "shout",
                "reason": "shouted",
                "value": 14.0,
                "spans": [{"start": 0, "end": 14, "type": "all", "score": 1.0}],
                "characters_before": 14,
                "characters_after": 14,
            }
        ],
        "history": [
            {"stage": "lines", "event": "read", "characters": 14},
            {
                "stage": "shout",
                "event": "edited",
                "reason": "shouted",
                "value": 14.0,
                "spans": [{"start": 0, "end": 14, "type": "all", "score": 1.0}],
                "characters_before": 14,
                "characters_after": 14,
            },
        ],
    }


def test_a_dropped_document_with_value_and_threshold(done):
    told = why(done.open(), "two.txt#26")
    assert [told[key] for key in ("verdict", "stage", "reason", "value", "threshold")] == [
        "dropped", "long", "too_short", 3.0, 5.0,
    ]  # fmt: skip


def test_a_duplicate_names_what_it_duplicates(done):
    told = why(done.open(), "two.txt#25")
    assert (told["verdict"], told["stage"], told["duplicate_of"]) == ("dropped", "copies", "one.txt#32")


def test_a_rejected_piece_of_a_source_is_quarantined_with_the_reason(done):
    identity = next(iter(done.store.read_table(done.open().manifest["ledger"][0]["rejected"]).to_pylist()))["id"]
    told = why(done.open(), identity)
    assert [told[key] for key in ("verdict", "source", "stage", "reason", "detail")] == [
        "quarantined", "one.txt#31", "lines", "bad_line", "it begins with an exclamation mark",
    ]  # fmt: skip
    assert told["history"] == [
        {"stage": "lines", "event": "quarantined", "reason": "bad_line", "detail": "it begins with an exclamation mark"}
    ]


def test_of_two_documents_with_one_id_the_first_is_told_and_the_other_mentioned(project):
    project.write("a.txt", "x|first of all", "x|second")
    project.write("b.txt", "x|third")
    project.stages("Shout, word: first")
    project.run()
    told = why(project.open(), "x")
    assert (told["verdict"], told["source"], len(told["edits"])) == ("kept", "a.txt#0", 1)
    assert [(event["event"], event.get("detail")) for event in told["history"]] == [
        ("read", None),
        ("edited", None),
        ("quarantined", "another document with this id, from a.txt#1"),
        ("quarantined", "another document with this id, from b.txt#0"),
    ]


def test_an_unknown_document_is_an_error(done):
    with pytest.raises(CurateError, match="no document `nobody` went into toy@") as caught:
        why(done.open(), "nobody")
    assert caught.value.hint == "`curate data sample toy` prints some documents with their ids"


def test_a_damaged_ledger_is_an_error(done):
    done.store.object_path(done.open().manifest["ledger"][0]["object"]).unlink()
    with pytest.raises(CurateError, match="is missing"):
        why(done.open(), "one.txt#0")


# ---- diff


def test_two_equal_versions_differ_in_nothing(done):
    found = diff(done.open(), done.open())
    assert [found[key] for key in ("added", "removed", "changed", "unchanged")] == [0, 0, 0, 57]


def test_documents_added_removed_and_changed_are_counted(done):
    lines = (done.root / "two.txt").read_text().splitlines()
    done.write("two.txt", *lines[1:25], "one more line here", lines[25], *lines[26:])
    done.run("shout.word=q", "long.minimum=4")
    found = diff(done.open("toy@v1"), done.open("toy@v2"))
    assert (found["added"], found["examples"]["added"]) == (0, [])
    assert found["removed"] == 0
    assert found["changed"] == 57 - found["unchanged"]


def test_a_diff_names_examples_and_columns(project):
    project.write("a.txt", "1|one", "2|two", "3|three")
    project.stages()
    project.run()
    project.write("a.txt", "2|two", "3|THREE", "4|four", "5|five")
    project.stages("Long")
    project.run()
    found = diff(project.open("toy@v1"), project.open("toy@v2"))
    assert found["examples"] == {"added": ["4", "5"], "removed": ["1"], "changed": ["3"]}
    assert [found[key] for key in ("added", "removed", "changed", "unchanged")] == [2, 1, 1, 1]
    assert found["columns"] == {"added": ["length"], "removed": []}


def test_a_document_that_moves_to_another_split_is_changed(project):
    project.write("a.txt", "10|one", "12|two")
    project.stages()
    project.run()
    project.write("a.txt", "10|one", "12|two", "13|x")
    project.stages("Halves")
    project.run()
    assert diff(project.open("toy@v1"), project.open("toy@v2"))["unchanged"] == 2
