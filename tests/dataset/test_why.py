"""`why` tells the whole story of a document, and `diff` what became of all of them."""

from __future__ import annotations

import json
import os

import pytest

from curate.dataset.diff import diff
from curate.dataset.ledger import removed_documents
from curate.dataset.reader import Dataset
from curate.dataset.store import object_name
from curate.dataset.why import why
from curate.errors import CurateError


@pytest.mark.anywhere
def test_a_kept_document_with_its_edits(done):
    told = why(done.open(), "one.txt#0")
    assert told == {
        "id": "one.txt#0",
        "source": "one.txt#0",
        "verdict": "kept",
        **dict.fromkeys(
            ("stage", "reason", "value", "threshold", "duplicate_of", "detail", "split", "parent", "children", "origin")
        ),
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
        "measured": [
            {"stage": "long", "features": {"length": 14}, "settings": {"minimum": 5, "scale": 1}},
            {"stage": "letters", "features": {"letters": 0}, "settings": {}},
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
    identity = next(iter(done.store.read_table(done.open().ledger()[0].rejected).to_pylist()))["id"]
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


def test_a_document_is_found_by_where_it_came_from(project):
    project.write("a.txt", "x|first of all", "!broken", "y|cat")
    project.stages("Shout, word: first", "Long, minimum: 5")
    project.run()
    version = project.open()
    assert why(version, "a.txt#0") == why(version, "x")
    assert [why(version, "a.txt#2")[key] for key in ("id", "verdict", "reason")] == ["y", "dropped", "too_short"]
    rejected = why(version, "a.txt#1")
    assert [rejected[key] for key in ("source", "verdict", "reason")] == ["a.txt#1", "quarantined", "bad_line"]
    assert rejected == why(version, rejected["id"])


def test_the_place_of_a_document_whose_id_was_taken_tells_so(project):
    project.write("a.txt", "x|first of all", "x|second")
    project.stages("Shout, word: first")
    project.run()
    told = why(project.open(), "a.txt#1")
    assert [told[key] for key in ("id", "source", "verdict", "stage", "reason", "detail", "edits")] == [
        "x", "a.txt#1", "quarantined", "lines", "duplicate_id", "another document with this id, from a.txt#0", [],
    ]  # fmt: skip
    assert [(event["event"], event.get("reason")) for event in told["history"]] == [
        ("read", None), ("quarantined", "duplicate_id"),
    ]  # fmt: skip


def test_a_place_that_several_documents_came_from_is_an_error(project):
    project.write("one_place.py", """
        from curate.stages.contract import Part, Source

        class OnePlace(Source):
            def plan(self, context):
                return [Part("a", "a", "a")]

            def read(self, part):
                import pyarrow as pa

                yield pa.table({"id": ["1", "2"], "text": ["one", "two"], "source_uri": ["a", "a"]})
    """.replace("\n        ", "\n"))  # fmt: skip
    project.pipeline('dataset: toy\nsources: [{stage: "one_place:OnePlace"}]\nstages: []\n')
    project.monkeypatch.syspath_prepend(str(project.root))
    project.run()
    with pytest.raises(CurateError, match="2 documents came from `a`") as caught:
        why(project.open(), "a")
    assert caught.value.hint == "ask for one by its id: 1, 2"


def test_every_quarantined_document_is_listed(project):
    project.write("a.txt", "x|first", "!broken", "x|second", "z|cat", "y|it does RAISE here")
    project.stages("Long, minimum: 4", "Shout, word: it")
    project.run("max_quarantined=10")
    version = project.open()
    found = list(removed_documents(version.store, version.ledger(), ["quarantined"]))
    assert len(found) == version.manifest["documents"]["quarantined"] == 3
    assert [[row[key] for key in ("stage", "source_uri", "reason")] for row in found] == [
        ["lines", "a.txt#1", "bad_line"],
        ["lines", "a.txt#2", "duplicate_id"],
        ["Long", "a.txt#4", "stage_failed"],
    ]
    assert [row["id"] for row in found[1:]] == ["x", "y"]


def test_an_unknown_document_is_an_error(done):
    with pytest.raises(CurateError, match="no document `nobody` went into toy@") as caught:
        why(done.open(), "nobody")
    assert caught.value.hint == (
        "`curate data sample toy` prints some documents with their ids; 1 that could not be read are called by their places "
        "(`FILE#OFFSET`), not by ids: `curate data show toy --quarantined` lists them"
    )


def test_the_beginning_of_an_id_is_enough(project):
    project.write("a.txt", "abcde-1|first", "abcdf-2|second", "other|third", "!broken")
    project.write("b.txt", "abcde-1|a copy")
    project.stages("Shout, word: first")
    project.run("max_quarantined=10")
    version = project.open()
    assert why(version, "abcde") == why(version, "abcde-1")
    assert [event["event"] for event in why(version, "abcde")["history"]] == ["read", "edited", "quarantined"]
    assert why(version, "abcde")["verdict"] == "kept"
    rejected = why(version, "a.txt#3")["id"]
    assert why(version, rejected[:8])["reason"] == "bad_line"
    with pytest.raises(CurateError, match="`abcd` begins 2 ids") as caught:
        why(version, "abcd")
    assert caught.value.hint == "ask for one of them: abcde-1, abcdf-2"
    for unknown in ("oth", "abcde-2", ""):
        with pytest.raises(CurateError, match=f"no document `{unknown}` went into toy@"):
            why(version, unknown)
    assert project.cli("why", "other", "--store", project.root / ".curate").code == 0


def test_removed_documents_are_listed_by_stage_and_reason(done):
    version = done.open()

    def listed(*verdicts, **which):
        rows = removed_documents(version.store, version.ledger(), verdicts, **which)
        return [(row["id"], row["stage"], row["verdict"], row["reason"], row["value"]) for row in rows]

    dropped = [
        ("one.txt#30", "long", "dropped", "too_short", 3.0),
        ("two.txt#26", "long", "dropped", "too_short", 3.0),
        ("two.txt#25", "copies", "dropped", "duplicate", None),
    ]
    assert listed("dropped") == dropped
    assert listed("dropped", stage="long") == listed("dropped", reason="too_short") == dropped[:2]
    assert listed("dropped", stage="long", reason="duplicate") == listed("quarantined", stage="copies") == []
    assert [row[1:4] for row in listed("quarantined")] == [("lines", "quarantined", "bad_line")]
    assert len(listed("dropped", "quarantined", "expanded")) == 4
    told = json.loads(done.cli("data", "show", "toy", "--dropped", "--stage", "copies", "--json").out)["dropped"]
    assert [(row["id"], row["source_uri"], row["duplicate_of"]) for row in told] == [
        ("two.txt#25", "two.txt#25", "one.txt#32"),
    ]  # fmt: skip


@pytest.mark.anywhere
def test_a_damaged_ledger_is_an_error(done):
    done.store.blobs.delete(object_name(done.open().ledger()[0].object))
    with pytest.raises(CurateError, match="is missing"):
        why(done.open(), "one.txt#0")


# ---- diff


def test_two_equal_versions_differ_in_nothing(done):
    found = diff(done.open(), done.open())
    assert [found[key] for key in ("added", "removed", "changed", "unchanged")] == [0, 0, 0, 57]


@pytest.mark.anywhere
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
    assert found["columns"] == {"added": ["length"], "removed": [], "changed": {"text": 1}}
    assert found["changes"] == {"3": ["text"]}


def test_a_diff_names_ten_documents_of_a_kind_or_all(project):
    project.write("a.txt", "one")
    project.stages()
    project.run()
    project.write("b.txt", *(f"other {i}" for i in range(12)))
    project.run()
    before, after = project.open("toy@v1"), project.open("toy@v2")
    assert len(diff(before, after)["examples"]["added"]) == 10
    assert len(diff(before, after, examples=None)["examples"]["added"]) == 12


def test_a_document_that_moves_to_another_split_is_changed(project):
    project.write("a.txt", "10|one", "11|two")
    project.stages()
    project.run()
    project.write("a.txt", "10|one", "11|two", "13|x")
    project.stages("Halves")
    project.run()
    found = diff(project.open("toy@v1"), project.open("toy@v2"))
    assert (found["unchanged"], found["changes"]) == (1, {"11": ["split"]})


def rows(project, *rows, stages="", source="a"):
    project.write(f"{source}.jsonl", *map(json.dumps, rows))
    project.pipeline(f"dataset: toy\nsources: [{{stage: files, paths: {source}.jsonl}}]\nstages: [{stages}]\n")
    project.run()
    return project.open()


def test_a_document_is_changed_whichever_of_its_columns_changed(project):
    chat = [{"role": "user", "content": "hello"}]
    other = [{"role": "user", "content": "HELLO"}]
    some = [{"id": name, "messages": chat, "topic": "a", "n": 1} for name in "xyz"]
    before = rows(project, *some)
    after = rows(
        project, {**some[0], "messages": other, "topic": "b"}, {**some[1], "n": 1.0}, {**some[2], "topic": None}
    )
    found = diff(before, after)
    assert [found[key] for key in ("added", "removed", "changed", "unchanged")] == [0, 0, 2, 1]
    assert found["columns"]["changed"] == {"topic": 2, "messages": 1}
    assert found["changes"] == {"x": ["messages", "topic"], "z": ["topic"]}
    shown = project.cli("data", "diff", "toy@v1", "toy@v2").out.splitlines()
    assert "changed         2  x (messages, topic), z (topic)" in shown
    assert shown[-1] == "columns changed: topic 2, messages 1"
    assert "changed x (messages, topic)" in project.cli("data", "diff", "toy@v1", "toy@v2", "--all").out.splitlines()


def test_a_document_that_only_moved_to_another_line_or_type_of_column_is_not_changed(project):
    some = [{"id": str(n), "text": f"text {n}", "n": n} for n in range(4)]
    found = diff(rows(project, *some), rows(project, *some[::-1], {"id": "new", "text": "x", "n": 0.5}, source="b"))
    assert [found[key] for key in ("added", "changed", "unchanged")] == [1, 0, 4]


def test_a_diff_reads_only_columns_that_lie_in_other_objects(project, monkeypatch):
    project.write("a.txt", "0|one", *(f"{n}|a longer one" for n in range(1, 10)))
    project.stages("Long, minimum: 1")
    project.run()
    project.stages("Long, minimum: 4", "Halves")
    project.run()
    read = []
    tables = Dataset.tables

    def noted(dataset, fragment, columns):
        read.append(columns)
        return tables(dataset, fragment, columns)

    monkeypatch.setattr(Dataset, "tables", noted)
    found = diff(project.open("toy@v1"), project.open("toy@v2"))
    assert [found[key] for key in ("removed", "changed", "unchanged")] == [1, 5, 4]
    assert read == [["id"], ["id", "split"]]


def test_of_equal_ids_in_two_files_the_one_that_is_in_the_version_is_compared(project):
    project.write("a.txt", "1|one", "2|two")
    project.write("b.txt", "1|ONE", "3|three", "2|two")

    def of(first, second):
        project.pipeline(
            "dataset: toy\nmax_quarantined: 10\nsources:\n"
            + "".join(f'  - {{id: {name}, stage: "toy_stages:Lines", paths: {name}.txt}}\n' for name in (first, second))
            + "stages: []\n"
        )
        project.run()
        return project.open()

    found = diff(of("a", "b"), of("b", "a"))
    assert [found[key] for key in ("added", "removed", "changed", "unchanged")] == [0, 0, 1, 2]
    assert found["changes"] == {"1": ["text"]}


def test_a_diff_says_which_settings_changed(done):
    before = done.open().version
    done.run("long.minimum=16", "shout.word=q")
    found = diff(done.open(f"toy@{before}"), done.open())
    assert found["settings"] == [
        {"stage": "shout", "setting": "word", "before": "a", "after": "q"},
        {"stage": "long", "setting": "minimum", "before": 5, "after": 16},
    ]
    done.pipeline(done.file.read_text().replace('  - {stage: "toy_stages:Letters", id: letters}\n', ""))
    done.run()
    assert diff(done.open(f"toy@{before}"), done.open())["settings"] == [
        {"stage": "letters", "setting": None, "before": "toy_stages:Letters", "after": None},
    ]  # fmt: skip


def test_a_diff_says_why_documents_left_and_why_others_came(project):
    project.write("a.txt", "1|one", "2|three", "3|a long text", "4|a long text", "5|fives")
    project.write("b.txt", "2|a copy of an id")
    project.stages("Long, minimum: 4", "Copies")
    project.run()
    project.write("a.txt", "1|one", "2|three", "3|a long text", "4|a long text")
    project.stages("Long, minimum: 2, maximum: 4")
    project.run()
    found = diff(project.open("toy@v1"), project.open("toy@v2"))
    assert found["examples"] == {"added": ["1"], "removed": ["2", "3", "5"], "changed": []}
    assert found["reasons"] == {
        "removed": [
            {"stage": "Long", "verdict": "dropped", "reason": "too_long", "documents": 2},
            {"stage": None, "verdict": None, "reason": "not read", "documents": 1},
        ],
        "added": [{"stage": "Long", "verdict": "dropped", "reason": "too_short", "documents": 1}],
    }


def test_a_document_that_cannot_be_read_any_more_left_for_that(project):
    project.write("a.txt", "one", "two")
    project.pipeline('dataset: toy\nsources: [{stage: "nameless:Nameless", id: lines}]\nstages: []\n')
    project.write("nameless.py", """
        from toy_stages import Lines

        class Nameless(Lines):
            def read(self, part):
                for item in super().read(part):
                    yield item.drop_columns(["id"]) if hasattr(item, "drop_columns") else item
    """.replace("\n        ", "\n"))  # fmt: skip
    project.monkeypatch.syspath_prepend(str(project.root))
    project.monkeypatch.setenv("PYTHONPATH", f"{project.root}:{os.environ['PYTHONPATH']}")
    project.run()
    project.write("a.txt", "one", "!two")
    project.run("max_quarantined=5")
    assert diff(project.open("toy@v1"), project.open("toy@v2"))["reasons"]["removed"] == [
        {"stage": "lines", "verdict": "quarantined", "reason": "bad_line", "documents": 1},
    ]  # fmt: skip
