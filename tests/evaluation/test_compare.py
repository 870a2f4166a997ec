"""`curate compare`: what is paired, what is told, what a gate asks for."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from curate.cli import app
from curate.dataset.runs import records
from curate.dataset.store import Store
from curate.errors import CurateError, GateError
from curate.evaluation.compare import Comparison, compare, compare_metric, find_evaluation
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
    small, large = (one.p for one in (found.tests[1], found.tests[0]))
    assert small < large and [one.p_holm for one in found.tests] == pytest.approx([max(large, 2 * small), 2 * small])
    assert found.tests[0].detectable > compare(made[:2]).tests[0].detectable


def test_a_verdict_is_of_the_adjusted_p(tmp_path):
    tables = [{f"quiz{at}": answers(40 + 8 * better) for at in range(5)} for better in range(2)]
    made = [evaluation(tmp_path / name, some) for name, some in zip("ab", tables, strict=True)]
    found = compare(made)
    assert {(one.p < 0.05, one.p_holm >= 0.05 or one.p_holm > one.p) for one in found.tests} == {(True, True)}
    assert {one.verdict for one in found.tests} == {"better" if 5 * found.tests[0].p < 0.05 else "no difference shown"}


def test_an_evaluation_is_not_compared_with_itself(pair):
    with pytest.raises(CurateError, match="an evaluation is compared with itself"):
        compare([pair[1][0], pair[1][0]])


def test_one_model_twice_differs_nowhere(tmp_path):
    made = [evaluation(tmp_path / name, {"quiz": answers(60)}, model="same") for name in "ab"]
    found = compare(made)
    assert (found.tests[0].low, found.tests[0].high, found.tests[0].verdict) == (0.0, 0.0, "no difference shown")
    assert "a and b are the same model" in found.notes


def test_rounding_of_one_model_is_no_finding_and_more_than_that_is(tmp_path):
    tables = [texts(factor=1 + 1e-5, noise=0), texts(noise=0), texts(factor=1.5)]
    made = [evaluation(tmp_path / name, {"held": one}, model="same") for name, one in zip("abc", tables, strict=True)]
    rounding, other = compare(made).tests
    assert (rounding.p, rounding.verdict, rounding.low) == (None, "no difference shown", rounding.high)
    assert other.low < other.high and other.p is not None


def test_items_in_another_order_are_paired_by_id(tmp_path):
    right = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0] * 5
    first = evaluation(tmp_path / "a", {"quiz": {"accuracy": right}})
    other = evaluation(tmp_path / "b", {"quiz": {"accuracy": right}})
    items = other.items("quiz")
    write_items(other.folder, Items("quiz", items.table.take(list(range(29, -1, -1))), items.about))
    (one,) = compare([first, other]).tests
    assert (one.p, one.difference) == (1.0, 0.0) and one.high < 0.1


def test_definitions_that_differ_are_told_by_setting_and_groups_do_not(tmp_path):
    made = [evaluation(tmp_path / name, {"quiz": {**answers(50), "kind": ["x"] * 100}}) for name in "ab"]
    items = made[1].items("quiz")
    about = {**items.about, "by": ["kind"], "definition": {**items.about["definition"], "by": ["kind"]}}
    write_items(made[1].folder, Items("quiz", items.table, about))
    assert compare(made).groups[0].by == ("kind", "x")
    about["definition"] |= {"examples": 5, "prompt": "x" * 80}
    write_items(made[1].folder, Items("quiz", items.table, about))
    with pytest.raises(CurateError) as refused:
        compare(made)
    assert "measured with another definition: `examples` (null and 5), `prompt`" in refused.value.where


def test_what_is_nearer_to_its_ideal_value_is_better():
    ambiguous = {"ambiguous": [1.0] * 60, "accuracy": [0.0] * 60, "answered": [1.0] * 60}
    fair, unfair = ({**ambiguous, "biased": some} for some in ([0.0, 1.0] * 30, [0.0] * 60))
    found = compare_metric("bias_ambiguous", pa.table(fair), pa.table(unfair))
    assert (found.first, found.other, found.difference, found.shown) == (0.0, -1.0, 1.0, "worse")
    shares = [{"stereotype_preferred": [1.0] * at + [0.0] * (60 - at)} for at in (30, 5)]
    assert compare_metric("stereotype_share", *map(pa.table, shares)).shown == "worse"


def test_an_interval_with_zero_shows_nothing_whatever_the_p():
    one = compare_metric("accuracy", *(pa.table(answers(right)) for right in (40, 60)))
    assert one.shown == "better" and replace(one, low=-0.1).shown == "no difference shown"


def test_few_items_find_nothing(tmp_path):
    made = [evaluation(tmp_path / name, {"quiz": answers(3, of=5)}) for name in "ab"]
    (one,) = compare(made).tests
    assert one.detectable is None and one.missed == "5 items are too few to find any difference"


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
    ("accuracy nicer", "character 10", "has to be `better`, or `not worse than`, `at least` or `at most` something"),
    ("accuracy not worse", "character 19", "has to be `better`, or `not worse than`, `at least` or `at most` something"),
    ("accuracy not worse than", "character 24", "comes a number"),
    ("accuracy not worse than ten", "character 25", "comes a number"),
    ("accuracy not worse than 1 apple", "character 25", "comes a number"),
    ("accuracy not worse than 1", "character 25", "it cannot be worse by more than 1"),
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


def test_a_gate_of_every_task_is_not_shown_where_one_was_not_compared(tmp_path):
    made = [
        evaluation(tmp_path / name, {"quiz": answers(right), "more": answers(50)})
        for name, right in (("a", 40), ("b", 90))
    ]
    (whole,) = judge([read_gate("accuracy on quiz better")], compare(made))
    assert not whole.missing
    made[1] = evaluation(tmp_path / "b", {"quiz": answers(90)})
    (judged,) = judge([read_gate("accuracy better")], compare(made))
    assert judged.missing == ("more (b): not compared: only a has it",)


@pytest.mark.parametrize(("n", "clusters"), [(2, None), (3, None), (5, None), (30, 5)])
@pytest.mark.parametrize("text", ["bits_per_byte not worse than 0.5%", "bits_per_byte at most 9"])
def test_a_gate_cannot_tell_of_fewer_than_6_items_or_clusters(tmp_path, n, clusters, text):
    """Of 3 items, a model that is worse by exactly the margin passed in 15 of 100 tries."""
    more = {"cluster": [str(at % clusters) for at in range(n)]} if clusters else {}
    made = [
        evaluation(tmp_path / name, {"held": {**texts(n, factor=factor), **more}})
        for name, factor in (("a", 1.0), ("b", 0.5))
    ]
    (judged,) = judge([read_gate(text)], compare(made))
    assert judged.verdict == "cannot tell" and "6" in judged.missing[0]


def test_as_many_items_as_are_told_are_told_only_where_there_is_such_a_number():
    one = compare_metric("accuracy", *(pa.table(answers(right)) for right in (70, 69)))
    found = Comparison({}, (replace(one, task="quiz", model="b", low=-math.inf),), (), (), (), ())
    (judged,) = judge([read_gate("accuracy not worse than 5 points")], found)
    assert judged.verdict == "cannot tell" and "would tell" not in judged.missing[0]


def test_margins_are_of_the_first_value_and_points_of_scores_are_of_a_hundred():
    assert read_gate("pearson not worse than 10%").bound(-0.5) == pytest.approx(0.05)
    assert read_gate("bleu not worse than 1 point").bound(30.0) == 1.0
    assert read_gate("accuracy not worse than 1 point").bound(0.5) == 0.01
    assert read_gate("stereotype_share not worse than 10%").bound(0.6) == pytest.approx(0.01)


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


@pytest.mark.parametrize("clusters", [None, ["a", "b"] * 10])
def test_two_items_or_two_clusters_are_compared_and_tell_nothing(clusters):
    rows = 2 if clusters is None else 20
    columns = {"bytes": [10] * rows, "words": [2] * rows, "tokens": [5] * rows}
    columns |= {} if clusters is None else {"cluster": clusters}
    one, other = (pa.table({"nats": [base + number for number in range(rows)], **columns}) for base in (10.0, 12.5))
    found = compare_metric("bits_per_byte", one, other, seed=0, same=False)
    assert found.difference > 0 and found.detectable is None
