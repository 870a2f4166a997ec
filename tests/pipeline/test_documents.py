"""Documents that are not one text: chats, pairs, tables."""

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


def test_strings_beside_a_selected_one_are_told(chats):
    note = "`pii` looks at `messages[].contnt` alone where a column has several strings; the others are published"
    pipeline(chats, '{stage: pii, on: "messages[].contnt"}')
    assert note in chats.cli("validate", "pipeline.yaml").err
    assert note in chats.cli("run", "pipeline.yaml", "--workers", 1).err


def test_with_every_string_selected_only_the_id_is_told(chats):
    pipeline(chats, '{stage: pii, on: "*"}')
    err = chats.cli("validate", "pipeline.yaml").err
    assert "`pii` never changes ids" in err
    assert "does not look at the columns" not in err
    assert "alone where" not in err
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


def test_errors_of_several_columns_are_told_at_once(chats):
    pipeline(chats, "{stage: pii, on: promt}", "{id: two, stage: pii, on: mesages}")
    from curate.config.pipeline import load_pipeline
    from curate.pipeline.preview import preview

    assert len(preview(load_pipeline(chats.file)).errors) == 2
    assert ConfigurationErrors(preview(load_pipeline(chats.file)).errors).exit_code == 2
