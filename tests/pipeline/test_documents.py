"""Documents that are not one text: chats, pairs, tables, payloads, and documents made of documents."""

from __future__ import annotations

import json

import pytest

from curate.errors import ConfigurationErrors, CurateError

MAIL = "jane.roe@example.com"
ROWS = [
    {
        "id": "a",
        "messages": [{"role": "user", "content": f"mail {MAIL}"}, {"role": "assistant", "content": "I will"}],
        "prompt": f"ask {MAIL}",
    },
    {"id": "b", "messages": [{"role": "user", "content": "nothing here"}], "prompt": "p"},
]


@pytest.fixture
def chats(project):
    project.write("chats.jsonl", *map(json.dumps, ROWS))
    return project


def pipeline(project, *stages, source=""):
    entries = "\n".join(f"  - {stage}" for stage in stages)
    project.file.write_text(
        f"dataset: toy\nsources:\n  - {{stage: files, paths: [chats.jsonl]{source}}}\nstages:\n{entries or '  []'}\n"
    )


def rows_of(project):
    return project.open().arrow().to_pylist()


def test_personal_data_is_taken_out_of_every_string_that_is_selected(chats):
    pipeline(chats, '{stage: pii, on: ["messages[].content", prompt]}')
    assert chats.run().documents["kept"] == 2
    first, second = rows_of(chats)
    assert MAIL not in json.dumps(first)
    assert json.loads(first["messages"])[0] == {"role": "user", "content": "mail <EMAIL>"}
    assert json.loads(second["messages"]) == ROWS[1]["messages"]


def test_why_tells_in_which_string_an_edit_was(chats):
    pipeline(chats, '{stage: pii, on: ["messages[].content", prompt]}')
    chats.run()
    told = json.loads(chats.cli("why", "a", "--json").out)
    assert [edit["path"] for edit in told["edits"]] == ["messages[0].content", "prompt"]
    assert "in `messages[0].content`" in chats.cli("why", "a").out


def test_a_stage_that_protects_people_says_which_strings_it_was_not_given(chats):
    pipeline(chats, "{stage: pii, on: prompt}")
    note = "`pii` does not look at the columns `id`, `messages`"
    assert note in chats.cli("validate", "pipeline.yaml").err
    assert note in chats.cli("run", "pipeline.yaml", "--workers", 1).err


def test_with_every_string_selected_only_the_id_is_told(chats):
    pipeline(chats, '{stage: pii, on: "*"}')
    err = chats.cli("validate", "pipeline.yaml").err
    assert "columns `id`:" in err


def test_data_without_a_text_is_read_and_a_stage_that_wants_one_is_refused_before_the_run(chats):
    pipeline(chats)
    assert chats.run().documents["kept"] == 2
    assert "text" not in chats.open().columns
    pipeline(chats, "gopher_quality")
    outcome = chats.cli("validate", "pipeline.yaml")
    assert outcome.code == 2
    assert "stage `gopher_quality`: `on: text`: column `text` is not there" in outcome.err
    assert "name what it is to read with `on:`" in outcome.err
    with pytest.raises(CurateError, match="stage `gopher_quality` reads the column `text`"):
        chats.run()


def test_duplicates_are_found_by_the_strings_that_are_selected(chats):
    rows = [
        {"id": name, "messages": [{"content": text}], "prompt": name}
        for name, text in (("a", "x"), ("b", "x"), ("c", "y"))
    ]
    chats.write("chats.jsonl", *map(json.dumps, rows))
    pipeline(chats, '{stage: exact_duplicates, on: "messages[].content"}')
    assert chats.run().documents["dropped"] == 1
    assert [row["id"] for row in rows_of(chats)] == ["a", "c"]


def test_a_filter_measures_all_that_is_selected_of_a_document(chats):
    pipeline(chats, '{stage: text_statistics, on: ["messages[].content"]}', "{stage: sample, fraction: 1.0}")
    chats.run()
    assert [row["id"] for row in rows_of(chats)] == ["a", "b"]


@pytest.mark.parametrize(
    ("stages", "source", "problem"),
    [
        (["{stage: pii, on: promt}"], "", "stage `pii`: `on: promt`: column `promt` is not there"),
        (["{stage: exact_duplicates, on: prompt, keep: best, by: scor}"], "", "`exact_duplicates` needs the column `scor`"),
        (["{stage: pii, on: prompt}"], ", text: bod", "no column `bod`"),
    ],
)  # fmt: skip
def test_columns_are_followed_through_the_stages_by_validate(chats, stages, source, problem):
    pipeline(chats, *stages, source=source)
    outcome = chats.cli("validate", "pipeline.yaml")
    assert (outcome.code, problem in outcome.err) == (2, True), outcome.err


