"""What a client sees: the facts of the commands, hostile text as material, errors with the next step; and nothing else."""

from __future__ import annotations

import json
import os

import pytest
from jsonschema import Draft202012Validator

from curate.agents.answer import MOST_BYTES, NOTE, bounded
from curate.agents.files import schema_of
from curate.agents.project import VERBS
from curate.agents.serve import TOOLS
from curate.dataset.diff import diff
from curate.dataset.reader import open_dataset
from curate.dataset.store import Store
from curate.dataset.why import why
from curate.reports.text import BLOCK
from curate.terminal import visible
from tests.agents.conftest import FORGED, TEXTS
from tests.reports.conftest import HOSTILE

READING = {tool.name for tool in TOOLS if tool.verb is None}


@pytest.fixture(scope="session")
def store(shelf):
    return Store.open(shelf[0] / ".curate")


def test_only_tools_that_look_are_listed_and_each_says_when_to_use_it_and_what_it_takes_and_gives(reader):
    listed = reader.portal.call(reader.client.list_tools).tools
    assert {one.name for one in listed} == READING
    for one in listed:
        assert one.annotations.read_only_hint is True
        assert len(one.description) > 40
        for schema in (one.input_schema, one.output_schema):
            Draft202012Validator.check_schema(schema)
            assert schema["type"] == "object"
        assert one.input_schema["additionalProperties"] is False
        assert all("description" in field for field in one.input_schema["properties"].values())


def test_the_store_lists_datasets_with_versions_and_runs(reader, shelf):
    told = reader.facts("store")
    assert [one["name"] for one in told["datasets"][0]["versions"]] == [shelf[1]]
    assert [one["kind"] for one in told["runs"]] == ["run"]


def test_a_version_is_told_as_its_manifest_has_it(reader, store, shelf):
    told = reader.facts("version")
    manifest = open_dataset(shelf[1], store).manifest
    assert told["documents"] == manifest["documents"]
    assert [(one["id"], one["dropped"]) for one in told["stages"]] == [
        (one["id"], one["dropped"]) for one in manifest["stages"]
    ]


@pytest.mark.parametrize("verdict", ["kept", "dropped"])
def test_documents_by_verdict_are_as_many_as_the_manifest_says(reader, store, shelf, verdict):
    told = reader.facts("documents", verdict=[verdict])
    assert told["documents"] == open_dataset(shelf[1], store).manifest["documents"][verdict]


def test_a_dropped_document_is_listed_with_what_was_measured_and_the_threshold(reader):
    (first, *_) = reader.facts("documents", stage=["words"], reason=["few_words"], sort="value")["listed"]
    assert (first["value"], first["threshold"]) == (0.0, 4.0)


def test_documents_are_found_by_ranges_of_numbers_and_counted_by_facets(reader):
    told = reader.facts("documents", most={"words.words": 3}, facets=True, histograms=["words.words"])
    assert {one["verdict"] for one in told["listed"]} == {"dropped"}
    assert "words.words" in told["columns"]
    assert {one["column"] for one in told["facets"]} >= {"verdict", "stage", "reason"}
    assert sum(told["ranges"][0]["counts"]) == told["ranges"][0]["measured"]


def test_documents_are_found_by_words_of_their_texts(reader):
    told = reader.facts("documents", words='"too short"')
    assert ([one["id"] for one in told["listed"]], told["next"]) == (["d0"], None)


def test_the_story_of_a_document_is_that_of_the_command(reader, store, shelf):
    story = reader.facts("why", document="d0")["story"]
    told = json.loads(json.dumps(why(open_dataset(shelf[1], store), "d0"), default=str))
    assert {key: story[key] for key in told} == told


def test_a_document_is_named_by_its_place_as_well(reader):
    place = reader.facts("why", document="d0")["place"]
    assert reader.facts("why", place=place)["story"]["id"] == "d0"
    (error,) = reader.errors("why", place=place, document="d0")
    assert error["problem"] == "which document is meant?"


def test_what_if_counts_what_another_threshold_would_keep_and_names_who_would_flip(reader):
    assert [one["setting"] for one in reader.facts("what_if")["sliders"]] == ["minimum"]
    told = reader.facts("what_if", thresholds={"words.minimum": 2})
    assert [(one["leave"], one["stay"]) for one in told["stages"]] == [(0, 2)]
    assert [one["id"] for one in told["flips"]["stay"]["nearest"]] == ["d0", "d11"]
    assert "words.minimum=2" in told["command"]


def test_a_diff_is_that_of_the_command(reader, store, shelf):
    told, dataset = reader.facts("diff", before=shelf[1], after=shelf[1]), open_dataset(shelf[1], store)
    assert told["unchanged"] == diff(dataset, dataset)["unchanged"]
    assert (told["added"], told["removed"]) == (0, 0)


