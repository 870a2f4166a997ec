"""The best documents under a budget: those that sorting gives, of each cell, and what the others are told."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import settings as limits
from hypothesis import strategies as st
from pydantic import ValidationError
from typer.testing import CliRunner

import curate
from curate.cli import app
from curate.errors import CurateError
from curate.mix.select import Select
from curate.stages.verdicts import Unfit


class InOneProcess:
    """The engine's part for a stage whose calls only read signatures: groups of documents in memory."""

    def __init__(self, stage, groups):
        self.stage, self.groups, self.bounds, self.found = stage, groups, list(range(len(groups))), {}

    def each_group(self, method, calls):
        return [
            getattr(self.stage, method)(Desk(self, group), **json.loads(json.dumps(call)))
            for group, call in zip(self.groups, calls, strict=True)
        ]

    def each(self, method, calls):
        return [getattr(self.stage, method)(Desk(self, None), **json.loads(json.dumps(call))) for call in calls]


class Desk:
    def __init__(self, work, table):
        self.work, self.table = work, table

    def signatures(self, columns):
        return self.table.select(["document", *columns])

    def write_cut(self, table, documents, bounds):
        self.work.found[len(self.work.found)] = table
        return {"run": "run", "groups": {}}

    def write(self, table):
        self.work.artifact = table
        return "artifact"


def selected(stage, groups):
    """Whether each document of the groups stays, in their order; rows of the artifact."""
    tables = [
        pa.table({**columns, "document": pa.array(np.arange(len(columns["score"])) + (number << 32), pa.uint64())})
        for number, columns in enumerate(groups)
    ]
    work = InOneProcess(stage, tables)
    stage.decide(work)
    chosen = list(work.found.values())[-len(groups) :]  # of the last round
    return [table.column("stays").to_pylist() for table in chosen], work.artifact.to_pylist()


def group(scores, sizes=None, cells=None, draws=None):
    count = len(scores)
    return {
        "cell": pa.array(cells or ["(all)"] * count, pa.string()),
        "size": pa.array(sizes or [1] * count, pa.int64()),
        "score": pa.array(scores, pa.float64()),
        "draw": pa.array(draws or [0.5] * count, pa.float64()),
    }


numbers = st.floats(allow_nan=False, allow_infinity=False)


@limits(max_examples=60, derandomize=True, deadline=None)
@given(
    st.lists(numbers, min_size=1, max_size=40, unique=True),
    st.integers(1, 45),
    st.sampled_from(["highest", "lowest"]),
    st.integers(1, 4),
)
@example([0.0, 5e-324, -5e-324, 1.7e308, -1.7e308], 2, "highest", 2)
def test_the_best_stay_as_sorting_gives_them_however_they_are_cut_into_groups(scores, budget, order, parts):
    groups = [part.tolist() for part in np.array_split(np.array(scores), min(parts, len(scores)))]
    stays, [told] = selected(Select(score="s", order=order, budget=budget), [group(part) for part in groups])
    best = sorted(scores, reverse=order == "highest")[:budget]
    kept = [
        score for part, keeps in zip(groups, stays, strict=True) for score, one in zip(part, keeps, strict=True) if one
    ]
    assert sorted(kept, reverse=order == "highest") == best
    assert (told["kept"], told["documents"]) == (len(best), len(scores))
    assert told["last_score"] == (
        None if budget >= len(scores) else sorted(scores, reverse=order == "highest")[budget - 1]
    )


def test_plus_and_minus_nothing_are_one_score_and_among_equal_ones_the_draw_decides():
    draws = [number / 8 for number in range(8)]
    [stays], [told] = selected(Select(score="s", budget=4), [group([0.0, -0.0] * 4, draws=draws)])
    assert stays == [True] * 4 + [False] * 4
    assert (told["last_score"], told["given"]) == (0.0, 4.0)


def test_a_budget_of_sizes_is_never_exceeded():
    [stays], [told] = selected(Select(score="s", budget=10, size="bytes"), [group([5, 4, 3, 2], [4, 5, 2, 1])])
    assert stays == [True, True, False, False]
    assert (told["size"], told["budget"], told["given"], told["last_score"]) == (12, 10, 9, 3)


