"""`curate compare`: what is paired, what is told, what a gate asks for."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from curate.cli import app
from curate.dataset.runs import records
from curate.dataset.store import Store
from curate.errors import CurateError, GateError
from curate.evaluation.compare import compare, compare_metric, find_evaluation
from curate.evaluation.gates import judge, read_gate
from curate.evaluation.metrics import measures
from curate.evaluation.result import RESULT, Items, write_items
from curate.jsontext import dumps


def evaluation(folder, tables, *, model=None, data="d" * 64, by=()):
    """An evaluation of these items, written as `curate eval` writes it."""
    model = model or folder.name * 8
    for task, columns in tables.items():
        table = pa.table({"id": [str(at) for at in range(len(next(iter(columns.values()))))], **columns})
        about = {
            "definition": {"name": task, "kind": "choice"},
            "data": data,
            "model": model,
            "length": 128,
            "by": list(by),
        }
        write_items(folder, Items(task, table, about))
    found = {
        task: {name: one.json() for name, one in measures(pa.table(columns)).items()}
        for task, columns in tables.items()
    }
    result = {
        "schema": 1,
        "model": folder.name,
        "identity": model,
        "length": 128,
        "tasks": found,
        "groups": {},
        "warnings": [],
    }
    (folder / RESULT).write_bytes(dumps({**result, "about": {}}).encode())
    return find_evaluation(str(folder))


def texts(n=60, *, factor=1.0, seed=0, noise=0.02):
    random, own = np.random.default_rng(7), np.random.default_rng(seed)
    sizes = random.gamma(4, 100, n).round()
    nats = sizes * random.gamma(20, 0.05, n) * (1 + noise * own.standard_normal(n)) * factor
    return {"nats": nats, "bytes": sizes}


def answers(right, of=100):
    return {"accuracy": [1.0] * right + [0.0] * (of - right)}


@pytest.fixture
def pair(tmp_path):
    """A model that is better on texts and not on questions."""
    made = [
        evaluation(tmp_path / "evaluations" / name, {"held": texts(factor=factor, seed=seed), "quiz": answers(right)})
        for name, factor, seed, right in (("old", 1.0, 1, 70), ("new", 0.95, 2, 71))
    ]
    return tmp_path, made


def test_one_metric_of_a_task_has_a_verdict_and_the_others_have_none(pair):
    found = compare(pair[1])
    assert [(one.task, one.metric, one.verdict) for one in found.tests] == [
        ("held", "bits_per_byte", "better"), ("quiz", "accuracy", "no difference shown"),
    ]  # fmt: skip
    assert {one.metric for one in found.others} == {"byte_perplexity"}
    assert {one.verdict for one in found.others} == {None}
    held, quiz = found.tests
    assert held.difference < 0 and held.high < 0 and held.p <= held.p_holm < 0.01
    assert quiz.difference == pytest.approx(0.01) and quiz.p == 1.0 and quiz.detectable > 0.01


def test_a_metric_that_is_named_is_what_is_tested(pair):
    found = compare(pair[1], metrics=["byte_perplexity"])
    assert [one.metric for one in found.tests] == ["byte_perplexity"]
    with pytest.raises(CurateError, match=r"there is no metric `acuracy`.*\n.*--metric\n.*did you mean `accuracy`"):
        _raise(lambda: compare(pair[1], metrics=["acuracy"]))
    with pytest.raises(CurateError, match="no task has the metric bleu"):
        compare(pair[1], metrics=["bleu"])


def _raise(work):
    """So that the whole text of the error can be matched."""
    try:
        work()
    except CurateError as error:
        raise CurateError(str(error)) from None


def test_tasks_of_other_data_are_named_and_not_compared(tmp_path):
    made = [evaluation(tmp_path / "a", {"held": texts(), "quiz": answers(5)})]
    made.append(evaluation(tmp_path / "b", {"held": texts(seed=1)}, data="e" * 64))
    with pytest.raises(CurateError, match="no task can be compared") as refused:
        compare(made)
    assert "held: measured on other data" in refused.value.where and "quiz: only a has it" in refused.value.where


def test_items_are_paired_by_id_and_what_only_one_has_is_told(tmp_path):
    first = evaluation(tmp_path / "a", {"quiz": answers(60)})
    other = evaluation(tmp_path / "b", {"quiz": answers(60, of=90)})
    found = compare([first, other])
    assert found.tests[0].n == 90 and found.tests[0].difference == pytest.approx(0)
    assert any("10 items are in one of the two only" in words for words in found.notes)


def test_every_model_is_compared_with_the_first_and_all_tests_are_adjusted_together(tmp_path):
    made = [evaluation(tmp_path / f"m{at}", {"quiz": answers(40 + 12 * at)}) for at in range(3)]
    found = compare(made)
    assert [(one.baseline, one.model) for one in found.tests] == [("m0", "m1"), ("m0", "m2")]
    assert found.tests[0].p_holm == pytest.approx(max(found.tests[0].p, 2 * found.tests[1].p))


def test_an_evaluation_is_not_compared_with_itself(pair):
    with pytest.raises(CurateError, match="an evaluation is compared with itself"):
        compare([pair[1][0], pair[1][0]])


def test_one_model_twice_differs_nowhere(tmp_path):
    made = [evaluation(tmp_path / name, {"quiz": answers(60)}, model="same") for name in "ab"]
    found = compare(made)
    assert (found.tests[0].low, found.tests[0].high, found.tests[0].verdict) == (0.0, 0.0, "no difference shown")
    assert "a and b are the same model" in found.notes


def test_labels_that_only_one_model_gives_do_not_move_the_other():
    gold = ["x", "y", "x", "y"] * 10
    first = pa.table({"gold": gold, "predicted": gold})
    other = pa.table({"gold": gold, "predicted": ["z", *gold[1:]]})
    found = compare_metric("macro_f1", first, other)
    assert (found.first, found.other) == (1.0, pytest.approx(measures(other)["macro_f1"].value))


def test_items_on_which_both_agree_do_not_bound_a_score_of_labels():
    table = pa.table({"gold": ["x", "y"] * 9, "predicted": ["x"] * 18})
    found = compare_metric("macro_f1", table, table)
    assert (found.difference, found.low, found.p, found.shown) == (0.0, None, 1.0, "no difference shown")


@pytest.mark.parametrize("metric", ["bits_per_byte", "token_f1"])
def test_a_number_that_is_none_gives_no_difference(metric):
    good = {"nats": [1.0, 2.0], "bytes": [1, 2], "token_f1": [0.1, 0.9]}
    bad = {**good, "nats": [1.0, np.nan], "token_f1": [0.1, np.inf]}
    found = compare_metric(metric, pa.table(good), pa.table(bad))
    assert (found.difference, found.low, found.p, found.shown) == (None, None, None, "no difference shown")


def test_clusters_are_kept_together():
    wins = {"accuracy": [0.0] * 50 + [1.0] * 50}, {"accuracy": [0.0] * 40 + [1.0] * 60}
    alone = compare_metric("accuracy", *(pa.table(one) for one in wins))
    cluster = {"cluster": [str(at // 10) for at in range(100)]}
    together = compare_metric("accuracy", *(pa.table({**one, **cluster}) for one in wins))
    assert alone.shown == "better" and (together.shown, together.clusters) == ("no difference shown", 10)


def test_groups_are_told_without_a_verdict(tmp_path):
    made = [evaluation(tmp_path / name, {"quiz": {**answers(right), "kind": ["x", "y"] * 50}}, by=["kind"])
            for name, right in (("a", 60), ("b", 70))]  # fmt: skip
    found = compare(made)
    assert [(one.by, one.n, one.verdict) for one in found.groups] == [
        (("kind", "x"), 50, None),
        (("kind", "y"), 50, None),
    ]


# ---- gates


@pytest.mark.parametrize(("text", "where", "problem"), [
    ("", "character 1", "the gate is empty"),
    ("acuracy better", "character 1", "there is no metric `acuracy`"),
    ("accuracy on", "character 12", "after `on` comes the name of a task"),
    ("accuracy nicer", "character 10", "a metric has to be `better`, or `not worse than` something"),
    ("accuracy not worse", "character 19", "a metric has to be `better`, or `not worse than` something"),
    ("accuracy not worse than", "character 24", "comes a number"),
    ("accuracy not worse than ten", "character 25", "comes a number"),
    ("accuracy not worse than 1 apple", "character 25", "comes a number"),
    ("bits_per_byte not worse than 1 point", "character 30", "`bits_per_byte` is no share, and has no points"),
])  # fmt: skip
def test_a_gate_that_cannot_be_read_says_where(text, where, problem):
    with pytest.raises(CurateError) as refused:
        read_gate(text)
    assert (
        problem in refused.value.problem and f'--gate "{text}", {where}' == refused.value.where and refused.value.hint
    )


@pytest.mark.parametrize(("text", "passes"), [
    ("bits_per_byte better", True), ("bits_per_byte on held better", True), ("bits_per_byte not worse than 0.5%", True),
    ("byte_perplexity not worse than 0.01", True), ("accuracy better", False), ("accuracy not worse than 1 point", False),
    ("accuracy not worse than 8 points", True), ("accuracy on quiz not worse than 0.08", True),
])  # fmt: skip
def test_a_gate_asks_for_the_bound_of_the_interval(pair, text, passes):
    (judged,) = judge([read_gate(text)], compare(pair[1]))
    assert (not judged.missing) == passes


def test_a_gate_of_a_task_that_is_not_there_is_an_error(pair):
    with pytest.raises(CurateError, match="there is no task `quizz`") as refused:
        judge([read_gate("accuracy on quizz better")], compare(pair[1]))
    assert refused.value.hint == "did you mean `quiz`?" and "character 13" in refused.value.where
    with pytest.raises(CurateError, match="no task has the metric `bleu`"):
        judge([read_gate("bleu better")], compare(pair[1]))


# ---- the command


def cli(*words):
    return CliRunner().invoke(app, ["compare", *words])


def test_the_command_tells_scripts_what_is_promised(pair, monkeypatch):
    monkeypatch.chdir(pair[0])
    store = Store.open(pair[0] / ".curate", create=True)
    told = json.loads(cli("old", "evaluations/new", "--json", "--out", "page.html").stdout)
    assert (
        told["schema"] == 1
        and {"task", "metric", "difference", "low", "high", "p", "verdict"} <= told["comparisons"][0].keys()
    )
    (kept,) = records(store, "comparison")
    assert kept["id"] == told["comparison"] and [one["kind"] for one in kept["inputs"]] == ["evaluation"] * 2
    assert kept["outputs"][0]["name"].endswith("page.html")


def test_people_get_tables_and_what_it_means(pair, monkeypatch):
    monkeypatch.chdir(pair[0])
    out = " ".join(cli("old", "new").stdout.split())
    for words in (
        "better",
        "no difference shown",
        "also measured, without a verdict",
        "would be found in 8 of 10 tries",
        "seeds",
    ):
        assert words in out, words


def test_a_gate_that_is_not_shown_ends_with_3(pair, monkeypatch):
    monkeypatch.chdir(pair[0])
    ended = cli("old", "new", "--gate", "accuracy better", "--gate", "bits_per_byte better")
    assert isinstance(ended.exception, GateError) and ended.exception.exit_code == 3
    assert ended.exception.problem == "not shown: accuracy better"
    assert [one["passed"] for one in ended.exception.result["gates"]] == [False, True]


@pytest.mark.parametrize(("words", "problem", "hint"), [
    (["old"], "a comparison needs two evaluations", "curate compare old ANOTHER"),
    (["old", "knew"], "there is no evaluation of `knew`", "did you mean `new`?"),
])  # fmt: skip
def test_what_is_not_there_is_an_error_of_the_user(pair, monkeypatch, words, problem, hint):
    monkeypatch.chdir(pair[0])
    error = cli(*words).exception
    assert isinstance(error, CurateError) and error.problem == problem and hint in error.hint


@pytest.mark.slow
def test_two_draws_of_one_model_are_seldom_told_apart_by_any_of_their_tasks(tmp_path):
    """The whole way: three tasks of 25 items, adjusted together."""
    random, told, tries = np.random.default_rng(0), 0, 60
    for at in range(tries):
        made = []
        for name in "ab":
            tables = {f"quiz{task}": {"accuracy": (random.random(25) < 0.6).astype(float)} for task in range(2)}
            tables["held"] = texts(25, seed=int(random.integers(1 << 30)), noise=0.05)
            made.append(evaluation(tmp_path / f"{at}{name}", tables))
        told += any(one.verdict != "no difference shown" for one in compare(made).tests)
    assert told / tries <= 0.05 + 2 * (0.05 * 0.95 / tries) ** 0.5