# ---- hostile documents


def test_hostile_text_is_material_between_marks_that_it_cannot_forge(reader):
    answer = reader.call("documents", page=1)
    text, found = answer.content[0].text, answer.structured_content
    assert (text.count("<material>"), text.count("</material>")) == (1, 1)
    summary, rest = text.split("\n", 1)
    assert rest.startswith(f"{NOTE}\n<material>\n") and rest.endswith("\n</material>")
    assert found["note"] == NOTE
    assert set(found) == {"summary", "note", "material", "cut"}
    inside = rest.split("\n")[2]
    assert json.loads(inside) == found["material"], "one line of JSON, which is what is structured"
    assert FORGED in [one["text"] for one in found["material"]["listed"]]
    assert not any(word in summary for text in TEXTS for word in text.split() if len(word) > 9)


def test_characters_that_steer_are_written_out(reader):
    for number, text in enumerate(TEXTS):
        answer = reader.call("read_document", document=f"d{number}", characters=8000)
        raw = answer.structured_content["material"]["raw"]
        assert raw == visible(raw)
        assert visible(answer.content[0].text) == answer.content[0].text
        if text in HOSTILE:
            assert raw == visible(text)[: len(raw)], text[:40]


def test_a_long_text_is_read_in_parts_that_together_are_the_text(reader):
    number, parts, at = TEXTS.index("x" * 100_000), [], 0
    while at is not None:
        told = reader.facts("read_document", document=f"d{number}", start=at, characters=7000)
        assert told["characters"] == [100_000, 100_000]
        parts, at = [*parts, told["raw"]], told["next"]
    assert "".join(parts) == "x" * 100_000


def test_what_looks_personal_is_blocked_out(reader):
    raw = reader.facts("read_document", document="d5")["raw"]
    assert "ann@" not in raw and BLOCK in raw


def test_an_answer_is_cut_to_its_limit_and_says_where_and_of_how_much():
    facts = {"rows": [{"text": "\x1b" * 900, "n": number} for number in range(1000)], "few": [1, 2]}
    shown, cuts = bounded(facts)
    assert len(json.dumps(shown, ensure_ascii=False).encode()) <= MOST_BYTES
    assert cuts[0]["at"] == "rows" and cuts[0]["of"] == 1000 and cuts[0]["shown"] == len(shown["rows"])
    assert shown["few"] == [1, 2]
    assert "\x1b" not in shown["rows"][0]["text"]


# ---- what a client may not do


@pytest.fixture(scope="session")
def traps(shelf, tmp_path_factory):
    """Ways out of the folder."""
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.yaml").write_text("dataset: secret\n")
    (shelf[0] / "link.yaml").symlink_to(outside / "secret.yaml")
    (shelf[0] / "door").symlink_to(outside)
    (shelf[0] / "loop").symlink_to("loop")
    os.mkfifo(shelf[0] / "pipe.yaml")
    return outside


@pytest.mark.parametrize(
    "name",
    ["../secret.yaml", "/etc/passwd", "link.yaml", "door/secret.yaml", "in/../../x", "a\0b", "loop", "pipe.yaml", "in", "",
     "--help", "~/x", "missing.yaml"],
)  # fmt: skip
@pytest.mark.parametrize("tool", ["validate", "plan", "what_if_file"])
def test_a_path_that_leads_elsewhere_or_to_no_file_is_refused(reader, traps, tool, name):
    (error,) = reader.errors(tool, file=name)
    assert error["hint"]
    assert "secret" not in json.dumps(error).replace(visible(name), "")


@pytest.mark.parametrize("name", ["../outside", "/etc", "door", "link.yaml"])
def test_an_evaluation_elsewhere_is_refused(reader, traps, name):
    assert reader.errors("evaluations", folder=name)
    assert reader.errors("compare", models=[name, name])


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"shelf.paths": ["x"]}, "`shelf.paths` is no setting of a stage: sources, gates and the dataset are for"),
        ({"dataset": "other"}, "`dataset` is no setting of a stage"),
        ({"min_documents": 0}, "`min_documents` is no setting of a stage"),
        ({"words.minimum": "/etc/passwd"}, "a value is a number, true, false, null, or words without punctuation"),
        ({"words.minimum": "{a: b}"}, "a value is a number"),
        ({"words.minimum": "door"}, "`door` is not in the project's folder"),
        ({"words.minimum=1 --x": 1}, "`words.minimum=1 --x` is no setting"),
        ({"words.where.id": "nobody"}, "`words.where.id` is no setting of a stage: which stage it is, and for which"),
        ({"words.least": 1}, "has no setting `least`"),
    ],
)
def test_settings_that_are_not_for_a_client_are_refused(runner, traps, settings, problem):
    (error,) = runner.errors("validate", file="pipeline.yaml", settings=settings)
    assert problem in error["problem"]


