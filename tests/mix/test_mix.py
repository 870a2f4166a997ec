"""Mixtures: shares, temperature, budget, capped repeats, and what documents are told."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from pydantic import ValidationError
from typer.testing import CliRunner

import curate
from curate.cli import app
from curate.errors import CurateError
from curate.mix.mix import Mix
from curate.mix.shares import effective, shares
from curate.stages.verdicts import Unfit

SIZES = {"a": 800, "b": 150, "c": 50}


def rates(**settings):
    return {name: round(cell.rate, 6) for name, cell in shares(SIZES, **settings).items()}


# ---- the arithmetic


def test_without_weights_all_stays_as_it_is():
    assert rates() == {"a": 1, "b": 1, "c": 1}


def test_weights_are_met_with_as_much_as_there_is():
    assert rates(weights={"a": 1, "b": 1, "c": 2}) == {"a": 0.03125, "b": 0.166667, "c": 1}


def test_repeats_make_room_for_more():
    assert rates(weights={"a": 1, "b": 1, "c": 2}, most=4) == {"a": 0.125, "b": 0.666667, "c": 4}


def test_a_tiny_cell_does_not_hold_back_the_others_where_no_weights_are_given():
    found = shares({"a": 990, "b": 10}, temperature=2, most=4)
    assert {name: round(cell.rate, 4) for name, cell in found.items()} == {"a": 0.9697, "b": 4}


def test_a_cell_without_weight_is_left_out():
    assert rates(weights={"a": 1, "c": 1}) == {"a": 0.0625, "b": 0, "c": 1}


def test_a_temperature_takes_sizes_to_a_power():
    found = shares(SIZES, temperature=2, most=10)
    powers = {name: math.sqrt(size) for name, size in SIZES.items()}
    assert {name: cell.share for name, cell in found.items()} == pytest.approx(
        {name: power / sum(powers.values()) for name, power in powers.items()}
    )


def test_what_a_capped_cell_cannot_give_the_others_give():
    found = shares(SIZES, weights={"a": 1, "b": 1, "c": 2}, budget=600, most=2)
    assert {name: round(cell.rate, 6) for name, cell in found.items()} == {"a": 0.3125, "b": 1.666667, "c": 2}
    assert sum(cell.rate * cell.size for cell in found.values()) == pytest.approx(600)


@limits(max_examples=30, derandomize=True)
@given(
    st.dictionaries(st.text(max_size=2), st.integers(1, 10**9), min_size=1, max_size=6),
    st.floats(0.5, 8),
    st.integers(1, 10**9),
    st.floats(1, 6),
)
def test_no_rate_is_above_the_cap_and_the_budget_is_filled_as_far_as_it_can_be(sizes, temperature, budget, most):
    found = shares(sizes, temperature=temperature, budget=budget, most=most)
    assert all(0 <= cell.rate <= most for cell in found.values())
    seen = sum(cell.rate * cell.size for cell in found.values())
    assert seen == pytest.approx(min(budget, most * sum(sizes.values())), rel=1e-9)


def test_repeated_words_are_worth_less_than_new_ones():
    assert effective(100, 60) == 60
    assert effective(100, 100) == 100
    assert effective(100, 400) == pytest.approx(100 * (1 + 15.39 * (1 - math.exp(-3 / 15.39))))
    assert effective(100, 1e9) == pytest.approx(1639, abs=0.1)


@pytest.mark.parametrize("temperature", [0.01, 0.5, 1.0, 1e9])
@pytest.mark.parametrize("weights", [{"a": 1e300, "b": 1, "c": 1}, {"a": 1e-200, "b": 1e-200, "c": 5e-324}])
def test_weights_of_any_greatness_have_shares(weights, temperature):
    found = shares(SIZES, weights=weights, temperature=temperature)
    assert sum(cell.share for cell in found.values()) == pytest.approx(1)
    assert all(0 < cell.rate <= 1 for cell in found.values())


@pytest.mark.parametrize("temperature", [0.01, 1.0])
def test_a_tiny_share_takes_what_the_others_leave(temperature):
    found = shares({"a": 10**6, "b": 10**6}, weights={"a": 1, "b": 1e-17}, budget=1_500_000, temperature=temperature)
    assert (found["a"].rate, found["b"].rate) == (1, pytest.approx(0.5))


def test_a_cell_without_size_stays_and_takes_nothing_of_the_budget():
    found = shares({"a": 100, "b": 0, "c": 0}, weights={"a": 1, "b": 1}, budget=50, most=2)
    assert {name: cell.rate for name, cell in found.items()} == {"a": 0.5, "b": 1, "c": 0}
    assert {name: cell.rate for name, cell in shares({"a": 0}).items()} == {"a": 1}


# ---- as a stage


def settings(tmp_path, stage, *, more="", shards=2):
    """A pipeline of 600 documents of topic x and 200 of y, of which each has ten words."""
    (tmp_path / "in").mkdir(exist_ok=True)
    for part in range(shards):
        rows = [
            {"id": f"{part}-{number}", "text": "word " * 10 + str(number), "topic": "x" if number % 4 else "y"}
            for number in range(800 // shards)
        ]
        (tmp_path / "in" / f"{part}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    stages = f"stages: [{{stage: mix, {stage}}}]\n{more}"
    (tmp_path / "p.yaml").write_text(f'dataset: d\nsources: [{{stage: files, paths: ["in/*.jsonl"]}}]\n{stages}')
    return tmp_path / "p.yaml"


def test_a_version_holds_the_shares_and_says_what_became_of_every_document(tmp_path):
    path = settings(tmp_path, "by: [topic], weights: {x: 1, y: 1}, max_repeats: 2.5, size: documents")
    done = curate.run(path, workers=1)
    made = curate.open_dataset("d", tmp_path / ".curate")
    table = made.arrow()
    counts = {"x": 0, "y": 0}
    for topic, repeats in zip(table["topic"].to_pylist(), table["repeats"].to_pylist(), strict=True):
        counts[topic] += repeats
    assert done.documents["in"] == done.documents["kept"] + done.documents["dropped"] == 800
    assert abs(counts["x"] - 500) < 50  # rate 0.83
    assert abs(counts["y"] - 500) < 50  # each twice or three times
    assert set(table.filter(table_is(table, "y"))["repeats"].to_pylist()) == {2, 3}
    shown = CliRunner().invoke(app, ["data", "show", "d", "--store", str(tmp_path / ".curate"), "--json"])
    [x, y] = json.loads(shown.stdout)["stages"][1]["mix"]
    assert (x["cell"], x["documents"], x["share"], x["kept"]) == ("x", 600, 0.5, counts["x"])
    assert (y["rate"], y["unique"], y["seen"]) == (2.5, 200, counts["y"])
    assert y["effective"] == pytest.approx(effective(200, counts["y"]))
    assert "worth once" in CliRunner().invoke(app, ["data", "show", "d", "--store", str(tmp_path / ".curate")]).stdout
    kept, gone = table["id"][0].as_py(), next(iter({f"0-{n}" for n in range(400)} - set(table["id"].to_pylist())))
    told = CliRunner().invoke(app, ["why", gone, "--store", str(tmp_path / ".curate"), "--json"])
    story = json.loads(told.stdout)
    assert (story["stage"], story["reason"], round(story["threshold"], 4)) == ("mix", "over_share", 0.8333)
    assert story["value"] >= story["threshold"]
    told = json.loads(CliRunner().invoke(app, ["why", kept, "--store", str(tmp_path / ".curate"), "--json"]).stdout)
    [measured] = [one for one in told["measured"] if one["stage"] == "mix"]
    assert measured["features"]["repeats"] >= 1


def test_a_cell_without_weight_leaves_and_is_told_so(tmp_path):
    done = curate.run(settings(tmp_path, "by: [topic], weights: {y: 1}", shards=1), workers=1)
    made = curate.open_dataset("d", tmp_path / ".curate")
    assert made.manifest["stages"][1]["reasons"] == {"dropped": {"not_in_mix": 600}}
    assert done.documents["kept"] == 200


def table_is(table, topic):
    import pyarrow.compute as compute

    return compute.equal(table["topic"], topic)


@pytest.mark.slow
def test_workers_and_shards_do_not_matter_and_a_smaller_budget_keeps_a_part(tmp_path):
    def ids(folder, budget, **options):
        folder.mkdir(exist_ok=True)
        path = settings(folder, f"by: [topic], temperature: 3, budget: {budget}, size: documents")
        done = curate.run(path, store=folder / f"store{options['workers']}", **options)
        made = curate.open_dataset("d", folder / f"store{options['workers']}")
        return done.version, set(made.arrow(columns=["id"])["id"].to_pylist())

    one, all_of_them = ids(tmp_path / "a", 300, workers=1)
    two, _ = ids(tmp_path / "a", 300, workers=2)
    _, fewer = ids(tmp_path / "a", 100, workers=1)
    assert one == two
    assert fewer < all_of_them


def test_parts_are_told_apart_by_where_documents_come_from(documents):
    sign = Mix(parts={"first": "test#[01]"}, size="bytes").open()
    table = sign(documents(["ab", "c", "def"]))
    assert table["cell"].to_pylist() == ["first", "first", "(rest)"]
    assert table["size"].to_pylist() == [2, 1, 3]


def test_several_columns_make_cells_and_a_missing_value_is_one(documents):
    sign = Mix(by=("topic", "quality")).open()
    table = sign(documents(["two words", "  "], topic=["x", None], quality=[1, 2]))
    assert table["cell"].to_pylist() == ["x / 1", "(none) / 2"]
    assert table["size"].to_pylist() == [2, 0]


def test_sizes_may_be_fractions_and_nothing_is_none(documents):
    sign = Mix(by=("topic",), size="cost").open()
    assert sign(documents(["a", "b"], topic=["x", "x"], cost=[5.5, None]))["size"].to_pylist() == [5.5, 0]
    for wrong in (-1.0, math.nan, math.inf):
        with pytest.raises(Unfit, match=r"size_is_(negative|no_number)"):
            sign(documents(["a"], topic=["x"], cost=[wrong]))


@pytest.mark.slow
def test_a_version_is_mixed_by_fractions_and_a_cell_without_size_stays(tmp_path):
    path = settings(tmp_path, "by: [topic], size: cost", shards=1)
    rows = [{"text": f"t{n}", "topic": "x" if n % 2 else "y", "cost": 0.5 * (n % 2)} for n in range(20)]
    (tmp_path / "in" / "0.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert curate.run(path, workers=1).documents["kept"] == 20
    shown = CliRunner().invoke(app, ["data", "show", "d", "--store", str(tmp_path / ".curate"), "--json"])
    told = json.loads(shown.stdout)["stages"][1]["mix"]
    assert [(one["cell"], one["size"], one["rate"], one["seen"]) for one in told] == [
        ("x", 5.0, 1, 5.0),
        ("y", 0, 1, 0),
    ]


def test_a_cell_that_no_document_is_in_is_an_error_that_names_those_there_are(tmp_path):
    path = settings(tmp_path, "by: [topic], weights: {x: 1, z: 1}", shards=1)
    with pytest.raises(CurateError, match="no document of the sources is in the cell `z` of `weights`") as caught:
        curate.run(path, workers=1)
    assert caught.value.errors[0].hint == "there are: x, y"


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"by": ("a",), "parts": {"b": "c"}},
        {"by": ("a",), "weights": {"b": -1}},
        {"by": ("a",), "weights": {"b": 0}},
        {"by": ("a",), "weights": {"b": math.inf}},
        {"by": ("a",), "weights": {"b": math.nan, "c": 1}},
        {"by": ("a",), "max_repeats": math.inf},
        {"by": ("a",), "budget": 9, "temperature": math.inf},
        {"by": ("a",), "temperature": 2},
    ],
)
def test_settings_that_say_no_mixture_are_refused(wrong):
    with pytest.raises(ValidationError):
        Mix(**wrong)


# ---- what it is short of


def shown(tmp_path):
    told = CliRunner().invoke(app, ["data", "show", "d", "--store", str(tmp_path / ".curate"), "--json"])
    return json.loads(told.stdout)


def test_shares_and_a_budget_that_cannot_be_met_are_told_by_the_run_and_by_data_show(tmp_path):
    path = settings(tmp_path, "by: [topic], weights: {x: 1, y: 2}, budget: 1000000, size: documents", shards=1)
    told = CliRunner().invoke(app, ["run", str(path), "--workers", "1"])
    assert told.exit_code == 0
    shares = "`mix`: the shares asked for are not met: all that there is of `y` (asked 0.667, given 0.250) is given"
    budget = "`mix`: the budget is not filled: 800 documents of the 1,000,000 asked for are given"
    assert shares in told.stderr
    assert budget in told.stderr
    assert [note[: len(start)] for note, start in zip(shown(tmp_path)["notes"], (shares, budget), strict=True)] == [
        shares,
        budget,
    ]
    page = CliRunner().invoke(app, ["data", "show", "d", "--store", str(tmp_path / ".curate")]).stdout
    assert f"note: {budget}" in page
    assert "asked  given" in page


def test_a_mixture_that_gives_what_was_asked_has_no_notes(tmp_path):
    curate.run(settings(tmp_path, "by: [topic], weights: {x: 1, y: 1}, size: documents", shards=1), workers=1)
    assert shown(tmp_path)["notes"] == []


def test_a_part_that_no_document_is_in_stands_in_the_table_and_is_told_with_its_pattern(tmp_path):
    curate.run(settings(tmp_path, 'parts: {books: "books*", all: "in/*"}', shards=1), workers=1)
    told = shown(tmp_path)
    cells = next(one for one in told["stages"] if one["id"] == "mix")["mix"]
    assert [(one["cell"], one["documents"], one["rate"]) for one in cells] == [("all", 800, 1), ("books", 0, 0)]
    [note] = told["notes"]
    assert note.startswith("`mix`: no document is in the cell `books`: `books*` fits no `source_uri`")
    assert note.endswith("documents come from places like `in/0.jsonl#0`")


def test_a_weighted_cell_that_a_stage_has_emptied_gives_a_version_and_a_note(tmp_path):
    path = settings(tmp_path, "by: [topic], weights: {x: 1, y: 1, z: 2}, size: documents", shards=1)
    with (tmp_path / "in" / "0.jsonl").open("a") as file:
        file.write("\n" + json.dumps({"id": "copy", "text": "word " * 10 + "0", "topic": "z"}))
    path.write_text(path.read_text().replace("stages: [", "stages: [{stage: exact_duplicates}, "))
    curate.run(path, workers=1)
    told = shown(tmp_path)
    cells = {one["cell"]: one for one in next(one for one in told["stages"] if one["id"] == "mix")["mix"]}
    assert (cells["z"]["documents"], cells["x"]["share"], cells["y"]["share"]) == (0, 0.5, 0.5)
    assert told["notes"][0].startswith("`mix`: no document is left in the cell `z` of `weights`")


def test_a_mistyped_weight_is_an_error_before_any_stage_has_run(tmp_path):
    path = settings(tmp_path, "by: [topic], weights: {x: 1, yy: 1}", shards=1)
    path.write_text(path.read_text().replace("topic", "kind"))
    rows = [{"id": f"{n}", "text": "t", "kind": kind} for n, kind in enumerate(("sport", "politics"))]
    (tmp_path / "in" / "0.jsonl").write_text("\n".join(map(json.dumps, rows)))
    path.write_text(path.read_text().replace("{x: 1, yy: 1}", "{sport: 1, politcs: 1}"))
    with pytest.raises(CurateError, match="no document of the sources is in the cell `politcs`") as caught:
        curate.run(path, workers=1)
    [error] = caught.value.errors
    assert error.hint == "did you mean `politics`?"
    assert error.where.startswith(f"{path}:3")


def test_a_weight_that_is_none_of_the_parts_is_refused():
    with pytest.raises(ValidationError, match="`weights` names `boks`, which is none of `parts`; did you mean `books`"):
        Mix(parts={"books": "in/books*"}, weights={"boks": 1})


def test_a_verdict_names_the_cell(tmp_path):
    curate.run(settings(tmp_path, "by: [topic], weights: {y: 1}", shards=1), workers=1)
    story = CliRunner().invoke(app, ["why", "0-1", "--store", str(tmp_path / ".curate")]).stdout
    assert "mix: dropped not_in_mix" in story
    assert "[cell x]" in story


@pytest.mark.parametrize(("column", "problem"), [("text", "texts, no numbers"), ("flag", "bool, no numbers")])
def test_a_column_that_can_hold_no_size_is_refused_before_anything_is_done(tmp_path, column, problem):
    path = settings(tmp_path, f"by: [topic], size: {column}", shards=1)
    (tmp_path / "in" / "0.jsonl").write_text('{"id": "1", "text": "t", "topic": "x", "flag": true}')
    for command in (["validate", str(path)], ["run", str(path)]):
        told = CliRunner().invoke(app, command)
        assert told.exit_code
        assert f"stage `mix`: column `{column}` holds {problem}" in str(told.exception)


def test_a_sample_need_not_have_every_cell_and_what_is_empty_is_told(tmp_path):
    path = settings(tmp_path, "by: [topic], weights: {x: 1, y: 1}", shards=1)
    curate.run(path, workers=1, sample=1)
    told = CliRunner().invoke(app, ["data", "show", "d-sample", "--store", str(tmp_path / ".curate"), "--json"])
    assert "no document is left in the cell `x` of `weights`" in json.loads(told.stdout)["notes"][0]
