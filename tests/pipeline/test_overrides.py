"""`--set` and `${env:NAME}`: what they change, what they refuse, and that secrets stay secret."""

# ruff: noqa: E501  tables of expected texts
from __future__ import annotations

import pytest

from curate.config.pipeline import load_pipeline
from curate.errors import CurateError

SECRET = "Hunter2-geheim"


def records(project, *overrides):
    with pytest.raises(CurateError) as caught:
        load_pipeline(project.file, overrides)
    return [(one["problem"], one["where"], one["hint"]) for one in caught.value.records()]


def test_a_setting_of_a_stage_is_set(toy):
    loaded = load_pipeline(toy.file, ["long.minimum=7", "long.maximum=9"])
    assert (loaded.stages[1].stage.minimum, loaded.stages[1].stage.maximum) == (7, 9)


def test_a_setting_of_the_pipeline_is_set(toy):
    assert load_pipeline(toy.file, ["dataset=other", "max_quarantined=0.1"]).settings.max_quarantined == 0.1


def test_the_last_of_two_values_wins(toy):
    assert load_pipeline(toy.file, ["long.minimum=7", "long.minimum=8"]).stages[1].stage.minimum == 8


def test_values_are_yaml(project):
    project.pipeline("dataset: a\nsources: [{stage: files, paths: [x]}]\n")
    loaded = load_pipeline(project.file, ["files.paths=[a, 'b c']", "files.columns=null", 'files.quote="\'"'])
    stage = loaded.sources[0].stage
    assert (stage.paths, stage.columns, stage.quote) == (["a", "b c"], None, "'")


def test_a_value_may_hold_an_equals_sign(toy):
    assert load_pipeline(toy.file, ["shout.word=a=b"]).stages[0].stage.word == "a=b"


def test_a_nested_value_is_set(project):
    project.pipeline(
        "dataset: a\nsources: [{stage: files, paths: [x]}]\nstages: [{id: block, use: datatrove.pipeline.filters.GopherQualityFilter}]\n"
    )
    [entry] = load_pipeline(project.file, ["block.min_doc_words=3"]).stages
    assert entry.stage.parameters == {"min_doc_words": 3}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("lnog.minimum=1", ("no stage has the id `lnog`", "--set #1", "did you mean `long`?")),
        (
            "foo=1",
            (
                "a pipeline has no setting `foo`",
                "--set #1",
                "ids: lines, shout, long, letters, copies; settings: dataset, max_quarantined, min_documents, licenses, time_limit, "
                "shard_megabytes",
            ),
        ),
        ("long=1", ("`long` is a stage", "--set #1", "name its setting: --set long.KEY=VALUE")),
        ("long.minimum", ("`long.minimum` is not KEY=VALUE", "--set #1", "e.g. --set gopher_quality.min_words=80")),
        ("=1", ("`=1` is not KEY=VALUE", "--set #1", "e.g. --set gopher_quality.min_words=80")),
        ("long..x=1", ("`long..x=1` is not KEY=VALUE", "--set #1", "e.g. --set gopher_quality.min_words=80")),
        ("long.minimum=[1", ("this is not YAML: expected ',' or ']', but got '<stream end>'", "--set #1:1:3", None)),
        ("long.minimum.x=1", ("`long.minimum.x`: `minimum` is not a map", "--set #1", "set it as a whole: --set long.minimum=...")),
        ("dataset.x=1", ("`dataset.x`: `dataset` is not a map", "--set #1", "set it as a whole: --set dataset.dataset=...")),
        ("long.minimum=!!python/name:os x", ("the tag `!!python/name:os` is refused", "--set #1:1:1", "write plain maps, lists, strings and numbers")),
        ("long.minimum=x", ("stage `toy_stages:Long`: `minimum`: input should be a valid integer, got 'x'", "--set #1", None)),
        ("long.minimm=1", ("stage `toy_stages:Long` has no setting `minimm`", "--set #1", "did you mean `minimum` or `maximum`?")),
        ("time_limit=no", ("the pipeline: `time_limit`: input should be a valid number, got 'no'", "--set #1", None)),
        ("shout.word=${env:NOT_SET_AT_ALL}", ("the environment variable `NOT_SET_AT_ALL` is not set", "--set #1", "set it, or give a default: `${env:NOT_SET_AT_ALL:-value}`")),
    ],
)  # fmt: skip
def test_what_cannot_be_set_is_an_error(toy, override, expected):
    assert records(toy, override) == [expected]