@pytest.mark.parametrize("version", ["--store=/etc", "../x", "books@../x", "a b"])
def test_what_names_no_version_is_refused(reader, version):
    (error,) = reader.errors("version", version=version)
    assert error["problem"] == f"`{version}` names no version"


@pytest.mark.parametrize("tool", [tool.name for tool in TOOLS if tool.verb])
def test_a_verb_that_is_not_allowed_is_refused_and_who_allows_it_is_told(reader, tool):
    (error,) = reader.errors(tool)
    assert error["problem"] == f"`{tool}` is not allowed here"
    assert "--allow" in error["hint"]


def test_every_verb_has_a_tool():
    assert {tool.verb for tool in TOOLS if tool.verb} == set(VERBS)


@pytest.mark.parametrize(
    ("tool", "arguments", "problem", "hint"),
    [
        ("documets", {}, "there is no tool `documets`", "did you mean `documents`"),
        ("documents", {"verdicts": []}, "`documents` has no argument `verdicts`", "did you mean `verdict`?"),
        (
            "documents",
            {"page": 0},
            "the argument `page` of `documents`: input should be greater than or equal to 1",
            "the tool's",
        ),
        ("documents", {"least": {"words.wrds": 1}}, "there is no column `words.wrds`", "did you mean `words.words`?"),
        ("documents", {"words": "x", "page": 2}, "`words` goes with filters only", "without `sort`"),
        ("why", {"document": "nobody"}, "no document `nobody` went into books@", "`curate data sample books`"),
        ("why", {"place": "9-9"}, "there is no document at `9-9`", ""),
        ("version", {"version": "boks"}, "there is no dataset named `boks`", "did you mean `books`?"),
        ("what_if", {"thresholds": {"copies.x": 1}}, "`copies.x` cannot be moved here", ""),
        (
            "schema",
            {"kind": "pipeline", "part": "unicod"},
            "the schema has no part `unicod`",
            "did you mean `unicode`?",
        ),
        ("runs", {"ids": ["nobody"]}, "there is no run `nobody`", ""),
    ],
)
def test_an_error_says_what_is_wrong_and_what_to_do(reader, tool, arguments, problem, hint):
    (error,) = reader.errors(tool, **arguments)
    assert error["problem"].startswith(problem)
    assert (error["hint"] or "").startswith(hint)


def test_lists_that_come_as_json_in_a_string_are_read(reader):
    assert reader.facts("documents", verdict='["dropped"]')["documents"] > 0


# ---- files


def test_a_wrong_file_is_told_with_its_line_and_all_its_errors(reader, shelf):
    (shelf[0] / "wrong.yaml").write_text(
        "dataset: books\nsources:\n  - {stage: files, path: x}\nstages:\n  - {stage: unicod}\n"
    )
    errors = reader.errors("validate", file="wrong.yaml")
    assert len(errors) > 1
    assert any("wrong.yaml:5" in error["where"] for error in errors)


def test_a_right_file_is_valid_and_its_plan_is_told_without_doing_it(runner, shelf):
    told = runner.facts("validate", file="pipeline.yaml")
    assert (told["dataset"], told["stages"]) == ("books", ["shelf", "words", "copies"])
    before = sorted(path.name for path in (shelf[0] / ".curate" / "objects").rglob("*"))
    told = runner.facts("plan", file="pipeline.yaml", settings={"words.minimum": 2})
    assert {one["id"]: one["action"] for one in told["stages"]}["words"] == "decide"
    assert sorted(path.name for path in (shelf[0] / ".curate" / "objects").rglob("*")) == before


def test_a_client_that_only_looks_has_no_stage_of_the_projects_own_loaded(reader):
    for tool in ("validate", "plan", "what_if_file"):
        (error,) = reader.errors(tool, file="pipeline.yaml")
        assert (
            error["problem"] == "`agent_stages:Words` is code, which is not loaded where clients may not run pipelines"
        )
        assert "--allow run" in error["hint"]


def test_whole_schemas_are_resources(reader):
    listed = [str(one.uri) for one in reader.portal.call(reader.client.list_resources).resources]
    assert listed == [f"curate://schema/{kind}" for kind in ("pipeline", "training", "tasks")]
    text = reader.portal.call(reader.client.read_resource, listed[0]).contents[0].text
    assert json.loads(text) == json.loads(json.dumps(schema_of("pipeline")))


@pytest.mark.parametrize("name", [None, "unicode"])
def test_stages_are_told_as_by_the_command(reader, name):
    from curate.stages.registry import stage_names

    told = reader.facts("stages", **({"name": name} if name else {}))
    assert told["stage"]["name"] == name if name else [one["name"] for one in told["stages"]] == list(stage_names())
