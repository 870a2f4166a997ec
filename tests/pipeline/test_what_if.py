"""`curate what-if`: what other thresholds would do, from what is stored, is what a run with them does."""

from __future__ import annotations

import json
import math
import os
import shutil

import numpy as np
import pyarrow as pa
import pytest
import toy_project

from curate.commands.what_if import _example, _print_rules
from curate.config.pipeline import load_pipeline
from curate.errors import CurateError
from curate.pipeline.thresholds import Change, _decides
from curate.pipeline.what_if import what_if
from curate.stages.contract import Rule
from curate.stages.decide import decide_by_rules
from curate.stages.judge import judge, judge_rules
from tests import oracles

FILTERS = 'Shout, word: "7"', "Long, id: a, minimum: 3, maximum: 20", "Long, id: b, maximum: 18", "Copies"


def told(project, *overrides, **options):
    return what_if(project.open(), load_pipeline(project.file, overrides), **options)


def row(told, stage):
    return next(one for one in told["stages"] if one["id"] == stage)


def counts(told, stage, *keys):
    return tuple(row(told, stage)[key]["documents"] for key in keys)


def left_by_reason(done, stage):
    reasons = next(one["reasons"] for one in done.manifest["stages"] if one["id"] == stage)
    return reasons.get("dropped", {})


