"""Documents that are not one text: chats, pairs, tables, payloads, and documents made of documents."""

from __future__ import annotations

import json

import pyarrow as pa
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
    for err in (chats.cli("validate", "pipeline.yaml").err, chats.cli("run", "pipeline.yaml", "--workers", 1).err):
        assert "`pii` does not look at the columns `messages`" in err
        assert "`pii` never changes ids" in err


def test_columns_that_stages_add_are_not_told_as_unread_data(project):
    project.write("a.jsonl", '{"text": "mail me", "topic": "x"}')
    head = "dataset: toy\nsources: [{stage: files, paths: a.jsonl}]\n"
    project.file.write_text(f"{head}stages: [near_duplicates, pii]\n")
    for command in (["validate", "pipeline.yaml"], ["run", "pipeline.yaml", "--workers", 1]):
        assert "does not look at the columns `topic`:" in project.cli(*command).err


def test_pieces_that_may_come_into_several_splits_are_told(project):
    project.write("a.jsonl", '{"text": "one two three four"}')
    head = "dataset: toy\nsources: [{stage: files, paths: a.jsonl}]\nstages:\n  - {stage: chunk, size: 2}\n"
    for split, told in (("{stage: split}", True), ("{stage: split, by: parent}", False)):
        project.file.write_text(f"{head}  - {split}\n")
        assert ("`by: parent` keeps them together" in project.cli("validate", "pipeline.yaml").err) == told


def test_ids_that_curate_makes_are_nobodys_and_not_told(project):
    project.write("a.jsonl", '{"text": "mail me"}')
    project.file.write_text(
        "dataset: toy\nsources: [{stage: files, paths: a.jsonl}]\nstages: [{stage: pii, on: '*'}]\n"
    )
    for command in (["validate", "pipeline.yaml"], ["run", "pipeline.yaml", "--workers", 1]):
        assert "never changes ids" not in project.cli(*command).err


def test_with_every_string_selected_only_the_id_is_told(chats):
    pipeline(chats, '{stage: pii, on: "*"}')
    err = chats.cli("validate", "pipeline.yaml").err
    assert "`pii` never changes ids" in err
    assert "does not look at the columns" not in err
    assert "`pii` does not look at the names of members in `messages`, with any `on`" in err


def test_names_inside_of_json_and_bytes_that_nobody_looks_at_are_told(project):
    import pyarrow.parquet as parquet

    table = pa.table({"text": ["a"], "meta": [{MAIL: "hi"}], "raw": [MAIL.encode()], "n": [1]})
    parquet.write_table(table, project.root / "a.parquet")
    project.file.write_text(
        "dataset: toy\nsources: [{stage: files, paths: a.parquet}]\nstages: [{stage: pii, on: '*'}]\n"
    )
    note = (
        "`pii` does not look at the names of members in `meta` and the bytes of `raw`, with any `on`: what stands there"
    )
    assert note in project.cli("validate", "pipeline.yaml").err
    assert note in project.cli("run", "pipeline.yaml", "--workers", 1).err


def test_data_without_a_text_is_read_and_a_stage_that_wants_one_is_refused_before_the_run(chats):
    pipeline(chats)
    assert chats.run().documents["kept"] == 2
    assert "text" not in chats.open().columns
    pipeline(chats, "gopher_quality")
    outcome = chats.cli("validate", "pipeline.yaml")
    assert outcome.code == 2
    assert "stage `gopher_quality`: `on: text`: column `text` is not there" in outcome.err
    assert "name what it is to read with `on:`" in outcome.err
    with pytest.raises(CurateError, match="stage `gopher_quality`: `on: text`: column `text` is not there"):
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


@pytest.mark.parametrize("stage", ["exact_duplicates", "near_duplicates"])
def test_documents_without_the_strings_that_are_compared_are_no_duplicates_of_each_other(chats, stage):
    summaries = ["one summary", None, "one summary", None, "", None]
    rows = [{"id": str(n), "text": "same", "summary": summary} for n, summary in enumerate(summaries)]
    chats.write("chats.jsonl", *map(json.dumps, rows))
    pipeline(chats, f"{{stage: {stage}, on: summary}}", "{stage: split, train: 1, validation: 0, test: 0}")
    assert chats.run().documents == {"in": 6, "kept": 5, "dropped": 1, "quarantined": 0}
    left = rows_of(chats)
    assert [row["id"] for row in left] == ["0", "1", "3", "4", "5"]
    if stage == "near_duplicates":
        assert [row["duplicate_cluster"] for row in left] == ["0", None, None, "4", None]


