"""Drift between two versions: alike ones are not called different, and a tenth of other documents is found."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from curate import run as run_pipeline
from curate.browse.drift import Side, drift
from curate.cli import app
from curate.errors import CurateError, GateError

ROWS = 4000


class Made:
    """Columns of documents, as they are given."""

    def __init__(self, numbers, names):
        self.numbers, self.names = numbers, names
        self.features, self.facets = list(numbers), list(names)

    def feature(self, name):
        return self.numbers[name]

    def facet(self, name):
        return self.names[name]


def made(seed, rows=ROWS):
    """Eight numbers, dense, in steps, rare and partly missing, and three columns of names."""
    random = np.random.default_rng(seed)
    common, own = random.standard_normal(rows), random.standard_normal((8, rows))
    numbers = {f"number {at}": np.exp(one + 0.5 * common) if at % 2 else np.round(one, 1) for at, one in enumerate(own)}
    numbers["number 0"] = (own[0] > 1.5).astype(float)
    numbers["number 1"][own[0] > 0] = np.nan
    shares = 1 / np.arange(1, 41)
    languages = random.choice(40, rows, p=shares / shares.sum()).astype(np.int32)
    return Made(numbers, {
        "source": (random.integers(0, 3, rows).astype(np.int32), ["a", "b", "c"]),
        "language": (languages, [f"language {at}" for at in range(40)]),
        "reason": (random.choice([-1, 0, 1], rows, p=[0.8, 0.15, 0.05]).astype(np.int32), ["short", "duplicate"]),
    })  # fmt: skip


def halves(columns, seed):
    half = np.random.default_rng(seed).permutation(ROWS) < ROWS // 2
    return Side(columns, half), Side(columns, ~half)


def planted(columns, side, seed, column):
    """The columns with a tenth of a side's documents of another kind in one column."""
    rows = np.random.default_rng(seed).choice(np.flatnonzero(side.rows), ROWS // 20, replace=False)
    numbers, names = dict(columns.numbers), dict(columns.names)
    if column in numbers:
        numbers[column] = numbers[column].copy()
        numbers[column][rows] = 50.0
    else:
        codes, known = names[column]
        codes = codes.copy()
        codes[rows] = len(known)
        names[column] = codes, [*known, "new"]
    return Side(Made(numbers, names), side.rows)


def test_random_halves_of_a_version_are_alarms_in_at_most_5_of_100():
    """The whole of benchmarks/drift.py has more of them, and real documents."""
    alarms = sum(bool(drift(*halves(made(seed), seed)).drifted) for seed in range(40))
    assert alarms <= 2


@pytest.mark.parametrize("column", ["number 3", "number 1", "source", "language", "reason"])
def test_a_tenth_of_other_documents_is_found_in_95_of_100(column):
    found = 0
    for seed in range(20):
        columns = made(seed)
        first, other = halves(columns, seed)
        one = drift(first, planted(columns, other, seed, column))
        found += column in [row.name for row in one.drifted]
    assert found >= 19


def test_however_many_documents_there_are_a_difference_of_2_in_100_is_no_drift():
    columns = made(0, rows=200_000)
    half = np.arange(200_000) < 100_000
    moved = columns.numbers["number 3"].copy()
    moved[np.flatnonzero(~half)[:2000]] = 50.0
    found = drift(Side(columns, half), Side(Made({**columns.numbers, "number 3": moved}, columns.names), ~half))
    (one,) = (row for row in found.columns if row.name == "number 3")
    assert one.moved > one.noise and one.verdict == "no drift"
    again = drift(Side(columns, half), Side(Made({"number 3": moved}, columns.names), ~half), least=0.01)
    assert [row.name for row in again.drifted] == ["number 3"]


def test_too_few_documents_cannot_tell_and_say_so():
    columns = made(0)
    found = drift(Side(columns, np.arange(ROWS) < 100), Side(columns, np.arange(ROWS) >= ROWS - 100))
    assert not found.drifted and len(found.unknown) == len(found.columns)


@pytest.mark.parametrize(("counts", "moved"), [(([60, 40], [50, 50]), 0.1), (([50, 50, 0], [0, 50, 50]), 0.5)])
def test_moved_is_the_share_of_documents_that_must_be_others(counts, moved):
    sides = []
    for some in counts:
        codes = np.repeat(np.arange(len(some), dtype=np.int32), some)
        sides.append(Side(Made({}, {"source": (codes, list("abc")[: len(some)])}), np.ones(len(codes), bool)))
    (one,) = drift(*sides).columns
    assert one.moved == pytest.approx(moved)


def test_moved_and_psi_of_numbers_are_what_the_formulas_say():
    from scipy.stats import ks_2samp

    random = np.random.default_rng(0)
    first, other = random.integers(0, 30, 700).astype(float), random.integers(5, 40, 900).astype(float)
    sides = [Side(Made({"x": some}, {}), np.ones(len(some), bool)) for some in (first, other)]
    (one,) = drift(*sides).columns
    assert one.moved == pytest.approx(ks_2samp(first, other).statistic)
    edges = np.unique(np.quantile(np.concatenate([first, other]), np.arange(1, 10) / 10))
    shares = []
    for some in (first, other):
        counts = np.array([((some > low) & (some <= high)).sum() for low, high in zip([-1, *edges], [*edges, 99])])  # noqa: B905
        shares.append((counts + 0.5) / (counts + 0.5).sum())
    assert one.psi == pytest.approx(sum((shares[1] - shares[0]) * np.log(shares[1] / shares[0])))
    assert one.told[0]["before"] == (first <= one.told[0]["at_most"]).mean()


def test_names_of_one_side_and_columns_of_one_side_are_told():
    columns = made(0)
    other = Made({**columns.numbers, "new": columns.numbers["number 3"]}, columns.names)
    found = drift(Side(columns, np.ones(ROWS, bool)), Side(other, np.ones(ROWS, bool)))
    assert found.apart == ("new",) and not found.drifted
    assert {one.moved for one in found.columns} == {0.0}


def topics(names, seed=None, called="topic"):
    """Two documents a name, or where there is a seed, as it comes."""
    size, made = 2 * names, None if seed is None else np.random.default_rng(seed)
    codes = np.arange(size) % names if made is None else made.integers(0, names, size)
    return Made({}, {"topic": (codes.astype(np.int32), [f"{called} {at}" for at in range(names)])})


def whole(columns, rows):
    return Side(columns, np.ones(rows, bool))


def test_that_all_of_many_names_are_others_is_drift():
    (one,) = drift(whole(topics(3000), 6000), whole(topics(3000, called="other"), 6000)).drifted
    assert one.moved > 0.9 and one.noise < 0.6
    assert [row["name"] for row in one.told[:2]] == ["(rare and gone)", "(rare and new)"]
    half = topics(3000)
    half.names["topic"][1][1500:] = [f"new {at}" for at in range(1500)]
    assert drift(whole(topics(3000), 6000), whole(half, 6000)).drifted


def test_many_rare_names_are_no_alarm_and_names_that_stand_once_tell_nothing():
    alarms = 0
    for seed in range(20):
        columns, half = topics(2000, seed), np.random.default_rng(seed).permutation(4000) < 2500
        alarms += bool(drift(Side(columns, half), Side(columns, ~half)).drifted)
    assert alarms <= 1
    once = Made({}, {"topic": (np.arange(4000, dtype=np.int32), [str(at) for at in range(4000)])})
    (one,) = drift(*halves(once, 0)).columns
    assert one.verdict == "no drift"
    (one,) = drift(Side(once, np.arange(4000) < 40), Side(once, np.arange(4000) >= 3960)).columns
    assert one.verdict == "cannot tell"


@pytest.mark.parametrize(("gone", "moved"), [(0.9, 0.9), (1.0, 1.0), (0.02, None)])
def test_that_documents_have_no_number_any_more_is_drift(gone, moved):
    numbers = np.random.default_rng(0).standard_normal(ROWS)
    fewer = numbers.copy()
    fewer[: int(gone * ROWS)] = np.nan
    for sides, way in (((numbers, fewer), 1), ((fewer, numbers), -1)):
        found = drift(*(whole(Made({"score": some}, {}), ROWS) for some in sides))
        assert found.apart == ()
        assert [one.moved for one in found.drifted] == ([pytest.approx(moved)] if moved else [])
        if moved:
            (row,) = (row for row in found.drifted[0].told if row["name"] == "(none)")
            assert (row["after"] - row["before"]) * way == pytest.approx(moved)


def test_that_documents_have_no_name_any_more_is_drift():
    sides = (whole(Made({}, {"language": (np.full(ROWS, code, np.int32), ["en"])}), ROWS) for code in (0, -1))
    found = drift(*sides)
    assert [one.moved for one in found.drifted] == [1.0] and found.apart == ()


# ---- the command


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    """Two versions of a dataset; every fifth document of the second is longer, and of another file."""
    folder = tmp_path_factory.mktemp("reviews")
    for version in (1, 2):
        lines = []
        for number in range(1500):
            name = number if version == 1 or number % 3 else 10_000 + number
            words = 300 if version == 2 and number % 5 == 0 else 5 + number % 40
            lines.append(
                json.dumps({"id": f"d{name}", "text": f"document {name} " + "word " * words, "language": "de"})
            )
        (folder / "in.jsonl").write_text("\n".join(lines))
        (folder / "pipeline.yaml").write_text(
            "dataset: reviews\nsources: [{stage: files, paths: [in.jsonl], id: texts}]\n"
        )
        run_pipeline(folder / "pipeline.yaml", workers=1)
    return folder


def cli(folder, *words):
    return CliRunner().invoke(app, ["data", "drift", *words, "--store", str(folder / ".curate")])


def test_the_command_tells_people_and_scripts_what_moved(reviews):
    told = json.loads(cli(reviews, "reviews@v1", "reviews", "--json").stdout)
    assert (told["documents"], told["drifted"], told["cannot_tell"]) == ([1500, 1500], ["length"], [])
    (length,) = (one for one in told["columns"] if one["name"] == "length")
    assert length["moved"] == pytest.approx(0.2, abs=0.01) and length["noise"] < 0.1
    assert {one["name"] for one in told["columns"]} == {"length", "language", "reason", "source"}
    shown = cli(reviews, "reviews@v1", "reviews").stdout
    assert "drifted" in shown and "length: 219 or less 92.6% -> 71.7%, the middle 134 -> 160" in shown


def test_a_gate_ends_with_3_and_a_version_beside_itself_with_0(reviews):
    ended = cli(reviews, "reviews@v1", "reviews", "--gate")
    assert isinstance(ended.exception, GateError) and ended.exception.result["drifted"] == ["length"]
    assert cli(reviews, "reviews", "reviews", "--gate").exit_code == 0


def test_a_gate_misses_a_column_that_one_version_alone_has(reviews, monkeypatch):
    from curate.browse import drift as module

    found = replace(module.drift(*(whole(made(0), ROWS),) * 2), apart=("grade",))
    monkeypatch.setattr(module, "version_drift", lambda *sides, **more: found)
    ended = cli(reviews, "reviews", "reviews", "--gate")
    assert isinstance(ended.exception, GateError) and "grade: only one of the two has it" in ended.exception.where
    assert cli(reviews, "reviews", "reviews").exit_code == 0


def test_new_documents_alone_are_compared_where_it_is_asked(reviews):
    told = json.loads(cli(reviews, "reviews@v1", "reviews", "--new", "--json").stdout)
    assert told["documents"] == [1500, 500]
    nothing = cli(reviews, "reviews", "reviews", "--new")
    assert isinstance(nothing.exception, CurateError)
    assert nothing.exception.problem.endswith("has no document that the one before has not")