def test_a_glob_that_matches_nothing_is_found_by_validate(project):
    project.pipeline("dataset: toy\nsources: [{stage: files, paths: ['inn/*.jsonl']}]\nstages: []\n")
    assert "nothing matches `inn/*.jsonl`" in project.cli("validate", "pipeline.yaml").err


def test_a_training_file_is_validated_as_one(project):
    project.write("train.yaml", "dataset: toy", "run: small", "steps: 2", "model: {preset: 1m}")
    assert "run `small` on `toy`, all settings valid" in project.cli("validate", "train.yaml").out
    project.write("train.yaml", "dataset: toy", "run: small", "stepps: 2")
    assert "stepps" in project.cli("validate", "train.yaml").err


# ---- documents made of documents


@pytest.fixture
def chunked(project):
    project.write("a.txt", "x1|one two three four five", "x2|six", "x3|", "x4|seven eight nine ten")
    project.stages("Lines")
    project.file.write_text(
        'dataset: toy\nsources: [{stage: "toy_stages:Lines", id: lines}]\nstages:\n'
        "  - {stage: chunk, size: 2}\n  - {stage: exact_duplicates}\n"
        "  - {stage: split, train: 1.0, validation: 0.0, test: 0.0}\n"
    )
    return project


def test_documents_made_of_documents_are_all_accounted_for(chunked):
    done = chunked.run()
    assert done.documents == {"in": 4, "kept": 6, "dropped": 1, "quarantined": 0, "made": 6, "expanded": 3}
    row = next(row for row in done.stages if row["id"] == "chunk")
    assert (row["in"], row["made"], row["expanded"], row["dropped"], row["kept"]) == (4, 6, 3, 1, 6)
    assert chunked.texts() == ["one two", "three four", "five", "six", "seven eight", "nine ten"]


def test_why_tells_the_story_of_a_piece_and_then_of_the_document_that_it_was_made_of(chunked):
    chunked.write("a.txt", "x1|one two three four five", "x2|one two")
    chunked.run()
    piece = rows_of(chunked)[1]
    assert (piece["parent"], piece["ordinal"]) == ("x1", 1)
    told = json.loads(chunked.cli("why", piece["id"], "--json").out)
    assert [told[key] for key in ("verdict", "stage", "reason", "split", "children")] == [
        "kept",
        None,
        None,
        "train",
        None,
    ]
    assert told["history"] == [{"stage": "chunk", "event": "made", "parent": "x1", "characters": 10}]
    parent = told["parent"]
    assert [parent[key] for key in ("id", "verdict", "stage", "parent")] == ["x1", "expanded", "chunk", None]
    assert [(event["stage"], event["event"]) for event in parent["history"]] == [
        ("lines", "read"),
        ("chunk", "expanded"),
    ]
    assert chunked.cli("why", piece["id"]).out == (
        f"{piece['id']} (a.txt#0/chunk.1): kept\n"
        "  chunk: made of `x1`, 10 characters\n"
        "  => in the version, in the split `train`\n"
        "made of x1 (a.txt#0): expanded\n"
        "  lines: read, 23 characters\n"
        "  chunk: expanded chunk\n"
        "  => expanded\n"
    )
    dropped = json.loads(chunked.cli("why", "a.txt#1/chunk.0", "--json").out)
    assert [dropped[key] for key in ("verdict", "stage", "split")] == ["dropped", "exact_duplicates", None]


def test_why_names_the_pieces_of_a_document(chunked):
    chunked.write("a.txt", "x1|" + " ".join("abcdefghijklmno"), "x3|")
    chunked.run()
    pieces = [row["id"] for row in rows_of(chunked)]
    told = json.loads(chunked.cli("why", "x1", "--json").out)
    assert (told["verdict"], told["children"]) == ("expanded", {"documents": 8, "ids": pieces[:5]})
    last = chunked.cli("why", "x1").out.splitlines()[-1]
    assert last == f"  => expanded into 8 documents: {', '.join(pieces[:5])}, ..."
    none = json.loads(chunked.cli("why", "x3", "--json").out)
    assert (none["verdict"], none["reason"], none["children"]) == ("dropped", "nothing_made", None)


def test_pieces_have_the_same_ids_in_every_store_and_are_cached(chunked):
    first = chunked.run()
    assert chunked.run().tasks["run"] == 0
    again = chunked.run(store=chunked.root / "other", workers=2)
    assert again.version == first.version


def test_a_piece_that_equals_another_one_is_dropped_like_any_document(chunked):
    chunked.write("a.txt", "x1|same words same words")
    assert chunked.run().documents["kept"] == 1


def test_errors_of_several_columns_are_told_at_once(chats):
    pipeline(chats, "{stage: pii, on: promt}", "{id: two, stage: pii, on: mesages}")
    from curate.config.pipeline import load_pipeline
    from curate.pipeline.preview import preview

    assert len(preview(load_pipeline(chats.file)).errors) == 2
    assert ConfigurationErrors(preview(load_pipeline(chats.file)).errors).exit_code == 2