def test_the_number_of_the_wrong_override_is_told(toy):
    assert [where for _, where, _ in records(toy, "long.minimum=1", "long.x=1", "a.b=1")] == ["--set #3", "--set #2"]


# ---- environment


@pytest.fixture
def secret(toy, monkeypatch):
    """A toy project whose source and one stage take a secret from the environment."""
    monkeypatch.setenv("TOKEN", SECRET)
    text = toy.file.read_text().replace("id: lines", 'id: lines, token: "x-${env:TOKEN}"')
    toy.pipeline(text.replace("id: shout", 'id: shout, token: "${env:TOKEN}"'))
    return toy


def test_a_variable_is_put_in_its_place(secret):
    loaded = load_pipeline(secret.file)
    assert (loaded.sources[0].stage.token, loaded.stages[0].stage.token) == (f"x-{SECRET}", SECRET)


def test_a_default_stands_in_for_a_variable_that_is_not_set(toy, monkeypatch):
    monkeypatch.setenv("WORD", "w")
    loaded = load_pipeline(toy.file, ["shout.word=${env:NOT_SET:-b}-${env:WORD:-c}", "shout.token=${env:NOT_SET:-}"])
    assert (loaded.stages[0].stage.word, loaded.stages[0].stage.token) == ("b-w", "")


def test_a_variable_can_be_a_number(toy, monkeypatch):
    monkeypatch.setenv("NUMBER", "12")
    assert load_pipeline(toy.file, ["long.minimum=${env:NUMBER}"]).stages[1].stage.minimum == 12


def test_all_variables_that_are_not_set_are_told(toy):
    found = records(toy, "shout.word=${env:NOT_A}${env:NOT_B}", "shout.token=${env:NOT_C}", "long.minimum=x")
    assert [(problem.split("`")[1], where) for problem, where, _ in found] == [
        ("NOT_A", "--set #1"),
        ("NOT_B", "--set #1"),
        ("NOT_C", "--set #2"),
        ("toy_stages:Long", "--set #3"),
    ]


def test_a_variable_that_is_not_written_right_is_an_error(toy):
    assert records(toy, "shout.word=${env:A-B}")[0][0] == "`${env:A-B}` is not an environment variable"


def test_settings_of_the_pipeline_do_not_come_from_the_environment(toy):
    assert records(toy, "dataset=${env:HOME}")[0][0] == "`dataset` cannot come from the environment"


def test_a_value_from_the_environment_is_in_no_file_of_the_store(secret):
    secret.run()
    for path in (secret.root / ".curate").rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path


def test_the_manifest_names_the_variable(secret):
    secret.run()
    manifest = secret.open().manifest
    assert manifest["stages"][0]["settings"]["token"] == "x-${env:TOKEN}"
    assert manifest["lineage"]["pipeline"]["stages"][0]["token"] == "${env:TOKEN}"


def test_a_value_from_the_environment_is_in_no_output(secret):
    secret.run()
    for command in (
        "plan pipeline.yaml",
        "validate pipeline.yaml --json",
        "data show toy --json",
        "run pipeline.yaml --json",
    ):
        outcome = secret.cli(*command.split())
        assert outcome.code == 0
        assert SECRET not in outcome.out + outcome.err


@pytest.mark.parametrize(
    "override",
    [
        "long.minimum=${env:TOKEN}",
        "long.${env:TOKEN}=1",
        "picky.token=${env:TOKEN}",
        "picky.token=[1, '${env:TOKEN}']",
        "block.min_doc_words=${env:TOKEN}",
    ],
)
def test_a_value_from_the_environment_is_in_no_error(secret, override):
    more = '  - {stage: "toy_stages:Picky", id: picky}\n  - {id: block, use: datatrove.pipeline.filters.GopherQualityFilter}\n'
    secret.pipeline(secret.file.read_text() + more)
    with pytest.raises(CurateError) as caught:
        load_pipeline(secret.file, [override])
    assert SECRET.lower() not in str(caught.value).lower()


def test_the_same_value_gives_the_same_version(secret, monkeypatch):
    first = secret.run().version
    monkeypatch.setenv("TOKEN", "another-value")
    assert secret.run().version == first


def test_a_setting_of_a_stage_that_is_a_bare_name_is_set(toy):
    toy.pipeline("dataset: a\nsources: [installed_packages]\nstages: [unicode, pii]\n")
    loaded = load_pipeline(toy.file, ["unicode.line_ends=false", "installed_packages.source_megabytes=1"])
    assert loaded.stages[0].stage.line_ends is False
    assert loaded.sources[0].stage.source_megabytes == 1
