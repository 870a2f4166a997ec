"""Pipeline files: everything that is wrong is told at once, with its place and the next step."""

# ruff: noqa: E501  tables of expected texts
from __future__ import annotations

import json

import pytest

from curate.config.pipeline import load_pipeline
from curate.errors import ConfigurationErrors, CurateError, did_you_mean

LINES = '{stage: "toy_stages:Lines"}'


@pytest.fixture
def errors(project, monkeypatch):
    """What is wrong with a file, as (problem, where, hint); it stands in the current folder as p.yaml."""
    from pathlib import Path

    monkeypatch.chdir(project.root)

    def load(text, *overrides):
        Path("p.yaml").write_text(text)
        with pytest.raises(CurateError) as caught:
            load_pipeline(Path("p.yaml"), overrides)
        records = caught.value.records()
        return [(record["problem"], record["where"], record["hint"]) for record in records]

    return load


def test_all_errors_are_told_at_once_each_with_its_place(errors):
    found = errors(
        """\
dataset: support chat
max_quarantned: 3
sources:
  - {stage: files, pths: ["x"]}
  - stage: unicod
stages:
  - stage: gopher_quality
    min_words: many
    min_wrds: 3
  - {stage: pii}
  - {stage: pii}
"""
    )
    assert [where for _, where, _ in found] == [
        "p.yaml:1:1",
        "p.yaml:2:1",
        "p.yaml:4:5",
        "p.yaml:4:20",
        "p.yaml:5:5",
        "p.yaml:8:5",
        "p.yaml:9:5",
        "p.yaml:11:5",
    ]
    assert found[1] == ("the pipeline has no setting `max_quarantned`", "p.yaml:2:1", "did you mean `max_quarantined`?")
    assert found[2][0] == "stage `files` needs the setting `paths`"
    assert found[3] == ("stage `files` has no setting `pths`", "p.yaml:4:20", "did you mean `paths`?")
    assert found[4] == ("there is no stage named `unicod`", "p.yaml:5:5", "did you mean `unicode`?")
    assert found[5][0] == "stage `gopher_quality`: `min_words`: input should be a valid integer, got 'many'"
    assert found[7] == ("two stages have the id `pii`", "p.yaml:11:5", "give one of them another `id:`")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("a pipeline file is a map with `dataset`, `sources` and `stages`", "p.yaml:1:1", None)),
        ("- a", ("a pipeline file is a map with `dataset`, `sources` and `stages`", "p.yaml:1:1", None)),
        (f"sources: [{LINES}]", ("the pipeline needs the setting `dataset`", "p.yaml:1:1", None)),
        (
            "dataset: a",
            ("`sources` must be a list of at least one source", "p.yaml:1:1", 'sources: [{stage: files, paths: ["in/*.jsonl"]}]'),
        ),
        (
            f"dataset: a\nsources: [{LINES}]\nstages: pii",
            ("`stages` must be a list", "p.yaml:3:1", "stages: [{stage: unicode}]"),
        ),
        (
            f"dataset: a\nsources: [{LINES}]\nstages: [7]",
            ("a stage is a map with `stage: NAME` (or `use: datatrove.pipeline...`)", "p.yaml:3:10", None),
        ),
        (
            f"dataset: a\nsources: [{LINES}]\nstages: [{{min_words: 1}}]",
            ("a stage is a map with `stage: NAME` (or `use: datatrove.pipeline...`)", "p.yaml:3:10", None),
        ),
        (
            f"dataset: a\nsources: [{LINES}]\nstages: [{{stage: 'toy_stages:Lines', id: x}}]",
            ("`toy_stages:Lines` is a source", "p.yaml:3:10", "move it to `sources:`"),
        ),
        (
            'dataset: a\nsources: [{stage: "toy_stages:Long"}]',
            ("`toy_stages:Long` is a filter", "p.yaml:2:11", "move it to `stages:`"),
        ),
        (
            f"dataset: a\nsources: [{LINES}]\nstages: [{{stage: pii, id: my pii}}]",
            ("`my pii` is not an id", "p.yaml:3:23", "letters, digits, `_` and `-`"),
        ),
        (
            f"dataset: a\nsources: [{LINES}]\nmax_quarantined: many",
            ("the pipeline: `max_quarantined`: input should be a valid integer or a valid number, got 'many'", "p.yaml:3:1", None),
        ),
        (
            f"dataset: a\nsources: [{LINES}]\nmax_quarantined: 1.5",
            (
                "the pipeline: `max_quarantined`: a share is at most 1.0, and a count has no decimal point, got 1.5",
                "p.yaml:3:1",
                None,
            ),
        ),
        (
            f"dataset: a\nsources: [{LINES}]\ntime_limit: 0",
            ("the pipeline: `time_limit`: input should be greater than 0, got 0", "p.yaml:3:1", None),
        ),
        (
            'dataset: a\nsources: [{stage: "no_such_module_at_all:X"}]',
            (
                "stage `no_such_module_at_all:X` cannot be imported: ModuleNotFoundError: No module named 'no_such_module_at_all'",
                "p.yaml:2:12",
                "is `no_such_module_at_all` on PYTHONPATH, or beside the pipeline file?",
            ),
        ),
        (
            'dataset: a\nsources: [{stage: "toy_stages:Line"}]',
            (
                "stage `toy_stages:Line` cannot be imported: `toy_stages` has no class `Line`",
                "p.yaml:2:12",
                "did you mean `Lines`?",
            ),
        ),
        (
            'dataset: a\nsources: [{stage: "json:JSONDecoder"}]',
            ("`json:JSONDecoder` is not a stage", "p.yaml:2:12", "a stage is a subclass of Source, Mapper, Filter, Audit, Expander or Global"),
        ),
        (
            f"dataset: a\nsources: [{LINES}]\nstages:\n  - use: datatrove.pipeline.filters.GopherQualityFiler",
            (
                "`datatrove.pipeline.filters` has no block `GopherQualityFiler`",
                "p.yaml:4:5",
                "did you mean `GopherQualityFilter` or `C4QualityFilter`?",
            ),
        ),
    ],
)  # fmt: skip
def test_an_error_names_the_value_the_place_and_the_next_step(errors, text, expected):
    assert errors(text) == [expected]


