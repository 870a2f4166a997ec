"""A table through the engine: the same version however it is run, every cell told, nothing learned from other splits."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from curate import CurateError, open_dataset, run
from curate.cli import app
from curate.table.recipe import put_all, recipe_of

STAGES = """
  - {stage: split, column: part}
  - {stage: table_types, label: y, leave: [part]}
  - {stage: table_duplicates, label: y, leave: [part]}
  - {stage: table_outliers, label: y, leave: [part], action: clip}
  - {stage: table_missing, label: y, leave: [part]}
  - {stage: table_features, label: y, leave: [part]}
"""
ROWS = [
    ("1", "Paris", "no", "train"), ("2", "paris", "yes", "train"), ("3", "Rome", "no", "train"), ("4", "Rome", "yes", "train"),
    ("", "Paris", "no", "train"), ("1,000", "Paris", "yes", "train"), ("x", "Rome", "no", "train"),
    ("6", "Rome", "yes", "train"),
    ("5", "Oslo", "no", "test"), ("2", "Paris", "yes", "test"), ("7", "Rome", "", "train"), ("900", "Rome", "no", "validation"),
]  # fmt: skip


def written(folder, rows=ROWS, stages=STAGES, files=1):
    (folder / "in").mkdir(parents=True, exist_ok=True)
    for number in range(files):
        lines = [",".join(f'"{one}"' if "," in one else one for one in row) for row in rows[number::files]]
        (folder / "in" / f"{number}.csv").write_text("\n".join(["age,city,y,part", *lines]) + "\n")
    (folder / "p.yaml").write_text(
        f"dataset: people\nsources:\n  - {{stage: files, paths: ['in/*.csv'], text: null}}\nstages:{stages}"
    )
    return folder / "p.yaml"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    run(written(folder), workers=1)
    return folder


@pytest.fixture
def people(made):
    return open_dataset("people", made / ".curate")


def by_place(people):
    return {int(row["source_uri"].partition("#")[2]): row for row in people.arrow().to_pylist()}


def test_cells_have_their_types_and_their_forms(people):
    table = people.arrow("train")
    assert table.schema.field("age").type == pa.float64()
    assert set(table.column("city").to_pylist()) == {"Paris", "Rome"}
    assert table.column("age_missing").to_pylist().count(1) == 2  # the empty one and `x`


def test_what_is_filled_and_clipped_is_learned_from_train_alone(people):
    learned = {one["column"]: one for one in people.artifact("table_outliers", "learned").to_pylist()}
    # of train, without the row that the test split has too and with the one that has no label
    assert learned["age"]["median"] == np.median([1, 3, 4, 1000, 6, 7])
    (validation,) = people.arrow("validation").column("age").to_pylist()
    assert validation == learned["age"]["high"]


@pytest.mark.slow
def test_changed_test_rows_change_nothing_that_is_learned(people, tmp_path):
    other = [row if row[3] == "train" else ("12345", "Nowhere", row[2], row[3]) for row in ROWS]
    other[9] = ROWS[9]  # the copy of a train row stays one
    run(written(tmp_path, other), workers=1)
    again = open_dataset("people", tmp_path / ".curate")
    for stage in ("table_types", "table_outliers", "table_missing", "table_features"):
        assert people.artifact(stage, "fitted").equals(again.artifact(stage, "fitted"))


@pytest.mark.slow
def test_the_version_is_the_same_for_any_workers(made, tmp_path):
    ids = {run(written(tmp_path / str(workers), files=3), workers=workers).version for workers in (1, 2)}
    assert len(ids) == 1


def test_every_changed_cell_is_counted(people):
    told = {
        (one["column"], one["reason"]): (one["train"], one["validation"], one["test"])
        for stage in ("table_types", "table_outliers", "table_missing", "table_features")
        for one in (people.artifact(stage, "cells").to_pylist() if _has(people, stage) else ())
    }
    assert told == {
        ("age", "number_form"): (1, 0, 0), ("age", "no_number"): (1, 0, 0), ("city", "category_form"): (1, 0, 0),
        ("age", "outlier_clipped"): (1, 1, 0), ("age", "filled"): (2, 0, 0), ("city", "unseen_category"): (0, 0, 1),
    }  # fmt: skip


def _has(people, stage):
    return any("cells" in one["artifacts"] for one in people.manifest["stages"] if one["id"] == stage)


def cli(made, *words):
    done = CliRunner().invoke(app, [*words, "--store", str(made / ".curate")])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_why_tells_each_cell_before_and_after_and_why(made, people):
    (row,) = (row for row in people.arrow("train").to_pylist() if row["age"] > 7)
    said = cli(made, "why", row["id"])
    assert "table_types: edited number_form in `age`: `1,000` -> 1000" in said
    assert (
        f"table_outliers: edited outlier_clipped, 1000 (at most {row['age']:g}) in `age`: 1000 -> {row['age']:g}"
        in said
    )
    edits = json.loads(cli(made, "why", row["id"], "--json"))["edits"]
    assert [(one["before"], one["after"]) for one in edits] == [("1,000", 1000.0), (1000.0, row["age"])]


def test_why_tells_of_rows_that_left(made, people):
    said = {row: cli(made, "why", f"in/0.csv#{place}") for row, place in _places(made).items() if row in (1, 10)}
    assert "table_duplicates: dropped row_in_other_split" in said[1] and "in the split test" in said[1]
    assert "table_missing: dropped no_label [y]" in said[10]


def _places(made):
    content = (made / "in" / "0.csv").read_bytes()
    starts = [0, *(place + 1 for place, byte in enumerate(content) if byte == 10)]
    return dict(enumerate(starts[1:]))


def test_a_run_and_data_show_tell_what_did_not_parse_and_what_leaked(made):
    shown = cli(made, "data", "show", "people")
    assert "note: `table_types`: cells of `age` that held no number and are empty now: 1, as in " in shown
    assert "(in/0.csv#" in shown
    assert (
        "note: `table_duplicates`: rows that stood in two splits, and stay in the one that is measured on alone: 1;"
        in shown
    )
    assert "tells of the label (nats)" in shown


def test_the_report_shows_what_was_learned(made, tmp_path):
    cli(made, "report", "people", "--out", str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text()
    assert "learned of table_features" in page and "tells of the label (nats)" in page


def test_x_and_y_come_in_one_line(people):
    X, y = people.arrays("y", "train")
    assert X.shape == (7, 5) and X.dtype == np.float64 and set(y) == {"yes", "no"}
    names = [name for one in people.artifact("table_features", "learned").to_pylist() for name in one["names"]]
    assert len(names) == X.shape[1]
    with pytest.raises(CurateError, match="column `city` holds string"):
        people.arrays("y", features="city")


def test_new_rows_get_what_a_run_gave(made, people):
    recipe = json.loads(json.dumps(recipe_of(people)))
    kept = by_place(people)
    places = _places(made)
    rows = [dict(zip(("age", "city", "y"), row[:3], strict=True)) for row in ROWS]
    put = put_all(recipe, [{name: value or None for name, value in row.items()} for row in rows]).to_pylist()
    for row, one in enumerate(put):
        if places[row] in kept:
            assert [one[name] for name in ("age", "city", "features")] == [
                kept[places[row]][name] for name in ("age", "city", "features")
            ]
    (bare,) = put_all(recipe, [{"city": "Lima"}]).to_pylist()
    assert len(bare["features"]) == 5 and bare["age_missing"] == 1


def test_without_a_train_split_it_is_said_what_is_missing(tmp_path):
    with pytest.raises(CurateError, match="split"):
        run(written(tmp_path, stages="\n  - {stage: table_types}\n"), workers=1)
    shutil.rmtree(tmp_path / "in")
    with pytest.raises(CurateError, match="no document is in the split `train`"):
        rows = [(*row[:3], "test") for row in ROWS]
        run(written(tmp_path, rows, "\n  - {stage: split, column: part}\n  - {stage: table_types}\n"), workers=1)


def test_columns_of_any_name_are_columns_and_a_column_is_numbers_in_one_file_and_text_in_another(tmp_path):
    path = written(
        tmp_path, stages="\n  - {stage: split, train: 1, validation: 0, test: 0}\n  - {stage: table_types}\n"
    )
    (tmp_path / "in" / "0.csv").write_text("number,document,draw,place,shard\n1,a,1,p,2\n2,b,2,p,3\n")
    (tmp_path / "in" / "1.csv").write_text("number,document,draw,place,shard\n3.0,a,1,p,\n4,b,2,p,x\n")
    run(path, workers=1)
    table = open_dataset("people", tmp_path / ".curate").arrow()
    assert table.column("number").to_pylist() == [1, 2, 3, 4] and table.column("draw").type == pa.float64()


def test_a_column_that_is_called_as_the_engine_calls_places_is_refused(tmp_path):
    path = written(
        tmp_path, stages="\n  - {stage: split, train: 1, validation: 0, test: 0}\n  - {stage: table_types}\n"
    )
    (tmp_path / "in" / "0.csv").write_text("row,b\n1,a\n2,b\n")
    with pytest.raises(CurateError, match="a column is called `row`"):
        run(path, workers=1)


@pytest.mark.slow
def test_very_wide_tables_go_through(tmp_path):
    path = written(
        tmp_path, stages=STAGES.replace("column: part", "train: 0.8, validation: 0, test: 0.2").replace("part", "k")
    )
    width = 150
    names = ",".join([f"c{number}" for number in range(width)] + ["k", "y"])
    lines = [
        ",".join([str((row * number) % 7) for number in range(width)] + [str(row), "ab"[row % 2]]) for row in range(20)
    ]
    (tmp_path / "in" / "0.csv").write_text("\n".join([names, *lines]) + "\n")
    run(path, workers=1)
    X, _ = open_dataset("people", tmp_path / ".curate").arrays("y")
    assert X.shape[1] > 120 and np.isfinite(X).all()


SPLIT = "\n  - {stage: split, column: part}\n"


def test_rows_that_are_learned_from_are_counted_among_those_of_train(tmp_path):
    given = [(str(number), "Paris", "no", "train" if number % 4 == 0 else "test") for number in range(200)]
    run(written(tmp_path, given, f"{SPLIT}  - {{stage: table_missing, leave: [part], sample: 100}}\n"), workers=1)
    (row,) = open_dataset("people", tmp_path / ".curate").artifact("table_missing", "fitted").to_pylist()
    assert json.loads(row["fitted"])["rows"] == 50


def test_files_that_disagree_about_a_column_need_types(tmp_path):
    path = written(tmp_path, stages=f"{SPLIT}  - {{stage: table_missing, leave: [part]}}\n")
    (tmp_path / "in" / "0.csv").write_text("age,part\n1,train\n2,train\n")
    (tmp_path / "in" / "1.csv").write_text("age,part\nx,train\ny,train\n")
    with pytest.raises(CurateError, match="age") as error:
        run(path, workers=1)
    assert "`=age`" not in str(error.value) and "table_types" in str(error.value.hint)