@pytest.mark.parametrize("stage", ["exact_duplicates", "near_duplicates", "exact_duplicates, normalize: true"])
def test_a_stage_that_compares_does_not_mind_that_no_document_has_the_string(chats, stage):
    chats.write("chats.jsonl", *(json.dumps({"text": "same", "messages": []}) for _ in range(3)))
    pipeline(chats, f'{{stage: {stage}, on: "messages[].content"}}')
    assert chats.run().documents["kept"] == 3


@pytest.mark.parametrize("stage", ["exact_duplicates", "near_duplicates", "exact_duplicates, normalize: true"])
def test_the_same_string_in_another_column_is_another_document(chats, stage):
    rows = [("Yes", None), (None, "Yes"), ("Yes", None)]
    chats.write("chats.jsonl", *(json.dumps({"prompt": prompt, "answer": answer}) for prompt, answer in rows))
    pipeline(chats, f"{{stage: {stage}, on: [prompt, answer]}}")
    assert chats.run().documents["dropped"] == 1
    assert [(row["prompt"], row["answer"]) for row in rows_of(chats)] == rows[:2]


def test_a_border_between_two_strings_is_no_blank_line(chats):
    rows = [("a", "b\n\nc"), ("a\n\nb", "c")]
    chats.write("chats.jsonl", *(json.dumps({"prompt": prompt, "answer": answer}) for prompt, answer in rows))
    pipeline(chats, "{stage: exact_duplicates, on: [prompt, answer]}")
    assert chats.run().documents["kept"] == 2


@pytest.mark.parametrize(
    ("stage", "reason"),
    [
        ("{stage: gopher_quality, on: answer, min_words: 1, min_stop_words: 0}", "gopher_short_doc"),
        ("{stage: language, on: answer, languages: [en], min_score: 0}", "language"),
        ("{stage: chunk, on: answer}", "nothing_made"),
    ],
)
def test_what_measures_sees_an_empty_text_where_a_document_has_none_of_the_strings(chats, stage, reason):
    chats.write("chats.jsonl", '{"id": "a", "answer": "this is an answer"}', '{"id": "b", "answer": null}')
    pipeline(chats, stage)
    chats.run("min_documents=0")
    told = json.loads(chats.cli("why", "b", "--json").out)
    assert reason in json.dumps(told)


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


WORDS = " ".join(f"word{n}" for n in range(30))


def cut(project, rows, together):
    """The rows as one file, or each as a file of its own."""
    lines = [json.dumps(row) for row in rows]
    for number, some in enumerate([lines] if together else [[line] for line in lines]):
        project.write(f"cut{number}.jsonl", *some)


SPARSE = {
    "exact_duplicates, keep: best, by: score": [{"text": WORDS}, {"text": WORDS, "score": 3}, {"text": WORDS, "score": 9}],
    "near_duplicates, keep: best, by: score": [
        {"text": f"{WORDS} a"}, {"text": f"{WORDS} b", "score": 3}, {"text": f"{WORDS} c", "score": "high"},
    ],
    "exact_duplicates, on: summary": [{"text": "a"}, {"text": "b", "summary": "s"}, {"text": "c", "summary": "s"}],
    "unicode, on: [text, summary]": [{"text": "a"}, {"text": "b", "summary": "\u200bs"}, {"text": "c", "summary": 5}],
    "pii, on: '*'": [{"text": MAIL}, {"text": "b", "to": MAIL}, {"text": "c", "to": 5}],
    "split, by: host": [{"text": "a"}, {"text": "b", "host": "x"}, {"text": "c", "host": 5}],
    "split, column: fold": [{"text": "a"}, {"text": "b", "fold": "test"}, {"text": "c", "fold": None}],
    "text_statistics": [{"title": "a"}, {"text": "b"}, {"text": "c"}],
    "chunk, on: body": [{"text": "a"}, {"text": "b", "body": "one two"}, {"text": "c", "body": "three"}],
}  # fmt: skip