def test_errors_inside_a_list_have_the_place_of_the_item(errors):
    found = errors("dataset: a\nsources:\n  - stage: files\n    paths:\n      - a.txt\n      - [b]\n")
    assert found == [("stage `files`: `paths.1`: input should be a valid string, got ['b']", "p.yaml:6:9", None)]


def test_a_module_that_fails_tells_the_line(project, errors):
    project.write("broken_stage_module.py", "import os", "raise ZeroDivisionError('no')")
    [(problem, where, hint)] = errors('dataset: a\nsources: [{stage: "broken_stage_module:X"}]')
    assert problem == "stage `broken_stage_module:X` cannot be imported: ZeroDivisionError: no"
    assert (where, hint) == ("p.yaml:2:12", f"it fails at {project.root}/broken_stage_module.py:2")


def test_did_you_mean_names_the_nearest_or_nothing():
    assert did_you_mean("min_wrds", ["min_words", "max_words"]) == "did you mean `min_words` or `max_words`?"
    assert did_you_mean("xyz", ["min_words"]) is None


# ---- good files


def test_ids_are_the_names_of_the_stages_unless_told(project):
    project.pipeline(
        f"dataset: a\nsources: [{LINES}]\n"
        "stages: [{stage: pii}, {id: mine, stage: gopher_quality}, {use: datatrove.pipeline.filters.GopherRepetitionFilter}]\n"
    )
    loaded = load_pipeline(project.file)
    assert [entry.id for entry in (*loaded.sources, *loaded.stages)] == [
        "Lines",
        "pii",
        "mine",
        "GopherRepetitionFilter",
    ]


def test_a_datatrove_block_is_a_stage_with_its_parameters(project):
    project.pipeline(
        f"dataset: a\nsources: [{LINES}]\nstages:\n  - {{use: datatrove.pipeline.filters.GopherQualityFilter, min_doc_words: 4}}\n"
    )
    [entry] = load_pipeline(project.file).stages
    assert entry.stage.model_dump() == {
        "on": ("text",),
        "use": "datatrove.pipeline.filters.GopherQualityFilter",
        "parameters": {"min_doc_words": 4},
    }


def test_a_datatrove_block_runs(project):
    project.write("a.txt", "short", "a text of some more words than three the that")
    project.pipeline(
        f"dataset: toy\nsources: [{LINES}]\nstages:\n"
        "  - {id: g, use: datatrove.pipeline.filters.GopherQualityFilter, min_doc_words: 4, min_avg_word_length: 1}\n"
    )
    project.run()
    assert project.open().manifest["stages"][1]["reasons"] == {"dropped": {"gopher_short_doc": 1}}


# ---- include