@limits(max_examples=60, derandomize=True, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([-1.5, 0.0, 2.0, None]), st.integers(0, 9)), min_size=1, max_size=30),
    st.integers(1, 100),
    st.integers(1, 3),
)
def test_documents_are_taken_by_score_and_draw_while_they_fit(rows, budget, parts):
    draws = [(number * 0.6180339887498949) % 1 // 2**-53 * 2**-53 for number in range(len(rows))]
    cut = sorted({0, len(rows), *(number * len(rows) // parts for number in range(1, parts))})
    groups = [
        group([score for score, _ in rows[a:b]], [size for _, size in rows[a:b]], draws=draws[a:b])
        for a, b in pairwise(cut)
    ]
    stays, _ = selected(Select(score="s", budget=budget, size="bytes"), groups)
    scored = sorted(
        (-score, draw, number)
        for number, ((score, _), draw) in enumerate(zip(rows, draws, strict=True))
        if score is not None
    )
    left, best = budget, set()
    for _, _, number in scored:
        if rows[number][1] > left:
            break
        left -= rows[number][1]
        best.add(number)
    kept = {number for number, keeps in enumerate(one for some in stays for one in some) if keeps}
    nothing = {
        number for number, (_, size) in enumerate(rows) if not size
    }  # of no size: where the budget ends exactly, either is right
    assert kept - nothing == best - nothing


def test_cells_give_alike_and_what_one_cannot_give_the_others_do():
    cells = ["a"] * 6 + ["b"] * 3 + ["c"]
    groups = [group(list(range(10)), cells=cells)]
    _, told = selected(Select(score="s", by=("cell",), budget=7), groups)
    assert {row["cell"]: row["kept"] for row in told} == {"a": 3, "b": 3, "c": 1}
    _, told = selected(Select(score="s", by=("cell",), budget=5, cells="by_size"), groups)
    assert told[0]["budget"] == 3 and sorted(row["budget"] for row in told[1:]) in ([1, 1], [0, 2])  # of 1.5 and 0.5
    _, told = selected(Select(score="s", by=("cell",), share=1 / 3), groups)
    assert {row["cell"]: row["kept"] for row in told} == {"a": 2, "b": 1, "c": 0}


def test_a_budget_of_fewer_documents_than_there_are_cells_is_filled_with_the_best_of_some():
    cells = [f"c{number % 200:03}" for number in range(1000)]
    _, told = selected(Select(score="s", by=("cell",), budget=100), [group(list(range(1000)), cells=cells)])
    assert sorted(row["kept"] for row in told) == [0] * 100 + [1] * 100
    _, told = selected(Select(score="s", by=("cell",), share=0.1), [group(list(range(1000)), cells=cells)])
    assert sum(row["kept"] for row in told) == 100


def test_what_cells_leave_of_a_budget_of_sizes_goes_to_the_best_that_are_left():
    cells = ["a", "a", "b", "b", "c", "c"]
    settings = {"score": "s", "by": ("cell",), "size": "bytes"}
    [stays], told = selected(
        Select(**settings, budget=30), [group([6, 5, 4, 3, 2, 1], [20, 7, 8, 9, 4, 30], cells=cells)]
    )
    # of 10 each cell takes b 8 and c 4; the best that is left is a 20, and more than the 18 that are left over
    assert stays == [False, False, True, False, True, False]
    [stays], told = selected(
        Select(**settings, budget=36), [group([6, 5, 4, 3, 2, 1], [20, 7, 8, 9, 4, 30], cells=cells)]
    )
    assert stays == [True, False, True, False, True, False]
    assert sum(row["given"] for row in told) == 32
    groups = [group([6, 5, 4], [20, 7, 8], cells=cells[:3]), group([3, 2, 1], [9, 4, 30], cells=cells[3:])]
    assert [one for some in selected(Select(**settings, budget=36), groups)[0] for one in some] == stays


def test_too_many_cells_are_refused(monkeypatch):
    monkeypatch.setattr("curate.mix.select.MOST_CELLS", 2)
    with pytest.raises(CurateError, match="`by` makes 3 cells, and there may be 2"):
        selected(Select(score="s", by=("cell",), budget=1), [group([1, 2, 3], cells=["a", "b", "c"])])


def test_without_a_score_nothing_is_selected_and_takes_no_budget():
    stays, told = selected(
        Select(score="s", by=("cell",), share=1), [group([None, 1.0, None], cells=["a", "a", "b"]), group([None])]
    )
    assert stays == [[False, True, False], [False]]
    assert [(row["cell"], row["documents"], row["size"], row["kept"]) for row in told] == [
        ("(all)", 1, 0, 0),
        ("a", 2, 1, 1),
        ("b", 1, 0, 0),
    ]


def test_a_score_may_be_below_nothing_and_must_be_a_number(documents):
    sign = Select(score="s", budget=1).open()
    assert sign(documents(["a"], s=[2**62 + 1]))["score"].to_pylist() == [2.0**62]
    assert sign(documents(["a", "b"], s=["-3.5", None]))["score"].to_pylist() == [-3.5, None]
    for wrong in (math.nan, math.inf):
        with pytest.raises(Unfit, match="score_is_no_number"):
            sign(documents(["a"], s=[wrong]))


@pytest.mark.parametrize(
    "wrong", [{}, {"budget": 1, "share": 0.5}, {"share": 0}, {"share": 1.5}, {"budget": 0}, {"budget": math.inf}]
)
def test_settings_that_say_no_selection_are_refused(wrong):
    with pytest.raises(ValidationError):
        Select(score="s", **wrong)


def test_a_version_holds_the_best_of_each_cell_and_why_tells_the_others_their_score_and_the_last(tmp_path):
    rows = [{"id": f"d{n}", "text": f"text {n}", "quality": n % 10, "topic": "x" if n < 30 else "y"} for n in range(40)]
    rows.append({"id": "none", "text": "without", "topic": "x"})
    for part in (0, 1):
        (tmp_path / f"{part}.jsonl").write_text("\n".join(map(json.dumps, rows[part::2])))
    (tmp_path / "p.yaml").write_text(
        "dataset: d\nsources: [{stage: files, paths: ['*.jsonl']}]\n"
        "stages: [{stage: select, score: quality, by: [topic], share: .2}]\n"
    )
    versions = {
        curate.run(tmp_path / "p.yaml", store=tmp_path / f"store{workers}", workers=workers).version
        for workers in (1, 2)
    }
    assert len(versions) == 1
    store = str(tmp_path / "store1")
    kept = curate.open_dataset("d", store).arrow()["id"].to_pylist()
    assert sorted(kept) == sorted(f"d{number}" for number in (8, 9, 18, 19, 28, 29, 38, 39))

    def why(name):
        return json.loads(CliRunner().invoke(app, ["why", name, "--store", store, "--json"]).stdout)

    gone = why("d7")
    told = [gone[key] for key in ("stage", "reason", "value", "threshold", "detail")]
    assert told == ["select", "not_selected", 7, 8, "cell x"]
    assert [why("none")[key] for key in ("reason", "value", "threshold")] == ["no_score", None, None]
    shown = CliRunner().invoke(app, ["data", "show", "d", "--store", store]).stdout
    assert "last score" in shown