@pytest.fixture(scope="module")
def after_a_run(tmp_path_factory):
    """The folder of texts of 1 to 24 letters that went through two filters on their length."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(toy_project.HERE))
        patch.setenv("PYTHONPATH", str(toy_project.HERE), prepend=os.pathsep)
        project = toy_project.Project(tmp_path_factory.mktemp("filtered"), None, patch)
        project.write("one.txt", *("x" * length for length in range(1, 25)), "!broken")
        project.write("two.txt", *(f"id{length}|" + "y" * length for length in range(1, 25)))
        project.stages(*FILTERS)
        project.run()
    return project.root


@pytest.fixture
def filtered(project, after_a_run):
    """A project with those, after the run."""
    shutil.copytree(after_a_run, project.root, dirs_exist_ok=True)
    return project


# ---- the counts


def test_a_stricter_threshold_is_told_as_a_run_with_it_goes(filtered):
    found = told(filtered, "a.minimum=6", "b.maximum=15")
    now = {one["reason"]: one["now"]["first"]["documents"] for one in found["rules"] if one["stage"] == "a"}
    run = filtered.run("a.minimum=6", "b.maximum=15")
    assert now == left_by_reason(filtered.open(), "a") == {"too_short": 10, "too_long": 8}
    for stage in run.stages[2:]:
        assert counts(found, stage["id"], "in_now", "gone_now") == (stage["in"], stage["dropped"]), stage["id"]
    assert found["documents"]["now"]["documents"] == run.documents["kept"] == 20
    assert found["documents"]["unknown"] == {"documents": 0, "size": 0}


def test_documents_that_a_looser_threshold_lets_in_are_counted_as_never_seen_by_the_next_stage(filtered):
    found = told(filtered, "a.maximum=23")
    assert counts(found, "a", "in", "gone", "gone_now", "never_seen") == (48, 12, 6, 0)
    assert counts(found, "b", "in", "in_now", "never_seen") == (36, 36, 6)
    assert found["documents"]["unknown"]["documents"] == 6
    assert found["notes"] == []  # they are not known to come to `copies`


def test_documents_that_the_last_stage_lets_in_are_kept(filtered):
    filtered.stages(*FILTERS[:-1])
    filtered.run()
    found = told(filtered, "b.maximum=19")
    assert (found["documents"]["now"]["documents"], found["documents"]["unknown"]["documents"]) == (34, 0)
    assert filtered.run("b.maximum=19").documents["kept"] == 34


def test_documents_that_a_filter_edits_stay_and_are_new_to_later_stages_where_they_are_edited_otherwise(project):
    project.write("one.txt", *("x" * length for length in range(1, 25)))
    project.stages("Trims, id: trims, minimum: 3, maximum: 20", "Narrow, id: long, maximum: 19")
    project.run()
    found = told(project, "trims.minimum=5")
    run = project.run("trims.minimum=5")
    assert counts(found, "trims", "in_now", "gone_now") == (24, 4) == (24, run.stages[1]["dropped"])
    assert found["documents"]["now"]["documents"] == run.documents["kept"] == 15
    project.run()
    found = told(project, "trims.maximum=18")
    assert counts(found, "long", "in", "in_now", "never_seen") == (22, 16, 6)  # those of 19 to 24 letters
    assert (found["documents"]["now"]["documents"], found["documents"]["unknown"]["documents"]) == (16, 6)
    assert project.run("trims.maximum=18").documents["kept"] == 22


def test_a_stage_over_all_documents_is_told_where_others_come_to_it(filtered):
    [note] = told(filtered, "b.maximum=19")["notes"]
    assert note == (
        "these decide over all documents, and are taken to say of the rest what they said: `Copies` (0 that it saw would not "
        "come to it, 2 others would or may)"
    )


def test_so_is_one_that_dropped_nobody_since_what_it_compares_is_less(filtered):
    filtered.stages(*FILTERS[:-1], "Copies, id: all")
    filtered.run()
    assert filtered.open().manifest["stages"][-1]["dropped"] == 0
    [note] = told(filtered, "b.maximum=15")["notes"]
    assert note.endswith("`all` (6 that it saw would not come to it, 0 others would or may)")


def test_several_of_them_are_one_line(filtered):
    filtered.stages(*FILTERS[:-1], "Copies, id: one", "Copies, id: two")
    filtered.run()
    [note] = told(filtered, "b.maximum=15")["notes"]
    assert "`one` (6 that it saw" in note
    assert "`two` (6 that it saw" in note


def test_a_rule_is_counted_alone_as_the_only_one_and_as_the_reason():
    features = pa.table({"n": [1, 5, 9, None], "share": [0.9, 0.1, 0.9, 0.1]})
    rules = [Rule("few", "n", minimum=3), Rule("many", "n", maximum=8), Rule("odd", "share", maximum=0.5)]
    few, many, odd = judge_rules(features, rules).rules
    listed = [[which.tolist() for which in (rule.fails, rule.only, rule.first)] for rule in (few, many, odd)]
    yes, no = True, False
    assert listed == [
        [[yes, no, no, yes], [no, no, no, no], [yes, no, no, yes]],
        [[no, no, yes, yes], [no, no, no, no], [no, no, yes, no]],
        [[yes, no, yes, no], [no, no, no, no], [no, no, no, no]],
    ]


def test_rules_judge_as_they_decide():
    generator = np.random.default_rng(0)
    features = pa.table({name: generator.integers(0, 9, 500).astype(float) for name in "abc"})
    rules = [Rule("a", "a", 2, 7), Rule("b", "b", maximum=6), Rule("c", "c", minimum=1), Rule("off", "c")]
    judged, said = judge_rules(features, rules), decide_by_rules(features, rules).to_pylist()
    assert np.flatnonzero(judged.gone).tolist() == [one["row"] for one in said]
    first = {int(place): rule.reason for rule in judged.rules for place in np.flatnonzero(rule.first)}
    assert first == {one["row"]: one["reason"] for one in said}


def test_a_filter_that_decides_by_other_means_has_reasons_and_no_rules_alone():
    from curate.filter.language import Language

    features = pa.table({"language": ["en", "de", None], "language_score": pa.array([0.5, 0.9, None], pa.float32())})
    language, score = judge(Language(languages=["en"]), features).rules
    assert (language.first.tolist(), score.first.tolist()) == ([False, True, True], [True, False, False])
    assert (language.fails, score.only) == (None, None)


def test_rules_of_one_reason_are_counted_together_and_examples_are_told_the_bound_of_their_own(project):
    project.write("one.txt", *("x" * length for length in range(1, 41)))
    project.stages("Between, id: c, minimum: 10, maximum: 30")
    project.run()
    found = told(project, "c.minimum=20")
    [rule] = found["rules"]
    assert [rule[when]["alone"]["documents"] for when in ("before", "now")] == [19, 29]
    assert {(one["before"], one["now"]) for one in found["examples"]} == {(10, 20)}
    found = told(project, "c.maximum=5")  # all fail one of two, 6 to 9 both
    assert [found["rules"][0]["now"][how]["documents"] for how in ("first", "alone", "only")] == [40, 40, 40]
    assert {(one["before"], one["now"]) for one in found["examples"]} == {(30, 5)}


def test_a_rule_that_is_no_longer_there_has_no_bound_now(project):
    project.write("one.txt", *("x" * length for length in range(1, 41)))
    project.stages("Between, id: c, minimum: 10, maximum: 30")
    project.run()
    assert {(one["would"], one["before"], one["now"]) for one in told(project, "c.minimum=null")["examples"]} == {
        ("stay", 10, None)
    }
    project.stages("Between, id: c, minimum: 10")
    project.run()
    found = told(project, "c.minimum=null")
    assert [found["rules"][0]["now"][how]["documents"] for how in ("first", "alone", "only")] == [0, 0, 0]
    outcome = project.cli("what-if", "pipeline.yaml", "--set", "c.minimum=null")
    assert (outcome.code, "one.txt#8 would stay: c length 9 (10 -> -): xxxxxxxxx" in outcome.out) == (0, True)


def test_each_change_is_counted_alone_too(filtered):
    changes = {one["setting"]: one for one in told(filtered, "a.minimum=6", "a.maximum=21")["changes"]}
    assert (changes["minimum"]["from"], changes["minimum"]["to"]) == (3, 6)
    assert (changes["minimum"]["leave"]["documents"], changes["minimum"]["stay"]["documents"]) == (6, 0)
    assert (changes["maximum"]["leave"]["documents"], changes["maximum"]["stay"]["documents"]) == (0, 2)
    assert changes["maximum"]["stay"]["size"] == 42  # bytes: nothing counts words


def test_what_a_file_says_since_it_was_run_is_a_change(filtered):
    filtered.stages(*(one.replace("minimum: 3", "minimum: 4") for one in FILTERS))
    assert [one["setting"] for one in told(filtered)["changes"]] == ["minimum"]


def test_what_was_made_of_documents_that_would_leave_goes_with_them(project):
    project.write("one.txt", *(f"{'w ' * length}end." for length in range(1, 9)))
    project.pipeline(
        'dataset: toy\nsources: [{stage: "toy_stages:Lines", id: lines}]\nstages:\n'
        '  - {stage: "toy_stages:Long", id: long, minimum: 1}\n  - {stage: chunk, size: 3}\n'
        '  - {stage: "toy_stages:Long", id: pieces, minimum: 4}\n'
    )
    project.run()
    found = told(project, "long.minimum=10", "pieces.minimum=6")
    run = project.run("long.minimum=10", "pieces.minimum=6")
    assert counts(found, "pieces", "in_now", "gone_now") == (run.stages[-1]["in"], run.stages[-1]["dropped"])
    assert found["documents"]["now"]["documents"] == run.documents["kept"]


def test_documents_that_were_erased_or_whose_id_was_there_twice_are_no_part_of_it(filtered):
    filtered.write("two.txt", *(f"id{length}|" + "y" * length for length in range(1, 25)), "id7|zzzzzzz")
    filtered.run()
    filtered.write("subject.yaml", "documents: [id8]")
    assert filtered.cli("data", "erase", "--subject-file", "subject.yaml").code == 0
    with pytest.raises(CurateError, match=r"the file has other stages than toy@.* was made by: `erased`"):
        told(filtered, "a.minimum=9")
    filtered.run()
    found = told(filtered, "a.minimum=9")
    run = filtered.run("a.minimum=9")
    assert counts(found, "a", "in", "in_now", "gone_now") == (47, 47, run.stages[2]["dropped"])
    assert found["documents"]["now"]["documents"] == run.documents["kept"]


# ---- examples


def test_examples_are_the_documents_nearest_to_the_threshold_that_would_go_the_other_way(filtered):
    found = told(filtered, "a.minimum=6", "a.maximum=22", examples=2)["examples"]
    assert [(one["would"], one["reason"], one["value"], one["before"], one["now"]) for one in found] == [
        ("leave", "too_short", 5.0, 3, 6),
        ("leave", "too_short", 5.0, 3, 6),
        ("stay", "too_long", 22.0, 20, 22),
        ("stay", "too_long", 22.0, 20, 22),
    ]
    assert {one["id"] for one in found[:2]} == {"one.txt#4", "id5"}
    assert found[0]["text"] == "xxxxx"


def test_an_example_shows_the_text_that_the_stage_saw(project):
    project.write("one.txt", "a 7", "another 7")
    project.stages('Shout, word: "7"', "Long, minimum: 1")
    project.run()
    [one] = told(project, "Long.minimum=5")["examples"]
    assert (one["text"], one["value"]) == ("A 7", 3.0)


# ---- what cannot be told


@pytest.mark.parametrize(
    ("change", "problem", "hint"),
    [
        (
            "Shout.word=x",
            "`Shout.word` needs documents to be worked on again: `Shout` edits, or drops, while it reads the texts",
            "curate run pipeline.yaml --set Shout.word=x, first with --sample 1000",
        ),
        (
            "a.scale=2",
            "`a.scale` needs documents to be worked on again: what it measures depends on it; decided from what is stored: "
            "`maximum`, `minimum`",
            "curate run pipeline.yaml --set a.scale=2, first with --sample 1000",
        ),
        (
            "lines.paths=one.txt",
            "`lines.paths` needs documents to be worked on again: it decides what is read",
            "curate run pipeline.yaml --set lines.paths=one.txt, first with --sample 1000",
        ),
    ],
)
def test_a_setting_that_is_not_decided_from_what_is_stored_is_named_with_what_to_do(filtered, change, problem, hint):
    with pytest.raises(CurateError) as caught:
        told(filtered, change, "a.minimum=4")
    assert [(one["problem"], one["hint"]) for one in caught.value.records()] == [(problem, hint)]


def test_no_change_and_other_stages_are_errors(filtered):
    with pytest.raises(CurateError, match="nothing is changed: the file says what toy@v1 was made by"):
        told(filtered)
    filtered.stages(*FILTERS[:2])
    with pytest.raises(CurateError, match=r"the file has other stages than toy@v1 was made by: `b`, `Copies`"):
        told(filtered, "a.minimum=4")


def test_a_setting_by_which_a_filter_begins_to_edit_is_not_decided_from_what_is_stored(project):
    (project.root / "asked.jsonl").write_text('{"question": "one two three four five six seven eight nine"}\n')
    project.pipeline(
        'dataset: toy\nsources: [{stage: "toy_stages:Lines", id: lines}]\n'
        "stages: [{stage: decontaminate, evaluation: [asked.jsonl], action: cut, max_share: 0.1}]\n"
    )
    (entry,) = load_pipeline(project.file).stages
    assert not _decides(entry, Change("action", "drop", "cut"))
    assert _decides(entry, Change("max_share", 0.9, 0.1))


def test_of_a_stage_without_rules_only_what_is_known_is_printed(capsys):
    some = {"documents": 3, "size": 5}
    unknown = {"alone": None, "only": None, "first": some}
    _print_rules([{"stage": "d", "reason": "found", "before": unknown, "now": unknown}], "words")
    assert capsys.readouterr().out == "rule      leave by it  now  words\nd: found            3    3      5\n"
    one = {"id": "a", "would": "leave", "stage": "d", "reason": "found", "value": None, "before": None, "now": None}
    changes = [{"stage": "d", "setting": "max_share", "from": 0.9, "to": 0.1}]
    assert _example({**one, "text": "t"}, changes) == "  a would leave: d found (max_share 0.9 -> 0.1): t"


# ---- the command


def test_the_command_writes_for_people_and_for_scripts(filtered):
    filtered.calls()
    outcome = filtered.cli("what-if", "pipeline.yaml", "--set", "a.minimum=6", "--set", "a.maximum=22")
    assert (outcome.code, outcome.err) == (0, "")
    assert "too_short" in outcome.out
    assert "sizes in bytes, of documents as they were read" in outcome.out
    assert f"\nkept: {filtered.open().manifest['documents']['kept']} documents; now" in outcome.out
    assert "one.txt#4 would leave: a too_short 5 (3 -> 6): xxxxx" in outcome.out
    outcome = filtered.cli("what-if", "pipeline.yaml", "--set", "a.minimum=6", "--json")
    fields = "schema dataset version tag unit sizes_of changes rules stages documents examples notes"
    assert set(json.loads(outcome.out)) == set(fields.split())
    assert filtered.calls() == {}


@pytest.mark.slow
def test_real_text_is_told_as_runs_go(tmp_path):
    """Six changes of thresholds of published filters on parts of books: every count that is known equals the run's."""
    import curate

    write_books(tmp_path / "books.jsonl", 400_000)
    (tmp_path / "pipeline.yaml").write_text(REAL)
    curate.run(tmp_path / "pipeline.yaml", workers=1)
    for change in CHANGES:
        found = what_if(
            curate.open_dataset("books@v1", tmp_path / ".curate"), load_pipeline(tmp_path / "pipeline.yaml", change)
        )
        run = curate.run(tmp_path / "pipeline.yaml", overrides=change, workers=1)
        made = curate.open_dataset(f"books@{run.version}", tmp_path / ".curate")
        check(found, made, run)