@pytest.mark.parametrize("stage", SPARSE)
def test_a_column_that_only_some_files_have_is_what_it_is_in_one_file(project, stage):
    found = []
    for together in (True, False) if stage != "text_statistics" else (False,):
        cut(project, [{"id": str(number), **row} for number, row in enumerate(SPARSE[stage])], together)
        files = "cut0.jsonl" if together else "cut*.jsonl"
        project.file.write_text(
            f"dataset: toy\nmin_documents: 0\nsources: [{{stage: files, paths: {files}}}]\nstages: [{{stage: {stage}}}]\n"
        )
        documents = project.run().documents
        rows = [{name: value for name, value in row.items() if name != "source_uri"} for row in rows_of(project)]
        for row in rows:
            if "parent" in row:
                del row["id"]
        found.append((documents, rows))
    assert found[0] == found[-1]
    assert found[0][0]["quarantined"] == 0


def test_a_column_that_no_file_has_is_an_error_before_any_stage_runs(project):
    cut(project, [{"text": WORDS}, {"text": WORDS, "score": 1}], together=False)
    project.file.write_text(
        "dataset: toy\nsources: [{stage: files, paths: cut*.jsonl}]\n"
        "stages: [{stage: unicode}, {stage: exact_duplicates, keep: best, by: scor}, {stage: pii, on: summary}]\n"
    )
    with pytest.raises(ConfigurationErrors) as caught:
        project.run()
    assert [error.problem for error in caught.value.errors] == [
        "stage `exact_duplicates` needs the column `scor`",
        "stage `pii`: `on: summary`: column `summary` is not there",
    ]


@pytest.mark.parametrize("there", ["cut0.jsonl", "cut1.jsonl", "cut39.jsonl"])
def test_validate_does_not_refuse_a_column_that_a_later_file_has(project, there):
    cut(project, [{"text": WORDS}] * 40, together=False)
    project.write(there, json.dumps({"text": WORDS, "summary": "s"}))
    project.file.write_text(
        "dataset: toy\nsources: [{stage: files, paths: cut*.jsonl}]\nstages: [{stage: unicode, on: summary}]\n"
    )
    done = project.cli("validate", "pipeline.yaml")
    assert done.code == 0, done.err


def test_columns_of_lists_and_of_numbers_have_nothing_in_common_and_the_column_is_named(project):
    import pyarrow.parquet as parquet

    for number, kind in enumerate((pa.decimal128(5, 2), pa.int64())):
        parquet.write_table(pa.table({"text": ["a"], "score": pa.array([1], kind)}), project.root / f"{number}.parquet")
    project.file.write_text(
        "dataset: toy\nsources: [{stage: files, paths: '*.parquet'}]\n"
        "stages: [{stage: exact_duplicates, keep: best, by: score}]\n"
    )
    with pytest.raises(CurateError, match=r"column `score` is decimal.* in one shard and int64 in another"):
        project.run()


@pytest.mark.parametrize("together", [True, False])
def test_large_integers_beside_floats_are_published_as_they_are(project, together):
    rows = [{"text": "a", "n": 2**53 + 1}, {"text": "b", "n": 0.5}, {"text": "c"}]
    cut(project, rows, together)
    files = "cut0.jsonl" if together else "cut*.jsonl"
    project.file.write_text(f"dataset: toy\nsources: [{{stage: files, paths: {files}}}]\nstages: []\n")
    project.run()
    assert project.open().arrow().column("n").to_pylist() == ["9007199254740993", "0.5", None]
    assert project.cli("data", "verify", "toy").code == 0


def test_a_version_with_a_value_that_its_column_does_not_hold_is_not_committed_and_verify_finds_one(
    project, monkeypatch
):
    from curate.pipeline import run as running
    from curate.pipeline import walk

    cut(project, [{"text": "a", "n": 2**53 + 1}, {"text": "b", "n": 0.5}], together=False)
    project.file.write_text("dataset: toy\nsources: [{stage: files, paths: cut*.jsonl}]\nstages: []\n")
    monkeypatch.setattr(walk, "targets", lambda store, shards, stages: [None] * len(shards))
    with pytest.raises(CurateError, match="column `n` has a value that no double holds"):
        project.run()
    monkeypatch.setattr(running, "check_values", lambda *_: None)
    project.run()
    told = project.cli("data", "verify", "toy")
    assert told.code
    assert "column `n` has a value that no double holds" in told.out