def test_an_included_file_comes_before_and_ours_wins(project):
    project.write("common.yaml", "dataset: theirs", "time_limit: 9", f"sources: [{LINES}]", "stages: [{stage: pii}]")
    project.pipeline("include: common.yaml\ndataset: ours\nstages: [{stage: gopher_quality}]\n")
    loaded = load_pipeline(project.file)
    assert (loaded.settings.dataset, loaded.settings.time_limit) == ("ours", 9)
    assert [entry.id for entry in loaded.stages] == ["pii", "gopher_quality"]


def test_several_files_are_included_in_their_order(project):
    project.write("a.yaml", "dataset: a", "time_limit: 1", "stages: [{stage: pii, id: a}]")
    project.write("b.yaml", "dataset: b", "include: c.yaml", "stages: [{stage: pii, id: b}]")
    project.write("c.yaml", f"sources: [{LINES}]", "stages: [{stage: pii, id: c}]")
    project.pipeline("include: [a.yaml, b.yaml]\nstages: [{stage: pii, id: d}]\n")
    loaded = load_pipeline(project.file)
    assert [entry.id for entry in loaded.stages] == ["a", "c", "b", "d"]
    assert loaded.settings.dataset == "b"


def test_errors_point_into_the_file_where_they_are(project, errors):
    project.write(
        "common.yaml", "# comment", f"sources: [{LINES}]", "stages:", "  - {stage: pii}", "  - {stage: pii, x: 1}"
    )
    found = errors("include: common.yaml\ndataset: a\nstages:\n  - {stage: gopher_quality, y: 1}\n")
    assert [where for _, where, _ in found] == ["common.yaml:5:18", "p.yaml:4:29", "common.yaml:5:5"]


def test_an_error_in_the_yaml_of_an_included_file_has_its_place(project, errors):
    project.write("common.yaml", "a: [")
    assert errors("include: common.yaml\n")[0][1] == "common.yaml:2:1"


def test_a_file_that_includes_itself_is_an_error(project, errors):
    project.write("other.yaml", "x: 1", "include: [p.yaml]")
    assert errors("include: other.yaml\n") == [
        ("`p.yaml` includes itself", "other.yaml:2:11", "take one of the `include:` lines away")
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("include: none.yaml", ("there is no file `none.yaml` to include", "p.yaml:1:1", "it is looked for beside this file")),
        ("include: {a: 1}", ("`include` is a file name or a list of them", "p.yaml:1:1", None)),
        ("include: [a.yaml, none.yaml]", ("there is no file `none.yaml` to include", "p.yaml:1:19", "it is looked for beside this file")),
        ("include: list.yaml", ("an included file is a map, like a pipeline file", "list.yaml:1:1", None)),
    ],
)  # fmt: skip
def test_a_wrong_include_is_an_error(project, errors, text, expected):
    project.write("list.yaml", "- a")
    project.write("a.yaml", "dataset: a")
    assert errors(text) == [expected]


# ---- schema


@pytest.fixture(scope="module")
def schema():
    from jsonschema import Draft202012Validator

    from curate.config.reference import pipeline_schema

    made = json.loads(json.dumps(pipeline_schema()))
    Draft202012Validator.check_schema(made)
    return Draft202012Validator(made)


GOOD = {
    "dataset": "a",
    "include": "b.yaml",
    "max_quarantined": 0.5,
    "sources": [{"stage": "files", "paths": ["x"]}, {"stage": "own:Source", "any": 1}],
    "stages": [
        {"id": "q", "stage": "gopher_quality", "min_words": 5},
        {"use": "datatrove.pipeline.filters.GopherRepetitionFilter", "dup_line_frac": 0.2},
    ],
}


def test_the_schema_accepts_a_good_file(schema):
    assert list(schema.iter_errors(GOOD)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": "two words"},
        {"sources": []},
        {"max_quarantined": "many"},
        {"unknown": 1},
        {"stages": [{"stage": "gopher_qality"}]},
        {"stages": [{"stage": "gopher_quality", "min_wrds": 5}]},
        {"stages": [{"stage": "files", "paths": ["x"]}]},
        {"stages": [{"id": "x"}]},
    ],
)
def test_the_schema_refuses_a_bad_file(schema, change):
    assert list(schema.iter_errors({**GOOD, **change})) != []


def test_several_errors_read_as_one_text():
    both = ConfigurationErrors([CurateError("a", "f:1:1", "do"), CurateError("b")])
    assert str(both) == "error: a\n  at: f:1:1\n  hint: do\nerror: b"