REAL = """\
dataset: books
sources: [{stage: files, paths: [books.jsonl]}]
stages: [{stage: language, languages: [en]}, gopher_quality, gopher_repetition, fineweb]
"""
CHANGES = (
    ["gopher_quality.min_words=80"],
    ["gopher_quality.min_words=20", "gopher_quality.min_alphabetic=0.7"],
    ["language.min_score=0.9", "gopher_repetition.max_repeated_lines=0.1"],
    ["gopher_repetition.max_top_n_gram=[null, 0.05, 0.05]"],
    ["fineweb.min_punctuated_lines=null", "fineweb.max_short_lines=0.9"],
    ["gopher_quality.min_stop_words=3", "fineweb.max_repeated_line_characters=0.005"],
)


def check(found, made, run):
    """What is known equals the run; what is not known bounds it."""
    unseen = 0
    for stage in (one for one in run.stages if one["id"] in {row["id"] for row in found["stages"]}):
        told = row(found, stage["id"])
        unseen += told["never_seen"]["documents"]
        known, gone = told["in_now"]["documents"], told["gone_now"]["documents"]
        assert known <= stage["in"] <= known + unseen
        assert gone <= stage["dropped"] <= gone + unseen
        if not unseen:
            reasons = {
                one["reason"]: one["now"]["first"]["documents"] for one in found["rules"] if one["stage"] == stage["id"]
            }
            if reasons:
                assert {key: value for key, value in reasons.items() if value} == left_by_reason(made, stage["id"])
    kept = found["documents"]["now"]["documents"]
    assert kept <= run.documents["kept"] <= kept + found["documents"]["unknown"]["documents"]


def write_books(path, characters):
    """Parts of one to thirteen lines of real books, as JSON lines."""
    import random
    import tarfile

    draw, size = random.Random(0), 0
    with (
        path.open("w") as out,
        tarfile.open(oracles.real_data() / "books_sample" / "books.tar.xz") as books,
    ):
        for book in (one for one in books if one.isfile()):
            lines = books.extractfile(book).read().decode("utf-8", "replace").split("\n")
            while lines and size < characters:
                count = draw.choice([1, 1, 2, 3, 5, 8, 13])
                text, lines = "\n".join(lines[:count]), lines[count:]
                out.write(json.dumps({"text": text}) + "\n")
                size += len(text)
    assert math.isclose(size, characters, rel_tol=0.1)
