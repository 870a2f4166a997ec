"""What a model has to show before it becomes the champion: passed, failed, or not to be told."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from curate.cli import app
from curate.dataset.models import require_names
from curate.errors import ConfigurationErrors, CurateError, GateError
from curate.evaluation.gates import read_gate
from curate.registry.gates import judge_candidate, read_gate_file
from curate.registry.promotion import promote, propose
from curate.registry.trained import find_trained
from tests.registry.conftest import answers

BOOKS = "b" * 64
"""The version that models of these tests were trained on."""
MEMORIZED = {
    "version": BOOKS,
    "name": "books@v1",
    "held_out": "validation",
    "verbatim": {
        "train": {"value": 0.05, "low": 0.03, "high": 0.08, "n": 400},
        "validation": {"value": 0.01, "low": 0.0, "high": 0.02, "n": 400},
    },
}
CONTAMINATED = {
    "version": BOOKS, "name": "books@v1", "tasks": {"quiz": {"share": {"value": 0.0, "low": 0.0, "high": 0.03, "n": 100}}},
}  # fmt: skip


def verdicts(registry, candidate, champion, *gates):
    """The verdict and the reasons of each gate."""
    entries = [one and find_trained(registry.store, str(one)) for one in (candidate, champion)]
    outcome = judge_candidate(registry.store, [read_gate(one) for one in gates], *entries)
    return [(one["verdict"], one["missing"]) for one in outcome.json()]


@pytest.fixture
def two(registry):
    """The runs of a candidate and a champion, evaluated on the same items."""
    found = {}
    for name, right in (("old", 700), ("new", 690)):
        found[name] = registry.run(name, versions=[("books", BOOKS)])
        registry.evaluate(
            found[name], {"quiz": answers(right, 1000)}, contamination=CONTAMINATED, memorization=MEMORIZED,
            leaks=MEMORIZED, cost={key: {"value": 5e6, "low": 4e6, "high": 6e6} for key in ("size", "latency")},
        )  # fmt: skip
    return found["new"], found["old"]


@pytest.mark.parametrize(("gate", "verdict", "reason"), [
    ("accuracy not worse than 2 points", "passed", None),
    ("accuracy not worse than 1.2 points", "cannot tell", "items like these would tell"),
    ("accuracy not worse than 0.3 points", "failed", "it may be worse by"),
    ("accuracy better", "failed", "p "),
    ("accuracy at least 60%", "passed", None),
    ("accuracy on quiz at least 0.68", "cannot tell", "it may be 0.66"),
    ("accuracy at least 80 points", "failed", "0.69 (0.66"),
    ("accuracy at most 0.9", "passed", None),
    ("contamination at most 5%", "passed", None),
    ("contamination at most 1%", "cannot tell", "it may be 0.03, 0.01 is the limit"),
    ("memorization at most 8%", "passed", None),
    ("memorization at most 0.1%", "failed", "is more than 0.001"),
    ("leaks at most 5%", "cannot tell", "0.05 is the limit"),
    ("size at most 7 MB", "passed", None),
    ("size at most 5 MB", "cannot tell", "it may be 6e+06"),
    ("size at most 3 MB", "failed", "is more than 3e+06"),
])  # fmt: skip
def test_a_gate_is_passed_failed_or_not_to_be_told(registry, two, gate, verdict, reason):
    ((found, missing),) = verdicts(registry, *two, gate)
    assert found == verdict
    assert (missing == []) if reason is None else reason in missing[0], missing


def test_as_many_items_as_are_said_would_tell(registry):
    """Ten of a thousand fewer: at the number of items that is told, the same shares pass."""
    new, old = registry.run("new"), registry.run("old")
    registry.evaluate(old, {"quiz": answers(700, 1000)})
    registry.evaluate(new, {"quiz": answers(690, 1000)})
    ((verdict, (words,)),) = verdicts(registry, new, old, "accuracy not worse than 1.2 points")
    assert verdict == "cannot tell"
    needed = int(words.partition("about ")[2].partition(" items")[0].replace(",", ""))
    times = -(-needed // 1000) + 1
    registry.evaluate(old, {"quiz": answers(700 * times, 1000 * times)})
    registry.evaluate(new, {"quiz": answers(690 * times, 1000 * times)})
    assert verdicts(registry, new, old, "accuracy not worse than 1.2 points") == [("passed", [])]


def test_a_model_of_the_same_answers_is_not_worse_and_one_of_few_items_cannot_be_told(registry):
    """A gate without power does not pass: 8 items bound no difference of a point."""
    few = [registry.run(name) for name in ("a", "b")]
    for one in few:
        registry.evaluate(one, {"quiz": answers(6, 8)})
    ((verdict, (words,)),) = verdicts(registry, *few, "accuracy not worse than 1 point")
    assert verdict == "cannot tell" and "items like these would tell" in words


# ---- gates of what the training had


@pytest.mark.parametrize(("fact", "words"), [
    ("contamination", "--contamination books@v1"), ("memorization", "--memorization 500 --memorization-from books@v1"),
    ("leaks", "--leaks 500 --memorization-from books@v1"),
])  # fmt: skip
def test_what_was_measured_on_another_version_than_the_training_had_is_no_answer(registry, two, fact, words):
    third = registry.run("third", versions=[("books", "c" * 64)])
    registry.evaluate(third, {"quiz": answers(90)}, contamination=CONTAMINATED, memorization=MEMORIZED, leaks=MEMORIZED)
    with pytest.raises(CurateError) as refused:
        verdicts(registry, third, None, f"{fact} at most 50%")
    assert refused.value.problem.startswith(f"`{fact}` of run `third` was measured on books@v1, and it was trained on")
    assert words in refused.value.hint


def test_of_a_mixture_one_version_alone_does_not_tell(registry):
    run = registry.run("both", versions=[("books", BOOKS), ("web", "c" * 64)])
    registry.evaluate(run, {"quiz": answers(90)}, contamination=CONTAMINATED, memorization=MEMORIZED)
    ((verdict, (words,)),) = verdicts(registry, run, None, "contamination at most 5%")
    assert verdict == "cannot tell"
    assert words == "cannot tell: it was trained on web@v1, too, and measured on books@v1 alone"
    assert verdicts(registry, run, None, "memorization at most 0.1%")[0][0] == "failed"


def test_what_an_erasure_made_of_a_version_counts_as_that_version(registry, monkeypatch):
    run = registry.run("before", versions=[("books", "a" * 64)])
    registry.evaluate(run, {"quiz": answers(90)}, contamination=CONTAMINATED)
    monkeypatch.setattr("curate.dataset.refs.became", lambda known, version: BOOKS)
    assert verdicts(registry, run, None, "contamination at most 5%") == [("passed", [])]


def test_without_a_champion_nothing_is_compared_and_limits_hold(registry, two):
    found = verdicts(registry, two[0], None, "accuracy not worse than 1 point", "accuracy at least 80%")
    assert [one for one, _ in found] == ["failed", "waived"]
    assert found[1][1] == ["there is no champion yet to compare with"]


# ---- what cannot be asked


def test_a_model_that_was_not_evaluated_says_what_to_run(registry, two):
    third = registry.run("third")
    with pytest.raises(CurateError) as refused:
        verdicts(registry, third, two[1], "accuracy better")
    assert refused.value.problem == "run `third` was not evaluated"
    assert refused.value.hint.startswith(f"`curate eval {third}` measures it")


def test_an_evaluation_of_other_weights_does_not_count(registry, two):
    result = registry.folder / "evaluations" / "new" / "result.json"
    result.write_text(result.read_text().replace('"weights":"', '"weights":"0'))
    with pytest.raises(CurateError, match="the evaluations of run `new` are gone or of other weights now"):
        verdicts(registry, *two, "accuracy better")


@pytest.mark.parametrize(("gate", "problem", "hint"), [
    ("bleu better", "`bleu` was measured of neither model", "with --tasks FILE or --data VERSION"),
    ("bleu at least 20", "`bleu` was not measured of new", "--tasks FILE"),
    ("accuracy on quizz at least 0.2", "`accuracy` of the task `quizz` was not measured of new", "did you mean `quiz`?"),
])  # fmt: skip
def test_what_was_not_measured_says_what_to_run(registry, two, gate, problem, hint):
    with pytest.raises(CurateError) as refused:
        verdicts(registry, *two, gate)
    assert refused.value.problem == problem and hint in refused.value.hint


@pytest.mark.parametrize(("fact", "option"), [
    ("contamination", "--contamination VERSION"), ("memorization", "--memorization 500"), ("size", "--cost"),
])  # fmt: skip
def test_facts_that_were_not_measured_say_what_measures_them(registry, fact, option):
    run = registry.run("bare")
    registry.evaluate(run, {"quiz": answers(5, 8)})
    with pytest.raises(CurateError) as refused:
        verdicts(registry, run, None, f"{fact} at most 1{' MB' if fact == 'size' else '%'}")
    assert f"`{fact}` was not measured of bare" == refused.value.problem and option in refused.value.hint


def test_models_that_were_asked_other_items_are_not_compared(registry, two):
    third = registry.run("third")
    registry.evaluate(third, {"quiz": answers(90)}, data="e" * 64)
    with pytest.raises(CurateError, match="cannot be compared on `quiz`: measured on other data") as refused:
        verdicts(registry, third, two[1], "accuracy better")
    assert "with the tasks and data of the other one" in refused.value.hint


def test_metrics_of_tokens_are_not_compared_across_tokenizers(registry, two):
    third = registry.run("third", tokenizer="u" * 64)
    registry.evaluate(third, {"quiz": answers(90)})
    with pytest.raises(CurateError, match="`token_accuracy` cannot compare models of different tokenizers") as refused:
        verdicts(registry, third, two[1], "token_accuracy better")
    assert refused.value.hint == "`bits_per_byte` can: it is of the text"


@pytest.mark.parametrize(("text", "problems"), [
    ("gates: [acuracy better, f1 at least 0.6, size at most 5%]", ["no metric `acuracy`", "`size` is told in MB"]),
    ("gate: [f1 better]", ["needs the setting `gates`", "has no setting `gate`"]),
    ("[f1 better]", ["a file of gates is a map with `gates`"]),
    ("gates: []", ["`gates`: "]),
    ("gates: [latency better]", ["a metric has to be `at most` something"]),
    ("gates: [bits_per_byte at most 3%]", ["`bits_per_byte` is no share, and has no percent"]),
    ("gates: [accuracy at least 60]", ["it cannot be above 1"]),
])  # fmt: skip
def test_a_file_of_gates_tells_all_that_is_wrong_with_its_place(tmp_path, text, problems):
    path = tmp_path / "gates.yaml"
    path.write_text(text)
    with pytest.raises(CurateError) as refused:
        read_gate_file(path)
    errors = refused.value.errors if isinstance(refused.value, ConfigurationErrors) else [refused.value]
    assert len(errors) == len(problems)
    for problem in problems:
        one = next(one for one in errors if problem in one.problem)
        assert str(one.where).startswith(f"{path}:1:")


# ---- promotion through gates


def cli(registry, *words):
    done = CliRunner().invoke(app, ["model", *map(str, words), "--store", registry.store.location])
    return done


def test_what_does_not_pass_is_not_promoted_and_stands_in_the_log(registry, two, tmp_path):
    gates = tmp_path / "gates.yaml"
    gates.write_text("gates: [accuracy at least 80%, accuracy not worse than 0.3 points]")
    assert cli(registry, "promote", "quiz", two[1], "--force", "the first").exit_code == 0
    for _ in range(2):
        refused = cli(registry, "promote", "quiz", two[0], "--gates", gates)
        assert isinstance(refused.exception, GateError) and refused.exception.exit_code == 3
    assert "accuracy at least 80%; accuracy not worse than 0.3 points" in refused.exception.problem
    assert [one["verdict"] for one in refused.exception.result["gates"]] == ["failed", "failed"]
    names = require_names(registry.store, "quiz")
    assert [one["action"] for one in names["log"]] == ["candidate", "promote", "candidate", "refuse"]
    assert names["models"][names["aliases"]["champion"]]["run"] == "old"
    forced = cli(registry, "promote", "quiz", "--gates", gates, "--force", "we know better", "--json")
    told = json.loads(forced.stdout)
    assert (told["champion"]["run"], told["previous"]["run"], told["changed"]) == ("new", "old", True)
    entry = require_names(registry.store, "quiz")["log"][-1]
    assert entry["forced"] == "we know better" and [one["passed"] for one in entry["gates"]] == [False, False]


def test_what_passes_is_promoted_with_its_gates_in_the_log(registry, two, tmp_path):
    gates = tmp_path / "gates.yaml"
    gates.write_text("gates: [accuracy at least 60%, accuracy not worse than 3 points]")
    propose(registry.store, "quiz", str(two[1]))
    first = promote(registry.store, "quiz", gates=read_gate_file(gates), force=None)
    assert [one["verdict"] for one in first.json()["gates"]] == ["passed", "waived"]
    judged = cli(registry, "promote", "quiz", two[0], "--as", "candidate")
    assert "new " in judged.stdout and judged.stdout.rstrip().endswith("is the candidate")
    assert cli(registry, "gate", "quiz", gates).exit_code == 0
    done = cli(registry, "promote", "quiz", "--gates", gates)
    assert done.exit_code == 0 and "is the champion; before it: old" in done.stdout
    assert require_names(registry.store, "quiz")["log"][-1]["file"] == read_gate_file(gates).hash


@pytest.mark.parametrize(("words", "problem"), [
    (["quiz"], "a champion has to pass gates"),
    (["quiz", "--force", " "], "--force needs a reason, which stands in the log"),
    (["quiz", "--as", "candidate"], "no run is named to be the candidate"),
    (["quiz", "--as", "candidate", "--force", "x"], "gates are asked when a model becomes the champion"),
    (["quiz", "--force", "x"], "no model is named `quiz`"),
])  # fmt: skip
def test_words_that_do_not_go_together_are_refused(registry, words, problem):
    refused = cli(registry, "promote", *words)
    assert isinstance(refused.exception, CurateError) and refused.exception.problem == problem


def test_the_commands_tell_scripts_what_they_tell_people(registry, two):
    cli(registry, "promote", "quiz", two[1], "--force", "the first")
    listed = json.loads(cli(registry, "list", "--json").stdout)
    assert [(one["model"], one["champion"]["run"], one["previous"]) for one in listed["models"]] == [
        ("quiz", "old", None)
    ]
    shown = json.loads(cli(registry, "show", "quiz", "--json").stdout)
    assert {"model", "alias", "id", "weights", "run", "folder", "versions", "tokenizer", "notes"} <= shown.keys()
    assert json.loads(cli(registry, "log", "quiz", "--json").stdout)["log"][0]["action"] == "promote"
    assert "the first" in cli(registry, "log", "quiz").stdout and "old" in cli(registry, "list").stdout
    assert "quiz@champion" in cli(registry, "show", "quiz").stdout
    with_alias = cli(registry, "show", "quiz@winner")
    assert with_alias.exception.problem == "there is no alias `winner`"
